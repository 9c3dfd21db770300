//! Much at a time: calls, values and functions, more than a turn, an outbox or a server's
//! threads have room for.

use crate::channel::{all, in_time, send};
use crate::util::{Folder, SOON, signal, stop, until};
use nix::sys::signal::Signal;
use procession::manager::{DictProxy, FUNCTION_PATIENCE, Fault, MAX_FUNCTIONS, SemaphoreProxy};
use procession::{Dynamic, Manager, ManagerError};
use std::thread;
use std::time::{Duration, Instant};

const KEY: &[u8] = b"abracadabra";

/// More than is kept for who does not take it.
const LARGE: usize = 24 << 20;

#[test]
fn calls_that_come_all_at_once_are_all_answered() {
    let manager = Manager::start().unwrap();
    let server = manager.process().unwrap().pid().unwrap();
    in_time(move || {
        let dict = manager.dict::<u32, u32>().unwrap();
        dict.insert(&1, &7).unwrap();
        for count in [1000, 2000, 3000, 5000] {
            stop(server);
            let mut calls: Vec<_> = (0..count).map(|_| dict.get_async(&1)).collect();
            calls.iter_mut().for_each(send);
            signal(server, Signal::SIGCONT);
            for value in all(calls) {
                assert_eq!(value.unwrap(), Some(7));
            }
        }
    });
}

#[test]
fn large_values_wait_for_each_other() {
    let manager = Manager::start().unwrap();
    in_time(move || {
        let dict: DictProxy<u32, String> = manager.dict().unwrap();
        let text = |n: u32| char::from_digit(n, 10).unwrap().to_string().repeat(LARGE);
        // By threads, one of which reads for the others.
        thread::scope(|scope| {
            for n in 0..3 {
                let dict = &dict;
                scope.spawn(move || dict.insert(&n, &text(n)).unwrap());
            }
        });
        thread::scope(|scope| {
            for n in 0..3 {
                let dict = &dict;
                scope.spawn(move || assert!(dict.get(&n).unwrap() == Some(text(n))));
            }
        });
        // And by one task, whose calls come together.
        for (n, value) in (0..).zip(all((0..3).map(|n| dict.get_async(&n)).collect())) {
            assert!(value.unwrap() == Some(text(n)));
        }
        assert_eq!(dict.len().unwrap(), 3);
    });
}

#[test]
fn a_lock_goes_back_behind_a_large_value() {
    let manager = Manager::start().unwrap();
    let server = manager.process().unwrap().pid().unwrap();
    in_time(move || {
        let (lock, dict) = (manager.lock().unwrap(), manager.dict::<u32, String>().unwrap());
        let held = lock.lock().unwrap();
        assert!(dict.is_empty().unwrap());
        stop(server);
        let large = "x".repeat(LARGE);
        let mut insert = dict.insert_async(&1, &large);
        send(&mut insert);
        drop(held);
        signal(server, Signal::SIGCONT);
        assert!(all(vec![insert]).pop().unwrap().is_ok());
        assert!(lock.acquire_timeout(SOON / 3).unwrap().is_some());
    });
}

/// Plain data of so many parts that its reader would spend more on it than on a stranger's.
fn of_many_parts() -> Dynamic {
    Dynamic::List(vec![1.into(); 1_000_000])
}

#[test]
fn plain_data_of_many_parts_is_a_value_like_others() {
    let builder = Manager::builder().address("127.0.0.1:0").authkey(KEY);
    let manager = builder.offer::<DictProxy<Dynamic, Dynamic>>("dict").start().unwrap();
    let dict = manager.get::<DictProxy<Dynamic, Dynamic>>("dict").unwrap();
    dict.insert(&1.into(), &of_many_parts()).unwrap();
    assert!(dict.get(&1.into()).unwrap() == Some(of_many_parts()));
    // A stranger's is an error of its call, both ways, and of no other.
    let remote = Manager::connect(manager.address().unwrap(), KEY).unwrap();
    let far = remote.get::<DictProxy<Dynamic, Dynamic>>("dict").unwrap();
    let is_failed = |error: ManagerError| matches!(error, ManagerError::Fault(Fault::Failed(_)));
    assert!(is_failed(far.get(&1.into()).unwrap_err()));
    assert!(is_failed(far.insert(&2.into(), &of_many_parts()).unwrap_err()));
    assert_eq!(far.len().unwrap(), 1);
}

fn nap() -> u32 {
    thread::sleep(Duration::from_millis(5));
    7
}

#[test]
fn a_burst_of_functions_runs() {
    let manager = Manager::start().unwrap();
    thread::scope(|scope| {
        let calls: Vec<_> =
            (0..4 * MAX_FUNCTIONS).map(|_| scope.spawn(|| manager.call(nap, ()))).collect();
        for call in calls {
            assert_eq!(call.join().unwrap().unwrap(), 7);
        }
    });
}

/// Runs until there is this file.
fn block(begun: SemaphoreProxy, file: String) {
    begun.release().unwrap();
    until("the file is there", || std::fs::exists(&file).unwrap());
}

fn is_busy<T>(result: Result<T, ManagerError>) -> bool {
    matches!(result, Err(ManagerError::Fault(Fault::Busy)))
}

#[test]
fn functions_that_block_keep_nobody_who_calls_no_function() {
    let manager = Manager::start().unwrap();
    let folder = Folder::new("functions");
    let file = folder.file("go-on");
    let begun = manager.semaphore(0).unwrap();
    let dict = manager.dict::<u32, u32>().unwrap();
    dict.insert(&1, &1).unwrap();
    thread::scope(|scope| {
        let blocked: Vec<_> = (0..MAX_FUNCTIONS)
            .map(|_| scope.spawn(|| manager.call(block, (begun.clone(), file.clone()))))
            .collect();
        for _ in 0..MAX_FUNCTIONS {
            assert!(begun.acquire_timeout(SOON).unwrap().is_some());
        }
        // What waits for its turn is refused in time, and keeps nobody meanwhile.
        let asked = Instant::now();
        let call = scope.spawn(|| manager.call(nap, ()));
        let change = scope.spawn(|| dict.update(&1, |n: &mut u32, (): ()| *n += 1, ()));
        thread::sleep(Duration::from_millis(50));
        assert_eq!(dict.get(&1).unwrap(), Some(1));
        assert!(is_busy(call.join().unwrap()) && is_busy(change.join().unwrap()));
        assert!(asked.elapsed() + Duration::from_millis(100) >= FUNCTION_PATIENCE);
        assert_eq!(dict.get(&1).unwrap(), Some(1));
        // Or runs when another has ended.
        let call = scope.spawn(|| manager.call(nap, ()));
        let changes: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| dict.update(&1, |n: &mut u32, (): ()| *n += 1, ()).unwrap()))
            .collect();
        thread::sleep(Duration::from_millis(50));
        std::fs::write(&file, "").unwrap();
        assert_eq!(call.join().unwrap().unwrap(), 7);
        for change in changes {
            change.join().unwrap();
        }
        for one in blocked {
            one.join().unwrap().unwrap();
        }
    });
    assert_eq!(dict.get(&1).unwrap(), Some(6));
}
