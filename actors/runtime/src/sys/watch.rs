//! Descriptors that a tokio runtime watches.
//!
//! Owns the registration: tokio asks for a promise that the descriptor stays open and
//! the same while it is watched, which a [`Held`] keeps by keeping its owner.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor together with what keeps it open.
pub(crate) struct Held {
    _owner: Arc<dyn Any + Send + Sync>,
    fd: RawFd,
}

impl Held {
    /// Holds `owner`, and in it the descriptor that `fd` picks: a field that is never
    /// replaced, as those of links and children are.
    pub(crate) fn new<T: Any + Send + Sync>(
        owner: &Arc<T>,
        fd: impl FnOnce(&T) -> BorrowedFd<'_>,
    ) -> Self {
        Self { fd: fd(owner).as_raw_fd(), _owner: owner.clone() }
    }

    /// Takes over a descriptor.
    pub(crate) fn own(fd: OwnedFd) -> Self {
        Self::new(&Arc::new(fd), AsFd::as_fd)
    }
}

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

/// Lets the current tokio runtime watch a descriptor.
pub(crate) fn watch(held: Held, interest: Interest) -> io::Result<AsyncFd<Held>> {
    // SAFETY: `held` keeps the descriptor's owner alive for as long as it is watched, and
    // always gives the same number.
    unsafe { AsyncFd::register_with_interest(held, interest) }.map_err(io::Error::from)
}
