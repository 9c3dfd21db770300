//! The one stream over which a process calls its manager: threads and async calls at a
//! time, calls that are given up, large values both ways, and the manager's death.

use crate::util::{SOON, signal};
use nix::sys::signal::Signal;
use procession::manager::{DictProxy, Fault, Pending, QueueProxy};
use procession::{Manager, ManagerError, Process};
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// Runs `body` on a thread, and waits for it not longer than [`SOON`].
pub(crate) fn in_time<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = channel();
    thread::spawn(move || done.send(body()));
    is_done.recv_timeout(SOON).expect("done in time")
}

/// Waits for all, in one task.
pub(crate) fn all<T>(mut pending: Vec<Pending<T>>) -> Vec<Result<T, ManagerError>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut results: Vec<_> = pending.iter().map(|_| None).collect();
    runtime.block_on(std::future::poll_fn(|context: &mut Context<'_>| {
        for (one, result) in pending.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(ready) = Pin::new(one).poll(context)
            {
                *result = Some(ready);
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    }));
    results.into_iter().flatten().collect()
}

/// Sends a call by a first poll; it may be answered at once.
pub(crate) fn send<T>(pending: &mut Pending<T>) {
    drop(Pin::new(pending).poll(&mut Context::from_waker(Waker::noop())));
}

#[test]
fn threads_and_tasks_get_their_own_answers() {
    let manager = Manager::start().unwrap();
    let (dict, queue) = (manager.dict::<u32, u32>().unwrap(), manager.queue::<u32>().unwrap());
    let event = manager.event().unwrap();
    // This one reads first, and for long: the answers of the others too.
    let waits = {
        let queue = queue.clone();
        thread::spawn(move || queue.get().unwrap())
    };
    in_time(move || {
        thread::scope(|scope| {
            for number in 0..4 {
                let (dict, event) = (&dict, &event);
                scope.spawn(move || {
                    for n in 0..200 {
                        let key = number * 1000 + n;
                        dict.insert(&key, &n).unwrap();
                        assert_eq!(dict.get(&key).unwrap(), Some(n));
                        // With a time limit it is read in another way.
                        let limit = Duration::from_micros(1);
                        assert!(number != 0 || !event.wait_timeout(limit).unwrap());
                    }
                });
            }
            let calls = (0..300).map(|n| dict.insert_async(&(90_000 + n), &n)).collect();
            assert!(all(calls).iter().all(Result::is_ok));
            let calls = (0..300).map(|n| dict.get_async(&(90_000 + n))).collect();
            let values: Vec<_> = all(calls).into_iter().map(|one| one.unwrap().unwrap()).collect();
            assert_eq!(values, (0..300).collect::<Vec<_>>());
        });
        queue.put(7).unwrap();
    });
    assert_eq!(in_time(move || waits.join().unwrap()), 7);
    manager.shutdown().unwrap();
}

#[test]
fn a_call_that_is_given_up_takes_nothing() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>().unwrap();
    // Only an object that is attached is called by the first poll.
    queue.qsize().unwrap();
    in_time(move || {
        for n in 0..20 {
            let mut dropped: Vec<_> = (0..10).map(|_| queue.get_async()).collect();
            dropped.iter_mut().for_each(send);
            if n % 2 == 0 {
                // Some are answered while they are given up.
                queue.put(n).unwrap();
            }
            drop(dropped);
            if n % 2 == 1 {
                queue.put(n).unwrap();
            }
            assert_eq!(queue.get().unwrap(), n);
            assert!(queue.is_empty().unwrap());
        }
        // What a thread asks comes in its order, whichever way it asks.
        let list = manager.list::<u32>([]).unwrap();
        assert!(list.is_empty().unwrap());
        let mut calls: Vec<_> = (0..50).map(|n| list.append_async(&n)).collect();
        calls.iter_mut().for_each(send);
        list.append(&50).unwrap();
        assert_eq!(list.to_vec().unwrap(), (0..=50).collect::<Vec<_>>());
    });
}

#[test]
fn a_call_more_than_may_be_under_way_is_refused_and_all_can_be_given_up() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>().unwrap();
    let many = |queue: QueueProxy<u32>| {
        // From now on a first poll sends a call: there is nothing to wait for before.
        queue.qsize().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut pending: Vec<_> = (0..1 << 16).map(|_| Box::pin(queue.get_async())).collect();
        let answered = pending.iter_mut().filter_map(|one| match one.as_mut().poll(&mut context) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        });
        let answered = answered.count();
        let one_more = Box::pin(queue.get_async()).as_mut().poll(&mut context);
        // Each is taken back: so many look-ups, and not so many searches through all.
        drop(pending);
        queue.put(6).unwrap();
        let got = queue.get().unwrap();
        (answered, matches!(one_more, Poll::Ready(Err(ManagerError::Fault(Fault::Busy)))), got)
    };
    let process = Process::spawn(many, (queue.clone(),)).unwrap();
    assert_eq!(process.result_timeout(SOON * 2).unwrap(), (0, true, 6));
    queue.put(7).unwrap();
    assert_eq!(queue.get().unwrap(), 7);
}

#[test]
fn a_call_is_given_up_though_nothing_more_fits_its_stream() {
    let manager = Manager::start().unwrap();
    let server = manager.process().unwrap().pid().unwrap();
    let queue = manager.queue::<Vec<u8>>().unwrap();
    in_time(move || {
        queue.qsize().unwrap();
        signal(server, Signal::SIGSTOP);
        let mut get = queue.get_async();
        send(&mut get);
        let mut puts = Vec::new();
        let refused = loop {
            let mut put = queue.put_async(&vec![u8::try_from(puts.len()).unwrap(); 1 << 20]);
            match Pin::new(&mut put).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => puts.push(put),
                Poll::Ready(result) => break result,
            }
        };
        refused.unwrap_err();
        drop(get);
        signal(server, Signal::SIGCONT);
        assert!(all(puts).iter().all(Result::is_ok));
        assert_eq!(queue.get().unwrap()[0], 0, "nobody got it before");
    });
}

/// Calls of more than may wait together do, before the word that gives one up.
#[test]
fn a_call_is_given_up_however_much_waits_before_it() {
    let manager = Manager::start().unwrap();
    let server = manager.process().unwrap().pid().unwrap();
    let (queue, other) = (manager.queue::<u8>().unwrap(), manager.list::<Vec<u8>>([]).unwrap());
    in_time(move || {
        assert!(queue.qsize().unwrap() == 0 && other.is_empty().unwrap());
        signal(server, Signal::SIGSTOP);
        let mut get = queue.get_async();
        send(&mut get);
        let mut appends: Vec<_> = (0..2).map(|_| other.append_async(&vec![7; 15 << 20])).collect();
        appends.iter_mut().for_each(send);
        drop(get);
        signal(server, Signal::SIGCONT);
        assert!(all(appends).iter().all(Result::is_ok));
        queue.put(1).unwrap();
        assert_eq!(queue.get().unwrap(), 1, "nobody got it before");
    });
}

#[test]
fn large_values_go_both_ways_at_a_time() {
    let manager = Manager::start().unwrap();
    large_values(manager.dict().unwrap());
}

/// Puts and gets large values by threads and by one task.
pub(crate) fn large_values(dict: DictProxy<usize, Vec<u8>>) {
    let large = |n: usize| vec![u8::try_from(n).unwrap(); 300_000 + n];
    in_time(move || {
        thread::scope(|scope| {
            for n in 0..3 {
                let dict = &dict;
                scope.spawn(move || {
                    for _ in 0..5 {
                        dict.insert(&n, &large(n)).unwrap();
                        assert_eq!(dict.get(&n).unwrap(), Some(large(n)));
                    }
                });
            }
            let calls = (10..40).map(|n| dict.insert_async(&n, &large(n))).collect();
            assert!(all(calls).iter().all(Result::is_ok));
            let calls = (10..40).map(|n| dict.get_async(&n)).collect();
            for (n, value) in (10..).zip(all(calls)) {
                assert_eq!(value.unwrap(), Some(large(n)));
            }
        });
    });
}

#[test]
fn everybody_who_waits_learns_of_the_managers_death() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>().unwrap();
    queue.qsize().unwrap();
    let mut task = queue.get_async();
    send(&mut task);
    let threads: Vec<_> = (0..3)
        .map(|n| {
            let queue = queue.clone();
            thread::spawn(move || match n {
                0 => queue.get_timeout(SOON * 10),
                _ => queue.get(),
            })
        })
        .collect();
    manager.process().unwrap().kill().unwrap();
    in_time(move || {
        for thread in threads {
            let error = thread.join().unwrap().unwrap_err();
            assert!(matches!(error, ManagerError::OwnerGone { .. }), "{error:?}");
        }
        for result in all(vec![task]) {
            let error = result.unwrap_err();
            assert!(matches!(error, ManagerError::OwnerGone { .. }), "{error:?}");
        }
        assert!(matches!(queue.qsize(), Err(ManagerError::OwnerGone { .. })));
    });
}
