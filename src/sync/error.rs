//! What can go wrong with locks and their kin.

use procession_runtime::share::ShareError;
use procession_runtime::words::{Death, WordError};
use std::fmt;
use std::io;

/// Why a lock, semaphore, condition, event or barrier could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The process that made it has ended.
    #[error("{name}, which owned it, has ended")]
    OwnerGone {
        /// That process's name.
        name: String,
    },
    /// The wait could never end. For a cycle of threads that wait for each other's locks:
    /// who waits for which lock, and who holds that.
    #[error("this wait would never end: {0}")]
    WouldDeadlock(String),
    /// There was nothing to give back. Python's `ValueError`.
    #[error("semaphore or lock released too many times")]
    ReleasedTooOften,
    /// The calling thread does not hold the lock. Python's `AssertionError`.
    #[error("the calling thread does not hold the lock")]
    NotOwner,
    /// The barrier is broken. Python's `BrokenBarrierError`.
    #[error("the barrier is broken; reset makes it whole")]
    BrokenBarrier,
    /// A barrier for nobody, or for too many; a semaphore with too high a value.
    #[error("{0}")]
    Invalid(&'static str),
    /// The handle cannot be used here.
    #[error(transparent)]
    Share(ShareError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<WordError> for SyncError {
    fn from(error: WordError) -> Self {
        match error {
            WordError::Share(ShareError::OwnerGone { name }) => Self::OwnerGone { name },
            WordError::Share(error @ ShareError::WouldDeadlock) => {
                Self::WouldDeadlock(error.to_string())
            }
            WordError::Share(ShareError::Io(error)) => Self::Io(error),
            WordError::Share(error) => Self::Share(error),
            WordError::Cycle(cycle) => Self::WouldDeadlock(cycle),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<Box<WordError>> for SyncError {
    #[cold]
    fn from(error: Box<WordError>) -> Self {
        (*error).into()
    }
}

/// A lock was taken from a process that died with it, where that is an error. The guard is
/// in here: the lock is held until it is dropped.
pub struct HolderDied<G> {
    /// Who died.
    pub death: Death,
    /// The lock, held.
    pub guard: G,
}

impl<G> fmt::Debug for HolderDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HolderDied").field("death", &self.death).finish_non_exhaustive()
    }
}

impl<G> fmt::Display for HolderDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Death { name, pid } = &self.death;
        write!(f, "process {name} (pid {pid}) died while it held the lock")
    }
}

impl<G> std::error::Error for HolderDied<G> {}
