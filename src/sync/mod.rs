//! Locks and their kin, for threads and processes alike.
//!
//! Owns the handles as their users know them: Python's calls, and guards. Each is a shared
//! word that its users change themselves and sleep on; the process that made it only
//! repairs what the dead leave. What is done stands in the runtime's `words`; nothing here
//! decides anything.

mod barrier;
mod condition;
mod error;
mod event;
mod lock;
mod rlock;
mod semaphore;
mod taking;

pub use barrier::Barrier;
pub(crate) use condition::wait_for;
pub use condition::{CondGuard, Condition, ConditionLock};
pub use error::{HolderDied, SyncError};
pub use event::Event;
pub use lock::{Lock, LockGuard};
pub use procession_runtime::words::{Death, MAX_PARTIES, MAX_RECORDS, MAX_VALUE};
pub use rlock::{RLock, RLockGuard};
pub use semaphore::{BoundedSemaphore, Permit, Semaphore};

/// The result of what is done with locks and their kin.
pub type SyncResult<T> = Result<T, SyncError>;

/// A lock that was taken, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// From nobody who matters: it was free.
    Clean,
    /// From one that died with it. What the lock protects may be half done.
    AfterDeath(Death),
}
