//! `Pool`: a fixed number of worker processes that take tasks.
//!
//! Owns the handle and its end. What is done with a pool (`map` and its kin) is on
//! [`Tasks`], to which a pool derefs; which worker does what, and what a death costs, is
//! the scheduler's in `procession_protocols::pool`. Neighbours: `builder.rs`, `options.rs`,
//! `tasks.rs`, `inputs.rs`, `imap.rs`, `result.rs`.

mod builder;
mod callable;
mod imap;
mod inputs;
mod options;
mod progress;
mod result;
mod stream;
mod tasks;

pub use builder::PoolBuilder;
pub use callable::Callable;
pub use imap::Imap;
pub(crate) use inputs::share;
pub use options::TaskOptions;
pub(crate) use progress::Progress;
pub use result::AsyncResult;
pub(crate) use result::single;
pub use stream::ImapStream;
pub use tasks::Tasks;

use crate::error::{Error, Result};
use procession_runtime::pool::{Core, TaskError};
pub use procession_runtime::pool::{PoolStats, WorkerStats};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// A fixed number of worker processes, each of which takes one task after another.
///
/// What it calls is a `fn` item, a closure that captures nothing, or a
/// [`Function`](crate::Function) value, with arguments that serde can carry. The methods
/// that submit tasks are those of [`Tasks`].
///
/// A worker that dies costs the one task that it had begun, which ends in
/// [`TaskError::Died`](crate::TaskError::Died) with the cause; another worker takes its
/// place. Workers ignore Ctrl-C: this process decides. They are daemons: they cannot
/// outlive it, and have no children of their own.
///
/// Dropping a pool terminates it, as leaving Python's `with` block does, and does not wait:
/// what is not done ends as [`TaskError::Cancelled`](crate::TaskError::Cancelled).
///
/// ```
/// use procession::Pool;
///
/// # fn main() -> procession::Result<()> {
/// let pool = Pool::new(2)?;
/// assert_eq!(pool.map(|x: u64| x * x, 0..5)?, [0, 1, 4, 9, 16]);
/// assert_eq!(pool.apply(|a: u32, b: u32| a + b, (20, 22))?, 42);
/// pool.close();
/// pool.join()?;
/// # Ok(())
/// # }
/// ```
pub struct Pool {
    tasks: Tasks,
}

impl Pool {
    /// Starts a pool of so many workers, and returns when they are ready.
    ///
    /// # Errors
    /// [`Error::Invalid`] for none; [`Error::Start`], and nothing is left.
    pub fn new(processes: usize) -> Result<Self> {
        Self::builder().processes(processes).build()
    }

    /// Options for a pool; by default it has a worker for each usable processor.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    fn of_core(core: Arc<Core>) -> Self {
        Self { tasks: Tasks::new(core, TaskOptions::new()) }
    }

    fn core(&self) -> &Arc<Core> {
        self.tasks.core()
    }

    /// The same methods for tasks on other terms.
    ///
    /// ```
    /// use procession::{Error, Pool, TaskError, TaskOptions};
    /// use std::time::Duration;
    ///
    /// # fn main() -> procession::Result<()> {
    /// let pool = Pool::new(2)?;
    /// let brief = pool.with(TaskOptions::new().timeout(Duration::from_millis(20)));
    /// let slept = brief.apply(|| std::thread::sleep(Duration::from_secs(60)), ());
    /// assert!(matches!(slept, Err(Error::Task(TaskError::TimedOut(_)))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn with(&self, options: TaskOptions) -> Tasks {
        Tasks::new(self.core().clone(), options)
    }

    /// How many workers it has.
    pub fn processes(&self) -> usize {
        self.core().workers()
    }

    /// The process ids of the workers that are ready now.
    pub fn pids(&self) -> Vec<u32> {
        self.core().pids()
    }

    /// How it is doing, now.
    ///
    /// ```
    /// use procession::Pool;
    ///
    /// # fn main() -> procession::Result<()> {
    /// let pool = Pool::new(2)?;
    /// pool.map(|x: u64| x + 1, 0..10)?;
    /// let stats = pool.stats();
    /// assert_eq!(stats.workers.iter().map(|worker| worker.done).sum::<u64>(), 10);
    /// assert_eq!((stats.restarts, stats.unfinished), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> PoolStats {
        self.core().stats()
    }

    /// Takes no more tasks. Workers end when all that was submitted is done.
    pub fn close(&self) {
        self.core().close();
    }

    /// Ends the workers at once, by SIGTERM and a second later by SIGKILL, those that are only
    /// starting by SIGKILL; what is not done ends as
    /// [`TaskError::Cancelled`](crate::TaskError::Cancelled). Does not wait.
    pub fn terminate(&self) {
        self.core().terminate();
    }

    /// Waits until all workers of a closed or terminated pool have ended and all callbacks
    /// have run.
    ///
    /// # Errors
    /// [`Error::PoolRunning`] before `close` or `terminate`; a callback that would wait for
    /// itself is [`TaskError::WouldDeadlock`](crate::TaskError::WouldDeadlock).
    pub fn join(&self) -> Result<()> {
        self.join_within(None).map(drop)
    }

    /// As [`join`](Self::join), at most for `timeout`. True when all have ended.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.join_within(Some(timeout))
    }

    /// As [`join`](Self::join), without blocking the thread.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait.
    pub async fn join_async(&self) -> Result<()> {
        if self.core().is_running() {
            return Err(Error::PoolRunning);
        }
        if self.core().is_calling_back() {
            return Err(TaskError::WouldDeadlock.into());
        }
        self.core().join_async().await;
        Ok(())
    }

    /// As [`join_async`](Self::join_async); it does not keep the pool.
    pub(crate) fn ended(&self) -> Result<impl Future<Output = ()> + Send + 'static> {
        if self.core().is_running() {
            return Err(Error::PoolRunning);
        }
        let core = self.core().clone();
        Ok(async move { core.join_async().await })
    }

    fn join_within(&self, timeout: Option<Duration>) -> Result<bool> {
        if self.core().is_running() {
            return Err(Error::PoolRunning);
        }
        Ok(self.core().join(timeout)?)
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
        let state = if self.core().is_running() { "running" } else { "not running" };
        write!(f, "Pool({} workers, {state})", self.processes())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let unfinished = self.core().unfinished();
        if unfinished > 0 {
            tracing::warn!(target: "procession", unfinished,
                "a pool is dropped while it is busy; its workers are terminated");
        }
        self.core().terminate();
    }
}
