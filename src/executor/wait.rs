//! `wait` and `as_completed`: many futures at once.
//!
//! Owns the watching of several futures by one waiter. Each has a waker that says which one
//! it was, so that a completion costs one look and not one for each future.

use super::future::Future;
use crate::error::{Error, Result};
use procession_runtime::node::hidden;
use procession_runtime::pool::TaskError;
use procession_runtime::sync::{after, lock};
use procession_runtime::wait::block_on_by;
use std::borrow::Borrow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// When [`wait`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnWhen {
    /// When one has ended.
    FirstCompleted,
    /// When one has ended in an error, or all have ended. Being cancelled is none.
    FirstException,
    /// When all have ended.
    AllCompleted,
}

/// What [`wait`] found, in the order in which the futures were given.
#[derive(Debug)]
pub struct Waited<R> {
    /// Those that have ended.
    pub done: Vec<Future<R>>,
    /// Those that have not.
    pub not_done: Vec<Future<R>>,
}

/// Waits for several futures, of one executor or of many. One that is given twice counts
/// once. When the time is up it gives what it has; that is no error.
///
/// ```
/// use procession::ProcessPoolExecutor;
/// use procession::futures::{ReturnWhen, wait};
///
/// # fn main() -> procession::Result<()> {
/// let executor = ProcessPoolExecutor::new(2)?;
/// let calls = [executor.submit(|| 1, ())?, executor.submit(|| 2, ())?];
/// let waited = wait(&calls, None, ReturnWhen::AllCompleted)?;
/// assert_eq!((waited.done.len(), waited.not_done.len()), (2, 0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`TaskError::WouldDeadlock`] on the library's own thread.
pub fn wait<R: Send + 'static>(
    futures: impl IntoIterator<Item = impl Borrow<Future<R>>>,
    timeout: impl Into<Option<Duration>>,
    when: ReturnWhen,
) -> Result<Waited<R>> {
    let deadline = timeout.into().and_then(after);
    let mut watch = Watch::new(futures);
    loop {
        // What has ended already is all there at the first look.
        while let Poll::Ready(Some(_)) = watch.next_until(Some(Instant::now()))? {}
        let is_enough = match when {
            ReturnWhen::FirstCompleted => watch.left < watch.futures.len(),
            ReturnWhen::FirstException => watch.has_failed,
            ReturnWhen::AllCompleted => false,
        };
        if is_enough || watch.left == 0 || watch.next_until(deadline)?.is_pending() {
            return Ok(watch.parted());
        }
    }
}

/// The futures as they end, those that have ended already first. One that is given twice
/// comes once. `timeout` is for all of them together.
///
/// Gives `Err` once, as the last item: [`Error::Unfinished`] when the time is up.
///
/// ```
/// use procession::ProcessPoolExecutor;
/// use procession::futures::as_completed;
///
/// # fn main() -> procession::Result<()> {
/// let executor = ProcessPoolExecutor::new(2)?;
/// let calls = [executor.submit(|| 1, ())?, executor.submit(|| 2, ())?];
/// let mut sum = 0;
/// for call in as_completed(&calls, None) {
///     sum += call?.result()?;
/// }
/// assert_eq!(sum, 3);
/// # Ok(())
/// # }
/// ```
pub fn as_completed<R: Send + 'static>(
    futures: impl IntoIterator<Item = impl Borrow<Future<R>>>,
    timeout: impl Into<Option<Duration>>,
) -> AsCompleted<R> {
    let deadline = timeout.into().and_then(after);
    AsCompleted { watch: Watch::new(futures), deadline, is_over: false }
}

/// Futures as they end; see [`as_completed`].
#[derive(Debug)]
pub struct AsCompleted<R> {
    watch: Watch<R>,
    deadline: Option<Instant>,
    is_over: bool,
}

impl<R: Send + 'static> AsCompleted<R> {
    /// The next one, without blocking the thread; `None` at the end. Takes no notice of the
    /// timeout.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next_async(&mut self) -> Option<Future<R>> {
        std::future::poll_fn(|context| self.watch.poll_next(context)).await
    }
}

impl<R: Send + 'static> Iterator for AsCompleted<R> {
    type Item = Result<Future<R>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = match self.watch.next_until(self.deadline) {
            Ok(Poll::Ready(next)) => next.map(Ok),
            Ok(Poll::Pending) => {
                let (unfinished, total) = (self.watch.left, self.watch.futures.len());
                Some(Err(Error::Unfinished { unfinished, total }))
            }
            Err(error) => Some(Err(error)),
        };
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Several futures, each of which is told once.
struct Watch<R> {
    futures: Vec<Watched<R>>,
    /// Dropped last: the waker in it is somebody's, and not for a future's lock.
    marks: Arc<Marks>,
    left: usize,
    /// Whether one of those that were told has ended in an error.
    has_failed: bool,
}

struct Watched<R> {
    future: Future<R>,
    waker: Waker,
    is_told: bool,
}

/// Which futures are to be looked at, and who looks.
#[derive(Default)]
struct Marks(Mutex<(VecDeque<usize>, Option<Waker>)>);

/// The waker of one future.
struct Mark {
    at: usize,
    marks: Arc<Marks>,
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiter = {
            let (marked, waiter) = &mut *lock(&self.marks.0);
            marked.push_back(self.at);
            waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl<R: Send + 'static> Watch<R> {
    fn new(given: impl IntoIterator<Item = impl Borrow<Future<R>>>) -> Self {
        let marks = Arc::<Marks>::default();
        let mut futures: Vec<Watched<R>> = Vec::new();
        let mut known = std::collections::HashSet::new();
        for future in given {
            let future = future.borrow();
            if known.insert(future.address()) {
                let mark = Mark { at: futures.len(), marks: marks.clone() };
                let waker = Waker::from(Arc::new(mark));
                futures.push(Watched { future: future.clone(), waker, is_told: false });
            }
        }
        lock(&marks.0).0.extend(0..futures.len());
        Self { left: futures.len(), futures, marks, has_failed: false }
    }

    /// The next one that has ended; `None` when all have been told.
    fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<Future<R>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        loop {
            let at = {
                let (marked, waiter) = &mut *lock(&self.marks.0);
                let Some(at) = marked.pop_front() else {
                    *waiter = Some(context.waker().clone());
                    return Poll::Pending;
                };
                at
            };
            let watched = &mut self.futures[at];
            if !watched.is_told && watched.future.poll_by(&watched.waker).is_ready() {
                watched.is_told = true;
                self.has_failed |= watched.future.has_failed();
                self.left -= 1;
                return Poll::Ready(Some(watched.future.clone()));
            }
        }
    }

    /// Pending when the deadline passed.
    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Poll<Option<Future<R>>>> {
        if hidden::is_current() {
            return Err(TaskError::WouldDeadlock.into());
        }
        let next = std::future::poll_fn(|context| self.poll_next(context));
        Ok(block_on_by(next, deadline).map_or(Poll::Pending, Poll::Ready))
    }

    fn parted(mut self) -> Waited<R> {
        let (done, not_done): (Vec<_>, Vec<_>) =
            self.futures.drain(..).partition(|watched| watched.is_told);
        let future = |watched: Watched<R>| watched.future.clone();
        let futures = |part: Vec<Watched<R>>| part.into_iter().map(future).collect();
        Waited { done: futures(done), not_done: futures(not_done) }
    }
}

/// The wait is over, for this one: it leaves nothing with a future that goes on.
impl<R> Drop for Watched<R> {
    fn drop(&mut self) {
        if !self.is_told {
            self.future.forget(&self.waker);
        }
    }
}

impl<R> fmt::Debug for Watch<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} futures", self.left, self.futures.len())
    }
}
