//! `Value`, `Array` and `ExclusiveArray`: values and the locks that guard them.
//!
//! Neighbour: `raw.rs` has the same without locks.

use crate::util::{METHODS, until};
use procession::sharedctypes::{copy, synchronized};
use procession::{
    Array, Connection, ExclusiveArray, Lock, Pipe, Process, RLock, RawArray, RawValue, SyncError,
    Value, ValueError, ValueLock, context,
};
use procession_protocols::id::NodeId;
use std::time::Duration;

/// val-01: the codes i, d, h, q and c.
#[test]
fn a_child_writes_and_its_parent_sees_it() {
    type Five = (Value<i32>, Value<f64>, Value<i16>, Value<i64>, Value<u8>);
    fn change((int, double, short, long, letter): Five) {
        assert_eq!((int.get().unwrap(), short.get().unwrap()), (4343, -232));
        assert_eq!((long.get().unwrap(), letter.get().unwrap()), (1 << 33, b'x'));
        assert!((double.get().unwrap() - 3.625).abs() < f64::EPSILON);
        int.set(24234).unwrap();
        double.set(-4.25).unwrap();
        short.lock().unwrap().set(234);
        long.update(|long| long * 2).unwrap();
        letter.set(b'y').unwrap();
    }
    for method in METHODS {
        let int = Value::new(4343).unwrap();
        let double = Value::new(3.625).unwrap();
        let short = Value::new(-232i16).unwrap();
        let long = Value::new(1i64 << 33).unwrap();
        let letter = Value::new(b'x').unwrap();
        let five: Five = (int.clone(), double.clone(), short.clone(), long.clone(), letter.clone());
        context(method).spawn(change, (five,)).unwrap().result().unwrap();
        assert_eq!((int.get().unwrap(), short.get().unwrap()), (24234, 234));
        assert_eq!((long.get().unwrap(), letter.get().unwrap()), (1 << 34, b'y'));
        assert!((double.get().unwrap() + 4.25).abs() < f64::EPSILON);
    }
}

/// arr-01.
#[test]
fn parts_of_an_array_are_read_and_written() {
    fn sum_up(array: Array<i32>) {
        let mut array = array.lock().unwrap();
        for at in 1..array.len() {
            let before = array.get(at - 1).unwrap();
            array.update(at, |value| value + before).unwrap();
        }
    }
    let mut sequence = vec![680, 626, 934, 821, 150, 233, 548, 982, 714, 831];
    let array = Array::new(sequence.iter().copied()).unwrap();
    assert_eq!((array.len(), array.is_empty(), array.get(3).unwrap()), (10, false, 821));
    assert_eq!(array.read(2..7).unwrap(), sequence[2..7]);
    array.write(4, &[1, 2, 3, 4]).unwrap();
    sequence[4..8].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(array.read(..).unwrap(), sequence);
    Process::spawn(sum_up, (array.clone(),)).unwrap().result().unwrap();
    for at in 1..10 {
        sequence[at] += sequence[at - 1];
    }
    assert_eq!(array.lock().unwrap().iter().collect::<Vec<_>>(), sequence);
    assert!(matches!(array.get(10), Err(ValueError::OutOfRange(_))));
    assert!(matches!(array.set(10, 0), Err(ValueError::OutOfRange(_))));
    assert!(array.write(9, &[1, 2]).is_err() && array.read(11..).is_err());
    let mut guard = array.lock().unwrap();
    assert!(guard.set(10, 0).is_err() && guard.update(10, |value| value).is_err());
    assert_eq!(guard.read(..).unwrap(), sequence);
}

/// arr-04, with the rules of `Value`: an own recursive lock, a given one, none.
#[test]
fn the_lock_is_ones_own_or_the_one_that_was_given() {
    fn is_held_by_lock_of<L: ValueLock>(value: &Value<u8, L>, array: &Array<u8, L>) {
        let _held = value.lock().unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| array.lock_timeout(Duration::ZERO).unwrap().is_none());
            assert!(other.join().unwrap(), "one lock guards both");
        });
    }
    let own = Value::new(1u8).unwrap();
    let (outer, inner) = (own.lock().unwrap(), own.lock().unwrap());
    assert_eq!((outer.get(), inner.get(), own.get().unwrap()), (1, 1, 1), "it is recursive");
    assert!(own.get_lock().locked().unwrap());
    drop((outer, inner));
    assert!(!own.get_lock().locked().unwrap());

    let lock = Lock::new().unwrap();
    let value = Value::with_lock(1, lock.clone()).unwrap();
    let array = Array::with_lock([1, 2], lock.clone()).unwrap();
    is_held_by_lock_of(&value, &array);
    assert!(!lock.locked().unwrap());
    let lock = RLock::new().unwrap();
    let value = Value::with_lock(1, lock.clone()).unwrap();
    is_held_by_lock_of(&value, &Array::with_lock([1], lock).unwrap());
    value.get_lock().acquire().unwrap();
    value.get_raw().set(7).unwrap();
    value.get_lock().release().unwrap();
    assert_eq!(value.get().unwrap(), 7);
    // Without a lock there is none to ask for: RawValue and RawArray have no such method.
}

#[test]
fn raw_ones_are_copied_and_get_a_lock() {
    let raw = RawArray::new([1.5f32, 2.5]).unwrap();
    let other = copy(&raw).unwrap();
    raw.set(0, 0.0).unwrap();
    assert_eq!(other.read(..).unwrap(), [1.5, 2.5]);
    let array = synchronized(other, RLock::new().unwrap());
    array.set(1, -1.0).unwrap();
    assert_eq!(array.copy().unwrap().read(..).unwrap(), [1.5, -1.0]);
    let value = synchronized(RawValue::new(3).unwrap(), Lock::new().unwrap());
    let copy = value.copy().unwrap();
    value.set(4).unwrap();
    assert_eq!((value.get().unwrap(), copy.get().unwrap()), (4, 3));
    let shown = format!("{copy:?} {array:?} {:?}", value.lock().unwrap());
    assert!(shown.contains("RawValue(3)") && shown.contains("ValueGuard(4)"), "{shown}");
    assert!(shown.contains("RLock(") && shown.contains("RawArray([1.5, -1.0])"), "{shown}");
}

/// Under a lock of either kind nothing is lost, and without one by whole steps.
#[test]
fn what_several_processes_add_is_exact() {
    const TURNS: u64 = 5_000;
    fn add<L: ValueLock>(value: &Value<u64, L>) {
        for turn in 0..TURNS {
            if turn % 2 == 0 {
                value.update(|value| value + 1).unwrap();
            } else {
                let mut value = value.lock().unwrap();
                let before = value.get();
                value.set(before + 1);
            }
        }
    }
    let own = Value::new(0).unwrap();
    let given = Value::with_lock(0, Lock::new().unwrap()).unwrap();
    let free = Value::new(0).unwrap();
    let work = |own: Value<u64>, given: Value<u64, Lock>, free: Value<u64>| {
        add(&own);
        add(&given);
        for _ in 0..TURNS {
            free.fetch_add(3).unwrap();
            free.fetch_sub(2).unwrap();
        }
    };
    let start = || Process::spawn(work, (own.clone(), given.clone(), free.clone())).unwrap();
    for process in [start(), start(), start()] {
        process.result().unwrap();
    }
    let sums = [own.get().unwrap(), given.get().unwrap(), free.get().unwrap()];
    assert_eq!(sums, [3 * TURNS; 3]);
}

#[test]
fn bytes_are_text_up_to_the_first_nul() {
    let array = Array::<u8>::zeroed(6).unwrap();
    let write = |array: Array<u8>| array.set_text("child").unwrap();
    Process::spawn(write, (array.clone(),)).unwrap().result().unwrap();
    assert_eq!(array.text().unwrap(), "child");
    array.set_text(b"ab").unwrap();
    assert_eq!(array.bytes().unwrap(), b"ab");
    array.set_text("sixsix").unwrap();
    assert_eq!(array.text().unwrap(), "sixsix");
    assert!(array.set_text("seven77").is_err());
    array.write(0, &[0xff, 0]).unwrap();
    assert_eq!(array.text().unwrap(), "\u{fffd}");
}

/// Rows and columns, in the two forms that there are.
#[test]
fn an_element_may_be_an_array() {
    let rows = Array::new([[1, 2], [3, 4]]).unwrap();
    let transpose = |rows: Array<[i32; 2]>| {
        let mut rows = rows.lock().unwrap();
        let [[a, b], [c, d]] = [rows.get(0).unwrap(), rows.get(1).unwrap()];
        rows.write(0, &[[a, c], [b, d]]).unwrap();
    };
    Process::spawn(transpose, (rows.clone(),)).unwrap().result().unwrap();
    assert_eq!(rows.read(..).unwrap(), [[1, 3], [2, 4]]);
}

#[test]
fn who_dies_with_the_lock_is_named_to_the_next() {
    fn hold(value: Value<u32>, array: ExclusiveArray<u32>) {
        let mut held = value.lock().unwrap();
        held.set(1);
        let mut slice = array.lock().unwrap();
        slice[0] = 1;
        value.get_raw().set(2).unwrap();
        std::thread::sleep(Duration::from_mins(10));
        drop(slice);
    }
    let value = Value::new(0).unwrap();
    let array = ExclusiveArray::new([0, 0]).unwrap();
    let process = Process::builder(hold, (value.clone(), array.clone())).name("careless");
    let process = process.start().unwrap();
    until("it holds both", || value.get_raw().get().unwrap() == 2);
    assert!(value.lock_timeout(Duration::from_millis(5)).unwrap().is_none());
    assert!(array.lock_timeout(Duration::from_millis(5)).unwrap().is_none());
    process.kill().unwrap();
    let held = value.lock().unwrap();
    assert_eq!(held.previous_holder().unwrap().name, "careless");
    let mut slice = array.lock().unwrap();
    assert_eq!(slice.previous_holder().unwrap().name, "careless");
    assert_eq!(slice[..], [1, 0]);
    slice[1] = 1;
    drop((held, slice));
    assert!(value.lock().unwrap().previous_holder().is_none());
    assert!(array.lock().unwrap().previous_holder().is_none());
    process.join().unwrap();
}

#[test]
fn a_guard_of_an_exclusive_array_is_a_slice() {
    let array = ExclusiveArray::new((0..1000u32).rev()).unwrap();
    assert_eq!((array.len(), array.is_empty()), (1000, false));
    let sort = |array: ExclusiveArray<u32>| {
        let mut slice = array.lock().unwrap();
        slice.sort_unstable();
        slice.iter().map(|value| u64::from(*value)).sum::<u64>()
    };
    let process = Process::spawn(sort, (array.clone(),)).unwrap();
    assert_eq!(process.result().unwrap(), 499_500);
    let slice = array.lock().unwrap();
    assert!(slice.is_sorted() && slice[..3] == [0, 1, 2]);
    // A slice may go to other threads, the guard may not.
    let (low, high) = slice.split_at(500);
    let sums = std::thread::scope(|scope| {
        let low = scope.spawn(|| low.iter().sum::<u32>());
        (low.join().unwrap(), high.iter().sum::<u32>())
    });
    assert_eq!(sums, (124_750, 374_750));
    drop(slice);
    let waited = procession_runtime::wait::block_on(array.lock_async());
    assert_eq!(waited.unwrap()[999], 999);
    assert!(ExclusiveArray::<u64>::zeroed(0).unwrap().lock().unwrap().is_empty());
}

/// What a message is, its reader says. Memory that somebody may write who does not hold the
/// lock never becomes a slice by that.
#[test]
fn no_message_makes_an_exclusive_array_of_other_things_or_other_things_of_one() {
    fn forge(b: Connection, words: [String; 2]) {
        let forged: Result<ExclusiveArray<u64>, _> = b.recv();
        let error = forged.expect_err("raw memory").to_string();
        assert!(error.contains(&words[0]), "{error}");
        let forged: Result<(RawArray<u64>, Lock), _> = b.recv();
        let error = forged.expect_err("private memory").to_string();
        assert!(error.contains(&words[1]), "{error}");
    }
    let (raw, lock) = (RawArray::<u64>::new([1, 2, 3]).unwrap(), Lock::new().unwrap());
    let array = ExclusiveArray::<u64>::new([1, 2, 3]).unwrap();
    let (a, b) = Pipe::duplex().unwrap();
    let send = || {
        a.send(&(raw.clone(), lock.clone())).unwrap();
        a.send(&array).unwrap();
    };
    // Where they are known, by what they are; elsewhere by what the message says of them.
    send();
    forge(b.clone(), ["a Memory", "a PrivateMemory"].map(str::to_owned));
    send();
    let words = ["or is no PrivateMemory", "or is no Memory"].map(str::to_owned);
    Process::spawn(forge, (b, words)).unwrap().result().unwrap();
    assert!(array.lock().is_ok() && raw.get(0).is_ok() && lock.lock().is_ok());
}

/// What stands for a memory in a message, but for the number of its type.
type MemoryInMessage = ((NodeId, String, u64, u16), u64, usize);

/// Whoever reads the bytes of a message by himself still has no lock to give back.
#[test]
fn the_lock_of_an_exclusive_array_is_no_lock_for_anybody_else() {
    fn read(b: Connection) -> Result<bool, String> {
        let (_, lock): (MemoryInMessage, Lock) = b.recv().map_err(|error| error.to_string())?;
        Ok(lock.acquire().is_ok())
    }
    let array = ExclusiveArray::<u64>::new([1, 2, 3]).unwrap();
    let (a, b) = Pipe::duplex().unwrap();
    a.send(&array).unwrap();
    let here = read(b.clone()).unwrap_err();
    assert!(here.contains("PrivateLock"), "{here}");
    a.send(&array).unwrap();
    let there = Process::spawn(read, (b,)).unwrap().result().unwrap();
    assert_eq!(there, Ok(false), "it is read, and its owner knows what it is");
    assert!(array.lock().is_ok());
}

/// The memory of one and the lock of another are no array.
#[test]
fn an_exclusive_array_has_its_own_lock() {
    use procession_runtime::codec::{decode, encode};
    let two = [1u64, 2].map(|value| ExclusiveArray::<u64>::new([value]).unwrap());
    let len = encode(&(&two[0], &two[1])).unwrap().bytes.len() / 2;
    let mut mixed = 0;
    for memory in 1..len {
        let message = encode(&(&two[0], &two[1])).unwrap();
        let (first, second) = message.bytes.split_at(len);
        let bytes = [&first[..memory], &second[memory..]].concat();
        let Ok(array) = decode::<ExclusiveArray<u64>>(&bytes, message.fds) else { continue };
        let Err(error) = array.lock().map(|slice| slice[0]) else { continue };
        assert!(error.to_string().contains("the lock of other memory"), "{error}");
        mixed += 1;
    }
    assert!(mixed > 0, "no place in the message divides memory and lock");
    for (array, value) in two.iter().zip(1..) {
        assert_eq!(array.lock().unwrap()[0], value);
    }
}

#[test]
fn tasks_wait_for_a_lock_without_a_thread() {
    let value = Value::with_lock(1, Lock::new().unwrap()).unwrap();
    let array = Array::with_lock([1, 2], value.get_lock().clone()).unwrap();
    let add = |value: Value<i32, Lock>, array: Array<i32, Lock>| {
        procession_runtime::wait::block_on(async {
            value.lock_async().await.unwrap().update(|value| value + 1);
            array.lock_async().await.unwrap().update(1, |value| value * 10).unwrap();
        });
    };
    let held = value.lock().unwrap();
    let process = Process::spawn(add, (value.clone(), array.clone())).unwrap();
    assert!(!process.join_timeout(Duration::from_millis(20)).unwrap(), "it waits");
    drop(held);
    process.result().unwrap();
    assert_eq!((value.get().unwrap(), array.get(1).unwrap()), (2, 20));
}

/// Writers fill the whole slice with one number each; nobody ever sees two.
#[test]
fn a_slice_is_ones_own_while_it_is_held() {
    fn fill(array: ExclusiveArray<u64>, mine: u64) -> u64 {
        let mut changes = 0;
        for turn in 0..2_000u64 {
            let mut slice = array.lock().unwrap();
            let first = slice[0];
            assert!(slice.iter().all(|value| *value == first), "half of another's");
            changes += u64::from(first % 4 != mine);
            slice.fill(turn * 4 + mine);
        }
        changes
    }
    let array = ExclusiveArray::zeroed(300).unwrap();
    let start = |mine: u64| Process::spawn(fill, (array.clone(), mine)).unwrap();
    for process in [start(1), start(2), start(3)] {
        process.result().unwrap();
    }
    let last = array.lock().unwrap();
    assert!(last.iter().all(|value| *value == last[0]));
}

#[test]
fn a_value_whose_owner_has_ended_says_so() {
    let make = || (Value::new(1).unwrap(), Array::new([1]).unwrap());
    let process = Process::spawn(make, ()).unwrap();
    process.join().unwrap();
    let (value, array) = process.result().unwrap();
    assert!(matches!(value.get(), Err(ValueError::Share(_))));
    assert!(matches!(array.get(0), Err(ValueError::Share(_))));
}

#[test]
fn a_lock_whose_owner_ends_while_it_is_used_says_so_and_the_memory_stays() {
    fn own(told: RawValue<u32>) {
        let value = Value::new(7u32).unwrap();
        let outlive = |value: Value<u32>, told: RawValue<u32>| {
            value.set(8).unwrap();
            told.set(1).unwrap();
            procession::parent_process().unwrap().join().unwrap();
            until("the lock says that its owner has gone", || {
                matches!(value.get(), Err(ValueError::Sync(SyncError::OwnerGone { .. })))
            });
            told.set(value.get_raw().get().unwrap()).unwrap();
        };
        let child = Process::builder(outlive, (value.clone(), told.clone())).detached();
        let _child = child.start().unwrap();
        until("it was used", || told.get().unwrap() == 1);
    }
    let told = RawValue::new(0u32).unwrap();
    Process::spawn(own, (told.clone(),)).unwrap().result().unwrap();
    until("the value is still there", || told.get().unwrap() == 8);
}
