//! `RLock`.

use super::{Acquired, HolderDied, SyncError, SyncResult};
use procession_runtime::sync::after;
use procession_runtime::words::{self, Death, Held};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::time::Duration;

/// A lock that the thread which holds it may take again, as Python's
/// `multiprocessing.RLock`. It is free when it has been given back as often.
///
/// Only the thread that holds it may give it back. Deadlocks among such locks of one owner
/// are found: the wait without a time limit that closes a cycle of threads gets
/// [`SyncError::WouldDeadlock`], in which the cycle is named, 20 to 40 ms after it began.
/// It has no async form, since it belongs to a thread. In all else it is as
/// [`Lock`](super::Lock).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lock = procession::RLock::new()?;
/// let outer = lock.lock()?;
/// let inner = lock.lock()?;
/// drop(inner);
/// assert!(lock.locked()?);
/// drop(outer);
/// assert!(!lock.locked()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RLock {
    inner: words::RLock,
}

/// A recursive lock that is held once more until this is dropped. It stays with its thread.
#[must_use = "the lock is given back when the guard is dropped"]
#[derive(Debug)]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    held: Held,
    /// Not to be sent to another thread.
    thread: PhantomData<MutexGuard<'static, ()>>,
}

impl RLock {
    /// Makes one, which is free. This process owns it.
    ///
    /// # Errors
    /// [`SyncError::Io`]: no memory or descriptor is free, or this process owns
    /// [`MAX_RECORDS`](super::MAX_RECORDS) of them.
    pub fn new() -> SyncResult<Self> {
        Ok(Self { inner: words::RLock::new(true)? })
    }

    /// Takes it once more, waiting for as long as that needs.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`]; [`SyncError::WouldDeadlock`] with the cycle that this wait
    /// closed, and on a thread of the library's own.
    #[inline]
    pub fn acquire(&self) -> SyncResult<Acquired> {
        Ok(self.acquired(self.inner.acquire()?))
    }

    /// Takes it once more, waiting at most so long. `None` when the time was up.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn acquire_timeout(&self, timeout: Duration) -> SyncResult<Option<Acquired>> {
        Ok(self.inner.acquire_until(after(timeout))?.map(|held| self.acquired(held)))
    }

    /// Takes it once more if it can be had at once.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn try_acquire(&self) -> SyncResult<Option<Acquired>> {
        Ok(self.inner.try_acquire()?.map(|held| self.acquired(held)))
    }

    /// Gives it back once.
    ///
    /// # Errors
    /// [`SyncError::NotOwner`] when the calling thread does not hold it;
    /// [`SyncError::OwnerGone`].
    #[inline]
    pub fn release(&self) -> SyncResult<()> {
        self.inner.release()?.map_err(|_| SyncError::NotOwner)
    }

    /// Takes it once more, for as long as the guard lives.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    #[inline]
    pub fn lock(&self) -> SyncResult<RLockGuard<'_>> {
        let held = self.inner.acquire()?;
        Ok(self.guard(held))
    }

    /// Takes it once more for as long as the guard lives, waiting at most so long. `None`
    /// when the time was up.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn lock_timeout(&self, timeout: Duration) -> SyncResult<Option<RLockGuard<'_>>> {
        Ok(self.inner.acquire_until(after(timeout))?.map(|held| self.guard(held)))
    }

    /// Takes it once more for as long as the guard lives, if it can be had at once.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn try_lock(&self) -> SyncResult<Option<RLockGuard<'_>>> {
        Ok(self.inner.try_acquire()?.map(|held| self.guard(held)))
    }

    /// Whether anybody holds it.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn locked(&self) -> SyncResult<bool> {
        Ok(self.inner.is_locked()?)
    }

    fn guard(&self, held: Held) -> RLockGuard<'_> {
        RLockGuard { lock: self, held, thread: PhantomData }
    }

    #[inline]
    fn acquired(&self, held: Held) -> Acquired {
        self.inner.death(held).map_or(Acquired::Clean, Acquired::AfterDeath)
    }

    pub(super) fn inner(&self) -> &words::RLock {
        &self.inner
    }
}

impl RLockGuard<'_> {
    /// Who held the lock before and died with it, if that was so.
    pub fn previous_holder(&self) -> Option<Death> {
        self.lock.inner.death(self.held)
    }

    /// Makes it an error that the holder before died, for what cannot be mended.
    ///
    /// # Errors
    /// [`HolderDied`], with the guard in it.
    pub fn strict(self) -> Result<Self, Box<HolderDied<Self>>> {
        match self.previous_holder() {
            None => Ok(self),
            Some(death) => Err(Box::new(HolderDied { death, guard: self })),
        }
    }
}

impl Drop for RLockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.inner.release_held(self.held);
    }
}

/// As Python's: `RLock(MainProcess, 2)`, the holder and how often it holds it.
impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = match self.inner.holder() {
            Ok(holder) => holder.unwrap_or_else(|| "None".into()),
            Err(_) => "unknown".into(),
        };
        let depth = self.inner.depth().unwrap_or(0);
        write!(f, "RLock({owner}, {depth})")
    }
}
