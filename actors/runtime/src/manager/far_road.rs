//! A server outside the process tree, as its client has it.
//!
//! Owns the *road*: the calls under way on it and who waits for their answers, and the
//! references to objects at its other end. It must never hold a lock while it writes.
//! Neighbours: `far` has the messages, `far_session` is the other end.

use super::Ask;
use super::far::{End, Hello, Stream, ToServer, VERSION, Values, decode, encode};
use super::far_actor::{self, Packed};
use super::far_watch::{Monitors, lost};
use super::proxy::{ManagerError, Proxy, open};
use super::stored::Stored;
use crate::actor::{CallError, ReplyPort};
use crate::codec;
use crate::down::DownSink;
use crate::share::ShareError;
use crate::sync::lock;
use crate::wait;
use procession_protocols::exit::ExitReason;
use procession_protocols::id::{ActorId, NodeId};
use procession_protocols::manager::Reply;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Instant;
use tokio::sync::oneshot;

/// A reference to an object of a server outside the tree.
pub(super) struct Far {
    pub(super) object: u64,
    pub(super) road: Arc<Road>,
}

impl Far {
    pub(super) fn object(&self) -> u64 {
        self.object
    }

    pub(super) fn road(&self) -> &Arc<Road> {
        &self.road
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.road.say(&ToServer::Release { object: self.object });
    }
}

/// The way from this process to such a server.
pub(super) struct Road {
    this: Weak<Road>,
    stream: Arc<dyn Stream>,
    server: NodeId,
    name: String,
    values: Values,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    last: u64,
    under_way: HashMap<u64, Waiting>,
    monitors: Monitors,
    is_gone: bool,
}

/// Who waits for an answer.
enum Waiting {
    Caller(oneshot::Sender<Reply<Stored>>),
    /// An actor's caller, if it is no cast, and the references in the message: the server
    /// must have them until the actor's thread has read it.
    Actors(Option<ReplyPort>, Vec<Proxy>),
    /// The monitors of the actor with this number.
    Monitors(u64),
}

/// Meets the server at the other end of a stream, to which values go as said: its door.
///
/// # Errors
/// [`ManagerError::Values`] when it writes values in another way; what is there is no server
/// of this version.
pub fn meet(stream: Arc<dyn Stream>, values: Values) -> Result<Proxy, ManagerError> {
    let first = stream.recv()?;
    let version: u32 = codec::decode_prefix(&first).map_err(io::Error::other)?;
    if version != VERSION {
        let text = format!("the manager speaks version {version}, not {VERSION}");
        return Err(io::Error::other(text).into());
    }
    // Who the server is stands in the hello itself, so it is read twice.
    let (_, theirs, server, name): (u32, Values, NodeId, String) =
        codec::bounded(|| codec::decode_prefix(&first)).map_err(io::Error::other)?;
    if theirs != values {
        return Err(ManagerError::Values { ours: values, theirs });
    }
    let road = Arc::new_cyclic(|this| Road {
        this: this.clone(),
        stream: stream.clone(),
        server,
        name,
        values,
        calls: Mutex::default(),
    });
    let hello: Hello = decode(End::Client(road.clone()), &first)?;
    let listener = Arc::downgrade(&road);
    let thread = thread::Builder::new().name("procession-remote".into());
    thread.spawn(move || {
        while let Ok(message) = stream.recv() {
            let Some(road) = listener.upgrade() else { return };
            let Ok((number, reply)) = decode(End::Client(road.clone()), &message) else { break };
            let waiting = lock(&road.calls).under_way.remove(&number);
            match waiting {
                Some(Waiting::Caller(waiting)) => drop(waiting.send(reply)),
                Some(Waiting::Actors(Some(port), _lent)) => far_actor::answered(reply, port),
                Some(Waiting::Monitors(actor)) => {
                    let notice = lock(&road.calls).monitors.answered(actor, reply);
                    if let Some(notice) = notice {
                        notice.give();
                    }
                }
                Some(Waiting::Actors(None, _)) | None => {}
            }
        }
        if let Some(road) = listener.upgrade() {
            road.end();
        }
    })?;
    Ok(hello.door)
}

impl Calls {
    fn enter(&mut self, waiting: Waiting) -> u64 {
        self.last += 1;
        self.under_way.insert(self.last, waiting);
        self.last
    }
}

impl Road {
    pub(super) fn server(&self) -> NodeId {
        self.server
    }

    pub(super) fn values(&self) -> Values {
        self.values
    }

    pub(super) fn is_gone(&self) -> bool {
        lock(&self.calls).is_gone
    }

    /// Nobody answers any more.
    fn end(&self) {
        let (under_way, notices) = {
            let calls = &mut *lock(&self.calls);
            calls.is_gone = true;
            (std::mem::take(&mut calls.under_way), calls.monitors.end())
        };
        for waiting in under_way.into_values() {
            if let Waiting::Actors(Some(port), _) = waiting {
                port.complete(Err(self.actor_gone()));
            }
        }
        for notice in notices {
            notice.give();
        }
    }

    fn actor_gone(&self) -> CallError {
        CallError::ActorDied { name: self.name.clone(), reason: ExitReason::Unknown }
    }

    fn gone(&self) -> ManagerError {
        ManagerError::OwnerGone { name: self.name.clone() }
    }

    pub(super) fn say(&self, message: &ToServer) {
        // A road that is being dropped has no references to speak of.
        let Some(this) = self.this.upgrade() else { return };
        if let Ok(message) = encode(End::Client(this), message) {
            // The reader tells of the end.
            let _ = self.stream.send(&message);
        }
    }

    pub(super) fn tell(&self, object: u64, ask: Ask) {
        // Its answer finds nobody.
        self.say(&ToServer::Ask { number: 0, object, ask });
    }

    /// Sends a message to an actor; the answer completes `reply`.
    pub(super) fn send_message(
        self: &Arc<Self>,
        object: u64,
        message: Packed,
        reply: Option<ReplyPort>,
        lent: Vec<Proxy>,
    ) -> Result<(), CallError> {
        let number = {
            let calls = &mut *lock(&self.calls);
            if calls.is_gone {
                return Err(self.actor_gone());
            }
            calls.enter(Waiting::Actors(reply, lent))
        };
        let message = ToServer::Message { number, object, message };
        let message = encode(End::Client(self.clone()), &message);
        let sent = message
            .map_err(CallError::Unreachable)
            .and_then(|message| self.stream.send(&message).map_err(|_| self.actor_gone()));
        sent.inspect_err(|_| {
            let unsent = lock(&self.calls).under_way.remove(&number);
            drop(unsent);
        })
    }

    /// Has `sink` told of an actor's end, or that this road has ended.
    pub(super) fn watch(&self, object: u64, actor: ActorId, name: &str, sink: DownSink) {
        let number = {
            let calls = &mut *lock(&self.calls);
            if calls.is_gone {
                Err(sink)
            } else if calls.monitors.add(actor, name, sink) {
                Ok(Some(calls.enter(Waiting::Monitors(actor.number))))
            } else {
                Ok(None)
            }
        };
        match number {
            Ok(Some(number)) => self.say(&ToServer::Watch { number, object }),
            Ok(None) => {}
            Err(sink) => sink(lost(actor, name)),
        }
    }

    pub(super) async fn ask(
        self: &Arc<Self>,
        object: u64,
        ask: Ask,
    ) -> Result<Reply<Stored>, ManagerError> {
        /// Takes the call back unless it has been answered.
        struct Back<'a>(&'a Arc<Road>, u64, u64);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                let waiting = lock(&self.0.calls).under_way.remove(&self.1);
                drop(waiting);
                self.0.say(&ToServer::Cancel { number: self.1, object: self.2 });
            }
        }
        let (sender, receiver) = oneshot::channel();
        let number = {
            let calls = &mut *lock(&self.calls);
            if calls.is_gone {
                return Err(self.gone());
            }
            calls.enter(Waiting::Caller(sender))
        };
        let back = Back(self, number, object);
        let message = encode(End::Client(self.clone()), &ToServer::Ask { number, object, ask });
        let message = message.map_err(|why| {
            ManagerError::Encode(codec::EncodeError { type_name: "call".into(), why })
        })?;
        self.stream.send(&message).map_err(|_| self.gone())?;
        let reply = receiver.await.map_err(|_| self.gone())?;
        std::mem::forget(back);
        open(reply)
    }

    pub(super) fn ask_until(
        self: &Arc<Self>,
        object: u64,
        ask: Ask,
        deadline: Option<Instant>,
    ) -> Result<Reply<Stored>, ManagerError> {
        let answer = self.ask(object, ask);
        match deadline {
            None => wait::block_on(answer),
            Some(deadline) => {
                wait::block_on_until(answer, deadline).unwrap_or(Err(ShareError::Timeout.into()))
            }
        }
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        let bye = codec::encode(&ToServer::Bye);
        if let Ok(bye) = bye {
            let _ = self.stream.send(&bye.bytes);
        }
        // Monitors alone do not keep the connection.
        self.end();
    }
}

impl fmt::Debug for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Road").field("name", &self.name).finish_non_exhaustive()
    }
}
