//! Trials of pools and executors: a random worker is killed every few milliseconds while
//! tasks are done.
//!
//! Checked: each input ends in its own result or in its own error, in its place; a kill
//! costs one of them at most; with retries all have results; what was cancelled has not
//! begun; pool or executor goes on and ends.

use crate::random::Random;
use crate::world::{Check, Tally, Target, Violation, ensure};
use procession::{Error, Pool, ProcessPoolExecutor, TaskError, TaskOptions};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two kills.
const BEAT: Duration = Duration::from_millis(10);

/// Longest wait for the end of a pool.
const PATIENCE: Duration = Duration::from_secs(30);

fn work(x: u64) -> u64 {
    std::thread::sleep(Duration::from_micros(x * 37 % 400));
    x * x
}

pub(crate) fn trial(random: &mut Random) -> Check<Tally> {
    let workers = 2 + random.index(2);
    let inputs = 200 + random.below(400);
    let chunk = 1 + random.index(20);
    let retries = if random.once_in(2) { 1_000 } else { 0 };
    let failed = |error: Error| Violation(error.to_string());
    let pool = Pool::builder().processes(workers).restarts(u32::MAX, BEAT).build();
    let pool = pool.map_err(failed)?;
    let tasks = pool.with(TaskOptions::new().chunksize(chunk).retries(retries));
    let is_over = AtomicBool::new(false);
    let mut chances = random.fork();
    let (results, tally) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_workers(|| pool.pids(), &mut chances, &is_over));
        let results = tasks.imap(work, 0..inputs).map(Iterator::collect::<Vec<_>>);
        is_over.store(true, Ordering::Release);
        let tally = killer.join().map_err(|_| Violation("the killer panicked".into()));
        (results, tally)
    });
    let (results, mut tally) = (results.map_err(failed)?, tally?);
    tally.calls += inputs;
    ensure(results.len() as u64 == inputs, || format!("{} of {inputs} ended", results.len()))?;
    let mut lost = 0;
    for (x, result) in (0..).zip(results) {
        match result {
            Ok(value) => ensure(value == x * x, || format!("input {x} gave {value}"))?,
            Err(TaskError::Died(death)) if death.index == x && retries == 0 => lost += 1,
            Err(other) => return Err(Violation(format!("input {x}: {other}"))),
        }
    }
    ensure(lost <= tally.kills, || format!("{lost} inputs were lost by {} kills", tally.kills))?;
    pool.close();
    ensure(pool.join_timeout(PATIENCE).map_err(failed)?, || "the pool does not end".into())?;
    Ok(tally)
}

/// The same for an executor, some of whose calls are cancelled.
pub(crate) fn executor(random: &mut Random) -> Check<Tally> {
    let workers = 1 + random.index(3);
    let calls = 100 + random.below(300);
    let failed = |error: Error| Violation(error.to_string());
    let executor = ProcessPoolExecutor::builder().max_workers(workers).restarts(u32::MAX, BEAT);
    let executor = executor.build().map_err(failed)?;
    let is_over = AtomicBool::new(false);
    let mut chances = random.fork();
    let (ended, tally) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_workers(|| executor.pids(), &mut chances, &is_over));
        let ended = finish(&executor, calls, random);
        is_over.store(true, Ordering::Release);
        (ended, killer.join().map_err(|_| Violation("the killer panicked".into())))
    });
    let (lost, mut tally) = (ended?, tally?);
    tally.calls += calls;
    ensure(lost <= tally.kills, || format!("{lost} calls were lost by {} kills", tally.kills))?;
    let has_ended = executor.shutdown_timeout(PATIENCE, false).map_err(failed)?;
    ensure(has_ended, || "the executor does not end".into())?;
    Ok(tally)
}

/// Submits all calls, cancels some, and gives how many ended in their worker's death.
fn finish(executor: &ProcessPoolExecutor, calls: u64, random: &mut Random) -> Check<u64> {
    let failed = |error: Error| Violation(error.to_string());
    let mut futures = Vec::new();
    for x in 0..calls {
        let future = executor.submit(work, (x,)).map_err(failed)?;
        let is_cancelled = random.once_in(8) && future.cancel();
        futures.push((x, future, is_cancelled));
    }
    let mut lost = 0;
    for (x, future, is_cancelled) in futures {
        match future.result_timeout(PATIENCE) {
            Ok(value) if !is_cancelled => {
                ensure(value == x * x, || format!("call {x} gave {value}"))?;
            }
            Err(Error::Task(TaskError::Cancelled)) if is_cancelled => {}
            Err(Error::Task(TaskError::Died(_))) if !is_cancelled => lost += 1,
            other => {
                let what = other.map_or_else(|error| error.to_string(), |_| "a result".into());
                return Err(Violation(format!("call {x}, cancelled: {is_cancelled}: {what}")));
            }
        }
    }
    Ok(lost)
}

fn kill_workers(pids: impl Fn() -> Vec<u32>, random: &mut Random, is_over: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    while !is_over.load(Ordering::Acquire) {
        random.pause(BEAT);
        let pids = pids();
        if !pids.is_empty()
            // One that has just ended cannot be opened any more.
            && let Ok(target) = Target::new(pids[random.index(pids.len())])
        {
            target.kill(&mut tally);
        }
    }
    tally
}
