//! `Listener` and `Client`: connections to programs that are no relatives.
//!
//! Owns the two and their options. Handshakes and waits are the runtime's; what is sent and
//! received is a [`Connection`]'s. Neighbours: `builder` (the options), `challenge` (Python's
//! handshake by hand).

mod builder;
mod challenge;

pub use builder::{ClientBuilder, ListenerBuilder, Serializer};
pub use challenge::{
    answer_challenge, answer_challenge_async, deliver_challenge, deliver_challenge_async,
    deliver_challenge_with,
};
pub use procession_protocols::auth::{AuthError, Digest, Python as PythonPeers};
pub use procession_runtime::listener::{
    Address, AddressError, Credentials, IntoAddress, ListenerError, Protocol,
    SILENCE as PEER_SILENCE,
};

use crate::pipe::{Connection, PeerInfo, Wire};
use procession_runtime::listener::{self as runtime, Peer};
use procession_runtime::sync::{after, lock};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Accepts connections at an address, from programs that know a key.
///
/// Over TCP and Unix sockets; the peer is another program of this library, or Python
/// ([`python_peers`](ListenerBuilder::python_peers)). What comes out is a [`Connection`],
/// whose messages are `MessagePack` for programs of this library, pickles for Python, and can
/// be JSON for all ([`Serializer`]). A pickle is read as plain data; one that names a class
/// other than a handful of known ones is an error. What has no type known beforehand is
/// received as a [`Dynamic`](crate::Dynamic). Descriptors, handles and functions do not travel
/// here.
///
/// The key proves who the peer is; it does not encrypt. Over TCP each message between
/// programs of this library carries a code that only the two can make, so that nobody
/// changes, repeats or leaves one out on the way.
///
/// A TCP peer that cannot be reached for [`PEER_SILENCE`] is gone, and its connection ends: so
/// does each wait for what was to come over it.
///
/// A Unix socket belongs to this user alone: file mode 0600, and processes of other users
/// are sent away. The file is removed when the listener is closed, dropped, or its process
/// ends; one that a killed process has left is replaced.
///
/// ```
/// use procession::{Client, Listener, Process};
///
/// # fn main() -> procession::Result<()> {
/// let listener = Listener::bind("127.0.0.1:0", b"secret")?;
/// let client = |address: procession::Address| {
///     let connection = Client::connect(address, b"secret").unwrap();
///     connection.send(&1729).unwrap();
/// };
/// let p = Process::spawn(client, (listener.address().clone(),))?;
/// let connection = listener.accept()?;
/// assert_eq!(connection.recv::<i32>()?, 1729);
/// p.join()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Listener {
    inner: runtime::Listener,
    serializer: Serializer,
    last: Mutex<Option<Address>>,
}

impl Listener {
    /// Listens at an address for programs that know the key; see [`Address`] for how a text
    /// reads as one.
    ///
    /// # Errors
    /// [`ListenerError::Io`] when somebody listens there, and others of the system's;
    /// [`ListenerError::Address`], and [`ListenerError::Authentication`] for an empty key.
    pub fn bind(
        address: impl IntoAddress,
        authkey: impl AsRef<[u8]>,
    ) -> Result<Self, ListenerError> {
        Self::builder().address(address).authkey(authkey).bind()
    }

    /// A listener with options.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder::default()
    }

    /// Where it listens, for clients: with the port or the path that it got.
    pub fn address(&self) -> &Address {
        self.inner.address()
    }

    /// Where the last accepted client was; `None` at first, and for clients at Unix sockets,
    /// which have no address. [`Connection::peer`] says more.
    pub fn last_accepted(&self) -> Option<Address> {
        lock(&self.last).clone()
    }

    /// Waits for a client that proves that it knows the key.
    ///
    /// One that does not is told so, logged as a warning, and the wait goes on; with
    /// [`report_refused`](ListenerBuilder::report_refused) the wait ends with its error, as
    /// in Python. Several threads may accept at once.
    ///
    /// # Errors
    /// [`ListenerError::Closed`], also when it is closed meanwhile; others of the system's.
    pub fn accept(&self) -> Result<Connection, ListenerError> {
        self.accept_until(None)
    }

    /// As [`accept`](Self::accept), at most `timeout` long.
    ///
    /// # Errors
    /// [`ListenerError::Timeout`], and as [`accept`](Self::accept).
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Connection, ListenerError> {
        self.accept_until(after(timeout))
    }

    /// As [`accept`](Self::accept), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: handshakes go on with the next accept.
    pub async fn accept_async(&self) -> Result<Connection, ListenerError> {
        let peer = self.inner.accept_async().await?;
        Ok(self.accepted(peer))
    }

    fn accept_until(&self, deadline: Option<Instant>) -> Result<Connection, ListenerError> {
        let peer = self.inner.accept(deadline)?;
        Ok(self.accepted(peer))
    }

    fn accepted(&self, peer: Peer) -> Connection {
        lock(&self.last).clone_from(&peer.address);
        connection(peer, self.serializer)
    }

    /// Stops listening; closing twice is no error. Who waits in [`accept`](Self::accept) gets
    /// [`ListenerError::Closed`]. Accepted connections stay.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Whether it has been closed.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
}

/// Connects to listeners. It has no values: what it makes is a [`Connection`].
#[derive(Debug)]
pub enum Client {}

impl Client {
    /// Connects to a listener of this library or of Python, and proves that this program
    /// knows the key; at most 10 s long.
    ///
    /// # Errors
    /// [`ListenerError::Io`] when nobody listens there; [`ListenerError::Authentication`]
    /// when the listener has another key, or accepts no such client;
    /// [`ListenerError::Timeout`]; [`ListenerError::Address`].
    pub fn connect(
        address: impl IntoAddress,
        authkey: impl AsRef<[u8]>,
    ) -> Result<Connection, ListenerError> {
        Self::builder(address).authkey(authkey).connect()
    }

    /// As [`connect`](Self::connect), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub fn connect_async(
        address: impl IntoAddress,
        authkey: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<Connection, ListenerError>> + Send {
        Self::builder(address).authkey(authkey).connect_async()
    }

    /// A client with options.
    pub fn builder(address: impl IntoAddress) -> ClientBuilder {
        ClientBuilder::new(address)
    }
}

/// What has come of an accept or a connect.
fn connection(peer: Peer, serializer: Serializer) -> Connection {
    let wire = match (serializer, peer.protocol) {
        (Serializer::Json, _) => Wire::Json,
        (Serializer::Pickle, _) | (Serializer::Native, Protocol::Python(_)) => Wire::Pickle,
        (Serializer::Native, Protocol::Native { .. } | Protocol::Open) => Wire::MsgPack,
    };
    let info =
        PeerInfo { protocol: peer.protocol, address: peer.address, credentials: peer.credentials };
    Connection::to_peer(peer.end, wire, info)
}
