//! Actors of this process by name.
//!
//! Owns the table from names to references. A name holds its actor as a reference does, and
//! is free again when the actor has ended; the table finds that out when the name is next
//! asked for or claimed. It must never start or stop an actor, nor call into one while it is
//! locked. Neighbours: `Actor::spawn_named` and `host_named` claim, [`whereis`] looks up.
//!
//! As in Erlang's `register/2`, a name belongs to one node; other processes are given the
//! reference itself.

use super::error::StartError;
use super::reference::ActorRef;
use super::{Actor, Handler};
use crate::sync::lock;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Mutex;

/// The running actor of that name and type in this process; `None` when the name is free,
/// its actor has ended or is still starting, or is of another type.
pub fn whereis<A: Actor>(name: &str) -> Option<A::Ref> {
    let mut names = lock(&NAMES);
    let Slot::Taken(entry) = names.of_this_process().get(name)? else { return None };
    let found = entry.as_any().downcast_ref::<ActorRef<A>>().filter(|actor| actor.is_alive());
    found.cloned().map(A::Ref::from)
}

/// A name that is kept for an actor that is being started; dropped, it is free again.
pub(super) struct Claim<'a> {
    name: &'a str,
    done: bool,
}

impl<'a> Claim<'a> {
    /// Keeps the name for an actor that is about to start.
    ///
    /// # Errors
    /// [`StartError::NameTaken`] while an actor has it, or is being started for it.
    pub(super) fn new(name: &'a str) -> Result<Self, StartError> {
        let mut names = lock(&NAMES);
        let slots = names.of_this_process();
        let taken = match slots.get(name) {
            None => false,
            Some(Slot::Claimed) => true,
            Some(Slot::Taken(entry)) => entry.is_alive(),
        };
        if taken {
            return Err(StartError::NameTaken(name.to_owned()));
        }
        let ended = slots.insert(name.to_owned(), Slot::Claimed);
        // A reference's drop may do more than free memory.
        drop(names);
        drop(ended);
        Ok(Self { name, done: false })
    }

    /// Gives the name to the actor that was started.
    pub(super) fn fill<A: Handler>(mut self, actor: ActorRef<A>) {
        self.done = true;
        lock(&NAMES).of_this_process().insert(self.name.to_owned(), Slot::Taken(Box::new(actor)));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.done {
            lock(&NAMES).of_this_process().remove(self.name);
        }
    }
}

static NAMES: Mutex<Names> = Mutex::new(Names { process: 0, slots: None });

/// The table, and the process whose it is: a copy by fork has none of its parent's actors.
struct Names {
    process: u32,
    slots: Option<HashMap<String, Slot>>,
}

impl Names {
    fn of_this_process(&mut self) -> &mut HashMap<String, Slot> {
        let here = std::process::id();
        if self.process != here {
            self.process = here;
            // The parent's references mean nothing here, not even their end.
            std::mem::forget(self.slots.take());
        }
        self.slots.get_or_insert_default()
    }
}

enum Slot {
    Claimed,
    Taken(Box<dyn Named>),
}

/// A reference of any type.
trait Named: Any + Send {
    fn is_alive(&self) -> bool;
    fn as_any(&self) -> &dyn Any;
}

impl<A: Handler> Named for ActorRef<A> {
    fn is_alive(&self) -> bool {
        ActorRef::is_alive(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
