//! Actors that a server hosts.
//!
//! Owns the making of an actor by a function that a server's maker registered, and the
//! subset of its methods that is exposed under a name: a message of another one is refused
//! here, in the actor's own process, whoever made it. The references to it are the usual
//! ones.

use super::door::Reception;
use super::object::Counted;
use crate::actor::{
    Actor, ActorRef, CallError, Handler, IntoActor, MailboxOptions, StartError, here, host, refuse,
};
use crate::down::Down;
use crate::sync::lock;
use procession_protocols::exit::ExitReason;
use procession_protocols::id::ActorId;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Hosts what a function made.
pub(super) fn host_made<A>(
    made: impl IntoActor<A>,
    exposed: Option<&[String]>,
) -> Result<ActorRef<A>, String>
where
    A: Actor + Send,
{
    host_as_object(made.into_actor()?, A::NAME, A::MAILBOX, exposed)
        .map_err(|error| error.to_string())
}

/// Hosts a handler, which counts as a managed object.
///
/// # Errors
/// As [`host`](crate::actor::host::host).
pub fn host_as_object<H: Handler + Send>(
    handler: H,
    name: &str,
    options: MailboxOptions,
    exposed: Option<&[String]>,
) -> Result<ActorRef<H>, StartError> {
    let variants = exposed.map(|methods| methods.iter().map(|method| variant(method)).collect());
    let server = Reception::current();
    let face = Face { handler, variants, server, narrow: None, _counted: Counted::new() };
    host::host(face, name, options).map(ActorRef::of_same_messages)
}

/// The numbers of actors of which only some messages can be sent.
static NARROW: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// Whether only some messages can be sent to the actor with this number.
pub(super) fn is_narrow(number: u64) -> bool {
    lock(&NARROW).contains(&number)
}

/// Has the actor's number there while it lives.
struct Narrow(u64);

impl Narrow {
    fn of(actor: ActorId) -> Self {
        lock(&NARROW).insert(actor.number);
        Self(actor.number)
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        lock(&NARROW).remove(&self.0);
    }
}

/// An actor as a managed object.
struct Face<H> {
    handler: H,
    /// The messages that can be sent; `None` is all.
    variants: Option<Vec<String>>,
    /// The server that hosts it.
    server: Option<Reception>,
    narrow: Option<Narrow>,
    _counted: Counted,
}

impl<H: Handler> Handler for Face<H> {
    type Msg = H::Msg;

    fn handle(&mut self, message: H::Msg) {
        let name = crate::actor::Message::variant_name(&message);
        let is_exposed = |variants: &Vec<String>| variants.iter().any(|variant| variant == name);
        if self.variants.as_ref().is_none_or(is_exposed) {
            self.handler.handle(message);
        } else {
            refuse(CallError::NotExposed, move || drop(message));
        }
    }

    fn on_start(&mut self) -> Result<(), StartError> {
        // The thread is the actor's own.
        Reception::settle(self.server.clone());
        self.narrow = self.variants.as_ref().and(here()).map(Narrow::of);
        self.handler.on_start()
    }

    fn on_stop(&mut self, why: &ExitReason) {
        self.handler.on_stop(why);
    }

    fn on_down(&mut self, down: &Down) {
        self.handler.on_down(down);
    }
}

/// The message that `#[methods]` makes of a method: `FetchAll` of `fetch_all`.
fn variant(method: &str) -> String {
    let mut name = String::new();
    for word in method.split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(letters.as_str());
    }
    name
}
