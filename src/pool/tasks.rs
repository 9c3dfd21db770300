//! `Tasks`: what can be done with a pool, on given terms.
//!
//! Owns the submitting of inputs in chunks, and the putting together of results. A chunk is one
//! task, of which each input is an item. Neighbour: `inputs.rs` draws and encodes them.

use super::callable::Callable;
use super::imap::{Imap, Then};
use super::inputs::{draw, input, input_alone, share};
use super::options::TaskOptions;
use super::progress::Progress;
use super::result::{AsyncResult, append, single};
use crate::error::Result;
use procession_runtime::pool::{
    Arguments, Core, HasJob, Job, Outcome, Request, TaskError, TaskFunction, TaskId, Want,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

/// A pool, and the terms on which tasks are submitted to it.
///
/// The functions are `fn` items or closures that capture nothing; those of `apply` and
/// `starmap` take up to eight arguments, as a tuple. The blocking calls read the workers'
/// answers in the calling thread.
#[derive(Clone)]
pub struct Tasks {
    core: Arc<Core>,
    options: TaskOptions,
}

impl Tasks {
    pub(crate) fn new(core: Arc<Core>, options: TaskOptions) -> Self {
        Self { core, options }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Runs one call in a worker and waits for its result.
    ///
    /// # Errors
    /// [`Error::Task`](crate::Error::Task): its own error, or that the pool takes no tasks.
    pub fn apply<F, A, R>(&self, function: F, args: A) -> Result<R>
    where
        F: Callable<A, Output = R>,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let job = Arc::new(Job::of_one());
        self.call(function, args, job.clone(), false)?;
        self.core.wait(&job, Want::All, None)?;
        Ok(single(job.take_one())?)
    }

    /// Runs one call in a worker; returns at once.
    ///
    /// # Errors
    /// [`Error::Task`](crate::Error::Task): its arguments cannot be encoded, or the pool takes no tasks.
    pub fn apply_async<F, A, R>(&self, function: F, args: A) -> Result<AsyncResult<R>>
    where
        F: Callable<A, Output = R>,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let job = Arc::new(Job::of_one());
        let task = self.call(function, args, job.clone(), true)?;
        Ok(AsyncResult::of_call(self.core.clone(), job, task))
    }

    /// Calls a function for each input, and gives the results in the order of the inputs
    /// when all are done.
    ///
    /// # Errors
    /// [`Error::Task`](crate::Error::Task) with the first error in the order of the inputs, once all others are
    /// done; an input that cannot be encoded ends the map at once. The pool stays usable.
    pub fn map<F, T, R>(&self, function: F, items: impl IntoIterator<Item = T>) -> Result<Vec<R>>
    where
        F: Callable<(T,), Output = R>,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.all(function.task(), items.into_iter().map(|item| Ok((item,))))
    }

    /// As [`map`](Self::map), for inputs that may fail: the first failure is the error.
    ///
    /// # Errors
    /// [`TaskError::Input`], and as [`map`](Self::map).
    pub fn try_map<F, T, E, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = std::result::Result<T, E>>,
    ) -> Result<Vec<R>>
    where
        F: Callable<(T,), Output = R>,
        T: Serialize + DeserializeOwned + 'static,
        E: fmt::Display,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.all(function.task(), items.into_iter().map(input_alone))
    }

    /// As [`map`](Self::map), for functions of several arguments.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn starmap<F, A, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>>
    where
        F: Callable<A, Output = R>,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.all(function.task(), items.into_iter().map(Ok))
    }

    /// As [`starmap`](Self::starmap), for inputs that may fail: the first failure is the error.
    ///
    /// # Errors
    /// [`TaskError::Input`], and as [`map`](Self::map).
    pub fn try_starmap<F, A, E, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = std::result::Result<A, E>>,
    ) -> Result<Vec<R>>
    where
        F: Callable<A, Output = R>,
        A: Serialize + DeserializeOwned + 'static,
        E: fmt::Display,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.all(function.task(), items.into_iter().map(input))
    }

    /// As [`map`](Self::map); each call gets its worker's state too, which the pool's
    /// [`initializer`](super::PoolBuilder::initializer) returned. After a panic the state is
    /// as the panic left it.
    ///
    /// ```
    /// use procession::Pool;
    ///
    /// # fn main() -> procession::Result<()> {
    /// let pool = Pool::builder().processes(2).initializer(|base: u64| vec![base], (10,)).build()?;
    /// let sums = pool.map_with_state(|base: &mut Vec<u64>, x: u64| base[0] + x, [1, 2])?;
    /// assert_eq!(sums, [11, 12]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TaskError::NoSuchState`], and as [`map`](Self::map).
    pub fn map_with_state<F, S, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Vec<R>>
    where
        F: Fn(&mut S, T) -> R + Copy + 'static,
        S: 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.all(TaskFunction::with_state(function), items.into_iter().map(Ok))
    }

    /// As [`map`](Self::map), but returns when all inputs are submitted.
    ///
    /// # Errors
    /// [`Error::Task`](crate::Error::Task): an input cannot be encoded, or the pool takes no tasks.
    pub fn map_async<F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<AsyncResult<Vec<R>>>
    where
        F: Callable<(T,), Output = R>,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        self.all_async(function.task(), items.into_iter().map(|item| Ok((item,))))
    }

    /// As [`map_async`](Self::map_async), for functions of several arguments.
    ///
    /// # Errors
    /// As [`map_async`](Self::map_async).
    pub fn starmap_async<F, A, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A>,
    ) -> Result<AsyncResult<Vec<R>>>
    where
        F: Callable<A, Output = R>,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        self.all_async(function.task(), items.into_iter().map(Ok))
    }

    /// Calls a function for each input, lazily: the results come in the order of the inputs,
    /// each an error in its place if it is one. Inputs are drawn only within `next`, a few
    /// for each worker ahead of the results that have been taken; so an endless iterator
    /// will do. When one panics no more are drawn; the results of those before it still come.
    ///
    /// ```
    /// use procession::Pool;
    ///
    /// # fn main() -> procession::Result<()> {
    /// let pool = Pool::new(2)?;
    /// let squares = pool.imap(|x: u64| x * x, 0..)?;
    /// let first: Result<Vec<_>, _> = squares.take(3).collect();
    /// assert_eq!(first?, [0, 1, 4]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a chunk size of 0.
    pub fn imap<'a, F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T, IntoIter: 'a>,
    ) -> Result<Imap<'a, R>>
    where
        F: Callable<(T,), Output = R>,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.lazy(function.task(), items.into_iter().map(|item| Ok((item,))), true)
    }

    /// As [`imap`](Self::imap), for functions of several arguments.
    ///
    /// # Errors
    /// As [`imap`](Self::imap).
    pub fn istarmap<'a, F, A, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A, IntoIter: 'a>,
    ) -> Result<Imap<'a, R>>
    where
        F: Callable<A, Output = R>,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.lazy(function.task(), items.into_iter().map(Ok), true)
    }

    /// As [`imap`](Self::imap), but the results come as they are ready.
    ///
    /// # Errors
    /// As [`imap`](Self::imap).
    pub fn imap_unordered<'a, F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T, IntoIter: 'a>,
    ) -> Result<Imap<'a, R>>
    where
        F: Callable<(T,), Output = R>,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.lazy(function.task(), items.into_iter().map(|item| Ok((item,))), false)
    }

    /// As [`imap`](Self::imap), for inputs that may fail: a failure is an error at its turn,
    /// and the last result. What had been drawn for the same chunk before it is lost.
    ///
    /// # Errors
    /// As [`imap`](Self::imap).
    pub fn try_imap<'a, F, T, E, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = std::result::Result<T, E>, IntoIter: 'a>,
    ) -> Result<Imap<'a, R>>
    where
        F: Callable<(T,), Output = R>,
        T: Serialize + DeserializeOwned + 'static,
        E: fmt::Display + 'a,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.lazy(function.task(), items.into_iter().map(input_alone), true)
    }

    /// As [`try_imap`](Self::try_imap), but the results come as they are ready; a failure of
    /// the inputs is the last of them.
    ///
    /// # Errors
    /// As [`imap`](Self::imap).
    pub fn try_imap_unordered<'a, F, T, E, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = std::result::Result<T, E>, IntoIter: 'a>,
    ) -> Result<Imap<'a, R>>
    where
        F: Callable<(T,), Output = R>,
        T: Serialize + DeserializeOwned + 'static,
        E: fmt::Display + 'a,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.lazy(function.task(), items.into_iter().map(input_alone), false)
    }

    pub(crate) fn call<F, A>(
        &self,
        function: F,
        args: A,
        job: Arc<dyn HasJob>,
        is_alone: bool,
    ) -> Result<TaskId>
    where
        F: Callable<A>,
        A: Serialize + 'static,
    {
        let args = Arguments::one(args).map_err(TaskError::from)?;
        let request = Request { function: function.task(), args, terms: self.options.terms() };
        Ok(self.core.submit(request, job, 0, is_alone)?)
    }

    fn all<T: Serialize + 'static, R: DeserializeOwned + 'static>(
        &self,
        function: TaskFunction,
        items: impl Iterator<Item = std::result::Result<T, TaskError>>,
    ) -> Result<Vec<R>> {
        let job = Job::new();
        let total = self.submit_all(function, items, &job, false)?.items;
        let mut all = Ok(Vec::with_capacity(usize::try_from(total).unwrap_or(0)));
        // Parts come in any order; each is decoded when it is its turn, while the workers
        // go on with others.
        let mut early: BTreeMap<u64, Outcome> = BTreeMap::new();
        let mut progress = Progress::new(self.options.progress, Some(&self.core), Some(total));
        let mut next = 0;
        while next < total {
            self.core.wait(&job, Want::Any, None)?;
            early.extend(job.take().into_iter().map(|outcome| (outcome.index, outcome)));
            while let Some(outcome) = early.remove(&next) {
                let items = u64::from(outcome.items);
                next += items;
                progress.done(items, append(&mut all, outcome));
            }
        }
        Ok(all?)
    }

    fn all_async<T: Serialize + 'static, R: DeserializeOwned + Send + 'static>(
        &self,
        function: TaskFunction,
        items: impl Iterator<Item = std::result::Result<T, TaskError>>,
    ) -> Result<AsyncResult<Vec<R>>> {
        let job = Job::new();
        let tasks = self.submit_all(function, items, &job, true)?.tasks;
        Ok(AsyncResult::of_map(self.core.clone(), job, tasks))
    }

    /// Submits all inputs, chunk by chunk. After an error nothing of them is begun any more.
    fn submit_all<T: Serialize + 'static>(
        &self,
        function: TaskFunction,
        items: impl Iterator<Item = std::result::Result<T, TaskError>>,
        job: &Arc<Job>,
        is_alone: bool,
    ) -> Result<Submitted> {
        let mut given = Submitted::default();
        let submitted = match (self.options.chunk()?, items.size_hint()) {
            (Some(size), _) => self.submit_chunks(function, items, size, job, is_alone, &mut given),
            (None, (least, Some(most))) if least == most => {
                let size = share(most, self.core.workers());
                self.submit_chunks(function, items, size, job, is_alone, &mut given)
            }
            // How many there are says only their end.
            (None, _) => {
                let items: Vec<_> = items.collect();
                let size = share(items.len(), self.core.workers());
                self.submit_chunks(function, items.into_iter(), size, job, is_alone, &mut given)
            }
        };
        if let Err(error) = submitted {
            self.core.withdraw(&given.tasks);
            return Err(error.into());
        }
        self.core.expect(job, given.tasks.len());
        Ok(given)
    }

    fn submit_chunks<T: Serialize + 'static>(
        &self,
        function: TaskFunction,
        mut items: impl Iterator<Item = std::result::Result<T, TaskError>>,
        size: usize,
        job: &Arc<Job>,
        is_alone: bool,
        given: &mut Submitted,
    ) -> std::result::Result<(), TaskError> {
        // A time limit holds while the next inputs are drawn, too.
        let is_alone = is_alone || self.options.terms().limit_ms.is_some();
        loop {
            let (args, then) = draw(&mut items, size, false);
            match then {
                Then::Failed(error) | Then::Unencodable(error) => return Err(error),
                Then::Panicked(panic) => {
                    self.core.withdraw(&given.tasks);
                    resume_unwind(panic)
                }
                Then::More | Then::End => {}
            }
            if let Some(args) = args {
                let (function, terms) = (function.clone(), self.options.terms());
                let count = args.count();
                let request = Request { function, args, terms };
                given.tasks.push(self.core.submit(request, job.clone(), given.items, is_alone)?);
                given.items += u64::from(count);
                // Workers that are done with the first chunks get the next ones.
                self.core.look()?;
            }
            if matches!(then, Then::End) {
                return Ok(());
            }
        }
    }

    fn lazy<'a, T: Serialize + 'static, R: DeserializeOwned + 'static>(
        &self,
        function: TaskFunction,
        mut items: impl Iterator<Item = std::result::Result<T, TaskError>> + 'a,
        is_ordered: bool,
    ) -> Result<Imap<'a, R>> {
        let size = self.options.chunk()?.unwrap_or(1);
        let total = match items.size_hint() {
            (least, Some(most)) if least == most => u64::try_from(most).ok(),
            _ => None,
        };
        let source = Box::new(move |most| match draw(&mut items, size.max(most), size == 1) {
            // What was drawn for the same chunk is lost, as in Python.
            (Some(_), then @ Then::Failed(_)) if size > 1 => (None, then),
            drawn => drawn,
        });
        let terms = self.options.terms();
        let mut imap = Imap::new(self.core.clone(), function, terms, source, is_ordered);
        if size == 1 && self.core.may_group() {
            imap.group();
        }
        imap.show(Progress::new(self.options.progress, Some(&self.core), total));
        Ok(imap)
    }
}

/// What has been submitted of a map.
#[derive(Default)]
struct Submitted {
    tasks: Vec<TaskId>,
    items: u64,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("options", &self.options).finish_non_exhaustive()
    }
}
