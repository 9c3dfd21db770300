//! What only processes show of queues: handles that are closed in one of them, and what a
//! death leaves.

use crate::items::retyped;
use crate::util::SOON;
use procession::{Delivery, GetError, JoinableQueue, Process, PutFault, Queue, QueueError};
use std::time::Duration;

#[test]
fn a_closed_handle_says_so_and_others_go_on() {
    let queue = Queue::<u32>::new().unwrap();
    let child = Process::spawn(
        |queue: Queue<u32>| {
            queue.put(1).unwrap();
            queue.close();
            queue.close();
            queue.join_thread();
            queue.cancel_join_thread();
            assert!(matches!(queue.put(2).unwrap_err().why, PutFault::Closed));
            assert!(matches!(queue.get(), Err(GetError::Closed)));
            assert!(matches!(queue.is_empty(), Err(QueueError::Closed)));
            assert!(queue.is_empty().unwrap_err().to_string().contains("is closed"));
        },
        (queue.clone(),),
    );
    child.unwrap().result_timeout(SOON).unwrap();
    assert_eq!(queue.get().unwrap(), 1);
    queue.close();
    assert!(matches!(queue.clone().put(2).unwrap_err().why, PutFault::Closed));
    let unused = JoinableQueue::<u32>::new().unwrap();
    unused.close();
    assert!(matches!(unused.put(1).unwrap_err().why, PutFault::Closed));
    assert!(matches!(unused.get(), Err(GetError::Closed)));
    assert!(matches!(unused.qsize(), Err(QueueError::Closed)));
}

#[test]
fn a_lease_that_is_not_done_comes_back_marked() {
    let queue = Queue::<u32>::new().unwrap();
    queue.put_many([1, 2, 3]).unwrap();
    let child = Process::spawn(
        |queue: Queue<u32>| {
            assert_eq!(queue.get_leased().unwrap().done(), 1);
            let second = queue.get_leased_timeout(SOON).unwrap();
            assert!(*second == 2 && !second.is_redelivered());
            drop(second);
            let second = queue.try_get_leased().unwrap();
            assert!(*second == 2 && second.is_redelivered());
            // Held to the end of the process, and never done.
            std::mem::forget(second);
        },
        (queue.clone(),),
    );
    child.unwrap().result_timeout(SOON).unwrap();
    crate::util::until("its end is known", || queue.qsize().unwrap() == 2);
    let second = queue.get_delivery().unwrap();
    assert_eq!((second.item, second.redelivered), (2, true));
    let third = queue.get_leased().unwrap();
    assert!(*third == 3 && !third.is_redelivered());
    assert!(matches!(queue.try_get_leased(), Err(GetError::Empty)));
    let brief = Duration::from_millis(30);
    assert!(matches!(queue.get_leased_timeout(brief), Err(GetError::Timeout)));
    drop(third);
    assert_eq!(queue.qsize().unwrap(), 1);
}

/// What came back is told by each form that takes an item.
#[test]
fn every_form_of_a_delivery_says_what_came_back() {
    let queue = Queue::<u32>::new().unwrap();
    let brief = Duration::from_millis(30);
    assert!(matches!(queue.try_get_delivery(), Err(GetError::Empty)));
    assert!(matches!(queue.get_delivery_timeout(brief), Err(GetError::Timeout)));
    let again = || {
        queue.put(5).unwrap();
        drop(queue.get_leased().unwrap());
    };
    let told = |delivery: Delivery<u32>| (delivery.item, delivery.redelivered);
    again();
    assert_eq!(told(queue.try_get_delivery().unwrap()), (5, true));
    again();
    assert_eq!(told(queue.get_delivery_timeout(SOON).unwrap()), (5, true));
    again();
    procession_runtime::wait::block_on(async {
        assert_eq!(told(queue.get_delivery_async().await.unwrap()), (5, true));
        queue.put(6).unwrap();
        assert_eq!(told(queue.get_delivery_async().await.unwrap()), (6, false));
    });
}

#[test]
fn an_owner_that_ends_is_known_at_once() {
    for ends_by_kill in [false, true] {
        let handles = Queue::<Queue<u32>>::new().unwrap();
        let child = Process::spawn(
            |handles: Queue<Queue<u32>>| {
                let queue = Queue::<u32>::new().unwrap();
                queue.put(1).unwrap();
                handles.put(queue.clone()).unwrap();
                // Until the parent has attached and waits.
                while queue.qsize().unwrap() > 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(20));
                handles.get().unwrap();
            },
            (handles.clone(),),
        )
        .unwrap();
        let queue = handles.get_timeout(SOON).unwrap();
        assert_eq!(queue.get().unwrap(), 1);
        let waiting = std::thread::spawn({
            let queue = queue.clone();
            move || queue.get().unwrap_err()
        });
        std::thread::sleep(Duration::from_millis(10));
        if ends_by_kill {
            child.kill().unwrap();
        } else {
            handles.put(Queue::new().unwrap()).unwrap();
        }
        assert!(matches!(waiting.join().unwrap(), GetError::OwnerGone { .. }));
        assert!(matches!(queue.put(1).unwrap_err().why, PutFault::OwnerGone { .. }));
        assert!(matches!(queue.qsize().unwrap_err(), QueueError::OwnerGone { .. }));
    }
}

#[test]
fn what_a_call_did_not_return_comes_back_when_its_process_dies() {
    let queue = Queue::<u32>::new().unwrap();
    let text: Queue<String> = retyped(&queue);
    queue.put_many([1, 2]).unwrap();
    text.put("words".into()).unwrap();
    queue.put_many([3, 4]).unwrap();
    let told = Queue::new().unwrap();
    let child = Process::spawn(
        |queue: Queue<u32>, told: Queue<Vec<u32>>| {
            told.put(queue.get_many(9).unwrap()).unwrap();
            assert!(matches!(queue.get(), Err(GetError::Decode(_))));
            told.put(vec![queue.get().unwrap()]).unwrap();
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        },
        (queue.clone(), told.clone()),
    )
    .unwrap();
    assert_eq!(told.get_timeout(SOON).unwrap(), [1, 2]);
    assert_eq!(told.get_timeout(SOON).unwrap(), [3]);
    assert_eq!(queue.get_timeout(SOON).unwrap(), 4);
    assert!(child.join_timeout(SOON).unwrap());
    assert!(queue.is_empty().unwrap());
}

/// What a consumer has not finished when all is dropped is dropped when it comes back: nobody
/// is left to take it.
#[test]
fn what_comes_back_after_an_immediate_shutdown_is_dropped() {
    let (queue, has) = (JoinableQueue::<u32>::new().unwrap(), Queue::<u32>::new().unwrap());
    queue.put_many([1, 2, 3]).unwrap();
    let holds = |queue: JoinableQueue<u32>, has: Queue<u32>| {
        has.put(queue.get().unwrap()).unwrap();
        let lease = queue.get_leased().unwrap();
        has.put(*lease).unwrap();
        std::thread::sleep(SOON);
    };
    let child = Process::spawn(holds, (queue.clone(), has.clone())).unwrap();
    assert_eq!([(); 2].map(|()| has.get_timeout(SOON).unwrap()), [1, 2]);
    queue.shutdown(true).unwrap();
    queue.shutdown(false).unwrap();
    let early = queue.join_timeout(Duration::from_millis(50));
    assert!(matches!(early, Err(QueueError::Timeout)), "it may finish them still");
    child.kill().unwrap();
    queue.join_timeout(SOON).unwrap();
    assert_eq!(queue.qsize().unwrap(), 0);
    assert!(matches!(queue.try_get(), Err(GetError::Shutdown)));
}
