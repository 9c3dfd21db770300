//! Options for a pool before its start.
//!
//! Owns their checking and their defaults. It starts nothing by itself.

use super::Pool;
use crate::error::{Error, Result};
use procession_protocols::supervision::intensity::Intensity;
use procession_runtime::function::{Entry, NotInImage};
use procession_runtime::launcher::{StartError, StartMethod};
use procession_runtime::pool::{Core, Initializer, Setup};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A worker has this long for its start and its initializer, unless the pool says otherwise.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// So many workers for each place in the pool may end within [`BUDGET_PERIOD`] without
/// having begun a task.
const BUDGET_PER_WORKER: u32 = 4;

/// See [`PoolBuilder::restarts`].
const BUDGET_PERIOD: Duration = Duration::from_secs(5);

/// What a pool is to be; see [`Pool::builder`].
#[must_use = "a builder does nothing until build"]
pub struct PoolBuilder {
    processes: Option<usize>,
    max_tasks: Option<u32>,
    restarts: Option<Intensity>,
    initializer: Option<std::result::Result<Initializer, NotInImage>>,
    method: Option<StartMethod>,
    start_timeout: Duration,
    relay_stderr: bool,
    max_memory: Option<u64>,
    idle_timeout: Option<Duration>,
}

impl PoolBuilder {
    pub(crate) fn new() -> Self {
        Self {
            processes: None,
            max_tasks: None,
            restarts: None,
            initializer: None,
            method: None,
            start_timeout: START_TIMEOUT,
            relay_stderr: false,
            max_memory: None,
            idle_timeout: None,
        }
    }

    /// How many workers; by default one for each usable processor.
    pub fn processes(mut self, processes: usize) -> Self {
        self.processes = Some(processes);
        self
    }

    /// Has each worker, replacements too, call a function before its first task. What it
    /// returns is the worker's state, which [`map_with_state`](super::Tasks::map_with_state)
    /// hands to each task. A panic in it fails the start.
    pub fn initializer<F, A>(mut self, function: F, args: A) -> Self
    where
        F: Entry<A> + Copy + 'static,
        A: Serialize + DeserializeOwned + Send + Sync + 'static,
        F::Output: 'static,
    {
        self.initializer = Some(Initializer::new(function, args));
        self
    }

    /// Has another worker take a worker's place after so many tasks; a chunk of a `map`, or
    /// a part of one, counts as one. By default workers live as long as the pool.
    pub fn max_tasks_per_child(mut self, tasks: u32) -> Self {
        self.max_tasks = Some(tasks);
        self
    }

    /// Has another worker take the place of one whose resident memory is more than so many
    /// bytes after a task. What it has begun is done first; it is not killed.
    pub fn max_memory_per_child(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Lets a worker go that has had nothing to do for so long; the next task that finds no
    /// other starts one. By default workers stay.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// The restart budget: more than `most` workers that end within `period` without having
    /// begun a task, failed starts included, break the pool; so do more than `most` starts
    /// that fail one after another, however long each takes. By default four for each worker
    /// in five seconds. Deaths in a task do not count: they cost that task.
    pub fn restarts(mut self, most: u32, period: Duration) -> Self {
        self.restarts = Some(Intensity { max_restarts: most, period });
        self
    }

    /// How workers are started; by default by [`start_method`](crate::start_method). A
    /// worker that takes the place of a forked one is started by *spawn*: by then this
    /// process has threads.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// The time that a worker has for its start and its initializer; one minute by default.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Relays the workers' standard error, line by line, and keeps its end for the reports
    /// of their deaths. By default they write to ours themselves.
    pub fn relay_stderr(mut self) -> Self {
        self.relay_stderr = true;
        self
    }

    /// Starts the pool, and returns when its workers are ready.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no workers and for no tasks per worker; [`Error::Start`] when
    /// a worker cannot be started or its initializer panics. Nothing is left then.
    pub fn build(self) -> Result<Pool> {
        Ok(Pool::of_core(self.core(false)?))
    }

    /// What a pool is a handle of, or an executor: its workers come on demand, and may have
    /// children, as Python's.
    pub(crate) fn core(self, is_executor: bool) -> Result<Arc<Core>> {
        let workers = self.processes.map_or_else(crate::cpu_count, Ok)?;
        if workers == 0 {
            return Err(Error::Invalid("a pool has at least one worker"));
        }
        if self.max_tasks == Some(0) {
            return Err(Error::Invalid("a worker does at least one task"));
        }
        let places = u32::try_from(workers).unwrap_or(u32::MAX);
        let budget = self.restarts.unwrap_or(Intensity {
            max_restarts: places.saturating_mul(BUDGET_PER_WORKER),
            period: BUDGET_PERIOD,
        });
        let initializer = self.initializer.transpose();
        let initializer = initializer.map_err(|NotInImage| StartError::NoSuchFunction)?;
        Ok(Core::build(Setup {
            workers,
            max_tasks: self.max_tasks,
            budget,
            initializer,
            method: self.method,
            start_timeout: self.start_timeout,
            on_demand: is_executor,
            may_have_children: is_executor,
            relay_stderr: self.relay_stderr,
            max_memory: self.max_memory,
            idle_timeout: self.idle_timeout,
        })?)
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("processes", &self.processes)
            .field("max_tasks", &self.max_tasks)
            .finish_non_exhaustive()
    }
}
