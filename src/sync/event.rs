//! `Event`.

use super::SyncResult;
use procession_runtime::sync::after;
use procession_runtime::words;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A flag that processes wait for, as Python's `multiprocessing.Event`.
///
/// A set lets everybody go who waits, also when the flag is cleared at once. (In Python a
/// waiter that looks too late waits on.)
///
/// ```
/// use procession::{Event, Process};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ready = Event::new()?;
/// let mut child = Process::spawn(|ready: Event| ready.set().unwrap(), (ready.clone(),))?;
/// ready.wait()?;
/// child.join()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Event {
    inner: words::Event,
}

impl Event {
    /// Makes one that is not set. This process owns it.
    ///
    /// # Errors
    /// [`SyncError::Io`](super::SyncError::Io): no memory or descriptor is free, or this
    /// process owns [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub fn new() -> SyncResult<Self> {
        Ok(Self { inner: words::Event::new()? })
    }

    /// Whether it is set.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`](super::SyncError::OwnerGone).
    pub fn is_set(&self) -> SyncResult<bool> {
        Ok(self.inner.is_set()?)
    }

    /// Sets it: everybody who waits goes on.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`](super::SyncError::OwnerGone).
    pub fn set(&self) -> SyncResult<()> {
        Ok(self.inner.set()?)
    }

    /// Takes the flag back.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`](super::SyncError::OwnerGone).
    pub fn clear(&self) -> SyncResult<()> {
        Ok(self.inner.clear()?)
    }

    /// Waits until it is set, or has been since this began.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`](super::SyncError::OwnerGone);
    /// [`SyncError::WouldDeadlock`](super::SyncError::WouldDeadlock) on a thread of the
    /// library's own.
    pub fn wait(&self) -> SyncResult<()> {
        self.inner.wait_until(None)?;
        Ok(())
    }

    /// Waits at most so long. Whether it is set, or has been since this began.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> SyncResult<bool> {
        Ok(self.inner.wait_until(after(timeout))?)
    }

    /// Waits without blocking a thread.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`](super::SyncError::OwnerGone).
    ///
    /// # Cancel safety
    /// Dropped, it waits no longer.
    pub async fn wait_async(&self) -> SyncResult<()> {
        Ok(self.inner.wait_async().await?)
    }
}

/// As Python's: `Event(set)`, `Event(unset)`.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.inner.is_set() {
            Ok(true) => "Event(set)",
            Ok(false) => "Event(unset)",
            Err(_) => "Event(unknown)",
        })
    }
}
