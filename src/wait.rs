//! `wait`: many connections, processes and other descriptors at once.
//!
//! Owns the two calls. What is ready is only said; nothing is received.

use crate::error::{Error, Result};
use procession_runtime::pipe::{self, PipeError};
use procession_runtime::sync::after;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Waits until at least one of the objects is ready, and says which ones: their places in
/// the list, in order; none when the time was up.
///
/// An object is anything with a descriptor: a [`Connection`](crate::Connection), a
/// [`Sentinel`](crate::Sentinel) (ready when its process has ended), a socket. Ready means
/// that it can be read without a wait, or is at its end. No timeout is no limit, but of no
/// objects none gets ready, which is said at once; zero looks once.
///
/// ```
/// use procession::{Pipe, Process, wait};
/// use std::time::Duration;
///
/// # fn main() -> procession::Result<()> {
/// let (a, a_far) = Pipe::duplex()?;
/// let (b, _b_far) = Pipe::duplex()?;
/// let p = Process::spawn(|| (), ())?;
/// let ended = p.sentinel()?;
/// assert_eq!(wait(&[&ended], None)?, [0]);
/// a_far.send(&1)?;
/// assert_eq!(wait(&[&a, &b, &ended], Duration::from_secs(5))?, [0, 2]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::WouldDeadlock`] on the library's own thread; [`Error::Io`].
///
/// # Panics
/// When one of the connections is closed.
pub fn wait(objects: &[&dyn AsFd], timeout: impl Into<Option<Duration>>) -> Result<Vec<usize>> {
    pipe::wait(&fds(objects), timeout.into().and_then(after)).map_err(of_wait)
}

/// As [`wait`](wait()), without blocking the thread, on any executor.
///
/// # Errors
/// [`Error::Io`].
///
/// # Panics
/// When one of the connections is closed.
///
/// # Cancel safety
/// Dropping the future ends only the wait.
pub async fn wait_async(
    objects: &[&(dyn AsFd + Sync)],
    timeout: impl Into<Option<Duration>>,
) -> Result<Vec<usize>> {
    let fds: Vec<BorrowedFd<'_>> = objects.iter().map(|object| object.as_fd()).collect();
    pipe::wait_async(&fds, timeout.into()).await.map_err(of_wait)
}

fn fds<'a>(objects: &'a [&dyn AsFd]) -> Vec<BorrowedFd<'a>> {
    objects.iter().map(|object| object.as_fd()).collect()
}

fn of_wait(error: PipeError) -> Error {
    match error {
        PipeError::Io(error) => Error::Io(error),
        PipeError::WouldDeadlock => Error::WouldDeadlock("the library's own thread would wait"),
        other => Error::Pipe(other),
    }
}
