//! `Barrier`.
//!
//! Owns arriving and waiting for the others. The action of the last one is the face's.

use super::drive::{Wait, Yields, drive, finish};
use super::handle::{At, Handle, Joined};
use super::host::{Form, Gone, Own, Spot};
use super::waiters::{Claim, Waiters, Waiting};
use super::{WordError, probe};
use crate::node::hidden;
use crate::share::ShareError;
use crate::sys::page;
use procession_protocols::word::barrier::{self, Arrived, BarrierWords, Broken, Change};
use procession_protocols::word::{ALL, ANYBODY, Effect, Native, Told};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::time::Instant;

pub use procession_protocols::word::barrier::MAX_PARTIES;

#[derive(Debug)]
pub(super) struct BarrierForm;

/// How many parties, and whether the last one has something to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Settings {
    parties: u32,
    acts: bool,
}

impl Form for BarrierForm {
    const NAME: &'static str = "Barrier";
    type Words = BarrierWords<Native>;
    type Settings = Settings;

    fn prepare(_: &Self::Words, _: Settings) {}

    fn repair(_: &Own<Self>, spot: &Spot<Self>, gone: &Gone<'_>) {
        if gone.was_party && gone.died {
            barrier::change(&spot.words, Change::Abort);
        }
    }

    fn rouse(spot: &Spot<Self>) {
        spot.words.bump();
        page::wake(&spot.words.seq, ALL, ANYBODY);
    }

    fn serve(_: &Own<Self>, spot: &Spot<Self>, waiters: &mut Waiters) {
        waiters.serve_each(|waiting| {
            let verdict = spot.words.enlist(waiting.claim.round);
            verdict.map(|verdict| u8::from(verdict == Err(Broken)))
        });
    }

    fn undo(own: &Own<Self>, spot: &Spot<Self>, waiting: &Waiting) {
        // A round that is over stays as it was.
        let _ = (own, spot, waiting);
    }
}

/// A place where so many meet.
#[derive(Clone, Serialize, Deserialize)]
pub struct Barrier(Handle<BarrierForm>);

/// How a wait at a barrier goes on.
pub enum BarrierArrived<'a> {
    /// It has passed; its index in the round.
    Passed(u32),
    /// It is the last: the others wait until it has finished.
    Last(Last<'a>),
    /// The round is broken.
    Broken,
}

/// The last party of a round, which holds the others up. Dropped without
/// [`finish`](Self::finish), it breaks the round.
pub struct Last<'a> {
    at: At<'a, BarrierForm>,
    machine: Option<barrier::Wait>,
    _joined: Joined<'a>,
}

impl Barrier {
    /// For so many parties; with `acts` the last one of a round has something to do.
    ///
    /// # Errors
    /// No memory, or [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub fn new(parties: u32, acts: bool) -> io::Result<Self> {
        Handle::host(Settings { parties, acts }).map(Self)
    }

    /// How many parties it is for.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn parties(&self) -> Result<u32, WordError> {
        Ok(self.0.at()?.settings.parties)
    }

    /// How many wait now.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn waiting(&self) -> Result<u32, WordError> {
        let word = self.0.at()?.words().look();
        Ok(if word.is_broken() { 0 } else { word.arrived() })
    }

    /// Whether it is broken.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn is_broken(&self) -> Result<bool, WordError> {
        Ok(self.0.at()?.words().look().is_broken())
    }

    /// Arrives, and waits for the others until the deadline, which breaks the round.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn wait_until(&self, deadline: Option<Instant>) -> Result<BarrierArrived<'_>, WordError> {
        let at = self.0.at()?;
        if hidden::is_current() {
            return Err(ShareError::WouldDeadlock.into());
        }
        let joined = at.join()?;
        let Settings { parties, acts } = at.settings;
        let mut machine = barrier::Wait::new(parties, acts, false);
        let mut wait = Wait::new(&at.spot.page, deadline);
        let words = at.words();
        let arrived = drive(&mut wait, &mut Yields::new(), &words.seq, &|| at.ring(), |told| {
            probe::at(|| machine.place());
            machine.step(words, told)
        });
        match (arrived, wait.stopped) {
            (Arrived::Passed(index), _) => Ok(BarrierArrived::Passed(index)),
            (Arrived::Last, _) => Ok(BarrierArrived::Last(Last::new(at, machine, joined))),
            (_, Some(stopped)) => Err(WordError::from_stop(stopped, || at.gone())),
            (Arrived::Broken | Arrived::Listens { .. }, None) => Ok(BarrierArrived::Broken),
        }
    }

    /// Arrives, and waits for the others without a thread.
    ///
    /// # Errors
    /// The owner has ended.
    ///
    /// # Cancel safety
    /// Dropped while it waits for the others, it breaks their round: they would wait in vain.
    /// A round that they have passed by then stays as it is, and so does the next one.
    pub async fn wait_async(&self) -> Result<BarrierArrived<'_>, WordError> {
        let at = self.0.at_async().await?;
        let joined = at.join()?;
        let Settings { parties, acts } = at.settings;
        let mut machine = barrier::Wait::new(parties, acts, true);
        let words = at.words();
        let mut told = Told::Go;
        let arrived = loop {
            told = match machine.step(words, told) {
                Effect::Done(arrived) => break arrived,
                Effect::Wake { count, bits } => Told::Woke(page::wake(&words.seq, count, bits)),
                Effect::Ring => {
                    at.ring();
                    Told::Go
                }
                // The round is full and its last one acts, as long as it likes. How the round
                // ends is not for this one, which has not arrived in it.
                Effect::Spin | Effect::Sleep { .. } => {
                    let round = machine.round();
                    at.have_owner_wait(Claim { round, ..Claim::default() }).await?;
                    Told::Go
                }
                Effect::Again => Told::Go,
            };
        };
        match arrived {
            Arrived::Passed(index) => Ok(BarrierArrived::Passed(index)),
            Arrived::Last => Ok(BarrierArrived::Last(Last::new(at, machine, joined))),
            Arrived::Broken => Ok(BarrierArrived::Broken),
            Arrived::Listens { round, index } => {
                let forsakes = Forsakes { at: &at, round };
                let answer = at.have_owner_wait(Claim { round, ..Claim::default() }).await?;
                std::mem::forget(forsakes);
                Ok(match answer {
                    0 => BarrierArrived::Passed(index),
                    _ => BarrierArrived::Broken,
                })
            }
        }
    }

    /// Breaks it, until it is reset.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn abort(&self) -> Result<(), WordError> {
        change(&self.0.at()?, Change::Abort);
        Ok(())
    }

    /// Empties it: those who wait find their round broken, the next round is whole.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn reset(&self) -> Result<(), WordError> {
        change(&self.0.at()?, Change::Reset);
        Ok(())
    }
}

impl<'a> Last<'a> {
    fn new(at: At<'a, BarrierForm>, machine: barrier::Wait, joined: Joined<'a>) -> Self {
        Self { at, machine: Some(machine), _joined: joined }
    }

    /// Lets the others go; gives this one's index, or `None` when the round was broken
    /// meanwhile.
    pub fn finish(mut self) -> Option<u32> {
        let mut machine = self.machine.take()?;
        machine.finish();
        let words = self.at.words();
        let arrived = finish(&words.seq, &|| self.at.ring(), |told| {
            probe::at(|| machine.place());
            machine.step(words, told)
        });
        match arrived {
            Arrived::Passed(index) => Some(index),
            _ => None,
        }
    }
}

impl Drop for Last<'_> {
    fn drop(&mut self) {
        if let Some(machine) = &self.machine {
            change(&self.at, Change::Forsake(machine.round()));
        }
    }
}

/// A party that has arrived in this round, and leaves it when this is dropped.
struct Forsakes<'a, 'b> {
    at: &'a At<'b, BarrierForm>,
    round: u32,
}

impl Drop for Forsakes<'_, '_> {
    fn drop(&mut self) {
        change(self.at, Change::Forsake(self.round));
    }
}

fn change(at: &At<'_, BarrierForm>, how: Change) {
    let rings = barrier::change(at.words(), how);
    at.words().bump();
    page::wake(&at.words().seq, ALL, ANYBODY);
    if rings {
        at.ring();
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}
