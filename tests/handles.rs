//! Handles of shared objects between processes: who made them, how they travel, who dies.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

#[path = "util/counter.rs"]
mod counter;
mod util;

use counter::{Counter, HOSTED};
use procession::context;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use util::{METHODS, SOON, alone};

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_handle_works_where_it_was_made_and_where_it_was_sent() {
    alone("a_handle_works_where_it_was_made_and_where_it_was_sent", || {
        for method in METHODS {
            let counter = Counter::new();
            assert_eq!(counter.add(1).unwrap(), 1);
            let process = context(method).spawn(
                |counter: Counter| {
                    assert!(!counter.is_own());
                    counter.add(10).unwrap() + counter.clone().add(100).unwrap()
                },
                (counter.clone(),),
            );
            assert_eq!(process.unwrap().result_timeout(SOON).unwrap(), 11 + 111);
            assert_eq!(counter.get(), 111);
            eventually("its detachment is told", || counter.seen().detached.len() == 1);
            assert_eq!(counter.seen().attached, counter.seen().detached);
            assert!(counter.seen().died.is_empty());
            drop(counter);
            eventually("the object is dropped", || HOSTED.load(Ordering::SeqCst) == 0);
        }
    });
}
