//! A pool that a manager keeps, used from here and from children.

use crate::counted::{Counted, counted};
use crate::util::{METHODS, SOON, alone_command, is_alone, run, until};
use procession::manager::{
    BarrierProxy, IteratorProxy, ListProxy, MAX_FUNCTIONS, PoolProxy, ResultProxy,
};
use procession::{
    Error, Event, LogLevel, Manager, Process, TaskError, TaskOptions, context, log_to_stderr,
};
use serde::{Deserialize, Serialize, Serializer, ser};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn square(x: u64) -> u64 {
    x * x
}

fn inverse(x: u64) -> u64 {
    assert_ne!(x, 5, "on purpose");
    100 / (x + 1)
}

fn nap(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[test]
fn a_scope_in_a_child_terminates_the_pool() {
    for method in METHODS {
        let manager = Manager::start().unwrap();
        let pool = manager.pool(2).unwrap();
        let child = |pool: PoolProxy| pool.scope(|pool| pool.map(square, 0..4).unwrap()).unwrap();
        let child = context(method).spawn(child, (pool.clone(),)).unwrap();
        assert_eq!(child.result_timeout(SOON).unwrap(), [0, 1, 4, 9]);
        let refused = pool.apply(square, (3,)).unwrap_err();
        assert!(matches!(refused, Error::Task(TaskError::NotRunning)), "{refused}");
        pool.join().unwrap();
    }
}

#[test]
fn a_managed_pool_has_pythons_calls() {
    let manager = Manager::start().unwrap();
    let server = manager.process().unwrap().pid();
    let pool = manager.pool(3).unwrap();
    assert_eq!(pool.apply(square, (7,)).unwrap(), 49);
    let parents = pool.map(|_: u64| std::os::unix::process::parent_id(), 0..3).unwrap();
    assert!(parents.iter().all(|parent| Some(*parent) == server), "{parents:?} {server:?}");
    let squares: Vec<_> = (0..100).map(square).collect();
    assert_eq!(pool.map(square, 0..100).unwrap(), squares);
    let products = pool.starmap(|a: u64, b: u64| a * b, [(2, 3), (4, 5)]).unwrap();
    assert_eq!(products, [6, 20]);

    let later = pool.apply_async(square, (9,)).unwrap();
    assert!(later.wait_timeout(SOON).unwrap());
    assert!(later.ready().unwrap() && later.successful().unwrap());
    assert_eq!(later.get().unwrap(), 81);
    let all = pool.map_async(square, 0..10).unwrap();
    assert_eq!(all.get_timeout(SOON).unwrap(), squares[..10]);
    let all = pool.starmap_async(|a: u64, b: u64| a - b, [(9, 1)]).unwrap();
    assert_eq!(all.get().unwrap(), [8]);

    let stepped: Vec<_> = pool.imap(square, 0..100).unwrap().map(Result::unwrap).collect();
    assert_eq!(stepped.into_iter().map(Result::unwrap).collect::<Vec<_>>(), squares);
    let unordered = pool.imap_unordered(square, 0..100).unwrap();
    let mut found: Vec<_> = unordered.map(|one| one.unwrap().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, squares);
    pool.close().unwrap();
    assert!(matches!(pool.map(square, 0..2), Err(Error::Task(TaskError::NotRunning))));
    pool.join().unwrap();
}

#[test]
fn errors_and_limits_of_a_managed_pool_are_those_of_a_pool() {
    let manager = Manager::start().unwrap();
    let pool = manager.pool(2).unwrap();
    let panicked = |error: &TaskError| matches!(error, TaskError::Panicked(_));
    let failed = pool.apply(inverse, (5,)).unwrap_err();
    assert!(matches!(&failed, Error::Task(error) if panicked(error)), "{failed}");
    assert!(pool.map(inverse, 0..10).is_err());
    let stepped: Vec<_> = pool.imap(inverse, 0..10).unwrap().map(Result::unwrap).collect();
    assert_eq!(stepped.len(), 10);
    for (x, result) in (0..).zip(&stepped) {
        match result {
            Ok(value) => assert_eq!(*value, 100 / (x + 1)),
            Err(error) => assert!(x == 5 && panicked(error), "{error}"),
        }
    }
    let failed = pool.apply_async(inverse, (5,)).unwrap();
    assert!(failed.wait_timeout(SOON).unwrap());
    assert!(!failed.successful().unwrap());
    let slow = pool.apply_async(nap, (30_000,)).unwrap();
    assert!(matches!(slow.get_timeout(Duration::from_millis(20)), Err(Error::Timeout)));
    assert!(!slow.ready().unwrap());
    assert!(matches!(slow.successful(), Err(Error::NotReady)));
    let died = pool.apply(|| std::process::abort(), ()).map(|(): ()| ()).unwrap_err();
    assert!(matches!(died, Error::Task(TaskError::Died(_))), "{died}");
    pool.terminate().unwrap();
    let cancelled = slow.get().unwrap_err();
    assert!(matches!(cancelled, Error::Task(TaskError::Cancelled)), "{cancelled}");
}

#[test]
fn who_waits_for_a_result_without_a_limit_leaves_it_there() {
    let manager = Manager::start().unwrap();
    let pool = manager.pool(1).unwrap();
    let goes_on = Event::new().unwrap();
    let wait = |goes_on: Event| goes_on.wait_timeout(SOON).unwrap();
    let result = pool.apply_async(wait, (goes_on.clone(),)).unwrap();
    let (said, heard) = std::sync::mpsc::channel();
    let waits = result.clone();
    let waits = std::thread::spawn(move || {
        waits.wait().unwrap();
        said.send(waits.ready().unwrap()).unwrap();
    });
    assert!(heard.recv_timeout(Duration::from_millis(100)).is_err(), "nothing is there");
    goes_on.set().unwrap();
    assert!(heard.recv_timeout(SOON).unwrap());
    waits.join().unwrap();
    // One that is there is not waited for, and what failed is there too.
    result.wait().unwrap();
    assert!(result.get_timeout(SOON).unwrap());
    let failed = pool.apply_async(inverse, (5,)).unwrap();
    failed.wait().unwrap();
    assert!(!failed.successful().unwrap());
}

/// What cannot be encoded.
#[derive(Deserialize)]
struct Stays;

impl Serialize for Stays {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("it stays"))
    }
}

#[test]
fn a_managed_pool_refuses_and_is_given_up_at_once() {
    let manager = Manager::start().unwrap();
    assert!(manager.pool(0).is_err());
    let pool = manager.pool(3).unwrap();
    let refused = pool.map(|_: Stays| 1, [Stays]).unwrap_err();
    assert!(refused.to_string().contains("it stays"), "{refused}");
    assert_eq!(pool.apply(square, (2,)).unwrap(), 4);
    let many = pool.map_async(nap, (0..10_000).map(|_| 1000)).unwrap();
    let begun = Instant::now();
    pool.terminate().unwrap();
    pool.join().unwrap();
    assert!(begun.elapsed() < SOON / 6, "{:?}", begun.elapsed());
    assert!(matches!(many.get(), Err(Error::Task(TaskError::Cancelled))));
}

/// Row pool-16.
#[test]
fn a_managed_pool_has_as_many_workers_as_it_says() {
    let manager = Manager::start().unwrap();
    let pool = manager.pool(3).unwrap().with(TaskOptions::new().chunksize(1));
    let meet = |barrier: BarrierProxy| {
        barrier.wait_timeout(SOON).unwrap();
        std::process::id()
    };
    let barrier = manager.barrier(3, None).unwrap();
    let pids = pool.map(meet, (0..3).map(|_| barrier.clone())).unwrap();
    let pids = BTreeSet::from_iter(pids);
    assert_eq!(pids.len(), 3, "three run at a time");
    let more = pool
        .map(
            |_: u64| {
                nap(20);
                std::process::id()
            },
            0..9,
        )
        .unwrap();
    assert!(more.iter().all(|pid| pids.contains(pid)), "and there are no others");
}

/// However many wait, the manager serves others, and ends what they wait for.
#[test]
fn those_who_wait_at_a_managed_pool_keep_nobody_from_it() {
    let manager = Manager::start().unwrap();
    let pool = manager.pool(1).unwrap();
    let dict = manager.dict_of([(0, 0)]).unwrap();
    let slow = pool.apply_async(nap, (60_000,)).unwrap();
    let wait = |who: usize| {
        let (pool, slow) = (pool.clone(), slow.clone());
        std::thread::spawn(move || match who % 4 {
            0 => pool.apply(nap, (60_000,)),
            1 => pool.map(nap, [60_000]).map(|naps| naps[0]),
            _ => slow.get(),
        })
    };
    // Each is a function for the moment in which it begins to wait, and of those only so many
    // may run at a time.
    let waits: Vec<_> = (0..MAX_FUNCTIONS + 20)
        .map(|who| {
            if who % 16 == 0 {
                std::thread::sleep(Duration::from_millis(100));
            }
            wait(who)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    assert!(matches!(slow.get_timeout(Duration::from_millis(20)), Err(Error::Timeout)));
    assert!(!slow.wait_timeout(Duration::from_millis(20)).unwrap() && !slow.ready().unwrap());
    assert_eq!(
        dict.update(
            &0,
            |n: &mut i32, by: i32| {
                *n += by;
                *n
            },
            7
        )
        .unwrap(),
        7
    );
    assert_eq!(manager.call(square, (3,)).unwrap(), 9);
    assert!(waits.iter().all(|wait| !wait.is_finished()), "nobody was refused");
    pool.terminate().unwrap();
    for wait in waits {
        let error = wait.join().unwrap().unwrap_err();
        let is_over = |error: &TaskError| matches!(error, TaskError::Cancelled | TaskError::Taken);
        assert!(matches!(error, Error::Task(error) if is_over(&error)));
    }
    pool.join().unwrap();
}

#[test]
fn a_client_that_has_died_takes_no_result() {
    let manager = Manager::start().unwrap();
    let pool = manager.pool(1).unwrap();
    let (begun, goes_on) = (Event::new().unwrap(), Event::new().unwrap());
    let wait = |goes_on: Event| goes_on.wait_timeout(SOON).unwrap();
    let result = pool.apply_async(wait, (goes_on.clone(),)).unwrap();
    let objects = manager.object_count().unwrap();
    let child = |manager: ListProxy<u8>, result: ResultProxy<bool>, begun: Event| {
        let _has = manager.len().unwrap();
        let waits: Vec<_> = (0..4)
            .map(|_| {
                let result = result.clone();
                std::thread::spawn(move || result.get())
            })
            .collect();
        std::thread::sleep(Duration::from_millis(200));
        begun.set().unwrap();
        for wait in waits {
            let _ = wait.join().unwrap();
        }
    };
    let list = manager.list([1]).unwrap();
    let child = Process::spawn(child, (list, result.clone(), begun.clone())).unwrap();
    assert!(begun.wait_timeout(SOON).unwrap());
    child.as_ref().kill().unwrap();
    until("its death is known", || manager.object_count().unwrap() == objects);
    goes_on.set().unwrap();
    assert!(result.get_timeout(SOON).unwrap());
}

#[test]
fn a_managed_pool_ends_with_its_last_proxy() {
    let manager = Manager::start().unwrap();
    let child = |pool: PoolProxy| {
        let slow = pool.apply_async(nap, (30_000,)).unwrap();
        drop(pool);
        slow.get().unwrap()
    };
    let pool = manager.pool(1).unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let child = Process::spawn(child, (pool,)).unwrap();
    let is_alive = || std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(child.result_timeout(SOON).is_err(), "its task is cancelled");
    until("the worker is gone", || !is_alive());
    until("nothing is left", || manager.object_count().unwrap() == 0);
}

/// Rows pool-02 and pool-12.
#[test]
fn a_managed_pool_takes_inputs_in_chunks() {
    let manager = Manager::start().unwrap();
    let pool = manager.pool(3).unwrap();
    let squares = |n: u64| (0..n).map(square).collect::<Vec<_>>();
    assert_eq!(pool.map(square, 0..10).unwrap(), squares(10));
    let chunks = pool.with(TaskOptions::new().chunksize(20));
    assert_eq!(chunks.map(square, 0..100).unwrap(), squares(100));
    assert_eq!(chunks.map_async(square, 0..100).unwrap().get().unwrap(), squares(100));
    let values = |results: IteratorProxy<Result<u64, TaskError>>| {
        results.map(|one| one.unwrap().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(values(pool.imap(square, 0..10).unwrap()), squares(10));
    let chunks = pool.with(TaskOptions::new().chunksize(100));
    assert_eq!(values(chunks.imap(square, 0..1000).unwrap()), squares(1000));
    let mut none = pool.imap(square, 0..0).unwrap();
    assert!(none.next().is_none() && none.next().is_none());
    assert!(pool.with(TaskOptions::new().chunksize(0)).map(square, 0..2).is_err());
    // The other terms hold as well.
    let brief = pool.with(TaskOptions::new().timeout(Duration::from_millis(20)));
    let slept = brief.apply(nap, (60_000,)).unwrap_err();
    assert!(matches!(slept, Error::Task(TaskError::TimedOut(_))), "{slept}");
}

/// Row pool-22.
#[test]
fn a_managed_map_with_large_errors_fails_when_all_its_tasks_are_done() {
    let large = |millis: u64| -> u64 {
        nap(millis);
        panic!("{}", "x".repeat(1 << 20))
    };
    let manager = Manager::start().unwrap();
    let pool = manager.pool(2).unwrap();
    let begun = Instant::now();
    let failed = pool.with(TaskOptions::new().chunksize(1)).map(large, [0, 1000]).unwrap_err();
    let Error::Task(TaskError::Panicked(report)) = failed else { panic!("{failed}") };
    assert_eq!(report.message.len(), 1 << 20);
    assert!(begun.elapsed() > Duration::from_millis(900));
    pool.close().unwrap();
    let child = Process::spawn(|pool: PoolProxy| pool.join().unwrap(), (pool,)).unwrap();
    child.result_timeout(SOON).unwrap();
}

/// Row pool-23: neither the manager nor a worker nor this process keeps one.
#[test]
fn a_managed_pool_keeps_no_argument_and_no_result() {
    let manager = Manager::start().unwrap();
    let pool = manager.pool(1).unwrap();
    let next = |it: Counted| Counted::new(it.0 + 1);
    let results = pool.map(next, (0..10).map(Counted::new)).unwrap();
    assert_eq!(counted(), 10, "the results alone");
    drop(results);
    assert_eq!(counted(), 0);
    assert_eq!(pool.apply(counted, ()).unwrap(), 0);
    assert_eq!(manager.call(counted, ()).unwrap(), 0);
    // What waits in the manager goes with the last reference to it.
    let later = pool.map_async(next, (0..10).map(Counted::new)).unwrap();
    assert!(later.wait_timeout(SOON).unwrap());
    drop(later);
    until("the results are gone", || manager.call(counted, ()).unwrap() == 0);
    assert_eq!(counted(), 0);
}

/// Row pool-24, and the same for a closed one.
#[test]
fn a_managed_pool_that_has_ended_takes_nothing() {
    let manager = Manager::start().unwrap();
    for terminate in [true, false] {
        let pool = manager.pool(1).unwrap();
        assert!(matches!(pool.join(), Err(Error::Task(_))), "it is running");
        let ended = if terminate { pool.terminate() } else { pool.close() };
        ended.unwrap();
        let refused = |result: Result<(), Error>| {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Task(TaskError::NotRunning)), "{error}");
        };
        refused(pool.apply(square, (1,)).map(drop));
        refused(pool.apply_async(square, (1,)).map(drop));
        refused(pool.map(square, 0..2).map(drop));
        refused(pool.map_async(square, 0..2).map(drop));
        refused(pool.starmap(square, [(1,)]).map(drop));
        // As Python's `with` on a pool that has ended.
        refused(pool.clone().scope(|pool| pool.map(square, 0..2)).unwrap().map(drop));
        pool.join().unwrap();
    }
}

/// Row pool-25: the manager says so, in its own log.
#[test]
fn a_busy_managed_pool_that_is_dropped_says_so_and_leaves_nothing() {
    let name = "pools::a_busy_managed_pool_that_is_dropped_says_so_and_leaves_nothing";
    if is_alone(name) {
        log_to_stderr(LogLevel::Warning).unwrap();
        let manager = Manager::start().unwrap();
        let pool = manager.pool(2).unwrap();
        let pid = pool.apply(std::process::id, ()).unwrap();
        let results: Vec<_> = (0..10).map(|_| pool.apply_async(nap, (60_000,)).unwrap()).collect();
        let begun = Instant::now();
        drop(pool);
        assert!(begun.elapsed() < SOON / 3, "dropping does not wait");
        for result in results {
            let cancelled = result.get().unwrap_err();
            assert!(matches!(cancelled, Error::Task(TaskError::Cancelled)), "{cancelled}");
        }
        let path = format!("/proc/{pid}");
        until("the worker is gone", || !std::path::Path::new(&path).exists());
        until("nothing is left", || manager.object_count().unwrap() == 0);
        manager.shutdown().unwrap();
        return;
    }
    let output = run(alone_command(name));
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    let warning = "a pool is dropped while it is busy; its workers are terminated";
    assert!(output.stderr.contains(warning), "{}", output.stderr);
}
