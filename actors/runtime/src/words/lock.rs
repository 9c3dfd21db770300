//! `Lock`, and what all kinds of lock have in common.
//!
//! Owns taking and giving them: the uncontended case in one step, the rest by the machines
//! of `word::lock`. A recursive lock counts in its record, which only its holder changes.
//! Neighbours: `rlock` and `private`, what the other kinds have beside that.

use super::drive::{LockSpin, Wait, drive, finish};
use super::handle::{At, Handle};
use super::held::Held;
use super::host::{Form, Gone, Own, Spot};
use super::page::{read_text, write_text};
use super::waiters::{Claim, Waiters, Waiting};
use super::watched::{Published, cycle};
use super::{WordError, probe};
use crate::node::hidden;
use crate::share::{ShareError, era};
use crate::sys::page::{self, LockRecord};
use procession_protocols::word::lock::{self, Acquire, Release, Served, Taken};
use procession_protocols::word::{ALL, ANYBODY, Seat};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
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

/// One that anybody may give back.
const PLAIN: u8 = 0;
/// One that its holder may take again.
pub(super) const RECURSIVE: u8 = 1;
/// One that is given back by who holds it alone, and no message makes one of another kind.
pub(super) const PRIVATE: u8 = 2;

/// The kinds of lock.
#[derive(Debug)]
pub(super) struct LockForm<const KIND: u8>;

/// What is the same for a lock's whole life.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Whether its waits are watched for cycles.
    pub(super) watched: bool,
    /// The object that it guards, for a private one.
    pub(super) guarded: u64,
}

impl<const KIND: u8> Form for LockForm<KIND> {
    const NAME: &'static str = match KIND {
        RECURSIVE => "RLock",
        PRIVATE => "PrivateLock",
        _ => "Lock",
    };
    type Words = LockRecord;
    type Settings = Settings;

    fn prepare(_: &LockRecord, _: Settings) {}

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
                        // Before it hears of it, its seat's turn before is over.
                        Held::next(&spot.words, seat);
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

/// A lock of any kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnyLock<const KIND: u8>(pub(super) Handle<LockForm<KIND>>);

/// A lock that any thread of any process may give back.
pub type Lock = AnyLock<PLAIN>;

/// A lock that its holder may take again.
pub type RLock = AnyLock<RECURSIVE>;

impl<const K: u8> AnyLock<K> {
    /// Makes one; `watched` has waits that would never end found.
    ///
    /// # Errors
    /// No memory, or [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub fn new(watched: bool) -> io::Result<Self> {
        Handle::host(Settings { watched, guarded: 0 }).map(Self)
    }

    /// Takes it, waiting for as long as that needs.
    ///
    /// # Errors
    /// The owner has ended, or the wait would never end.
    #[inline]
    pub fn acquire(&self) -> Result<Held, Box<WordError>> {
        match self.take_fast() {
            Some(held) => Ok(held),
            None => self.acquire_slowly(),
        }
    }

    /// Takes it, waiting until the deadline. `None` when the time was up.
    ///
    /// # Errors
    /// The owner has ended, or the wait would never end.
    pub fn acquire_until(&self, deadline: Option<Instant>) -> Result<Option<Held>, WordError> {
        match self.take_fast() {
            Some(held) => Ok(Some(held)),
            None => slow(&self.0.at()?, deadline),
        }
    }

    /// Takes it if that needs no wait.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn try_acquire(&self) -> Result<Option<Held>, WordError> {
        let at = self.0.at()?;
        let seat = at.seat()?;
        Ok(again::<K>(at.words(), seat).or_else(|| {
            lock::try_take(&at.words().words, seat).map(|taken| took(&at, seat, taken))
        }))
    }

    /// Gives back what was taken so. Nothing happens if somebody else has given it back, also
    /// when it was taken again since; or, for a recursive one, on another thread.
    #[inline]
    pub fn release_held(&self, held: Held) {
        let given = self.0.near().is_some_and(|near| {
            held.is_of(near.generation)
                && held.is_last(&near.words)
                && Self::give_fast(&near.words, held.seat())
        });
        if !given {
            self.release_held_slowly(held);
        }
    }

    /// Whether anybody holds it.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn is_locked(&self) -> Result<bool, WordError> {
        Ok(self.0.at()?.words().words.look().holder() != 0)
    }

    /// Who holds it: the process's name and, on another thread than its main one, the
    /// thread's.
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

    /// Whether the calling thread holds it, or a task of this process, which has no thread.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn is_mine_or_a_tasks(&self) -> Result<bool, WordError> {
        let at = self.0.at()?;
        let holder = at.words().words.look().holder();
        Ok(holder == at.seat()? || at.spot.page.is_common(holder))
    }

    /// Whether this process holds it: a thread of it, or a task.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn is_ours(&self) -> Result<bool, WordError> {
        let at = self.0.at()?;
        Ok(at.spot.page.is_ours(at.words().words.look().holder()))
    }

    /// What its holder has, who is about to give it back and to take it again. By what was
    /// got so far nothing is given back until it [goes on](Self::resume).
    ///
    /// # Errors
    /// The owner has ended.
    pub fn pause(&self) -> Result<Held, WordError> {
        let at = self.0.at()?;
        let (record, holder) = (at.words(), at.words().words.look().holder());
        let held = Held::now(record, holder);
        // Else a guard that is left alone could be taken for that of a task which has taken
        // the lock on the same seat, and not said so yet.
        Held::next(record, holder);
        Ok(held)
    }

    /// It has been taken again: by this, what was [paused](Self::pause) goes on, and whoever
    /// has that gives it back. Gives the same, which knows of a holder that died meanwhile.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn resume(&self, held: Held, again: Held) -> Result<Held, WordError> {
        let at = self.0.at()?;
        if at.words().words.look().holder() == held.seat() {
            at.words().last.store(held.turn_and_seat(), Relaxed);
        }
        Ok(if again.is_after_death() { held.after_death() } else { held })
    }

    /// Who held it before and died with it, if that was so. It is written beside the lock,
    /// where it stands for as long as the lock is held.
    #[inline]
    pub fn death(&self, held: Held) -> Option<Death> {
        if held.is_after_death() { self.last_death() } else { None }
    }

    #[cold]
    fn last_death(&self) -> Option<Death> {
        let read = |record: &LockRecord| Death {
            name: read_text(&record.dead_name),
            pid: record.dead_pid.load(Relaxed),
        };
        match self.0.last() {
            Some(near) => Some(read(&near.words)),
            None => self.0.ready().map(|at| read(at.words())),
        }
    }

    /// Takes it if this handle has been used on this thread, and nobody is in the way.
    #[inline]
    fn take_fast(&self) -> Option<Held> {
        let near = self.0.near()?;
        let seat = near.seat()?;
        if near.words.words.take_fast(seat) {
            if K == RECURSIVE {
                near.words.words.depth.store(1, Relaxed);
            }
            return Some(Held::next(&near.words, seat));
        }
        again::<K>(&near.words, seat)
    }

    /// Gives it back once if nobody is to be woken for it.
    #[inline]
    pub(super) fn give_fast(record: &LockRecord, seat: Seat) -> bool {
        let words = &record.words;
        // Only its holder changes the depth, and it is 1 or more while it is held.
        if K == RECURSIVE && words.depth.load(Relaxed) != 1 { false } else { words.free_fast(seat) }
    }

    #[cold]
    #[inline(never)]
    fn acquire_slowly(&self) -> Result<Held, Box<WordError>> {
        let at = self.0.at()?;
        match slow(&at, None)? {
            Some(held) => Ok(held),
            None => unreachable!("a wait without a deadline has no time-out"),
        }
    }

    #[cold]
    #[inline(never)]
    fn release_held_slowly(&self, held: Held) {
        // A later generation has the lock on a page of its own, if it has it.
        if !held.is_of(era::generation()) {
            return;
        }
        if let Some(at) = self.0.ready()
            && held.is_last(at.words())
        {
            let _ = give_once(&at, Some(held.seat()));
        }
    }
}

impl Lock {
    /// Takes it for a waiter without a thread.
    ///
    /// # Errors
    /// The owner has ended.
    ///
    /// # Cancel safety
    /// Dropped, it gives back what it has been granted.
    pub async fn acquire_async(&self) -> Result<Held, WordError> {
        take_async(&self.0, None).await
    }

    /// The same, for what was [paused](Self::pause): on its seat, for its guards give back what
    /// that seat has.
    ///
    /// # Errors
    /// The owner has ended.
    ///
    /// # Cancel safety
    /// As [`acquire_async`](Self::acquire_async).
    pub async fn acquire_again_async(&self, paused: Held) -> Result<Held, WordError> {
        take_async(&self.0, Some(paused.seat())).await
    }

    /// Gives it back, whoever holds it.
    ///
    /// # Errors
    /// [`NotHeld`] when nobody does.
    #[inline]
    pub fn release(&self) -> Result<Result<(), NotHeld>, WordError> {
        match self.0.near().and_then(|near| Some((near, near.seat()?))) {
            Some((near, seat)) if Self::give_fast(&near.words, seat) => Ok(Ok(())),
            _ => Ok(give_once(&self.0.at()?, None)),
        }
    }
}

/// Gives it back once; `holder` is `None` when anybody's will do.
pub(super) fn give_once<const K: u8>(
    at: &At<'_, LockForm<K>>,
    holder: Option<Seat>,
) -> Result<(), NotHeld> {
    let words = &at.words().words;
    let depth = words.depth.load(Relaxed);
    if K == RECURSIVE && depth > 1 {
        if holder != Some(words.look().holder()) {
            return Err(NotHeld);
        }
        words.depth.store(depth - 1, Relaxed);
        return Ok(());
    }
    release(at, holder)
}

pub(super) fn release<const K: u8>(
    at: &At<'_, LockForm<K>>,
    holder: Option<Seat>,
) -> Result<(), NotHeld> {
    let words = &at.words().words;
    words.moves();
    let mut release = Release::new(holder);
    finish(&words.seq, &|| at.ring(), |told| {
        probe::at(|| release.place());
        release.step(words, told)
    })
}

/// Once more, if the thread holds a recursive lock already.
#[inline]
fn again<const K: u8>(record: &LockRecord, seat: Seat) -> Option<Held> {
    let words = &record.words;
    if K != RECURSIVE || words.look().holder() != seat {
        return None;
    }
    words.depth.store(words.depth.load(Relaxed) + 1, Relaxed);
    Some(Held::now(record, seat))
}

fn took<const K: u8>(at: &At<'_, LockForm<K>>, seat: Seat, taken: Taken) -> Held {
    let record = at.words();
    if K == RECURSIVE {
        record.words.depth.store(1, Relaxed);
    }
    let held = Held::next(record, seat);
    if taken == Taken::AfterDeath { held.after_death() } else { held }
}

/// Takes it for a waiter without a thread, on this seat or on that of all such waiters.
pub(super) async fn take_async<const K: u8>(
    handle: &Handle<LockForm<K>>,
    seat: Option<Seat>,
) -> Result<Held, WordError> {
    let at = handle.at_async().await?;
    let seat = seat.map_or_else(|| at.common_seat(), Ok)?;
    if let Some(taken) = lock::try_take(&at.words().words, seat) {
        return Ok(took(&at, seat, taken));
    }
    let answer = at.have_owner_wait(Claim { seat, ..Claim::default() }).await?;
    let taken = if answer == 0 { Taken::Clean } else { Taken::AfterDeath };
    Ok(took(&at, seat, taken))
}

fn slow<const K: u8>(
    at: &At<'_, LockForm<K>>,
    deadline: Option<Instant>,
) -> Result<Option<Held>, WordError> {
    let seat = at.seat()?;
    if let Some(held) = again::<K>(at.words(), seat) {
        return Ok(Some(held));
    }
    let words = &at.words().words;
    if hidden::is_current() {
        let taken = lock::try_take(words, seat).map(|taken| took(at, seat, taken));
        return taken.map(Some).ok_or_else(|| ShareError::WouldDeadlock.into());
    }
    // Only a wait without an end can be part of a deadlock.
    let watched = at.settings.watched && deadline.is_none();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_gives_nothing_back() {
        let lock = Lock::new(false).unwrap();
        let held = lock.acquire().unwrap();
        let paused = lock.pause().unwrap();
        lock.release().unwrap().unwrap();
        let at = lock.0.at().unwrap();
        let seat = at.seat().unwrap();
        // Another task of the same seat, which has not written its turn yet.
        lock::try_take(&at.words().words, seat).unwrap();
        lock.release_held(held);
        assert!(lock.is_locked().unwrap());
        let again = took(&at, seat, Taken::Clean);
        lock.resume(paused, again).unwrap();
        lock.release_held(held);
        assert!(!lock.is_locked().unwrap());
    }

    #[test]
    fn a_lock_goes_round() {
        let lock = Lock::new(false).unwrap();
        let held = lock.acquire_until(None).unwrap().unwrap();
        assert!(lock.is_locked().unwrap());
        assert!(lock.try_acquire().unwrap().is_none());
        lock.release_held(held);
        assert!(!lock.is_locked().unwrap());
        assert_eq!(lock.release().unwrap(), Err(NotHeld));
    }
}
