//! Actors that a server hosts.
//!
//! Owns the making of an actor by a function that a server's maker registered, and the
//! subset of its methods that is exposed under a name: a message of another one is refused
//! here, in the actor's own process, whoever made it. The references to it are the usual
//! ones.

use super::object::Counted;
use crate::actor::{Actor, ActorRef, CallError, Handler, IntoActor, StartError, host, refuse};
use crate::down::Down;
use procession_protocols::exit::ExitReason;

/// Hosts what a function made.
pub(super) fn host_made<A>(
    made: impl IntoActor<A>,
    exposed: Option<&[String]>,
) -> Result<ActorRef<A>, String>
where
    A: Actor + Send,
{
    let actor = made.into_actor()?;
    let variants = exposed.map(|methods| methods.iter().map(|method| variant(method)).collect());
    let face = Face { actor, variants, _counted: Counted::new() };
    let hosted = host::host(face, A::NAME, A::MAILBOX).map(ActorRef::of_same_messages);
    hosted.map_err(|error| error.to_string())
}

/// An actor as a managed object.
struct Face<A> {
    actor: A,
    /// The messages that can be sent; `None` is all.
    variants: Option<Vec<String>>,
    _counted: Counted,
}

impl<A: Actor> Handler for Face<A> {
    type Msg = A::Msg;

    fn handle(&mut self, message: A::Msg) {
        let name = crate::actor::Message::variant_name(&message);
        let is_exposed = |variants: &Vec<String>| variants.iter().any(|variant| variant == name);
        if self.variants.as_ref().is_none_or(is_exposed) {
            self.actor.handle(message);
        } else {
            refuse(CallError::NotExposed, move || drop(message));
        }
    }

    fn on_start(&mut self) -> Result<(), StartError> {
        self.actor.on_start()
    }

    fn on_stop(&mut self, why: &ExitReason) {
        self.actor.on_stop(why);
    }

    fn on_down(&mut self, down: &Down) {
        self.actor.on_down(down);
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
