//! `Imap`: results as an iterator, inputs drawn as they are needed.
//!
//! Owns how far a lazy map looks ahead, and the order of its results. Inputs are drawn
//! within `next` only.

use crate::error::{Error, Result};
use procession_runtime::codec::Encoded;
use procession_runtime::pool::{
    AHEAD, Core, Job, Outcome, Request, TaskError, TaskFunction, TaskId, Terms, Want, items,
};
use procession_runtime::sync::after;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// By default so many tasks for each worker are under way or wait for their turn, at most.
const LOOK_AHEAD: usize = 2 * (1 + AHEAD);

/// The results of a lazy map; see [`Tasks::imap`](super::Tasks::imap).
///
/// After an error the later results still come. Dropping it takes back what no worker has
/// been sent yet.
pub struct Imap<'a, R> {
    core: Arc<Core>,
    job: Arc<Job>,
    function: TaskFunction,
    terms: Terms,
    source: Box<dyn FnMut() -> Chunk + 'a>,
    is_ordered: bool,
    is_drawn: bool,
    /// So many tasks are under way or wait for their turn, at most.
    most: u64,
    /// Whether they are to go on though nobody waits.
    is_alone: bool,
    /// How many tasks have been made, and how many of them have been taken apart.
    made: u64,
    taken: u64,
    /// Those that came before their turn.
    early: BTreeMap<u64, Outcome>,
    under_way: HashMap<u64, TaskId>,
    ready: VecDeque<std::result::Result<R, TaskError>>,
}

/// The next inputs.
pub(super) enum Chunk {
    Full {
        items: u32,
        args: Encoded,
    },
    Unencodable {
        items: u32,
        error: TaskError,
    },
    /// The inputs failed, and there are no more.
    Failed(TaskError),
    End,
}

impl<'a, R: DeserializeOwned> Imap<'a, R> {
    pub(super) fn new(
        core: Arc<Core>,
        function: TaskFunction,
        terms: Terms,
        source: Box<dyn FnMut() -> Chunk + 'a>,
        is_ordered: bool,
    ) -> Self {
        let most = (core.workers() * LOOK_AHEAD) as u64;
        Self {
            core,
            job: Job::new(),
            function,
            terms,
            source,
            is_ordered,
            is_drawn: false,
            most,
            is_alone: false,
            made: 0,
            taken: 0,
            early: BTreeMap::new(),
            under_way: HashMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// The same with so many tasks ahead, which are submitted now and go on by themselves.
    pub(crate) fn ahead(mut self, most: u64) -> Self {
        self.most = most;
        self.is_alone = true;
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
    /// # Cancel safety
    /// Dropping the future loses no result.
    pub async fn next_async(&mut self) -> Option<std::result::Result<R, TaskError>> {
        loop {
            if let Poll::Ready(next) = self.advance() {
                return next;
            }
            std::future::poll_fn(|context| self.core.poll_wait(&self.job, Want::Any, context))
                .await;
        }
    }

    /// Pending when the deadline passed.
    pub(crate) fn next_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> std::result::Result<Poll<Option<std::result::Result<R, TaskError>>>, TaskError> {
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
        if self.is_drawn && self.taken == self.made { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Draws inputs and submits them, as far ahead as it may look.
    fn fill(&mut self) {
        while !self.is_drawn && self.made - self.taken < self.most {
            let index = self.made;
            let (items, submitted) = match (self.source)() {
                Chunk::Full { items, args } => {
                    let (function, terms) = (self.function, self.terms);
                    let request = Request { function, items, args, terms };
                    let is_alone = self.is_alone || terms.limit_ms.is_some();
                    (items, self.core.submit(request, &self.job, index, is_alone))
                }
                Chunk::Unencodable { items, error } => (items, Err(error)),
                Chunk::Failed(error) => {
                    self.is_drawn = true;
                    (1, Err(error))
                }
                Chunk::End => {
                    self.is_drawn = true;
                    return;
                }
            };
            self.made += 1;
            match submitted {
                Ok(task) => drop(self.under_way.insert(index, task)),
                Err(error) => {
                    // A pool that takes no tasks will not take the next one either.
                    self.is_drawn |= matches!(error, TaskError::NotRunning | TaskError::Broken(_));
                    let _ = self.early.insert(index, Outcome { index, items, result: Err(error) });
                }
            }
        }
    }

    fn receive(&mut self) {
        for outcome in self.job.take() {
            self.under_way.remove(&outcome.index);
            self.early.insert(outcome.index, outcome);
        }
    }

    /// Decodes what has its turn.
    fn take_apart(&mut self) {
        while let Some(entry) = self.early.first_entry() {
            if self.is_ordered && *entry.key() != self.taken {
                return;
            }
            let Outcome { items: count, result, .. } = entry.remove();
            self.taken += 1;
            let before = self.ready.len();
            let decoded =
                result.and_then(|results| items(results, count, |item| self.ready.push_back(item)));
            if let Err(error) = decoded {
                let missing = count as usize - (self.ready.len() - before);
                self.ready.extend((0..missing).map(|_| Err(error.clone())));
            }
        }
    }
}

impl<R: DeserializeOwned> Iterator for Imap<'_, R> {
    type Item = std::result::Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_until(None) {
            Ok(Poll::Ready(next)) => next,
            // Without a deadline there is always a next one, or the end.
            Ok(Poll::Pending) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl<R> Drop for Imap<'_, R> {
    fn drop(&mut self) {
        let tasks: Vec<_> = self.under_way.values().copied().collect();
        self.core.withdraw(&tasks);
    }
}

impl<R> fmt::Debug for Imap<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Imap<{}>({} of {} taken)", std::any::type_name::<R>(), self.taken, self.made)
    }
}
