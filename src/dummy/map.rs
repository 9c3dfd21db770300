//! `map` of an executor of threads: its options, and the time limit from its beginning on.
//!
//! Owns what [`Mapping`](crate::futures::Mapping) of processes has too. Neighbour: `imap`, which
//! draws the inputs and keeps the order.

use super::imap::Imap;
use super::tasks::Tasks;
use crate::error::{Error, Result};
use crate::executor::MapOptions;
use procession_runtime::function::Entry;
use std::fmt;
use std::task::Poll;
use std::time::Instant;

/// The `map` of an executor of threads, with options.
#[derive(Debug)]
pub struct Mapping<'e> {
    tasks: &'e Tasks,
    options: MapOptions,
}

impl<'e> Mapping<'e> {
    pub(super) fn new(tasks: &'e Tasks, options: MapOptions) -> Self {
        Self { tasks, options }
    }

    /// As [`ThreadPoolExecutor::map`](super::ThreadPoolExecutor::map).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a chunk size or a buffer size of 0.
    pub fn map<'a, F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T, IntoIter: 'a>,
    ) -> Result<MapResults<'a, R>>
    where
        F: Entry<(T,), Output = R> + Clone + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
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
        F: Entry<A, Output = R> + Clone + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.begin(|tasks| tasks.istarmap(function, items))
    }

    fn begin<'a, R: Send + 'static>(
        &self,
        map: impl FnOnce(Tasks) -> Result<Imap<'a, R>>,
    ) -> Result<MapResults<'a, R>> {
        let (deadline, ahead, options) = self.options.terms()?;
        let results = map(self.tasks.on(options))?;
        Ok(MapResults { results: results.ahead(ahead), deadline, is_over: false })
    }
}

/// The results of such a `map`, in the order of the inputs.
///
/// An input that fails is an error in its place, and the later results still come. When the
/// time is up [`Error::Timeout`] is the last item. Dropping it takes back what has not begun.
pub struct MapResults<'a, R: Send + 'static> {
    results: Imap<'a, R>,
    deadline: Option<Instant>,
    is_over: bool,
}

impl<R: Send + 'static> Iterator for MapResults<'_, R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let last = match self.results.next_until(self.deadline) {
            Ok(Poll::Ready(next)) => return next.map(|result| result.map_err(Error::from)),
            Ok(Poll::Pending) => Error::Timeout,
            Err(error) => error,
        };
        self.is_over = true;
        Some(Err(last))
    }
}

impl<R: Send + 'static> fmt::Debug for MapResults<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapResults").field("results", &self.results).finish_non_exhaustive()
    }
}
