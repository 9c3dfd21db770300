//! `Future` and `Promise`: a result that is to come, and the duty to give it.
//!
//! Owns Python's `concurrent.futures.Future`, cut in two: whoever waits has the one half,
//! whoever fulfils it the other. Neighbours: `shared.rs` decides how it ends, `wait.rs`
//! waits for many.

use super::shared::{Shared, Source, Stage};
use crate::error::{Error, Result};
use procession_runtime::node::hidden;
use procession_runtime::panic::catch;
use procession_runtime::pool::{Core, HasJob, Outcome, TaskError, TaskId, Want};
use procession_runtime::seat::Seat;
use procession_runtime::sync::after;
use procession_runtime::wait::block_on_by;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

/// The result of a call that was submitted to an executor. Clones are handles of the same
/// result. It can be awaited, on any executor.
///
/// Dropping it lets the call be.
///
/// ```
/// use procession::ProcessPoolExecutor;
///
/// # fn main() -> procession::Result<()> {
/// let executor = ProcessPoolExecutor::new(2)?;
/// let power = executor.submit(|x: u64, n: u32| x.pow(n), (2, 8))?;
/// assert_eq!(power.result()?, 256);
/// assert!(power.done() && !power.cancel());
/// # Ok(())
/// # }
/// ```
#[must_use = "a result that nobody gets is computed in vain; drop it to let the call be"]
pub struct Future<R>(Arc<Shared<R>>, Seat);

/// The duty to give the result of a [`Future`], for who makes executors of their own.
///
/// Dropping it without a result cancels the future, so that nobody waits for ever.
///
/// ```
/// use procession::futures::Promise;
///
/// # fn main() -> procession::Result<()> {
/// let promise = Promise::new();
/// let future = promise.future();
/// std::thread::spawn(move || promise.set_result(42));
/// assert_eq!(future.result()?, 42);
/// # Ok(())
/// # }
/// ```
pub struct Promise<R: Send + 'static>(Future<R>);

/// A future has ended already, and stays as it is. Gives back what was to be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the future is {state} already, and stays so")]
pub struct InvalidState<T> {
    /// What was not set.
    pub value: T,
    /// Python's name of the state that the future is in.
    pub state: &'static str,
}

impl<R> Future<R> {
    pub(super) fn of(shared: Arc<Shared<R>>) -> Self {
        Self(shared, Seat::default())
    }

    pub(super) fn of_call(
        core: Arc<Core>,
        decode: fn(Option<Outcome>) -> std::result::Result<R, TaskError>,
    ) -> Self {
        Self::of(Shared::new(Some(Source::new(core, decode))))
    }

    /// It has been submitted as this task.
    pub(super) fn is_of(&self, task: TaskId) {
        if let Some(source) = &self.0.source {
            let _ = source.task.set(task);
        }
    }

    /// Whether both are handles of the same result.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A wait with this waker, which is its own, is given up.
    pub(super) fn forget(&self, waker: &Waker) {
        self.0.forget(waker);
    }

    /// Tells futures apart as long as they live.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl<R: Send + 'static> Future<R> {
    pub(super) fn as_job(&self) -> Arc<dyn HasJob> {
        self.0.clone()
    }

    /// Waits for the result and takes it. An error stays and can be asked for again.
    ///
    /// # Errors
    /// [`Error::Task`] with the call's own error, [`TaskError::Cancelled`], or
    /// [`TaskError::Taken`].
    pub fn result(&self) -> Result<R> {
        self.wait_until(None)?;
        self.take()
    }

    /// As [`result`](Self::result), at most for `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`], after which the call goes on; and as [`result`](Self::result).
    pub fn result_timeout(&self, timeout: Duration) -> Result<R> {
        self.within(timeout)?;
        self.take()
    }

    /// Waits, and gives the error of the call; `None` when it returned a value, which can
    /// still be taken.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`] when it was cancelled.
    pub fn exception(&self) -> Result<Option<TaskError>> {
        self.wait_until(None)?;
        self.failure()
    }

    /// As [`exception`](Self::exception), at most for `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`], and as [`exception`](Self::exception).
    pub fn exception_timeout(&self, timeout: Duration) -> Result<Option<TaskError>> {
        self.within(timeout)?;
        self.failure()
    }

    /// Cancels a call that has not begun. False when it runs or has ended; those are let
    /// be.
    pub fn cancel(&self) -> bool {
        match &self.0.source {
            Some(source) if !self.0.is_decided() => {
                if let Some(task) = source.task.get() {
                    source.core.withdraw(&[*task]);
                }
                self.0.settle();
            }
            Some(_) => {}
            None => {
                let is_pending = |stage: &Stage<R>| matches!(stage, Stage::Pending);
                if self.0.decide(Stage::Cancelled, is_pending).is_ok() {
                    self.call_back();
                }
            }
        }
        self.is_cancelled()
    }

    /// Whether it was cancelled before it began.
    pub fn cancelled(&self) -> bool {
        self.done() && self.is_cancelled()
    }

    /// Whether the call has begun and not ended.
    pub fn running(&self) -> bool {
        if self.done() {
            return false;
        }
        match &self.0.source {
            Some(source) => source.has_begun(),
            None => self.0.with_stage(|stage| matches!(stage, Stage::Running)),
        }
    }

    /// Whether it has ended, also by being cancelled.
    pub fn done(&self) -> bool {
        if let Some(source) = &self.0.source
            && !self.0.is_decided()
        {
            let _ = source.core.look();
            self.0.settle();
        }
        self.0.is_decided()
    }

    /// Has a function called with this future once it has ended, however it ends, in the
    /// order in which they were added: for a call of a pool on the pool's own thread, else
    /// on the thread that ends it. When it has ended already the function is called here
    /// and now. One that panics is logged.
    ///
    /// # Errors
    /// No thread was to be had; the function is dropped or called later.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Self) + Send + 'static) -> Result<()> {
        self.0.settle();
        match self.0.keep(Box::new(callback)) {
            Ok(true) => self.0.ask_to_call_back()?,
            Ok(false) => {}
            Err(callback) => self.call(callback),
        }
        Ok(())
    }

    /// For a waker of the caller's own, which it takes back by [`forget`](Self::forget).
    pub(super) fn poll_by(&self, waker: &Waker) -> Poll<()> {
        self.0.poll(&mut Context::from_waker(waker))
    }

    pub(crate) fn poll_done(&mut self, context: &Context<'_>) -> Poll<()> {
        let waker = self.1.waker(context);
        self.poll_by(&waker)
    }

    /// Completes when it has ended.
    pub(crate) async fn has_ended(&self) {
        let mut mine = self.clone();
        std::future::poll_fn(|context| mine.poll_done(context)).await;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.0.with_stage(|stage| matches!(stage, Stage::Failed(_)))
    }

    /// Looks at how it has ended; not at all when its value is taken.
    /// Meanwhile the value counts as taken.
    pub(crate) fn look(&self, look: impl FnOnce(std::result::Result<&R, &TaskError>)) {
        let end = self.0.with_stage(|stage| match stage {
            Stage::Returned(value) => value.take().map(Ok),
            Stage::Failed(error) => Some(Err(error.clone())),
            Stage::Cancelled => Some(Err(TaskError::Cancelled)),
            Stage::Pending | Stage::Running => None,
        });
        let Some(end) = end else { return };
        let looked = catch(|| look(end.as_ref()));
        if let Ok(value) = end {
            self.0.with_stage(|stage| *stage = Stage::Returned(Some(value)));
        }
        if let Err(report) = looked {
            tracing::error!(target: "procession", message = report.message,
                place = report.location, "a pool's callback panicked");
        }
    }

    /// Runs the callbacks that wait.
    pub(crate) fn call_back(&self) {
        for callback in self.0.take_callbacks() {
            self.call(callback);
        }
    }

    fn call(&self, callback: super::shared::Callback<R>) {
        if let Err(report) = catch(|| callback(self)) {
            tracing::error!(target: "procession", message = report.message,
                place = report.location, "exception calling callback for {self:?}");
        }
    }

    fn within(&self, timeout: Duration) -> Result<()> {
        if self.wait_until(after(timeout))? { Ok(()) } else { Err(Error::Timeout) }
    }

    /// False when the deadline passed.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> Result<bool> {
        self.0.settle();
        if self.0.is_decided() {
            return Ok(true);
        }
        if let Some(source) = &self.0.source {
            if !source.core.wait(&self.0.job, Want::Come, deadline)? {
                return Ok(false);
            }
            self.0.settle();
            if self.0.is_decided() {
                return Ok(true);
            }
        }
        if hidden::is_current() {
            return Err(TaskError::WouldDeadlock.into());
        }
        Ok(block_on_by(Deciding { shared: &self.0, waker: None }, deadline).is_some())
    }

    fn is_cancelled(&self) -> bool {
        self.0.with_stage(|stage| matches!(stage, Stage::Cancelled))
    }

    fn take(&self) -> Result<R> {
        self.0.with_stage(|stage| match stage {
            Stage::Returned(value) => Ok(value.take().ok_or(TaskError::Taken)?),
            Stage::Failed(error) => Err(error.clone().into()),
            Stage::Cancelled => Err(TaskError::Cancelled.into()),
            Stage::Pending | Stage::Running => Err(Error::NotReady),
        })
    }

    fn failure(&self) -> Result<Option<TaskError>> {
        self.0.with_stage(|stage| match stage {
            Stage::Returned(_) => Ok(None),
            Stage::Failed(error) => Ok(Some(error.clone())),
            Stage::Cancelled => Err(TaskError::Cancelled.into()),
            Stage::Pending | Stage::Running => Err(Error::NotReady),
        })
    }
}

/// A thread's wait until it is decided. Given up, it leaves no waker behind.
struct Deciding<'a, R> {
    shared: &'a Shared<R>,
    waker: Option<Waker>,
}

impl<R> std::future::Future for Deciding<'_, R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let decided = self.shared.poll_decided(context);
        if decided.is_pending() && self.waker.is_none() {
            self.waker = Some(context.waker().clone());
        }
        decided
    }
}

impl<R> Drop for Deciding<'_, R> {
    fn drop(&mut self) {
        if let Some(waker) = &self.waker {
            self.shared.forget(waker);
        }
    }
}

/// Takes the result, without blocking the thread; on any executor.
///
/// # Cancel safety
/// Dropping it lets the call be.
impl<R: Send + 'static> std::future::Future for Future<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        ready!(self.poll_done(context));
        Poll::Ready(self.take())
    }
}

impl<R> Clone for Future<R> {
    fn clone(&self) -> Self {
        Self::of(self.0.clone())
    }
}

/// The call goes on, and does not wake who awaited it by this handle.
impl<R> Drop for Future<R> {
    fn drop(&mut self) {
        if let Some(waker) = self.1.taken() {
            self.forget(waker);
        }
    }
}

/// As Python has it: its state, and how it finished.
impl<R> fmt::Debug for Future<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.0.source.as_ref();
        let is_begun = source.is_some_and(Source::has_begun);
        self.0.with_stage(|stage| match stage {
            Stage::Pending if is_begun => f.write_str("Future(running)"),
            Stage::Pending => f.write_str("Future(pending)"),
            Stage::Running => f.write_str("Future(running)"),
            Stage::Cancelled => f.write_str("Future(cancelled)"),
            Stage::Failed(error) => write!(f, "Future(finished, raised {error})"),
            Stage::Returned(_) => {
                write!(f, "Future(finished, returned {})", std::any::type_name::<R>())
            }
        })
    }
}

impl<R: Send + 'static> Promise<R> {
    /// A promise whose future is pending.
    #[expect(clippy::new_without_default, reason = "a promise by default is no use")]
    pub fn new() -> Self {
        Self(Future::of(Shared::new(None)))
    }

    /// A handle of its future.
    pub fn future(&self) -> Future<R> {
        self.0.clone()
    }

    /// Says that the call begins. False when it has been cancelled, and is not to begin.
    pub fn set_running(&self) -> bool {
        self.0.0.with_stage(|stage| {
            if matches!(stage, Stage::Pending) {
                *stage = Stage::Running;
            }
            matches!(stage, Stage::Running)
        })
    }

    /// Gives the result. Callbacks run before it returns.
    ///
    /// # Errors
    /// [`InvalidState`]: it has ended already; gives the value back.
    pub fn set_result(&self, value: R) -> std::result::Result<(), InvalidState<R>> {
        match self.end(Stage::Returned(Some(value))) {
            Err((Stage::Returned(Some(value)), state)) => Err(InvalidState { value, state }),
            _ => Ok(()),
        }
    }

    /// Gives an error in place of a result. Callbacks run before it returns.
    ///
    /// # Errors
    /// As [`set_result`](Self::set_result).
    pub fn set_exception(
        &self,
        error: TaskError,
    ) -> std::result::Result<(), InvalidState<TaskError>> {
        match self.end(Stage::Failed(error)) {
            Err((Stage::Failed(value), state)) => Err(InvalidState { value, state }),
            _ => Ok(()),
        }
    }

    /// Ends the future, unless it has ended; callbacks are yet to run.
    pub(crate) fn decide(&self, end: std::result::Result<R, TaskError>) {
        let end = match end {
            Ok(value) => Stage::Returned(Some(value)),
            Err(TaskError::Cancelled) => Stage::Cancelled,
            Err(error) => Stage::Failed(error),
        };
        let _ = self.0.0.decide(end, |stage| !stage.is_done());
    }

    /// Runs the callbacks that wait.
    pub(crate) fn has_callbacks(&self) -> bool {
        self.0.0.has_callbacks()
    }

    pub(crate) fn call_back(&self) {
        self.0.call_back();
    }

    fn end(&self, end: Stage<R>) -> std::result::Result<(), (Stage<R>, &'static str)> {
        if let Err(end) = self.0.0.decide(end, |stage| !stage.is_done()) {
            return Err((end, if self.0.is_cancelled() { "CANCELLED" } else { "FINISHED" }));
        }
        self.0.call_back();
        Ok(())
    }
}

impl<R: Send + 'static> Drop for Promise<R> {
    fn drop(&mut self) {
        let _ = self.end(Stage::Cancelled);
    }
}

impl<R: Send + 'static> fmt::Debug for Promise<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Promise({:?})", self.0)
    }
}
