//! The way back from a handler to its caller.
//!
//! Owns [`Reply`] and its receiver. A reply is sent at most once and never blocks. Where
//! the caller is in another process the reply goes out by a [`ReplyPort`], and what
//! comes in there is decoded by the thread that waits for it, never by the thread that
//! reads the link.

use super::current;
use super::error::CallError;
use super::remote::{Scope, within};
use crate::codec::{self, DecodeError, EncodeError, Encoded};
use crate::panic::catch_quietly;
use crate::wait;
use procession_protocols::dynamic::{Dynamic, NotPlain};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;

/// Takes one reply in its wire form, in either process: the link's side in the actor's,
/// the waiting caller's in the caller's.
pub trait ReplySink: Send {
    /// Takes the reply. It must not block, and must not decode.
    fn complete(self: Box<Self>, result: Result<Encoded, CallError>);

    /// Whether somebody still waits for it, as far as is known.
    fn is_awaited(&self) -> bool {
        true
    }

    /// Reads a reply that nobody waits for, and drops it: what it brought is let go of.
    fn discard(self: Box<Self>, encoded: Encoded) {
        drop(encoded);
    }

    /// Whether it takes the reply as plain data, with whether it is a method's `Result`: the
    /// encoding of `(bool, Dynamic)`.
    fn wants_plain(&self) -> bool {
        false
    }

    /// What the message is decoded in, and the reply encoded in; `None` is nothing.
    fn scope(&self) -> Option<Arc<dyn Scope>> {
        None
    }
}

/// A boxed [`ReplySink`]. Dropping one that this process's caller waits for ends the
/// wait in [`CallError::NoReply`]; a link's own sink should say the same to its peer.
pub type ReplyPort = Box<dyn ReplySink>;

/// Where a handler sends its answer. Dropped unsent, the caller gets
/// [`CallError::NoReply`], or [`CallError::ActorDied`] when the actor's end is why.
///
/// A `Reply` may be kept and sent later, from another message or another thread.
pub struct Reply<R: Send + 'static> {
    port: Option<Port<R>>,
}

enum Port<R> {
    Here(oneshot::Sender<Answer<R>>),
    Wire(ReplyPort, fn(&R) -> Result<Encoded, EncodeError>),
    Call(Box<dyn FnOnce(Result<R, CallError>) + Send>),
}

/// What a waiting caller is woken with.
enum Answer<R> {
    Value(R),
    Encoded(Encoded, fn(Encoded) -> Result<R, DecodeError>),
    Failed(CallError),
}

impl<R: Send + 'static> Reply<R> {
    /// A reply that nobody waits for: what a cast carries.
    pub fn none() -> Self {
        Self { port: None }
    }

    /// A reply and what waits for it.
    pub fn channel() -> (Self, ReplyReceiver<R>) {
        let (sender, receiver) = oneshot::channel();
        (Self { port: Some(Port::Here(sender)) }, ReplyReceiver { receiver })
    }

    /// A reply that calls `take` with the answer, on the thread that sends it.
    pub fn from_fn(take: impl FnOnce(Result<R, CallError>) + Send + 'static) -> Self {
        Self { port: Some(Port::Call(Box::new(take))) }
    }

    /// A reply that leaves the process by `port`.
    pub fn from_port(port: Option<ReplyPort>) -> Self
    where
        R: Serialize,
    {
        let encode = |port: &ReplyPort| -> fn(&R) -> Result<Encoded, EncodeError> {
            if port.wants_plain() { plain } else { |value| codec::encode(value) }
        };
        Self {
            port: port.map(|port| {
                let encode = encode(&port);
                Port::Wire(port, encode)
            }),
        }
    }

    /// The port that completes this reply from wire bytes; `None` when nobody waits.
    pub fn into_port(mut self) -> Option<ReplyPort>
    where
        R: DeserializeOwned,
    {
        Some(match self.port.take()? {
            Port::Wire(port, _) => port,
            port => Box::new(Incoming { reply: Self { port: Some(port) }, decode: decode::<R> }),
        })
    }

    /// Whether somebody waits for it: false in a cast, and once the caller has gone.
    pub fn is_awaited(&self) -> bool {
        match &self.port {
            None => false,
            Some(Port::Here(sender)) => !sender.is_closed(),
            Some(Port::Wire(..) | Port::Call(_)) => true,
        }
    }

    /// Whether this is the reply of a call; false in a cast.
    pub fn is_some(&self) -> bool {
        self.port.is_some()
    }

    /// Answers. Never blocks; an answer that nobody waits for any more is dropped.
    pub fn send(mut self, value: R) {
        match self.port.take() {
            None => {}
            Some(Port::Here(sender)) => {
                // An error means that the caller has given up.
                let _ = sender.send(Answer::Value(value));
            }
            Some(Port::Wire(port, encode)) => {
                let encoded = within(port.scope().as_ref(), || encode(&value));
                port.complete(encoded.map_err(CallError::Encode));
            }
            Some(Port::Call(take)) => take(Ok(value)),
        }
    }

    /// Answers with an error of the call itself.
    pub fn fail(mut self, error: CallError) {
        if let Some(port) = self.port.take() {
            port.fail(error);
        }
    }
}

impl<R> Port<R> {
    fn fail(self, error: CallError) {
        match self {
            Self::Here(sender) => {
                let _ = sender.send(Answer::Failed(error));
            }
            Self::Wire(port, _) => port.complete(Err(error)),
            Self::Call(take) => take(Err(error)),
        }
    }
}

impl<R: Send + 'static> Drop for Reply<R> {
    fn drop(&mut self) {
        if let Some(port) = self.port.take() {
            current::abandon(move |error| port.fail(error));
        }
    }
}

impl<R: Send + 'static> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_some() { "Reply" } else { "Reply(none)" })
    }
}

/// Lets a handler serve messages that ractor's `call!` makes.
impl<R: Send + 'static> From<ractor::RpcReplyPort<R>> for Reply<R> {
    fn from(port: ractor::RpcReplyPort<R>) -> Self {
        Self::from_fn(move |result| {
            if let Ok(value) = result {
                // An error means that the caller has given up.
                let _ = port.send(value);
            }
        })
    }
}

/// A reply of this process that comes from another.
struct Incoming<R: Send + 'static> {
    reply: Reply<R>,
    decode: fn(Encoded) -> Result<R, DecodeError>,
}

impl<R: Send + 'static> ReplySink for Incoming<R> {
    fn complete(mut self: Box<Self>, result: Result<Encoded, CallError>) {
        let Some(port) = self.reply.port.take() else { return };
        match (port, result) {
            (port, Err(error)) => port.fail(error),
            (Port::Here(sender), Ok(encoded)) => {
                let _ = sender.send(Answer::Encoded(encoded, self.decode));
            }
            // No thread of its own waits, so the value is made on this one.
            (Port::Call(take), Ok(encoded)) => {
                take((self.decode)(encoded).map_err(CallError::Decode));
            }
            (Port::Wire(port, _), encoded) => port.complete(encoded),
        }
    }

    fn is_awaited(&self) -> bool {
        self.reply.is_awaited()
    }

    fn discard(self: Box<Self>, encoded: Encoded) {
        // The type is a user's, and this is not his thread.
        let _ = catch_quietly(|| drop((self.decode)(encoded)));
    }
}

/// A reply as plain data.
fn plain<R: Serialize>(value: &R) -> Result<Encoded, EncodeError> {
    let type_name = std::any::type_name::<R>();
    let fail = |why: NotPlain| EncodeError { type_name: type_name.into(), why: why.to_string() };
    let value = Dynamic::of(value).map_err(fail)?;
    codec::encode(&(type_name.starts_with("core::result::Result<"), value))
}

fn decode<R: DeserializeOwned>(encoded: Encoded) -> Result<R, DecodeError> {
    codec::decode(&encoded.bytes, encoded.fds)
}

/// Waits for a reply: a future, or blocking.
///
/// # Cancel safety
/// Dropping it forgets the reply; the call itself is carried out.
#[must_use = "a reply that nobody waits for is dropped"]
pub struct ReplyReceiver<R> {
    receiver: oneshot::Receiver<Answer<R>>,
}

impl<R> ReplyReceiver<R> {
    /// Waits for the reply.
    ///
    /// # Errors
    /// Why there will be none.
    pub fn recv(self) -> Result<R, CallError> {
        current::may_block()?;
        wait::block_on(self)
    }

    /// Waits for the reply, at most for `timeout`.
    ///
    /// # Errors
    /// [`CallError::Timeout`], and why there will be none.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<R, CallError> {
        current::may_block()?;
        if self.receiver.is_terminated() {
            return Err(CallError::NoReply);
        }
        match wait::deadline(timeout) {
            Some(deadline) => wait::block_on_until(self, deadline).ok_or(CallError::Timeout)?,
            None => wait::block_on(self),
        }
    }
}

impl<R> Future for ReplyReceiver<R> {
    type Output = Result<R, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.receiver).poll(context)) {
            Ok(Answer::Value(value)) => Ok(value),
            Ok(Answer::Encoded(encoded, decode)) => decode(encoded).map_err(CallError::Decode),
            Ok(Answer::Failed(error)) => Err(error),
            Err(_) => Err(CallError::NoReply),
        })
    }
}

impl<R> fmt::Debug for ReplyReceiver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyReceiver")
    }
}
