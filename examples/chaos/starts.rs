//! A trial of starts: children, and the fork server, are hit before they are ready.
//!
//! Checked: a start gives a process or a typed error, within its own limit; a process
//! that was given ends normally or by the signal. Now and then one is left stopped: then
//! the start may time out, but nothing hangs.

use crate::random::Random;
use crate::world::{Check, Tally, Target, Violation, ensure, unlisted};
use procession::{Error, ExitReason, Process, StartError};
use rustix::process::Signal;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(5);

pub(crate) fn trial(random: &mut Random) -> Check<Tally> {
    let mut tally = Tally::default();
    let count = 2 + random.below(4);
    let (mut may_pause, mut paused) = (random.once_in(10), HashSet::new());
    let is_paused = AtomicBool::new(false);
    let mut hit = Vec::new();
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| starts(count, &is_paused));
        while !starter.is_finished() {
            random.pause(Duration::from_micros(800));
            // Whoever is not listed yet is being started, or starts others.
            for id in unlisted()? {
                let Ok(target) = Target::of(id) else { continue };
                if paused.contains(&id) {
                    continue;
                }
                match random.below(6) {
                    0..2 => target.kill(&mut tally),
                    2 => {
                        target.stop(&mut tally);
                        random.pause(Duration::from_micros(500));
                        target.kill(&mut tally);
                    }
                    3 if may_pause => {
                        is_paused.store(true, Ordering::SeqCst);
                        target.stop(&mut tally);
                        paused.insert(id);
                        may_pause = false;
                    }
                    _ => continue,
                }
                hit.push(target);
            }
        }
        tally.starts += count;
        starter.join().map_err(|_| Violation("a starter panicked".into()))?
    })?;
    // It may be a worker made ahead: what befell it here must not befall the next trial.
    for target in hit {
        target.signal(Signal::KILL);
        target.ended(SLACK)?;
    }
    Ok(tally)
}

fn starts(count: u64, is_paused: &AtomicBool) -> Check {
    for _ in 0..count {
        let begun = Instant::now();
        let started = Process::builder(|n: u64| n + 1, (41,)).start_timeout(START_LIMIT).start();
        let took = begun.elapsed();
        ensure(took < START_LIMIT + SLACK, || format!("a start took {took:?}"))?;
        match started {
            Ok(process) => {
                let result = process.result_timeout(START_LIMIT);
                if matches!(result, Err(Error::Timeout)) && is_paused.load(Ordering::SeqCst) {
                    process.kill()?;
                    ensure(process.join_timeout(START_LIMIT)?, || format!("{process:?} lives"))?;
                    continue;
                }
                let reason = process.down().map(|down| down.reason.clone());
                let is_right = match &reason {
                    Some(ExitReason::Normal) => matches!(result, Ok(42)),
                    // Killed after its report, it has returned all the same.
                    Some(ExitReason::Signal(9)) => !matches!(result, Err(Error::Timeout)),
                    _ => false,
                };
                ensure(is_right, || format!("{result:?}, but {reason:?}"))?;
            }
            Err(Error::Start(StartError::Died { reason: ExitReason::Signal(9), .. })) => {}
            Err(Error::Start(StartError::Timeout(_))) if is_paused.load(Ordering::SeqCst) => {}
            Err(other) => return Err(Violation(format!("a start failed by {other:?}"))),
        }
    }
    Ok(())
}
