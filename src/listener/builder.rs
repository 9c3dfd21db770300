//! Options of listeners and clients.
//!
//! Owns what can be set before there is a socket; mistakes are told when it is made.

use super::{
    Address, AddressError, AuthError, Connection, IntoAddress, Listener, ListenerError,
    PythonPeers, connection,
};
use procession_protocols::auth::AuthKey;
use procession_runtime::listener::{self as runtime, Options};
use std::sync::Mutex;
use std::time::Duration;

/// How values are written on a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Serializer {
    /// As the peer proved itself: `MessagePack`, fields by name, for programs of this library
    /// and those that need no key; pickles for Python.
    #[default]
    Native,
    /// JSON, whoever the peer is. Both sides must say so.
    Json,
    /// Pickles of plain data, whoever the peer is: Python without a key.
    Pickle,
}

/// Options of a [`Listener`], before it listens.
#[derive(Debug)]
pub struct ListenerBuilder {
    address: Result<Option<Address>, AddressError>,
    common: Common,
}

/// Options of a [`Client`](super::Client), before it connects.
#[derive(Debug)]
pub struct ClientBuilder {
    address: Result<Address, AddressError>,
    common: Common,
}

#[derive(Debug, Default)]
struct Common {
    options: Options,
    serializer: Serializer,
    bad_key: Option<AuthError>,
}

impl Common {
    fn authkey(&mut self, bytes: &[u8]) {
        match AuthKey::new(bytes) {
            Ok(key) => (self.options.key, self.bad_key) = (Some(key), None),
            Err(error) => self.bad_key = Some(error),
        }
    }

    fn check(self) -> Result<(Options, Serializer), ListenerError> {
        match self.bad_key {
            Some(error) => Err(error.into()),
            None => Ok((self.options, self.serializer)),
        }
    }
}

impl Default for ListenerBuilder {
    fn default() -> Self {
        Self { address: Ok(None), common: Common::default() }
    }
}

impl ListenerBuilder {
    /// Where to listen. Without one it is a Unix socket in a folder of its own that only this
    /// user can enter.
    #[must_use]
    pub fn address(mut self, address: impl IntoAddress) -> Self {
        self.address = address.into_address().map(Some);
        self
    }

    /// The key that clients must know. Without one there is no handshake, and everybody who
    /// can connect is accepted: over TCP that is everybody.
    #[must_use]
    pub fn authkey(mut self, authkey: impl AsRef<[u8]>) -> Self {
        self.common.authkey(authkey.as_ref());
        self
    }

    /// Whether, and how, clients may speak Python's handshake; by default as Python from 3.12
    /// on does. It proves the key as well, but cannot prevent that somebody between the two
    /// sides passes the handshake on and then uses the connection.
    #[must_use]
    pub fn python_peers(mut self, peers: PythonPeers) -> Self {
        self.common.options.python = peers;
        self
    }

    /// How values are written.
    #[must_use]
    pub fn serializer(mut self, serializer: Serializer) -> Self {
        self.common.serializer = serializer;
        self
    }

    /// The longest message that is taken from a client, in bytes; 16 MiB if nothing is said.
    #[must_use]
    pub fn max_message(mut self, bytes: u64) -> Self {
        self.common.options.longest = bytes;
        self
    }

    /// How long a client may take to prove itself; 10 s if nothing is said.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.common.options.patience = timeout;
        self
    }

    /// How many clients may be proving themselves at once; 128 if nothing is said. One more
    /// sends the oldest of them away.
    #[must_use]
    pub fn max_pending(mut self, count: usize) -> Self {
        self.common.options.pending = count;
        self
    }

    /// How many clients may wait to be accepted; 128 if nothing is said.
    #[must_use]
    pub fn backlog(mut self, count: u16) -> Self {
        self.common.options.backlog = count;
        self
    }

    /// The mode of the file of a Unix socket; 0600 if nothing is said.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.common.options.mode = mode;
        self
    }

    /// Whether processes of other users may connect to a Unix socket; not if nothing is said.
    /// Those that are not to come are told so, with
    /// [`AuthError::OtherUser`](crate::AuthError::OtherUser), by a listener with a key.
    #[must_use]
    pub fn other_users(mut self, allowed: bool) -> Self {
        self.common.options.other_users = allowed;
        self
    }

    /// Whether [`Listener::accept`] ends with the error of each client that fails to prove
    /// itself or is another user's. Somebody without the key can then end each of your accepts.
    #[must_use]
    pub fn report_refused(mut self, report: bool) -> Self {
        self.common.options.reports = report;
        self
    }

    /// Listens.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn bind(self) -> Result<Listener, ListenerError> {
        let (options, serializer) = self.common.check()?;
        let inner = runtime::Listener::open(self.address?.as_ref(), options)?;
        Ok(Listener { inner, serializer, last: Mutex::default() })
    }
}

impl ClientBuilder {
    pub(super) fn new(address: impl IntoAddress) -> Self {
        Self { address: address.into_address(), common: Common::default() }
    }

    /// The key that the listener must know. Without one there is no handshake.
    #[must_use]
    pub fn authkey(mut self, authkey: impl AsRef<[u8]>) -> Self {
        self.common.authkey(authkey.as_ref());
        self
    }

    /// Whether, and how, the listener may speak Python's handshake; see
    /// [`ListenerBuilder::python_peers`].
    #[must_use]
    pub fn python_peers(mut self, peers: PythonPeers) -> Self {
        self.common.options.python = peers;
        self
    }

    /// How values are written.
    #[must_use]
    pub fn serializer(mut self, serializer: Serializer) -> Self {
        self.common.serializer = serializer;
        self
    }

    /// The longest message that is taken from the listener, in bytes; 16 MiB if nothing is
    /// said.
    #[must_use]
    pub fn max_message(mut self, bytes: u64) -> Self {
        self.common.options.longest = bytes;
        self
    }

    /// How long the connect and the handshake may take; 10 s if nothing is said.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.common.options.patience = timeout;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`Client::connect`](super::Client::connect).
    pub fn connect(self) -> Result<Connection, ListenerError> {
        let (options, serializer) = self.common.check()?;
        Ok(connection(runtime::dial(&self.address?, &options)?, serializer))
    }

    /// As [`connect`](Self::connect), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn connect_async(self) -> Result<Connection, ListenerError> {
        let (options, serializer) = self.common.check()?;
        Ok(connection(runtime::dial_async(&self.address?, &options).await?, serializer))
    }
}
