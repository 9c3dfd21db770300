//! `Imap`: results as an iterator, inputs drawn as they are needed.
//!
//! Owns how far a lazy map looks ahead, and the order of its results. Inputs are drawn
//! within `next` only.

use super::progress::Progress;
use super::stream::ImapStream;
use crate::error::{Error, Result};
use procession_runtime::pool::{
    Arguments, Core, Job, MOST_AHEAD, Outcome, Request, TaskError, TaskFunction, TaskId, Terms,
    Want, items,
};
use procession_runtime::seat::Seat;
use procession_runtime::sync::after;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// So many chunks for each worker are under way or wait for their turn, at most.
const LOOK_AHEAD: usize = MOST_AHEAD / 2;

/// As long as nothing says that they are short, so many.
const FIRST_LOOK_AHEAD: usize = 4;

/// Inputs that take longer than this to be drawn are sent on by themselves.
const SLOW: Duration = Duration::from_millis(1);

/// Short ones take a worker less than this.
const SHORT: Duration = Duration::from_micros(100);

/// What a worker has ahead of it is at least so many tasks, where single inputs are put
/// together in one, so that there is something to be shared out.
const GROUPS: usize = 8;

/// The results of a lazy map; see [`Tasks::imap`](super::Tasks::imap).
///
/// After an error the later results still come. Dropping it takes back what no worker has
/// been sent yet.
pub struct Imap<'a, R> {
    core: Arc<Core>,
    job: Arc<Job>,
    seat: Seat,
    function: TaskFunction,
    terms: Terms,
    source: Source<'a>,
    is_ordered: bool,
    is_drawn: bool,
    /// Whether chunks are single inputs, of which a task may have several.
    is_grouped: bool,
    /// So many chunks are under way or wait for their turn, at most.
    most: usize,
    /// When results came last.
    received: Instant,
    /// Until when who waits now does so.
    deadline: Option<Instant>,
    /// Whether they are to go on though nobody waits.
    is_alone: bool,
    /// How many are.
    open: usize,
    /// How many inputs have been drawn, and how many of their results have been decoded.
    drawn: u64,
    taken: u64,
    /// Those that came before their turn.
    early: BTreeMap<u64, Outcome>,
    /// The place of what the inputs failed with: the last result, in order or not.
    failure: Option<u64>,
    /// The tasks by their first inputs.
    under_way: BTreeMap<u64, TaskId>,
    ready: VecDeque<std::result::Result<R, TaskError>>,
    progress: Option<Progress>,
    /// Whether it could not be waited for: the iterator ends with that.
    is_over: bool,
}

/// Draws inputs for one task: a chunk, or as many single ones as it is told.
type Source<'a> = Box<dyn FnMut(usize) -> (Option<Arguments>, Then) + 'a>;

/// What comes after the inputs that were drawn.
pub(super) enum Then {
    More,
    /// One that could not be encoded.
    Unencodable(TaskError),
    /// The inputs failed, and there are no more.
    Failed(TaskError),
    /// They panicked, which goes on in the caller; there are no more.
    Panicked(Box<dyn Any + Send>),
    End,
}

impl<'a, R: DeserializeOwned + 'static> Imap<'a, R> {
    pub(super) fn new(
        core: Arc<Core>,
        function: TaskFunction,
        terms: Terms,
        source: Source<'a>,
        is_ordered: bool,
    ) -> Self {
        let most = core.workers().saturating_mul(FIRST_LOOK_AHEAD);
        Self {
            core,
            job: Job::new(),
            seat: Seat::default(),
            function,
            terms,
            source,
            is_ordered,
            is_drawn: false,
            is_grouped: false,
            most,
            received: Instant::now(),
            deadline: None,
            is_alone: false,
            open: 0,
            drawn: 0,
            taken: 0,
            early: BTreeMap::new(),
            failure: None,
            under_way: BTreeMap::new(),
            ready: VecDeque::new(),
            progress: None,
            is_over: false,
        }
    }

    /// Shows how far it is.
    pub(super) fn show(&mut self, progress: Progress) {
        self.progress = Some(progress);
    }

    /// Lets a task have several inputs, each of which is a chunk of its own.
    pub(super) fn group(&mut self) {
        self.is_grouped = true;
    }

    /// The same with so many chunks ahead, which are submitted now and go on by themselves.
    pub(crate) fn ahead(mut self, most: usize) -> Self {
        self.most = most;
        self.is_alone = true;
        self.is_grouped = false;
        self.fill();
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
    /// use procession::Pool;
    /// use std::{future::poll_fn, pin::Pin};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> procession::Result<()> {
    /// let pool = Pool::new(2)?;
    /// let mut squares = pool.imap(|x: u64| x * x, 0..3)?.into_stream();
    /// let mut sum = 0;
    /// // As `squares.next()` of futures' StreamExt.
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

    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<R, TaskError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.deadline = None;
        loop {
            let next = self.advance();
            if next.is_ready() {
                return next;
            }
            let waker = self.seat.waker(context);
            let context = &mut Context::from_waker(&waker);
            if let Err(error) = ready!(self.core.poll_wait(&self.job, Want::Any, context)) {
                self.is_over = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Pending when the deadline passed.
    pub(crate) fn next_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> std::result::Result<Poll<Option<std::result::Result<R, TaskError>>>, TaskError> {
        self.deadline = deadline;
        loop {
            let next = self.advance();
            if next.is_ready() || !self.core.wait(&self.job, Want::Any, deadline)? {
                return Ok(next);
            }
        }
    }

    /// The next result or the end, if it is there.
    fn advance(&mut self) -> Poll<Option<std::result::Result<R, TaskError>>> {
        if self.ready.is_empty() {
            self.receive();
            self.fill();
            self.take_apart();
        }
        if let Some(next) = self.ready.pop_front() {
            return Poll::Ready(Some(next));
        }
        if self.is_drawn && self.taken == self.drawn { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Draws inputs and submits them, as far ahead as it may look. They go out together, unless
    /// they are slow to come: then workers do not wait for the next ones, nor do results.
    fn fill(&mut self) {
        let mut requests = Vec::new();
        let mut begun = Instant::now();
        let groups = self.core.workers().saturating_mul(GROUPS);
        let group = if self.is_grouped { (self.most / groups).max(1) } else { 1 };
        while !self.is_drawn && self.most.saturating_sub(self.open) >= group {
            let (args, then) = (self.source)(group);
            if let Some(args) = args {
                let (function, terms) = (self.function.clone(), self.terms);
                let (index, count) = (self.drawn, args.count());
                self.drawn += u64::from(count);
                self.open += if self.is_grouped { count as usize } else { 1 };
                requests.push((index, count, Request { function, args, terms }));
            }
            match then {
                Then::More => {}
                Then::Unencodable(error) => self.fail(error),
                Then::Failed(error) => {
                    self.is_drawn = true;
                    self.failure = Some(self.drawn);
                    self.fail(error);
                }
                Then::Panicked(panic) => {
                    self.is_drawn = true;
                    self.submit(requests);
                    resume_unwind(panic)
                }
                Then::End => self.is_drawn = true,
            }
            if begun.elapsed() >= SLOW {
                self.submit(std::mem::take(&mut requests));
                let is_late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
                if is_late || !self.is_alone && self.has_ready() {
                    return;
                }
                begun = Instant::now();
            }
        }
        self.submit(requests);
    }

    /// Looks whether there is a result to be given.
    fn has_ready(&mut self) -> bool {
        // What it cannot see, a wait tells.
        let _ = self.core.look();
        self.receive();
        self.take_apart();
        !self.ready.is_empty()
    }

    /// Submits what was drawn, each with its place and its number of inputs.
    fn submit(&mut self, requests: Vec<(u64, u32, Request)>) {
        if requests.is_empty() {
            return;
        }
        let is_alone = self.is_alone || self.terms.limit_ms.is_some();
        let places: Vec<_> = requests.iter().map(|(index, count, _)| (*index, *count)).collect();
        let requests = requests.into_iter().map(|(index, _, request)| (index, request));
        let submitted = self.core.submit_all(requests, &self.job, is_alone);
        for ((index, items), task) in places.into_iter().zip(submitted) {
            match task {
                Ok(task) => drop(self.under_way.insert(index, task)),
                Err(error) => {
                    // A pool that takes no tasks will not take the next one either.
                    self.is_drawn |= matches!(error, TaskError::NotRunning | TaskError::Broken(_));
                    let outcome = Outcome { index, items, is_last: true, result: Err(error) };
                    self.early.insert(index, outcome);
                }
            }
        }
    }

    /// An input that was drawn is an error at its turn.
    fn fail(&mut self, error: TaskError) {
        let index = self.drawn;
        self.drawn += 1;
        self.open += 1;
        let outcome = Outcome { index, items: 1, is_last: true, result: Err(error) };
        self.early.insert(index, outcome);
    }

    fn receive(&mut self) {
        let outcomes = self.job.take();
        let mut ended = 0;
        for outcome in &outcomes {
            ended += self.chunks(outcome);
            if outcome.is_last {
                // It may be any part of its task.
                let task = self.under_way.range(..=outcome.index).next_back();
                let first = task.map(|(first, _)| *first);
                first.and_then(|first| self.under_way.remove(&first));
            }
        }
        if ended > 0 && !self.is_alone {
            self.keep_pace(ended);
        }
        self.early.extend(outcomes.into_iter().map(|outcome| (outcome.index, outcome)));
    }

    /// How many chunks an outcome ends.
    fn chunks(&self, outcome: &Outcome) -> usize {
        if self.is_grouped { outcome.items as usize } else { usize::from(outcome.is_last) }
    }

    /// So many chunks were done since the last time. As long as they are short it looks
    /// further ahead.
    fn keep_pace(&mut self, ended: usize) {
        let workers = self.core.workers();
        let now = Instant::now();
        let took = now - std::mem::replace(&mut self.received, now);
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        if took.saturating_mul(count(workers)) < SHORT.saturating_mul(count(ended)) {
            self.most = self.most.saturating_mul(2).min(workers.saturating_mul(LOOK_AHEAD));
        } else {
            self.most = (self.most / 2).max(workers.saturating_mul(FIRST_LOOK_AHEAD));
        }
    }

    /// Decodes what has its turn.
    fn take_apart(&mut self) {
        while let Some(entry) = self.early.first_entry() {
            let waits_its_turn = self.is_ordered || self.failure == Some(*entry.key());
            if waits_its_turn && *entry.key() != self.taken {
                return;
            }
            let outcome = entry.remove();
            self.open -= self.chunks(&outcome);
            let Outcome { items: count, result, .. } = outcome;
            self.taken += u64::from(count);
            let before = self.ready.len();
            let decoded =
                result.and_then(|results| items(results, count, |item| self.ready.push_back(item)));
            if let Err(error) = decoded {
                let missing = count as usize - (self.ready.len() - before);
                self.ready.extend((0..missing).map(|_| Err(error.clone())));
            }
            if let Some(progress) = &mut self.progress {
                let failed = self.ready.range(before..).filter(|item| item.is_err()).count();
                progress.done(u64::from(count), failed as u64);
            }
        }
    }
}

impl<R: DeserializeOwned + 'static> Iterator for Imap<'_, R> {
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
                Some(Err(error))
            }
        }
    }
}

impl<R> Drop for Imap<'_, R> {
    fn drop(&mut self) {
        if let Some(waker) = self.seat.taken() {
            self.job.forget(waker);
        }
        let tasks: Vec<_> = self.under_way.values().copied().collect();
        self.core.withdraw(&tasks);
    }
}

impl<R> fmt::Debug for Imap<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Imap<{}>({} of {} taken)", std::any::type_name::<R>(), self.taken, self.drawn)
    }
}
