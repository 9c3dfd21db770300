//! The launcher: three ways to start a process, behind one interface.
//!
//! Owns a start from request to the child's first word: sockets, hello, deadline, and
//! the rolling back of all of it when a start fails. Each way owes the same: a
//! [`Raw`] child whose control socket will be answered by `child::serve`.
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

pub(crate) mod child;
mod handshake;
pub mod hello;
mod spawn;
pub mod spec;
mod thread;

pub use spawn::set_executable;

pub use spec::{EnvChanges, LaunchSpec, ParentDeath, StartMethod, Stdio};

use crate::child::Child;
use crate::codec::Encoded;
use crate::link::Link;
use hello::{Hello, StartFault};
use procession_protocols::exit::ExitReason;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

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
    /// Fork was refused.
    #[error("{0}")]
    Fork(String),
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
    let begun = Begun::new(spec)?;
    let child = thread::run(move || begun.launch())?;
    handshake::blocking(child)
}

/// Starts a process and waits until it is ready, without blocking a thread.
///
/// # Errors
/// As [`start`].
pub fn start_async(
    spec: LaunchSpec,
) -> impl Future<Output = Result<Arc<Child>, StartError>> + Send {
    // Here, not when it is polled: the child inherits the caller's spans.
    let begun = Begun::new(spec);
    async move {
        let begun = begun?;
        let child = thread::run_async(move || begun.launch()).await?;
        handshake::asynchronous(child).await
    }
}

/// The start method in use: the one that was set, else the platform's default.
pub fn default_method() -> StartMethod {
    crate::node::fixed_start_method().unwrap_or(StartMethod::Spawn)
}

/// A start whose preparations are made: all that can fail without a process has not.
pub(crate) struct Begun {
    spec: LaunchSpec,
    hello: Hello,
    deadline: Instant,
}

impl Begun {
    fn new(spec: LaunchSpec) -> Result<Self, StartError> {
        if crate::sys::environment::is_privileged() {
            return Err(StartError::Privileged);
        }
        if std::env::var_os(child::MARK).is_some() {
            return Err(StartError::EntryMissed);
        }
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
        let deadline = Instant::now() + spec.start_timeout;
        let hello = Hello::new(&spec)?;
        Ok(Self { spec, hello, deadline })
    }

    /// Makes the process. Runs on the launcher thread.
    fn launch(mut self) -> Result<Starting, StartError> {
        let ends = Ends::new()?;
        let stdio = spec::OpenStdio::new(&mut self.spec.stdio)?;
        let raw = match self.spec.method {
            StartMethod::Spawn => spawn::launch(&self.spec, &self.hello, &ends, &stdio)?,
            other => return Err(StartError::Fork(format!("{other} is not built yet"))),
        };
        let child = Child::new(&self.spec, raw, ends.control.0, ends.data.0, stdio.ours);
        Ok(Starting {
            child: Arc::new(child),
            is_ready: false,
            hello: self.hello,
            args: self.spec.args,
            deadline: self.deadline,
            timeout: self.spec.start_timeout,
        })
    }
}

/// A process that has not heard its hello yet. Dropped before it is ready, it is killed
/// and reaped: a start that fails, or that is cancelled, leaves nothing.
pub(crate) struct Starting {
    pub(crate) child: Arc<Child>,
    pub(crate) is_ready: bool,
    pub(crate) hello: Hello,
    pub(crate) args: Encoded,
    pub(crate) deadline: Instant,
    pub(crate) timeout: std::time::Duration,
}

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.is_ready {
            self.child.kill_and_reap();
        }
    }
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
