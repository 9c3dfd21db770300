//! `map` of an executor: many calls of one function, their results in order.
//!
//! Owns its options and the time limit that runs from its beginning. The drawing of inputs
//! and the order of results are the pool's lazy map's.

use crate::error::{Error, Result};
use crate::pool::{Callable, Imap, TaskOptions, Tasks};
use procession_runtime::sync::after;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How an executor's `map` goes about it; see
/// [`ProcessPoolExecutor::with`](super::ProcessPoolExecutor::with).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "options do nothing until an executor is asked with them"]
pub struct MapOptions {
    timeout: Option<Duration>,
    chunksize: Option<usize>,
    buffersize: Option<usize>,
}

impl MapOptions {
    /// No time limit, chunks of one input, all inputs drawn and submitted at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long it may take until the last result is taken, from the call of `map` on.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many inputs make one call of a worker.
    pub fn chunksize(mut self, chunksize: usize) -> Self {
        self.chunksize = Some(chunksize);
        self
    }

    /// How many chunks are under way, or done and not taken, at most: the next inputs are
    /// drawn as results are taken.
    pub fn buffersize(mut self, buffersize: usize) -> Self {
        self.buffersize = Some(buffersize);
        self
    }

    /// When it has to be done, how many chunks are ahead at most, and how inputs are cut.
    pub(crate) fn terms(self) -> Result<(Option<Instant>, usize, TaskOptions)> {
        let deadline = self.timeout.and_then(after);
        if self.buffersize == Some(0) {
            return Err(Error::Invalid("at least one chunk is under way"));
        }
        let options = TaskOptions::new().chunksize(self.chunksize.unwrap_or(1));
        Ok((deadline, self.buffersize.unwrap_or(usize::MAX), options))
    }
}

/// An executor's `map`, with options.
#[derive(Debug)]
pub struct Mapping<'e> {
    tasks: &'e Tasks,
    options: MapOptions,
}

impl<'e> Mapping<'e> {
    pub(super) fn new(tasks: &'e Tasks, options: MapOptions) -> Self {
        Self { tasks, options }
    }

    /// As [`ProcessPoolExecutor::map`](super::ProcessPoolExecutor::map).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a chunk size or a buffer size of 0.
    pub fn map<'a, F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T, IntoIter: 'a>,
    ) -> Result<MapResults<'a, R>>
    where
        F: Callable<(T,), Output = R>,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.begin(|tasks| tasks.imap(function, items))
    }

    /// As [`map`](Self::map), for functions of several arguments.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn starmap<'a, F, A, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A, IntoIter: 'a>,
    ) -> Result<MapResults<'a, R>>
    where
        F: Callable<A, Output = R>,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.begin(|tasks| tasks.istarmap(function, items))
    }

    fn begin<'a, R: DeserializeOwned + 'static>(
        &self,
        map: impl FnOnce(Tasks) -> Result<Imap<'a, R>>,
    ) -> Result<MapResults<'a, R>> {
        let (deadline, ahead, options) = self.options.terms()?;
        let results = map(Tasks::new(self.tasks.core().clone(), options))?;
        Ok(MapResults { results: results.ahead(ahead), deadline, is_over: false })
    }
}

/// The results of an executor's `map`, in the order of the inputs.
///
/// An input that fails is an error in its place, and the later results still come. When the
/// time is up [`Error::Timeout`] is the last item. Dropping it takes back what no worker has
/// begun.
pub struct MapResults<'a, R> {
    results: Imap<'a, R>,
    deadline: Option<Instant>,
    is_over: bool,
}

impl<R: DeserializeOwned + 'static> Iterator for MapResults<'_, R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = match self.results.next_until(self.deadline) {
            Ok(Poll::Ready(next)) => return next.map(|result| result.map_err(Error::from)),
            Ok(Poll::Pending) => Error::Timeout,
            Err(error) => error.into(),
        };
        self.is_over = true;
        Some(Err(next))
    }
}

impl<R> fmt::Debug for MapResults<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapResults").field("results", &self.results).finish_non_exhaustive()
    }
}
