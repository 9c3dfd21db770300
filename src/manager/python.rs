//! Managers of Python programs, used from here.
//!
//! Owns [`PythonManager`] and [`PythonProxy`]: objects by name, their methods by name, values
//! as plain data. What is said is `procession_protocols::manager::python`'s. A thread that
//! calls has a connection of its own, as in Python, whose locks know their holders by it.
//! Dropping a proxy never waits. Neighbour: `remote`, for managers of this library.

use super::Fault;
use crate::listener::{Address, Client, IntoAddress, ListenerError, PythonPeers};
use crate::pipe::{Connection, PeerInfo, PipeError};
use procession_protocols::dynamic::{Dynamic, Exception, NotPlain};
use procession_protocols::manager::python::{Answer, Request, read_fault};
use procession_runtime::sync::lock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

/// So many threads may have a connection that is idle; one more closes all of those.
const MAX_IDLE_CONNECTIONS: usize = 64;

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
    /// What came is no answer of Python's managers.
    #[error("what serves there is no manager of a Python program")]
    NoPython,
}

type Result<T> = std::result::Result<T, PythonError>;

/// A manager of a Python program, perhaps on another machine.
///
/// Its objects have the names that the program registered, and their methods are called by
/// name, with values that are plain data. For managers of this library, whose proxies have
/// types, see [`Manager::connect`](crate::Manager::connect).
///
/// ```no_run
/// use procession::manager::{Fault, PythonError, PythonManager};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = PythonManager::connect("127.0.0.1:5000", b"abc")?;
/// let tasks = manager.get("get_task_queue", ())?;
/// let results = manager.get("get_result_queue", ())?;
/// loop {
///     // `block` and `timeout`.
///     match tasks.call::<u64>("get", (true, 1.0)) {
///         Ok(n) => results.call::<()>("put", (n * n,))?,
///         Err(PythonError::Fault(Fault::Empty)) => break,
///         Err(error) => return Err(error.into()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PythonManager(Arc<Server>);

/// The way to the manager.
struct Server {
    address: Address,
    authkey: Vec<u8>,
    peers: PythonPeers,
    /// The connection of each thread that has called.
    lines: Mutex<HashMap<ThreadId, Arc<Connection>>>,
}

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
        let server = Server { address, authkey, peers, lines: Mutex::default() };
        server.ask("dummy", Vec::new())?;
        Ok(Self(Arc::new(server)))
    }

    /// An object: what the program registered under this name, called with these arguments.
    ///
    /// # Errors
    /// [`PythonError::Remote`] when nothing is registered there; what the program raises;
    /// those of the connection.
    pub fn get(&self, name: &str, args: impl Serialize) -> Result<PythonProxy> {
        let args = std::iter::once(Dynamic::from(name)).chain(plain(&args)?).collect();
        let created = Answer::read_created(self.0.ask("create", args)?);
        let (id, methods) = created.ok_or(PythonError::NoPython)?;
        Ok(PythonProxy { server: self.0.clone(), kind: name.into(), id, methods })
    }
}

/// Arguments, which are a tuple or nothing.
fn plain(args: &impl Serialize) -> Result<Vec<Dynamic>> {
    Ok(match Dynamic::of(args)? {
        Dynamic::None => Vec::new(),
        Dynamic::Tuple(args) => args,
        one => vec![one],
    })
}

impl Server {
    fn dial(&self) -> Result<Connection> {
        let client = Client::builder(self.address.clone()).authkey(&self.authkey);
        let connection = client.python_peers(self.peers).connect()?;
        let is_python = connection.peer().is_some_and(PeerInfo::is_python);
        if is_python { Ok(connection) } else { Err(PythonError::NoPython) }
    }

    /// Asks the server as a whole, over a connection of its own.
    fn ask(&self, verb: &str, args: Vec<Dynamic>) -> Result<Dynamic> {
        talk(&self.dial()?, None, verb, args)
    }

    /// The calling thread's connection.
    fn line(&self) -> Result<Arc<Connection>> {
        let me = thread::current();
        if let Some(line) = lock(&self.lines).get(&me.id()) {
            return Ok(line.clone());
        }
        let line = Arc::new(self.dial()?);
        talk(&line, None, "accept_connection", vec![me.name().unwrap_or("thread").into()])?;
        let lines = &mut *lock(&self.lines);
        if lines.len() >= MAX_IDLE_CONNECTIONS {
            lines.retain(|_, line| Arc::strong_count(line) > 1);
        }
        lines.insert(me.id(), line.clone());
        Ok(line)
    }

    fn call(&self, object: &str, method: &str, args: Vec<Dynamic>) -> Result<Dynamic> {
        let line = self.line()?;
        let answer = talk(&line, Some(object), method, args);
        if matches!(answer, Err(PythonError::Pipe(_) | PythonError::NoPython)) {
            // Nothing that comes there can be trusted to be the answer to what is asked next.
            lock(&self.lines).remove(&thread::current().id());
        }
        answer
    }
}

/// One request, and its answer.
fn talk(
    line: &Connection,
    object: Option<&str>,
    method: &str,
    args: Vec<Dynamic>,
) -> Result<Dynamic> {
    line.send(&Request::write(object, method, args))?;
    match Answer::read(line.recv()?).ok_or(PythonError::NoPython)? {
        Answer::Return(value) => Ok(value),
        Answer::Error(exception) => Err(match read_fault(&exception) {
            Some(fault) => fault.into(),
            None => PythonError::Raised(exception),
        }),
        Answer::Traceback(text) => Err(PythonError::Remote(text)),
        Answer::Unserializable(text) => {
            Err(PythonError::Remote(format!("Unserializable message: {text}")))
        }
        Answer::Proxy(_, token) => Ok(Dynamic::Token(token)),
    }
}

/// An object of a Python manager. It lives there while this does.
pub struct PythonProxy {
    server: Arc<Server>,
    kind: String,
    id: String,
    methods: Vec<String>,
}

impl PythonProxy {
    /// Calls a method, and waits for its answer; the arguments are a tuple.
    ///
    /// # Errors
    /// [`PythonError`]: what the method raises is a [`Fault`] where an object of this library
    /// would say the same, [`Fault::Empty`] for example.
    pub fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Result<R> {
        Ok(self.server.call(&self.id, method, plain(&args)?)?.to()?)
    }

    /// Calls a method whose answer is an object of its own, as an iterator is.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`PythonError::NoPython`] when it is none.
    pub fn call_for_proxy(&self, method: &str, args: impl Serialize) -> Result<Self> {
        match self.server.call(&self.id, method, plain(&args)?)? {
            Dynamic::Token(token) => Ok(Self {
                server: self.server.clone(),
                kind: token.typeid,
                id: token.id,
                methods: Vec::new(),
            }),
            _ => Err(PythonError::NoPython),
        }
    }

    /// The methods that the manager says it has.
    pub fn methods(&self) -> &[String] {
        &self.methods
    }
}

impl Drop for PythonProxy {
    fn drop(&mut self) {
        let (server, id) = (self.server.clone(), std::mem::take(&mut self.id));
        let thread = thread::Builder::new().name("procession-decref".into());
        // Without a thread the object stays until the manager ends, as it does when this
        // program is killed.
        let _ = thread.spawn(move || server.ask("decref", vec![id.into()]));
    }
}

impl fmt::Debug for PythonManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PythonManager").field(&self.0.address).finish()
    }
}

impl fmt::Debug for PythonProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} {}>", self.kind, self.id)
    }
}
