//! The zygote: a process of this image that does nothing but copy itself.
//!
//! Owns the body that serves requests, and the first steps of a copy. It also keeps its
//! parent's list of `names`. It must never have a second thread, and hold no end of a
//! worker's sockets once the worker exists. Neighbours: `forkserver` is the side that asks;
//! `child` is what a copy becomes.
//!
//! ```text
//! any thread ──request, a worker's ends──> zygote ──clone──> worker
//!     <────── Cloned, pidfd ─────────────────┘                 │
//!     <────────────────── Born ────────────────────────────────┤
//!     ─────────── hello, streams (at once, or later) ─────────>│
//! ```
//!
//! What is said about a worker is said on its own control link. `Born` is for the case
//! that the zygote dies between the clone and its word: without it nobody would know of
//! the worker, and its end would never be reaped.

use super::birth::Birth;
use super::child::{CONTROL_FD, DATA_FD, REFUSED_CODE, receive_hello, serve};
use super::hello::{Hello, Place, StartFault, ToParent};
use super::names::{Kept, MAX_MESSAGE};
use super::pages;
use super::spec::null_device;
use crate::codec::Fd;
use crate::function::{BODY_TAG, Body, Ending, FunctionRef, NotInImage, Start, body_ref};
use crate::link::Link;
use crate::node::{self, Parent};
use crate::sys::clone::{OnlyThread, Side, clone_brother};
use crate::sys::function::Descriptor;
use crate::sys::{environment, exit, socket};
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use procession_protocols::wire::{Header, Kind};
use std::any::type_name;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A request for a worker is its number; a message about names is longer.
pub(super) type RequestNumber = u32;

/// What comes with it: the worker's end of the control link, and of the data link.
const REQUEST_FDS: usize = 2;

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
/// made it. At the end it unlinks the names that its parent has left, and says whether there
/// were any.
pub(super) fn serve_requests(mut start: Start<'_>) -> Result<Result<Request, bool>, StartFault> {
    let failed = |error: io::Error| StartFault::Failed(error.to_string());
    let (preload, file): (Option<FunctionRef>, Fd) = start.decode()?;
    let birth = Birth::open(&file).map_err(failed)?;
    drop(file);
    if let Some(preload) = preload {
        // It may register exit hooks.
        node::leave::stay_alone();
        let before = Before::look().map_err(failed)?;
        run_preload(&preload)?;
        before.restore().map_err(failed)?;
    }
    settle().map_err(failed)?;
    let alone = OnlyThread::check().map_err(failed)?.map_err(|threads| {
        StartFault::Failed(format!(
            "the preload function left {threads} threads; a copy would have only one of them"
        ))
    })?;
    // What each copy would do for itself, it finds done.
    crate::share::fork::before_clones();
    // Copies are slower without.
    let _ = pages::share_with_copies();
    let node = node::current();
    let Some(parent) = node.parent() else {
        return Err(StartFault::Failed("a zygote without a parent".into()));
    };
    (start.ready)();
    let mut names = Kept::default();
    while let Some(asked) = next_request(parent, &names) {
        let request = match asked {
            Asked::Worker(Some(request)) => request,
            // Without its ends there is nobody to answer; who asked sees the link end.
            Asked::Worker(None) => continue,
            Asked::Names(message) => {
                note(&mut names, parent, &message);
                continue;
            }
        };
        match clone_brother(&alone, birth.expect(request.number)) {
            Ok(Side::Copy) => {
                say(&request.control, &ToParent::Born(std::process::id()), None);
                return Ok(Ok(request));
            }
            Ok(Side::Original(pid, pidfd)) => {
                say(&request.control, &ToParent::Cloned(pid), Some(pidfd));
            }
            Err(error) => {
                let error = error.raw_os_error().unwrap_or(0);
                say(&request.control, &ToParent::NotCloned(error), None);
            }
        }
    }
    Ok(Err(names.unlink_all()))
}

/// Takes down what the parent says of its names, and answers with the message's number.
/// From the first on this process must outlive its parent, for the moment that unlinking
/// takes.
fn note(names: &mut Kept, parent: &Parent, message: &[u8]) {
    if !names.were_some() {
        // Where this is refused, the parent's death is ours as ever.
        let _ = nix::sys::prctl::set_pdeathsig(None);
    }
    let Some((number, words)) = message.split_first_chunk::<{ size_of::<u64>() }>() else { return };
    names.hear(words);
    // When its socket is full or closed it does not listen any more.
    let _ = socket::send(parent.data.as_fd(), &[IoSlice::new(number)], &[] as &[OwnedFd]);
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
    // Its workers are given theirs, and it has nothing more to print: whoever reads what this
    // program printed until now is to see the end of it.
    nix::unistd::dup2_stdout(null_device()?)?;
    environment::default_signals();
    environment::set_signal(Signal::SIGPIPE, SigHandler::SigIgn)?;
    // Ctrl-C goes to the whole group; it is the parent that it should end.
    environment::set_signal(Signal::SIGINT, SigHandler::SigIgn)?;
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// The surroundings that a preload may change, and that no worker may see changed.
struct Before {
    env: Vec<(OsString, OsString)>,
    directory: OwnedFd,
    mask: Mode,
}

impl Before {
    fn look() -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(".", flags, Mode::empty())?;
        let mask = umask(Mode::empty());
        umask(mask);
        Ok(Self { env: std::env::vars_os().collect(), directory, mask })
    }

    fn restore(self) -> io::Result<()> {
        environment::replace(&self.env);
        nix::unistd::fchdir(&self.directory)?;
        umask(self.mask);
        nix::unistd::dup2_stdin(null_device()?)?;
        Ok(())
    }
}

/// A request, and the worker's ends of its links.
pub(super) struct Request {
    number: RequestNumber,
    control: OwnedFd,
    data: OwnedFd,
}

/// What a zygote is asked for.
enum Asked {
    /// A copy of itself; `None` when the descriptors did not come, because this process is at
    /// its limit.
    Worker(Option<Request>),
    /// To take something down: a message about names.
    Names(Vec<u8>),
}

/// Waits for the next request; `None` when there will be none.
fn next_request(parent: &Parent, names: &Kept) -> Option<Asked> {
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
    match socket::receive(requests, &mut bytes, &mut fds, true) {
        Ok(0) => None,
        Ok(length) => {
            let Ok(number) = bytes[..length].try_into() else {
                return Some(Asked::Names(bytes[..length].to_vec()));
            };
            let number = RequestNumber::from_le_bytes(number);
            let ends = fds.pop_front().zip(fds.pop_front());
            Some(Asked::Worker(ends.map(|(control, data)| Request { number, control, data })))
        }
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) => Some(Asked::Worker(None)),
        Err(_) => None,
    }
}

/// Tells who asked, on the worker's control link. It has room: nothing was said on it yet.
fn say(control: &OwnedFd, message: &ToParent, pidfd: Option<OwnedFd>) {
    let Ok(mut message) = crate::codec::encode(message) else { return };
    message.fds.extend(pidfd);
    let Ok(mut header) = Header::new(Kind::Control, message.bytes.len()) else { return };
    header.fds = u16::from(!message.fds.is_empty());
    let header = header.to_bytes();
    let parts = [&header[..], &message.bytes].map(IoSlice::new);
    // Who asked may have given up.
    let _ = socket::send(control.as_fd(), &parts, &message.fds);
}

/// What a copy does: it leaves everything of the zygote behind, waits for its hello, and
/// serves as a child.
pub(super) fn become_worker(request: Request) -> ! {
    crate::finalizer::clear();
    crate::share::fork::after_clone();
    // The wait may be long. A parent that died before this has closed the link.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let moved = move_in(&request);
    drop(request);
    let served: io::Result<Infallible> = moved.and_then(|(control, data)| {
        // An error says that the parent gave this start up, or died.
        let Ok((hello, given)) = receive_hello(&control, None) else { exit::now(REFUSED_CODE) };
        take_given(&hello.given, given)?;
        serve(control, data, &hello, || {})
    });
    let Err(error) = served;
    eprintln!("procession: a worker cannot take its descriptors: {error}");
    exit::now(REFUSED_CODE)
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
    Ok((Link::new(control), Link::new(data)))
}

/// Puts what came with the hello where it belongs.
fn take_given(places: &[Place], given: Vec<OwnedFd>) -> io::Result<()> {
    for (place, fd) in places.iter().zip(given) {
        match place {
            Place::Stream(0) => nix::unistd::dup2_stdin(&fd)?,
            Place::Stream(1) => nix::unistd::dup2_stdout(&fd)?,
            Place::Stream(_) => nix::unistd::dup2_stderr(&fd)?,
            Place::Directory => nix::unistd::fchdir(&fd)?,
        }
    }
    Ok(())
}
