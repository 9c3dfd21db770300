//! Managers that programs outside the process tree use, and their use from there.
//!
//! Owns the accepting of clients in a server, [`ManagerServer`], and the connecting to one.
//! Who may come is the listener's to say; what a client may do, the runtime's.

use super::Manager;
use crate::error::{Error, Result};
use crate::listener::{Address, Client, IntoAddress, Listener, ListenerError, PythonPeers};
use crate::pipe::{Connection, PeerInfo, PipeError};
use procession_runtime::manager::{
    self as runtime, Proxy, PythonDoor, Sending, Sole, Stream, Values, Watched,
};
use procession_runtime::pipe::{Ahead, End, Outgoing};
use procession_runtime::sync::lock;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// After an accept failed for want of something, the next one waits so long.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection to a Python program as the runtime uses it.
struct Talk(Connection);

impl Stream for Talk {
    fn send(&self, message: &[u8]) -> io::Result<()> {
        self.0.send_bytes(message).map_err(io::Error::other)
    }

    fn recv(&self) -> io::Result<Vec<u8>> {
        self.0.recv_bytes().map_err(io::Error::other)
    }
}

impl Watched for Talk {
    fn has_come(&self) -> bool {
        // An error is an end as well.
        !matches!(self.0.poll(), Ok(false))
    }

    fn heard(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            // An error is an end as well.
            while let Ok(false) = self.0.poll_async(LONG).await {}
        })
    }
}

/// A connection to a program of this library, which nobody else has.
struct Line {
    end: Arc<End>,
    /// One thread receives.
    inward: Mutex<Ahead>,
}

impl Line {
    fn of(connection: &Connection) -> Result<Self, PipeError> {
        let end = connection.end()?.clone();
        Ok(Self { inward: Mutex::new(Ahead::new(end.clone())), end })
    }
}

impl Stream for Line {
    fn send(&self, message: &[u8]) -> io::Result<()> {
        let send = |message| self.end.send(&Outgoing::new(message, &[])?, None);
        send(message).map_err(io::Error::other)
    }

    fn recv(&self) -> io::Result<Vec<u8>> {
        let come = self.recv_until(None)?;
        Ok(come.unwrap_or_else(|| unreachable!("a wait without a deadline brings a message")))
    }
}

impl Sole for Line {
    fn try_send(&self, message: &[u8]) -> io::Result<bool> {
        let send = |message| self.end.try_send(&Outgoing::new(message, &[])?);
        send(message).map_err(io::Error::other)
    }

    fn send_all_async<'a>(&'a self, messages: &'a [&'a [u8]]) -> Sending<'a> {
        Box::pin(async { self.end.send_all_async(messages).await.map_err(io::Error::other) })
    }

    fn end(&self) {
        self.end.hang_up();
    }

    fn send_all(&self, messages: &[Vec<u8>]) -> io::Result<()> {
        self.end.send_all(messages).map_err(io::Error::other)
    }

    fn recv_until(&self, deadline: Option<Instant>) -> io::Result<Option<Vec<u8>>> {
        lock(&self.inward).receive(deadline).map_err(io::Error::other)
    }

    fn come(&self) -> io::Result<Option<Vec<u8>>> {
        lock(&self.inward).come().map_err(io::Error::other)
    }
}

/// A wait without an end is made of such.
const LONG: Duration = Duration::from_hours(1);

/// Lets clients in until the listener is closed.
pub(super) fn accept(listener: &Arc<Listener>, door: &Proxy, values: Values) {
    tracing::info!(target: "procession", "manager serving at {}", listener.address());
    let at = Arc::downgrade(listener);
    let stop = move || {
        if let Some(listener) = at.upgrade() {
            tracing::info!(target: "procession", "a Python program shuts the manager down");
            listener.close();
        }
    };
    let python = PythonDoor::new(door, listener.address(), stop);
    loop {
        match listener.accept() {
            Ok(connection) => {
                let is_python = connection.peer().is_some_and(PeerInfo::is_python);
                let served = match &python {
                    Some(python) if is_python => python.serve(Arc::new(Talk(connection))),
                    _ => Line::of(&connection)
                        .map_err(io::Error::other)
                        .and_then(|line| runtime::serve(door, Arc::new(line), values)),
                };
                if let Err(error) = served {
                    tracing::warn!(target: "procession", %error, "a client was sent away");
                }
            }
            Err(ListenerError::Closed) => return,
            Err(error) => {
                tracing::warn!(target: "procession", %error, "no client could be accepted");
                thread::sleep(PAUSE);
            }
        }
    }
}

impl Manager {
    /// Connects to a manager of another program, perhaps on another machine, that
    /// [serves at an address](super::ManagerBuilder::address).
    ///
    /// A server that cannot be reached any more ends every call after
    /// [`PEER_SILENCE`](crate::PEER_SILENCE) at most, as its own end does. One that is stopped
    /// ends none: there a call ends by its time limit, a second later at most. What is dropped
    /// never waits for a server.
    ///
    /// What is said last is heard: a process waits at its end, a second at most, until the server
    /// has read it. A copy that a fork makes of this process has to connect for itself; there the
    /// proxies of this connection say [`ShareError::Forked`](crate::ShareError::Forked).
    ///
    /// Stock objects work as anywhere else; a proxy travels only to its own manager. An object
    /// of one's own can be stopped, killed and watched, unless only some of its methods are
    /// [exposed](super::ManagerBuilder::register_exposed): then it can be watched, and the
    /// server logs an attempt to end it and goes on. A monitor hears of the connection's end
    /// too, with [`ExitReason::Unknown`](crate::ExitReason::Unknown).
    ///
    /// A value that takes more than 16 MiB on its way is an error of its call.
    ///
    /// No function is accepted from outside the process tree, so [`call`](Self::call), `update`
    /// and [`pool`](Self::pool) are refused there.
    ///
    /// ```
    /// use procession::{Manager, manager::QueueProxy};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Manager::builder()
    ///     .address("127.0.0.1:0")
    ///     .authkey(b"abracadabra")
    ///     .offer::<QueueProxy<String>>("get_queue")
    ///     .start()?;
    /// let address = server.address().expect("it has one").clone();
    /// let remote = Manager::connect(address, b"abracadabra")?;
    /// let queue = remote.get::<QueueProxy<String>>("get_queue")?;
    /// queue.put("hello".into())?;
    /// assert_eq!(server.get::<QueueProxy<String>>("get_queue")?.get()?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Listener`]: nobody serves there, or with another key.
    pub fn connect(address: impl IntoAddress, authkey: impl AsRef<[u8]>) -> Result<Self> {
        let address = address.into_address().map_err(ListenerError::from)?;
        connect(address, authkey.as_ref(), Values::Native)
    }
}

/// Connects to a manager to which values go as said.
pub(super) fn connect(address: Address, authkey: &[u8], values: Values) -> Result<Manager> {
    // A Python program is no manager of ours, and its handshake could be passed on by whoever
    // stands between.
    let client = Client::builder(&address).authkey(authkey).python_peers(PythonPeers::Off);
    let connection = client.connect()?;
    let line = Line::of(&connection).map_err(ListenerError::from)?;
    let door = runtime::meet(Arc::new(line), values)?;
    Ok(Manager { door, server: None, address: Some(address) })
}

/// A manager's server in this process, beside local users of its objects.
///
/// ```
/// use procession::{Manager, manager::QueueProxy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Manager::builder()
///     .address("127.0.0.1:0")
///     .authkey(b"abc")
///     .offer::<QueueProxy<u32>>("get_queue")
///     .get_server()?;
/// let queue = server.manager().get::<QueueProxy<u32>>("get_queue")?;
/// let stop = server.clone();
/// let serving = std::thread::spawn(move || server.serve_forever());
/// queue.put(1)?;
/// stop.stop();
/// serving.join().expect("it serves until it is stopped");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ManagerServer {
    listener: Arc<Listener>,
    door: Proxy,
    values: Values,
}

impl ManagerServer {
    pub(super) fn new(listener: Arc<Listener>, door: Proxy, values: Values) -> Self {
        Self { listener, door, values }
    }

    /// Where it serves, with the port that it got.
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// Its objects, for this process.
    pub fn manager(&self) -> Manager {
        let address = Some(self.address().clone());
        Manager { door: self.door.clone(), server: None, address }
    }

    /// Lets clients in, until it is [stopped](Self::stop).
    pub fn serve_forever(&self) {
        accept(&self.listener, &self.door, self.values);
    }

    /// Lets no more clients in; those that are there stay.
    pub fn stop(&self) {
        self.listener.close();
    }
}

impl fmt::Debug for ManagerServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerServer").field("address", self.address()).finish_non_exhaustive()
    }
}

/// What only the process can do that started the server.
pub(super) fn not_ours() -> Error {
    Error::Invalid("only the manager that started the server can shut it down or wait for it")
}
