//! Descriptors that a tokio runtime watches.
//!
//! Owns the registration: tokio asks for a promise that the descriptor stays open and
//! the same while it is watched, which a [`Held`] keeps by keeping its owner. Where the kernel
//! has no room for one more, what is [`Watched`] is looked at again and again.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::any::Any;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What cannot be waited for is looked at this often.
pub(crate) const LOOK_PERIOD: Duration = Duration::from_millis(20);

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

/// A descriptor that the runtime watches, if it can.
pub(crate) struct Watched(Option<AsyncFd<Held>>);

impl Watched {
    pub(crate) fn new(held: io::Result<Held>, interest: Interest) -> Self {
        let watched = held.and_then(|held| watch(held, interest));
        let watched = watched.inspect_err(|error| {
            tracing::debug!(target: "procession", %error, "looked at again and again");
        });
        Self(watched.ok())
    }

    /// Waits until there may be something to read. The caller then looks until there is
    /// nothing.
    pub(crate) async fn readable(&self) {
        match &self.0 {
            Some(fd) => {
                if let Ok(mut ready) = fd.readable().await {
                    ready.clear_ready();
                }
            }
            None => tokio::time::sleep(LOOK_PERIOD).await,
        }
    }

    /// As [`readable`](Self::readable), for room to write.
    pub(crate) async fn writable(&self) {
        match &self.0 {
            Some(fd) => {
                if let Ok(mut ready) = fd.writable().await {
                    ready.clear_ready();
                }
            }
            None => tokio::time::sleep(LOOK_PERIOD).await,
        }
    }
}

/// The end of a process, by its pidfd.
pub(crate) struct Ending {
    pidfd: Arc<OwnedFd>,
    watched: Watched,
}

impl Ending {
    pub(crate) fn new(pidfd: OwnedFd) -> Self {
        let pidfd = Arc::new(pidfd);
        let held = Held::new(&pidfd, AsFd::as_fd);
        Self { pidfd, watched: Watched::new(Ok(held), Interest::READABLE) }
    }

    pub(crate) async fn comes(&self) {
        let has_come = || {
            let mut looked = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            poll(&mut looked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        };
        while !has_come() {
            self.watched.readable().await;
        }
    }
}
