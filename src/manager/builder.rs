//! What a manager is to be, before it is started.
//!
//! Owns the options. It starts nothing but at the end.

use super::server::{Plan, Public, Server, Start};
use super::{Manager, ManagerError, ManagerServer, Offered, OfferedWith, not_in_image, remote};
use crate::error::{Error, Result};
use crate::listener::{Address, IntoAddress, ListenerError, PythonPeers, Serializer};
use procession_protocols::id::NodeId;
use procession_runtime::actor::{Actor, IntoActor, Wire};
use procession_runtime::function::{Entry, FunctionRef, NotInImage};
use procession_runtime::manager::{Factory, Offer, Reception, Routine, Stored, Values};
use procession_runtime::node;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;

/// Options for a [`Manager`]; see [`Manager::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until start"]
pub struct ManagerBuilder {
    name: Option<String>,
    shutdown_timeout: Duration,
    address: Option<Address>,
    authkey: Option<Vec<u8>>,
    python: PythonPeers,
    values: Values,
    initializer: Option<Start>,
    offers: BTreeMap<String, Offer>,
    /// The first thing that went wrong; it is told at the start.
    failed: Option<Error>,
}

impl Default for ManagerBuilder {
    fn default() -> Self {
        Self {
            name: None,
            shutdown_timeout: Duration::from_secs(1),
            address: None,
            authkey: None,
            python: PythonPeers::default(),
            values: Values::Native,
            initializer: None,
            offers: BTreeMap::new(),
            failed: None,
        }
    }
}

impl ManagerBuilder {
    /// The name of its process; by default `SyncManager-` and its place in the tree.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long [`Manager::shutdown`] waits for the server's end before it is terminated,
    /// and then again before it is killed; 1 s by default.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Serves programs outside the process tree too, at this address: `"127.0.0.1:0"` for
    /// example, where 0 is any free port, or the path of a Unix socket. Without one, no
    /// port or socket file exists.
    pub fn address(mut self, address: impl IntoAddress) -> Self {
        match address.into_address() {
            Ok(address) => self.address = Some(address),
            Err(error) => {
                self.failed.get_or_insert(ListenerError::from(error).into());
            }
        }
        self
    }

    /// The key that they have to know; by default this process's.
    pub fn authkey(mut self, authkey: impl AsRef<[u8]>) -> Self {
        self.authkey = Some(authkey.as_ref().to_vec());
        self
    }

    /// Whether, and how, Python programs may be clients; by default as Python from 3.12 on
    /// proves the key. They speak Python's own protocol on the same port.
    ///
    /// A Python program uses what is [offered](Self::offer), and makes stock objects by
    /// Python's names for them. It sees numbers, texts, bytes and what is kept as
    /// [`Dynamic`](crate::Dynamic) or [`PlainData`](crate::PlainData), whoever put it there; a value
    /// of another type of a Rust program's is an error of the call that meets it. What it
    /// puts there itself a Rust program reads as a `Dynamic`, or as a type that it fits. Its
    /// connections are clients like others: what one holds goes back when it ends. Objects
    /// that it made and let go of without a word, killed, stay until the manager ends, as in
    /// Python.
    ///
    /// The key proves who a peer is, but Python's handshake cannot prevent that somebody
    /// between the two sides passes it on.
    pub fn python_peers(mut self, peers: PythonPeers) -> Self {
        self.python = peers;
        self
    }

    /// How values go to and from programs of this library outside the process tree; both ends
    /// must say the same, or [`connect`](Self::connect) fails with
    /// [`ManagerError::Values`].
    ///
    /// With [`Serializer::Json`] they go as JSON, which carries what the usual format cannot
    /// (serde's `flatten`, `untagged`, `skip_serializing_if`), and the server keeps them as
    /// plain data: its own tree reads them as any type that they fit. What the tree puts there
    /// must be plain data as well, as for [Python programs](Self::python_peers), or a call that
    /// meets it fails. As JSON has it, tuples come back as lists, and bytes as lists of numbers;
    /// keys within a value must be texts, and numbers finite. What has references to other
    /// objects in it, and the messages of own objects, go as ever.
    ///
    /// ```
    /// use procession::{Manager, PlainData, Serializer, manager::QueueProxy};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Manager::builder()
    ///     .address("127.0.0.1:0")
    ///     .authkey(b"abc")
    ///     .serializer(Serializer::Json)
    ///     .offer::<QueueProxy<PlainData<(String, u8)>>>("get_queue")
    ///     .start()?;
    /// let address = server.address().expect("it has one").clone();
    /// let client = Manager::builder().address(address).authkey(b"abc");
    /// let remote = client.serializer(Serializer::Json).connect()?;
    /// remote.get::<QueueProxy<PlainData<(String, u8)>>>("get_queue")?.put(PlainData(("a".into(), 1)))?;
    /// let queue = server.get::<QueueProxy<PlainData<(String, u8)>>>("get_queue")?;
    /// assert_eq!(queue.get()?.0, ("a".into(), 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn serializer(mut self, serializer: Serializer) -> Self {
        match serializer {
            Serializer::Native => self.values = Values::Native,
            Serializer::Json => self.values = Values::Json,
            Serializer::Pickle => {
                let text = "a manager's values go natively or as JSON; see python_peers";
                self.failed.get_or_insert(Error::Invalid(text));
            }
        }
        self
    }

    /// Offers a stock object that begins empty, the same for everybody who asks by
    /// [`Manager::get`]. A semaphore begins with one permit; a condition has a recursive lock of
    /// its own.
    pub fn offer<P: Offered>(mut self, name: impl Into<String>) -> Self {
        self.offers.insert(name.into(), Offer::Stock(P::form(), P::seed()));
        self
    }

    /// As [`offer`](Self::offer), of one that begins with something: the values of a dict, list,
    /// set, array or value, the most items of a queue (0 is no bound), the permits of a
    /// semaphore, the parties of a barrier (one at least).
    ///
    /// ```
    /// use procession::{Manager, manager::{BarrierProxy, QueueProxy, ValueProxy}};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::builder()
    ///     .offer_with::<QueueProxy<String>>("tasks", 100)
    ///     .offer_with::<BarrierProxy>("start", 4)
    ///     .offer_with::<ValueProxy<f64>>("rate", 0.5)
    ///     .start()?;
    /// assert_eq!(manager.get::<BarrierProxy>("start")?.parties(), 4);
    /// assert_eq!(manager.get::<ValueProxy<f64>>("rate")?.get()?, 0.5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn offer_with<P: OfferedWith>(
        mut self,
        name: impl Into<String>,
        beginning: P::Beginning,
    ) -> Self {
        match P::seed_with(beginning) {
            Ok(seed) => {
                self.offers.insert(name.into(), Offer::Stock(P::form(), seed));
            }
            Err(error) => {
                self.failed.get_or_insert(ManagerError::from(error).into());
            }
        }
        self
    }

    /// Runs a function in the server's process before anything else.
    pub fn initializer<F, A>(mut self, function: F, args: A) -> Self
    where
        F: Entry<A> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        F::Output: Serialize + 'static,
    {
        let named = Routine::of(function);
        if let (Some(function), Some(args)) = (self.known(named), self.encoded(&args)) {
            self.initializer = Some(Start { function, args });
        }
        self
    }

    /// Offers a function that makes an actor, which the server hosts; called for each
    /// request by [`Manager::make`].
    ///
    /// ```
    /// use procession::{Actor, Manager, methods};
    ///
    /// #[derive(Actor)]
    /// struct Maths;
    ///
    /// #[methods]
    /// impl Maths {
    ///     pub fn add(&mut self, a: i64, b: i64) -> i64 { a + b }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::builder().register("Maths", || Maths).start()?;
    /// let maths = manager.make::<Maths>("Maths", ())?;
    /// assert_eq!(maths.add(4, 3)?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn register<F, Args, A>(self, name: impl Into<String>, make: F) -> Self
    where
        F: Entry<Args> + Copy + 'static,
        F::Output: IntoActor<A>,
        Args: DeserializeOwned + 'static,
        A: Actor + Send,
        A::Msg: Wire,
    {
        self.actor::<F, Args, A>(name.into(), make, None, false)
    }

    /// As [`register`](Self::register), but of the actor's methods only these can be
    /// called: a call of another one is refused in the server, with
    /// [`CallError::NotExposed`](crate::CallError::NotExposed), whoever makes it.
    pub fn register_exposed<F, Args, A>(
        self,
        name: impl Into<String>,
        make: F,
        methods: &[&str],
    ) -> Self
    where
        F: Entry<Args> + Copy + 'static,
        F::Output: IntoActor<A>,
        Args: DeserializeOwned + 'static,
        A: Actor + Send,
        A::Msg: Wire,
    {
        self.actor::<F, Args, A>(name.into(), make, Some(names(methods)), false)
    }

    /// As [`register_exposed`](Self::register_exposed), but nobody can ask for it from
    /// outside: only methods and functions that run in the server, by
    /// [`Manager::here`], which then give the reference away. Python's
    /// `create_method=False`.
    pub fn register_inside<F, Args, A>(
        self,
        name: impl Into<String>,
        make: F,
        methods: &[&str],
    ) -> Self
    where
        F: Entry<Args> + Copy + 'static,
        F::Output: IntoActor<A>,
        Args: DeserializeOwned + 'static,
        A: Actor + Send,
        A::Msg: Wire,
    {
        self.actor::<F, Args, A>(name.into(), make, Some(names(methods)), true)
    }

    fn actor<F, Args, A>(
        mut self,
        name: String,
        make: F,
        exposed: Option<Vec<String>>,
        inside_only: bool,
    ) -> Self
    where
        F: Entry<Args> + Copy + 'static,
        F::Output: IntoActor<A>,
        Args: DeserializeOwned + 'static,
        A: Actor + Send,
        A::Msg: Wire,
    {
        if let Some(function) = self.known(Routine::actor::<F, Args, A>(make)) {
            self.offers.insert(name, Offer::Made(Factory { function, exposed, inside_only }));
        }
        self
    }

    /// Offers a function whose result goes to who asks, called for each request by
    /// [`Manager::get`].
    pub fn register_value<F>(mut self, name: impl Into<String>, make: F) -> Self
    where
        F: Entry<()> + Copy + 'static,
        F::Output: Serialize + 'static,
    {
        if let Some(function) = self.known(Routine::of::<F, ()>(make)) {
            let factory = Factory { function, exposed: None, inside_only: false };
            self.offers.insert(name.into(), Offer::Made(factory));
        }
        self
    }

    /// Offers one value, a queue for example, which is the same for everybody who asks by
    /// [`Manager::get`].
    pub fn share<T: Serialize>(mut self, name: impl Into<String>, value: T) -> Self {
        if let Some(value) = self.encoded(&value) {
            self.offers.insert(name.into(), Offer::Shared(value));
        }
        self
    }

    /// Starts it; returns when it is ready.
    ///
    /// # Errors
    /// [`Error::Start`](crate::Error::Start) and its kin;
    /// [`Error::Manager`](crate::Error::Manager) when the initializer fails, or a function
    /// or value cannot be named or encoded.
    pub fn start(self) -> Result<Manager> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let authkey = self.authkey.unwrap_or_else(|| node::current().authkey());
        let (python, values) = (self.python, self.values);
        let public = self.address.map(|address| Public { address, authkey, python, values });
        let plan = Plan::new(public, self.initializer, self.offers);
        let (server, door, address) = Server::start(self.name, self.shutdown_timeout, &plan)?;
        Ok(Manager { door, server: Some(server), address })
    }

    /// Connects to a manager that serves at the [address](Self::address), instead of starting
    /// one: [`Manager::connect`] with options. What a server is told has no meaning here.
    ///
    /// # Errors
    /// As [`Manager::connect`]; [`Error::Invalid`] without an address;
    /// [`ManagerError::Values`] when the manager has another
    /// [serializer](Self::serializer).
    pub fn connect(self) -> Result<Manager> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let address = self.address.ok_or(Error::Invalid("a manager is connected to by address"))?;
        let authkey = self.authkey.unwrap_or_else(|| node::current().authkey());
        remote::connect(address, &authkey, self.values)
    }

    /// A server in this process, for [`ManagerServer::serve_forever`].
    ///
    /// # Errors
    /// [`Error::Listener`]: nobody can listen at the address; [`Error::Invalid`] when there
    /// is none; [`Error::Manager`] as [`start`](Self::start).
    pub fn get_server(self) -> Result<ManagerServer> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let address = self.address.ok_or(Error::Invalid("a server needs an address"))?;
        let authkey = self.authkey.unwrap_or_else(|| node::current().authkey());
        let values = self.values;
        let listener = Public { address, authkey, python: self.python, values }.bind()?;
        if let Some(Start { function, args }) = self.initializer {
            Routine::run(&function, &args).map_err(ManagerError::from)?;
        }
        let door = Reception::open(self.offers).map_err(ManagerError::from)?;
        Ok(ManagerServer::new(listener, door, values))
    }

    fn known(
        &mut self,
        named: std::result::Result<FunctionRef, NotInImage>,
    ) -> Option<FunctionRef> {
        named.map_err(|error| self.failed.get_or_insert(not_in_image(error).into())).ok()
    }

    fn encoded<T: Serialize>(&mut self, value: &T) -> Option<Stored> {
        // It is no server's yet.
        let encoded = Stored::encode(value, NodeId::new());
        encoded.map_err(|error| self.failed.get_or_insert(error.into())).ok()
    }
}

fn names(methods: &[&str]) -> Vec<String> {
    methods.iter().map(|&method| method.to_owned()).collect()
}
