//! Who waits: for items and places, in processes, threads and futures.

use crate::util::{METHODS, SOON};
use procession::{
    GetError, JoinableQueue, Process, PutError, PutFault, Queue, QueueError, context,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

#[test]
fn a_bounded_queue_is_full_and_has_room_when_somebody_gets() {
    for method in METHODS {
        let queue = Queue::<u32>::bounded(2).unwrap();
        let step = Queue::<u32>::new().unwrap();
        let child = context(method)
            .spawn(
                |queue: Queue<u32>, step: Queue<u32>| {
                    queue.put(5).unwrap();
                    queue.put(6).unwrap();
                    assert!(queue.is_full().unwrap());
                    assert!(matches!(
                        queue.try_put(7),
                        Err(PutError { why: PutFault::Full, item: 7 })
                    ));
                    let begun = Instant::now();
                    let wait = Duration::from_millis(100);
                    let refused = queue.put_timeout(7, wait).unwrap_err();
                    assert!(matches!(refused.why, PutFault::Timeout) && begun.elapsed() >= wait);
                    step.put(1).unwrap();
                    // Waits until the parent has taken one.
                    queue.put_timeout(refused.item, SOON).unwrap();
                    queue.qsize().unwrap()
                },
                (queue.clone(), step.clone()),
            )
            .unwrap();
        assert_eq!(step.get_timeout(SOON).unwrap(), 1);
        assert!(queue.is_full().unwrap());
        assert!(queue.try_put(8).unwrap_err().why.is_full());
        assert_eq!(queue.get_timeout(SOON).unwrap(), 5);
        assert_eq!(child.result_timeout(SOON).unwrap(), 2);
        assert_eq!(queue.get_many(2).unwrap(), [6, 7]);
        assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
        queue.try_put(9).unwrap();
    }
}

#[test]
fn producers_share_few_places_and_all_items_come() {
    let queue = Queue::<u32>::bounded(3).unwrap();
    let children: Vec<_> = (0..3)
        .map(|part| {
            let put = |queue: Queue<u32>, part: u32| {
                for i in 0..2000 {
                    queue.put(part * 2000 + i).unwrap();
                }
            };
            Process::spawn(put, (queue.clone(), part)).unwrap()
        })
        .collect();
    let mut got = Vec::new();
    for i in 0..6000 {
        got.push(queue.get_timeout(SOON).unwrap());
        if i % 500 == 0 {
            assert!(queue.qsize().unwrap() <= 3);
        }
    }
    for child in children {
        child.result_timeout(SOON).unwrap();
    }
    got.sort_unstable();
    assert_eq!(got, (0..6000).collect::<Vec<_>>());
}

#[test]
fn several_consumers_share_the_items_out() {
    let queue = Queue::<u32>::new().unwrap();
    let results = Queue::<Vec<u32>>::new().unwrap();
    let children: Vec<_> = (0..3)
        .map(|_| {
            let get = |queue: Queue<u32>, results: Queue<Vec<u32>>| {
                let got: Result<Vec<u32>, _> = queue.iter().collect();
                results.put(got.unwrap()).unwrap();
            };
            Process::spawn(get, (queue.clone(), results.clone())).unwrap()
        })
        .collect();
    queue.put_many(0..30_000).unwrap();
    queue.shutdown(false).unwrap();
    let mut all: Vec<_> = (0..3).flat_map(|_| results.get_timeout(SOON).unwrap()).collect();
    for child in children {
        child.result_timeout(SOON).unwrap();
    }
    all.sort_unstable();
    assert_eq!(all, (0..30_000).collect::<Vec<_>>());
}

#[test]
fn what_was_put_is_there_whatever_way_one_learns_of_it() {
    let queue = Queue::<u32>::new().unwrap();
    let told = Queue::<u32>::new().unwrap();
    let child = Process::spawn(
        |queue: Queue<u32>, told: Queue<u32>| {
            for i in 0..500 {
                queue.put(i).unwrap();
                told.put(i).unwrap();
            }
        },
        (queue.clone(), told.clone()),
    )
    .unwrap();
    let reader = Process::spawn(
        |queue: Queue<u32>, told: Queue<u32>| {
            for i in 0..500 {
                assert_eq!(told.get().unwrap(), i);
                assert_eq!(queue.try_get().unwrap(), i);
            }
        },
        (queue.clone(), told.clone()),
    )
    .unwrap();
    child.result_timeout(SOON).unwrap();
    reader.result_timeout(SOON).unwrap();
}

#[test]
fn every_wait_has_an_async_form() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    let back = JoinableQueue::<u32>::new().unwrap();
    let child = Process::spawn(
        |queue: Queue<u32>, back: JoinableQueue<u32>| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for _ in 0..200 {
                    let item = queue.get_async().await.unwrap();
                    back.put_async(item).await.unwrap();
                }
                let lease = queue.get_leased_async().await.unwrap();
                assert_eq!(lease.done(), 1000);
                back.put_async(1000).await.unwrap();
                for i in 0..200 {
                    queue.put_async(i).await.unwrap();
                }
                back.join_async().await.unwrap();
            });
        },
        (queue.clone(), back.clone()),
    )
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for i in 0..200 {
            queue.put_async(i).await.unwrap();
            assert_eq!(back.get_async().await.unwrap(), i);
        }
        queue.put_async(1000).await.unwrap();
        assert_eq!(back.get_async().await.unwrap(), 1000);
        // The child puts into one place; somebody who gives up waits for it beside us.
        for i in 0..200 {
            let brief = tokio::time::timeout(Duration::from_nanos(1), queue.get_async()).await;
            let got = match brief {
                Ok(got) => got.unwrap(),
                Err(_) => queue.get_async().await.unwrap(),
            };
            assert_eq!(got, i);
        }
        for _ in 0..201 {
            back.task_done().unwrap();
        }
        back.join_async().await.unwrap();
    });
    child.result_timeout(SOON).unwrap();
}

#[test]
fn threads_of_one_process_share_what_it_is_lent() {
    let queue = Queue::<u32>::new().unwrap();
    let back = Queue::<u32>::new().unwrap();
    let child = Process::spawn(
        |queue: Queue<u32>, back: Queue<u32>| {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for item in &queue {
                            back.put(item.unwrap()).unwrap();
                        }
                    });
                }
            });
        },
        (queue.clone(), back.clone()),
    )
    .unwrap();
    let got = std::thread::scope(|scope| {
        for part in 0..2 {
            let queue = &queue;
            scope.spawn(move || queue.put_many(part * 5000..(part + 1) * 5000).unwrap());
        }
        let getters: Vec<_> = (0..2)
            .map(|_| {
                let get = || (0..5000).map(|_| back.get_timeout(SOON).unwrap()).collect::<Vec<_>>();
                scope.spawn(get)
            })
            .collect();
        getters.into_iter().flat_map(|getter| getter.join().unwrap()).collect::<Vec<_>>()
    });
    queue.shutdown(false).unwrap();
    child.result_timeout(SOON).unwrap();
    let mut got = got;
    got.sort_unstable();
    assert_eq!(got, (0..10_000).collect::<Vec<_>>());
}

#[test]
fn putting_waits_when_the_owner_keeps_too_many_bytes() {
    use procession_runtime::queue::{Options, Patience, RawQueue, tag};
    let queue = RawQueue::new(Options { bytes: 1_000_000, ..Options::default() });
    let text = "x".repeat(10_000);
    let put = |patience| queue.put_now(&text, tag::<String>(), patience);
    let mut count = 0;
    while put(Patience::Never).is_ok() {
        count += 1;
    }
    assert!((95..=100).contains(&count), "{count}");
    let tried = Queue::new().unwrap();
    let child = Process::spawn(
        |queue: RawQueue, tried: Queue<()>| {
            let text = "x".repeat(10_000);
            let mut count = 0;
            while queue.put_now(&text, tag::<String>(), Patience::Never).is_ok() {
                count += 1;
            }
            tried.put(()).unwrap();
            queue.put_now(&text, tag::<String>(), Patience::Until(None)).unwrap();
            count + 1
        },
        (queue.clone(), tried.clone()),
    )
    .unwrap();
    // Somebody makes room only when the child is done trying.
    tried.get_timeout(SOON).unwrap();
    let mut got = 0;
    let deadline = Instant::now() + SOON;
    while child.is_alive().unwrap() || queue.count().unwrap() > 0 {
        let wait = Patience::Until(Some(Instant::now() + Duration::from_millis(50)));
        got += i32::from(queue.get_now::<String>(tag::<String>(), wait).is_ok());
        assert!(Instant::now() < deadline);
    }
    let put = child.result_timeout(SOON).unwrap();
    assert!(put > 0 && put < 60, "{put}");
    assert_eq!(got, count + put);
}

/// Whoever looks again and again, however shortly, gets what is there.
#[test]
fn the_shortest_time_is_enough_for_what_is_there() {
    fn first(limit: Duration, mut done: impl FnMut(Duration) -> bool) -> bool {
        if limit.is_zero() {
            return done(limit);
        }
        (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            done(limit)
        })
    }
    fn look(items: JoinableQueue<u32>, places: Queue<u32>, limit: Duration) -> [bool; 6] {
        assert_eq!((items.qsize().unwrap(), places.qsize().unwrap()), (5, 0));
        let mut got = [false; 6];
        got[0] = first(limit, |limit| items.get_timeout(limit).is_ok());
        got[1] = first(limit, |limit| items.get_many_timeout(1, limit).is_ok());
        got[2] = first(limit, |limit| places.put_timeout(1, limit).is_ok());
        let leased = |limit| items.get_leased_timeout(limit).is_ok_and(|lease| lease.done() > 0);
        got[3] = first(limit, leased);
        while items.try_get().is_ok() {}
        assert!(matches!(items.join_timeout(limit), Err(QueueError::Timeout)));
        while items.task_done().is_ok() {}
        got[4] = first(limit, |limit| items.join_timeout(limit).is_ok());
        let refused = places.put_timeout(2, limit).unwrap_err().why;
        let empty = items.get_timeout(limit).unwrap_err();
        got[5] = matches!((refused, empty), (PutFault::Timeout, GetError::Timeout));
        got
    }
    for limit in [Duration::ZERO, Duration::from_nanos(1)] {
        let items = JoinableQueue::<u32>::new().unwrap();
        let places = Queue::<u32>::bounded(1).unwrap();
        items.put_many(1..=5).unwrap();
        let child = Process::spawn(look, (items.clone(), places.clone(), limit)).unwrap();
        assert_eq!(child.result_timeout(SOON).unwrap(), [true; 6], "{limit:?}");
        assert_eq!(places.get_timeout(Duration::ZERO).unwrap(), 1);
    }
}

/// Items that are put or got together, in every form that single ones have.
#[test]
fn several_are_put_and_got_with_and_without_a_wait() {
    fn forms(queue: Queue<u32>) {
        let full = queue.try_put_many(1..=5).unwrap_err();
        assert!(matches!(full.why, PutFault::Full) && full.put == 3, "{full:?}");
        assert_eq!(full.rest.collect::<Vec<_>>(), [4, 5]);
        for limit in [Duration::from_millis(50), Duration::ZERO] {
            let begun = Instant::now();
            let late = queue.put_many_timeout(4..=5, limit).unwrap_err();
            assert!(matches!(late.why, PutFault::Timeout) && begun.elapsed() >= limit);
            assert_eq!((late.put, late.rest.collect::<Vec<_>>()), (0, vec![4, 5]));
        }
        let mut got = Vec::new();
        while got.len() < 3 {
            got.extend(queue.try_get_many(9).unwrap());
        }
        assert_eq!(got, [1, 2, 3]);
        assert!(matches!(queue.try_get_many(9), Err(GetError::Empty)));
        procession_runtime::wait::block_on(async {
            let gets = async {
                let mut got = Vec::new();
                while got.len() < 20 {
                    got.extend(queue.get_many_async(4).await.unwrap());
                }
                got
            };
            let (put, got) = tokio::join!(queue.put_many_async(1..=20), gets);
            put.unwrap();
            assert_eq!(got, (1..=20).collect::<Vec<_>>());
        });
        // One that is dropped has put the first ones.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let is_full = async {
                while queue.qsize().unwrap() < 3 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                _ = queue.put_many_async(1..) => panic!("it has no end"),
                in_time = tokio::time::timeout(SOON, is_full) => in_time.unwrap(),
            }
        });
        assert_eq!(queue.qsize().unwrap(), 3);
        while !queue.is_empty().unwrap() {
            queue.try_get_many(1).unwrap();
        }
    }
    let queue = Queue::bounded(3).unwrap();
    forms(queue.clone());
    Process::spawn(forms, (queue,)).unwrap().result_timeout(SOON).unwrap();
}

/// And to learn that nothing comes any more.
#[test]
fn the_shortest_time_is_enough_for_the_end() {
    let queue = Queue::<u32>::new().unwrap();
    queue.put_many(1..=100).unwrap();
    queue.shutdown(false).unwrap();
    let get_all = |queue: Queue<u32>| {
        let mut got = Vec::new();
        loop {
            match queue.get_timeout(Duration::from_nanos(1)) {
                Ok(item) => got.push(item),
                Err(GetError::Timeout) => {}
                Err(error) => return (got, error.to_string()),
            }
        }
    };
    // So many that they wait for a processor.
    let children = [(); 6].map(|()| Process::spawn(get_all, (queue.clone(),)).unwrap());
    let mut all = Vec::new();
    for child in children {
        let (got, error) = child.result_timeout(SOON).unwrap();
        assert_eq!(error, GetError::Shutdown.to_string());
        all.extend(got);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=100).collect::<Vec<_>>());
}

/// What a process has given back it can get again at once.
#[test]
fn a_lease_that_was_dropped_is_there_for_who_dropped_it() {
    let again = |queue: Queue<u32>| {
        for number in 0..300 {
            queue.put(number).unwrap();
            drop(queue.get_leased().unwrap());
            assert_eq!(queue.try_get().unwrap(), number);
        }
        queue.qsize().unwrap()
    };
    assert_eq!(again(Queue::new().unwrap()), 0);
    let children = [(); 6].map(|()| Process::spawn(again, (Queue::new().unwrap(),)).unwrap());
    for child in children {
        assert_eq!(child.result_timeout(SOON).unwrap(), 0);
    }
}

/// A lease that was granted, and dropped before anybody saw it, is not one that was given back.
#[test]
fn a_lease_that_nobody_saw_leaves_no_mark() {
    let unseen = |queue: Queue<u32>| {
        // The first use attaches the handle, which may take long: the lease is to wait by then.
        assert_eq!(queue.qsize().unwrap(), 0);
        let mut lease = Box::pin(queue.get_leased_async());
        let mut context = Context::from_waker(Waker::noop());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {
            assert!(lease.as_mut().poll(&mut context).is_pending());
        }
        queue.put(1).unwrap();
        while queue.qsize().unwrap() > 0 {}
        drop(lease);
        let again = queue.get_leased_timeout(SOON).unwrap();
        (again.is_redelivered(), again.done())
    };
    assert_eq!(unseen(Queue::new().unwrap()), (false, 1));
    let child = Process::spawn(unseen, (Queue::new().unwrap(),)).unwrap();
    assert_eq!(child.result_timeout(SOON).unwrap(), (false, 1));
}

/// Who asks how many there are sees what has been put, and so has those who wait get it.
#[test]
fn items_come_while_they_are_counted() {
    const COUNT: u32 = 5_000;
    let (queue, is_over) = (Queue::<u32>::new().unwrap(), AtomicBool::new(false));
    let puts = |queue: Queue<u32>| {
        for number in 0..COUNT {
            queue.put(number).unwrap();
            std::thread::sleep(Duration::from_micros(u64::from(number % 7) * 20));
        }
    };
    let counts = |queue: Queue<u32>| while queue.qsize().is_ok() {};
    let counting = [(); 2].map(|()| Process::spawn(counts, (queue.clone(),)).unwrap());
    let child = Process::spawn(puts, (queue.clone(),)).unwrap();
    let mut got: Vec<u32> = std::thread::scope(|scope| {
        let gets = || {
            let mut got = Vec::new();
            for turn in 0.. {
                got.extend(queue.get_timeout(Duration::from_micros(1 + turn % 300)));
                if is_over.load(Ordering::SeqCst) && queue.is_empty().unwrap() {
                    break;
                }
            }
            got
        };
        let getting = [(); 3].map(|()| scope.spawn(gets));
        child.result_timeout(SOON).unwrap();
        is_over.store(true, Ordering::SeqCst);
        getting.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for child in counting {
        child.kill().unwrap();
    }
    got.sort_unstable();
    assert_eq!(got, (0..COUNT).collect::<Vec<_>>());
}
