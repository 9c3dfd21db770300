//! Actors of a server, used from outside the process tree.
//!
//! Owns a managed object's third body, which keeps an actor, and both ends of a call: in
//! the server a message that came over a session goes into the actor's mailbox; at the
//! client the reference is a way over the road. What is in a message is encoded and decoded
//! for that stream, so that proxies travel in arguments and results. It must never decode a
//! message before the actor's thread does. Neighbours: `far` has the streams, `actor::remote`
//! the seam.

use super::actor::is_narrow;
use super::far::{End, ToServer, at};
use super::far_reply::Place;
use super::far_road::Road;
use super::far_session::Session;
use super::object::Object;
use super::proxy::Proxy;
use super::stored::Stored;
use crate::actor::remote::{Keeper, LocalActor, RefWire, Remote, Scope, Sending};
use crate::actor::{CallError, ReplyPort, ReplySink};
use crate::codec::{self, DecodeError, Encoded};
use crate::down::{DownSink, Tie};
use crate::node::hidden;
use crate::wait;
use procession_protocols::id::ActorId;
use procession_protocols::manager::{Fault, Reply};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Bytes that serde carries as such.
pub(super) struct Packed(pub(super) Vec<u8>);

/// What an actor's thread had to say to a message.
#[derive(Serialize, Deserialize)]
enum Answered {
    Value(Packed),
    Refused(CallError),
}

/// Whether this process is a server, whose actors are kept by references to objects.
static SERVES: AtomicBool = AtomicBool::new(false);

/// From now on this process is a server.
pub(super) fn serve() {
    SERVES.store(true, Ordering::Relaxed);
}

/// What keeps an actor of a server alive while references to it are elsewhere; `None` where
/// this process is no server.
pub(crate) fn keep(actor: &Arc<dyn LocalActor>) -> Option<Arc<dyn Keeper>> {
    let serves = SERVES.load(Ordering::Relaxed);
    serves.then(|| Arc::new(Kept(Proxy::host(Object::actor(actor.clone())))) as Arc<dyn Keeper>)
}

/// Reads what [`Keeper::pack`] wrote, within the same transfer.
///
/// # Errors
/// What came is no such thing.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Arc<dyn Keeper>, DecodeError> {
    codec::decode_prefix(bytes).map(|proxy| Arc::new(Kept(proxy)) as Arc<dyn Keeper>)
}

/// A reference to the object that keeps an actor.
struct Kept(Proxy);

impl Keeper for Kept {
    fn pack(&self) -> Result<Vec<u8>, CallError> {
        Ok(codec::encode_within(&self.0)?)
    }

    fn way(&self, wire: &RefWire) -> Option<Arc<dyn Remote>> {
        self.0.road()?;
        Some(Arc::new(FarActor::new(self.0.clone(), wire.clone())))
    }
}

// ---- in the server

/// Puts a message that came over a session into an actor's mailbox.
pub(super) fn deliver(
    session: &Arc<Session>,
    number: u64,
    place: Place,
    actor: &Object,
    message: Packed,
) {
    let call = Some((number, place));
    let reply = Box::new(FarReply { session: session.clone(), call });
    let Some(actor) = actor.as_actor() else {
        return reply.complete(Err(CallError::Unreachable("the object is no actor".into())));
    };
    let message = Encoded { bytes: message.0, fds: Vec::new() };
    if let Err(back) = actor.deliver(message, Some(reply))
        && let Some(reply) = back.reply
    {
        reply.complete(Err(back.why));
    }
}

/// Ends an actor for a client, unless only some of its methods are offered.
pub(super) fn stop(actor: &Arc<dyn LocalActor>, is_kill: bool) {
    if is_narrow(actor.id().number) {
        let name = actor.name();
        tracing::warn!(target: "procession", name, "a client may not stop what it has a part of");
    } else if is_kill {
        actor.kill();
    } else {
        actor.stop();
    }
}

/// The way back to a client.
struct FarReply {
    session: Arc<Session>,
    /// The client's number of the call and the call's place, until it is answered.
    call: Option<(u64, Place)>,
}

impl FarReply {
    fn send(&mut self, result: Result<Encoded, CallError>) {
        let Some((number, place)) = self.call.take() else { return };
        let answered = match result {
            Ok(encoded) if encoded.fds.is_empty() => Answered::Value(Packed(encoded.bytes)),
            Ok(_) => Answered::Refused(stays()),
            Err(error) => Answered::Refused(error),
        };
        let reply = Stored::message(&answered)
            .map_or_else(|error| Reply::Fault(Fault::Failed(error.to_string())), Reply::Value);
        self.session.answer(number, reply, Some(place));
    }
}

impl ReplySink for FarReply {
    fn complete(mut self: Box<Self>, result: Result<Encoded, CallError>) {
        self.send(result);
    }

    fn scope(&self) -> Option<Arc<dyn Scope>> {
        Some(Arc::new(Within(End::Server(self.session.clone()))))
    }
}

impl Drop for FarReply {
    fn drop(&mut self) {
        self.send(Err(CallError::NoReply));
    }
}

fn stays() -> CallError {
    CallError::Unreachable("a handle or a descriptor does not leave its process tree".into())
}

/// Encodes and decodes for a stream.
struct Within(End);

thread_local! {
    /// The references in the message that is being encoded, if one is.
    static LENDING: RefCell<Option<Vec<Proxy>>> = const { RefCell::new(None) };
    /// Those in the one that was encoded last, which is sent next.
    static LENT: RefCell<Vec<Proxy>> = const { RefCell::new(Vec::new()) };
}

impl Scope for Within {
    fn enter(&self, act: &mut dyn FnMut()) {
        // A `Serialize` may itself call an actor.
        let outer = LENDING.replace(Some(Vec::new()));
        at(self.0.clone(), act);
        let lent = LENDING.replace(outer).unwrap_or_default();
        let previous = LENT.replace(lent);
        drop(previous);
    }
}

/// A reference is in the message.
pub(super) fn lend(proxy: &Proxy) {
    LENDING.with_borrow_mut(|lending| {
        if let Some(lending) = lending {
            lending.push(proxy.clone());
        }
    });
}

// ---- at the client

/// An actor of a server outside the tree.
struct FarActor {
    proxy: Proxy,
    wire: RefWire,
    /// Once somebody has asked for it; all references to one actor have the same.
    has_ended: OnceLock<Option<Arc<AtomicBool>>>,
}

impl FarActor {
    fn new(proxy: Proxy, wire: RefWire) -> Self {
        Self { proxy, wire, has_ended: OnceLock::new() }
    }

    fn road(&self) -> Result<&Arc<Road>, CallError> {
        self.proxy.road().ok_or_else(|| CallError::Unreachable("it is not far".into()))
    }

    fn end(&self, is_kill: bool) {
        if let Some(road) = self.proxy.road() {
            road.say(&ToServer::Stop { object: self.proxy.object(), is_kill });
        }
    }

    fn send_soon(
        &self,
        message: Encoded,
        reply: Option<ReplyPort>,
    ) -> impl Future<Output = Result<(), CallError>> + Send + '_ {
        // They are this message's, whoever polls.
        let lent = LENT.take();
        async move {
            if !message.fds.is_empty() {
                return Err(stays());
            }
            let (road, object) = (self.road()?, self.proxy.object());
            road.send_message(object, Packed(message.bytes), reply, lent).await
        }
    }
}

/// Completes a call with what the server says. The references in an answer that nobody waits
/// for go back.
pub(super) fn answered(road: &Arc<Road>, reply: Reply<Stored>, port: ReplyPort) {
    let result = match reply {
        Reply::Value(value) => match value.decode() {
            Ok(Answered::Value(Packed(bytes))) => Ok(Encoded { bytes, fds: Vec::new() }),
            Ok(Answered::Refused(error)) => Err(error),
            Err(error) => Err(CallError::Decode(error)),
        },
        Reply::Fault(fault) => Err(CallError::Unreachable(fault.to_string())),
        _ => Err(CallError::NoReply),
    };
    match result {
        Ok(encoded) if !port.is_awaited() => {
            at(End::Client(road.clone()), || port.discard(encoded));
        }
        result => port.complete(result),
    }
}

impl Remote for FarActor {
    fn id(&self) -> ActorId {
        ActorId { node: self.wire.node, number: self.wire.number }
    }

    fn name(&self) -> &str {
        &self.wire.name
    }

    fn send(
        &self,
        message: Encoded,
        reply: Option<ReplyPort>,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        if hidden::is_current() {
            return Err(CallError::WouldDeadlock);
        }
        let sent = wait::block_on_by(self.send_soon(message, reply), deadline);
        sent.unwrap_or(Err(CallError::Timeout))
    }

    fn send_async(&self, message: Encoded, reply: Option<ReplyPort>) -> Sending<'_> {
        Box::pin(self.send_soon(message, reply))
    }

    fn wait(&self, ready: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) {
        match self.proxy.road() {
            Some(road) => road.wait_for(ready, deadline),
            None => drop(wait::block_on_by(ready, deadline)),
        }
    }

    fn watch(&self) -> Box<dyn Send> {
        Box::new(self.proxy.road().and_then(Road::read_for_task))
    }

    fn scope(&self) -> Option<Arc<dyn Scope>> {
        Some(Arc::new(Within(End::Client(self.proxy.road()?.clone()))))
    }

    fn is_alive(&self) -> bool {
        let Some(road) = self.proxy.road() else { return false };
        // Most are never asked for it, and cost their server nothing.
        let look = || road.look(self.proxy.object(), self.id(), self.name());
        let has_ended = self.has_ended.get_or_init(look).as_ref();
        has_ended.is_some_and(|has| !has.load(Ordering::Relaxed)) && !road.is_gone()
    }

    fn stop(&self) {
        self.end(false);
    }

    fn kill(&self) {
        self.end(true);
    }

    fn monitor(&self, sink: DownSink, _: Option<Instant>) -> Result<Tie, CallError> {
        self.road()?.watch(self.proxy.object(), self.id(), self.name(), sink);
        Ok(Tie::default())
    }

    fn to_wire(&self) -> Result<RefWire, CallError> {
        Ok(self.wire.clone())
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taker;
        impl Visitor<'_> for Taker {
            type Value = Packed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Packed, E> {
                Ok(Packed(bytes.into()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Packed, E> {
                Ok(Packed(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Taker)
    }
}
