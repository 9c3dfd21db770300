//! What a manager is to be, before it is started.
//!
//! Owns the options. It starts nothing but at the end.

use super::server::{Server, Start};
use super::{Manager, not_in_image};
use crate::error::Result;
use procession_protocols::id::NodeId;
use procession_runtime::actor::{Actor, IntoActor, Wire};
use procession_runtime::function::{Entry, FunctionRef, NotInImage};
use procession_runtime::manager::{Factory, Offer, Routine, Stored};
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
    initializer: Option<Start>,
    offers: BTreeMap<String, Offer>,
    /// The first thing that went wrong; it is told at the start.
    failed: Option<super::ManagerError>,
}

impl Default for ManagerBuilder {
    fn default() -> Self {
        Self {
            name: None,
            shutdown_timeout: Duration::from_secs(1),
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
        self.actor::<F, Args, A>(name.into(), make, None)
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
        let methods = methods.iter().map(|&method| method.to_owned()).collect();
        self.actor::<F, Args, A>(name.into(), make, Some(methods))
    }

    fn actor<F, Args, A>(mut self, name: String, make: F, exposed: Option<Vec<String>>) -> Self
    where
        F: Entry<Args> + Copy + 'static,
        F::Output: IntoActor<A>,
        Args: DeserializeOwned + 'static,
        A: Actor + Send,
        A::Msg: Wire,
    {
        if let Some(function) = self.known(Routine::actor::<F, Args, A>(make)) {
            self.offers.insert(name, Offer::Made(Factory { function, exposed }));
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
            self.offers.insert(name.into(), Offer::Made(Factory { function, exposed: None }));
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
        let Self { name, shutdown_timeout, initializer, offers, failed } = self;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let (server, door) = Server::start(name, shutdown_timeout, initializer, offers)?;
        Ok(Manager { door, server })
    }

    fn known(
        &mut self,
        named: std::result::Result<FunctionRef, NotInImage>,
    ) -> Option<FunctionRef> {
        named.map_err(|error| self.failed.get_or_insert(not_in_image(error))).ok()
    }

    fn encoded<T: Serialize>(&mut self, value: &T) -> Option<Stored> {
        // It is no server's yet.
        let encoded = Stored::encode(value, NodeId::new());
        encoded.map_err(|error| self.failed.get_or_insert(error.into())).ok()
    }
}
