//! `ProcessPoolExecutor`: Python's `concurrent.futures` over worker processes.
//!
//! Owns the executor's life: workers on demand, `shutdown`, and the end of a program that
//! forgot it. Which worker does what is the pool's, on whose core it stands. Neighbours:
//! `future.rs` (one result), `wait.rs` (many), `map.rs`, `builder.rs`.

mod builder;
mod future;
mod map;
mod shared;
mod wait;

pub use builder::ExecutorBuilder;
pub use future::{Future, InvalidState, Promise};
pub use map::{MapOptions, MapResults, Mapping};
pub use wait::{AsCompleted, ReturnWhen, Waited, as_completed, wait};

use crate::error::Result;
use crate::pool::{Callable, TaskOptions, Tasks, single};
use procession_runtime::pool::Core;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Worker processes that are started when there is something to do, and take one call after
/// another.
///
/// A call is a `fn` item or a closure that captures nothing, with arguments that serde can
/// carry. A worker that dies costs the one call that it had begun, which ends in
/// [`TaskError::Died`](crate::TaskError::Died) with the cause; where Python breaks the whole
/// pool another worker takes its place here. Only when workers cannot be had, or their
/// initializer fails, all ends in [`TaskError::Broken`](crate::TaskError::Broken).
///
/// Calls may start processes, and have pools and executors of their own; these end with the
/// worker.
///
/// Dropping an executor shuts it down without waiting: what was submitted is still done, and
/// a program that ends in good order waits for it.
///
/// ```
/// use procession::ProcessPoolExecutor;
///
/// # fn main() -> procession::Result<()> {
/// let executor = ProcessPoolExecutor::new(2)?;
/// let sum = executor.submit(|a: u32, b: u32| a + b, (20, 22))?;
/// let squares: procession::Result<Vec<_>> = executor.map(|x: u64| x * x, 0..5)?.collect();
/// assert_eq!((sum.result()?, squares?), (42, vec![0, 1, 4, 9, 16]));
/// executor.shutdown(true, false)?;
/// # Ok(())
/// # }
/// ```
pub struct ProcessPoolExecutor {
    tasks: Tasks,
}

impl ProcessPoolExecutor {
    /// An executor of so many workers at most.
    ///
    /// # Errors
    /// As [`ExecutorBuilder::build`].
    pub fn new(max_workers: usize) -> Result<Self> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Options for an executor; by default it has a worker for each usable processor.
    pub fn builder() -> ExecutorBuilder {
        ExecutorBuilder::new()
    }

    fn of_core(core: Arc<Core>) -> Self {
        Self { tasks: Tasks::new(core, TaskOptions::new()) }
    }

    fn core(&self) -> &Arc<Core> {
        self.tasks.core()
    }

    /// Has a worker make a call. Never waits.
    ///
    /// # Errors
    /// [`Error::Task`](crate::Error::Task): its arguments cannot be encoded; it has been shut down
    /// ([`TaskError::NotRunning`](crate::TaskError::NotRunning)) or is broken.
    pub fn submit<F, A, R>(&self, function: F, args: A) -> Result<Future<R>>
    where
        F: Callable<A, Output = R>,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let future = Future::of_call(self.core().clone(), single);
        let task = self.tasks.call(function, args, future.as_job(), true)?;
        future.is_of(task);
        Ok(future)
    }

    /// Has workers call a function for each input. The inputs are drawn and submitted at
    /// once; the results come in the order of the inputs.
    ///
    /// # Errors
    /// As [`Mapping::map`].
    pub fn map<'a, F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T, IntoIter: 'a>,
    ) -> Result<MapResults<'a, R>>
    where
        F: Callable<(T,), Output = R>,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.with(MapOptions::new()).map(function, items)
    }

    /// As [`map`](Self::map), for functions of several arguments: where Python gives several
    /// iterables, `zip` them.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn starmap<'a, F, A, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A, IntoIter: 'a>,
    ) -> Result<MapResults<'a, R>>
    where
        F: Callable<A, Output = R>,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.with(MapOptions::new()).starmap(function, items)
    }

    /// The same maps with options.
    ///
    /// ```
    /// use procession::ProcessPoolExecutor;
    /// use procession::futures::MapOptions;
    ///
    /// # fn main() -> procession::Result<()> {
    /// let executor = ProcessPoolExecutor::new(2)?;
    /// let few = executor.with(MapOptions::new().chunksize(10).buffersize(4));
    /// let first: procession::Result<Vec<_>> = few.map(|x: u64| x * x, 0..)?.take(3).collect();
    /// assert_eq!(first?, [0, 1, 4]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with(&self, options: MapOptions) -> Mapping<'_> {
        Mapping::new(&self.tasks, options)
    }

    /// Takes no more calls. With `cancel_futures` those that have not begun are cancelled.
    /// With `wait` it returns when all others are done and the workers have ended.
    ///
    /// # Errors
    /// [`TaskError::WouldDeadlock`](crate::TaskError::WouldDeadlock) with `wait` in a
    /// callback of this executor.
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) -> Result<()> {
        self.begin_shutdown(cancel_futures);
        if wait {
            self.core().join(None)?;
        }
        Ok(())
    }

    /// As [`shutdown`](Self::shutdown), but waits at most for `timeout`. True when all has
    /// ended.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub fn shutdown_timeout(&self, timeout: Duration, cancel_futures: bool) -> Result<bool> {
        self.begin_shutdown(cancel_futures);
        Ok(self.core().join(Some(timeout))?)
    }

    /// As [`shutdown`](Self::shutdown), without blocking the thread.
    ///
    /// # Cancel safety
    /// The shutdown is begun by the first poll; dropping the future ends only the wait.
    pub async fn shutdown_async(&self, cancel_futures: bool) {
        self.begin_shutdown(cancel_futures);
        self.core().join_async().await;
    }

    /// Takes no more calls, cancels those that have not begun, and ends the workers by
    /// SIGTERM: what they had begun ends in
    /// [`TaskError::Died`](crate::TaskError::Died). Does not wait.
    pub fn terminate_workers(&self) {
        self.core().end_workers(false);
    }

    /// As [`terminate_workers`](Self::terminate_workers), by SIGKILL.
    pub fn kill_workers(&self) {
        self.core().end_workers(true);
    }

    /// How many workers it has at most.
    pub fn max_workers(&self) -> usize {
        self.core().workers()
    }

    /// The process ids of the workers that there are now.
    pub fn pids(&self) -> Vec<u32> {
        self.core().pids()
    }

    fn begin_shutdown(&self, cancel_futures: bool) {
        if cancel_futures {
            self.core().close_and_withdraw();
        } else {
            self.core().close();
        }
    }
}

impl Drop for ProcessPoolExecutor {
    fn drop(&mut self) {
        self.core().close();
    }
}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.core().is_running() { "running" } else { "shut down" };
        write!(f, "ProcessPoolExecutor({} workers at most, {state})", self.max_workers())
    }
}
