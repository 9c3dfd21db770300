//! How executors end: by a shutdown, or with their scope.

use crate::util::{self, Folder, SOON, note};
use crate::{Bad, executor, gate, pause, soon, sqr};
use procession::{Error, ProcessPoolExecutor, TaskError};
use std::time::Duration;

/// Row exshut-09.
#[test]
fn the_end_of_a_scope_is_the_end_of_the_workers() {
    let pids = {
        let executor = executor(5);
        let absolute: procession::Result<Vec<i64>> =
            executor.map(|x: i64| x.abs(), -5..4).unwrap().collect();
        assert_eq!(absolute.unwrap(), [5, 4, 3, 2, 1, 0, 1, 2, 3]);
        executor.pids()
    };
    assert!((1..=5).contains(&pids.len()), "{pids:?}");
    util::until("all have ended", || !pids.iter().any(|pid| util::lives(*pid)));
}

/// Rows exshut-01, exshut-04, exshut-07, exshut-09, exshut-11, exshut-12, exshut-13,
/// exdead-13, exdead-14.
#[test]
fn a_shutdown_waits_for_what_was_submitted_or_cancels_it() {
    let workers = executor(4);
    let calls: Vec<_> = (0..50).map(|x| workers.submit(sqr, (x,)).unwrap()).collect();
    workers.shutdown(true, false).unwrap();
    assert!(
        calls.iter().zip(0..50).all(|(call, x)| call.done() && call.result().unwrap() == sqr(x))
    );
    let refused = workers.submit(sqr, (1,));
    assert!(matches!(refused, Err(Error::Task(TaskError::NotRunning))), "{refused:?}");
    workers.shutdown(true, true).unwrap();

    let one = executor(1);
    let call = one.submit(pause, (100,)).unwrap();
    call.cancel();
    assert!(one.shutdown_timeout(Duration::from_secs(5), false).unwrap());

    let folder = Folder::new("executor-shutdown");
    let one = executor(1);
    let running = one.submit(gate, (folder.file(""),)).unwrap();
    let queued: Vec<_> = (0..4).map(|x| one.submit(sqr, (x,)).unwrap()).collect();
    util::lines(&folder.file("begun"), 1);
    one.shutdown(false, true).unwrap();
    assert!(queued.iter().all(|call| call.cancelled() && call.cancel()));
    assert!(!running.cancelled() && !running.cancel() && !running.done());
    note(&folder.file("open"), "");
    assert!(one.shutdown_timeout(SOON, false).unwrap());
    assert!(running.result().is_ok());

    for workers in [2, 4] {
        let builder = ProcessPoolExecutor::builder().max_workers(workers).max_tasks_per_child(1);
        let executor = builder.build().unwrap();
        let good = executor.submit(sqr, (1,)).unwrap();
        let bad = executor.submit(|| -> i64 { panic!("in vain") }, ()).unwrap();
        executor.shutdown(false, false).unwrap();
        assert_eq!(soon(&good).unwrap(), 1);
        assert!(matches!(soon(&bad), Err(Error::Task(TaskError::Panicked(_)))));
    }
    for (waits, kind) in [(true, 0u8), (false, 3)] {
        let executor = executor(1);
        let late = |kind: u8| {
            pause(100);
            Bad(kind)
        };
        let call = executor.submit(late, (kind,)).unwrap();
        executor.shutdown(waits, false).unwrap();
        match soon(&call) {
            Err(Error::Task(TaskError::Died(_))) => assert_eq!(kind, 0),
            Err(Error::Task(TaskError::Encode(_))) => assert_eq!(kind, 3),
            other => panic!("{other:?}"),
        }
        assert!(executor.shutdown_timeout(SOON, false).unwrap());
    }
}
