//! Managers: a server process that keeps objects, and proxies that use them.
//!
//! Owns [`Manager`] and the proxies of the stock objects. Which process lives how long is
//! decided here; `stock` makes the objects; what an object does is `procession_protocols::manager`'s, and how it is
//! reached the runtime's `manager`. Neighbours: `builder` (options), `server` (what the
//! server process runs), `remote` (other programs' managers), `python` (those of Python programs), `offer` (what has a name), `pool` (pools in the server), `proxy` (what the proxies have in common), one file for each kind
//! of object.

mod builder;
mod dict;
mod dynamic;
mod iterator;
mod list;
mod lock;
mod namespace;
mod offer;
mod pool;
mod proxy;
mod python;
mod queue;
mod remote;
mod server;
mod set;
mod stock;
mod value;

pub use builder::ManagerBuilder;
pub use dict::{DictIter, DictProxy};
pub use dynamic::DynDict;
pub use iterator::IteratorProxy;
pub use list::ListProxy;
pub use lock::{
    BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, EventProxy, Got, Guard, LockProxy,
    RLockProxy, SemaphoreProxy,
};
pub use namespace::NamespaceProxy;
pub use offer::{Offered, OfferedWith};
pub use pool::{PoolProxy, ResultProxy};
pub use procession_protocols::manager::{Fault, Range};
pub use proxy::Pending;
pub use python::{
    PythonArray, PythonBarrier, PythonCondition, PythonDict, PythonError, PythonEvent, PythonGuard,
    PythonIterator, PythonList, PythonLock, PythonManager, PythonNamespace, PythonProxy,
    PythonQueue, PythonSemaphore, PythonSet, PythonValue,
};
pub use queue::{JoinableQueueProxy, QueueProxy, Unput};
pub use remote::ManagerServer;
pub use set::SetProxy;
pub use value::{ArrayProxy, ValueProxy};

use crate::listener::Address;
use crate::process::ProcessRef;
use procession_protocols::manager::Reply;
use procession_runtime::actor::{Actor, ActorRef, Wire};
use procession_runtime::function::{Entry, NotInImage};
use procession_runtime::manager::{Ask, ManagerError, Proxy, Reception, Routine};
use proxy::{Result, number, value, values};
use serde::Serialize;
use serde::de::DeserializeOwned;
use server::Server;
use std::fmt;
use std::time::Duration;

/// A process that keeps objects for others: dicts, lists, queues, locks, and objects of
/// your own types. Python's `multiprocessing.Manager`.
///
/// A call gives a *proxy*. It is cheap to clone and travels: as an argument, on a queue, in
/// another managed object, to children of children. The object lives while anybody has a
/// proxy of it, wherever. A process that dies leaves nothing locked: its locks go to the
/// next who asks.
///
/// The server is a process of its own, named `SyncManager-1` and so on, which ignores
/// Ctrl-C. It ends with [`shutdown`](Self::shutdown), when the manager is dropped, and with
/// the process that started it, even by SIGKILL. Proxies then say
/// [`ManagerError::OwnerGone`].
///
/// ```
/// use procession::{Manager, Process, manager::ListProxy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = Manager::start()?;
/// let dict = manager.dict::<u32, String>()?;
/// let list = manager.list(0..3)?;
/// let child = |list: ListProxy<i32>| list.append(&3).unwrap();
/// Process::spawn(child, (list.clone(),))?.result()?;
/// dict.insert(&1, &"one".into())?;
/// assert_eq!(list.to_vec()?, [0, 1, 2, 3]);
/// manager.shutdown()?;
/// # Ok(())
/// # }
/// ```
pub struct Manager {
    door: Proxy,
    /// `None` when another process started the server.
    server: Option<Server>,
    address: Option<Address>,
}

impl Manager {
    /// Starts a manager; returns when it is ready.
    ///
    /// # Errors
    /// [`Error::Start`](crate::Error::Start) and its kin: the process could not be started.
    pub fn start() -> crate::Result<Self> {
        Self::builder().start()
    }

    /// Options for a manager before its start: what it offers, how it begins and ends.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::default()
    }

    /// In a method of a managed actor, or in a function that a manager runs: that manager. So
    /// a method can make objects and return their proxies. `None` anywhere else.
    ///
    /// ```
    /// use procession::{Actor, Manager, manager::ListProxy, methods};
    ///
    /// #[derive(Actor)]
    /// struct Library;
    ///
    /// #[methods]
    /// impl Library {
    ///     pub fn shelf(&self) -> ListProxy<String> {
    ///         Manager::here().expect("a manager runs it").list([]).expect("it makes lists")
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::builder().register("Library", || Library).start()?;
    /// let library = manager.make::<Library>("Library", ())?;
    /// let shelf = library.shelf()?;
    /// shelf.append(&"a book".into())?;
    /// assert_eq!(shelf.len()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn here() -> Option<Self> {
        Reception::here().map(|door| Self { door, server: None, address: None })
    }

    /// The server's process, if this manager started it.
    pub fn process(&self) -> Option<&ProcessRef> {
        self.server.as_ref().map(Server::process)
    }

    /// Where it serves programs outside the process tree, if it does.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// Ends the server, and waits for that: it is asked first, after `shutdown_timeout`
    /// terminated, and after as long again killed. May be called any number of times.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when this manager did not start it; what
    /// waiting for a process can say.
    pub fn shutdown(&self) -> crate::Result<()> {
        self.server.as_ref().ok_or_else(remote::not_ours)?.shutdown()
    }

    /// Runs `body` with the manager, and shuts it down behind it.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub fn scope<R>(self, body: impl FnOnce(&Self) -> R) -> crate::Result<R> {
        let result = body(&self);
        self.shutdown()?;
        Ok(result)
    }

    /// Waits until the server has ended, at most for `timeout`: whether it has.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub fn join_timeout(&self, timeout: Duration) -> crate::Result<bool> {
        self.process().ok_or_else(remote::not_ours)?.join_timeout(timeout)
    }

    /// How many objects the server keeps: stock objects, and actors that it was asked to make.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn object_count(&self) -> Result<usize> {
        number(self.door.ask(Ask::Count, None)?)
    }

    /// The names of what the server offers.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn names(&self) -> Result<Vec<String>> {
        values(self.door.ask(Ask::Names, None)?)
    }

    /// The methods that can be called of what the server offers under a name, if it was
    /// [registered](ManagerBuilder::register_exposed) with some of them only; `None` is all.
    ///
    /// # Errors
    /// [`Fault::NoSuchObject`] when nothing was; [`ManagerError`].
    pub fn exposed(&self, name: &str) -> Result<Option<Vec<String>>> {
        match self.door.ask(Ask::Exposed(name.into()), None)? {
            Reply::None => Ok(None),
            answer => values(answer).map(Some),
        }
    }

    /// Moves an actor into the server, which hosts it on a thread of its own: the reference
    /// is the same as to an actor anywhere else. It ends when nobody has one any more,
    /// wherever: what a process that dies had counts no longer.
    ///
    /// ```
    /// use procession::{Actor, Manager, methods};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Actor, Serialize, Deserialize)]
    /// struct Counter { value: i64 }
    ///
    /// #[methods]
    /// impl Counter {
    ///     pub fn add(&mut self, n: i64) -> i64 { self.value += n; self.value }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::start()?;
    /// let counter = manager.create(Counter { value: 40 })?;
    /// assert_eq!(counter.add(2)?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError`]; [`Fault::Failed`] when its `on_start` refuses.
    pub fn create<A>(&self, actor: A) -> Result<A::Ref>
    where
        A: Actor + Send + Serialize + DeserializeOwned,
        A::Msg: Wire,
    {
        let function = Routine::actor::<_, (A,), A>(same::<A>).map_err(not_in_image)?;
        let args = self.door.encode(&(actor,))?;
        self.run::<ActorRef<A>>(Ask::Run { function, args }).map(A::Ref::from)
    }

    /// Has the server make an actor by what was
    /// [registered](ManagerBuilder::register) under this name.
    ///
    /// # Errors
    /// [`Fault::NoSuchObject`] when nothing was; [`Fault::Failed`] when the function or the
    /// actor's `on_start` fails; [`ManagerError`].
    pub fn make<A>(&self, name: &str, args: impl Serialize) -> Result<A::Ref>
    where
        A: Actor,
        A::Msg: Wire,
    {
        let args = self.door.encode(&args)?;
        self.run::<ActorRef<A>>(Ask::Make { name: name.into(), args }).map(A::Ref::from)
    }

    /// What was [shared](ManagerBuilder::share) under this name, or what the function gives
    /// that was [registered](ManagerBuilder::register_value).
    ///
    /// # Errors
    /// As [`make`](Self::make).
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let args = self.door.encode(&())?;
        self.run(Ask::Make { name: name.into(), args })
    }

    /// Runs a function in the server, on a thread that is there for it.
    ///
    /// # Errors
    /// [`Fault::Failed`] when it panics; [`ManagerError`]. While [`MAX_FUNCTIONS`] run it waits
    /// for its turn: [`Fault::Busy`] when [`MAX_WAITING_FUNCTIONS`] wait already, or when it has
    /// waited for [`FUNCTION_PATIENCE`].
    pub fn call<F, A, R>(&self, function: F, args: A) -> Result<R>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let function = Routine::of(function).map_err(not_in_image)?;
        let args = self.door.encode(&args)?;
        self.run(Ask::Run { function, args })
    }

    fn run<T: DeserializeOwned>(&self, ask: Ask) -> Result<T> {
        value(self.door.ask(ask, None)?)
    }
}

pub use procession_runtime::manager::{FUNCTION_PATIENCE, MAX_FUNCTIONS, MAX_WAITING_FUNCTIONS};

fn same<T>(value: T) -> T {
    value
}

pub(crate) fn not_in_image(_: NotInImage) -> ManagerError {
    ManagerError::Fault(Fault::Failed("the function lies in no loaded object".into()))
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("process", &self.process())
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
