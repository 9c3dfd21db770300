//! `AsyncResult`: what a task or a whole `map` will give.
//!
//! Owns the typed handle. A result is decoded once, by whoever asks first: the thread that
//! gets it, or the pool's callback thread.

use crate::error::{Error, Result};
use procession_runtime::panic::catch;
use procession_runtime::pool::{Cook, Core, Job, Outcome, TaskError, TaskId, Want, items};
use procession_runtime::seat::Seat;
use procession_runtime::sync::after;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// What a task, or all tasks of a `map_async`, will give. It is a future, too.
///
/// The result can be had after the pool has been closed and joined. Dropping the handle
/// lets the task be.
///
/// ```
/// use procession::Pool;
/// use std::time::Duration;
///
/// # fn main() -> procession::Result<()> {
/// let pool = Pool::new(1)?;
/// let sum = pool.apply_async(|a: u32, b: u32| a + b, (20, 22))?;
/// assert_eq!(sum.get_timeout(Duration::from_secs(10))?, 42);
/// # Ok(())
/// # }
/// ```
#[must_use = "a result that nobody gets is computed in vain; drop it to let the task be"]
pub struct AsyncResult<R> {
    core: Arc<Core>,
    job: Arc<Job>,
    tasks: Vec<TaskId>,
    seat: Seat,
    cook: Cook,
    returns: PhantomData<fn() -> R>,
}

/// A decoded result; `None` once it has been taken.
type Cooked<R> = Option<std::result::Result<R, TaskError>>;

impl<R> AsyncResult<R> {
    fn new(core: Arc<Core>, job: Arc<Job>, tasks: Vec<TaskId>, cook: Cook) -> Self {
        Self { core, job, tasks, seat: Seat::default(), cook, returns: PhantomData }
    }
}

impl<R: DeserializeOwned + Send + 'static> AsyncResult<R> {
    pub(super) fn of_call(core: Arc<Core>, job: Arc<Job>, task: TaskId) -> Self {
        let tasks = vec![task];
        Self::new(core, job, tasks, cook_one::<R>)
    }
}

impl<R: DeserializeOwned + Send + 'static> AsyncResult<Vec<R>> {
    pub(super) fn of_map(core: Arc<Core>, job: Arc<Job>, tasks: Vec<TaskId>) -> Self {
        Self::new(core, job, tasks, cook_all::<R>)
    }
}

impl<R: Send + 'static> AsyncResult<R> {
    /// Waits for the result and takes it. An error stays and can be asked for again.
    ///
    /// # Errors
    /// [`Error::Task`] with the task's own error, or [`TaskError::Taken`].
    pub fn get(&self) -> Result<R> {
        self.core.wait(&self.job, Want::All, None)?;
        self.take()
    }

    /// As [`get`](Self::get), at most for `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`], after which the task goes on and can be asked for again;
    /// [`Error::Task`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<R> {
        if !self.wait_timeout(timeout)? {
            return Err(Error::Timeout);
        }
        self.take()
    }

    /// Waits until the result is there, whatever it is, and its callbacks have run.
    ///
    /// # Errors
    /// [`TaskError::WouldDeadlock`] in a callback of the same pool.
    pub fn wait(&self) -> Result<()> {
        self.core.wait(&self.job, Want::All, None)?;
        Ok(())
    }

    /// As [`wait`](Self::wait), at most for `timeout`. True when the result is there.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        Ok(self.core.wait(&self.job, Want::All, after(timeout))?)
    }

    /// Whether the result is there and its callbacks have run.
    pub fn ready(&self) -> bool {
        let _ = self.core.look();
        self.job.is_done()
    }

    /// Whether the result is a value, not an error.
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub fn successful(&self) -> Result<bool> {
        if !self.ready() {
            return Err(Error::NotReady);
        }
        let is_success = |result: &mut Cooked<R>| !matches!(result, Some(Err(_)));
        Ok(self.with_result(is_success).unwrap_or(false))
    }

    /// Ends the task, if it is not done: one that runs ends with its worker, whose place
    /// another takes. Does not wait.
    pub fn cancel(&self) {
        self.core.cancel(&self.tasks);
    }

    /// Completes when the result is there. It keeps the task, and not the result's type.
    pub(crate) fn done(&self) -> impl Future<Output = ()> + Send + 'static {
        let (core, job) = (self.core.clone(), self.job.clone());
        async move { drop(core.wait_async(&job, Want::All).await) }
    }

    /// Has `callback` called with the result once it is there, if it is no error: in this
    /// process, on a thread of the pool's own. One that panics is logged.
    ///
    /// # Errors
    /// No thread was to be had.
    pub fn callback(self, callback: impl FnOnce(&R) + Send + 'static) -> Result<Self> {
        self.then(|result| {
            if let Some(Ok(value)) = result {
                callback(value);
            }
        })
    }

    /// Has `callback` called with the error, if it is one; as [`callback`](Self::callback).
    ///
    /// # Errors
    /// No thread was to be had.
    pub fn error_callback(
        self,
        callback: impl FnOnce(&TaskError) + Send + 'static,
    ) -> Result<Self> {
        self.then(|result| {
            if let Some(Err(error)) = result {
                callback(error);
            }
        })
    }

    fn then(self, callback: impl FnOnce(&Cooked<R>) + Send + 'static) -> Result<Self> {
        let then = move |cooked: &(dyn Any + Send)| {
            if let Some(result) = cooked.downcast_ref() {
                callback(result);
            }
        };
        self.core.add_callback(self.job.clone(), self.cook, Box::new(then))?;
        Ok(self)
    }

    fn with_result<T>(&self, with: impl FnOnce(&mut Cooked<R>) -> T) -> Option<T> {
        self.job.with_cooked(self.cook, |cooked| cooked.downcast_mut().map(with))
    }

    fn take(&self) -> Result<R> {
        let take = |result: &mut Cooked<R>| {
            if let Some(Err(error)) = result {
                return Some(Err(error.clone()));
            }
            result.take()
        };
        let result = self.with_result(take).flatten();
        Ok(result.unwrap_or(Err(TaskError::Taken))?)
    }
}

/// Without blocking the thread; on any executor.
///
/// # Cancel safety
/// Dropping it lets the task be.
impl<R: Send + 'static> Future for AsyncResult<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let waker = self.seat.waker(context);
        let context = &mut Context::from_waker(&waker);
        let waited = ready!(self.core.poll_wait(&self.job, Want::All, context));
        Poll::Ready(waited.map_err(Error::from).and_then(|()| self.take()))
    }
}

/// The task goes on, and wakes nobody.
impl<R> Drop for AsyncResult<R> {
    fn drop(&mut self) {
        if let Some(waker) = self.seat.taken() {
            self.job.forget(waker);
        }
    }
}

impl<R> fmt::Debug for AsyncResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.job.is_done() { "ready" } else { "pending" };
        write!(f, "AsyncResult<{}>({state})", std::any::type_name::<R>())
    }
}

/// The result of one call.
pub(crate) fn single<R: DeserializeOwned + 'static>(
    outcome: Option<Outcome>,
) -> std::result::Result<R, TaskError> {
    let mut value = Err(TaskError::Taken);
    if let Some(outcome) = outcome {
        items(outcome.result?, 1, |item| value = item)?;
    }
    value
}

fn cook_one<R: DeserializeOwned + Send + 'static>(outcomes: Vec<Outcome>) -> Box<dyn Any + Send> {
    cooked(|| single::<R>(outcomes.into_iter().next()))
}

fn cook_all<R: DeserializeOwned + Send + 'static>(
    mut outcomes: Vec<Outcome>,
) -> Box<dyn Any + Send> {
    outcomes.sort_unstable_by_key(|outcome| outcome.index);
    cooked(|| {
        let mut all = Ok(Vec::new());
        for outcome in outcomes {
            append::<R>(&mut all, outcome);
        }
        all
    })
}

/// What comes of reading results, which is user code: its panic is the error, also for those
/// who wait while a callback's thread reads.
fn cooked<R: Send + 'static>(
    read: impl FnOnce() -> std::result::Result<R, TaskError>,
) -> Box<dyn Any + Send> {
    let cooked: Cooked<R> = Some(catch(read).unwrap_or_else(|report| Err(report.into())));
    Box::new(cooked)
}

/// Adds the results of a chunk; the first error stays. How many of them failed.
pub(super) fn append<R: DeserializeOwned + 'static>(
    all: &mut std::result::Result<Vec<R>, TaskError>,
    outcome: Outcome,
) -> u64 {
    let (mut failed, mut first) = (0, None);
    let mut values = all.as_mut().ok();
    if let Some(values) = &mut values {
        values.reserve(outcome.items as usize);
    }
    let added = outcome.result.and_then(|results| {
        items(results, outcome.items, |item| match (item, &mut values) {
            (Ok(value), Some(values)) => values.push(value),
            (Ok(_), None) => {}
            (Err(error), _) => {
                failed += 1;
                first.get_or_insert(error);
            }
        })
    });
    if let Err(error) = added {
        failed = u64::from(outcome.items);
        first.get_or_insert(error);
    }
    if let (Some(error), Ok(_)) = (first, &all) {
        *all = Err(error);
    }
    failed
}
