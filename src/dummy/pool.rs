//! `ThreadPool`: a fixed number of threads that take tasks.
//!
//! Owns the handle, its options and its end. What is done with a pool is on [`Tasks`], to
//! which it derefs.

use super::crew::{Crew, Initializer};
use super::tasks::Tasks;
use crate::error::{Error, Result};
use crate::pool::TaskOptions;
use procession_runtime::function::Entry;
use procession_runtime::launcher::StartError;
use procession_runtime::launcher::hello::StartFault;
use procession_runtime::pool::TaskError;
use procession_runtime::sync::after;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A fixed number of threads, each of which takes one task after another: the face of
/// [`Pool`](crate::Pool) without processes.
///
/// Dropping it terminates it and does not wait: what has not begun ends as
/// [`TaskError::Cancelled`](crate::TaskError::Cancelled), what has is let be.
///
/// ```
/// use procession::dummy::ThreadPool;
///
/// # fn main() -> procession::Result<()> {
/// let pool = ThreadPool::new(2)?;
/// let factor = 3;
/// assert_eq!(pool.map(move |x: u64| x * factor, 0..5)?, [0, 3, 6, 9, 12]);
/// assert_eq!(pool.apply(|a: u32, b: u32| a + b, (20, 22))?, 42);
/// pool.close();
/// pool.join()?;
/// # Ok(())
/// # }
/// ```
pub struct Pool {
    tasks: Tasks,
}

/// What a pool of threads is to be; see [`Pool::builder`].
#[must_use = "a builder does nothing until build"]
pub struct PoolBuilder {
    processes: Option<usize>,
    initializer: Option<Initializer>,
}

impl PoolBuilder {
    /// How many threads; by default one for each usable processor.
    pub fn processes(mut self, processes: usize) -> Self {
        self.processes = Some(processes);
        self
    }

    /// Has each thread call a function before its first task. What it returns is the
    /// thread's state, which [`map_with_state`](Tasks::map_with_state) hands to each task. A
    /// panic in it fails the start.
    pub fn initializer<F, A>(mut self, function: F, args: A) -> Self
    where
        F: Entry<A> + Send + Sync + 'static,
        A: Clone + Send + Sync + 'static,
        F::Output: 'static,
    {
        self.initializer = Some(initializer(function, args));
        self
    }

    /// Starts the pool, and returns when its threads are ready.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no threads; [`Error::Io`] when no thread is to be had;
    /// [`Error::Start`] when the initializer panics.
    pub fn build(self) -> Result<Pool> {
        let threads = self.processes.map_or_else(crate::cpu_count, Ok)?;
        if threads == 0 {
            return Err(Error::Invalid("a pool has at least one worker"));
        }
        let crew = Crew::new(threads, "PoolWorker".into(), self.initializer);
        let callbacks = Crew::new(1, "PoolCallbacks".into(), None);
        let pool = Pool { tasks: Tasks::new(crew, callbacks, TaskOptions::new()) };
        let (tell, told) = std::sync::mpsc::channel();
        for _ in 0..threads {
            pool.crew().hire(Some(tell.clone()))?;
        }
        for _ in 0..threads {
            let ready = told.recv().map_err(io::Error::other)?;
            ready.map_err(|report| StartError::Refused(StartFault::Panicked(report)))?;
        }
        Ok(pool)
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("processes", &self.processes).finish_non_exhaustive()
    }
}

/// What each thread of a crew does first.
pub(super) fn initializer<F, A>(function: F, args: A) -> Initializer
where
    F: Entry<A> + Send + Sync + 'static,
    A: Clone + Send + Sync + 'static,
    F::Output: 'static,
{
    Box::new(move || Box::new(function.call(args.clone())))
}

impl Pool {
    /// Starts a pool of so many threads.
    ///
    /// # Errors
    /// As [`PoolBuilder::build`].
    pub fn new(processes: usize) -> Result<Self> {
        Self::builder().processes(processes).build()
    }

    /// Options for a pool; by default it has a thread for each usable processor.
    pub fn builder() -> PoolBuilder {
        PoolBuilder { processes: None, initializer: None }
    }

    fn crew(&self) -> &Arc<Crew> {
        self.tasks.crew()
    }

    /// The same methods for tasks in chunks of another size.
    pub fn with(&self, options: TaskOptions) -> Tasks {
        Tasks::new(self.crew().clone(), self.tasks.callbacks().clone(), options)
    }

    /// How many threads it has.
    pub fn processes(&self) -> usize {
        self.crew().most()
    }

    /// Takes no more tasks. Threads end when all that was submitted is done.
    pub fn close(&self) {
        self.crew().close();
    }

    /// Takes no more tasks; those that have not begun end as
    /// [`TaskError::Cancelled`](crate::TaskError::Cancelled). Those that have go on: a
    /// thread cannot be ended. Does not wait.
    pub fn terminate(&self) {
        self.crew().close_and_drop();
    }

    /// Waits until all threads of a closed or terminated pool have ended and all callbacks
    /// have run.
    ///
    /// # Errors
    /// [`Error::PoolRunning`] before `close` or `terminate`;
    /// [`TaskError::WouldDeadlock`](crate::TaskError::WouldDeadlock) in a task or callback
    /// of the same pool.
    pub fn join(&self) -> Result<()> {
        self.join_until(None).map(drop)
    }

    /// As [`join`](Self::join), at most for `timeout`. True when all have ended.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.join_until(after(timeout))
    }

    /// As [`join`](Self::join), without blocking the thread.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait.
    pub async fn join_async(&self) -> Result<()> {
        self.may_join()?;
        self.crew().ended().has_ended().await;
        let callbacks = self.tasks.callbacks();
        callbacks.close();
        callbacks.ended().has_ended().await;
        Ok(())
    }

    fn join_until(&self, deadline: Option<Instant>) -> Result<bool> {
        self.may_join()?;
        let callbacks = self.tasks.callbacks();
        if !self.crew().ended().wait_until(deadline)? {
            return Ok(false);
        }
        // Callbacks are given by the threads that have ended.
        callbacks.close();
        callbacks.ended().wait_until(deadline)
    }

    fn may_join(&self) -> Result<()> {
        if self.crew().is_running() {
            return Err(Error::PoolRunning);
        }
        if self.crew().is_member() || self.tasks.callbacks().is_member() {
            return Err(TaskError::WouldDeadlock.into());
        }
        Ok(())
    }
}

/// What tasks are submitted by.
impl Deref for Pool {
    type Target = Tasks;

    fn deref(&self) -> &Tasks {
        &self.tasks
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.crew().is_running() { "running" } else { "not running" };
        write!(f, "ThreadPool({} threads, {state})", self.processes())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let unfinished = self.crew().unfinished();
        if unfinished > 0 {
            tracing::warn!(target: "procession", unfinished,
                "a pool is dropped while it is busy; what has not begun is cancelled");
        }
        self.crew().close_and_drop();
        // Callbacks of what still runs are dropped, and count as run.
        self.tasks.callbacks().close();
    }
}
