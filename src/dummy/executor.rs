//! `ThreadPoolExecutor`: the twin of `ProcessPoolExecutor` on threads.
//!
//! Owns its handle and options, and that a program which ends waits for what was submitted.

use super::crew::{Call, Crew, Initializer};
use super::map::{MapResults, Mapping};
use super::pool::initializer;
use super::tasks::Tasks;
use crate::error::{Error, Result};
use crate::executor::{Future, MapOptions};
use crate::finalizer::Finalizer;
use crate::pool::TaskOptions;
use procession_runtime::function::Entry;
use procession_runtime::node::leave::LEAVER_PERIOD;
use procession_runtime::pool::TaskError;
use procession_runtime::sync::after;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// By default there are so many threads at most, as in Python.
const MOST_BY_DEFAULT: usize = 32;

/// How many threads more than processors there are by default: some wait.
const SPARE: usize = 4;

/// Executors are numbered in the names of their threads.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Threads that are started when there is something to do, and take one call after another.
///
/// A call that waits for another call of the same executor can wait for ever, when all
/// threads do so.
///
/// Dropping it shuts it down without waiting: what was submitted is still done, and a
/// program that ends in good order waits for it, unless one of its calls ends it.
///
/// ```
/// use procession::dummy::ThreadPoolExecutor;
///
/// # fn main() -> procession::Result<()> {
/// let executor = ThreadPoolExecutor::new(2)?;
/// let sum = executor.submit(|a: u32, b: u32| a + b, (20, 22))?;
/// assert_eq!(sum.result()?, 42);
/// executor.shutdown(true, false)?;
/// # Ok(())
/// # }
/// ```
pub struct ThreadPoolExecutor {
    tasks: Tasks,
}

/// What an executor of threads is to be; see [`ThreadPoolExecutor::builder`].
#[must_use = "a builder does nothing until build"]
pub struct ThreadExecutorBuilder {
    max_workers: Option<usize>,
    prefix: Option<String>,
    initializer: Option<Initializer>,
}

impl ThreadExecutorBuilder {
    /// How many threads there are at most; by default four more than usable processors, and
    /// 32 at most.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// What its threads are called, with a number behind it; by default
    /// `ThreadPoolExecutor-N`.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Has each thread call a function before its first call. A panic in it breaks the
    /// executor: what was submitted ends in [`TaskError::Broken`], and it takes nothing
    /// more.
    pub fn initializer<F, A>(mut self, function: F, args: A) -> Self
    where
        F: Entry<A> + Send + Sync + 'static,
        A: Clone + Send + Sync + 'static,
        F::Output: 'static,
    {
        self.initializer = Some(initializer(function, args));
        self
    }

    /// Makes the executor. Threads are started when there is something to do.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no workers.
    pub fn build(self) -> Result<ThreadPoolExecutor> {
        let by_default = || crate::cpu_count().map(|count| (count + SPARE).min(MOST_BY_DEFAULT));
        let most = self.max_workers.map_or_else(by_default, Ok)?;
        if most == 0 {
            return Err(Error::Invalid("an executor has at least one worker"));
        }
        let number = || NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = self.prefix.unwrap_or_else(|| format!("ThreadPoolExecutor-{}", number()));
        let crew = Crew::new(most, name, self.initializer);
        let ending = crew.clone();
        let at_exit = Finalizer::new(Some(0), move || {
            ending.close();
            // A call that ends the program cannot wait for its own end.
            while !ending.ends_the_program()
                && matches!(ending.ended().exception_timeout(LEAVER_PERIOD), Err(Error::Timeout))
            {
            }
        });
        crew.ended().add_done_callback(move |_| {
            at_exit.cancel();
        })?;
        let callbacks = Crew::new(1, "PoolCallbacks".into(), None);
        Ok(ThreadPoolExecutor { tasks: Tasks::new(crew, callbacks, TaskOptions::new()) })
    }
}

impl fmt::Debug for ThreadExecutorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadExecutorBuilder")
            .field("max_workers", &self.max_workers)
            .finish_non_exhaustive()
    }
}

impl ThreadPoolExecutor {
    /// An executor of so many threads at most.
    ///
    /// # Errors
    /// As [`ThreadExecutorBuilder::build`].
    pub fn new(max_workers: usize) -> Result<Self> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Options for an executor.
    pub fn builder() -> ThreadExecutorBuilder {
        ThreadExecutorBuilder { max_workers: None, prefix: None, initializer: None }
    }

    fn crew(&self) -> &Arc<Crew> {
        self.tasks.crew()
    }

    /// Has a thread make a call. Never waits.
    ///
    /// # Errors
    /// [`Error::Task`]: it has been shut down, or is broken.
    pub fn submit<F, A, R>(&self, function: F, args: A) -> Result<Future<R>>
    where
        F: Entry<A, Output = R> + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        let (call, future) = Call::new(move |_: &mut dyn Any| Ok(function.call(args)));
        self.crew().give(call)?;
        Ok(future)
    }

    /// Has threads call a function for each input. The inputs are drawn and submitted at
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
        F: Entry<(T,), Output = R> + Clone + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
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
        F: Entry<A, Output = R> + Clone + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.with(MapOptions::new()).starmap(function, items)
    }

    /// The same maps with options.
    ///
    /// ```
    /// use procession::dummy::ThreadPoolExecutor;
    /// use procession::futures::MapOptions;
    ///
    /// # fn main() -> procession::Result<()> {
    /// let executor = ThreadPoolExecutor::new(2)?;
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
    /// With `wait` it returns when all others are done and the threads have ended.
    ///
    /// # Errors
    /// [`TaskError::WouldDeadlock`] with `wait` in a call of this executor.
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) -> Result<()> {
        self.begin_shutdown(cancel_futures);
        if wait {
            self.end_until(None)?;
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
        self.end_until(after(timeout))
    }

    /// As [`shutdown`](Self::shutdown), without blocking the thread. In a call of this executor
    /// it is ready at once: the call cannot wait for its own end.
    ///
    /// # Cancel safety
    /// The shutdown is begun by the first poll; dropping the future ends only the wait.
    pub async fn shutdown_async(&self, cancel_futures: bool) {
        self.begin_shutdown(cancel_futures);
        if !self.crew().is_member() {
            self.crew().ended().has_ended().await;
        }
    }

    /// How many threads it has at most.
    pub fn max_workers(&self) -> usize {
        self.crew().most()
    }

    /// How many threads there are now.
    pub fn threads(&self) -> usize {
        self.crew().threads()
    }

    fn begin_shutdown(&self, cancel_futures: bool) {
        if cancel_futures {
            self.crew().close_and_drop();
        } else {
            self.crew().close();
        }
    }

    fn end_until(&self, deadline: Option<Instant>) -> Result<bool> {
        if self.crew().is_member() {
            return Err(TaskError::WouldDeadlock.into());
        }
        self.crew().ended().wait_until(deadline)
    }
}

impl Drop for ThreadPoolExecutor {
    fn drop(&mut self) {
        self.crew().close();
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.crew().is_running() { "running" } else { "shut down" };
        write!(f, "ThreadPoolExecutor({} threads at most, {state})", self.max_workers())
    }
}
