//! `Imap` of a pool of threads: results as an iterator, inputs drawn as they are needed.
//!
//! Owns how far a lazy map looks ahead, and the order of its results.

use super::crew::Crew;
use super::stream::ImapStream;
use super::tasks::{Chunk, failures};
use crate::error::{Error, Result};
use crate::executor::Future;
use crate::pool::Progress;
use procession_runtime::pool::TaskError;
use procession_runtime::sync::after;
use procession_runtime::wait::block_on_by;
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// So many chunks for each thread are under way or wait for their turn, at most.
const LOOK_AHEAD: usize = 4;

/// Inputs that take longer than this to be drawn hold up no result.
const SLOW: Duration = Duration::from_millis(1);

/// The results of a lazy map; see [`Tasks::imap`](super::Tasks::imap).
///
/// After an error the later results still come. Dropping it takes back what has not begun.
pub struct Imap<'a, R: Send + 'static> {
    crew: Arc<Crew>,
    source: Source<'a, R>,
    is_ordered: bool,
    is_drawn: bool,
    most: usize,
    ahead: VecDeque<Future<Chunk<R>>>,
    /// What the inputs failed with: the last result.
    failure: Option<TaskError>,
    ready: VecDeque<std::result::Result<R, TaskError>>,
    progress: Progress,
    /// Until when who waits now does so.
    deadline: Option<Instant>,
    /// Whether it could not be waited for: the iterator ends with that.
    is_over: bool,
}

/// Submits the next chunk, if there is one, and says how it went on.
pub(super) type Source<'a, R> = Box<dyn FnMut() -> (Option<Future<Chunk<R>>>, Then) + 'a>;

/// How the drawing of inputs went on.
pub(super) enum Then {
    More,
    /// The inputs failed, or nothing can be submitted; there are no more.
    Failed(TaskError),
    /// They panicked, which goes on in the caller; there are no more.
    Panicked(Box<dyn Any + Send>),
    End,
}

impl<'a, R: Send + 'static> Imap<'a, R> {
    pub(super) fn new(
        crew: Arc<Crew>,
        source: Source<'a, R>,
        is_ordered: bool,
        progress: Progress,
    ) -> Self {
        let most = crew.most().saturating_mul(LOOK_AHEAD);
        Self {
            crew,
            source,
            is_ordered,
            is_drawn: false,
            most,
            ahead: VecDeque::new(),
            failure: None,
            ready: VecDeque::new(),
            progress,
            deadline: None,
            is_over: false,
        }
    }

    /// The same with so many chunks ahead, which are submitted now.
    pub(super) fn ahead(mut self, most: usize) -> Self {
        self.most = most;
        while self.fill() {}
        self
    }

    /// The next result, if it comes within `timeout`; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Timeout`], after which the same result is still to come.
    pub fn next_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<std::result::Result<R, TaskError>>> {
        match self.next_until(after(timeout))? {
            Poll::Ready(next) => Ok(next),
            Poll::Pending => Err(Error::Timeout),
        }
    }

    /// The next result, without blocking the thread; `None` at the end. Works on any
    /// executor.
    ///
    /// # Errors
    /// The item of the result: [`TaskError`], why its task failed. The later ones still come.
    ///
    /// # Cancel safety
    /// Dropping the future loses no result.
    pub async fn next_async(&mut self) -> Option<std::result::Result<R, TaskError>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// The same results as an async stream, on any executor.
    ///
    /// ```
    /// use futures_core::Stream;
    /// use procession::dummy::Pool;
    /// use std::{future::poll_fn, pin::Pin};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> procession::Result<()> {
    /// let pool = Pool::new(2)?;
    /// let mut squares = pool.imap(|x: u64| x * x, 0..3)?.into_stream();
    /// let mut sum = 0;
    /// while let Some(square) = poll_fn(|cx| Pin::new(&mut squares).poll_next(cx)).await {
    ///     sum += square?;
    /// }
    /// assert_eq!(sum, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_stream(self) -> ImapStream<'a, R> {
        ImapStream::new(self)
    }

    /// Pending when the deadline passed.
    pub(super) fn next_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Poll<Option<std::result::Result<R, TaskError>>>> {
        if self.crew.is_member() {
            return Err(TaskError::WouldDeadlock.into());
        }
        self.deadline = deadline;
        let next = std::future::poll_fn(|context| self.poll_some(context));
        Ok(block_on_by(next, deadline).map_or(Poll::Pending, Poll::Ready))
    }

    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<R, TaskError>>> {
        self.deadline = None;
        self.poll_some(context)
    }

    fn poll_some(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<R, TaskError>>> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Poll::Ready(Some(next));
            }
            while self.fill() && !self.is_late() && !self.has_ready() {}
            if self.ahead.is_empty() {
                return Poll::Ready(self.failure.take().map(Err));
            }
            let candidates = if self.is_ordered { 1 } else { self.ahead.len() };
            let mut is_done = |at: &usize| self.ahead[*at].poll_done(context).is_ready();
            let Some(at) = (0..candidates).find(&mut is_done) else { return Poll::Pending };
            match self.ahead.remove(at).map(|part| part.result()) {
                Some(Ok(chunk)) => {
                    self.progress.done(chunk.len() as u64, failures(&chunk));
                    self.ready.extend(chunk);
                }
                Some(Err(Error::Task(error))) => self.ready.push_back(Err(error)),
                Some(Err(other)) => {
                    self.ready.push_back(Err(TaskError::Failed(other.to_string())));
                }
                None => {}
            }
        }
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Whether a result is there to be given.
    fn has_ready(&self) -> bool {
        let candidates = if self.is_ordered { 1 } else { self.ahead.len() };
        self.ahead.iter().take(candidates).any(Future::done)
    }

    /// Draws inputs and submits them, as far ahead as it may look. True when there may be more,
    /// which are slow to come.
    fn fill(&mut self) -> bool {
        while !self.is_drawn && self.ahead.len() < self.most {
            let begun = Instant::now();
            let (part, then) = (self.source)();
            self.ahead.extend(part);
            self.is_drawn = !matches!(then, Then::More);
            match then {
                Then::More | Then::End => {}
                Then::Failed(error) => self.failure = Some(error),
                Then::Panicked(panic) => resume_unwind(panic),
            }
            if begun.elapsed() >= SLOW {
                return true;
            }
        }
        false
    }
}

impl<R: Send + 'static> Iterator for Imap<'_, R> {
    type Item = std::result::Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.next_until(None) {
            Ok(Poll::Ready(next)) => next,
            // Without a deadline there is always a next one, or the end.
            Ok(Poll::Pending) => None,
            Err(error) => {
                self.is_over = true;
                Some(Err(match error {
                    Error::Task(error) => error,
                    other => TaskError::Failed(other.to_string()),
                }))
            }
        }
    }
}

impl<R: Send + 'static> Drop for Imap<'_, R> {
    fn drop(&mut self) {
        for part in &self.ahead {
            part.cancel();
        }
    }
}

impl<R: Send + 'static> fmt::Debug for Imap<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Imap<{}>({} chunks ahead)", std::any::type_name::<R>(), self.ahead.len())
    }
}
