//! Why a task has no result.
//!
//! Owns the error, which travels: what goes wrong in the worker is sent as it is.

use crate::codec::{DecodeError, EncodeError};
use procession_protocols::exit::{ExitReason, PanicReport};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Why a task has no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// Its function panicked; the worker goes on.
    #[error("the task panicked at {}: {}", .0.location, .0.message)]
    Panicked(Box<PanicReport>),
    /// Its worker ended while it ran; another has taken its place.
    #[error("the task's worker ended in it: {0}")]
    Died(Box<WorkerDeath>),
    /// It took longer than its own time limit, and its worker was killed.
    #[error("the task took longer than {0:?}, and its worker was killed")]
    TimedOut(Duration),
    /// It was cancelled, or its pool was terminated, before it was done.
    #[error("the task was cancelled before it was done")]
    Cancelled,
    /// The pool takes no more tasks: it has been closed or terminated.
    #[error("the pool is not running: it has been closed or terminated")]
    NotRunning,
    /// The pool has no workers any more.
    #[error("the pool is broken: {0}")]
    Broken(String),
    /// Its arguments, or its result, could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Its arguments, or its result, could not be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The iterator that its arguments were to come from failed.
    #[error("the input failed: {0}")]
    Input(String),
    /// The function lies in no object that the worker could find.
    #[error("the function lies in no loaded object")]
    NotInImage,
    /// The state that the task wants is not what the pool's initializer returned.
    #[error("the task wants {wanted} for its state, which the pool's initializer does not return")]
    NoSuchState {
        /// The type that it wants.
        wanted: String,
    },
    /// Whoever was to give the result says that there is none.
    #[error("{0}")]
    Failed(String),
    /// Its result has been taken already.
    #[error("the result has been taken already")]
    Taken,
    /// A thread of the library itself would wait.
    #[error("this wait could never end: a thread of the library itself would wait for a task")]
    WouldDeadlock,
    /// The system refused.
    #[error("the pool: {0}")]
    Io(String),
}

impl From<std::io::Error> for TaskError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<PanicReport> for TaskError {
    fn from(report: PanicReport) -> Self {
        Self::Panicked(Box::new(report))
    }
}

/// How a worker ended, and in which task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDeath {
    /// The worker's name, such as `PoolWorker-1`.
    pub worker: String,
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub reason: ExitReason,
    /// Python's exit code: negative for a signal; `None` when unknown.
    pub exitcode: Option<i32>,
    /// The function of the task.
    pub function: String,
    /// Which part of its call the task was, from 0.
    pub index: u64,
    /// Whether the kernel says that it has killed for want of memory meanwhile.
    pub out_of_memory: bool,
    /// The last lines of its standard error, when the pool relays that.
    pub stderr: String,
}

impl fmt::Display for WorkerDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, pid, reason, function, index, .. } = self;
        write!(f, "{worker} (pid {pid}), {reason}, in {function}, task {index}")?;
        if self.out_of_memory {
            f.write_str("; the kernel has killed for want of memory")?;
        }
        if !self.stderr.is_empty() {
            write!(f, "; its stderr ends in:\n{}", self.stderr)?;
        }
        Ok(())
    }
}
