//! How the use of a queue ends: close, shutdown, join, leases, the owner's end.

use crate::util::{METHODS, SOON, until};
use procession::{
    GetError, JoinableQueue, Process, PutFault, Queue, QueueError, SimpleQueue, context,
};
use std::time::Duration;

#[test]
fn a_simple_queue_has_four_calls() {
    let queue = SimpleQueue::<bool>::new().unwrap();
    assert!(queue.is_empty().unwrap());
    let child = Process::spawn(
        |queue: SimpleQueue<bool>| {
            queue.put(queue.is_empty().unwrap()).unwrap();
            queue.put(queue.is_empty().unwrap()).unwrap();
        },
        (queue.clone(),),
    );
    child.unwrap().result_timeout(SOON).unwrap();
    assert!(!queue.is_empty().unwrap());
    assert!(queue.get().unwrap());
    assert!(!queue.get_timeout(SOON).unwrap());
    assert!(queue.is_empty().unwrap());
    queue.close();
    queue.close();
    assert!(queue.is_empty().unwrap_err().to_string().contains("is closed"));
    assert!(queue.put(true).is_err() && queue.get().is_err());
}

#[test]
fn a_shutdown_ends_those_who_wait_everywhere() {
    let (queue, begun) = (JoinableQueue::<u32>::bounded(1).unwrap(), Queue::new().unwrap());
    queue.put(7).unwrap();
    assert_eq!(queue.get().unwrap(), 7);
    let waits = |queue: JoinableQueue<u32>, begun: Queue<()>| {
        begun.put(()).unwrap();
        let ended = matches!(queue.get(), Err(GetError::Shutdown));
        ended && matches!(queue.put(1).unwrap_err().why, PutFault::Shutdown)
    };
    let joins = |queue: JoinableQueue<u32>, begun: Queue<()>| {
        begun.put(()).unwrap();
        queue.join_timeout(SOON).is_ok()
    };
    let args = || (queue.clone(), begun.clone());
    let getters: Vec<_> = (0..2).map(|_| Process::spawn(waits, args()).unwrap()).collect();
    let joiner = Process::spawn(joins, args()).unwrap();
    let (here, also) = (args(), args());
    let getting = std::thread::spawn(move || waits(here.0, here.1));
    let joining = std::thread::spawn(move || joins(also.0, also.1));
    for _ in 0..5 {
        begun.get_timeout(SOON).unwrap();
    }
    // They wait by now, or will.
    std::thread::sleep(Duration::from_millis(50));
    let closer = |queue: JoinableQueue<u32>| queue.shutdown(false).unwrap();
    Process::spawn(closer, (queue.clone(),)).unwrap().result_timeout(SOON).unwrap();
    for getter in getters {
        assert!(getter.result_timeout(SOON).unwrap());
    }
    assert!(getting.join().unwrap());
    // What was taken is not done before it is said to be.
    assert!(joiner.is_alive().unwrap() && !joining.is_finished());
    queue.task_done().unwrap();
    assert!(joiner.result_timeout(SOON).unwrap() && joining.join().unwrap());
    assert!(matches!(queue.put(1).unwrap_err().why, PutFault::Shutdown));
    assert!(matches!(queue.try_get(), Err(GetError::Shutdown)));
}

#[test]
fn a_shutdown_ends_those_who_wait_for_a_place_and_leaves_what_is_there() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    queue.put(1).unwrap();
    let step = Queue::<u32>::new().unwrap();
    let waits = |queue: Queue<u32>, step: Queue<u32>| {
        step.put(0).unwrap();
        let refused = queue.put(2).unwrap_err();
        assert!(matches!(refused.why, PutFault::Shutdown) && refused.item == 2);
        // What was there can still be got, and then there is the end.
        queue.get().map(|item| (item, matches!(queue.get(), Err(GetError::Shutdown)))).unwrap()
    };
    let child = Process::spawn(waits, (queue.clone(), step.clone())).unwrap();
    step.get_timeout(SOON).unwrap();
    queue.shutdown(false).unwrap();
    assert_eq!(child.result_timeout(SOON).unwrap(), (1, true));
}

#[test]
fn an_immediate_shutdown_drops_what_is_there_and_counts_it_as_done() {
    let queue = JoinableQueue::<u32>::new().unwrap();
    queue.put_many([1, 2]).unwrap();
    let child = Process::spawn(
        |queue: JoinableQueue<u32>| {
            let got = queue.get().unwrap();
            queue.put(3).unwrap();
            queue.shutdown(true).unwrap();
            assert!(matches!(
                queue.join_timeout(Duration::from_millis(50)),
                Err(QueueError::Timeout)
            ));
            queue.task_done().unwrap();
            queue.join_timeout(SOON).unwrap();
            assert!(matches!(queue.task_done(), Err(QueueError::TooManyDone)));
            got
        },
        (queue.clone(),),
    );
    assert_eq!(child.unwrap().result_timeout(SOON).unwrap(), 1);
    assert!(matches!(queue.get(), Err(GetError::Shutdown)));
    queue.join().unwrap();
}

#[test]
fn join_waits_until_all_is_done() {
    for method in METHODS {
        let queue = JoinableQueue::<Option<u32>>::new().unwrap();
        let done = Queue::<u32>::new().unwrap();
        let work = |queue: JoinableQueue<Option<u32>>, done: Queue<u32>| {
            while let Some(task) = queue.get().unwrap() {
                std::thread::sleep(Duration::from_millis(20));
                done.put(task).unwrap();
                queue.task_done().unwrap();
            }
            queue.task_done().unwrap();
        };
        let workers: Vec<_> = (0..4)
            .map(|_| context(method).spawn(work, (queue.clone(), done.clone())).unwrap())
            .collect();
        queue.put_many((0..10).map(Some)).unwrap();
        queue.join_timeout(SOON).unwrap();
        assert_eq!(done.qsize().unwrap(), 10);
        queue.put_many([None; 4]).unwrap();
        for worker in workers {
            worker.result_timeout(SOON).unwrap();
        }
        queue.join_timeout(SOON).unwrap();
        assert!(matches!(queue.task_done(), Err(QueueError::TooManyDone)));
    }
}

/// In the owner, and in a process that fills the ring to it first.
#[test]
fn what_put_many_does_not_put_comes_back_even_without_an_end() {
    let put = |queue: Queue<u64>, started: Queue<()>| {
        started.put(()).unwrap();
        let error = queue.put_many(0..).unwrap_err();
        assert!(matches!(error.why, PutFault::Shutdown));
        // The first that is not in the queue, and what follows it.
        let first = u64::try_from(error.put).unwrap();
        assert!(error.rest.take(5000).eq(first..first + 5000));
        first
    };
    let shut = |queue: &Queue<u64>| {
        until("it is full", || queue.is_full().unwrap());
        // It waits for room, or will.
        std::thread::sleep(Duration::from_millis(50));
        queue.shutdown(false).unwrap();
    };
    let (queue, started) = (Queue::bounded(100).unwrap(), Queue::new().unwrap());
    std::thread::scope(|scope| {
        let putting = scope.spawn(|| put(queue.clone(), started.clone()));
        shut(&queue);
        assert_eq!(putting.join().unwrap(), 100);
    });

    let queue = Queue::bounded(100).unwrap();
    let process = Process::spawn(put, (queue.clone(), started.clone())).unwrap();
    shut(&queue);
    assert_eq!(process.result_timeout(SOON).unwrap(), 100);
    assert!(queue.iter().map(Result::unwrap).eq(0..100));
}
