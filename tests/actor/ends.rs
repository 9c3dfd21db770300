//! Actors and what ends: the locals of a thread, and what a panic carried.

use crate::util::{SOON, alone};
use procession::{Actor, CallError, ExitReason, Process, methods};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::sync::mpsc;

#[derive(Actor, Serialize, Deserialize)]
struct Counter(i64);

#[methods]
impl Counter {
    pub fn add(&mut self, n: i64) -> i64 {
        self.0 += n;
        self.0
    }

    pub fn prick(&self) {
        std::panic::panic_any(Thorn);
    }
}

/// What panics when it is let go of.
struct Thorn;

impl Drop for Thorn {
    fn drop(&mut self) {
        panic!("on its way out");
    }
}

/// What a thread keeps, and what says something when the thread ends.
struct Farewell(CounterRef, mpsc::Sender<(Result<i64, CallError>, u8)>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.cast().add(100).unwrap();
        let added = self.0.add_timeout(10, SOON);
        let process = Process::spawn(|| 7, ()).unwrap();
        let _ = self.1.send((added, process.result_timeout(SOON).unwrap()));
    }
}

thread_local! {
    static KEPT: RefCell<Option<Farewell>> = const { RefCell::new(None) };
}

#[test]
fn what_a_thread_keeps_may_use_actors_when_the_thread_ends() {
    alone("ends::what_a_thread_keeps_may_use_actors_when_the_thread_ends", || {
        for counter in [Counter(0).host().unwrap(), Counter(0).spawn().unwrap()] {
            let (told, outcome) = mpsc::channel();
            let used = counter.clone();
            let thread = std::thread::spawn(move || {
                // Before all that is kept for this thread by others: it goes after that.
                KEPT.set(Some(Farewell(used.clone(), told)));
                assert_eq!(used.add(1), Ok(1));
                assert_eq!(Process::spawn(|| 7, ()).unwrap().result_timeout(SOON).unwrap(), 7);
            });
            thread.join().unwrap();
            assert_eq!(outcome.recv_timeout(SOON).unwrap(), (Ok(111), 7));
        }
    });
}

#[test]
fn a_panic_that_carries_another_ends_an_actor_like_any() {
    for counter in [Counter(0).host().unwrap(), Counter(0).spawn().unwrap()] {
        let mut monitor = counter.monitor().unwrap();
        let pricked = counter.prick_timeout(SOON);
        let is_panic = |reason: &ExitReason| matches!(reason, ExitReason::Panic(_));
        assert!(
            matches!(&pricked, Err(CallError::ActorDied { reason, .. }) if is_panic(reason)),
            "{pricked:?}"
        );
        let after = counter.add_timeout(1, SOON);
        assert!(matches!(&after, Err(CallError::ActorDied { .. })), "{after:?}");
        assert!(is_panic(&monitor.recv_timeout(SOON).unwrap().reason));
    }
}

/// How much memory this process has, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn monitors_that_are_dropped_leave_nothing() {
    alone("ends::monitors_that_are_dropped_leave_nothing", || {
        for counter in [Counter(0).host().unwrap(), Counter(0).spawn().unwrap()] {
            let mut kept = counter.monitor().unwrap();
            let before = resident();
            for _ in 0..100_000 {
                drop(counter.monitor().unwrap());
            }
            let grown = resident().saturating_sub(before);
            assert!(grown < 4 << 20, "{grown}");
            counter.stop();
            assert_eq!(kept.recv_timeout(SOON).unwrap().reason, ExitReason::Shutdown);
        }
    });
}
