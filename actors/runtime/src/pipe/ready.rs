//! Waiting for descriptors: one end, or many things at once.
//!
//! Owns the waits of pipes, blocking ones by `poll(2)` and async ones by the hidden thread,
//! on a descriptor of their own for each wait. It takes nothing off any descriptor.

use super::PipeError;
use crate::node::hidden;
use crate::sync;
use crate::sys::socket::duplicate;
use crate::sys::watch::{Held, watch};
use nix::poll::{PollFd, PollFlags};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::task::JoinSet;

/// How long an async form waits between two looks at a turn that another has.
const NAP: Duration = Duration::from_millis(1);

/// Waits until one of the descriptors can be read, is at its end or has failed; at most until
/// the deadline. Says which ones, in the order given; none when the time was up, and at once
/// when there are none and no deadline.
///
/// # Errors
/// [`PipeError::WouldDeadlock`]; `EBADF` and others of the system's.
pub fn wait(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> Result<Vec<usize>, PipeError> {
    may_block()?;
    if fds.is_empty() && deadline.is_none() {
        // Nothing could end it.
        return Ok(Vec::new());
    }
    Ok(look(fds, deadline)?)
}

/// As [`wait`], without blocking the thread; `timeout` from the first poll on.
///
/// # Errors
/// As [`wait`].
///
/// # Cancel safety
/// Dropping the future ends only the wait.
pub async fn wait_async(
    fds: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> Result<Vec<usize>, PipeError> {
    let now = look(fds, Some(Instant::now()))?;
    if !now.is_empty() || fds.is_empty() && timeout.is_none() {
        return Ok(now);
    }
    let copies = fds.iter().map(duplicate).collect::<io::Result<Vec<_>>>()?;
    let any = async move {
        let mut waits = JoinSet::new();
        for copy in copies {
            let held = watch(Held::own(copy), Interest::READABLE)?;
            waits.spawn(async move { held.readable().await.map(drop) });
        }
        match waits.join_next().await {
            Some(done) => done.map_err(io::Error::other)?,
            None => std::future::pending().await,
        }
    };
    match hidden::run(within(any, timeout))?.await {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(look(fds, Some(Instant::now()))?),
    }
}

fn look(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<Vec<usize>> {
    let mut polled: Vec<_> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    sync::poll(&mut polled, deadline)?;
    let mut ready = Vec::new();
    for (at, polled) in polled.iter().enumerate() {
        let events = polled.revents().unwrap_or(PollFlags::empty());
        if events.contains(PollFlags::POLLNVAL) {
            return Err(nix::Error::EBADF.into());
        }
        if !events.is_empty() {
            ready.push(at);
        }
    }
    Ok(ready)
}

/// The library's own thread must not block.
pub(super) fn may_block() -> Result<(), PipeError> {
    if hidden::is_current() { Err(PipeError::WouldDeadlock) } else { Ok(()) }
}

/// Waits for one of the events, or an error or an end. False when the deadline passed.
pub(super) fn poll_until(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    sync::poll(&mut [PollFd::new(fd, events)], deadline)
}

/// What an async form waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    Readable,
    Writable,
}

/// Bounds what waits for a peer by time, on any executor.
///
/// # Errors
/// [`PipeError::Timeout`]; its own.
///
/// # Cancel safety
/// As its own. When the time is up, it is dropped.
pub async fn at_most<T>(
    timeout: Duration,
    wait: impl Future<Output = Result<T, PipeError>>,
) -> Result<T, PipeError> {
    // The timer is the hidden thread's, whatever runtime polls this.
    let time_is_up = hidden::run(async move { tokio::time::sleep(timeout).await })?;
    tokio::select! {
        biased;
        done = wait => done,
        () = time_is_up => Err(PipeError::Timeout),
    }
}

/// Waits for a descriptor on the hidden thread.
pub(super) async fn ready(fd: BorrowedFd<'_>, until: Until) -> io::Result<()> {
    ready_within(fd, until, None).await.map(drop)
}

/// As [`ready`]; false when the time was up.
pub(super) async fn ready_within(
    fd: BorrowedFd<'_>,
    until: Until,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let held = Held::own(duplicate(&fd)?);
    let interest = match until {
        Until::Readable => Interest::READABLE,
        Until::Writable => Interest::WRITABLE,
    };
    let wait = async move {
        match watch(held, interest) {
            Ok(held) => held.ready(interest).await.map(drop),
            // Files cannot be waited for: they are always ready.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
            Err(error) => Err(error),
        }
    };
    hidden::run(within(wait, timeout))?.await.transpose().map(|done| done.is_some())
}

/// Waits a moment, unless `sooner` says that it is not necessary.
pub(super) async fn nap(sooner: impl FnOnce() -> bool) -> io::Result<()> {
    if !sooner() {
        hidden::run(tokio_sleep(NAP))?.await;
    }
    Ok(())
}

async fn tokio_sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn within<T>(wait: impl Future<Output = T>, timeout: Option<Duration>) -> Option<T> {
    match timeout {
        None => Some(wait.await),
        Some(timeout) => tokio::time::timeout(timeout, wait).await.ok(),
    }
}
