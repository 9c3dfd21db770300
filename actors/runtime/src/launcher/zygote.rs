//! The zygote: a process of this image that does nothing but copy itself.
//!
//! Owns the body that serves requests, the few bytes of a request and of its replies,
//! and the first steps of a copy. It also keeps its parent's list of `names`. It must never have a second thread, and hold no end
//! of a worker's sockets once the worker exists. Neighbours: `forkserver` is the side
//! that asks; `child` is what a copy becomes.
//!
//! ```text
//! launcher thread ──request, 6 descriptors──> zygote ──clone──> worker
//!        <──────────── Cloned, pidfd ───────────┘                 │
//!        <──────────────────── Born ──────────────────────────────┘
//! ```
//!
//! `Born` is for the case that the zygote dies between the clone and its reply: without
//! it nobody would know of the worker, and its end would never be reaped.

use super::child::{CONTROL_FD, DATA_FD, REFUSED_CODE, receive_hello, serve};
use super::hello::{Hello, StartFault};
use super::names::{Kept, MAX_MESSAGE};
use crate::function::{BODY_TAG, Body, Ending, FunctionRef, NotInImage, Start, body_ref};
use crate::link::Link;
use crate::node::{self, Parent};
use crate::sys::clone::{OnlyThread, Side, clone_brother};
use crate::sys::function::Descriptor;
use crate::sys::{environment, exit, socket};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigHandler, SigSet, Signal};
use std::any::type_name;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What comes with a request: control and data end, standard streams, working directory.
pub(super) const REQUEST_FDS: usize = 6;

/// A worker exists, says the zygote; the value is its pid, and its pidfd comes along.
pub(super) const CLONED: u8 = 1;
/// A worker exists, says the worker; the value is its pid.
pub(super) const BORN: u8 = 2;
/// There is no worker; the value is the error's number.
pub(super) const FAILED: u8 = 3;
/// The list of names is as it was asked for.
pub(super) const NOTED: u8 = 4;

/// What is said about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) kind: u8,
    pub(super) request: u64,
    pub(super) value: i32,
}

impl Reply {
    pub(super) const LEN: usize = 13;

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.kind;
        bytes[1..9].copy_from_slice(&self.request.to_le_bytes());
        bytes[9..].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let (mut request, mut value) = ([0; 8], [0; 4]);
        request.copy_from_slice(&bytes[1..9]);
        value.copy_from_slice(&bytes[9..]);
        let (request, value) = (u64::from_le_bytes(request), i32::from_le_bytes(value));
        Self { kind: bytes[0], request, value }
    }
}

/// What a zygote's function is called. The type is ours alone, and so is its name.
struct ForkServer;

/// Names the zygote's function for the image that is to run it. It is no body of the
/// usual kind: it returns in a copy, too.
pub(super) fn entry() -> Result<FunctionRef, NotInImage> {
    fn not_called(_: Start<'_>) -> Result<Ending, StartFault> {
        Err(StartFault::NoSuchFunction)
    }
    body_ref::<ForkServer>(const { &Descriptor::new(BODY_TAG, not_called as Body) })
}

/// Whether a hello asks for a zygote.
pub(super) fn is_wanted(hello: &Hello) -> bool {
    hello.entry.name == type_name::<ForkServer>()
}

/// Serves until there are no more requests. In each copy it returns with the request that
/// made it.
/// At the end it unlinks the names that its parent has left, and says whether there were
/// any.
pub(super) fn serve_requests(mut start: Start<'_>) -> Result<Result<Request, bool>, StartFault> {
    let failed = |error: io::Error| StartFault::Failed(error.to_string());
    let preload: Option<FunctionRef> = start.decode()?;
    if let Some(preload) = preload {
        run_preload(&preload)?;
    }
    settle().map_err(failed)?;
    let alone = OnlyThread::check().map_err(failed)?.map_err(|threads| {
        StartFault::Failed(format!(
            "the preload function left {threads} threads; a copy would have only one of them"
        ))
    })?;
    let node = node::current();
    let Some(parent) = node.parent() else {
        return Err(StartFault::Failed("a zygote without a parent".into()));
    };
    (start.ready)();
    let requests = parent.data.as_fd();
    let mut names = Kept::default();
    while let Some((number, asked)) = next_request(parent, &names) {
        let reply = |kind, value| Reply { kind, request: number, value };
        let request = match asked {
            Asked::Worker(request) => request,
            Asked::Names(words) => {
                note(&mut names, &words);
                say(requests, reply(NOTED, 0), &[]);
                continue;
            }
        };
        match request.and_then(|request| Ok((clone_brother(&alone)?, request))) {
            Ok((Side::Copy, request)) => {
                let pid = std::process::id().cast_signed();
                say(requests, reply(BORN, pid), &[]);
                return Ok(Ok(request));
            }
            Ok((Side::Original(pid, pidfd), _)) => {
                say(requests, reply(CLONED, pid.cast_signed()), &[pidfd]);
            }
            Err(error) => say(requests, reply(FAILED, error.raw_os_error().unwrap_or(0)), &[]),
        }
    }
    Ok(Err(names.unlink_all()))
}

/// Takes down what the parent says of its names. From the first on this process must
/// outlive its parent, for the moment that unlinking takes.
fn note(names: &mut Kept, words: &[u8]) {
    if !names.were_some() {
        // Where this is refused, the parent's death is ours as ever.
        let _ = nix::sys::prctl::set_pdeathsig(None);
    }
    names.hear(words);
}

fn run_preload(preload: &FunctionRef) -> Result<(), StartFault> {
    let body = preload.body().ok_or(StartFault::NoSuchFunction)?;
    let args = crate::codec::encode(&()).map_err(|error| StartFault::Failed(error.to_string()))?;
    body(Start { args: args.bytes, fds: Vec::new(), ready: &mut || {} })?;
    Ok(())
}

/// Undoes what a preload may leave that a copy must not have: bytes that every copy
/// would print again, handlers and masks that a fresh start would not have.
fn settle() -> io::Result<()> {
    // A closed stream loses its bytes, as everywhere.
    let _ = io::stdout().flush();
    environment::flush_c_streams();
    environment::default_signals();
    environment::set_signal(Signal::SIGPIPE, SigHandler::SigIgn)?;
    // Ctrl-C goes to the whole group; it is the parent that it should end.
    environment::set_signal(Signal::SIGINT, SigHandler::SigIgn)?;
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// The descriptors of one request.
pub(super) struct Request {
    control: OwnedFd,
    data: OwnedFd,
    streams: [OwnedFd; 3],
    directory: OwnedFd,
}

/// What a zygote is asked for.
enum Asked {
    /// A copy of itself; the error is that its descriptors did not come.
    Worker(io::Result<Request>),
    /// To take something down: words about names.
    Names(Vec<u8>),
}

/// Waits for the next request; `None` when there will be none.
fn next_request(parent: &Parent, names: &Kept) -> Option<(u64, Asked)> {
    let requests = parent.data.as_fd();
    if names.were_some()
        && let Some(pidfd) = &parent.pidfd
    {
        // A copy that the parent made of itself may hold its end of the socket, so that
        // there is no end of it when the parent has died.
        let mut fds = [
            PollFd::new(requests, PollFlags::POLLIN),
            PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
        ];
        crate::sync::poll(&mut fds, None).ok()?;
        if fds[0].any() != Some(true) {
            return None;
        }
    }
    let mut bytes = [0; MAX_MESSAGE];
    let mut fds = VecDeque::with_capacity(REQUEST_FDS);
    let number = |bytes: &[u8]| bytes.first_chunk().map(|number| u64::from_le_bytes(*number));
    let request = match socket::receive(requests, &mut bytes, &mut fds, true) {
        Ok(0) => return None,
        Ok(length) if length > size_of::<u64>() => {
            let words = bytes[size_of::<u64>()..length].to_vec();
            return Some((number(&bytes)?, Asked::Names(words)));
        }
        Ok(_) => {
            let mut next = || fds.pop_front().ok_or(io::ErrorKind::InvalidData);
            (|| {
                Ok(Request {
                    control: next()?,
                    data: next()?,
                    streams: [next()?, next()?, next()?],
                    directory: next()?,
                })
            })()
        }
        // The process is at its limit of descriptors. The number of the request did come.
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) => Err(error),
        Err(_) => return None,
    };
    Some((number(&bytes)?, Asked::Worker(request)))
}

/// Tells the launcher. When its socket is full or closed it does not listen any more.
fn say(requests: BorrowedFd<'_>, reply: Reply, fds: &[OwnedFd]) {
    let _ = socket::send(requests, &[IoSlice::new(&reply.to_bytes())], fds);
}

/// What a copy does: it leaves everything of the zygote behind, and serves as a child.
pub(super) fn become_worker(request: Request) -> ! {
    crate::finalizer::clear();
    crate::share::fork::after_clone();
    match move_in(&request) {
        Ok((control, data)) => {
            drop(request);
            match receive_hello(&control) {
                Ok(hello) => serve(control, data, &hello, || {}),
                // The parent gave this start up, or died.
                Err(_) => exit::now(REFUSED_CODE),
            }
        }
        Err(error) => {
            eprintln!("procession: a worker cannot take its descriptors: {error}");
            exit::now(REFUSED_CODE)
        }
    }
}

/// Puts the request's descriptors where a spawned child has them. The zygote's own ends
/// are closed by that; the node that owns them is never used again.
fn move_in(request: &Request) -> io::Result<(Link, Link)> {
    let zygote = node::current();
    if let Some(pidfd) = zygote.parent().and_then(|parent| parent.pidfd.as_ref()) {
        socket::give_up_number(pidfd.as_raw_fd());
    }
    let control = socket::take_number(&request.control, CONTROL_FD)?;
    let data = socket::take_number(&request.data, DATA_FD)?;
    // It must not be dropped either: its descriptors' numbers have new owners.
    std::mem::forget(zygote);
    let [input, output, errors] = &request.streams;
    nix::unistd::dup2_stdin(input)?;
    nix::unistd::dup2_stdout(output)?;
    nix::unistd::dup2_stderr(errors)?;
    nix::unistd::fchdir(&request.directory)?;
    environment::set_signal(Signal::SIGINT, SigHandler::SigDfl)?;
    Ok((Link::new(control), Link::new(data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_survive_their_bytes() {
        for kind in [CLONED, BORN, FAILED, NOTED] {
            let reply = Reply { kind, request: u64::MAX - 3, value: -7 };
            assert_eq!(Reply::from_bytes(reply.to_bytes()), reply);
        }
    }
}
