//! `PoolProxy`: a pool of worker processes that a manager keeps.
//!
//! Owns what is kept of pools and results in the server, the functions that run there, and
//! the handles. The pool is `pool`'s; how functions run in the server is the runtime's.

use super::{IteratorProxy, Manager, ManagerError, Result as ManagerResult, not_in_image};
use crate::error::{Error, Result};
use crate::function::Function;
use crate::pool::{AsyncResult, Pool};
use crate::{Actor, methods};
use procession_runtime::actor::ActorRef;
use procession_runtime::function::Entry;
use procession_runtime::manager::{Proxy, host_as_object};
use procession_runtime::pool::TaskError;
use procession_runtime::sync::lock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// So many results of an `imap` wait for who steps it.
const LOOK_AHEAD: usize = 16;

/// A pool at a [`Manager`]: its workers are children of the manager's process, and any
/// process of the tree that has the proxy may use it.
///
/// It ends with the last proxy, as it does by [`terminate`](Self::terminate). A blocking call
/// keeps one of the threads that a manager has for functions
/// ([`MAX_FUNCTIONS`](super::MAX_FUNCTIONS)). Functions travel, so a manager of another
/// program has no pools for this one.
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
pub struct PoolProxy(Remote);

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

/// What can be an argument or a result.
pub trait Carried: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Carried for T {}

impl Manager {
    /// A pool of so many workers, which are children of the server's process.
    ///
    /// # Errors
    /// [`Error::Task`]: it cannot be started; [`Error::Manager`].
    pub fn pool(&self, processes: usize) -> Result<PoolProxy> {
        let (id, keeper) = self.call(start, (processes,))??;
        Ok(PoolProxy(Remote { door: self.door.clone(), id, keeper }))
    }
}

impl PoolProxy {
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
        self.0.run(apply, (self.0.id, value(function)?, args))
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
        self.0.result(apply_async, (self.0.id, value(function)?, args))
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
        self.0.run(map, (self.0.id, value(function)?, one_each(items)))
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
        self.0.result(map_async, (self.0.id, value(function)?, one_each(items)))
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
        self.0.run(map, (self.0.id, value(function)?, items.into_iter().collect()))
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
        self.0.result(map_async, (self.0.id, value(function)?, items.into_iter().collect()))
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
        self.0.run(imap, (self.0.id, value(function)?, items.into_iter().collect(), true))
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
        self.0.run(imap, (self.0.id, value(function)?, items.into_iter().collect(), false))
    }

    /// Takes no more tasks. Workers end when all that was submitted is done.
    ///
    /// # Errors
    /// [`Error::Manager`].
    pub fn close(&self) -> Result<()> {
        self.0.run(close, (self.0.id,))
    }

    /// Ends the workers at once; what is not done ends as [`TaskError::Cancelled`].
    ///
    /// # Errors
    /// [`Error::Manager`].
    pub fn terminate(&self) -> Result<()> {
        self.0.run(terminate, (self.0.id,))
    }

    /// Waits until all workers of a closed or terminated pool have ended.
    ///
    /// # Errors
    /// [`Error::Task`] before `close` or `terminate`; [`Error::Manager`].
    pub fn join(&self) -> Result<()> {
        self.0.run(join, (self.0.id,))
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

    /// Waits until the result is there, at most for `timeout`: whether it is.
    ///
    /// # Errors
    /// [`Error::Manager`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.result.run(wait::<R>, (self.result.id, timeout))
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
        self.result.run(successful::<R>, (self.result.id,))?.ok_or(Error::NotReady)
    }

    fn within(&self, timeout: Option<Duration>) -> Result<Option<R>> {
        self.result.run(get, (self.result.id, timeout))
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

fn value<F, A, R>(function: F) -> std::result::Result<Function<A, R>, ManagerError>
where
    F: Entry<A, Output = R> + Copy + 'static,
{
    Function::new(function).map_err(not_in_image)
}

fn one_each<T>(items: impl IntoIterator<Item = T>) -> Vec<(T,)> {
    items.into_iter().map(|item| (item,)).collect()
}

impl fmt::Debug for PoolProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<PoolProxy #{}>", self.0.id)
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

// ---- in the server

/// The pools, and the results that they owe.
static KEPT: Mutex<BTreeMap<u64, Arc<dyn Any + Send + Sync>>> = Mutex::new(BTreeMap::new());

type Outcome<R> = std::result::Result<R, TaskError>;

/// A number, and what keeps it.
type Started = Outcome<(u64, ActorRef<Keeper>)>;

/// Lives as long as anybody has a reference to it, and then lets go of what it keeps.
#[derive(Actor)]
struct Keeper(u64);

#[methods]
impl Keeper {}

impl Drop for Keeper {
    fn drop(&mut self) {
        let gone = lock(&KEPT).remove(&self.0);
        // Who uses it just now has it too.
        if let Some(pool) = gone.as_ref().and_then(|gone| gone.downcast_ref::<Pool>()) {
            pool.terminate();
        }
    }
}

fn enter(kept: Arc<dyn Any + Send + Sync>) -> Started {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    lock(&KEPT).insert(id, kept);
    let keeper = host_as_object(Keeper(id), Keeper::NAME, Keeper::MAILBOX, None);
    // One that was not hosted has been dropped, and has let go.
    keeper.map(|keeper| (id, keeper)).map_err(said)
}

fn find<T: Any + Send + Sync>(id: u64) -> Outcome<Arc<T>> {
    let kept = lock(&KEPT).get(&id).cloned();
    kept.and_then(|kept| kept.downcast().ok()).ok_or(TaskError::NotRunning)
}

fn failed(error: Error) -> TaskError {
    match error {
        Error::Task(error) => error,
        other => said(other),
    }
}

fn said(error: impl fmt::Display) -> TaskError {
    TaskError::Failed(error.to_string())
}

fn start(processes: usize) -> Started {
    enter(Arc::new(Pool::new(processes).map_err(failed)?))
}

fn apply<A: Carried, R: Carried>(pool: u64, function: Function<A, R>, args: A) -> Outcome<R> {
    find::<Pool>(pool)?.apply(function, args).map_err(failed)
}

fn apply_async<A: Carried, R: Carried>(pool: u64, function: Function<A, R>, args: A) -> Started {
    let result = find::<Pool>(pool)?.apply_async(function, args).map_err(failed)?;
    enter(Arc::new(result))
}

fn map<A: Carried, R: Carried>(
    pool: u64,
    function: Function<A, R>,
    items: Vec<A>,
) -> Outcome<Vec<R>> {
    find::<Pool>(pool)?.starmap(function, items).map_err(failed)
}

fn map_async<A: Carried, R: Carried>(
    pool: u64,
    function: Function<A, R>,
    items: Vec<A>,
) -> Started {
    let result = find::<Pool>(pool)?.starmap_async(function, items).map_err(failed)?;
    enter(Arc::new(result))
}

fn imap<T: Carried, R: Carried>(
    pool: u64,
    function: Function<(T,), R>,
    items: Vec<T>,
    in_order: bool,
) -> Outcome<IteratorProxy<Outcome<R>>> {
    let pool = find::<Pool>(pool)?;
    let (results, came) = mpsc::sync_channel(LOOK_AHEAD);
    let feed = move || {
        let started = if in_order {
            pool.imap(function, items)
        } else {
            pool.imap_unordered(function, items)
        };
        match started {
            // Nobody steps it any more when a result cannot be sent.
            Ok(found) => drop(found.map(|one| results.send(one)).take_while(Result::is_ok).count()),
            Err(error) => drop(results.send(Err(failed(error)))),
        }
    };
    let thread = std::thread::Builder::new().name("procession-imap".into());
    thread.spawn(feed).map_err(said)?;
    IteratorProxy::new(came).map_err(said)
}

fn close(pool: u64) -> Outcome<()> {
    find::<Pool>(pool)?.close();
    Ok(())
}

fn terminate(pool: u64) -> Outcome<()> {
    find::<Pool>(pool)?.terminate();
    Ok(())
}

fn join(pool: u64) -> Outcome<()> {
    find::<Pool>(pool)?.join().map_err(failed)
}

fn get<R: Carried>(result: u64, timeout: Option<Duration>) -> Outcome<Option<R>> {
    let result = find::<AsyncResult<R>>(result)?;
    let got = match timeout {
        None => result.get(),
        Some(timeout) => result.get_timeout(timeout),
    };
    match got {
        Ok(value) => Ok(Some(value)),
        Err(Error::Timeout) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn wait<R: Carried>(result: u64, timeout: Duration) -> Outcome<bool> {
    find::<AsyncResult<R>>(result)?.wait_timeout(timeout).map_err(failed)
}

fn successful<R: Carried>(result: u64) -> Outcome<Option<bool>> {
    match find::<AsyncResult<R>>(result)?.successful() {
        Ok(is) => Ok(Some(is)),
        Err(Error::NotReady) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}
