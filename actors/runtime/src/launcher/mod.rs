//! The launcher: three ways to start a process, behind one interface.
//!
//! Owns a start from request to the child's first word: sockets, hello, deadline, and
//! the rolling back of all of it when a start fails. Each way owes the same: a
//! `Raw` child whose control socket will be answered by `child::serve`.
//!
//! | method | how | file |
//! |---|---|---|
//! | spawn | `posix_spawn` of the running image | `spawn.rs` |
//! | forkserver | a single-threaded zygote of the image clones itself | `forkserver.rs` |
//! | fork | `fork` of this process | `fork.rs` |
//!
//! It must never run user code in the parent, and never touch a process that it did
//! not start. Neighbours: `crate::child` holds what a start yields; `crate::node`
//! keeps the children.

mod birth;
pub(crate) mod child;
mod fork;
mod forkserver;
mod handshake;
pub mod hello;
pub(crate) mod names;
mod pages;
mod request;
mod spawn;
pub mod spec;
mod thread;
mod zygote;

pub use fork::Work;
pub use forkserver::set_preload;
pub(crate) use forkserver::{
    end as end_zygote, forget_name, forget_name_soon, give_kept_name, spare_ended,
};
pub use request::{Request, Returns, Unused};
pub use spawn::set_executable;

pub use spec::{EnvChanges, LaunchSpec, ParentDeath, StartMethod, Stdio};

use crate::child::Child;
use crate::link::Link;
use crate::wait::{at_once, block_on, block_on_by};
use forkserver::Trouble;
use hello::{Hello, StartFault};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use procession_protocols::exit::ExitReason;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// A process that exists but has not said anything yet.
pub(crate) struct Raw {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

/// Why a process could not be started. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system refused a descriptor, a process, or memory.
    #[error("cannot start a process: {0}")]
    Io(#[from] io::Error),
    /// The child ended before it was ready.
    #[error("the child ended before it was ready: {reason}{}", tail(.stderr))]
    Died {
        /// How it ended.
        reason: ExitReason,
        /// The last lines of its standard error, when that was relayed.
        stderr: String,
    },
    /// The child was not ready in time and was killed.
    #[error("the child was not ready within {0:?}")]
    Timeout(std::time::Duration),
    /// The child refused to run: it says why.
    #[error("{0}")]
    Refused(#[from] StartFault),
    /// This program runs with more rights than its caller (setuid), where child mode is
    /// never entered.
    #[error("a privileged (setuid) program cannot start processes of its own image")]
    Privileged,
    /// A child was reached without the constructor that makes it one: `main` runs in a
    /// process that was meant to be a worker.
    #[error("this process is a worker whose entry was missed; it must not start processes")]
    EntryMissed,
    /// The function lies in no object that a child could find.
    #[error("the function lies in no loaded object")]
    NoSuchFunction,
    /// The process is ending and starts nothing more.
    #[error("this process is ending and starts nothing more")]
    Ending,
    /// A daemon may not have children, unless it was started with `allow_nested`.
    #[error("a daemonic process may not have children; start it with allow_nested if it must")]
    Daemon,
    /// A copy of this process would lack threads that may hold locks.
    #[error(
        "fork is refused: this process has {count} threads ({names}) beside the calling one and \
         the library's own, and what they hold would be held in a copy for ever; start by \
         another method, or fork before there are threads"
    )]
    ForeignThreads {
        /// How many there are.
        count: usize,
        /// What they are called.
        names: String,
    },
}

fn tail(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; its stderr ends in:\n{stderr}") }
}

/// Starts a process and waits until it is ready. Blocks the calling thread, at most
/// for the spec's start timeout.
///
/// # Errors
/// [`StartError`]; everything is rolled back then.
pub fn start(spec: LaunchSpec) -> Result<Arc<Child>, StartError> {
    start_request(spec.into())
}

/// As [`start`]. What a forked child runs in place of the function is dropped here, in the
/// calling thread.
///
/// # Errors
/// As [`start`].
pub fn start_request(request: Request) -> Result<Arc<Child>, StartError> {
    let mut starting = match at_once(Begun::new(request)?.by_server(true))? {
        Ok(starting) => starting,
        // A fork finds the caller waiting.
        Err(begun) if begun.request.spec.method == StartMethod::Fork => {
            thread::run(move || begun.launch())?
        }
        Err(begun) if thread::is_permanent() => begun.launch()?,
        Err(begun) => {
            let (deadline, timeout) = (begun.deadline, begun.request.spec.start_timeout);
            thread::run_by(Some(deadline), move || begun.launch())
                .unwrap_or(Err(StartError::Timeout(timeout)))?
        }
    };
    drop(starting.request.take_work());
    handshake::blocking(starting)
}

/// Starts a process and waits until it is ready, without blocking a thread.
///
/// # Errors
/// As [`start`].
pub fn start_async(
    spec: LaunchSpec,
) -> impl Future<Output = Result<Arc<Child>, StartError>> + Send + use<> {
    // Boxed, or it would stand twice in the future that awaits it.
    let start = Box::pin(start_request_async(spec.into()));
    async move { Ok(start.await?.claim()) }
}

/// A child that is ready, on its way to who asked for it. When that one has gone, it is
/// dropped, and so killed and reaped: nobody knows of it.
#[derive(Debug)]
pub struct Unclaimed(Option<Arc<Child>>);

impl Unclaimed {
    /// The child, which is the caller's to keep.
    pub fn claim(mut self) -> Arc<Child> {
        self.0.take().unwrap_or_else(|| unreachable!("it is taken once, with this"))
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(child) = &self.0 {
            child.kill_and_reap();
        }
    }
}

/// As [`start_async`] for a request, where the future may be polled by another than who waits
/// for what it gives. A fork happens within this call, while the caller
/// does nothing else.
///
/// # Errors
/// As [`start`].
pub fn start_request_async(
    request: Request,
) -> impl Future<Output = Result<Unclaimed, StartError>> + Send + use<> {
    // The surroundings are those of the caller, who may not be the one that polls.
    let begun = Begun::new(request).and_then(|begun| {
        // The hidden thread cannot wait for a fork that waits until it is parked.
        if begun.request.spec.method != StartMethod::Fork || crate::node::hidden::is_current() {
            return Ok(Err(begun));
        }
        let mut starting = thread::run(move || begun.launch())?;
        drop(starting.request.take_work());
        Ok(Ok(starting))
    });
    async move {
        let starting = match begun? {
            Ok(starting) => starting,
            // A server may be silent for a moment, and this may be the hidden thread.
            Err(begun) => match begun.by_server(false).await? {
                Ok(starting) => starting,
                Err(begun) => {
                    let (deadline, timeout) = (begun.deadline, begun.request.spec.start_timeout);
                    let launched = thread::run_async(move || begun.launch());
                    timeout_at(deadline.into(), launched)
                        .await
                        .unwrap_or(Err(StartError::Timeout(timeout)))?
                }
            },
        };
        Ok(Unclaimed(Some(handshake::asynchronous(starting).await?)))
    }
}

/// The start method in use: the one that was set, else the platform's default.
pub fn default_method() -> StartMethod {
    crate::node::fixed_start_method().unwrap_or(StartMethod::ForkServer)
}

/// A start whose preparations are made: all that can fail without a process has not.
pub(crate) struct Begun {
    request: Request,
    hello: Hello,
    /// Opened already, when a start by server came to nothing.
    stdio: Option<spec::OpenStdio>,
    /// Who asks: for a fork, which finds the caller waiting.
    caller: fork::Caller,
    /// When the child must be ready.
    deadline: Instant,
}

impl Begun {
    fn new(request: Request) -> Result<Self, StartError> {
        let spec = &request.spec;
        if crate::sys::environment::is_privileged() {
            return Err(StartError::Privileged);
        }
        if std::env::var_os(child::MARK).is_some() {
            return Err(StartError::EntryMissed);
        }
        spec.env.check()?;
        let deadline = after_at_most(spec.start_timeout);
        let node = crate::node::current();
        if node.daemon && !node.allow_nested {
            return Err(StartError::Daemon);
        }
        if node.is_ending() {
            return Err(StartError::Ending);
        }
        // What every child needs is had before there is one: a start that lacks descriptors
        // or threads for it has nothing to undo.
        crate::node::tree::get_ready()?;
        let hello = Hello::new(spec);
        let caller = fork::Caller::this_thread()?;
        if spec.method == StartMethod::Fork {
            // The copy must not have, and print, what this process has not printed yet. Done
            // by the caller: the lock may be in its hands.
            let _ = io::Write::flush(&mut io::stdout());
        }
        Ok(Self { request, hello, stdio: None, caller, deadline })
    }

    /// Has this node's server make the process; from any thread, which with `may_block` waits.
    /// Gives itself back, for [`launch`](Self::launch), when another method was asked for or no
    /// server is to be had in half of the time: in the other half there may be a child without
    /// it.
    async fn by_server(mut self, may_block: bool) -> Result<Result<Starting, Self>, StartError> {
        if self.request.spec.method != StartMethod::ForkServer {
            return Ok(Err(self));
        }
        if self.request.spec.awaits_preload {
            let preload = forkserver::await_preload(may_block);
            let waited = if may_block { block_on(preload) } else { preload.await };
            if !matches!(waited, Ok(false)) {
                self.deadline = after_at_most(self.request.spec.start_timeout);
            }
            if let Err(Trouble::NoZygote(why)) = waited {
                warn_of_spawn(&why);
                return Ok(Err(self));
            }
        }
        // A worker has the server's, which is the same.
        let has_null_input = matches!(self.request.spec.stdio[0], Stdio::Null);
        if has_null_input {
            self.request.spec.stdio[0] = Stdio::Inherit;
        }
        let opened = spec::OpenStdio::new(&self.request.spec.stdio);
        if has_null_input {
            self.request.spec.stdio[0] = Stdio::Null;
        }
        let mut stdio = opened?;
        let now = Instant::now();
        let half = now + self.deadline.saturating_duration_since(now) / 2;
        let launched = forkserver::launch(&mut self.hello, &stdio, has_null_input, may_block);
        let launched = if may_block {
            block_on_by(launched, Some(half))
        } else {
            timeout_at(half.into(), launched).await.ok()
        };
        match launched.unwrap_or_else(|| Err(Trouble::NotYet("it is on its way".into()))) {
            Ok(made) => {
                let mut starting = self.starting(made.raw, made.control, made.data, stdio);
                (starting.given, starting.server) = (made.given, Some(made.zygote));
                return Ok(Ok(starting));
            }
            Err(Trouble::Start(error)) => return Err(error),
            Err(Trouble::StillNone) => {}
            Err(Trouble::NoZygote(why) | Trouble::NotYet(why)) => warn_of_spawn(&why),
        }
        if has_null_input {
            stdio.child[0] = Some(spec::above_standard(spec::null_device()?)?);
        }
        self.stdio = Some(stdio);
        Ok(Err(self))
    }

    /// Makes the process. Runs on the launcher thread, or on one that lives as long.
    fn launch(mut self) -> Result<Starting, StartError> {
        if Instant::now() >= self.deadline {
            // Others were before it on this thread, and nobody waits any more.
            return Err(StartError::Timeout(self.request.spec.start_timeout));
        }
        let stdio = match self.stdio.take() {
            Some(stdio) => stdio,
            None => spec::OpenStdio::new(&self.request.spec.stdio)?,
        };
        let _making = (self.request.spec.method != StartMethod::Fork).then(hold_making);
        let ends = Ends::new()?;
        let raw = if self.request.spec.method == StartMethod::Fork {
            if let Some(raw) = fork::copy(&self.caller, self.request.is_unchecked())? {
                raw
            } else {
                let work = self.request.take_work();
                // Of the streams it has its own copies.
                drop(self.request.take_args());
                let mask = self.caller.mask;
                fork::become_child(fork::Inheritance { ends, stdio, mask, work })
            }
        } else {
            self.hello.method = StartMethod::Spawn;
            // A spawned child has the environment already.
            self.hello.surroundings.env = None;
            spawn::launch(&self.request.spec, &self.hello, &ends, &stdio)?
        };
        // The child's ends are closed here: it has them.
        let (control, data) = (Link::new(ends.control.0), Link::new(ends.data.0));
        Ok(self.starting(raw, control, data, stdio))
    }

    fn starting(self, raw: Raw, control: Link, data: Link, stdio: spec::OpenStdio) -> Starting {
        let child = Child::new(&self.request.spec, raw, control, data, stdio.ours);
        Starting {
            child: Arc::new(child),
            is_ready: false,
            hello: self.hello,
            given: Vec::new(),
            timeout: self.request.spec.start_timeout,
            request: self.request,
            server: None,
            deadline: self.deadline,
        }
    }
}

fn warn_of_spawn(why: &str) {
    tracing::warn!(target: "procession", why, "there is no fork server; starting by spawn instead");
}

/// When a start has to be done that begins now.
fn after_at_most(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(spec::LONGEST_START)
}

/// A process that has not heard its hello yet. Dropped before it is ready, it is killed
/// and reaped: a start that fails, or that is cancelled, leaves nothing.
pub(crate) struct Starting {
    pub(crate) child: Arc<Child>,
    pub(crate) is_ready: bool,
    pub(crate) hello: Hello,
    /// What goes with the hello.
    pub(crate) given: Vec<OwnedFd>,
    pub(crate) request: Request,
    /// The server that made it.
    pub(crate) server: Option<Arc<forkserver::Zygote>>,
    pub(crate) deadline: Instant,
    pub(crate) timeout: std::time::Duration,
}

/// Ends and reaps a child of which no pidfd is to be had: no descriptor was free, say. The
/// number is still the child's, since nobody else has waited for it.
fn end_unheld(pid: i32) {
    let pid = Pid::from_raw(pid);
    let _ = kill(pid, Signal::SIGKILL);
    let _ = waitpid(pid, Some(WaitPidFlag::__WALL));
}

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.is_ready {
            self.child.kill_and_reap();
        }
    }
}

/// Held for writing across a fork, and for reading while a child's ends are open here: the
/// copy would keep them open.
static MAKING: RwLock<()> = RwLock::new(());

fn hold_making() -> impl Sized {
    MAKING.read().unwrap_or_else(PoisonError::into_inner)
}

/// The two socket pairs of a child: (ours, its).
pub(crate) struct Ends {
    pub(crate) control: (OwnedFd, OwnedFd),
    pub(crate) data: (OwnedFd, OwnedFd),
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self { control: Self::pair()?, data: Self::pair()? })
    }

    /// No end is a standard stream, should those be closed: what anybody prints would
    /// land on the link.
    fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let (ours, theirs) = Link::pair()?;
        Ok((spec::above_standard(ours)?, spec::above_standard(theirs)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encoded;
    use crate::function::entry;

    #[test]
    fn a_name_that_stands_for_no_function_is_refused_by_the_child() {
        let mut function = entry::<_, ()>(|| ()).unwrap();
        // There is something else in its image at that place.
        function.offset += 8;
        let args = crate::codec::encode(&()).unwrap();
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let spec = LaunchSpec::plain("x".into(), 1, function.clone(), args_of(&args));
            let error = start(LaunchSpec { method, ..spec }).unwrap_err();
            assert!(
                matches!(error, StartError::Refused(StartFault::NoSuchFunction)),
                "{method}: {error}"
            );
        }
    }

    fn args_of(args: &Encoded) -> Encoded {
        Encoded { bytes: args.bytes.clone(), fds: Vec::new() }
    }
}
