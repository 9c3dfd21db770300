//! `RLock`.

use super::taking::taking;
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

    #[inline]
    fn guard(&self, held: Held) -> RLockGuard<'_> {
        RLockGuard { lock: self, held, thread: PhantomData }
    }
}

taking! {
    RLock, RLockGuard, "it once more";
    /// Takes it once more, waiting for as long as that needs.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`]; [`SyncError::WouldDeadlock`] with the cycle that this wait
    /// closed, and on a thread of the library's own.
    acquire;
    /// Gives it back once.
    ///
    /// # Errors
    /// [`SyncError::NotOwner`] when the calling thread does not hold it;
    /// [`SyncError::OwnerGone`].
    release, SyncError::NotOwner
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
