//! Options for an executor before it begins.
//!
//! Owns their names, which are Python's. What they mean is the pool's builder's.

use super::ProcessPoolExecutor;
use crate::error::Result;
use crate::pool::PoolBuilder;
use procession_runtime::function::Entry;
use procession_runtime::launcher::StartMethod;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// What an executor is to be; see [`ProcessPoolExecutor::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until build"]
pub struct ExecutorBuilder(PoolBuilder);

impl ExecutorBuilder {
    pub(super) fn new() -> Self {
        Self(PoolBuilder::new())
    }

    /// How many workers there are at most; by default one for each usable processor.
    pub fn max_workers(self, workers: usize) -> Self {
        Self(self.0.processes(workers))
    }

    /// How workers are started; by default by [`start_method`](crate::start_method). Forked
    /// ones are all started by [`build`](Self::build), and a worker that takes the place of
    /// one is started by *spawn*: by then this process has threads.
    pub fn start_method(self, method: StartMethod) -> Self {
        Self(self.0.start_method(method))
    }

    /// Has each worker call a function before its first call. A panic in it breaks the
    /// executor: what was submitted ends in [`TaskError::Broken`](crate::TaskError::Broken),
    /// and it takes nothing more.
    pub fn initializer<F, A>(self, function: F, args: A) -> Self
    where
        F: Entry<A> + Copy + 'static,
        A: Serialize + DeserializeOwned + Send + Sync + 'static,
        F::Output: 'static,
    {
        Self(self.0.initializer(function, args))
    }

    /// Has another worker take a worker's place after so many calls; a chunk of a `map` is
    /// one. By default workers live as long as the executor.
    pub fn max_tasks_per_child(self, tasks: u32) -> Self {
        Self(self.0.max_tasks_per_child(tasks))
    }

    /// As [`PoolBuilder::restarts`].
    pub fn restarts(self, most: u32, period: Duration) -> Self {
        Self(self.0.restarts(most, period))
    }

    /// As [`PoolBuilder::start_timeout`].
    pub fn start_timeout(self, timeout: Duration) -> Self {
        Self(self.0.start_timeout(timeout))
    }

    /// As [`PoolBuilder::relay_stderr`].
    pub fn relay_stderr(self) -> Self {
        Self(self.0.relay_stderr())
    }

    /// Makes the executor. Workers are started when there is something to do.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for no workers and for no calls per worker;
    /// [`Error::Start`](crate::Error::Start) when a forked worker cannot be started.
    pub fn build(self) -> Result<ProcessPoolExecutor> {
        let core = self.0.core(true)?;
        core.linger()?;
        Ok(ProcessPoolExecutor::of_core(core))
    }
}
