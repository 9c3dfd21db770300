//! `Semaphore` and `BoundedSemaphore`.

use super::{SyncError, SyncResult};
use procession_runtime::sync::after;
use procession_runtime::words::{self, MAX_VALUE};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// A count of free places, as Python's `multiprocessing.Semaphore`.
///
/// There are two ways to take a place. [`acquire`](Self::acquire) takes a plain count, which
/// belongs to nobody: anybody may give it by [`release`](Self::release), as producers and
/// consumers do, and a death gives nothing back. [`permit`](Self::permit) takes it as a
/// guard, which gives it back when it is dropped, and also when its process dies.
///
/// Permits need room at the process that made their semaphore: for all its semaphores
/// together there is room for 64 permits in each of 1,024 processes, or for more in fewer. A
/// process keeps what room it has had for as long as it lives. Plain counts need none.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let places = procession::Semaphore::new(2)?;
/// let permit = places.permit()?;
/// assert_eq!(places.value()?, 1);
/// drop(permit);
/// places.acquire()?;
/// places.release()?;
/// assert_eq!(places.value()?, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Semaphore {
    inner: words::Semaphore,
}

/// A place of a semaphore, given back when this is dropped or its process dies.
#[must_use = "the place is given back when the permit is dropped"]
#[derive(Debug)]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    permit: words::Permit,
}

impl Semaphore {
    /// Makes one with so many free places. This process owns it.
    ///
    /// # Errors
    /// [`SyncError::Invalid`] above [`MAX_VALUE`]; [`SyncError::Io`]: no memory or descriptor
    /// is free, or this process owns [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub fn new(value: u32) -> SyncResult<Self> {
        Self::with(value, None)
    }

    fn with(value: u32, bound: Option<u32>) -> SyncResult<Self> {
        if value > MAX_VALUE {
            return Err(SyncError::Invalid("a semaphore counts to 2^31 - 1"));
        }
        Ok(Self { inner: words::Semaphore::new(value, bound)? })
    }

    /// Takes a place, waiting for as long as that needs.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`]; [`SyncError::WouldDeadlock`] on a thread of the library's own.
    pub fn acquire(&self) -> SyncResult<()> {
        self.inner.acquire_until(None)?;
        Ok(())
    }

    /// Takes a place, waiting at most so long. False when the time was up.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn acquire_timeout(&self, timeout: Duration) -> SyncResult<bool> {
        Ok(self.inner.acquire_until(after(timeout))?)
    }

    /// Takes a place if one is free.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn try_acquire(&self) -> SyncResult<bool> {
        Ok(self.inner.try_acquire()?)
    }

    /// Takes a place without blocking a thread.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it takes no place.
    pub async fn acquire_async(&self) -> SyncResult<()> {
        Ok(self.inner.acquire_async().await?)
    }

    /// Gives a place.
    ///
    /// # Errors
    /// [`SyncError::ReleasedTooOften`] above the bound of a [`BoundedSemaphore`], and above
    /// [`MAX_VALUE`]; [`SyncError::OwnerGone`].
    pub fn release(&self) -> SyncResult<()> {
        self.release_n(1)
    }

    /// Gives so many places at once, or none of them.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn release_n(&self, count: u32) -> SyncResult<()> {
        self.inner.release(count)?.map_err(|_| SyncError::ReleasedTooOften)
    }

    /// Takes a place for as long as the permit lives, waiting for as long as that needs.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); [`SyncError::Io`] of the kind
    /// [`QuotaExceeded`](std::io::ErrorKind::QuotaExceeded) when there is no room for a permit
    /// more (see [`Semaphore`]).
    pub fn permit(&self) -> SyncResult<Permit<'_>> {
        match self.inner.permit_until(None)? {
            Some(permit) => Ok(Permit { semaphore: self, permit }),
            None => unreachable!("a wait without a deadline has no time-out"),
        }
    }

    /// Takes a place for as long as the permit lives, waiting at most so long. `None` when
    /// the time was up.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`], and for want of room as [`permit`](Self::permit).
    pub fn permit_timeout(&self, timeout: Duration) -> SyncResult<Option<Permit<'_>>> {
        let permit = self.inner.permit_until(after(timeout))?;
        Ok(permit.map(|permit| Permit { semaphore: self, permit }))
    }

    /// Takes a place for as long as the permit lives, if one is free.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`], and for want of room as [`permit`](Self::permit).
    pub fn try_permit(&self) -> SyncResult<Option<Permit<'_>>> {
        Ok(self.inner.try_permit()?.map(|permit| Permit { semaphore: self, permit }))
    }

    /// Takes a place for as long as the permit lives, without blocking a thread.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`], and for want of room as [`permit`](Self::permit).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it takes no place.
    pub async fn permit_async(&self) -> SyncResult<Permit<'_>> {
        Ok(Permit { semaphore: self, permit: self.inner.permit_async().await? })
    }

    /// How many places are free.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn value(&self) -> SyncResult<u32> {
        Ok(self.inner.value()?)
    }

    /// Whether no place is free.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn locked(&self) -> SyncResult<bool> {
        Ok(self.value()? == 0)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.inner.release_permit(&self.permit);
    }
}

/// As Python's: `Semaphore(value=3)`.
impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner.value() {
            Ok(value) => write!(f, "Semaphore(value={value})"),
            Err(_) => f.write_str("Semaphore(value=unknown)"),
        }
    }
}

/// A [`Semaphore`] whose value cannot rise above the one that it began with: to release it
/// once more is [`SyncError::ReleasedTooOften`]. It derefs to `Semaphore`, which has the
/// calls.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let places = procession::BoundedSemaphore::new(2)?;
/// places.acquire()?;
/// places.release()?;
/// assert!(places.release().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BoundedSemaphore {
    inner: Semaphore,
}

impl BoundedSemaphore {
    /// Makes one with so many free places. This process owns it.
    ///
    /// # Errors
    /// As [`Semaphore::new`].
    pub fn new(value: u32) -> SyncResult<Self> {
        Ok(Self { inner: Semaphore::with(value, Some(value))? })
    }
}

impl Deref for BoundedSemaphore {
    type Target = Semaphore;

    fn deref(&self) -> &Semaphore {
        &self.inner
    }
}

/// As Python's: `BoundedSemaphore(value=2/3)`.
impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.value(), self.inner.inner.bound()) {
            (Ok(value), Ok(Some(bound))) => write!(f, "BoundedSemaphore(value={value}/{bound})"),
            _ => f.write_str("BoundedSemaphore(value=unknown)"),
        }
    }
}
