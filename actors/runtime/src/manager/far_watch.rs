//! The ends of a server's actors, as clients outside the process tree learn of them.
//!
//! Owns who watches, at both ends: a server asks each actor once, and has one entry for each
//! client that wants to know; a client asks once for each actor, and tells all its monitors.
//! An actor counts as ended when the way to its server has, in a manner that is not known. It
//! must never keep an actor alive, nor a client that has gone. Neighbours: `far_session` and
//! `far_road` are the two ends, `far_actor` is the reference.

use super::asker::Asker;
use super::stored::Stored;
use crate::actor::remote::LocalActor;
use crate::down::{Down, DownSink, Sinks};
use crate::share::ClientId;
use crate::sync::lock;
use procession_protocols::exit::{ExitReason, RawStatus};
use procession_protocols::id::ActorId;
use procession_protocols::manager::{Fault, Reply};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

// ---- in the server

/// The clients that watch, by the actors' numbers. An actor stays until it has ended.
static WATCHED: Mutex<BTreeMap<u64, HashMap<ClientId, Asker>>> = Mutex::new(BTreeMap::new());

/// Answers when the actor has ended. A client asks once; when it asks again, the first
/// question is never answered.
pub(super) fn watch(actor: &Arc<dyn LocalActor>, client: ClientId, asker: Asker) {
    let number = actor.id().number;
    let is_first = {
        let watched = &mut *lock(&WATCHED);
        let is_first = !watched.contains_key(&number);
        watched.entry(number).or_default().insert(client, asker);
        is_first
    };
    if is_first {
        // One that has ended says so at once, on this thread.
        actor.monitor(Box::new(move |down: Down| ended(number, &down)));
    }
}

fn ended(number: u64, down: &Down) {
    let askers = lock(&WATCHED).remove(&number);
    for asker in askers.into_iter().flat_map(HashMap::into_values) {
        let down = Stored::message(down).map_err(|error| Fault::Failed(error.to_string()));
        asker.answer(down.map_or_else(Reply::Fault, Reply::Value));
    }
}

/// A client is gone.
pub(super) fn leave(client: ClientId) {
    let left: Vec<_> =
        lock(&WATCHED).values_mut().filter_map(|askers| askers.remove(&client)).collect();
    drop(left);
}

// ---- at the client

/// The monitors of a server's actors, by the actors' numbers.
#[derive(Default)]
pub(super) struct Monitors(HashMap<u64, Monitored>);

struct Monitored {
    actor: ActorId,
    name: String,
    sinks: Sinks,
    /// For all references that ask whether it lives.
    has_ended: Arc<AtomicBool>,
}

impl Monitors {
    /// The actor's entry, and whether the server is to be asked.
    fn entry(&mut self, actor: ActorId, name: &str) -> (&mut Monitored, bool) {
        let is_new = !self.0.contains_key(&actor.number);
        let new = || Monitored {
            actor,
            name: name.to_owned(),
            sinks: Sinks::default(),
            has_ended: Arc::default(),
        };
        (self.0.entry(actor.number).or_insert_with(new), is_new)
    }

    /// Whether the server is to be asked.
    pub(super) fn add(&mut self, actor: ActorId, name: &str, sink: DownSink) -> bool {
        let (monitored, is_new) = self.entry(actor, name);
        monitored.sinks.add(sink);
        is_new
    }

    /// What says whether the actor has ended, and whether the server is to be asked.
    pub(super) fn look(&mut self, actor: ActorId, name: &str) -> (Arc<AtomicBool>, bool) {
        let (monitored, is_new) = self.entry(actor, name);
        (monitored.has_ended.clone(), is_new)
    }

    /// The server has answered: what is to be said, and to whom.
    pub(super) fn answered(&mut self, number: u64, reply: Reply<Stored>) -> Option<Notice> {
        let monitored = self.0.remove(&number)?;
        let down = match reply {
            Reply::Value(down) => down.decode().ok(),
            _ => None,
        };
        let down = down.unwrap_or_else(|| lost(monitored.actor, &monitored.name));
        Some(Notice(down, monitored.has_ended, monitored.sinks))
    }

    /// No more answers come.
    pub(super) fn end(&mut self) -> Vec<Notice> {
        let all = std::mem::take(&mut self.0).into_values();
        all.map(|one| Notice(lost(one.actor, &one.name), one.has_ended, one.sinks)).collect()
    }
}

/// An end that is to be told while no lock is held.
#[must_use]
pub(super) struct Notice(Down, Arc<AtomicBool>, Sinks);

impl Notice {
    pub(super) fn give(self) {
        self.1.store(true, Ordering::Relaxed);
        self.2.tell(&self.0);
    }
}

/// Nobody can say how it ended.
pub(super) fn lost(actor: ActorId, name: &str) -> Down {
    Down {
        actor,
        pid: None,
        name: name.to_owned(),
        reason: ExitReason::Unknown,
        status: RawStatus::Unknown,
        usage: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_that_ask_whether_an_actor_lives_are_told_by_one_entry() {
        let mut monitors = Monitors::default();
        let node = procession_protocols::id::NodeId::new();
        let [actor, other] = [1, 2].map(|number| ActorId { node, number });
        let (has_ended, is_asked) = monitors.look(actor, "one");
        assert!(is_asked);
        for _ in 0..1000 {
            assert!(!monitors.look(actor, "one").1);
        }
        // A monitor beside them asks no second time.
        assert!(!monitors.add(actor, "one", Box::new(|_| {})) && monitors.look(other, "two").1);
        assert_eq!(monitors.0[&1].sinks.len(), 1);
        monitors.answered(1, Reply::None).unwrap().give();
        assert!(has_ended.load(Ordering::Relaxed) && monitors.0.len() == 1);
        let (other, _) = monitors.look(other, "two");
        monitors.end().into_iter().for_each(Notice::give);
        assert!(other.load(Ordering::Relaxed));
    }
}
