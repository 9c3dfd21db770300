//! The hidden thread: the control plane of a node.
//!
//! Owns one thread with a current-thread tokio runtime. The ractor tree, the reaper,
//! timers and introductions run on it; user code never does. It starts with the first
//! thing that needs it and lives as long as the process.

use crate::sync::lock;
use std::cell::Cell;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;

/// The runtime's handle, and the process that its thread lives in.
pub(super) static HIDDEN: Mutex<Option<(u32, Handle)>> = Mutex::new(None);

thread_local! {
    static IS_HIDDEN: Cell<bool> = const { Cell::new(false) };
}

/// The hidden thread's runtime; starts the thread if there is none yet.
///
/// # Errors
/// No descriptor or thread was to be had.
pub fn handle() -> io::Result<Handle> {
    let hidden = &mut *lock(&HIDDEN);
    let me = std::process::id();
    if let Some((pid, handle)) = hidden
        && *pid == me
    {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_park(|| set_busy(false))
        .on_thread_unpark(|| set_busy(true))
        .build()?;
    set_busy(true);
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name("procession-hidden".into());
    let started = crate::threads::start(thread, move || {
        IS_HIDDEN.set(true);
        runtime.block_on(std::future::pending::<()>());
    });
    if let Err(error) = started {
        set_busy(false);
        return Err(error);
    }
    // After a fork the old runtime's thread is gone; dropping its handle could wait for it.
    std::mem::forget(hidden.replace((me, handle.clone())));
    Ok(handle)
}

/// Whether the hidden thread is between two parks. A fork holds the lock while it happens,
/// so that the thread cannot leave its park meanwhile.
static BUSY: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

fn set_busy(busy: bool) {
    *lock(&BUSY.0) = busy;
    BUSY.1.notify_all();
}

/// A wait without a deadline is made of these.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// Keeps the hidden thread parked as long as the guard lives: it holds no lock there, but
/// those of its own runtime, which a forked child never uses.
pub(crate) fn hold_parked(deadline: Option<Instant>) -> io::Result<MutexGuard<'static, bool>> {
    let mut busy = lock(&BUSY.0);
    while *busy {
        let left =
            deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let slice = left.min(LONGEST_WAIT);
        busy = BUSY.1.wait_timeout(busy, slice).unwrap_or_else(PoisonError::into_inner).0;
    }
    Ok(busy)
}

/// Runs a future on the hidden thread. Dropping what this returns cancels it there.
///
/// # Errors
/// As [`handle`].
pub fn run<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> io::Result<impl Future<Output = T> + Send> {
    let mut set = JoinSet::new();
    set.spawn_on(future, &handle()?);
    Ok(async move {
        match set.join_next().await {
            Some(Ok(value)) => value,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime lives as long as the process, and nobody else can cancel the task.
            _ => std::future::pending().await,
        }
    })
}

/// Whether the calling thread is the hidden thread, where nothing may block.
pub fn is_current() -> bool {
    IS_HIDDEN.get()
}

/// Whether this process has a hidden thread.
pub fn is_running() -> bool {
    lock(&HIDDEN).as_ref().is_some_and(|(pid, _)| *pid == std::process::id())
}
