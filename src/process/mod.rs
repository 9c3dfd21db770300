//! `Process`: a function that runs in a process of its own.
//!
//! Owns the typed handle: what the function is, and what it returned. The handle's life,
//! from `new` to `close`, is `reference.rs`'s. How a process is started and reaped is the
//! runtime's. Neighbours: `builder.rs` (options), `current.rs` (this process and its
//! parent).

mod reference;

use crate::builder::{Plan, ProcessBuilder};
use crate::error::{Error, JoinError, Result};
use procession_protocols::exit::ExitReason;
use procession_runtime::child::{Child, Outcome};
use procession_runtime::codec;
use procession_runtime::down::Down;
use procession_runtime::function::Entry;
use procession_runtime::sync::after;
use reference::wait;
pub use reference::{ProcessRef, Sentinel};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// A process that runs a function and gives back what it returns.
///
/// The function is a `fn` item or a closure that captures nothing; its arguments are
/// owned values that serde can carry. `R` is what it returns.
///
/// Dropping the handle neither waits nor kills: the process stays under this node's
/// root supervisor, which reaps it, and is joined (or, as a daemon, ended) when this
/// program ends.
///
/// ```
/// use procession::Process;
///
/// # fn main() -> procession::Result<()> {
/// let sum = Process::spawn(|a: u64, b: u64| a + b, (20, 22))?;
/// assert_eq!(sum.result()?, 42);
/// # Ok(())
/// # }
/// ```
pub struct Process<R = ()> {
    inner: ProcessRef,
    returns: PhantomData<fn() -> R>,
}

impl<R> Process<R> {
    /// Makes a process that is not started yet.
    ///
    /// # Errors
    /// [`Error::Encode`] when the arguments cannot be encoded; [`Error::Start`] when
    /// the function lies in no loaded object.
    pub fn new<F, A>(function: F, args: A) -> Result<Self>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        Self::builder(function, args).build()
    }

    /// Starts a process and returns once it is ready.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`start`](ProcessRef::start).
    pub fn spawn<F, A>(function: F, args: A) -> Result<Self>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        Self::builder(function, args).start()
    }

    /// Options for a process: name, daemon flag, streams, limits and more.
    pub fn builder<F, A>(function: F, args: A) -> ProcessBuilder<R>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        ProcessBuilder::new(function, args)
    }

    pub(crate) fn from_plan(plan: Plan) -> Self {
        Self { inner: ProcessRef::from_plan(plan), returns: PhantomData }
    }
}

/// The untyped handle.
impl<R> AsRef<ProcessRef> for Process<R> {
    fn as_ref(&self) -> &ProcessRef {
        &self.inner
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Waits for the end, and takes what the function returned. A returned `Err` is a
    /// value like any other.
    ///
    /// # Errors
    /// [`Error::Join`] when it panicked, was killed, or exited before it returned, and
    /// when the value has been taken already; [`Error::Io`] with `EMFILE` when no number is
    /// free for a descriptor that it comes with, as one of more than 64 KiB does: it stays, and
    /// can be asked for again; else as [`join`](ProcessRef::join).
    pub fn result(&self) -> Result<R> {
        let child = self.inner.child()?;
        let down = wait(&child, None)?.ok_or(Error::Timeout)?;
        outcome(&child, down)
    }

    /// As [`result`](Self::result), but waits at most `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`], and as [`result`](Self::result).
    pub fn result_timeout(&self, timeout: Duration) -> Result<R> {
        let child = self.inner.child()?;
        let down = wait(&child, after(timeout))?.ok_or(Error::Timeout)?;
        outcome(&child, down)
    }

    /// As [`result`](Self::result), without blocking the thread.
    ///
    /// # Errors
    /// As [`result`](Self::result).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the process and its value untouched.
    pub async fn result_async(&self) -> Result<R> {
        let child = self.inner.child()?;
        let down = child.ended().await;
        outcome(&child, down)
    }
}

impl Process<()> {
    /// A process that does nothing and ends with code 0.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn noop() -> Result<Self> {
        Self::new(|| (), ())
    }
}

fn outcome<R: DeserializeOwned>(child: &Child, down: Arc<Down>) -> Result<R> {
    let name = down.name.clone();
    let exitcode = down.status.exitcode();
    Err(Error::Join(match child.take_outcome(down)? {
        Outcome::Returned(bytes, fds) => match codec::decode(&bytes, fds) {
            Ok(value) => return Ok(value),
            Err(error) => JoinError::Lost { name, why: error.to_string() },
        },
        Outcome::Lost(why) => JoinError::Lost { name, why },
        Outcome::Ended(down) => match &down.reason {
            ExitReason::Panic(report) => JoinError::Panicked { name, report: report.clone() },
            reason => JoinError::Died { name, reason: reason.clone(), exitcode },
        },
    }))
}

impl<R> Deref for Process<R> {
    type Target = ProcessRef;

    fn deref(&self) -> &ProcessRef {
        &self.inner
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
