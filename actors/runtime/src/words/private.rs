//! `PrivateLock`: a lock that guards one piece of private memory, and nothing else.
//!
//! Owns what makes holding it enough to have that memory alone. It is a kind of its own, so
//! that no message makes a handle to it into one that gives the lock back in another's stead,
//! and it names its memory, so that no message puts it beside another one. It must never
//! offer a way to give it back but by what its taker got. Neighbour: `lock`, for the rest.

use super::WordError;
use super::handle::Handle;
use super::held::Held;
use super::lock::{AnyLock, PRIVATE, Settings, take_async};
use crate::memory::Memory;
use std::io;

/// A lock that nobody but its holder gives back.
pub type PrivateLock = AnyLock<PRIVATE>;

impl PrivateLock {
    /// Makes the lock of this memory, which is this process's own.
    ///
    /// # Errors
    /// No memory, or [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub fn of<T>(memory: &Memory<T, true>) -> io::Result<Self> {
        let (_, guarded) = memory.identity().ok_or(io::ErrorKind::NotFound)?;
        Handle::host(Settings { watched: false, guarded }).map(Self)
    }

    /// Whether it is the lock of this memory.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn is_of<T>(&self, memory: &Memory<T, true>) -> Result<bool, WordError> {
        let guarded = self.0.at()?.settings.guarded;
        let owner = self.0.owner();
        Ok(owner.is_some() && owner.map(|owner| (owner, guarded)) == memory.identity())
    }

    /// Takes it for a waiter without a thread.
    ///
    /// # Errors
    /// The owner has ended.
    ///
    /// # Cancel safety
    /// Dropped, it gives back what it has been granted.
    pub async fn take_async(&self) -> Result<Held, WordError> {
        take_async(&self.0).await
    }
}
