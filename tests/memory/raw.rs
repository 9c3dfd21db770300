//! `RawValue` and `RawArray`: what processes see of each other's writes, and who keeps the
//! memory.
//!
//! Neighbour: `locked.rs` has the same with locks.

use crate::util::{METHODS, alone, at_rest, back_to, until};
use procession::bytemuck::{Pod, Zeroable};
use procession::{
    Plain, Process, RawArray, RawValue, ShareError, StartMethod, ValueError, context,
};
use serde::{Deserialize, Serialize};

/// val-02: the codes i, d, h, q and c.
#[test]
fn a_child_writes_and_its_parent_sees_it() {
    type Five = (RawValue<i32>, RawValue<f64>, RawValue<i16>, RawValue<i64>, RawValue<u8>);
    fn change((int, double, short, long, letter): Five) {
        assert_eq!((int.get().unwrap(), short.get().unwrap()), (4343, -232));
        assert_eq!((long.get().unwrap(), letter.get().unwrap()), (1 << 33, b'x'));
        assert!((double.get().unwrap() - 3.625).abs() < f64::EPSILON);
        int.set(24234).unwrap();
        double.set(-4.25).unwrap();
        short.set(234).unwrap();
        long.set(1 << 34).unwrap();
        letter.set(b'y').unwrap();
    }
    for method in METHODS {
        let int = RawValue::new(4343).unwrap();
        let double = RawValue::new(3.625).unwrap();
        let short = RawValue::new(-232i16).unwrap();
        let long = RawValue::new(1i64 << 33).unwrap();
        let letter = RawValue::new(b'x').unwrap();
        let five: Five = (int.clone(), double.clone(), short.clone(), long.clone(), letter.clone());
        context(method).spawn(change, (five,)).unwrap().result().unwrap();
        assert_eq!((int.get().unwrap(), short.get().unwrap()), (24234, 234));
        assert_eq!((long.get().unwrap(), letter.get().unwrap()), (1 << 34, b'y'));
        assert!((double.get().unwrap() + 4.25).abs() < f64::EPSILON);
    }
}

/// arr-03.
#[test]
fn parts_of_an_array_are_read_and_written() {
    fn sum_up(array: RawArray<i32>) {
        for at in 1..array.len() {
            array.set(at, array.get(at).unwrap() + array.get(at - 1).unwrap()).unwrap();
        }
    }
    let mut sequence = vec![680, 626, 934, 821, 150, 233, 548, 982, 714, 831];
    let array = RawArray::new(sequence.iter().copied()).unwrap();
    assert_eq!((array.len(), array.is_empty()), (10, false));
    assert_eq!(array.read(..).unwrap(), sequence);
    assert_eq!(array.read(2..7).unwrap(), sequence[2..7]);
    array.write(4, &[1, 2, 3, 4]).unwrap();
    sequence[4..8].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(array.read(..).unwrap(), sequence);
    Process::spawn(sum_up, (array.clone(),)).unwrap().result().unwrap();
    for at in 1..10 {
        sequence[at] += sequence[at - 1];
    }
    assert_eq!(array.read(..).unwrap(), sequence);
    assert!(matches!(array.get(10), Err(ValueError::OutOfRange(_))));
    assert!(matches!(array.set(10, 1), Err(ValueError::OutOfRange(_))));
    assert!(matches!(array.write(8, &[1, 2, 3]), Err(ValueError::OutOfRange(_))));
    assert!(array.read(11..).is_err() && array.get(usize::MAX).is_err());
    assert_eq!(array.read(..).unwrap(), sequence, "an error writes nothing");
}

/// arr-02.
#[test]
fn memory_that_is_used_again_is_zeroed() {
    for _ in 0..3 {
        let array = RawArray::<i32>::zeroed(10).unwrap();
        assert_eq!(array.read(..).unwrap(), [0; 10]);
        array.write(0, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
        assert_eq!(array.read(..).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
    let empty = RawArray::<u64>::zeroed(0).unwrap();
    assert!(empty.is_empty() && empty.read(..).unwrap().is_empty() && empty.get(0).is_err());
}

#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[bytemuck(crate = "procession::bytemuck")]
#[repr(C)]
struct Point {
    x: i32,
    tag: [u8; 4],
    y: f64,
}

/// ctypes-01.
#[test]
fn numbers_structs_and_texts_are_doubled_by_a_child() {
    type All =
        (RawValue<i32>, RawValue<f64>, RawValue<i64>, RawValue<Point>, RawArray<f64>, RawArray<u8>);
    fn double((int, third, long, point, row, text): All) {
        int.set(int.get().unwrap() * 2).unwrap();
        third.set(third.get().unwrap() * 2.0).unwrap();
        long.set(long.get().unwrap() * 2).unwrap();
        let old = point.get().unwrap();
        point.set(Point { x: old.x * 2, y: old.y * 2.0, ..old }).unwrap();
        for at in 0..row.len() {
            row.set(at, row.get(at).unwrap() * 2.0).unwrap();
        }
        text.write(5, &text.read(..5).unwrap()).unwrap();
    }
    let int = RawValue::new(7).unwrap();
    let third = RawValue::new(1.0 / 3.0).unwrap();
    let long = RawValue::new(1i64 << 33).unwrap();
    let point = RawValue::new(Point { x: 3, tag: *b"abcd", y: 2.0 }).unwrap();
    let row = RawArray::new((0..10).map(f64::from)).unwrap();
    let text = RawArray::<u8>::zeroed(20).unwrap();
    text.write(0, b"hello").unwrap();
    let all: All =
        (int.clone(), third.clone(), long.clone(), point.clone(), row.clone(), text.clone());
    Process::spawn(double, (all,)).unwrap().result().unwrap();
    assert_eq!(int.get().unwrap(), 14);
    assert!((third.get().unwrap() - 2.0 / 3.0).abs() < 1e-15);
    assert_eq!(long.get().unwrap(), 1 << 34);
    assert_eq!(point.get().unwrap(), Point { x: 6, tag: *b"abcd", y: 4.0 });
    assert_eq!(row.read(..).unwrap(), (0..10).map(|at| f64::from(at * 2)).collect::<Vec<_>>());
    assert_eq!(text.read(..11).unwrap(), b"hellohello\0");
}

/// ctypes-03.
#[test]
fn a_copy_stays_as_it_was() {
    let point = RawValue::new(Point { x: 2, tag: [0; 4], y: 5.0 }).unwrap();
    let copy = point.copy().unwrap();
    point.set(Point { x: 0, tag: [0; 4], y: 0.0 }).unwrap();
    assert_eq!(copy.get().unwrap(), Point { x: 2, tag: [0; 4], y: 5.0 });
    let row = RawArray::new([1u16, 2, 3]).unwrap();
    let copy = row.copy().unwrap();
    row.set(0, 9).unwrap();
    assert_eq!(copy.read(..).unwrap(), [1, 2, 3]);
}

/// Each type code of from-python.md: the least and the greatest value, written by a child.
#[test]
fn every_type_code_holds_its_least_and_greatest_value() {
    fn check<T>(least: T, greatest: T)
    where
        T: Plain + PartialEq + std::fmt::Debug + Serialize + for<'de> Deserialize<'de>,
    {
        let value = RawValue::<T>::new(least).unwrap();
        let array = RawArray::<T>::zeroed(3).unwrap();
        let write = |value: RawValue<T>, array: RawArray<T>, least: T, greatest: T| {
            assert_eq!(value.get().unwrap(), least);
            value.set(greatest).unwrap();
            array.write(1, &[least, greatest]).unwrap();
        };
        let args = (value.clone(), array.clone(), least, greatest);
        Process::spawn(write, args).unwrap().result().unwrap();
        assert_eq!(value.get().unwrap(), greatest);
        assert_eq!(array.read(1..).unwrap(), [least, greatest]);
    }
    check(i8::MIN, i8::MAX);
    check(u8::MIN, u8::MAX);
    check(u32::from('\0'), u32::from(char::MAX));
    check(i16::MIN, i16::MAX);
    check(u16::MIN, u16::MAX);
    check(i32::MIN, i32::MAX);
    check(u32::MIN, u32::MAX);
    check(std::ffi::c_long::MIN, std::ffi::c_long::MAX);
    check(std::ffi::c_ulong::MIN, std::ffi::c_ulong::MAX);
    check(i64::MIN, i64::MAX);
    check(u64::MIN, u64::MAX);
    check(f32::MIN, f32::MAX);
    check(f64::MIN, f64::MAX);
}

#[test]
fn integers_are_added_to_without_a_lock() {
    const TURNS: i64 = 20_000;
    let add = |count: RawValue<i64>, row: RawArray<u8>| {
        let cell = count.cell().unwrap();
        for _ in 0..TURNS {
            cell.fetch_add(2);
            count.fetch_sub(1).unwrap();
        }
        row.cells().unwrap().at(3).unwrap().fetch_or(1 << (std::process::id() % 8));
    };
    let (count, row) = (RawValue::new(5).unwrap(), RawArray::zeroed(5).unwrap());
    let start = || Process::spawn(add, (count.clone(), row.clone())).unwrap();
    for process in [start(), start()] {
        process.result().unwrap();
    }
    assert_eq!(count.get().unwrap(), 5 + 2 * TURNS);
    assert!(row.get(3).unwrap() > 0 && row.get(2).unwrap() == 0);
}

/// Made in one of three places, used in one of three, by each start method.
#[test]
fn a_value_is_the_same_wherever_it_was_made_and_is_used() {
    fn make() -> RawValue<u64> {
        RawValue::new(1).unwrap()
    }
    fn add(value: RawValue<u64>) {
        value.fetch_add(1).unwrap();
    }
    /// In a child of this process's child.
    fn add_below(value: RawValue<u64>) {
        Process::spawn(add, (value,)).unwrap().result().unwrap();
    }
    /// A child that owns a value as long as its mailbox is open.
    fn own(shown: RawArray<u64>) -> u64 {
        let value = make();
        let child = Process::spawn(add, (value.clone(),)).unwrap();
        child.result().unwrap();
        shown.set(0, value.get().unwrap()).unwrap();
        add_below(value.clone());
        value.get().unwrap()
    }
    for method in METHODS {
        let by = context(method);
        let value = make();
        add(value.clone());
        by.spawn(add, (value.clone(),)).unwrap().result().unwrap();
        by.spawn(add_below, (value.clone(),)).unwrap().result().unwrap();
        assert_eq!(value.get().unwrap(), 4);
        let shown = RawArray::zeroed(1).unwrap();
        assert_eq!(by.spawn(own, (shown.clone(),)).unwrap().result().unwrap(), 3);
        assert_eq!(shown.get(0).unwrap(), 2);
    }
}

#[test]
fn who_has_used_a_value_goes_on_after_its_owner() {
    fn own(told: RawValue<u32>) {
        let value = RawValue::new(7u32).unwrap();
        let outlive = |value: RawValue<u32>, told: RawValue<u32>| {
            value.set(8).unwrap();
            told.set(1).unwrap();
            procession::parent_process().unwrap().join().unwrap();
            told.set(value.get().unwrap()).unwrap();
        };
        let child = Process::builder(outlive, (value.clone(), told.clone())).detached();
        let _child = child.start().unwrap();
        until("it was used", || told.get().unwrap() == 1);
        assert_eq!(value.get().unwrap(), 8);
    }
    let told = RawValue::new(0u32).unwrap();
    Process::spawn(own, (told.clone(),)).unwrap().result().unwrap();
    until("the value is still there", || told.get().unwrap() == 8);
}

#[test]
fn a_value_whose_owner_has_ended_says_so() {
    let process = Process::spawn(|| RawValue::new(7u32).unwrap(), ()).unwrap();
    process.join().unwrap();
    let value = process.result().unwrap();
    let error = value.get().unwrap_err();
    assert!(matches!(error, ValueError::Share(ShareError::OwnerGone { .. })), "{error:?}");
}

#[test]
fn values_come_back_to_where_they_were_made() {
    let value = RawValue::new(3u8).unwrap();
    let same = |value: RawValue<u8>| {
        value.set(4).unwrap();
        value
    };
    let back = Process::spawn(same, (value.clone(),)).unwrap().result().unwrap();
    back.set(back.get().unwrap() + 1).unwrap();
    assert_eq!(value.get().unwrap(), 5);
    assert_eq!(format!("{value:?}"), "RawValue(5)");
}

#[test]
fn a_handle_stays_in_its_tree_and_keeps_its_type() {
    let value = RawValue::new(1u32).unwrap();
    let text = serde_json::to_string(&value).unwrap_err().to_string();
    assert!(text.contains("OutsideTransfer"), "{text}");
    let encoded = procession_runtime::codec::encode(&value).unwrap();
    let decoded: Result<RawValue<i32>, _> =
        procession_runtime::codec::decode(&encoded.bytes, encoded.fds);
    let error = decoded.unwrap_err().to_string();
    assert!(error.contains("the memory holds other values than i32"), "{error}");
}

/// A thousand values cost one descriptor; what is dropped everywhere is used again.
#[test]
fn values_cost_no_descriptor_each_and_are_given_back() {
    alone("raw::values_cost_no_descriptor_each_and_are_given_back", || {
        let turn = || {
            let values: Vec<_> = (0..1000u32).map(|at| RawValue::new(at).unwrap()).collect();
            let sum = |values: Vec<RawValue<u32>>| -> u32 {
                let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
                assert!(descriptors < 40, "{descriptors}");
                values.iter().map(|value| value.get().unwrap()).sum()
            };
            let process = Process::spawn(sum, (values.clone(),)).unwrap();
            assert_eq!(process.result().unwrap(), 499_500);
        };
        turn();
        turn();
        let baseline = at_rest();
        (0..5).for_each(|_| turn());
        back_to(&baseline);
    });
}

/// No block is given out twice, whoever forks.
#[test]
fn a_copy_of_a_process_has_memory_of_its_own() {
    alone("raw::a_copy_of_a_process_has_memory_of_its_own", || {
        fn parent() {
            let before = RawValue::new(1u64).unwrap();
            let shared = before.clone();
            let fork = context(StartMethod::Fork);
            let child = fork.spawn(
                |shared: RawValue<u64>| {
                    let own = RawValue::new(100u64).unwrap();
                    own.set(101).unwrap();
                    shared.set(2).unwrap();
                    (own.get().unwrap(), shared.get().unwrap())
                },
                (shared,),
            );
            let after = RawValue::new(50u64).unwrap();
            assert_eq!(child.unwrap().result().unwrap(), (101, 2));
            assert_eq!((before.get().unwrap(), after.get().unwrap()), (2, 50));
        }
        // A process with one thread of the user's, which the harness has not.
        Process::spawn(parent, ()).unwrap().result().unwrap();
    });
}

#[test]
fn a_value_may_go_while_another_is_made() {
    let old: Vec<_> = (0..50).map(|at| RawValue::new(at).unwrap()).collect();
    let mut old = old.into_iter();
    let row = RawArray::new((0..50).map(|at| {
        drop(old.next());
        RawValue::new(at).unwrap().get().unwrap()
    }));
    assert_eq!(row.unwrap().read(..).unwrap(), (0..50).collect::<Vec<_>>());
}

/// Whoever dies, memory goes on with the rest, and is used again at the end.
#[test]
fn killed_users_leave_nothing() {
    fn use_for_ever(count: RawValue<u64>, row: RawArray<u64>) {
        loop {
            count.fetch_add(1).unwrap();
            row.write(0, &[count.get().unwrap(); 100]).unwrap();
        }
    }
    alone("raw::killed_users_leave_nothing", || {
        let turn = |turn: u64| {
            let (count, row) = (RawValue::new(0).unwrap(), RawArray::zeroed(100).unwrap());
            let process = Process::spawn(use_for_ever, (count.clone(), row.clone())).unwrap();
            until("it counts", || count.get().unwrap() > turn);
            process.kill().unwrap();
            process.join().unwrap();
            let last = count.get().unwrap();
            assert!(row.read(..).unwrap().iter().all(|one| *one <= last));
        };
        turn(0);
        let baseline = at_rest();
        (0..10).for_each(turn);
        back_to(&baseline);
    });
}

/// A length that has gone below zero takes nothing, and gives nobody's memory to another.
#[test]
fn no_array_is_longer_than_memory_is() {
    let array = |number: u8| (number, RawArray::new([number; 100]).unwrap());
    let mut arrays = vec![array(0)];
    for less in [0, 1, 64, 1000, 5000, 100_000] {
        assert!(RawArray::<u8>::zeroed(usize::MAX - less).is_err());
        assert!(RawArray::<u64>::zeroed((usize::MAX - less) / 8).is_err());
        assert!(procession::ExclusiveArray::<u8>::zeroed(usize::MAX - less).is_err());
    }
    arrays.extend((1..100).map(array));
    for (number, array) in arrays {
        assert_eq!(array.read(..).unwrap(), [number; 100]);
    }
}

/// A process that has not used them yet asks the owner without blocking a thread.
#[test]
fn cells_are_had_without_blocking_a_thread() {
    fn add((value, array): (RawValue<i64>, RawArray<i32>)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let cell = value.cell_async().await.unwrap();
            cell.set(cell.get() + 1);
            let cells = array.cells_async().await.unwrap();
            cells.set(1, cells.get(0).unwrap() + 1).unwrap();
        });
    }
    for method in METHODS {
        let (value, array) = (RawValue::new(6i64).unwrap(), RawArray::new([1, 0]).unwrap());
        let both = (value.clone(), array.clone());
        context(method).spawn(add, (both,)).unwrap().result().unwrap();
        assert_eq!((value.get().unwrap(), array.get(1).unwrap()), (7, 2), "{method}");
    }
}
