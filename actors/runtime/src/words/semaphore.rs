//! `Semaphore` and `BoundedSemaphore`.
//!
//! Owns taking and giving counts: plain ones, which belong to nobody, and permits, which
//! come back when their process dies.

use super::drive::{Wait, Yields, drive, finish};
use super::handle::{At, Handle};
use super::host::{Form, Gone, Own, Spot};
use super::waiters::{Claim, Waiters, Waiting};
use super::{WordError, probe};
use crate::node::hidden;
use crate::share::ShareError;
use crate::sys::page;
use procession_protocols::word::permit::{self, Cell};
use procession_protocols::word::semaphore::{self, Give, SemaphoreWords, Take};
use procession_protocols::word::{ALL, ANYBODY, Native};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

pub use procession_protocols::word::semaphore::{MAX_VALUE, TooMany};

#[derive(Debug)]
pub(super) struct SemaphoreForm;

/// What a semaphore begins with, and the value above which a release is an error.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Settings {
    value: u32,
    bound: Option<u32>,
}

impl Form for SemaphoreForm {
    const NAME: &'static str = "Semaphore";
    type Words = SemaphoreWords<Native>;
    type Settings = Settings;

    fn prepare(words: &Self::Words, settings: Settings) {
        words.prepare(settings.value, settings.bound.unwrap_or(MAX_VALUE));
    }

    fn renew(new: &Self::Words, old: &Self::Words, settings: Settings) {
        new.prepare(old.look().value(), settings.bound.unwrap_or(MAX_VALUE));
    }

    fn repair(_: &Own<Self>, spot: &Spot<Self>, gone: &Gone<'_>) {
        let (words, page) = (&*spot.words, &*spot.page);
        for cell in page.cells_of(gone.client) {
            if permit::subject(page, cell) == Some(spot.record) && permit::repair(words, page, cell)
            {
                // A semaphore that others have filled up meanwhile is full.
                let _ = permit::give_back(words, page);
            }
        }
        semaphore::repair(words);
    }

    fn rouse(spot: &Spot<Self>) {
        spot.words.bump();
        page::wake(&spot.words.seq, ALL, ANYBODY);
    }

    fn serve(_: &Own<Self>, spot: &Spot<Self>, waiters: &mut Waiters) {
        let words = &*spot.words;
        while let Some(first) = waiters.first() {
            let take = || {
                let mut take = Take::new(None, false);
                finish(&words.seq, &|| (), |told| take.step(words, &*spot.page, told))
            };
            if !take() {
                words.agent.store(1, SeqCst);
                // Once more, now that a giver sees the flag.
                if !take() {
                    return;
                }
            }
            // It is the client's from here on; its death is handled after this.
            if let Some(cell) = Cell::open(&*spot.page, first.claim.cell, spot.record) {
                cell.held(&*spot.page);
            }
            if let Some(first) = waiters.pop() {
                first.answer.send(0);
            }
        }
    }

    fn undo(own: &Own<Self>, spot: &Spot<Self>, waiting: &Waiting) {
        let _ = own;
        let (words, page) = (&*spot.words, &*spot.page);
        if waiting.claim.cell != 0 {
            permit::repair(words, page, waiting.claim.cell);
        }
        let mut give = Give::new(1, None);
        let _ = finish(&words.seq, &|| (), |told| give.step(words, page, told));
    }
}

/// A count of free places.
#[derive(Clone, Serialize, Deserialize)]
pub struct Semaphore(Handle<SemaphoreForm>);

/// A place that is held, and comes back when its process dies.
#[derive(Debug)]
pub struct Permit {
    cell: Cell,
    /// Of the page: in a copy of this process the permit is not the copy's.
    key: u64,
}

impl Semaphore {
    /// One with so many places; with a bound, more than so many are an error.
    ///
    /// # Errors
    /// No memory, or [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub fn new(value: u32, bound: Option<u32>) -> io::Result<Self> {
        Handle::host(Settings { value, bound }).map(Self)
    }

    /// The bound, if it has one.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn bound(&self) -> Result<Option<u32>, WordError> {
        Ok(self.0.at()?.settings.bound)
    }

    /// How many places are free.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn value(&self) -> Result<u32, WordError> {
        Ok(self.0.at()?.words().look().value())
    }

    /// Takes a place, waiting until the deadline. False when the time was up.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn acquire_until(&self, deadline: Option<Instant>) -> Result<bool, WordError> {
        let at = self.0.at()?;
        take(&at, None, true, deadline)
    }

    /// Takes a place if one is free.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn try_acquire(&self) -> Result<bool, WordError> {
        let at = self.0.at()?;
        take(&at, None, false, None)
    }

    /// Takes a place for a waiter without a thread.
    ///
    /// # Errors
    /// The owner has ended.
    ///
    /// # Cancel safety
    /// Dropped, it gives back what it has been granted.
    pub async fn acquire_async(&self) -> Result<(), WordError> {
        let at = self.0.at_async().await?;
        if !take(&at, None, false, None)? {
            at.have_owner_wait(Claim::default()).await?;
        }
        Ok(())
    }

    /// Gives so many places.
    ///
    /// # Errors
    /// [`TooMany`] when that would be more than the bound; nothing is given then.
    pub fn release(&self, count: u32) -> Result<Result<(), TooMany>, WordError> {
        let at = self.0.at()?;
        Ok(give(&at, Give::new(count, None)))
    }

    /// Takes a place as a permit, waiting until the deadline. `None` when the time was up.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn permit_until(&self, deadline: Option<Instant>) -> Result<Option<Permit>, WordError> {
        self.permit(true, deadline)
    }

    /// Takes a place as a permit if one is free.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn try_permit(&self) -> Result<Option<Permit>, WordError> {
        self.permit(false, None)
    }

    fn permit(&self, waits: bool, deadline: Option<Instant>) -> Result<Option<Permit>, WordError> {
        let at = self.0.at()?;
        let cell = open(&at)?;
        let taken = take(&at, Some(cell), waits, deadline);
        if !matches!(taken, Ok(true)) {
            at.spot.page.put_cell(cell.number());
        }
        let key = at.spot.page.key();
        Ok(taken?.then_some(Permit { cell, key }))
    }

    /// Takes a place as a permit for a waiter without a thread.
    ///
    /// # Errors
    /// The owner has ended.
    ///
    /// # Cancel safety
    /// Dropped, it gives back what it has been granted.
    pub async fn permit_async(&self) -> Result<Permit, WordError> {
        let at = self.0.at_async().await?;
        let cell = open(&at)?;
        let page = &*at.spot.page;
        let (key, put) = (page.key(), |_: &WordError| page.put_cell(cell.number()));
        if take(&at, Some(cell), false, None).inspect_err(put)? {
            return Ok(Permit { cell, key });
        }
        // The owner opens the next turn of the cell itself.
        let opened = Cell::open(page, cell.number(), at.spot.record);
        let claim = Claim { cell: cell.number(), ..Claim::default() };
        at.have_owner_wait(claim).await.inspect_err(put)?;
        Ok(Permit { cell: opened.unwrap_or(cell), key })
    }

    /// Gives a permit back.
    pub fn release_permit(&self, permit: &Permit) {
        let Some(at) = self.0.ready() else { return };
        if at.spot.page.key() != permit.key {
            return;
        }
        let cell = permit.cell;
        let _ = give(&at, Give::new(1, Some(cell.next())));
        at.spot.page.put_cell(cell.number());
    }
}

fn open(at: &At<'_, SemaphoreForm>) -> Result<Cell, WordError> {
    let page = &*at.spot.page;
    let number = page.take_cell().map_err(ShareError::Io)?;
    let cell = Cell::open(page, number, at.spot.record);
    Ok(cell.ok_or_else(|| ShareError::Io(io::ErrorKind::InvalidData.into()))?)
}

#[inline]
fn take(
    at: &At<'_, SemaphoreForm>,
    cell: Option<Cell>,
    waits: bool,
    deadline: Option<Instant>,
) -> Result<bool, WordError> {
    let (words, page) = (at.words(), &*at.spot.page);
    let may_wait = waits && !hidden::is_current();
    let mut take = Take::new(cell, may_wait);
    let mut wait = Wait::new(page, deadline);
    let taken = drive(&mut wait, &mut Yields::new(), &words.seq, &|| at.ring(), |told| {
        probe::at(|| take.place());
        take.step(words, page, told)
    });
    match wait.stopped {
        Some(stopped) if !taken => Err(WordError::from_stop(stopped, || at.gone())),
        None if waits && !taken && !may_wait => Err(ShareError::WouldDeadlock.into()),
        _ => Ok(taken),
    }
}

#[inline]
fn give(at: &At<'_, SemaphoreForm>, mut give: Give) -> Result<(), TooMany> {
    let (words, page) = (at.words(), &*at.spot.page);
    finish(&words.seq, &|| at.ring(), |told| {
        probe::at(|| give.place());
        give.step(words, page, told)
    })
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").finish_non_exhaustive()
    }
}
