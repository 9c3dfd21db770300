//! `PoolProxy`: a pool of worker processes that a manager keeps.
//!
//! Owns the handles. The pool is `pool`'s; how functions run in the server is the runtime's.
//! Neighbour: `kept`, what the functions of this file are in the server.

mod kept;

use super::{IteratorProxy, Manager, ManagerError, Result as ManagerResult, not_in_image};
use crate::error::{Error, Result};
use crate::function::Function;
use crate::pool::TaskOptions;
use kept::{Keeper, Started};
use procession_runtime::actor::ActorRef;
use procession_runtime::function::Entry;
use procession_runtime::manager::Proxy;
use procession_runtime::pool::TaskError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A pool at a [`Manager`]: its workers are children of the manager's process, and any
/// process of the tree that has the proxy may use it.
///
/// It ends with the last proxy, as it does by [`terminate`](Self::terminate). Waiting keeps no
/// thread of the manager's; but a `map` with a bar of progress keeps one of those that a
/// manager has for functions ([`MAX_FUNCTIONS`](super::MAX_FUNCTIONS)). Functions travel, so a
/// manager of another program has no pools for this one.
///
/// ```
/// use procession::{Manager, Process, manager::PoolProxy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = Manager::start()?;
/// let pool = manager.pool(2)?;
/// let child = |pool: PoolProxy| pool.map(|x: u64| x * x, 0..4).unwrap();
/// assert_eq!(Process::spawn(child, (pool.clone(),))?.result()?, [0, 1, 4, 9]);
/// let sum = pool.apply_async(|a: u32, b: u32| a + b, (20, 22))?;
/// assert_eq!(sum.get()?, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct PoolProxy {
    pool: Remote,
    options: TaskOptions,
}

/// What a task of a managed pool will give; it is kept in the manager until then.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ResultProxy<R> {
    result: Remote,
    returns: PhantomData<fn() -> R>,
}

/// Something that is kept in the server under a number.
#[derive(Clone, Serialize, Deserialize)]
struct Remote {
    door: Proxy,
    id: u64,
    keeper: ActorRef<Keeper>,
}

/// Where a function is to run, and on which terms.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Task<A: 'static, R: 'static> {
    pool: u64,
    options: TaskOptions,
    function: Function<A, R>,
}

/// What can be an argument or a result.
pub trait Carried: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Carried for T {}

impl Manager {
    /// A pool of so many workers, which are children of the server's process.
    ///
    /// # Errors
    /// [`Error::Task`]: it cannot be started; [`Error::Manager`], also at the manager of
    /// another program, which takes no functions from this one.
    pub fn pool(&self, processes: usize) -> Result<PoolProxy> {
        let (id, keeper) = self.call(kept::start, (processes,))??;
        let pool = Remote { door: self.door.clone(), id, keeper };
        Ok(PoolProxy { pool, options: TaskOptions::new() })
    }
}

impl PoolProxy {
    /// The same pool, on other terms: time limits, retries, chunks. See
    /// [`Pool::with`](crate::Pool::with). A bar of progress is shown where the manager's
    /// process has its standard error.
    ///
    /// ```
    /// use procession::{Manager, TaskOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::start()?;
    /// let pool = manager.pool(2)?;
    /// let chunks = pool.with(TaskOptions::new().chunksize(20));
    /// assert_eq!(chunks.map(|x: u64| x * x, 0..100)?.len(), 100);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with(&self, options: TaskOptions) -> Self {
        Self { pool: self.pool.clone(), options }
    }

    /// Runs one call in a worker and waits for its result.
    ///
    /// # Errors
    /// [`Error::Task`]: its own error, or that the pool takes no tasks; [`Error::Manager`].
    pub fn apply<F, A, R>(&self, function: F, args: A) -> Result<R>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Carried,
        R: Carried,
    {
        self.pool.run(kept::apply, (self.task(function)?, args))
    }

    /// Runs one call in a worker; returns as soon as the manager has it.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), but for the task's own.
    pub fn apply_async<F, A, R>(&self, function: F, args: A) -> Result<ResultProxy<R>>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Carried,
        R: Carried,
    {
        self.pool.result(kept::apply_async, (self.task(function)?, args))
    }

    /// Calls a function for each input, and gives the results in the order of the inputs.
    ///
    /// # Errors
    /// [`Error::Task`] with the first error in the order of the inputs; [`Error::Manager`].
    pub fn map<F, T, R>(&self, function: F, items: impl IntoIterator<Item = T>) -> Result<Vec<R>>
    where
        F: Entry<(T,), Output = R> + Copy + 'static,
        T: Carried,
        R: Carried,
    {
        self.pool.run(kept::map, (self.task(function)?, one_each(items)))
    }

    /// As [`map`](Self::map); returns as soon as the manager has it.
    ///
    /// # Errors
    /// As [`map`](Self::map), but for the tasks' own.
    pub fn map_async<F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<ResultProxy<Vec<R>>>
    where
        F: Entry<(T,), Output = R> + Copy + 'static,
        T: Carried,
        R: Carried,
    {
        self.pool.result(kept::map_async, (self.task(function)?, one_each(items)))
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
        F: Entry<A, Output = R> + Copy + 'static,
        A: Carried,
        R: Carried,
    {
        self.pool.run(kept::map, (self.task(function)?, items.into_iter().collect()))
    }

    /// As [`starmap`](Self::starmap); returns as soon as the manager has it.
    ///
    /// # Errors
    /// As [`starmap`](Self::starmap), but for the tasks' own.
    pub fn starmap_async<F, A, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A>,
    ) -> Result<ResultProxy<Vec<R>>>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Carried,
        R: Carried,
    {
        self.pool.result(kept::map_async, (self.task(function)?, items.into_iter().collect()))
    }

    /// Calls a function for each input, and gives each result when it is stepped, in the
    /// order of the inputs. After an error the later ones still come.
    ///
    /// # Errors
    /// As [`map_async`](Self::map_async).
    pub fn imap<F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<IteratorProxy<std::result::Result<R, TaskError>>>
    where
        F: Entry<(T,), Output = R> + Copy + 'static,
        T: Carried,
        R: Carried,
    {
        self.pool.run(kept::imap, (self.task(function)?, items.into_iter().collect(), true))
    }

    /// As [`imap`](Self::imap), in the order in which the results come.
    ///
    /// # Errors
    /// As [`imap`](Self::imap).
    pub fn imap_unordered<F, T, R>(
        &self,
        function: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<IteratorProxy<std::result::Result<R, TaskError>>>
    where
        F: Entry<(T,), Output = R> + Copy + 'static,
        T: Carried,
        R: Carried,
    {
        self.pool.run(kept::imap, (self.task(function)?, items.into_iter().collect(), false))
    }

    /// Takes no more tasks. Workers end when all that was submitted is done.
    ///
    /// # Errors
    /// [`Error::Manager`].
    pub fn close(&self) -> Result<()> {
        self.pool.run(kept::close, (self.pool.id,))
    }

    /// Ends the workers at once; what is not done ends as [`TaskError::Cancelled`].
    ///
    /// # Errors
    /// [`Error::Manager`].
    pub fn terminate(&self) -> Result<()> {
        self.pool.run(kept::terminate, (self.pool.id,))
    }

    /// Waits until all workers of a closed or terminated pool have ended.
    ///
    /// # Errors
    /// [`Error::Task`] before `close` or `terminate`; [`Error::Manager`].
    pub fn join(&self) -> Result<()> {
        self.pool.run(kept::join, (self.pool.id,))
    }

    /// Runs `body` with the pool, and terminates it behind it, as Python's `with` does.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    pub fn scope<T>(self, body: impl FnOnce(&Self) -> T) -> Result<T> {
        let result = body(&self);
        self.terminate()?;
        Ok(result)
    }
}

impl<R: Carried> ResultProxy<R> {
    /// Waits for the result and takes it.
    ///
    /// # Errors
    /// [`Error::Task`] with the task's own error; [`Error::Manager`].
    pub fn get(&self) -> Result<R> {
        self.within(None)?.ok_or(Error::Timeout)
    }

    /// As [`get`](Self::get), at most for `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`], after which the task goes on; and as [`get`](Self::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<R> {
        self.within(Some(timeout))?.ok_or(Error::Timeout)
    }

    /// Waits until the result is there. It stays there.
    ///
    /// # Errors
    /// [`Error::Manager`].
    pub fn wait(&self) -> Result<()> {
        self.result.run(kept::wait::<R>, (self.result.id, None)).map(drop)
    }

    /// As [`wait`](Self::wait), at most for `timeout`: whether it is there.
    ///
    /// # Errors
    /// [`Error::Manager`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.result.run(kept::wait::<R>, (self.result.id, Some(timeout)))
    }

    /// Whether the result is there.
    ///
    /// # Errors
    /// [`Error::Manager`].
    pub fn ready(&self) -> Result<bool> {
        self.wait_timeout(Duration::ZERO)
    }

    /// Whether the result is a value, not an error.
    ///
    /// # Errors
    /// [`Error::NotReady`]; [`Error::Manager`].
    pub fn successful(&self) -> Result<bool> {
        self.result.run(kept::successful::<R>, (self.result.id,))?.ok_or(Error::NotReady)
    }

    fn within(&self, timeout: Option<Duration>) -> Result<Option<R>> {
        self.result.run(kept::get, (self.result.id, timeout))
    }
}

impl Remote {
    fn call<F, A, R>(&self, function: F, args: A) -> ManagerResult<R>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let manager = Manager { door: self.door.clone(), server: None, address: None };
        manager.call(function, args)
    }

    fn run<F, A, R>(&self, function: F, args: A) -> Result<R>
    where
        F: Entry<A, Output = std::result::Result<R, TaskError>> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        Ok(self.call(function, args)??)
    }

    fn result<F, A, R>(&self, function: F, args: A) -> Result<ResultProxy<R>>
    where
        F: Entry<A, Output = Started> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        let (id, keeper) = self.call(function, args)??;
        let result = Self { door: self.door.clone(), id, keeper };
        Ok(ResultProxy { result, returns: PhantomData })
    }
}

impl PoolProxy {
    fn task<F, A, R>(&self, function: F) -> std::result::Result<Task<A, R>, ManagerError>
    where
        F: Entry<A, Output = R> + Copy + 'static,
    {
        let function = Function::new(function).map_err(not_in_image)?;
        Ok(Task { pool: self.pool.id, options: self.options, function })
    }
}

fn one_each<T>(items: impl IntoIterator<Item = T>) -> Vec<(T,)> {
    items.into_iter().map(|item| (item,)).collect()
}

impl fmt::Debug for PoolProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<PoolProxy #{}>", self.pool.id)
    }
}

impl<R> Clone for ResultProxy<R> {
    fn clone(&self) -> Self {
        Self { result: self.result.clone(), returns: PhantomData }
    }
}

impl<R> fmt::Debug for ResultProxy<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<ResultProxy #{}>", self.result.id)
    }
}
