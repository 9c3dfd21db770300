//! Calls that are submitted one after another go to a worker together. Each is still one of
//! its own: it is begun, answered, taken back and lost alone.

use super::{death, executor, soon};
use crate::util::{Folder, until};
use procession::futures::Future;
use procession::{Error, ProcessPoolExecutor, TaskError};

/// As many as it takes until many are sent together.
const MANY: u64 = 10_000;

fn step(x: u64, what: String) -> u64 {
    match what.as_str() {
        "" => {}
        "die" => std::process::abort(),
        gate => until("the gate is open", || std::fs::exists(gate).unwrap()),
    }
    x
}

fn many(executor: &ProcessPoolExecutor, from: u64, count: u64) -> Vec<Future<u64>> {
    let submit = |x| executor.submit(step, (x, String::new())).unwrap();
    (from..from + count).map(submit).collect()
}

fn check(futures: &[Future<u64>], from: u64) {
    for (x, future) in (from..).zip(futures) {
        assert_eq!(soon(future).unwrap(), x);
    }
}

#[test]
fn a_result_does_not_wait_for_what_goes_with_it() {
    let folder = Folder::new("together");
    let executor = executor(1);
    let before = many(&executor, 0, MANY);
    let gate = executor.submit(step, (MANY, folder.file("open"))).unwrap();
    let behind = many(&executor, MANY + 1, 10);
    check(&before, 0);
    assert!(!gate.done() && behind.iter().all(|future| !future.done()));
    std::fs::write(folder.file("open"), "").unwrap();
    assert_eq!(soon(&gate).unwrap(), MANY);
    check(&behind, MANY + 1);
}

#[test]
fn what_is_taken_back_takes_nothing_with_it() {
    let executor = executor(2);
    let mut futures = Vec::new();
    let mut cancelled = 0;
    for x in (0..MANY).step_by(100) {
        futures.extend(many(&executor, x, 100));
        cancelled += usize::from(futures[futures.len() - 10].cancel());
    }
    for (x, future) in (0..).zip(&futures) {
        match soon(future) {
            Ok(value) => assert_eq!(value, x),
            Err(Error::Task(TaskError::Cancelled)) if x % 100 == 90 => cancelled -= 1,
            Err(error) => panic!("{x}: {error}"),
        }
    }
    assert_eq!(cancelled, 0, "what was cancelled stays so");
}

#[test]
fn a_death_costs_no_call_that_goes_with_it() {
    let executor = executor(2);
    let before = many(&executor, 0, MANY);
    let dies = executor.submit(step, (MANY, "die".into())).unwrap();
    let behind = many(&executor, MANY + 1, MANY);
    check(&before, 0);
    death(soon(&dies));
    check(&behind, MANY + 1);
}
