//! A pool that a manager keeps, used from here and from children.

use crate::util::{METHODS, SOON, until};
use procession::manager::PoolProxy;
use procession::{Error, Manager, Process, TaskError, context};
use serde::{Deserialize, Serialize, Serializer, ser};
use std::time::Duration;

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
    pool.terminate().unwrap();
    pool.join().unwrap();
    assert!(matches!(many.get(), Err(Error::Task(TaskError::Cancelled))));
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
