//! Much at a time: calls and values, more than a turn or an outbox has room for.

use crate::channel::{all, in_time, send};
use crate::util::{SOON, signal, stop};
use nix::sys::signal::Signal;
use procession::manager::DictProxy;
use procession::Manager;
use std::thread;

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
