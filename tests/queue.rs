//! Queues between real processes: order, bounds, waits, types, handles that travel.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod util;

use procession::{GetError, Process, Queue, context};
use std::time::{Duration, Instant};
use util::{METHODS, SOON};

#[test]
fn a_consumer_gets_what_was_put_by_every_kind_of_get() {
    for method in METHODS {
        let queue = Queue::<u32>::new().unwrap();
        let done = Queue::<bool>::new().unwrap();
        let child = context(method)
            .spawn(
                |queue: Queue<u32>, done: Queue<bool>| {
                    let got = [
                        queue.get().unwrap(),
                        queue.get_timeout(SOON).unwrap(),
                        queue.get_timeout(SOON).unwrap(),
                        queue.try_get().unwrap(),
                    ];
                    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
                    let begun = Instant::now();
                    let wait = Duration::from_millis(200);
                    assert!(matches!(queue.get_timeout(wait), Err(GetError::Timeout)));
                    assert!(begun.elapsed() >= wait);
                    done.put(true).unwrap();
                    got.to_vec()
                },
                (queue.clone(), done.clone()),
            )
            .unwrap();
        queue.put_many([2, 3, 4, 5]).unwrap();
        assert!(done.get_timeout(SOON).unwrap());
        assert_eq!(child.result_timeout(SOON).unwrap(), [2, 3, 4, 5]);
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
        let begun = Instant::now();
        assert!(queue.get_timeout(Duration::from_millis(200)).unwrap_err().is_empty());
        assert!(begun.elapsed() >= Duration::from_millis(100));
    }
}

#[test]
fn parent_and_child_put_into_the_same_queue_in_order() {
    for method in METHODS {
        let queue = Queue::<u32>::new().unwrap();
        queue.put_many(0..10).unwrap();
        let child = context(method)
            .spawn(|queue: Queue<u32>| queue.put_many(10..20).unwrap(), (queue.clone(),))
            .unwrap();
        child.result_timeout(SOON).unwrap();
        let got: Vec<_> = (0..20).map(|_| queue.get_timeout(SOON).unwrap()).collect();
        assert_eq!(got, (0..20).collect::<Vec<_>>());
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    }
}

#[test]
fn items_pass_through_two_queues_and_back() {
    let (there, back) = (Queue::<u64>::new().unwrap(), Queue::<u64>::new().unwrap());
    let child = Process::spawn(
        |there: Queue<u64>, back: Queue<u64>| {
            for item in &there {
                back.put(item.unwrap() + 1).unwrap();
            }
        },
        (there.clone(), back.clone()),
    )
    .unwrap();
    for i in 0..2000 {
        there.put(i).unwrap();
        assert_eq!(back.get_timeout(SOON).unwrap(), i + 1);
    }
    for i in 0..20_000 {
        there.put(i).unwrap();
    }
    for i in 0..20_000 {
        assert_eq!(back.get_timeout(SOON).unwrap(), i + 1);
    }
    there.shutdown(false).unwrap();
    child.result_timeout(SOON).unwrap();
}
