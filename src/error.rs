//! The errors of the face.
//!
//! Owns what operations on processes return. Each operation that gives something back
//! or that callers match on has an error of its own elsewhere, which converts into
//! [`Error`].

use procession_protocols::exit::{ExitReason, PanicReport};
pub use procession_runtime::codec::{DecodeError, EncodeError};
pub use procession_runtime::launcher::StartError;
pub use procession_runtime::launcher::hello::StartFault;
use procession_runtime::listener::ListenerError;
use procession_runtime::pipe::PipeError;
pub use procession_runtime::pool::{TaskError, WorkerDeath};
use std::fmt;

/// What can go wrong; the base of all errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process has been started already; make another to run it again.
    #[error("the process has been started already; a process starts once")]
    AlreadyStarted,
    /// The process has not been started.
    #[error("the process has not been started; call start first")]
    NotStarted,
    /// The process still runs, so it cannot be closed.
    #[error("the process still runs; join or stop it before closing")]
    StillRunning,
    /// The handle has been closed.
    #[error("the process handle is closed")]
    Closed,
    /// Only the process that made the handle may use it so.
    #[error("only the process that made this handle may start, join or end it")]
    NotOwnChild,
    /// A start method has been set already.
    #[error("a start method has been set already; force_start_method replaces it")]
    StartMethodAlreadySet,
    /// The process could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A value could not be encoded for another process.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A process ended otherwise than by returning a value.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// An item was not put.
    #[error(transparent)]
    Put(crate::queue::PutFault),
    /// There is no item.
    #[error(transparent)]
    Get(#[from] crate::queue::GetError),
    /// A queue could not be asked.
    #[error(transparent)]
    Queue(#[from] crate::queue::QueueError),
    /// Nothing was sent or received.
    #[error(transparent)]
    Pipe(#[from] PipeError),
    /// There is no connection.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// A task of a pool has no result.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A pool can be joined only when it has been closed or terminated.
    #[error("the pool is still running; close or terminate it before join")]
    PoolRunning,
    /// The result is not there yet.
    #[error("the result is not there yet; wait for it first")]
    NotReady,
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(&'static str),
    /// The time was up.
    #[error("the time was up")]
    Timeout,
    /// The time was up before all futures were done.
    #[error("{unfinished} (of {total}) futures unfinished")]
    Unfinished {
        /// How many were not done.
        unfinished: usize,
        /// How many there were.
        total: usize,
    },
    /// The wait could never end: a process or actor waits for itself.
    #[error("this wait could never end: {0}")]
    WouldDeadlock(&'static str),
    /// A lock or one of its kin could not do what it was asked to.
    #[error(transparent)]
    Sync(#[from] crate::sync::SyncError),
    /// A managed object could not be used.
    #[error(transparent)]
    Manager(#[from] procession_runtime::manager::ManagerError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The result of most operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a process has no return value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It panicked.
    #[error("process {name} panicked at {}: {}", .report.location, .report.message)]
    Panicked {
        /// The process's name.
        name: String,
        /// Message, place and backtrace.
        report: PanicReport,
    },
    /// It was killed, or exited by itself before it returned.
    #[error("process {name} ended before it returned: {reason}")]
    Died {
        /// The process's name.
        name: String,
        /// How it ended.
        reason: ExitReason,
        /// Python's exit code: negative for a signal; `None` when unknown.
        exitcode: Option<i32>,
    },
    /// It returned, but the value cannot be had.
    #[error("the return value of process {name} is lost: {why}")]
    Lost {
        /// The process's name.
        name: String,
        /// Why.
        why: String,
    },
}

/// Any error as what travels of it: the chain of its messages.
///
/// A function that runs in another process can return `Result<T, Failure>` and use `?`
/// on every `std::error::Error`.
///
/// ```
/// use procession::Failure;
///
/// fn parse(text: String) -> Result<u32, Failure> {
///     Ok(text.parse::<u32>()?)
/// }
/// assert_eq!(parse("x".into()).unwrap_err().to_string(), "invalid digit found in string");
/// ```
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Failure {
    text: String,
}

impl Failure {
    /// A failure with this message.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { text: message.to_string() }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self { text }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
