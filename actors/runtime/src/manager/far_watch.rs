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
use crate::down::{Down, DownSink};
use crate::share::ClientId;
use crate::sync::lock;
use procession_protocols::exit::{ExitReason, RawStatus};
use procession_protocols::id::ActorId;
use procession_protocols::manager::{Fault, Reply};
use std::collections::{BTreeMap, HashMap};
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
        actor.monitor(Box::new(move |down| ended(number, &down)));
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
    sinks: Vec<DownSink>,
}

impl Monitors {
    /// Whether the server is to be asked.
    pub(super) fn add(&mut self, actor: ActorId, name: &str, sink: DownSink) -> bool {
        let new = || Monitored { actor, name: name.to_owned(), sinks: Vec::new() };
        let sinks = &mut self.0.entry(actor.number).or_insert_with(new).sinks;
        sinks.push(sink);
        sinks.len() == 1
    }

    /// The server has answered: what is to be said, and to whom.
    pub(super) fn answered(&mut self, number: u64, reply: Reply<Stored>) -> Option<Notice> {
        let monitored = self.0.remove(&number)?;
        let down = match reply {
            Reply::Value(down) => down.decode().ok(),
            _ => None,
        };
        let down = down.unwrap_or_else(|| lost(monitored.actor, &monitored.name));
        Some(Notice(down, monitored.sinks))
    }

    /// No more answers come.
    pub(super) fn end(&mut self) -> Vec<Notice> {
        let all = std::mem::take(&mut self.0).into_values();
        all.map(|one| Notice(lost(one.actor, &one.name), one.sinks)).collect()
    }
}

/// An end that is to be told while no lock is held.
#[must_use]
pub(super) struct Notice(Down, Vec<DownSink>);

impl Notice {
    pub(super) fn give(self) {
        for sink in self.1 {
            sink(self.0.clone());
        }
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
