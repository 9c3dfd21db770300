//! `TaskOptions`: on which terms tasks run.
//!
//! Owns what a user may ask for, and which of it makes no sense. What comes of it is the
//! scheduler's, in `procession_protocols::pool`.

use crate::error::{Error, Result};
use procession_runtime::pool::Terms;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// On which terms tasks run; see [`Pool::with`](super::Pool::with).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "options do nothing until a pool is asked with them"]
pub struct TaskOptions {
    timeout: Option<Duration>,
    retries: u32,
    chunksize: Option<usize>,
    pub(crate) progress: bool,
}

impl TaskOptions {
    /// No time limit, no retries, Python's chunks.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a task may take from when a worker begins it, to the millisecond. When its
    /// time is up its worker is killed, no other task is lost, and the task ends in
    /// [`TaskError::TimedOut`](crate::TaskError::TimedOut).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How often a task is given to another worker after its worker died in it or its time
    /// was up. Only for tasks that may run twice: a worker may have done its part of the
    /// work before it died. Handles among the arguments are there again.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// How many inputs travel together. By default 1 for `imap`, and for `map` a quarter of
    /// a worker's share, 8192 at most. Limits, retries and what a death costs are for each
    /// input, and what a busy worker has not begun is taken by one that has nothing to do.
    pub fn chunksize(mut self, chunksize: usize) -> Self {
        self.chunksize = Some(chunksize);
        self
    }

    /// Shows a bar on standard error while a blocking map waits or an `imap` lives: how many
    /// inputs are done, how fast and for how long still, failures, and restarts of workers.
    /// Where standard error is no terminal it shows nothing.
    pub fn progress(mut self) -> Self {
        self.progress = true;
        self
    }

    pub(super) fn terms(self) -> Terms {
        let limit_ms = self
            .timeout
            .map(|limit| u64::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
        Terms { limit_ms, retries: self.retries }
    }

    /// Threads cannot be ended, so that a time limit on them would be a false promise.
    pub(crate) fn check_for_threads(self) -> Result<()> {
        match self.timeout {
            Some(_) => Err(Error::Invalid("a task in a thread has no time limit")),
            None => Ok(()),
        }
    }

    /// The chunk size asked for.
    pub(crate) fn chunk(self) -> Result<Option<usize>> {
        match self.chunksize {
            Some(0) => Err(Error::Invalid("a chunk has at least one input")),
            Some(size) => Ok(Some(size.min(u32::MAX as usize))),
            None => Ok(None),
        }
    }
}
