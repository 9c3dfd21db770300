//! Trials of pools: a random worker is killed every few milliseconds while tasks are done.
//!
//! Checked: each input ends in its own result or in its own error, in its place; a kill
//! costs one of them at most; with retries all have results; the pool goes on and ends.

use crate::random::Random;
use crate::world::{Check, Tally, Target, Violation, ensure};
use procession::{Error, Pool, TaskError, TaskOptions};
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
        let killer = scope.spawn(|| kill_workers(&pool, &mut chances, &is_over));
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

fn kill_workers(pool: &Pool, random: &mut Random, is_over: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    while !is_over.load(Ordering::Acquire) {
        random.pause(BEAT);
        let pids = pool.pids();
        if !pids.is_empty()
            // One that has just ended cannot be opened any more.
            && let Ok(target) = Target::new(pids[random.index(pids.len())])
        {
            target.kill(&mut tally);
        }
    }
    tally
}
