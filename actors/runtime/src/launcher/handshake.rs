//! The parent's side of a start: hello out, ready in, or everything undone.
//!
//! Owns the exchange as one step that never waits, and two ways to wait between
//! steps. A start that fails leaves no process: `Starting` sees to that when it is
//! dropped.

use super::hello::{self, ToChild};
use super::{StartError, Starting};
use crate::child::{Child, ROOM_PERIOD};
use crate::link::LinkError;
use crate::node::{hidden, tree};
use crate::sync::poll;
use crate::sys::watch::{Held, watch};
use nix::poll::{PollFd, PollFlags};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::Interest;

/// Waits in the calling thread.
pub(super) fn blocking(mut starting: Starting) -> Result<Arc<Child>, StartError> {
    begin(&mut starting)?;
    loop {
        if let Some(outcome) = step(&starting.child) {
            return outcome.map(|()| finish(starting));
        }
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, starting.child.control().wants_write());
        if starting.child.lacks_number() {
            // The link is readable all the time.
            if Instant::now() >= starting.deadline {
                return Err(StartError::Timeout(starting.timeout));
            }
            std::thread::sleep(ROOM_PERIOD);
            continue;
        }
        let mut fds = [
            PollFd::new(starting.child.control().as_fd(), wanted),
            PollFd::new(starting.child.pidfd(), PollFlags::POLLIN),
        ];
        if !poll(&mut fds, Some(starting.deadline))? {
            return Err(StartError::Timeout(starting.timeout));
        }
    }
}

/// Waits on the runtime that polls this future.
pub(super) async fn asynchronous(mut starting: Starting) -> Result<Arc<Child>, StartError> {
    begin(&mut starting)?;
    match tokio::time::timeout_at(starting.deadline.into(), exchange(starting.child.clone())).await
    {
        Ok(outcome) => outcome.map(|()| finish(starting)),
        Err(_) => Err(StartError::Timeout(starting.timeout)),
    }
}

fn finish(mut starting: Starting) -> Arc<Child> {
    starting.is_ready = true;
    if let Some(server) = &starting.server {
        server.prepare_spare();
    }
    starting.child.clone()
}

async fn exchange(child: Arc<Child>) -> Result<(), StartError> {
    let both = Interest::READABLE | Interest::WRITABLE;
    let control = watch(Held::new(&child, |child| child.control().as_fd()), both)?;
    let pidfd = watch(Held::new(&child, Child::pidfd), Interest::READABLE)?;
    loop {
        if let Some(outcome) = step(&child) {
            return outcome;
        }
        tokio::select! {
            ready = control.readable() => ready?.clear_ready(),
            ready = pidfd.readable() => drop(ready?),
            ready = control.writable(), if child.control().wants_write() => ready?.clear_ready(),
            () = child.turn(), if child.lacks_number() => {}
        }
    }
}

/// Offers hello and arguments to the socket. The parent drops them here: from now on
/// only the link may hold what has not gone out yet. What the child prints is read from now on
/// too: it may print more than a pipe holds before it is ready.
fn begin(starting: &mut Starting) -> Result<(), StartError> {
    if starting.child.relay().count() > 0 {
        let child = starting.child.clone();
        hidden::handle()?.spawn(async move { tree::pump(&child) });
    }
    let control = starting.child.control();
    let hello = ToChild::Hello(Box::new(starting.hello.clone()));
    let (given, args) = (std::mem::take(&mut starting.given), starting.request.take_args());
    match hello::post_hello(control, &hello, given, args) {
        // A child that is dead already is found out by the first step.
        Ok(()) | Err(LinkError::Closed) => Ok(()),
        Err(LinkError::Io(error)) => Err(error.into()),
        Err(other) => Err(std::io::Error::other(other).into()),
    }
}

/// One look at the child: `None` when there is nothing new.
fn step(child: &Child) -> Option<Result<(), StartError>> {
    let written = child.control().flush();
    child.drain_until_ready();
    if let Some(outcome) = child.start_outcome() {
        return Some(outcome.map_err(StartError::from));
    }
    if let Some(down) = child.reap() {
        // What it said before it ended has been read by reaping it.
        let outcome = if let Some(outcome) = child.start_outcome() {
            // A quick child has been ready and has ended since the look above.
            outcome.map_err(StartError::from)
        } else if child.lacks_number() {
            Err(std::io::Error::from_raw_os_error(libc::EMFILE).into())
        } else {
            let reason = down.reason.clone();
            Err(StartError::Died { reason, stderr: child.stderr_tail() })
        };
        return Some(outcome);
    }
    match written {
        Ok(_) | Err(LinkError::Closed) => None,
        Err(LinkError::Io(error)) => Some(Err(error.into())),
        Err(other) => Some(Err(std::io::Error::other(other).into())),
    }
}
