//! Actors: state, a handler and a mailbox, reached by typed references.
//!
//! Owns everything about an actor within one node, and the seam to other processes:
//! `message` (what travels), `reply`, `mailbox`, `host` (threads and the loop),
//! `reference` (what callers hold) and `local` (what it shares), `remote` (the seam, which the node fills), `current`
//! (thread-locals), `names`, `error`. It must never touch a descriptor: links do, from above the
//! seam. The macros of `procession-macros` implement the traits here.

mod adapter;
mod current;
mod error;
pub mod host;
mod local;
mod mailbox;
pub mod message;
mod names;
pub mod process;
mod reference;
pub mod remote;
mod reply;

pub use current::mark_library_thread;
pub(crate) use current::{here, refuse};
pub use error::{CallError, SendError, StartError};
pub use local::Local;
pub use mailbox::{Entry, Mailbox, Turn};
pub use message::{Message, Wire, WireArg, WireFns};
pub use names::whereis;
pub use process::IntoActor;
pub use reference::ActorRef;
pub use reply::{Reply, ReplyPort, ReplyReceiver, ReplySink};

use crate::down::Down;
use procession_protocols::exit::ExitReason;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// An actor's state and what it does with a message. `#[methods]` implements it; write
/// it by hand where the message is an enum of your own, with `#[derive(Message)]`.
///
/// All of it runs on the actor's own thread, one call at a time. A panic in any of it
/// ends the actor, with [`ExitReason::Panic`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` handles no messages",
    note = "write `#[procession::methods] impl ..` for it, or implement `procession::Handler`"
)]
pub trait Handler: Sized + 'static {
    /// What it is sent.
    type Msg: Message;

    /// Handles one message.
    fn handle(&mut self, message: Self::Msg);

    /// Runs before the first message; who starts the actor waits for it.
    ///
    /// # Errors
    /// Why the actor cannot start.
    fn on_start(&mut self) -> Result<(), StartError> {
        Ok(())
    }

    /// Runs after the last message of an actor that ends in order: stopped, or no longer
    /// referred to. Not after a panic or a kill.
    fn on_stop(&mut self, why: &ExitReason) {
        let _ = why;
    }

    /// Hears of the end of an actor that this one watches ([`ActorRef::watch`]).
    fn on_down(&mut self, down: &Down) {
        let _ = down;
    }
}

/// A type whose values can be started as actors; `#[derive(Actor)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an actor",
    note = "put `#[derive(procession::Actor)]` on it"
)]
pub trait Actor: Handler {
    /// Its reference, with a method for each message.
    type Ref: From<ActorRef<Self>>;

    /// Its name, until it is given another.
    const NAME: &'static str;

    /// Its mailbox.
    const MAILBOX: MailboxOptions = MailboxOptions::DEFAULT;

    /// Hosts the actor in this process, on a thread of its own that has its name;
    /// returns after its `on_start`. Needs no serde.
    ///
    /// It lives while there is a reference to it, or until it is stopped or panics.
    ///
    /// # Errors
    /// [`StartError`]: `on_start` refused or panicked, or there was no thread.
    fn host(self) -> Result<Self::Ref, StartError>
    where
        Self: Send,
    {
        host::host(self, Self::NAME, Self::MAILBOX).map(Self::Ref::from)
    }

    /// As [`host`](Self::host), under a name by which [`whereis`] finds it in this process.
    /// The name counts as a reference: the actor lives until it is stopped or panics, and
    /// then the name is free again.
    ///
    /// # Errors
    /// [`StartError::NameTaken`], and as [`host`](Self::host).
    fn host_named(self, name: &str) -> Result<Self::Ref, StartError>
    where
        Self: Send,
    {
        let claim = names::Claim::new(name)?;
        let actor = host::host(self, name, Self::MAILBOX)?;
        claim.fill(actor.clone());
        Ok(actor.into())
    }

    /// Starts the actor in a process of its own; returns after its `on_start`.
    ///
    /// It lives until it is stopped, until it panics or dies, or until its last reference
    /// is dropped, in whatever process that is.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left of the attempt.
    fn spawn(self) -> Result<Self::Ref, StartError>
    where
        Self: Serialize + DeserializeOwned,
        Self::Msg: Wire,
    {
        process::spawn(&self, None).map(Self::Ref::from)
    }

    /// As [`spawn`](Self::spawn), under a name by which [`whereis`] finds it in this
    /// process, and which its process has as well. The name counts as a reference: the actor
    /// lives until it is stopped, panics or dies, and then the name is free again.
    ///
    /// # Errors
    /// [`StartError::NameTaken`], and as [`spawn`](Self::spawn).
    fn spawn_named(self, name: &str) -> Result<Self::Ref, StartError>
    where
        Self: Serialize + DeserializeOwned,
        Self::Msg: Wire,
    {
        let claim = names::Claim::new(name)?;
        let actor = process::spawn(&self, Some(name))?;
        claim.fill(actor.clone());
        Ok(actor.into())
    }

    /// Starts an actor in a process of its own, whose state `make` makes there: a
    /// function that returns the actor, or a `Result` of it.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left of the attempt.
    fn spawn_with<F, Args>(make: F, args: Args) -> Result<Self::Ref, StartError>
    where
        F: crate::function::Entry<Args> + Copy + 'static,
        F::Output: IntoActor<Self>,
        Args: Serialize + DeserializeOwned + 'static,
        Self::Msg: Wire,
    {
        process::spawn_with::<Self, F, Args>(make, &args).map(Self::Ref::from)
    }
}

/// How much waits for an actor, and what happens to more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxOptions {
    /// Most messages that may wait.
    pub capacity: usize,
    /// What happens to more.
    pub overflow: Overflow,
}

impl MailboxOptions {
    /// 1,024 messages; senders of more wait for five seconds.
    pub const DEFAULT: Self =
        Self { capacity: 1024, overflow: Overflow::Block(Duration::from_secs(5)) };

    /// With room for so many messages.
    #[must_use]
    pub const fn capacity(self, capacity: usize) -> Self {
        Self { capacity, ..self }
    }

    /// With this to happen to more.
    #[must_use]
    pub const fn overflow(self, overflow: Overflow) -> Self {
        Self { overflow, ..self }
    }
}

/// What happens to a message for which a mailbox has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// Its sender waits, at most for this long.
    Block(Duration),
    /// Its sender gets [`CallError::Full`].
    Fail,
    /// A cast is dropped without a word; a call gets [`CallError::Full`].
    DropNew,
}

/// What an `on_start` hook may return: nothing, or a `Result` whose error says why not.
#[diagnostic::on_unimplemented(
    message = "an `on_start` hook returns nothing, or `Result<(), E>` where `E: Display`",
    label = "this hook returns `{Self}`"
)]
pub trait Started {
    /// The outcome.
    ///
    /// # Errors
    /// The hook's error, as text.
    fn started(self) -> Result<(), StartError>;
}

impl Started for () {
    fn started(self) -> Result<(), StartError> {
        Ok(())
    }
}

impl<E: fmt::Display> Started for Result<(), E> {
    fn started(self) -> Result<(), StartError> {
        self.map_err(|error| StartError::Failed(error.to_string()))
    }
}
