//! `ProcessRef`: a handle of a process, without the type of what it returns.
//!
//! Owns the handle's whole life, from `new` to `close`, and what its clones share.

use crate::builder::Plan;
use crate::error::{Error, Result};
use procession_protocols::exit::{RawStatus, signal_name};
use procession_runtime::child::Child;
use procession_runtime::down::Down;
use procession_runtime::launcher::{self, Request, Returns};
use procession_runtime::node;
use procession_runtime::proc_tree::TreeKill;
use procession_runtime::sync::{after, lock};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

/// A process without the type of what it returns. Clones share one process.
#[derive(Clone)]
pub struct ProcessRef(Arc<Shared>);

struct Shared {
    /// The process that made the handle: after a fork, the copy may not use it.
    creator: u32,
    phase: Mutex<Phase>,
}

enum Phase {
    /// Not started, but for a last attempt.
    New {
        plan: Box<Plan>,
        attempt: Option<Attempt>,
    },
    Started(Arc<Child>),
    Closed {
        name: String,
        daemon: bool,
        exitcode: Option<i32>,
    },
}

/// A start that is under way, or has failed when a child had function and arguments already.
struct Attempt {
    /// Where they are if none had: it can be started again then.
    returns: Arc<Returns>,
    /// Whether it is under way.
    under_way: Weak<()>,
}

impl Phase {
    /// A failed start that left everything has not been.
    fn take_back(&mut self) {
        if let Self::New { plan, attempt } = self
            && let Some(unused) = attempt.as_ref().and_then(|attempt| attempt.returns.take())
        {
            plan.take_back(unused);
            *attempt = None;
        }
    }

    fn is_daemon(&self) -> bool {
        match self {
            Self::New { plan, .. } => plan.daemon,
            Self::Closed { daemon, .. } => *daemon,
            Self::Started(child) => child.is_daemon(),
        }
    }
}

impl ProcessRef {
    /// Starts the process and returns once it is ready: it has its function and its
    /// arguments, which this process then no longer holds.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`]; [`Error::Start`] with everything rolled back. As long as no
    /// child had function and arguments, because there were no descriptors for one, say, it
    /// can be started again; later they are lost, and it has been started.
    pub fn start(&self) -> Result<()> {
        let (request, _under_way) = self.begin_start()?;
        self.finish_start(&launcher::start_request(request)?)
    }

    /// As [`start`](Self::start), without blocking the thread.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// Dropping the future kills a child that is not ready yet; the handle is as after an
    /// error.
    pub async fn start_async(&self) -> Result<()> {
        let (request, _under_way) = self.begin_start()?;
        let start = node::hidden::run(launcher::start_request_async(request))?;
        self.finish_start(&start.await?.claim())
    }

    fn begin_start(&self) -> Result<(Request, Arc<()>)> {
        let phase = &mut *self.own()?;
        let Phase::New { plan, attempt: attempt @ None } = phase else {
            return Err(match phase {
                Phase::Closed { .. } => Error::Closed,
                _ => Error::AlreadyStarted,
            });
        };
        let (returns, start) = (Arc::new(Returns::default()), Arc::new(()));
        let request = plan.request(&returns);
        *attempt = Some(Attempt { returns, under_way: Arc::downgrade(&start) });
        Ok((request, start))
    }

    fn finish_start(&self, child: &Arc<Child>) -> Result<()> {
        *lock(&self.0.phase) = Phase::Started(child.clone());
        node::reaper::adopt(&node::current(), child)?;
        Ok(())
    }

    /// Its process id; `None` before the start and after `close`.
    pub fn pid(&self) -> Option<u32> {
        match &*lock(&self.0.phase) {
            Phase::Started(child) => Some(child.pid()),
            _ => None,
        }
    }

    /// Its name, such as `Process-1`.
    pub fn name(&self) -> String {
        match &*lock(&self.0.phase) {
            Phase::New { plan, .. } => plan.name(),
            Phase::Closed { name, .. } => name.clone(),
            Phase::Started(child) => child.name().to_owned(),
        }
    }

    /// Renames it before the start.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`].
    pub fn set_name(&self, name: impl Into<String>) -> Result<()> {
        let name = name.into();
        self.plan(|plan| plan.name = Some(name))
    }

    /// Whether it is ended, instead of joined, when this process ends.
    pub fn is_daemon(&self) -> bool {
        lock(&self.0.phase).is_daemon()
    }

    /// Sets the daemon flag before the start.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`].
    pub fn set_daemon(&self, daemon: bool) -> Result<()> {
        self.plan(|plan| plan.daemon = daemon)
    }

    /// The key that it gets for managers and listeners, as long as it is not started.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`].
    pub fn authkey(&self) -> Result<Vec<u8>> {
        let mut key = Vec::new();
        self.plan(|plan| key.clone_from(&plan.authkey))?;
        Ok(key)
    }

    /// Sets its key before the start.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`].
    pub fn set_authkey(&self, authkey: impl Into<Vec<u8>>) -> Result<()> {
        let authkey = authkey.into();
        self.plan(|plan| plan.authkey = authkey)
    }

    fn plan(&self, change: impl FnOnce(&mut Plan)) -> Result<()> {
        match &mut *self.own()? {
            Phase::New { plan, attempt: None } => {
                change(plan);
                Ok(())
            }
            Phase::Closed { .. } => Err(Error::Closed),
            _ => Err(Error::AlreadyStarted),
        }
    }

    /// How it ended: its exit code, or the negated number of the signal that ended it.
    /// `None` before its end, and when nobody knows (somebody else took the status).
    pub fn exitcode(&self) -> Option<i32> {
        match &*lock(&self.0.phase) {
            Phase::Started(child) => child.reap()?.status.exitcode(),
            Phase::Closed { exitcode, .. } => *exitcode,
            Phase::New { .. } => None,
        }
    }

    /// The one notice of its end: reason, raw status, resource use. `None` before.
    pub fn down(&self) -> Option<Arc<Down>> {
        match &*lock(&self.0.phase) {
            Phase::Started(child) => child.reap(),
            _ => None,
        }
    }

    /// Whether it has been started and has not ended.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NotOwnChild`].
    pub fn is_alive(&self) -> Result<bool> {
        match &*self.own()? {
            Phase::Started(child) => Ok(child.reap().is_none()),
            Phase::Closed { .. } => Err(Error::Closed),
            Phase::New { .. } => Ok(false),
        }
    }

    /// A descriptor that becomes readable when it ends.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Closed`].
    pub fn sentinel(&self) -> Result<Sentinel> {
        Ok(Sentinel(self.child()?))
    }

    /// Waits for its end. Any number of threads may wait, any number of times.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Closed`], [`Error::NotOwnChild`].
    pub fn join(&self) -> Result<()> {
        let child = self.child()?;
        wait(&child, None).map(drop)
    }

    /// Waits at most `timeout` for its end; zero looks once. True when it has ended.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        let child = self.child()?;
        Ok(wait(&child, after(timeout))?.is_some())
    }

    /// As [`join`](Self::join), without blocking the thread.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait.
    pub async fn join_async(&self) -> Result<()> {
        self.child()?.ended().await;
        Ok(())
    }

    /// Ends it by SIGTERM, and returns at once. Its exit hooks do not run. A child that
    /// has ended already is no error.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Closed`], [`Error::NotOwnChild`].
    pub fn terminate(&self) -> Result<()> {
        Ok(self.child()?.terminate()?)
    }

    /// Sends SIGINT, as Ctrl-C does, and returns at once.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    pub fn interrupt(&self) -> Result<()> {
        Ok(self.child()?.signal(nix::sys::signal::Signal::SIGINT)?)
    }

    /// Ends it by SIGKILL, and returns at once.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    pub fn kill(&self) -> Result<()> {
        Ok(self.child()?.signal(nix::sys::signal::Signal::SIGKILL)?)
    }

    /// Kills it and all processes below it, whoever started them, and returns when all
    /// are on their way out. A process that has ended is no error.
    ///
    /// What had left the tree before is not reached: a process whose parent ended belongs
    /// to another, unless [`contain`](crate::ProcessBuilder::contain) made it stay. It works
    /// for up to half a second where the tree keeps growing.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate); what /proc or a lack of descriptors says, when
    /// whatever could be reached has been killed.
    pub fn kill_tree(&self) -> Result<TreeKill> {
        Ok(self.child()?.kill_tree()?)
    }

    /// Asks it to end by SIGTERM, waits at most `grace`, then kills it. It has ended when
    /// this returns.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    pub fn stop(&self, grace: Duration) -> Result<Arc<Down>> {
        let child = self.child()?;
        child.terminate()?;
        if let Some(down) = wait(&child, after(grace))? {
            return Ok(down);
        }
        child.signal(nix::sys::signal::Signal::SIGKILL)?;
        wait(&child, None)?.ok_or(Error::Timeout)
    }

    /// As [`stop`](Self::stop), without blocking the thread.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    ///
    /// # Cancel safety
    /// Dropping the future leaves a process that was asked to end, but is not killed
    /// at the end of its grace.
    pub async fn stop_async(&self, grace: Duration) -> Result<Arc<Down>> {
        let child = self.child()?;
        child.terminate()?;
        let patience = node::hidden::run(tokio_sleep(grace))?;
        tokio::select! {
            down = child.ended() => return Ok(down),
            () = patience => {}
        }
        child.signal(nix::sys::signal::Signal::SIGKILL)?;
        Ok(child.ended().await)
    }

    /// Takes our end of the child's standard input, which was asked for as
    /// [`Stdio::Piped`](crate::Stdio::Piped); `None` otherwise and the second time.
    pub fn take_stdin(&self) -> Option<OwnedFd> {
        self.child().ok()?.take_stream(0)
    }

    /// As [`take_stdin`](Self::take_stdin), for standard output.
    pub fn take_stdout(&self) -> Option<OwnedFd> {
        self.child().ok()?.take_stream(1)
    }

    /// As [`take_stdin`](Self::take_stdin), for standard error.
    pub fn take_stderr(&self) -> Option<OwnedFd> {
        self.child().ok()?.take_stream(2)
    }

    /// The last lines of its relayed output.
    pub fn stderr_tail(&self) -> String {
        self.child().map(|child| child.stderr_tail()).unwrap_or_default()
    }

    /// Gives back what the handle holds. Closing twice is no error; afterwards most
    /// operations give [`Error::Closed`].
    ///
    /// # Errors
    /// [`Error::StillRunning`], also while another thread starts it.
    pub fn close(&self) -> Result<()> {
        let phase = &mut *self.own()?;
        let (name, exitcode) = match phase {
            Phase::Started(child) => {
                let down = child.reap().ok_or(Error::StillRunning)?;
                (child.name().to_owned(), down.status.exitcode())
            }
            Phase::New { attempt: Some(attempt), .. } if attempt.under_way.strong_count() > 0 => {
                return Err(Error::StillRunning);
            }
            Phase::New { plan, .. } => (plan.name(), None),
            Phase::Closed { .. } => return Ok(()),
        };
        *phase = Phase::Closed { name, daemon: phase.is_daemon(), exitcode };
        Ok(())
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        let mut phase = lock(&self.0.phase);
        phase.take_back();
        phase
    }

    fn own(&self) -> Result<MutexGuard<'_, Phase>> {
        if self.0.creator == std::process::id() {
            Ok(self.phase())
        } else {
            Err(Error::NotOwnChild)
        }
    }

    pub(crate) fn child(&self) -> Result<Arc<Child>> {
        match &*self.own()? {
            Phase::Started(child) => Ok(child.clone()),
            Phase::Closed { .. } => Err(Error::Closed),
            Phase::New { .. } => Err(Error::NotStarted),
        }
    }

    pub(super) fn from_plan(plan: Plan) -> Self {
        let phase = Mutex::new(Phase::New { plan: Box::new(plan), attempt: None });
        Self(Arc::new(Shared { creator: std::process::id(), phase }))
    }

    pub(crate) fn of_child(child: Arc<Child>) -> Self {
        let phase = Mutex::new(Phase::Started(child));
        Self(Arc::new(Shared { creator: std::process::id(), phase }))
    }
}

pub(super) fn wait(child: &Arc<Child>, deadline: Option<Instant>) -> Result<Option<Arc<Down>>> {
    if node::hidden::is_current() {
        return Err(Error::WouldDeadlock("the library's own thread would wait for a child"));
    }
    Ok(child.join(deadline)?)
}

async fn tokio_sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Python's form: `Process(Process-1, started)`, `Process(Process-1, stopped[SIGTERM])`.
impl fmt::Debug for ProcessRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.phase();
        let (name, state) = match &*phase {
            Phase::New { plan, attempt: None } => (plan.name(), "initial".to_owned()),
            Phase::New { plan, .. } => (plan.name(), "not started".to_owned()),
            Phase::Closed { name, .. } => (name.clone(), "closed".to_owned()),
            Phase::Started(child) => {
                let state = match child.reap() {
                    None => "started".to_owned(),
                    Some(down) => stopped(down.status),
                };
                (child.name().to_owned(), state)
            }
        };
        let daemon = if phase.is_daemon() { ", daemon" } else { "" };
        write!(f, "Process({name}, {state}{daemon})")
    }
}

fn stopped(status: RawStatus) -> String {
    match status {
        RawStatus::Code(0) => "stopped".to_owned(),
        RawStatus::Code(code) => format!("stopped[{code}]"),
        RawStatus::Signal(signal) => match signal_name(signal) {
            Some(name) => format!("stopped[{name}]"),
            None => format!("stopped[-{signal}]"),
        },
        RawStatus::Unknown => "stopped[unknown]".to_owned(),
    }
}

/// A descriptor that becomes readable when a process ends (a pidfd).
#[derive(Clone, Debug)]
pub struct Sentinel(Arc<Child>);

impl AsFd for Sentinel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.pidfd()
    }
}
