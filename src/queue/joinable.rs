//! A queue that knows when all that was put is finished.
//!
//! Owns [`JoinableQueue`], which is a [`Queue`] and has two calls more.

use super::{Queue, QueueError};
use procession_runtime::queue::{Options, Patience};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// A [`Queue`] with [`task_done`](Self::task_done) and [`join`](Self::join).
///
/// An item that was got stays in the owner's keeping until its consumer has called
/// `task_done` for it. When the consumer dies before, or drops its last handle of the queue,
/// the item comes back, marked (see [`Queue::get_delivery`]), so `join` never waits for a dead
/// process.
///
/// ```
/// use procession::{JoinableQueue, Process};
/// use std::time::Duration;
///
/// fn work(tasks: JoinableQueue<Option<u32>>) {
///     while let Ok(Some(_task)) = tasks.get() {
///         tasks.task_done().unwrap();
///     }
/// }
///
/// # fn main() -> procession::Result<()> {
/// let tasks = JoinableQueue::<Option<u32>>::new()?;
/// let worker = Process::spawn(work, (tasks.clone(),))?;
/// tasks.put_many((0..10).map(Some))?;
/// tasks.join_timeout(Duration::from_secs(30))?;
/// tasks.put(None)?;
/// worker.join()?;
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct JoinableQueue<T>(Queue<T>);

impl<T> JoinableQueue<T> {
    /// Makes a queue without a bound on the number of its items.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn new() -> crate::Result<Self> {
        Self::bounded(0)
    }

    /// Makes a queue of at most `capacity` items; 0 is no bound.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn bounded(capacity: usize) -> crate::Result<Self> {
        let capacity = (capacity > 0).then_some(capacity as u64);
        Ok(Self(Queue::make(Options { capacity, joinable: true, ..Options::default() })))
    }

    /// One item that this process got is finished: the oldest that is not yet. A process
    /// that has got none finishes for another.
    ///
    /// # Errors
    /// [`QueueError::TooManyDone`] when nothing is unfinished, [`QueueError::Unanswered`] when
    /// the owner is another process and is stopped, and the others.
    pub fn task_done(&self) -> Result<(), QueueError> {
        self.0.open()?;
        self.0.raw.task_done()?.map_err(|_| QueueError::TooManyDone)
    }

    /// Waits until every item that was put is finished.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn join(&self) -> Result<(), QueueError> {
        self.join_with(Patience::Until(None))
    }

    /// As [`join`](Self::join), but waits at most for `timeout`; zero asks once. Less than 20 ms
    /// are up to so many while the owner, another process, does not answer.
    ///
    /// # Errors
    /// As [`join`](Self::join), and [`QueueError::Timeout`]; with zero also
    /// [`QueueError::Unanswered`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), QueueError> {
        self.join_with(Patience::within(timeout))
    }

    /// As [`join`](Self::join), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn join_async(&self) -> Result<(), QueueError> {
        self.0.open()?;
        self.0.raw.join(Patience::Async).await?;
        Ok(())
    }

    fn join_with(&self, patience: Patience) -> Result<(), QueueError> {
        self.0.open()?;
        if self.0.raw.join_now(patience)? { Ok(()) } else { Err(QueueError::Timeout) }
    }
}

impl<T> Deref for JoinableQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinableQueue").field(&self.0).finish()
    }
}
