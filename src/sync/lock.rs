//! `Lock`.

use super::taking::taking;
use super::{Acquired, HolderDied, SyncError, SyncResult};
use procession_runtime::sync::after;
use procession_runtime::words::{self, Death, Held};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A lock between threads of any processes, as Python's `multiprocessing.Lock`.
///
/// It is not recursive: a thread that takes it twice waits for somebody to give it back,
/// and anybody may, by [`release`](Self::release). A [guard](Self::lock) gives back its own.
///
/// When a process dies with the lock, or exits with it, the next one gets it and is told
/// who that was: in [`Acquired::AfterDeath`], and by the guard. So it is when a process that
/// does not own the lock drops its last handle with it.
///
/// Uncontended it is one compare-and-swap in shared memory. Of those who wait one spins
/// shortly and the others sleep; they take turns.
///
/// A `static` lock is another lock in each spawned child: pass the handle as an argument.
///
/// At most 65,520 threads at a time, of all processes together, use the locks and conditions
/// that one process owns. The next one gets [`SyncError::Io`] of the kind
/// [`QuotaExceeded`](std::io::ErrorKind::QuotaExceeded).
///
/// ```
/// use procession::{Lock, Process};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lock = Lock::new()?;
/// let child = |lock: Lock| {
///     let _guard = lock.lock().unwrap();
///     println!("nobody prints between these two lines");
///     println!("which are one process's");
/// };
/// let mut a = Process::spawn(child, (lock.clone(),))?;
/// let mut b = Process::spawn(child, (lock,))?;
/// a.join()?;
/// b.join()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lock {
    inner: words::Lock,
}

/// A lock that is held until this is dropped.
#[must_use = "the lock is given back when the guard is dropped"]
#[derive(Debug)]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    held: Held,
}

impl Lock {
    /// Makes one, which is free. This process owns it.
    ///
    /// # Errors
    /// [`SyncError::Io`]: no memory or descriptor is free, or this process owns
    /// [`MAX_RECORDS`](super::MAX_RECORDS) of them.
    pub fn new() -> SyncResult<Self> {
        Ok(Self { inner: words::Lock::new(false)? })
    }

    /// Makes one whose deadlocks are found: a wait without a time limit that closes a
    /// cycle of threads, each of which waits for a lock that the next one holds, is
    /// [`SyncError::WouldDeadlock`], 20 to 40 ms after it began. Only locks of one owner
    /// are seen together. For locks that are given back by who took them.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn checked() -> SyncResult<Self> {
        Ok(Self { inner: words::Lock::new(true)? })
    }

    /// Takes it without blocking a thread. It is then held by the process, not by a thread
    /// of it.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it does not take the lock.
    pub async fn acquire_async(&self) -> SyncResult<Acquired> {
        Ok(self.acquired(self.inner.acquire_async().await?))
    }

    /// Takes it for as long as the guard lives, without blocking a thread.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it does not take the lock.
    pub async fn lock_async(&self) -> SyncResult<LockGuard<'_>> {
        Ok(self.guard(self.inner.acquire_async().await?))
    }

    #[inline]
    fn guard(&self, held: Held) -> LockGuard<'_> {
        LockGuard { lock: self, held }
    }
}

taking! {
    Lock, LockGuard, "it";
    /// Takes it, waiting for as long as that needs.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`]; [`SyncError::WouldDeadlock`] for a [checked](Self::checked)
    /// lock, and on a thread of the library's own.
    acquire;
    /// Gives it back, whoever took it.
    ///
    /// # Errors
    /// [`SyncError::ReleasedTooOften`] when nobody holds it; [`SyncError::OwnerGone`].
    release, SyncError::ReleasedTooOften
}

impl<'a> LockGuard<'a> {
    /// The lock.
    pub fn of(&self) -> &'a Lock {
        self.lock
    }
}

/// As Python's: `Lock(owner=MainProcess)`, with the thread's name behind a `|` when it is
/// not its process's main one.
impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = match self.inner.holder() {
            Ok(holder) => holder.unwrap_or_else(|| "None".into()),
            Err(_) => "unknown".into(),
        };
        write!(f, "Lock(owner={owner})")
    }
}
