//! Pools that end while their workers are busy, are starting or do not listen, and what is
//! left then.

use crate::util::{Folder, METHODS, SOON, alone, children_of, lines, lives, note, signal, until};
use nix::sys::signal::{SigSet, Signal};
use procession::{Error, Pool, StartError, StartMethod, TaskError};
use std::time::Duration;

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// From now on this process does not listen to SIGTERM.
fn be_deaf() {
    SigSet::all().thread_block().unwrap();
}

#[test]
fn a_terminate_by_another_thread_ends_a_map() {
    let pool = Pool::new(2).unwrap();
    std::thread::scope(|scope| {
        let map = scope.spawn(|| pool.map(pause, [60_000u64; 4]));
        let follower = scope.spawn(|| pool.apply(pause, (60_000,)));
        std::thread::sleep(Duration::from_millis(100));
        pool.terminate();
        assert!(matches!(map.join().unwrap(), Err(Error::Task(TaskError::Cancelled))));
        let ended = follower.join().unwrap();
        assert!(matches!(ended, Err(Error::Task(TaskError::Cancelled | TaskError::NotRunning))));
    });
}

/// The first worker is ready at once. Others are deaf, and not ready for a minute.
fn slow_and_deaf_from_the_second(file: String) {
    note(&file, &std::process::id().to_string());
    if lines(&file, 1)[0] != std::process::id().to_string() {
        be_deaf();
        note(&file, "deaf");
        pause(60_000);
    }
}

/// A worker that is starting is killed with the others: neither its initializer nor its
/// deafness keeps who joins.
#[test]
fn terminate_does_not_wait_for_a_worker_that_is_starting() {
    let folder = Folder::new("pool-starting");
    for method in METHODS {
        let file = folder.file(method.to_string());
        let builder = Pool::builder().processes(1).start_method(method);
        let builder = builder.initializer(slow_and_deaf_from_the_second, (file.clone(),));
        let pool = builder.build().unwrap();
        let _ = pool.apply(|| -> u8 { std::process::exit(3) }, ());
        let second: u32 = lines(&file, 3)[1].parse().unwrap();
        pool.terminate();
        assert!(pool.join_timeout(SOON).unwrap());
        assert!(!lives(second));
    }
}

/// A pool that breaks down ends its workers by force, if they do not listen.
#[test]
fn a_broken_pool_keeps_no_deaf_worker() {
    let builder = Pool::builder().processes(2).initializer(be_deaf, ());
    let pool = builder.restarts(0, Duration::from_mins(1)).build().unwrap();
    let pids = pool.pids();
    signal(pids[0], Signal::SIGKILL);
    until("the pool is broken and the other is gone", || pool.pids().is_empty() && !lives(pids[1]));
    assert!(pool.join_timeout(SOON).unwrap());
}

/// The first worker fails when all have come; others are deaf, and ready after so long.
fn fail_as_the_first(file: String, ms: u64) {
    let me = std::process::id().to_string();
    note(&file, &me);
    if lines(&file, 3)[0] == me {
        // Those that will be ready are.
        pause(300);
        panic!("no database");
    }
    be_deaf();
    pause(ms);
}

/// F12: whether the others are ready or still starting.
#[test]
fn a_failing_initializer_is_an_error_and_leaves_nothing() {
    alone("ending::a_failing_initializer_is_an_error_and_leaves_nothing", || {
        let folder = Folder::new("pool-initializer");
        for (method, ms) in METHODS.into_iter().flat_map(|method| [(method, 0), (method, 60_000)]) {
            let file = folder.file(format!("{method}-{ms}"));
            let builder = Pool::builder().processes(3).start_method(method);
            let built = builder.initializer(fail_as_the_first, (file.clone(), ms)).build();
            let Err(Error::Start(StartError::Refused(fault))) = built else { panic!("{built:?}") };
            assert!(fault.to_string().contains("no database"), "{fault}");
            for pid in lines(&file, 3) {
                assert!(!lives(pid.parse().unwrap()), "{pid} is left, by {method}, {ms} ms");
            }
            if method == StartMethod::Spawn {
                assert!(children_of(std::process::id()).is_empty(), "nor one that said nothing");
            }
        }
    });
}
