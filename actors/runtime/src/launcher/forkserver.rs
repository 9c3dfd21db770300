//! The forkserver method: a zygote of this image copies itself for each start.
//!
//! Owns this node's one zygote from its lazy start to its end, and the asking. Runs on
//! the launcher thread, which must never hang because a zygote does: each wait here has
//! a deadline, a zygote that misses it is killed, another one is tried, and then the
//! caller falls back to spawn. Neighbours: `zygote` is the other side; `spawn` starts it.
//!
//! ```text
//! none ──start──> running ──same kind, alive──> asked ──reply──> running
//!   └──will not──> refused       └──dead, silent, of an old kind──> none
//! ```

use super::hello::{Hello, LogSettings};
use super::names::{self, FileId, Word};
use super::spec::{OpenStdio, START_TIMEOUT, null_device};
use super::zygote::{self, Reply};
use super::{Ends, LaunchSpec, Raw, StartError, StartMethod, Starting, handshake, spawn, spec};
use crate::child::Child;
use crate::codec;
use crate::function::{self, Entry, FunctionRef, NotInImage};
use crate::sync::{after, lock, poll};
use crate::sys::{environment, process, socket};
use crate::{link::Link, node};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::{getpgrp, getresgid, getresuid, getsid};
use procession_protocols::exit::ExitReason;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A zygote without a preload function is ready in a millisecond or two.
const PLAIN_START_TIMEOUT: Duration = Duration::from_secs(2);

/// A zygote answers in a fifth of a millisecond; one that takes so long is stopped or
/// wedged.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// At exit a zygote has this long to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// A zygote that dies is started again once for one request.
const ATTEMPTS: usize = 2;

/// Where a zygote is kept, with the process that it belongs to: after a fork there is none.
type Home = Mutex<Option<(u32, State)>>;

/// This node's zygote.
static ZYGOTE: Home = Mutex::new(None);

/// A zygote that starts nothing any more, but has the list of names until another has it.
static KEEPER: Home = Mutex::new(None);

/// What each zygote is to run before its first request.
static PRELOAD: Mutex<Option<FunctionRef>> = Mutex::new(None);

static LAST_REQUEST: AtomicU64 = AtomicU64::new(0);

enum State {
    Running(Zygote),
    /// One of this kind would not run, and why has been told.
    Refused(Kind),
}

/// Sets what each zygote runs once before its first request. One that runs already is
/// replaced at the next start.
///
/// # Errors
/// [`NotInImage`].
pub fn set_preload<F>(function: F) -> Result<(), NotInImage>
where
    F: Entry<(), Output = ()> + Copy + 'static,
{
    *lock(&PRELOAD) = Some(function::entry::<F, ()>(function)?);
    Ok(())
}

/// What a zygote passes on to its workers and cannot change afterwards. When it differs
/// from ours, a spawned child would differ too, and a fresh zygote is needed.
#[derive(Debug, Clone, PartialEq)]
struct Kind {
    preload: Option<FunctionRef>,
    executable: Option<PathBuf>,
    /// Session, and process group.
    place: [i32; 2],
    /// Real, effective and saved: users, then groups.
    ids: [u32; 6],
    rlimits: [(u64, u64); 16],
    ignores_hangup: bool,
}

impl Kind {
    fn now() -> io::Result<Self> {
        let (users, groups) = (getresuid()?, getresgid()?);
        Ok(Self {
            preload: lock(&PRELOAD).clone(),
            executable: spawn::executable(),
            place: [getsid(None)?.as_raw(), getpgrp().as_raw()],
            ids: [
                users.real.as_raw(),
                users.effective.as_raw(),
                users.saved.as_raw(),
                groups.real.as_raw(),
                groups.effective.as_raw(),
                groups.saved.as_raw(),
            ],
            rlimits: environment::rlimits(),
            ignores_hangup: environment::ignores(Signal::SIGHUP),
        })
    }
}

/// Why a zygote made no process.
pub(super) enum Trouble {
    /// There is none to be had; another method may do it.
    NoZygote(String),
    /// It was told already that there is none.
    StillNone,
    /// No method would.
    Start(StartError),
}

impl<E: Into<StartError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Start(error.into())
    }
}

/// Has a zygote make a worker.
pub(super) fn launch(stdio: &OpenStdio) -> Result<(Raw, Ends), Trouble> {
    let kind = Kind::now()?;
    let mut why = String::new();
    let mut is_final = true;
    for _ in 0..ATTEMPTS {
        let zygote = match take(&kind)? {
            Some(zygote) => zygote,
            None => match Zygote::start(&kind) {
                Ok(zygote) => zygote,
                Err(StartError::Io(error)) => return Err(Trouble::NoZygote(error.to_string())),
                Err(error) => {
                    why = error.to_string();
                    is_final = !is_from_outside(&error, &kind);
                    if is_final {
                        break;
                    }
                    continue;
                }
            },
        };
        // A worker of the zygote before may hold the ends before: each attempt has its own.
        let ends = Ends::new()?;
        match zygote.request(&ends, stdio)? {
            Answer::Made(raw) => {
                put(State::Running(zygote));
                return Ok((raw, ends));
            }
            Answer::MadeAndLost(raw) => return Ok((raw, ends)),
            Answer::Failed(error) => {
                let raw = error.raw_os_error();
                let is_never = matches!(raw, Some(libc::ENOSYS | libc::EINVAL | libc::EPERM));
                if !is_never {
                    put(State::Running(zygote));
                    return Err(error.into());
                }
                zygote.end();
                why = error.to_string();
                is_final = true;
                break;
            }
            Answer::Noted | Answer::Lost => {
                "it does not answer".clone_into(&mut why);
                is_final = false;
            }
        }
    }
    if is_final {
        put(State::Refused(kind));
    }
    Err(Trouble::NoZygote(why))
}

/// Whether a zygote that did not come up would come up another time: when it was killed;
/// and without a preload, since nothing of the program's own runs in it then.
fn is_from_outside(error: &StartError, kind: &Kind) -> bool {
    match error {
        StartError::Died { reason: ExitReason::Signal(signal), .. } if *signal == libc::SIGKILL => {
            true
        }
        StartError::Died { .. } | StartError::Timeout(_) => kind.preload.is_none(),
        _ => false,
    }
}

/// Takes the zygote out of its place, so that no lock is held while it is asked.
fn take(kind: &Kind) -> Result<Option<Zygote>, Trouble> {
    let slot = &mut *lock(&ZYGOTE);
    match slot.take() {
        Some((pid, inherited)) if pid != std::process::id() => {
            // Our parent's, from before a fork.
            std::mem::forget(inherited);
            Ok(None)
        }
        Some((pid, State::Refused(refused))) if refused == *kind => {
            *slot = Some((pid, State::Refused(refused)));
            Err(Trouble::StillNone)
        }
        Some((pid, State::Running(zygote))) if zygote.kind != *kind => {
            if names::with_own(|names| names.is_empty()) {
                zygote.dismiss();
            } else {
                *lock(&KEEPER) = Some((pid, State::Running(zygote)));
            }
            Ok(None)
        }
        Some((_, State::Running(zygote))) if zygote.child.reap().is_none() => Ok(Some(zygote)),
        _ => Ok(None),
    }
}

/// Has a zygote unlink a name, if it is this file's, once this process has ended. Returns
/// when that is certain. Waits for a zygote to start when there is none.
///
/// # Errors
/// When no zygote is to be had.
pub(crate) fn keep_name(name: String, id: FileId) -> io::Result<()> {
    super::thread::run(move || {
        tell(Word::Keep(&name, id), true)?;
        names::with_own(|names| names.insert(name, id));
        Ok(())
    })
}

/// Takes a name off the list. Returns when the zygote has done so.
///
/// # Errors
/// When the launcher thread or a zygote is not to be had.
pub(crate) fn forget_name(name: String) -> io::Result<()> {
    super::thread::run(move || forget(&name))
}

/// As [`forget_name`], and does not wait: it happens before this process ends in good
/// order, and before any name is put on the list.
pub(crate) fn forget_name_soon(name: String) {
    // Without a launcher thread no name was kept either. On a list it does no harm: a file
    // that has no name loses none.
    let _ = super::thread::submit(Box::new(move || drop(forget(&name))));
}

fn forget(name: &str) -> io::Result<()> {
    let (was_known, has_others) =
        names::with_own(|names| (names.remove(name).is_some(), !names.is_empty()));
    if was_known { tell(Word::Forget(name), has_others) } else { Ok(()) }
}

/// Tells the zygote that has the list. When there is none, it starts one if it may.
fn tell(word: Word<'_>, may_start: bool) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        let (zygote, home) = match take_any() {
            Some(found) => found,
            None if may_start => (Zygote::start_for_names().map_err(io::Error::other)?, &ZYGOTE),
            None => return Ok(()),
        };
        if zygote.tell(word)? {
            *lock(home) = Some((std::process::id(), State::Running(zygote)));
            return Ok(());
        }
    }
    Err(io::Error::other("the fork server does not answer"))
}

/// Takes the zygote that has the list, of whatever kind, out of its place.
fn take_any() -> Option<(Zygote, &'static Home)> {
    for home in [&KEEPER, &ZYGOTE] {
        let slot = &mut *lock(home);
        match slot.take() {
            Some((pid, inherited)) if pid != std::process::id() => std::mem::forget(inherited),
            Some((_, State::Running(zygote))) => {
                if zygote.child.reap().is_none() {
                    return Some((zygote, home));
                }
            }
            refused => *slot = refused,
        }
    }
    None
}

fn put(state: State) {
    *lock(&ZYGOTE) = Some((std::process::id(), state));
}

/// Ends the zygote of this node, if it has one. Waits for a moment at most.
pub(crate) fn end() {
    // What was to be told to it comes first.
    super::thread::settle();
    for home in [&ZYGOTE, &KEEPER] {
        let state = lock(home).take();
        match state {
            Some((pid, State::Running(zygote))) if pid == std::process::id() => zygote.end(),
            other => std::mem::forget(other),
        }
    }
}

/// A zygote that has said that it is ready.
struct Zygote {
    child: Arc<Child>,
    kind: Kind,
}

enum Answer {
    /// There is a worker.
    Made(Raw),
    /// There is a worker, and no zygote any more.
    MadeAndLost(Raw),
    /// The list of names is as it was asked for.
    Noted,
    /// The zygote could not.
    Failed(io::Error),
    /// The zygote is dead, and there is no worker.
    Lost,
}

impl Zygote {
    fn start(kind: &Kind) -> Result<Self, StartError> {
        let node = node::current();
        let start_timeout =
            if kind.preload.is_some() { START_TIMEOUT } else { PLAIN_START_TIMEOUT };
        let args = codec::encode(&kind.preload).map_err(io::Error::other)?;
        let entry = zygote::entry().map_err(|NotInImage| StartError::NoSuchFunction)?;
        let name = format!("ForkServer-{}", node.path.child(0));
        let mut spec = LaunchSpec {
            method: StartMethod::Spawn,
            // A preload function may not start processes: they would be no worker's.
            daemon: true,
            ignore_sigint: true,
            start_timeout,
            ..LaunchSpec::plain(name, 0, entry, args)
        };
        let mut hello = Hello::new(&spec);
        // It is silent: each worker sets up its own log.
        hello.log = LogSettings::default();
        let control = Link::pair()?;
        let requests =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(io::Error::from)?;
        let ends = Ends {
            control: (spec::above_standard(control.0)?, spec::above_standard(control.1)?),
            data: (spec::above_standard(requests.0)?, spec::above_standard(requests.1)?),
        };
        let stdio = OpenStdio::new(&mut spec.stdio)?;
        let raw = spawn::launch(&spec, &hello, &ends, &stdio)?;
        let child = Child::new(&spec, raw, ends.control.0, ends.data.0, stdio.ours);
        let deadline = Instant::now() + start_timeout;
        drop((ends.control.1, ends.data.1));
        let child = handshake::blocking(Starting {
            child: Arc::new(child),
            is_ready: false,
            hello,
            args: spec.args,
            work: None,
            deadline,
            timeout: start_timeout,
        })?;
        // Reaped as soon as it dies, though nobody asks for it then.
        node::tree::reap_alone(child.clone())?;
        tracing::debug!(target: "procession", pid = child.pid(), "started the fork server");
        let zygote = Self { child, kind: kind.clone() };
        zygote.take_names_over()?;
        Ok(zygote)
    }

    /// One for the list of names, which needs nothing of what a user wants of workers.
    fn start_for_names() -> Result<Self, StartError> {
        let kind = Kind::now()?;
        match Self::start(&kind) {
            Err(_) if kind.preload.is_some() => Self::start(&Kind { preload: None, ..kind }),
            other => other,
        }
    }

    /// Tells a fresh zygote all names, and then the one before it that they are no longer
    /// its own.
    fn take_names_over(&self) -> io::Result<()> {
        let names = names::with_own(|names| names.clone());
        let before = lock(&KEEPER).take();
        if !names.is_empty() && before.is_none() {
            tracing::warn!(target: "procession", names = names.len(),
                "the fork server died unexpectedly; another one has the names of shared memory");
        }
        for (name, id) in names {
            if !self.tell(Word::Keep(&name, id))? {
                *lock(&KEEPER) = before;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        match before {
            Some((pid, State::Running(before))) if pid == std::process::id() => {
                before.tell(Word::ForgetAll)?;
                before.dismiss();
            }
            other => std::mem::forget(other),
        }
        Ok(())
    }

    /// Tells it about names. False when it is dead, or was killed for its silence.
    fn tell(&self, word: Word<'_>) -> io::Result<bool> {
        let number = LAST_REQUEST.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.send(&word.to_bytes(number), &[])? {
            self.child.kill_and_reap();
            return Ok(false);
        }
        Ok(matches!(self.answer(number)?, Answer::Noted))
    }

    /// Sends a request; false when it has died, or leaves requests lying.
    fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
        match socket::send(self.requests(), &[IoSlice::new(bytes)], fds) {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::WouldBlock => Ok(false),
                _ => Err(error),
            },
        }
    }

    fn requests(&self) -> BorrowedFd<'_> {
        self.child.data().as_fd()
    }

    fn request(&self, ends: &Ends, stdio: &OpenStdio) -> Result<Answer, StartError> {
        let number = LAST_REQUEST.fetch_add(1, Ordering::Relaxed) + 1;
        let here = open(".", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(io::Error::from)?;
        let null = null_device()?;
        let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
        let ours = [input.as_fd(), output.as_fd(), errors.as_fd()];
        let stream = |at: usize| match &stdio.child[at] {
            Some(fd) => fd.as_fd(),
            // What an exec would close is none of the program's standard streams: where those
            // are closed, something else may have their numbers.
            None if fcntl(ours[at], FcntlArg::F_GETFD) == Ok(0) => ours[at],
            None => null.as_fd(),
        };
        let fds: [BorrowedFd<'_>; zygote::REQUEST_FDS] = [
            ends.control.1.as_fd(),
            ends.data.1.as_fd(),
            stream(0),
            stream(1),
            stream(2),
            here.as_fd(),
        ];
        self.send(&number.to_le_bytes(), &fds)?;
        Ok(self.answer(number)?)
    }

    fn answer(&self, number: u64) -> io::Result<Answer> {
        let deadline = after(REQUEST_TIMEOUT);
        let mut born = None;
        loop {
            match self.next_reply(number, &mut born) {
                Next::Answer(answer) => return Ok(answer),
                Next::End => break,
                Next::Nothing => {}
            }
            let mut fds = [
                PollFd::new(self.requests(), PollFlags::POLLIN),
                PollFd::new(self.child.pidfd(), PollFlags::POLLIN),
            ];
            let is_dead = !poll(&mut fds, deadline)? || fds[1].any() == Some(true);
            if is_dead {
                break;
            }
        }
        // A worker may be half made: it holds the zygote's socket until it has said that it
        // is born. When the zygote is gone, and the socket ended, all has been said.
        self.child.kill_and_reap();
        let deadline = after(REQUEST_TIMEOUT);
        loop {
            match self.next_reply(number, &mut born) {
                Next::Answer(Answer::Made(raw)) => return Ok(Answer::MadeAndLost(raw)),
                Next::Answer(_) => {}
                Next::End => break,
                Next::Nothing => {
                    let mut fds = [PollFd::new(self.requests(), PollFlags::POLLIN)];
                    if !poll(&mut fds, deadline)? {
                        break;
                    }
                }
            }
        }
        let Some(pid) = born else { return Ok(Answer::Lost) };
        // It is our child and nobody has waited for it, so the number is still its own.
        let pidfd = process::pidfd_open(pid)?;
        Ok(Answer::MadeAndLost(Raw { pid: pid.cast_unsigned(), pidfd }))
    }

    /// Takes what has been said about this request. What is left of earlier ones, which
    /// were settled by the quicker of their two replies, is dropped.
    fn next_reply(&self, number: u64, born: &mut Option<i32>) -> Next {
        loop {
            let mut bytes = [0; Reply::LEN];
            let mut fds: VecDeque<OwnedFd> = VecDeque::new();
            let reply = match socket::receive(self.requests(), &mut bytes, &mut fds, false) {
                Ok(0) => return Next::End,
                Ok(_) => Reply::from_bytes(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Nothing,
                // We are at our limit of descriptors; the reply did come, without its own.
                Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                    Reply::from_bytes(bytes)
                }
                Err(_) => return Next::End,
            };
            if reply.request != number {
                continue;
            }
            let error = io::Error::from_raw_os_error;
            return Next::Answer(match (reply.kind, fds.pop_front()) {
                (zygote::CLONED, Some(pidfd)) => {
                    Answer::Made(Raw { pid: reply.value.cast_unsigned(), pidfd })
                }
                (zygote::CLONED, None) => {
                    super::end_unheld(reply.value);
                    Answer::Failed(error(libc::EMFILE))
                }
                (zygote::NOTED, _) => Answer::Noted,
                (zygote::FAILED, _) => Answer::Failed(error(reply.value)),
                _ => {
                    *born = Some(reply.value);
                    continue;
                }
            });
        }
    }

    /// Tells it to end, and does not wait.
    fn dismiss(&self) {
        // It is told by the end of its socket; a zygote that has died has closed it itself.
        let _ = shutdown(self.requests().as_raw_fd(), Shutdown::Both);
    }

    /// Ends it, if need be by force.
    fn end(&self) {
        self.dismiss();
        if !matches!(self.child.join(after(END_TIMEOUT)), Ok(Some(_))) {
            self.child.kill_and_reap();
        }
    }
}

enum Next {
    Answer(Answer),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    End,
}
