//! A trial of plain processes: some work and return, some sleep; some are hit before they
//! end, others after.
//!
//! Checked: the result is the right value or names the signal; the exit code and the
//! `Down` say the same as the result; a stopped process can be ended; every end is known
//! in time.

use crate::random::Random;
use crate::world::{Check, Seen, Tally, Target, Violation, ensure};
use procession::{Error, ExitReason, JoinError, Process};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn work(turns: u64, size: usize) -> Vec<u64> {
    let sum = (0..turns).fold(0, |sum: u64, n| sum.wrapping_mul(31).wrapping_add(n));
    vec![sum; size]
}

fn sleep() -> Vec<u64> {
    std::thread::sleep(Duration::from_mins(10));
    Vec::new()
}

/// A process that has a child, which must not outlive it.
fn family() -> Vec<u64> {
    match Process::spawn(sleep, ()) {
        Ok(child) => child.result().unwrap_or_default(),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn trial(random: &mut Random, seen: &mut Seen) -> Check<Tally> {
    let mut tally = Tally::default();
    let mut subjects = Vec::new();
    for _ in 0..=random.below(4) {
        let (turns, size) = (random.below(200_000), [1, 100, 1 << 17][random.index(3)]);
        let (process, value) = match random.below(5) {
            0..2 => (Process::spawn(work, (turns, size))?, Some(work(turns, size))),
            2 => (Process::spawn(family, ())?, None),
            _ => (Process::spawn(sleep, ())?, None),
        };
        tally.starts += 1;
        subjects.push((process, value));
    }
    seen.look()?;
    random.shuffle(&mut subjects);
    for (process, value) in &subjects {
        random.pause(Duration::from_millis(2));
        let mut expected = fault(random, process, &mut tally)?;
        if value.is_some() {
            // It may have been quicker than the fault.
            expected.push(ExitReason::Normal);
        }
        ended(process, value.as_deref(), &expected)?;
    }
    Ok(tally)
}

fn fault(
    random: &mut Random,
    process: &Process<Vec<u64>>,
    tally: &mut Tally,
) -> Check<Vec<ExitReason>> {
    let killed = vec![ExitReason::Signal(9)];
    // One that has ended, and was reaped at once, is nobody to signal.
    let target = process.pid().and_then(|pid| Target::new(pid).ok());
    let Some(target) = target.filter(|_| process.is_alive().unwrap_or(false)) else {
        return Ok(vec![]);
    };
    match random.below(6) {
        0..2 => target.kill(tally),
        2 => {
            process.kill()?;
            tally.kills += 1;
        }
        3 => {
            target.stop(tally);
            random.pause(Duration::from_millis(5));
            process.kill()?;
            tally.kills += 1;
        }
        4 => {
            target.stop(tally);
            random.pause(Duration::from_millis(5));
            process.stop(PATIENCE)?;
            return Ok(vec![ExitReason::Shutdown]);
        }
        _ => {
            process.terminate()?;
            random.pause(Duration::from_millis(1));
            target.kill(tally);
            return Ok(vec![ExitReason::Shutdown, ExitReason::Signal(9)]);
        }
    }
    Ok(killed)
}

fn ended(process: &Process<Vec<u64>>, value: Option<&[u64]>, expected: &[ExitReason]) -> Check {
    let result = process.result_timeout(PATIENCE);
    let down = process.down().ok_or_else(|| Violation("a result without a Down".into()))?;
    ensure(process.exitcode() == down.status.exitcode(), || {
        format!("exit code {:?}, but {down:?}", process.exitcode())
    })?;
    ensure(!process.is_alive()?, || format!("{process:?} lives after its result"))?;
    match result {
        Ok(returned) => ensure(Some(returned.as_slice()) == value, || {
            format!("a wrong value of {} numbers", returned.len())
        }),
        Err(Error::Join(JoinError::Died { reason, .. })) => {
            ensure(reason == down.reason && expected.contains(&reason), || {
                format!("it ended by {reason:?}, {down:?}; expected {expected:?}")
            })
        }
        Err(other) => Err(Violation(format!("no result: {other}; {down:?}"))),
    }
}
