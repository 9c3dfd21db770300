//! `Lock` and `RLock`.
//!
//! Owns taking and giving them: the uncontended case in one step, the rest by the machines
//! of `word::lock`. A recursive lock counts in its record, which only its holder changes.

use super::drive::{LockSpin, Wait, drive, finish};
use super::host::{At, Form, Gone, Handle, Own, Spot};
use super::page::{read_text, waiting, write_text};
use super::waiters::{Claim, Waiters, Waiting};
use super::{WordError, probe};
use crate::node::hidden;
use crate::share::ShareError;
use crate::sys::page::{self, LockRecord};
use procession_protocols::word::deadlock::{self, Graph};
use procession_protocols::word::lock::{self, Acquire, Release, Served, Taken};
use procession_protocols::word::{ALL, ANYBODY, Seat};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::sync::atomic::Ordering::{Relaxed, Release as Rel};
use std::time::{Duration, Instant};

pub use procession_protocols::word::lock::NotHeld;

/// How long the owner waits for others before it has the lock reserved for them.
const PATIENCE: Duration = Duration::from_millis(1);

/// Who held a lock and died with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// The process's name.
    pub name: String,
    /// Its number, which may be another's by now.
    pub pid: u32,
}

/// A lock that has been taken.
#[derive(Debug)]
pub struct Held {
    /// Its holder before died with it.
    pub death: Option<Death>,
    seat: Seat,
    /// Of the page: in a copy of this process the lock is not the copy's.
    key: u64,
}

impl Held {
    /// What a call is to hold it by; `None` where it is not held: in a copy of the process.
    #[inline]
    fn seat<const R: bool>(&self, at: &At<'_, LockForm<R>>) -> Option<Seat> {
        (at.spot.page.key() == self.key).then_some(self.seat)
    }
}

/// The two forms of lock.
#[derive(Debug)]
pub(super) struct LockForm<const RECURSIVE: bool>;

impl<const RECURSIVE: bool> Form for LockForm<RECURSIVE> {
    const NAME: &'static str = if RECURSIVE { "RLock" } else { "Lock" };
    type Words = LockRecord;
    /// Whether its waits are watched for cycles.
    type Settings = bool;

    fn prepare(_: &LockRecord, _: bool) {}

    fn repair(_: &Own<Self>, spot: &Spot<Self>, gone: &Gone<'_>) {
        let record = &*spot.words;
        lock::repair(
            &record.words,
            |seat| gone.had(&spot.page, seat),
            || {
                record.dead_pid.store(gone.pid, Relaxed);
                write_text(&record.dead_name, gone.name);
            },
        );
    }

    fn rouse(spot: &Spot<Self>) {
        spot.words.words.bump();
        page::wake(&spot.words.words.seq, ALL, ANYBODY);
    }

    fn serve(_: &Own<Self>, spot: &Spot<Self>, waiters: &mut Waiters) {
        let words = &spot.words.words;
        while let Some(first) = waiters.first() {
            let patient = first.began.elapsed() < PATIENCE;
            let seat = first.claim.seat;
            match lock::serve(words, seat, waiters.len() > 1, patient) {
                Served::Granted(taken) => {
                    if let Some(first) = waiters.pop() {
                        first.answer.send(u8::from(taken == Taken::AfterDeath));
                    }
                }
                Served::Later => return,
            }
        }
        if lock::strike(words) {
            // Nobody is rung: nobody waits here.
            let mut pass = Release::pass_on();
            let _ = finish(&words.seq, &|| (), |told| pass.step(words, told));
        }
    }

    fn undo(own: &Own<Self>, spot: &Spot<Self>, waiting: &Waiting) {
        let _ = own;
        let words = &spot.words.words;
        let mut release = Release::new(Some(waiting.claim.seat));
        // The caller serves the queue at once.
        let _ = finish(&words.seq, &|| (), |told| release.step(words, told));
    }
}

/// What both forms of lock do.
macro_rules! common {
    ($lock:ident, $recursive:literal) => {
        impl $lock {
            /// Makes one; `watched` has waits that would never end found.
            ///
            /// # Errors
            /// No memory, or [`MAX_RECORDS`](super::MAX_RECORDS) objects.
            pub fn new(watched: bool) -> io::Result<Self> {
                Handle::host(watched).map(Self)
            }

            /// Takes it, waiting until the deadline. `None` when the time was up.
            ///
            /// # Errors
            /// The owner has ended, or the wait would never end.
            #[inline]
            pub fn acquire_until(
                &self,
                deadline: Option<Instant>,
            ) -> Result<Option<Held>, WordError> {
                let at = self.0.at()?;
                let seat = at.seat()?;
                if at.words().words.take_fast(seat) {
                    if $recursive {
                        at.words().words.depth.store(1, Relaxed);
                    }
                    return Ok(Some(Held { death: None, seat, key: at.spot.page.key() }));
                }
                slow(&at, seat, deadline)
            }

            /// Takes it if that needs no wait.
            ///
            /// # Errors
            /// The owner has ended.
            pub fn try_acquire(&self) -> Result<Option<Held>, WordError> {
                let at = self.0.at()?;
                let seat = at.seat()?;
                Ok(again(&at, seat).or_else(|| {
                    lock::try_take(&at.words().words, seat).map(|taken| took(&at, seat, taken))
                }))
            }

            /// Whether anybody holds it.
            ///
            /// # Errors
            /// The owner has ended.
            pub fn is_locked(&self) -> Result<bool, WordError> {
                Ok(self.0.at()?.words().words.look().holder() != 0)
            }

            /// Who holds it: the process's name and, on another thread than its main one,
            /// the thread's.
            ///
            /// # Errors
            /// The owner has ended.
            pub fn holder(&self) -> Result<Option<String>, WordError> {
                let at = self.0.at()?;
                let seat = at.words().words.look().holder();
                Ok((seat != 0).then(|| at.spot.page.name(seat)))
            }

            /// Whether the calling thread holds it.
            ///
            /// # Errors
            /// The owner has ended.
            pub fn is_mine(&self) -> Result<bool, WordError> {
                let at = self.0.at()?;
                Ok(at.words().words.look().holder() == at.seat()?)
            }
        }

        impl fmt::Debug for $lock {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($lock)).finish_non_exhaustive()
            }
        }
    };
}

/// A lock that any thread of any process may give back.
#[derive(Clone, Serialize, Deserialize)]
pub struct Lock(Handle<LockForm<false>>);

/// A lock that its holder may take again.
#[derive(Clone, Serialize, Deserialize)]
pub struct RLock(Handle<LockForm<true>>);

common!(Lock, false);
common!(RLock, true);

impl Lock {
    /// Takes it for a waiter without a thread.
    ///
    /// # Errors
    /// The owner has ended.
    ///
    /// # Cancel safety
    /// Dropped, it gives back what it has been granted.
    pub async fn acquire_async(&self) -> Result<Held, WordError> {
        let at = self.0.at_async().await?;
        let seat = at.common_seat()?;
        if let Some(taken) = lock::try_take(&at.words().words, seat) {
            return Ok(took(&at, seat, taken));
        }
        let answer = at.have_owner_wait(Claim { seat, ..Claim::default() }).await?;
        let taken = if answer == 0 { Taken::Clean } else { Taken::AfterDeath };
        Ok(took(&at, seat, taken))
    }

    /// Gives it back, whoever holds it.
    ///
    /// # Errors
    /// [`NotHeld`] when nobody does.
    #[inline]
    pub fn release(&self) -> Result<Result<(), NotHeld>, WordError> {
        let at = self.0.at()?;
        if at.words().words.free_fast(at.seat()?) {
            return Ok(Ok(()));
        }
        Ok(release(&at, None))
    }

    /// Gives back what was taken so; nothing happens if somebody else has given it back.
    #[inline]
    pub fn release_held(&self, held: &Held) {
        let Some(at) = self.0.ready() else { return };
        let Some(seat) = held.seat(&at) else { return };
        if !at.words().words.free_fast(seat) {
            let _ = release(&at, Some(seat));
        }
    }
}

impl RLock {
    /// Gives it back once.
    ///
    /// # Errors
    /// [`NotHeld`] when the calling thread does not hold it.
    #[inline]
    pub fn release(&self) -> Result<Result<(), NotHeld>, WordError> {
        let at = self.0.at()?;
        Ok(give_once(&at, at.seat()?))
    }

    /// Gives back once what was taken so; nothing happens on another thread.
    #[inline]
    pub fn release_held(&self, held: &Held) {
        let Some(at) = self.0.ready() else { return };
        if let Some(seat) = held.seat(&at) {
            let _ = give_once(&at, seat);
        }
    }

    /// Gives it back altogether, and says how often it was held.
    ///
    /// # Errors
    /// [`NotHeld`] when the calling thread does not hold it.
    pub fn release_all(&self) -> Result<Result<u32, NotHeld>, WordError> {
        let at = self.0.at()?;
        let seat = at.seat()?;
        let words = &at.words().words;
        if words.look().holder() != seat {
            return Ok(Err(NotHeld));
        }
        let depth = words.depth.load(Relaxed);
        Ok(release(&at, Some(seat)).map(|()| depth))
    }

    /// How often its holder holds it.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn depth(&self) -> Result<u32, WordError> {
        let at = self.0.at()?;
        let words = &at.words().words;
        Ok(if words.look().holder() == 0 { 0 } else { words.depth.load(Relaxed) })
    }

    /// After it was taken again: it is held so often.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn set_depth(&self, depth: u32) -> Result<(), WordError> {
        self.0.at()?.words().words.depth.store(depth, Relaxed);
        Ok(())
    }
}

#[inline]
fn give_once(at: &At<'_, LockForm<true>>, seat: Seat) -> Result<(), NotHeld> {
    let words = &at.words().words;
    let depth = words.depth.load(Relaxed);
    if depth > 1 {
        if words.look().holder() != seat {
            return Err(NotHeld);
        }
        words.depth.store(depth - 1, Relaxed);
        return Ok(());
    }
    if words.free_fast(seat) { Ok(()) } else { release(at, Some(seat)) }
}

#[cold]
fn release<const R: bool>(at: &At<'_, LockForm<R>>, holder: Option<Seat>) -> Result<(), NotHeld> {
    let words = &at.words().words;
    words.rel.store(words.rel.load(Relaxed).wrapping_add(1), Relaxed);
    let mut release = Release::new(holder);
    finish(&words.seq, &|| at.ring(), |told| {
        probe::at(|| release.place());
        release.step(words, told)
    })
}

/// Once more, if the thread holds a recursive lock already.
fn again<const R: bool>(at: &At<'_, LockForm<R>>, seat: Seat) -> Option<Held> {
    let words = &at.words().words;
    if !R || words.look().holder() != seat {
        return None;
    }
    words.depth.store(words.depth.load(Relaxed) + 1, Relaxed);
    Some(Held { death: None, seat, key: at.spot.page.key() })
}

fn took<const R: bool>(at: &At<'_, LockForm<R>>, seat: Seat, taken: Taken) -> Held {
    let record = at.words();
    if R {
        record.words.depth.store(1, Relaxed);
    }
    let death = (taken == Taken::AfterDeath)
        .then(|| Death { name: read_text(&record.dead_name), pid: record.dead_pid.load(Relaxed) });
    Held { death, seat, key: at.spot.page.key() }
}

#[cold]
fn slow<const R: bool>(
    at: &At<'_, LockForm<R>>,
    seat: Seat,
    deadline: Option<Instant>,
) -> Result<Option<Held>, WordError> {
    if let Some(held) = again(at, seat) {
        return Ok(Some(held));
    }
    let words = &at.words().words;
    if hidden::is_current() {
        let taken = lock::try_take(words, seat).map(|taken| took(at, seat, taken));
        return taken.map(Some).ok_or_else(|| ShareError::WouldDeadlock.into());
    }
    // Only a wait without an end can be part of a deadlock.
    let watched = at.settings && deadline.is_none();
    let publish = watched.then(|| Published::new(at, seat)).flatten();
    let watch = || cycle(at, seat);
    let mut wait = Wait::new(&at.spot.page, deadline);
    wait.rounds = Some(&words.rel);
    if publish.is_some() {
        wait.watch = Some(&watch);
    }
    let mut acquire = Acquire::new(seat);
    let mut spin = LockSpin::new(words, seat);
    let taken = drive(&mut wait, &mut spin, &words.seq, &|| at.ring(), |told| {
        probe::at(|| acquire.place());
        acquire.step(words, told)
    });
    drop(publish);
    match (taken, wait.stopped) {
        (Taken::TimedOut, Some(stopped)) => Err(WordError::from_stop(stopped, || at.gone())),
        (Taken::TimedOut, None) => Ok(None),
        (taken, _) => Ok(Some(took(at, seat, taken))),
    }
}

/// The calling thread's seat says what it waits for.
struct Published<'a, const R: bool>(&'a At<'a, LockForm<R>>, Seat);

impl<'a, const R: bool> Published<'a, R> {
    fn new(at: &'a At<'a, LockForm<R>>, seat: Seat) -> Option<Self> {
        let page = &at.spot.page;
        let word = waiting(at.spot.record, page.turn());
        page.seat(seat)?.waits.store(word, Rel);
        Some(Self(at, seat))
    }
}

impl<const R: bool> Drop for Published<'_, R> {
    fn drop(&mut self) {
        if let Some(words) = self.0.spot.page.seat(self.1) {
            words.waits.store(0, Rel);
        }
    }
}

/// The cycle that the wait of a seat closes, in words.
fn cycle<const R: bool>(at: &At<'_, LockForm<R>>, seat: Seat) -> Option<String> {
    let page = &*at.spot.page;
    let edges = deadlock::cycle(page, seat)?;
    let kind = LockForm::<R>::NAME;
    let edge = |edge: &deadlock::Edge| {
        let holder = page.name(page.holder(edge.record));
        format!("{} waits for {kind} {}, held by {holder}", page.name(edge.seat), edge.record)
    };
    Some(edges.iter().map(edge).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_goes_round() {
        let lock = Lock::new(false).unwrap();
        let held = lock.acquire_until(None).unwrap().unwrap();
        assert!(lock.is_locked().unwrap());
        assert!(lock.try_acquire().unwrap().is_none());
        lock.release_held(&held);
        assert!(!lock.is_locked().unwrap());
        assert_eq!(lock.release().unwrap(), Err(NotHeld));
    }
}
