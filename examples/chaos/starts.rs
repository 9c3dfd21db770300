//! A trial of starts: children, and the fork server, are hit before they are ready.
//!
//! Checked: a start gives a process or a typed error, within its own limit; a process
//! that was given ends normally or by the signal.

use crate::random::Random;
use crate::world::{Check, Tally, Target, Violation, ensure, unlisted};
use procession::{Error, ExitReason, Process, StartError};
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(1);

pub(crate) fn trial(random: &mut Random) -> Check<Tally> {
    let mut tally = Tally::default();
    let count = 2 + random.below(4);
    std::thread::scope(|scope| {
        let starter = scope.spawn(move || starts(count));
        while !starter.is_finished() {
            random.pause(Duration::from_micros(800));
            // Whoever is not listed yet is being started, or starts others.
            for id in unlisted()? {
                let Ok(target) = Target::of(id) else { continue };
                match random.below(6) {
                    0..2 => target.kill(&mut tally),
                    2 => {
                        target.stop(&mut tally);
                        random.pause(Duration::from_micros(500));
                        target.kill(&mut tally);
                    }
                    _ => {}
                }
            }
        }
        tally.starts += count;
        starter.join().map_err(|_| Violation("a starter panicked".into()))?
    })?;
    Ok(tally)
}

fn starts(count: u64) -> Check {
    for _ in 0..count {
        let begun = Instant::now();
        let started = Process::builder(|n: u64| n + 1, (41,)).start_timeout(START_LIMIT).start();
        let took = begun.elapsed();
        ensure(took < START_LIMIT + SLACK, || format!("a start took {took:?}"))?;
        match started {
            Ok(process) => {
                let result = process.result_timeout(START_LIMIT);
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
            Err(other) => return Err(Violation(format!("a start failed by {other:?}"))),
        }
    }
    Ok(())
}
