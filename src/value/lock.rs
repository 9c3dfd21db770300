//! What a value asks of the lock that guards it.
//!
//! Owns one seam between values and locks: either kind of lock fits. It must never know
//! what is guarded. Neighbours: `locked.rs` and `array.rs` above it, `crate::sync` below.

use crate::sync::{Lock, LockGuard, RLock, RLockGuard, SyncError};
use procession_runtime::words::Death;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Duration;

/// A lock that can guard a [`Value`](super::Value) or an [`Array`](super::Array): [`RLock`],
/// as Python has it unless told otherwise, or [`Lock`].
pub trait ValueLock:
    Clone + Serialize + DeserializeOwned + fmt::Debug + Send + Sync + sealed::Sealed + 'static
{
    /// What holds it.
    type Guard<'a>: fmt::Debug;

    #[doc(hidden)]
    fn hold(&self) -> Result<Self::Guard<'_>, SyncError>;

    #[doc(hidden)]
    fn hold_timeout(&self, timeout: Duration) -> Result<Option<Self::Guard<'_>>, SyncError>;

    #[doc(hidden)]
    fn previous_holder(guard: &Self::Guard<'_>) -> Option<Death>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::sync::Lock {}
    impl Sealed for crate::sync::RLock {}
}

impl ValueLock for RLock {
    type Guard<'a> = RLockGuard<'a>;

    #[inline]
    fn hold(&self) -> Result<RLockGuard<'_>, SyncError> {
        self.lock()
    }

    fn hold_timeout(&self, timeout: Duration) -> Result<Option<RLockGuard<'_>>, SyncError> {
        self.lock_timeout(timeout)
    }

    fn previous_holder(guard: &RLockGuard<'_>) -> Option<Death> {
        guard.previous_holder()
    }
}

impl ValueLock for Lock {
    type Guard<'a> = LockGuard<'a>;

    #[inline]
    fn hold(&self) -> Result<LockGuard<'_>, SyncError> {
        self.lock()
    }

    fn hold_timeout(&self, timeout: Duration) -> Result<Option<LockGuard<'_>>, SyncError> {
        self.lock_timeout(timeout)
    }

    fn previous_holder(guard: &LockGuard<'_>) -> Option<Death> {
        guard.previous_holder()
    }
}
