//! `AsyncResult` of a pool of threads: what a task or a whole `map` will give.
//!
//! Owns the waiting for the callbacks, which run before the result counts as ready, on a
//! thread of the pool's own.

use super::crew::{Call, Crew};
use crate::error::{Error, Result};
use crate::executor::Future;
use procession_runtime::pool::TaskError;
use procession_runtime::sync::after;
use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// What a task, or all tasks of a `map_async`, will give. It is a future, too. See
/// [`AsyncResult`](crate::AsyncResult) of processes, which has the same methods.
///
/// Dropping the handle lets the task be.
#[must_use = "a result that nobody gets is computed in vain; drop it to let the task be"]
pub struct AsyncResult<R> {
    crew: Arc<Crew>,
    callbacks: Arc<Crew>,
    future: Future<R>,
    /// Each done when a callback has run.
    called: Vec<Future<()>>,
    cancels: Vec<Cancel>,
}

/// Takes back one of the tasks.
pub(super) type Cancel = Box<dyn Fn() + Send + Sync>;

impl<R: Send + 'static> AsyncResult<R> {
    pub(super) fn new(
        crew: Arc<Crew>,
        callbacks: Arc<Crew>,
        future: Future<R>,
        cancels: Vec<Cancel>,
    ) -> Self {
        Self { crew, callbacks, future, called: Vec::new(), cancels }
    }

    /// Waits for the result and takes it.
    ///
    /// # Errors
    /// [`Error::Task`] with the task's own error, and [`TaskError::WouldDeadlock`] in a task
    /// of the same pool.
    pub fn get(&self) -> Result<R> {
        self.wait()?;
        self.future.result()
    }

    /// As [`get`](Self::get), at most for `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`], after which the task goes on and can be asked for again; and as
    /// [`get`](Self::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<R> {
        if !self.wait_timeout(timeout)? {
            return Err(Error::Timeout);
        }
        self.future.result()
    }

    /// Waits until the result is there, whatever it is, and its callbacks have run.
    ///
    /// # Errors
    /// [`TaskError::WouldDeadlock`] in a task or a callback of the same pool.
    pub fn wait(&self) -> Result<()> {
        self.wait_until(None).map(drop)
    }

    /// As [`wait`](Self::wait), at most for `timeout`. True when the result is there.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.wait_until(after(timeout))
    }

    /// Whether the result is there and its callbacks have run.
    pub fn ready(&self) -> bool {
        self.future.done() && self.called.iter().all(Future::done)
    }

    /// Whether the result is a value, not an error.
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub fn successful(&self) -> Result<bool> {
        if !self.ready() {
            return Err(Error::NotReady);
        }
        Ok(matches!(self.future.exception(), Ok(None)))
    }

    /// Cancels what has not begun. What runs is let be: a thread cannot be ended.
    pub fn cancel(&self) {
        self.cancels.iter().for_each(|cancel| cancel());
    }

    /// Has `callback` called with the result once it is there, if it is no error, on a
    /// thread of the pool's own. One that panics is logged.
    ///
    /// # Errors
    /// The pool has ended.
    pub fn callback(self, callback: impl FnOnce(&R) + Send + 'static) -> Result<Self> {
        self.then(|result| {
            if let Ok(value) = result {
                callback(value);
            }
        })
    }

    /// Has `callback` called with the error, if it is one; as [`callback`](Self::callback).
    ///
    /// # Errors
    /// The pool has ended.
    pub fn error_callback(
        self,
        callback: impl FnOnce(&TaskError) + Send + 'static,
    ) -> Result<Self> {
        self.then(|result| {
            if let Err(error) = result {
                callback(error);
            }
        })
    }

    fn then(
        mut self,
        callback: impl FnOnce(std::result::Result<&R, &TaskError>) + Send + 'static,
    ) -> Result<Self> {
        if !self.callbacks.is_running() && self.future.done() {
            return Err(TaskError::NotRunning.into());
        }
        let future = self.future.clone();
        let (call, called) = Call::new(move |_: &mut dyn Any| {
            future.look(callback);
            Ok(())
        });
        let callbacks = self.callbacks.clone();
        self.future.add_done_callback(move |_| {
            // A callback that its ended pool does not take is dropped, and counts as run.
            let _ = callbacks.give(call);
        })?;
        self.called.push(called);
        Ok(self)
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<bool> {
        if !self.ready() && (self.crew.is_member() || self.callbacks.is_member()) {
            return Err(TaskError::WouldDeadlock.into());
        }
        if !self.future.wait_until(deadline)? {
            return Ok(false);
        }
        for called in &self.called {
            if !called.wait_until(deadline)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Without blocking the thread; on any executor.
///
/// # Cancel safety
/// Dropping it lets the task be.
impl<R: Send + 'static> std::future::Future for AsyncResult<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        ready!(self.future.poll_done(context));
        for called in &mut self.called {
            ready!(called.poll_done(context));
        }
        Pin::new(&mut self.future).poll(context)
    }
}

impl<R> fmt::Debug for AsyncResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsyncResult({:?})", self.future)
    }
}
