//! The workers of a trial about what processes share: started, hit, replaced, ended.
//!
//! Each worker has a place, and on the board the number of its turns, which its successor
//! in the place goes on counting. Numbers from `FREE` on are the trial's own.

use crate::board::Board;
use crate::random::Random;
use crate::world::{Check, Tally, Target, Violation, ensure};
use procession::{Error, ExitReason, Failure, JoinError, Process};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The longest that anything may take in spite of all faults.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The most workers of a trial.
pub(crate) const PLACES: usize = 8;

/// What tells all workers to end.
pub(crate) const STOP: usize = PLACES;

/// The first number that is the trial's own.
pub(crate) const FREE: usize = PLACES + 1;

pub(crate) type Work = Process<Result<(), Failure>>;

pub(crate) struct Crew<'a> {
    board: &'a Board,
    workers: Vec<(Work, Target)>,
    start: &'a dyn Fn(usize) -> Check<Work>,
}

impl<'a> Crew<'a> {
    /// Starts workers in the places below `count`.
    pub(crate) fn new(
        count: usize,
        board: &'a Board,
        start: &'a dyn Fn(usize) -> Check<Work>,
        tally: &mut Tally,
    ) -> Check<Self> {
        let mut crew = Self { board, workers: Vec::new(), start };
        for place in 0..count {
            let worker = crew.started(place, tally)?;
            crew.workers.push(worker);
        }
        Ok(crew)
    }

    fn started(&self, place: usize, tally: &mut Tally) -> Check<(Work, Target)> {
        tally.starts += 1;
        let worker = (self.start)(place)?;
        let pid = worker.pid().ok_or_else(|| Violation("a started worker has no pid".into()))?;
        Ok((worker, Target::new(pid)?))
    }

    /// Stops or kills one at random. The place of one who is killed, and gone by then.
    pub(crate) fn hit(&self, random: &mut Random, tally: &mut Tally) -> Check<Option<usize>> {
        let place = random.index(self.workers.len());
        let (worker, target) = &self.workers[place];
        if random.once_in(3) {
            target.stop(tally);
            // Now and then for longer than anybody sleeps without a look around.
            let longest_ms = if random.once_in(10) { 150 } else { 3 };
            random.pause(Duration::from_millis(longest_ms));
            if random.once_in(2) {
                target.signal(Signal::CONT);
                return Ok(None);
            }
        }
        target.kill(tally);
        has_ended(worker)?;
        Ok(Some(place))
    }

    /// Puts a new worker in a place.
    pub(crate) fn replace(&mut self, place: usize, tally: &mut Tally) -> Check {
        self.workers[place] = self.started(place, tally)?;
        Ok(())
    }

    /// Hits some, and puts a new worker in the place of each who is killed.
    pub(crate) fn hit_and_replace(&mut self, random: &mut Random, tally: &mut Tally) -> Check {
        for _ in 0..=random.below(12) {
            random.pause(Duration::from_millis(2));
            if let Some(place) = self.hit(random, tally)? {
                self.replace(place, tally)?;
            }
        }
        Ok(())
    }

    /// Waits until each worker has taken a further turn.
    pub(crate) fn progress(&self) -> Check {
        let before: Vec<_> = (0..self.workers.len()).map(|place| self.board.get(place)).collect();
        let deadline = Instant::now() + PATIENCE;
        for (place, before) in before.into_iter().enumerate() {
            let (worker, _) = &self.workers[place];
            while self.board.get(place) == before {
                if !worker.is_alive()? {
                    has_ended(worker)?;
                    return Err(Violation(format!("worker {place} has ended before its time")));
                }
                ensure(Instant::now() < deadline, || {
                    format!("worker {place} is stuck: {worker:?}")
                })?;
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        Ok(())
    }

    /// Tells all to end, and waits.
    pub(crate) fn end(self) -> Check {
        self.board.set(STOP, 1);
        self.workers.iter().try_for_each(|(worker, _)| has_ended(worker))
    }
}

/// Waits until a worker has ended: well, or by a kill.
pub(crate) fn has_ended(worker: &Work) -> Check {
    match worker.result_timeout(PATIENCE) {
        Ok(Ok(())) | Err(Error::Join(JoinError::Died { reason: ExitReason::Signal(9), .. })) => {
            Ok(())
        }
        Ok(Err(failure)) => Err(Violation(failure.to_string())),
        Err(error) => Err(Violation(format!("{worker:?}: {error}"))),
    }
}
