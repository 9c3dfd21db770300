//! `Event`.
//!
//! Owns setting it and waiting for it.

use super::drive::{Habit, Pauses, Wait, drive, finish};
use super::handle::Handle;
use super::host::{Form, Gone, Own, Spot};
use super::waiters::{Claim, Waiters, Waiting};
use super::{WordError, probe};
use crate::node::hidden;
use crate::share::ShareError;
use crate::sys::page;
use procession_protocols::word::event::{self, EventWords, Set};
use procession_protocols::word::{ALL, ANYBODY, Native};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct EventForm;

impl Form for EventForm {
    const NAME: &'static str = "Event";
    type Words = EventWords<Native>;
    type Settings = ();

    fn prepare(_: &Self::Words, (): ()) {}

    fn renew(new: &Self::Words, old: &Self::Words, (): ()) {
        if old.is_set() {
            let mut set = Set::new();
            finish(&new.word, &|| (), |_| set.step(new));
        }
    }

    fn repair(_: &Own<Self>, _: &Spot<Self>, _: &Gone<'_>) {
        // A setter that died before its wake has set it: all look again.
    }

    fn rouse(spot: &Spot<Self>) {
        page::wake(&spot.words.word, ALL, ANYBODY);
    }

    fn serve(_: &Own<Self>, spot: &Spot<Self>, waiters: &mut Waiters) {
        let words = &*spot.words;
        waiters.serve_each(|waiting| {
            let over = words.since(waiting.claim.round)
                || words.enlist().is_none_or(|now| now != waiting.claim.round);
            over.then_some(0)
        });
    }

    fn undo(_: &Own<Self>, _: &Spot<Self>, _: &Waiting) {
        // To have waited changes nothing.
    }
}

/// A flag that processes wait for.
#[derive(Clone, Serialize, Deserialize)]
pub struct Event {
    handle: Handle<EventForm>,
    #[serde(skip)]
    habit: Habit,
}

impl Event {
    /// One that is not set.
    ///
    /// # Errors
    /// No memory, or [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub fn new() -> io::Result<Self> {
        Ok(Self { handle: Handle::host(())?, habit: Habit::default() })
    }

    /// Whether it is set.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn is_set(&self) -> Result<bool, WordError> {
        Ok(self.handle.words()?.is_set())
    }

    /// Sets it: everybody who waits goes on.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn set(&self) -> Result<(), WordError> {
        let words = self.handle.words()?;
        let ring = || {
            if let Some(at) = self.handle.ready() {
                at.ring();
            }
        };
        let mut set = Set::new();
        finish(&words.word, &ring, |_| {
            probe::at(|| set.place());
            set.step(words)
        });
        Ok(())
    }

    /// Takes the flag back.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn clear(&self) -> Result<(), WordError> {
        self.handle.words()?.clear();
        Ok(())
    }

    /// Waits until it is set, or was since the wait began; false when the time was up.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn wait_until(&self, deadline: Option<Instant>) -> Result<bool, WordError> {
        let at = self.handle.at()?;
        let words = at.words();
        if words.is_set() {
            return Ok(true);
        }
        if hidden::is_current() {
            return Err(ShareError::WouldDeadlock.into());
        }
        let mut machine = event::Wait::new();
        let mut wait = Wait::new(&at.spot.page, deadline);
        let mut pauses = Pauses::new(&self.habit);
        let set = drive(&mut wait, &mut pauses, &words.word, &|| at.ring(), |told| {
            probe::at(|| machine.place());
            machine.step(words, told)
        });
        pauses.end();
        match wait.stopped {
            Some(stopped) if !set => Err(WordError::from_stop(stopped, || at.gone())),
            _ => Ok(set),
        }
    }

    /// Waits as [`wait_until`](Self::wait_until), without a thread.
    ///
    /// # Errors
    /// The owner has ended.
    ///
    /// # Cancel safety
    /// Dropped, it waits no longer.
    pub async fn wait_async(&self) -> Result<(), WordError> {
        let at = self.handle.at_async().await?;
        if let Some(round) = at.words().generation_unless_set() {
            at.have_owner_wait(Claim { round, ..Claim::default() }).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").finish_non_exhaustive()
    }
}
