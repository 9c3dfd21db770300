//! Who an executor's workers are: how many, when they begin, and what their calls may do.

use crate::util::{METHODS, SOON, alone};
use crate::{executor, pause, soon, sqr};
use procession::{Pool, Process, ProcessPoolExecutor};
use std::time::{Duration, SystemTime};

/// As in Python, where tasks of a pool may not.
#[test]
fn a_call_may_have_workers_of_its_own() {
    for method in METHODS {
        let builder = ProcessPoolExecutor::builder().max_workers(1).start_method(method);
        let executor = builder.build().unwrap();
        let inner = |n: i64| {
            let executor = ProcessPoolExecutor::new(2).unwrap();
            let squares: i64 = executor.map(sqr, 0..n).unwrap().map(Result::unwrap).sum();
            let by_pool = Pool::new(1).unwrap().apply(sqr, (n,)).unwrap();
            (squares, by_pool, Process::spawn(sqr, (2,)).unwrap().result().unwrap())
        };
        assert_eq!(soon(&executor.submit(inner, (4,)).unwrap()).unwrap(), (14, 16, 4));
        assert!(executor.shutdown_timeout(SOON, false).unwrap());
    }
}

/// Workers do not wait until the last input has been drawn.
#[test]
fn a_map_begins_with_its_first_inputs() {
    let executor = executor(1);
    soon(&executor.submit(sqr, (1,)).unwrap()).unwrap();
    let inputs = (0..10u64).inspect(|_| std::thread::sleep(Duration::from_millis(150)));
    let mut results = executor.map(|_: u64| SystemTime::now(), inputs).unwrap();
    let drawn = SystemTime::now();
    let begun = results.next().unwrap().unwrap();
    assert!(begun + Duration::from_millis(200) < drawn, "{begun:?} {drawn:?}");
}

#[test]
fn there_may_be_as_many_workers_as_anybody_wants() {
    let executor = executor(usize::MAX);
    let squares: Result<Vec<_>, _> = executor.map(sqr, 0..3).unwrap().collect();
    assert_eq!(squares.unwrap(), [0, 1, 4]);
    assert!(executor.pids().len() <= 3);
}

/// How often the threads of this process have gone to sleep.
fn sleeps() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of_task = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    tasks.map(of_task).sum()
}

/// Who waits for a call is the only one that does.
#[test]
fn a_wait_for_a_call_keeps_no_thread_busy() {
    alone("workers::a_wait_for_a_call_keeps_no_thread_busy", || {
        let executor = executor(1);
        soon(&executor.submit(pause, (0,)).unwrap()).unwrap();
        let before = sleeps();
        soon(&executor.submit(pause, (1_000,)).unwrap()).unwrap();
        let slept = sleeps() - before;
        assert!(slept < 200, "threads woke up {slept} times in a second");
    });
}
