//! What pools give and in which order, what is lazy, what fails and how: the part that says
//! nothing of processes, which `tests/dummy` runs on threads as well.

use crate::util::{SOON, late, until};
use futures_core::Stream;
use procession::{Error, Pool, TaskError, TaskOptions};
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) fn sqr(x: i64) -> i64 {
    x * x
}

pub(crate) fn mul(x: i64, y: i64) -> i64 {
    x * y
}

pub(crate) fn squares(of: std::ops::Range<i64>) -> Vec<i64> {
    of.map(sqr).collect()
}

pub(crate) fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Rows pool-02, pool-03, pool-04.
#[test]
fn maps_keep_the_order() {
    let pool = Pool::new(4).unwrap();
    let chunks = pool.with(TaskOptions::new().chunksize(20));
    assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(0..10));
    assert_eq!(chunks.map(sqr, 0..100).unwrap(), squares(0..100));
    let pairs = |n: i64| (0..n).map(move |i| (i, n - 1 - i));
    let products = |n: i64| pairs(n).map(|(x, y)| x * y).collect::<Vec<_>>();
    assert_eq!(pool.starmap(mul, pairs(10)).unwrap(), products(10));
    assert_eq!(chunks.starmap(mul, pairs(100)).unwrap(), products(100));
    assert_eq!(chunks.starmap_async(mul, pairs(100)).unwrap().get().unwrap(), products(100));
    assert_eq!(pool.map_async(sqr, 0..1000).unwrap().get().unwrap(), squares(0..1000));
    // Without a length, and empty.
    assert_eq!(pool.map(sqr, (0..100).filter(|x| x % 7 == 0)).unwrap().len(), 15);
    assert_eq!(pool.map(sqr, 0..0).unwrap(), squares(0..0));
    assert_eq!(pool.map_async(sqr, 0..0).unwrap().get().unwrap(), squares(0..0));
}

/// Row pool-06.
#[test]
fn callbacks_run_once_in_this_process_before_the_result_is_ready() {
    let pool = Pool::new(2).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |seen: &Arc<Mutex<Vec<String>>>| {
        let seen = seen.clone();
        move |text: String| seen.lock().unwrap().push(text)
    };
    let (good, bad) = (note(&seen), note(&seen));
    let result = pool.map_async(sqr, [1]).unwrap();
    let result = result
        .callback(move |all| good(format!("{all:?} in {}", std::process::id())))
        .unwrap()
        .error_callback(move |error| bad(error.to_string()))
        .unwrap();
    result.wait().unwrap();
    assert!(result.ready() && result.successful().unwrap());
    assert_eq!(*seen.lock().unwrap(), [format!("[1] in {}", std::process::id())]);
    seen.lock().unwrap().clear();

    let (good, bad) = (note(&seen), note(&seen));
    let fails = |x: i64| -> i64 { panic!("no {x}") };
    let result = pool.map_async(fails, [1]).unwrap();
    let result = result.callback(move |_| good("called".into())).unwrap();
    let result = result.error_callback(move |error| bad(error.to_string())).unwrap();
    assert!(result.wait_timeout(SOON).unwrap());
    assert!(!result.successful().unwrap());
    let said = seen.lock().unwrap().clone();
    assert!(said.len() == 1 && said[0].ends_with("no 1"), "{said:?}");
}

/// Row pool-26.
#[test]
fn an_error_callback_hears_of_the_error_before_get_does() {
    let pool = Pool::new(1).unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    let result = pool.apply_async(|| -> u8 { panic!("key") }, ()).unwrap();
    let result = result
        .error_callback(move |error| {
            assert!(matches!(error, TaskError::Panicked(_)));
            count.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
    let Err(Error::Task(TaskError::Panicked(report))) = result.get() else {
        panic!("the task failed")
    };
    assert_eq!((report.message.as_str(), heard.load(Ordering::SeqCst)), ("key", 1));
    assert!(report.location.contains("pool/rows.rs:"), "{}", report.location);
}

#[test]
fn a_callback_that_fails_or_waits_delays_no_other_result() {
    let pool = Pool::new(1).unwrap();
    let (gate, held) = std::sync::mpsc::channel::<()>();
    let slow = pool.apply_async(sqr, (1,)).unwrap();
    let slow = slow.callback(move |_| assert!(held.recv_timeout(SOON).is_err())).unwrap();
    let bad = pool.apply_async(sqr, (2,)).unwrap().callback(|_| panic!("in vain")).unwrap();
    assert_eq!(pool.apply(sqr, (3,)).unwrap(), 9);
    assert!(!slow.ready());
    drop(gate);
    assert_eq!((slow.get().unwrap(), bad.get().unwrap()), (1, 4));
    pool.close();
    pool.join().unwrap();
}

fn failing_at(at: i64) -> impl Iterator<Item = Result<i64, String>> {
    (0..10).map(move |x| if x == at { Err(format!("input {x}")) } else { Ok(x) })
}

/// Row pool-09.
#[test]
fn a_failing_input_is_the_error_of_a_map() {
    let pool = Pool::new(2).unwrap();
    for at in [0, 3] {
        let without_length = failing_at(at).filter(|_| true);
        for result in [pool.try_map(sqr, failing_at(at)), pool.try_map(sqr, without_length)] {
            let Err(Error::Task(TaskError::Input(why))) = result else { panic!("{result:?}") };
            assert_eq!(why, format!("input {at}"));
        }
    }
    assert_eq!(pool.try_map(sqr, failing_at(99)).unwrap(), squares(0..10));
    let pairs = |at| failing_at(at).map(|x| x.map(|x| (x, 1)));
    let sums = pool.try_starmap(|a: i64, b: i64| a + b, pairs(99)).unwrap();
    assert_eq!(sums, (1..11).collect::<Vec<_>>());
    let failed = pool.try_starmap(|a: i64, b: i64| a + b, pairs(4));
    assert!(matches!(failed, Err(Error::Task(TaskError::Input(why))) if why == "input 4"));
}

/// Row pool-12.
#[test]
fn imap_gives_results_in_order() {
    let pool = Pool::new(3).unwrap();
    let results = pool.imap(sqr, 0..10).unwrap();
    assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>(), squares(0..10));
    let chunks = pool.with(TaskOptions::new().chunksize(100));
    let results = chunks.imap(sqr, 0..1000).unwrap();
    assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>(), squares(0..1000));
    let mut none = pool.imap(sqr, 0..0).unwrap();
    assert!(none.next().is_none() && none.next().is_none());
}

/// Row pool-13.
#[test]
fn a_failing_input_is_an_error_at_its_turn() {
    let pool = Pool::new(2).unwrap();
    for (at, chunksize, good) in [(3, 1, 3), (7, 2, 6), (7, 4, 4)] {
        let tasks = pool.with(TaskOptions::new().chunksize(chunksize));
        let mut results = tasks.try_imap(sqr, failing_at(at)).unwrap();
        for x in 0..good {
            assert_eq!(results.next().unwrap().unwrap(), sqr(x));
        }
        let Some(Err(TaskError::Input(why))) = results.next() else { panic!("no error") };
        assert_eq!(why, format!("input {at}"));
        assert!(results.next().is_none());
        let results = tasks.try_imap_unordered(sqr, failing_at(at)).unwrap();
        let (mut values, failed): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
        values.sort_unstable_by_key(|value| *value.as_ref().unwrap());
        assert_eq!(values, squares(0..good).into_iter().map(Ok).collect::<Vec<_>>());
        assert_eq!(failed, [Err(TaskError::Input(format!("input {at}")))]);
    }
}

/// Row pool-14.
#[test]
fn imap_unordered_gives_them_all() {
    let pool = Pool::new(3).unwrap();
    for chunksize in [1, 53] {
        let tasks = pool.with(TaskOptions::new().chunksize(chunksize));
        let results = tasks.imap_unordered(sqr, 0..500).unwrap();
        let mut results: Vec<_> = results.map(Result::unwrap).collect();
        results.sort_unstable();
        assert_eq!(results, squares(0..500));
    }
    // Out of order: the first input takes longest.
    let slow_first = |x: i64| {
        pause(if x == 0 { 300 } else { 0 });
        x
    };
    let results: Vec<_> = pool.imap_unordered(slow_first, 0..6).unwrap().collect();
    assert!(matches!(results[5], Ok(0)), "{results:?}");
}

#[test]
fn imap_draws_a_few_inputs_ahead_and_only_within_next() {
    let drawn = Cell::new(0);
    let inputs = (0i64..).inspect(|_| drawn.set(drawn.get() + 1));
    let pool = Pool::new(2).unwrap();
    let mut results = pool.imap(sqr, inputs).unwrap();
    assert_eq!(drawn.get(), 0);
    for x in 0..50 {
        assert_eq!(results.next().unwrap().unwrap(), sqr(x));
    }
    let ahead = drawn.get() - 50;
    assert!(ahead <= 2 * 64, "{ahead} inputs were drawn ahead");
    pause(50);
    assert_eq!(drawn.get() - 50, ahead);
}

#[test]
fn after_an_error_the_later_results_still_come() {
    let pool = Pool::new(2).unwrap();
    let inverse = |x: i64| 10 / (x - 5);
    for chunksize in [1, 4] {
        let tasks = pool.with(TaskOptions::new().chunksize(chunksize));
        let results: Vec<_> = tasks.imap(inverse, 0..10).unwrap().collect();
        let failed: Vec<_> = (0..10).filter(|at| results[*at].is_err()).collect();
        assert_eq!((results.len(), failed), (10, vec![5]));
        assert!(matches!(&results[5], Err(TaskError::Panicked(r)) if r.message.contains("zero")));
    }
    let Err(Error::Task(TaskError::Panicked(_))) = pool.map(inverse, 0..10) else {
        panic!("a map fails with its first error")
    };
}

#[test]
fn a_timeout_of_a_wait_loses_nothing() {
    let pool = Pool::new(1).unwrap();
    let slow = |x: i64| {
        pause(300);
        x
    };
    let result = pool.apply_async(slow, (1,)).unwrap();
    assert!(!result.ready() && matches!(result.successful(), Err(Error::NotReady)));
    let begun = Instant::now();
    assert!(matches!(result.get_timeout(Duration::from_millis(20)), Err(Error::Timeout)));
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert_eq!(result.get().unwrap(), 1);
    assert!(matches!(result.get(), Err(Error::Task(TaskError::Taken))));
    let mut results = pool.imap(slow, 0..2).unwrap();
    assert!(matches!(results.next_timeout(Duration::from_millis(20)), Err(Error::Timeout)));
    assert!(matches!(results.next_timeout(SOON), Ok(Some(Ok(0)))));
    assert!(matches!(results.next(), Some(Ok(1))));
    assert!(matches!(results.next_timeout(SOON), Ok(None)));
}

/// Row pool-22.
#[test]
fn a_map_fails_when_all_its_tasks_are_done() {
    let pool = Pool::new(2).unwrap();
    let begun = Instant::now();
    let large = |wait: u64| -> u8 {
        pause(wait);
        panic!("{}", "x".repeat(1 << 20))
    };
    let chunks = pool.with(TaskOptions::new().chunksize(1));
    let Err(Error::Task(TaskError::Panicked(report))) = chunks.map(large, [0u64, 1000]) else {
        panic!("both fail")
    };
    assert_eq!(report.message.len(), 1 << 20);
    assert!(begun.elapsed() > Duration::from_millis(900));
    pool.close();
    assert!(pool.join_timeout(SOON).unwrap());
}

/// Row pool-24, and the same for a closed one.
#[test]
fn a_pool_that_has_ended_takes_nothing() {
    for terminate in [true, false] {
        let pool = Pool::new(1).unwrap();
        let early = pool.apply_async(sqr, (4,)).unwrap();
        assert!(matches!(pool.join(), Err(Error::PoolRunning)));
        early.wait().unwrap();
        if terminate {
            pool.terminate();
        } else {
            pool.close();
        }
        let refused = |result: Result<i64, Error>| {
            assert!(matches!(result, Err(Error::Task(TaskError::NotRunning))), "{result:?}");
        };
        refused(pool.apply(sqr, (1,)));
        refused(pool.map(sqr, 0..3).map(|_| 0));
        refused(pool.apply_async(sqr, (1,)).map(|_| 0));
        assert!(matches!(pool.imap(sqr, 0..).unwrap().next(), Some(Err(TaskError::NotRunning))));
        pool.join().unwrap();
        assert_eq!(early.get().unwrap(), 16, "a result can be had afterwards");
    }
}

#[test]
fn threads_share_a_pool() {
    let pool = Pool::new(2).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4i64 {
            let pool = &pool;
            scope.spawn(move || {
                for x in 0..50 {
                    assert_eq!(pool.apply(mul, (thread, x)).unwrap(), thread * x);
                }
                let results = pool.imap(sqr, 0..50).unwrap();
                assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>(), squares(0..50));
                assert_eq!(pool.map(sqr, 0..50).unwrap(), squares(0..50));
            });
        }
    });
}

#[tokio::test]
async fn results_can_be_awaited() {
    let pool = Pool::new(2).unwrap();
    let both = (pool.apply_async(sqr, (3,)).unwrap(), pool.map_async(sqr, 0..4).unwrap());
    assert_eq!((both.0.await.unwrap(), both.1.await.unwrap()), (9, squares(0..4)));
    let mut results = pool.imap(sqr, 0..100).unwrap();
    let mut all = Vec::new();
    while let Some(result) = results.next_async().await {
        all.push(result.unwrap());
    }
    assert_eq!(all, squares(0..100));
    pool.close();
    pool.join_async().await.unwrap();
}

#[tokio::test]
async fn results_come_as_a_stream() {
    let pool = Pool::new(2).unwrap();
    let mut results = pool.imap(sqr, 0..100).unwrap().into_stream();
    let mut all = Vec::new();
    while let Some(result) = poll_fn(|it| Pin::new(&mut results).poll_next(it)).await {
        all.push(result.unwrap());
    }
    assert_eq!(all, squares(0..100));
}

#[test]
fn tasks_run_though_nobody_waits() {
    let pool = Pool::new(2).unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let results: Vec<_> = (0..200)
        .map(|x| {
            let done = done.clone();
            let result = pool.apply_async(sqr, (x,)).unwrap();
            let count = move |_: &i64| {
                done.fetch_add(1, Ordering::SeqCst);
            };
            result.callback(count).unwrap()
        })
        .collect();
    until("all callbacks ran", || done.load(Ordering::SeqCst) == 200);
    assert!(results.iter().all(procession::AsyncResult::ready));
}

/// However long the results before it take.
#[test]
fn a_failing_input_is_the_last_result_in_no_order_too() {
    let pool = Pool::new(2).unwrap();
    let slow = |x: i64| {
        pause(100);
        x
    };
    let results: Vec<_> = pool.try_imap_unordered(slow, failing_at(3)).unwrap().collect();
    assert_eq!(results.len(), 4);
    assert!(results[..3].iter().all(Result::is_ok), "{results:?}");
    assert!(matches!(results[3], Err(TaskError::Input(_))), "{results:?}");
}

#[test]
fn an_error_can_be_asked_for_again() {
    let pool = Pool::new(1).unwrap();
    let failed = pool.apply_async(|| -> u8 { panic!("in vain") }, ()).unwrap();
    for _ in 0..2 {
        let error = failed.get();
        assert!(matches!(error, Err(Error::Task(TaskError::Panicked(_)))), "{error:?}");
        assert!(!failed.successful().unwrap());
    }
}

/// A result that is there does not wait for inputs that are slow to come.
#[test]
fn slow_inputs_hold_up_no_result() {
    let pool = Pool::new(2).unwrap();
    for is_ordered in [true, false] {
        let drawn = Cell::new(0);
        let slow = (0..20i64).inspect(|_| {
            pause(300);
            drawn.set(drawn.get() + 1);
        });
        let mut results = if is_ordered {
            pool.imap(sqr, slow).unwrap()
        } else {
            pool.imap_unordered(sqr, slow).unwrap()
        };
        assert_eq!(results.next().unwrap().unwrap(), 0);
        // As far as it may look ahead are 8.
        assert!(drawn.get() < 7, "{} were drawn before the first result", drawn.get());
    }
}

/// Nor do they hold up who waits for a while only.
#[test]
fn slow_inputs_hold_up_no_timeout() {
    let pool = Pool::new(2).unwrap();
    let drawn = Cell::new(0);
    let slow = (0..20u64).inspect(|_| {
        pause(100);
        drawn.set(drawn.get() + 1);
    });
    let mut results = pool.imap(|_: u64| pause(3_000), slow).unwrap();
    assert!(matches!(results.next_timeout(Duration::from_millis(150)), Err(Error::Timeout)));
    assert!(drawn.get() <= 2, "{} were drawn", drawn.get());
}

#[test]
fn a_thread_that_ends_gives_calls_as_well() {
    let pool = Pool::new(1).unwrap();
    late(move || {
        assert_eq!(pool.apply(sqr, (3,)).unwrap(), 9);
        assert_eq!(pool.map(sqr, 0..3).unwrap(), squares(0..3));
    });
}
