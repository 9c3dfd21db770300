//! `Condition`: the sleepers; its lock is an object of its own.
//!
//! Owns waiting for a notification and giving one. That the caller holds the condition's
//! lock while it enters, leaves and notifies is the face's business.

use super::drive::{Spin, Wait, drive};
use super::handle::{At, Handle};
use super::host::{Form, Gone, Own, Spot};
use super::waiters::{Claim, Waiters, Waiting};
use super::{WordError, probe};
use crate::node;
use crate::share::ShareError;
use crate::sys::page::{self, SeatWords, View};
use procession_protocols::word::condition::{self, Bells, ConditionWords, Notify, Rings};
use procession_protocols::word::{ALL, ANYBODY, Advice, Native, Seat};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::fmt;
use std::io;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct ConditionForm;

impl Form for ConditionForm {
    const NAME: &'static str = "Condition";
    type Words = ConditionWords<Native>;
    type Settings = ();

    fn prepare(_: &Self::Words, (): ()) {}

    fn repair(_: &Own<Self>, spot: &Spot<Self>, gone: &Gone<'_>) {
        let page = &*spot.page;
        for seat in 1..=page.highest() {
            let Some(bell) = page.bell(seat).filter(|_| gone.had(page, seat)) else { continue };
            if condition::concerns(bell, spot.record) && condition::repair(bell).is_some() {
                // What it had not spent goes to the one who has waited longest.
                notify(spot, 1, &|| (), |seat| wake(spot, seat));
            }
        }
    }

    fn rouse(spot: &Spot<Self>) {
        // Those too who are notified: their notifier may have died before its wake.
        for seat in 1..=spot.page.highest() {
            if let Some(bell) = spot.page.bell(seat)
                && condition::concerns(bell, spot.record)
            {
                page::wake(&bell.word, ALL, ANYBODY);
            }
        }
    }

    fn serve(_: &Own<Self>, spot: &Spot<Self>, waiters: &mut Waiters) {
        waiters.serve_each(|waiting| {
            let bell = spot.page.bell(waiting.claim.seat);
            let waits = bell.is_some_and(|bell| {
                condition::concerns(bell, spot.record) && !condition::is_notified(bell)
            });
            (!waits).then_some(0)
        });
    }

    fn undo(_: &Own<Self>, _: &Spot<Self>, _: &Waiting) {
        // Who gives up passes the notification on itself: the bell is its own.
    }
}

/// The sleepers of a condition.
#[derive(Clone, Serialize, Deserialize)]
pub struct Condition(Handle<ConditionForm>);

/// A waiter that has entered: it has a place among the sleepers before it gives the lock
/// back. Dropped, it leaves.
pub struct Entered<'a> {
    at: At<'a, ConditionForm>,
    seat: Seat,
    words: View<SeatWords>,
    /// The seat is this wait's alone.
    is_own_seat: bool,
    is_notified: bool,
}

/// Those who were notified; they are woken when this is dropped.
#[must_use = "they are woken when this is dropped"]
pub struct Notified<'a> {
    spot: &'a Spot<ConditionForm>,
    seats: SmallVec<[Seat; 4]>,
}

impl Notified<'_> {
    /// Whether nobody is to be woken.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Has those of another notification at the same condition woken with these.
    pub fn join(&mut self, mut other: Self) {
        self.seats.append(&mut other.seats);
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        for seat in &self.seats {
            wake(self.spot, *seat);
        }
    }
}

impl fmt::Debug for Notified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notified").field("count", &self.seats.len()).finish_non_exhaustive()
    }
}

impl Condition {
    /// One without a sleeper.
    ///
    /// # Errors
    /// No memory, or [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub fn new() -> io::Result<Self> {
        Handle::host(()).map(Self)
    }

    /// Enters the calling thread, which holds the lock.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn enter(&self) -> Result<Entered<'_>, WordError> {
        let at = self.0.at()?;
        let seat = at.seat()?;
        Entered::new(at, seat, false)
    }

    /// Enters a waiter without a thread, which holds the lock.
    ///
    /// # Errors
    /// The owner has ended.
    pub async fn enter_async(&self) -> Result<Entered<'_>, WordError> {
        let at = self.0.at_async().await?;
        let seat = at.spot.page.sit(0, &node::current().name()).map_err(ShareError::Io)?;
        Entered::new(at, seat, true)
    }

    /// Notifies up to so many, those who wait longest. The caller holds the lock. They are
    /// woken when what this gives is dropped: whoever gives the lock back first spares them
    /// from waking only to wait for it. Should the caller die before that, its death wakes
    /// them.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn notify(&self, count: u32) -> Result<Notified<'_>, WordError> {
        let at = self.0.at()?;
        let mut seats = SmallVec::new();
        notify(at.spot, count, &|| at.ring(), |seat| seats.push(seat));
        Ok(Notified { spot: at.spot, seats })
    }

    /// How many wait and have not been notified.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn waiting(&self) -> Result<usize, WordError> {
        let at = self.0.at()?;
        Ok(condition::waiting(at.words(), &*at.spot.page, at.spot.record))
    }
}

impl<'a> Entered<'a> {
    fn new(at: At<'a, ConditionForm>, seat: Seat, is_own_seat: bool) -> Result<Self, WordError> {
        let words = at.spot.page.seat_view(seat);
        let words = words.ok_or_else(|| ShareError::Io(io::ErrorKind::InvalidData.into()))?;
        condition::enter(at.words(), &words.bell, at.spot.record, is_own_seat);
        probe::at(|| "condition.entered");
        Ok(Self { at, seat, words, is_own_seat, is_notified: false })
    }

    /// Sleeps until notified; false when the time was up. The lock has been given back.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn sleep(&mut self, deadline: Option<Instant>) -> Result<bool, WordError> {
        let bell = &self.words.bell;
        let mut wait = Wait::new(&self.at.spot.page, deadline);
        let mut machine = condition::Wait;
        let notified = drive(&mut wait, &mut Never, &bell.word, &|| (), |told| {
            probe::at(|| machine.place());
            machine.step(bell, told)
        });
        self.is_notified = notified;
        match wait.stopped {
            Some(stopped) if !notified => Err(WordError::from_stop(stopped, || self.at.gone())),
            _ => Ok(notified),
        }
    }

    /// Waits until notified, without a thread.
    ///
    /// # Errors
    /// The owner has ended.
    pub async fn sleep_async(&mut self) -> Result<(), WordError> {
        let claim = Claim { seat: self.seat, ..Claim::default() };
        self.at.have_owner_wait(claim).await?;
        self.is_notified = condition::is_notified(&self.words.bell);
        Ok(())
    }

    /// Leaves, with the lock held again: the notification, if there was one, is spent.
    pub fn leave(mut self) {
        self.is_notified = false;
        condition::leave(&self.words.bell);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let bell = &self.words.bell;
        // A notification that is not spent belongs to the next.
        if !condition::give_up(bell) {
            condition::leave(bell);
            notify(self.at.spot, 1, &|| self.at.ring(), |seat| wake(self.at.spot, seat));
        }
        if self.is_own_seat {
            self.at.spot.page.stand_up(self.seat);
        }
    }
}

/// Notifies up to so many, and has each of them woken that sleeps.
fn notify(spot: &Spot<ConditionForm>, count: u32, ring: &dyn Fn(), mut wakes: impl FnMut(Seat)) {
    let mut machine = Notify::new(spot.record, count);
    loop {
        probe::at(|| machine.place());
        match machine.step(&spot.words, &*spot.page) {
            Rings::Again => {}
            Rings::Wake(seat) => wakes(seat),
            Rings::Ring => ring(),
            Rings::Done(_) => return,
        }
    }
}

fn wake(spot: &Spot<ConditionForm>, seat: Seat) {
    if let Some(bell) = spot.page.bell(seat) {
        page::wake(&bell.word, 1, ANYBODY);
    }
}

/// A condition's sleeper does not spin: its notifier holds the lock still.
struct Never;

impl Spin for Never {
    fn advise(&mut self, _: &Wait<'_>) -> Advice {
        Advice::Sleep
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").finish_non_exhaustive()
    }
}
