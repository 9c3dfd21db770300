//! Managers of Python programs, used from here.
//!
//! Owns [`PythonManager`], and why a call fails. Objects have the names that the program gave
//! them and Python's methods; values are plain data. What is said is
//! `procession_protocols::manager::python`'s. Dropping a proxy never waits. Neighbour:
//! `remote`, for managers of this library.
//!
//! | file | owns |
//! |---|---|
//! | `line` | the connections, and which thread has which |
//! | `talk` | what is said on one |
//! | `proxy` | [`PythonProxy`], and the form of those with types |
//! | `containers` | dicts, lists, sets, namespaces, values, arrays, iterators |
//! | `waiting` | queues, locks and their kin |
//! | `stock` | making them by the names of a `SyncManager` |

mod containers;
mod line;
mod proxy;
mod stock;
mod talk;
mod waiting;

pub use containers::{
    PythonArray, PythonDict, PythonIterator, PythonList, PythonNamespace, PythonSet, PythonValue,
};
pub use proxy::PythonProxy;
pub use waiting::{
    PythonBarrier, PythonCondition, PythonEvent, PythonGuard, PythonLock, PythonQueue,
    PythonSemaphore,
};

use super::Fault;
use crate::listener::{IntoAddress, ListenerError, PythonPeers};
use crate::pipe::PipeError;
use line::Server;
use procession_protocols::dynamic::{Dynamic, Exception, NotPlain};
use procession_protocols::manager::python::Answer;
use serde::Serialize;
use std::fmt;
use std::sync::{Arc, Mutex};
use talk::Args;

/// Why a Python manager did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PythonError {
    /// The object said no, in a way that objects of this library have as well.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The method raised another exception.
    #[error("in the Python manager: {}: {}", .0.class, Dynamic::Tuple(.0.args.clone()))]
    Raised(Exception),
    /// The manager could not carry it out; its traceback.
    #[error("in the Python manager: {0}")]
    Remote(String),
    /// Nobody serves there, or with another key.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// The connection failed, or what came is no plain data.
    #[error(transparent)]
    Pipe(#[from] PipeError),
    /// A value is not of the type that was asked for, or is no plain data.
    #[error(transparent)]
    Value(#[from] NotPlain),
    /// A proxy is of an object at another manager; connect to that.
    #[error("the object is at another manager, at {0}")]
    Elsewhere(String),
    /// What came is no answer of Python's managers.
    #[error("what serves there is no manager of a Python program")]
    NoPython,
}

type Result<T, E = PythonError> = std::result::Result<T, E>;

/// A manager of a Python program, perhaps on another machine.
///
/// Its objects have the names that the program registered: [`get`](Self::get). Those that are
/// of Python's stock kinds have types here, with the methods of this library's own proxies;
/// `into()` says which. A [`SyncManager`](Self::dict) makes such as well. Of all others
/// methods are [called by name](PythonProxy::call). Values are plain data: what serde makes of
/// them has to be numbers, texts, bytes, lists, tuples, dicts and `None`.
///
/// Each call waits for its answer, for as long as that takes: a method may do anything. A call
/// with a time limit ends a second after it at most, and
/// [`call_timeout`](PythonProxy::call_timeout) gives any method one. A manager that cannot be
/// reached any more ends every call after [`PEER_SILENCE`](crate::PEER_SILENCE) at most; one
/// that is stopped ends none, as in Python.
///
/// Guards and proxies are given back without a wait. A process waits for that at its end, a second
/// at most.
///
/// A process that is forked of this one has connections of its own; the objects of proxies that
/// it was copied with live as long as this process has those.
///
/// A Python manager does not know who dies: what a program
/// held when it was killed stays locked there. For managers of this library see
/// [`Manager::connect`](crate::Manager::connect).
///
/// ```no_run
/// use procession::manager::{Fault, PythonError, PythonManager, PythonQueue};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = PythonManager::connect("127.0.0.1:5000", b"abc")?;
/// let tasks: PythonQueue<u64> = manager.get("get_task_queue", ())?.into();
/// let results: PythonQueue<String> = manager.get("get_result_queue", ())?.into();
/// loop {
///     match tasks.get_timeout(Duration::from_secs(1)) {
///         Ok(n) => results.put(format!("{n} * {n} = {}", n * n))?,
///         Err(PythonError::Fault(Fault::Empty)) => break,
///         Err(error) => return Err(error.into()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PythonManager(Arc<Server>);

impl PythonManager {
    /// Connects to a manager of Python 3.12 or later.
    ///
    /// # Errors
    /// [`PythonError::Listener`]: nobody serves there, or with another key, or by MD5.
    pub fn connect(address: impl IntoAddress, authkey: impl AsRef<[u8]>) -> Result<Self> {
        Self::connect_with(address, authkey, PythonPeers::Sha256)
    }

    /// As [`connect`](Self::connect), where `peers` says which digests will do: before 3.12
    /// Python has only MD5.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(
        address: impl IntoAddress,
        authkey: impl AsRef<[u8]>,
        peers: PythonPeers,
    ) -> Result<Self> {
        let address = address.into_address().map_err(ListenerError::from)?;
        let authkey = authkey.as_ref().to_vec();
        let server =
            Server { address, authkey, peers, lines: Mutex::default(), gone: Mutex::default() };
        server.ask("dummy", Args::default())?;
        Ok(Self(Arc::new(server)))
    }

    /// An object: what the program registered under this name, called with these arguments,
    /// which are a tuple.
    ///
    /// # Errors
    /// [`PythonError::Remote`] when nothing is registered there, and when what is raises;
    /// those of the connection.
    pub fn get(&self, name: &str, args: impl Serialize) -> Result<PythonProxy> {
        self.get_with(name, args, ())
    }

    /// As [`get`](Self::get), with arguments by name as well: a struct or a map.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`PythonError::Value`] when `named` has no names.
    pub fn get_with(
        &self,
        name: &str,
        args: impl Serialize,
        named: impl Serialize,
    ) -> Result<PythonProxy> {
        let (args, named) = plain(&args, &named)?;
        let args = std::iter::once(Dynamic::from(name)).chain(args).collect();
        let created = Answer::read_created(self.0.ask_for_long("create", (args, named))?);
        let (id, methods) = created.ok_or(PythonError::NoPython)?;
        Ok(PythonProxy::new(self.0.clone(), name.into(), id, methods))
    }

    /// How many objects the manager keeps.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn object_count(&self) -> Result<usize> {
        Ok(self.0.ask("number_of_objects", Args::default())?.to()?)
    }

    /// Ends the manager, and the program that serves it.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn shutdown(&self) -> Result<()> {
        Ok(self.0.ask("shutdown", Args::default())?.to()?)
    }
}

/// Arguments by place, which are a tuple or nothing, and by name.
fn plain(args: &impl Serialize, named: &impl Serialize) -> Result<Args> {
    let args = match Dynamic::of(args)? {
        Dynamic::None => Vec::new(),
        Dynamic::Tuple(args) => args,
        one => vec![one],
    };
    match Dynamic::of(named)? {
        Dynamic::None => Ok((args, Vec::new())),
        Dynamic::Dict(named) => Ok((args, named)),
        other => {
            let text = format!("{other} has no names for arguments");
            Err(PythonError::Value(serde::ser::Error::custom(text)))
        }
    }
}

impl fmt::Debug for PythonManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PythonManager").field(&self.0.address).finish()
    }
}
