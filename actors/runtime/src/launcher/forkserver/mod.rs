//! The forkserver method: a zygote of this image copies itself for each start.
//!
//! Owns which zygote this node has, from its lazy start to its end, and what is done when
//! there is none to be had: another one is tried, and then the caller falls back to spawn.
//! Any thread may have a worker made; only the start of a zygote is the launcher thread's.
//! No lock is held across a wait. Neighbours: `server` is the handle of one zygote, `coming`
//! has one whose start may take long, `worker` is what it makes, `keeper` has its list of
//! names, `zygote` is the other side.
//!
//! ```text
//! none ──start──> running ──same kind, alive──> asked ──worker──> running
//!   └──will not──> refused       └──dead, silent, of an old kind──> none
//! ```

mod coming;
mod keeper;
mod server;
mod worker;

use super::spec::{OpenStdio, null_device};
use super::{Raw, StartError, spawn, thread};
use crate::function::{self, Entry, FunctionRef, NotInImage};
use crate::launcher::hello::{Hello, Place};
use crate::link::Link;
use crate::sync::lock;
use crate::sys::environment::{self, Rights};
use crate::sys::socket;
pub(crate) use keeper::{forget_name, forget_name_soon, give_kept_name};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, stat};
use nix::unistd::{Gid, getgroups, getpgrp, getresgid, getresuid, getsid};
use procession_protocols::exit::ExitReason;
use server::Surrounds;
pub(crate) use server::Zygote;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use worker::Answer;

/// A zygote without a preload function is ready in a millisecond or two.
const PLAIN_START_TIMEOUT: Duration = Duration::from_secs(2);

/// A preload function may read or compute much, once for all processes that come after it.
const PRELOAD_TIMEOUT: Duration = Duration::from_mins(5);

/// A zygote answers in a fifth of a millisecond; one that takes so long is stopped or
/// wedged.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// A zygote that dies is started again once for one request.
const ATTEMPTS: usize = 2;

/// Where a zygote is kept, with the process that it belongs to: after a fork there is none.
type Home = Mutex<Option<(u32, State)>>;

/// This node's zygote.
static ZYGOTE: Home = Mutex::new(None);

/// What each zygote is to run before its first request.
static PRELOAD: Mutex<Option<FunctionRef>> = Mutex::new(None);

enum State {
    Running(Arc<Zygote>),
    /// One of this kind would not run, and why has been told.
    Refused(Box<Kind>),
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
    groups: Vec<u32>,
    rlimits: [(u64, u64); 16],
    ignores_hangup: bool,
    /// A sandbox that the program has put itself into since must hold its workers too.
    rights: Rights,
    /// Device and number of the root directory.
    root: (u64, u64),
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
            groups: getgroups()?.into_iter().map(Gid::as_raw).collect(),
            rlimits: environment::rlimits(),
            ignores_hangup: environment::ignores(Signal::SIGHUP),
            rights: Rights::now(),
            root: stat("/").map(|root| (root.st_dev, root.st_ino))?,
        })
    }
}

/// Why a zygote made no process.
pub(super) enum Trouble {
    /// There is none to be had; another method may do it.
    NoZygote(String),
    /// It was told already that there is none.
    StillNone,
    /// One did not come up, for a reason from outside; another one may.
    NotYet(String),
    /// No method would.
    Start(StartError),
}

impl<E: Into<StartError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Start(error.into())
    }
}

/// A worker that waits for its hello, and what goes with that.
pub(super) struct Made {
    pub(super) raw: Raw,
    pub(super) control: Link,
    pub(super) data: Link,
    /// The descriptors that the hello names.
    pub(super) given: Vec<OwnedFd>,
    /// Where it comes from.
    pub(super) zygote: Arc<Zygote>,
}

/// Has a zygote make a worker. `hello` is told what the worker is given; with
/// `has_null_input` that is no standard input, since a zygote's own is `/dev/null`. A zygote
/// may be silent for a moment: with `may_block` the calling thread waits for its answer.
///
/// # Cancel safety
/// Dropping the future leaves no worker; a zygote that is on its way up goes on.
pub(super) async fn launch(
    hello: &mut Hello,
    stdio: &OpenStdio,
    has_null_input: bool,
    may_block: bool,
) -> Result<Made, Trouble> {
    let kind = Kind::now()?;
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        let zygote = match running(&kind, may_block).await {
            Ok(zygote) => zygote,
            Err(Trouble::NotYet(error)) => {
                why = error;
                continue;
            }
            Err(other) => return Err(other),
        };
        let answer = if may_block {
            zygote.worker()?
        } else {
            let asked = zygote.clone();
            thread::run_async(move || asked.worker()).await?
        };
        match answer {
            Answer::Made(worker) => {
                // A worker that cannot be given what it needs is dropped, and so ended.
                let given = give(hello, &zygote.home, stdio, has_null_input)?;
                let Some((raw, control, data)) = worker.hire() else { continue };
                return Ok(Made { raw, control, data, given, zygote });
            }
            Answer::Failed(error) if is_never(&error) => {
                zygote.end();
                put(State::Refused(Box::new(kind)));
                return Err(Trouble::NoZygote(error.to_string()));
            }
            Answer::Failed(error) => return Err(error.into()),
            Answer::Lost => "it does not answer".clone_into(&mut why),
        }
    }
    Err(Trouble::NoZygote(why))
}

/// Waits for the zygote whose preload function is at work, or is to be run now; false when
/// there is nothing to wait for.
pub(super) async fn await_preload(may_block: bool) -> Result<bool, Trouble> {
    if lock(&PRELOAD).is_none() {
        return Ok(false);
    }
    let kind = Kind::now()?;
    let is_to_come = find(&kind)?.is_none();
    if is_to_come {
        coming::come(&kind, may_block).await?;
    }
    Ok(is_to_come)
}

/// Whether the system does not make such copies at all.
fn is_never(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EPERM))
}

/// Says in the hello what differs from the zygote's surroundings, and opens what the
/// worker is given for it.
fn give(
    hello: &mut Hello,
    home: &Surrounds,
    stdio: &OpenStdio,
    has_null_input: bool,
) -> Result<Vec<OwnedFd>, StartError> {
    let mut given = Vec::new();
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let ours = [input.as_fd(), output.as_fd(), errors.as_fd()];
    for (number, (fd, ours)) in (0..).zip(stdio.child.iter().zip(ours)) {
        if number == 0 && has_null_input {
            continue;
        }
        given.push(match fd {
            Some(fd) => socket::duplicate(fd)?,
            // What an exec would close is none of the program's standard streams: where those
            // are closed, something else may have their numbers.
            None if fcntl(ours, FcntlArg::F_GETFD) == Ok(0) => socket::duplicate(&ours)?,
            None => null_device()?,
        });
        hello.given.push(Place::Stream(number));
    }
    let surroundings = &mut hello.surroundings;
    let here = Surrounds::new(surroundings.env.take().unwrap_or_default());
    if !here.is_in(home) {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        given.push(open(".", flags, Mode::empty()).map_err(io::Error::from)?);
        hello.given.push(Place::Directory);
    }
    if here.env != home.env {
        surroundings.env = Some(here.env);
    }
    Ok(given)
}

/// The zygote of this kind, started if there is none.
async fn running(kind: &Kind, may_block: bool) -> Result<Arc<Zygote>, Trouble> {
    if let Some(zygote) = find(kind)? {
        return Ok(zygote);
    }
    if kind.preload.is_some() {
        return coming::come(kind, may_block).await;
    }
    let kind = kind.clone();
    thread::run_async(move || {
        // Another thread's request may have been quicker.
        if let Some(zygote) = find(&kind)? {
            return Ok(zygote);
        }
        let started = Zygote::start(&kind);
        install(kind, started)
    })
    .await
}

/// Puts a zygote that has come up, or has not, in its place. On the launcher thread.
fn install(kind: Kind, started: Result<Zygote, StartError>) -> Result<Arc<Zygote>, Trouble> {
    if let Some(old) = take_living() {
        keeper::retire(old);
    }
    match started.and_then(keeper::take_over) {
        Ok(zygote) => {
            put(State::Running(zygote.clone()));
            Ok(zygote)
        }
        Err(StartError::Io(error)) => Err(Trouble::NoZygote(error.to_string())),
        Err(error) if is_from_outside(&error, &kind) => Err(Trouble::NotYet(error.to_string())),
        Err(error) => {
            put(State::Refused(Box::new(kind)));
            Err(Trouble::NoZygote(error.to_string()))
        }
    }
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

/// The zygote that runs, if it is of this kind.
fn find(kind: &Kind) -> Result<Option<Arc<Zygote>>, Trouble> {
    match &*lock(&ZYGOTE) {
        Some((pid, state)) if *pid == std::process::id() => match state {
            State::Refused(refused) if **refused == *kind => Err(Trouble::StillNone),
            State::Running(zygote) if zygote.kind == *kind && zygote.lives() => {
                Ok(Some(zygote.clone()))
            }
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Takes the zygote that runs, of whatever kind, out of its place.
fn take_living() -> Option<Arc<Zygote>> {
    let state = lock(&ZYGOTE).take();
    match state {
        Some((pid, State::Running(zygote))) if pid == std::process::id() => {
            zygote.lives().then_some(zygote)
        }
        // Our parent's, from before a fork, perhaps.
        other => {
            std::mem::forget(other);
            None
        }
    }
}

/// What was there before is over. It is dropped without the lock: a spare may have to be
/// waited for.
fn put(state: State) {
    let before = lock(&ZYGOTE).replace((std::process::id(), state));
    match before {
        Some((pid, _)) if pid == std::process::id() => drop(before),
        other => std::mem::forget(other),
    }
}

/// Ends the zygote of this node, if it has one. Waits for a moment at most.
pub(crate) fn end() {
    // What was to be told to it comes first.
    thread::settle();
    for home in [&ZYGOTE, &keeper::KEEPER] {
        let state = lock(home).take();
        match state {
            Some((pid, State::Running(zygote))) if pid == std::process::id() => zygote.end(),
            other => std::mem::forget(other),
        }
    }
}

/// Looks after the spare worker, whose link has ended: it was killed while it waited.
pub(crate) fn spare_ended() {
    let zygote = match &*lock(&ZYGOTE) {
        Some((pid, State::Running(zygote))) if *pid == std::process::id() => zygote.clone(),
        _ => return,
    };
    zygote.forget_ended_spare();
}

/// Keeps everything here still across a fork.
pub(super) fn hold_for_fork() -> impl Sized {
    (lock(&ZYGOTE), lock(&keeper::KEEPER), lock(&PRELOAD), coming::hold_for_fork())
}
