//! What can be done with a pool of threads.
//!
//! Owns the cutting of inputs into chunks and the putting together of results. The methods
//! and their order of results are those of [`Tasks`](crate::Tasks) of processes.

use super::crew::{Call, Crew};
use super::imap::{Imap, Then};
use super::result::{AsyncResult, Cancel};
use crate::error::{Error, Result};
use crate::executor::{Future, Promise};
use crate::pool::{Progress, TaskOptions, share};
use procession_runtime::function::Entry;
use procession_runtime::panic::catch;
use procession_runtime::pool::TaskError;
use procession_runtime::sync::lock;
use std::any::{Any, type_name};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

/// The results of a chunk.
pub(super) type Chunk<R> = Vec<std::result::Result<R, TaskError>>;

/// A pool of threads, and the terms on which tasks are submitted to it.
///
/// The functions may capture. A task that waits for another one of its own pool gets
/// [`TaskError::WouldDeadlock`].
#[derive(Clone)]
pub struct Tasks {
    crew: Arc<Crew>,
    callbacks: Arc<Crew>,
    options: TaskOptions,
}

impl Tasks {
    pub(super) fn new(crew: Arc<Crew>, callbacks: Arc<Crew>, options: TaskOptions) -> Self {
        Self { crew, callbacks, options }
    }

    /// The same pool, on other terms.
    pub(super) fn on(&self, options: TaskOptions) -> Self {
        Self { options, ..self.clone() }
    }

    pub(super) fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    pub(super) fn callbacks(&self) -> &Arc<Crew> {
        &self.callbacks
    }

    /// Runs one call in a thread of the pool and waits for its result.
    ///
    /// # Errors
    /// [`Error::Task`]: its own error, or that the pool takes no tasks.
    pub fn apply<F, A, R>(&self, function: F, args: A) -> Result<R>
    where
        F: Entry<A, Output = R> + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.may_wait()?;
        self.apply_async(function, args)?.get()
    }

    /// Runs one call in a thread of the pool; returns at once.
    ///
    /// # Errors
    /// [`Error::Task`]: the pool takes no tasks.
    pub fn apply_async<F, A, R>(&self, function: F, args: A) -> Result<AsyncResult<R>>
    where
        F: Entry<A, Output = R> + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.options.check_for_threads()?;
        let (call, future) = Call::new(move |_: &mut dyn Any| Ok(function.call(args)));
        self.crew.give(call)?;
        let cancels = vec![cancel(&future)];
        Ok(AsyncResult::new(self.crew.clone(), self.callbacks.clone(), future, cancels))
    }

    /// Calls a function for each input, and gives the results in the order of the inputs
    /// when all are done.
    ///
    /// # Errors
    /// [`Error::Task`] with the first error in the order of the inputs, once all others are
    /// done.
    pub fn map<F, T, R>(&self, function: F, items: impl IntoIterator<Item = T>) -> Result<Vec<R>>
    where
        F: Entry<(T,), Output = R> + Clone + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        self.all(items.into_iter().collect(), move |_, item| Ok(function.call((item,))))
    }

    /// As [`map`](Self::map), for inputs that may fail: the first failure ends it.
    ///
    /// # Errors
    /// [`TaskError::Input`], and as [`map`](Self::map).
    pub fn try_map<F, T, E, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = std::result::Result<T, E>>,
    ) -> Result<Vec<R>>
    where
        F: Entry<(T,), Output = R> + Clone + Send + 'static,
        T: Send + 'static,
        E: fmt::Display,
        R: Send + 'static,
    {
        let items: std::result::Result<_, E> = items.into_iter().collect();
        let items = items.map_err(|error| TaskError::Input(error.to_string()))?;
        self.all(items, move |_, item| Ok(function.call((item,))))
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
        F: Entry<A, Output = R> + Clone + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.all(items.into_iter().collect(), move |_, args| Ok(function.call(args)))
    }

    /// As [`starmap`](Self::starmap), for inputs that may fail: the first failure ends it.
    ///
    /// # Errors
    /// [`TaskError::Input`], and as [`map`](Self::map).
    pub fn try_starmap<F, A, E, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = std::result::Result<A, E>>,
    ) -> Result<Vec<R>>
    where
        F: Entry<A, Output = R> + Clone + Send + 'static,
        A: Send + 'static,
        E: fmt::Display,
        R: Send + 'static,
    {
        let items: std::result::Result<_, E> = items.into_iter().collect();
        let items = items.map_err(|error| TaskError::Input(error.to_string()))?;
        self.all(items, move |_, args| Ok(function.call(args)))
    }

    /// As [`map`](Self::map); each call gets its thread's state too, which the pool's
    /// initializer returned.
    ///
    /// # Errors
    /// [`TaskError::NoSuchState`], and as [`map`](Self::map).
    pub fn map_with_state<F, S, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Vec<R>>
    where
        F: Fn(&mut S, T) -> R + Clone + Send + 'static,
        S: 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        self.all(items.into_iter().collect(), move |state, item| match state.downcast_mut() {
            Some(state) => Ok(function(state, item)),
            None => Err(TaskError::NoSuchState { wanted: type_name::<S>().into() }),
        })
    }

    /// As [`map`](Self::map), but returns when all inputs are submitted.
    ///
    /// # Errors
    /// [`Error::Task`]: the pool takes no tasks.
    pub fn map_async<F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<AsyncResult<Vec<R>>>
    where
        F: Entry<(T,), Output = R> + Clone + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        self.all_async(items.into_iter().collect(), move |_, item| Ok(function.call((item,))))
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
        F: Entry<A, Output = R> + Clone + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.all_async(items.into_iter().collect(), move |_, args| Ok(function.call(args)))
    }

    /// Calls a function for each input, lazily: the results come in the order of the inputs,
    /// each an error in its place if it is one. Inputs are drawn only within `next`, a few
    /// for each thread ahead of the results that have been taken.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a chunk size of 0.
    pub fn imap<'a, F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T, IntoIter: 'a>,
    ) -> Result<Imap<'a, R>>
    where
        F: Entry<(T,), Output = R> + Clone + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        let call = move |_: &mut dyn Any, item| Ok(function.call((item,)));
        self.lazy(items.into_iter().map(Ok), call, true)
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
        F: Entry<A, Output = R> + Clone + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.lazy(items.into_iter().map(Ok), move |_, args| Ok(function.call(args)), true)
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
        F: Entry<(T,), Output = R> + Clone + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        let call = move |_: &mut dyn Any, item| Ok(function.call((item,)));
        self.lazy(items.into_iter().map(Ok), call, false)
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
        F: Entry<(T,), Output = R> + Clone + Send + 'static,
        T: Send + 'static,
        E: fmt::Display + 'a,
        R: Send + 'static,
    {
        let call = move |_: &mut dyn Any, item| Ok(function.call((item,)));
        self.lazy(items.into_iter().map(|item| item.map_err(|e| e.to_string())), call, true)
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
        F: Entry<(T,), Output = R> + Clone + Send + 'static,
        T: Send + 'static,
        E: fmt::Display + 'a,
        R: Send + 'static,
    {
        let call = move |_: &mut dyn Any, item| Ok(function.call((item,)));
        self.lazy(items.into_iter().map(|item| item.map_err(|e| e.to_string())), call, false)
    }

    fn may_wait(&self) -> Result<()> {
        if self.crew.is_member() { Err(TaskError::WouldDeadlock.into()) } else { Ok(()) }
    }

    fn all<T, R, C>(&self, items: Vec<T>, call: C) -> Result<Vec<R>>
    where
        C: Fn(&mut dyn Any, T) -> std::result::Result<R, TaskError> + Clone + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        self.may_wait()?;
        let total = u64::try_from(items.len()).ok();
        let parts = self.submit_all(items, &call)?;
        let mut progress = Progress::new(self.options.progress, None, total);
        let seen = |chunk: std::result::Result<Chunk<R>, TaskError>| {
            let results = chunk.as_deref().unwrap_or_default();
            progress.done(results.len() as u64, failures(results));
            chunk
        };
        Ok(joined(parts.iter().map(chunk).map(seen).collect())?)
    }

    fn all_async<T, R, C>(&self, items: Vec<T>, call: C) -> Result<AsyncResult<Vec<R>>>
    where
        C: Fn(&mut dyn Any, T) -> std::result::Result<R, TaskError> + Clone + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        let parts = self.submit_all(items, &call)?;
        let promise = Promise::new();
        let future = promise.future();
        let cancels = parts.iter().map(cancel).collect();
        let gather = Gather { parts: Mutex::new((parts.len(), parts.clone())), promise };
        let gather = Arc::new(gather);
        if parts.is_empty() {
            gather.one_is_done();
        }
        for part in parts {
            let gather = gather.clone();
            part.add_done_callback(move |_| gather.one_is_done())?;
        }
        Ok(AsyncResult::new(self.crew.clone(), self.callbacks.clone(), future, cancels))
    }

    /// Submits all inputs, chunk by chunk. After an error none of them is begun any more.
    fn submit_all<T, R, C>(&self, items: Vec<T>, call: &C) -> Result<Vec<Future<Chunk<R>>>>
    where
        C: Fn(&mut dyn Any, T) -> std::result::Result<R, TaskError> + Clone + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        self.options.check_for_threads()?;
        let size = self.options.chunk()?.unwrap_or_else(|| share(items.len(), self.crew.most()));
        let mut parts: Vec<Future<Chunk<R>>> = Vec::new();
        let mut items = items.into_iter();
        loop {
            let chunk: Vec<T> = items.by_ref().take(size).collect();
            if chunk.is_empty() {
                return Ok(parts);
            }
            match self.submit(chunk, call.clone()) {
                Ok(part) => parts.push(part),
                Err(error) => {
                    for part in parts {
                        part.cancel();
                    }
                    return Err(error.into());
                }
            }
        }
    }

    fn submit<T, R, C>(
        &self,
        items: Vec<T>,
        call: C,
    ) -> std::result::Result<Future<Chunk<R>>, TaskError>
    where
        C: Fn(&mut dyn Any, T) -> std::result::Result<R, TaskError> + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        let (task, future) = Call::new(move |state: &mut dyn Any| {
            let one = |item| catch(|| call(state, item)).unwrap_or_else(|it| Err(it.into()));
            Ok(items.into_iter().map(one).collect())
        });
        self.crew.give(task)?;
        Ok(future)
    }

    fn lazy<'a, T, R, C>(
        &self,
        mut items: impl Iterator<Item = std::result::Result<T, String>> + 'a,
        call: C,
        is_ordered: bool,
    ) -> Result<Imap<'a, R>>
    where
        C: Fn(&mut dyn Any, T) -> std::result::Result<R, TaskError> + Clone + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        self.options.check_for_threads()?;
        let size = self.options.chunk()?.unwrap_or(1);
        let total = match items.size_hint() {
            (least, Some(most)) if least == most => u64::try_from(most).ok(),
            _ => None,
        };
        let tasks = self.clone();
        let source = Box::new(move || {
            let (chunk, then) = draw(&mut items, size);
            // As in Python, and with processes: a failure takes its chunk along.
            if chunk.is_empty() || matches!(then, Then::Failed(_)) {
                return (None, then);
            }
            match tasks.submit(chunk, call.clone()) {
                Ok(part) => (Some(part), then),
                Err(_) if matches!(then, Then::Panicked(_)) => (None, then),
                Err(error) => (None, Then::Failed(error)),
            }
        });
        let progress = Progress::new(self.options.progress, None, total);
        Ok(Imap::new(self.crew.clone(), source, is_ordered, progress))
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Draws the next inputs, so many. Says how that went on.
fn draw<T>(
    items: &mut impl Iterator<Item = std::result::Result<T, String>>,
    size: usize,
) -> (Vec<T>, Then) {
    let mut chunk = Vec::new();
    // Those before one whose drawing panics are not lost.
    let drawn = catch_unwind(AssertUnwindSafe(|| {
        while chunk.len() < size {
            match items.next() {
                Some(Ok(item)) => chunk.push(item),
                Some(Err(why)) => return Then::Failed(TaskError::Input(why)),
                None => return Then::End,
            }
        }
        Then::More
    }));
    (chunk, drawn.unwrap_or_else(Then::Panicked))
}

/// The chunks of a `map_async`, the last of which puts all together.
struct Gather<R: Send + 'static> {
    /// How many are not done.
    parts: Mutex<(usize, Vec<Future<Chunk<R>>>)>,
    promise: Promise<Vec<R>>,
}

impl<R: Send + 'static> Gather<R> {
    fn one_is_done(&self) {
        let parts = {
            let (left, parts) = &mut *lock(&self.parts);
            *left = left.saturating_sub(1);
            if *left > 0 {
                return;
            }
            std::mem::take(parts)
        };
        self.promise.decide(joined(parts.iter().map(chunk).collect()));
        self.promise.call_back();
    }
}

/// The results of a chunk that is done, or is to be waited for.
fn chunk<R: Send + 'static>(part: &Future<Chunk<R>>) -> std::result::Result<Chunk<R>, TaskError> {
    part.result().map_err(|error| match error {
        Error::Task(error) => error,
        other => TaskError::Failed(other.to_string()),
    })
}

/// How many of them failed.
pub(super) fn failures<R>(results: &[std::result::Result<R, TaskError>]) -> u64 {
    results.iter().filter(|result| result.is_err()).count() as u64
}

/// The results of all chunks, or the first error.
fn joined<R>(
    chunks: Vec<std::result::Result<Chunk<R>, TaskError>>,
) -> std::result::Result<Vec<R>, TaskError> {
    let mut all = Vec::new();
    for chunk in chunks {
        for item in chunk? {
            all.push(item?);
        }
    }
    Ok(all)
}

fn cancel<R: Send + 'static>(future: &Future<R>) -> Cancel {
    let future = future.clone();
    Box::new(move || {
        let _ = future.cancel();
    })
}
