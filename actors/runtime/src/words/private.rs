//! `PrivateLock`: a lock that guards one piece of private memory, and nothing else.
//!
//! Owns what makes holding it enough to have that memory alone. It is a kind of its own, so
//! that no message makes a handle to it into one that gives the lock back in another's stead,
//! and it names its memory, so that no message puts it beside another one. It must never
//! offer a way to give it back but by what its taker got. Neighbours: `lock`, for the rest;
//! `sys::exclusive`, which makes a slice of memory and lock.

use super::WordError;
use super::handle::Handle;
use super::held::Held;
use super::lock::{AnyLock, PRIVATE, Settings, take_async};
use crate::memory::Memory;
use crate::share::ShareError;
use std::io;

/// A lock that nobody but its holder gives back.
pub(crate) type PrivateLock = AnyLock<PRIVATE>;

/// Why memory of one's own is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// The memory is not: its owner has ended, the system refused, or a message lied.
    #[error(transparent)]
    Memory(#[from] ShareError),
    /// Its lock is not.
    #[error(transparent)]
    Lock(#[from] Box<WordError>),
}

impl From<WordError> for Denied {
    fn from(error: WordError) -> Self {
        Self::Lock(Box::new(error))
    }
}

impl PrivateLock {
    /// Makes the lock of this memory, which is this process's own.
    ///
    /// # Errors
    /// No memory, or [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub(crate) fn of<T>(memory: &Memory<T, true>) -> io::Result<Self> {
        let (_, guarded) = memory.identity().ok_or(io::ErrorKind::NotFound)?;
        Handle::host(Settings { watched: false, guarded }).map(Self)
    }

    /// Makes sure that it is the lock of this memory.
    ///
    /// # Errors
    /// It is not; the owner has ended.
    #[cold]
    pub(crate) fn must_be_of<T>(&self, memory: &Memory<T, true>) -> Result<(), Denied> {
        let guarded = self.0.at()?.settings.guarded;
        let owner = self.0.owner();
        if owner.is_some() && owner.map(|owner| (owner, guarded)) == memory.identity() {
            return Ok(());
        }
        Err(ShareError::OtherKind { found: "the lock of other memory".into() }.into())
    }

    /// Takes it for a waiter without a thread.
    ///
    /// # Errors
    /// The owner has ended.
    ///
    /// # Cancel safety
    /// Dropped, it gives back what it has been granted.
    pub(crate) async fn take_async(&self) -> Result<Held, WordError> {
        take_async(&self.0, None).await
    }
}
