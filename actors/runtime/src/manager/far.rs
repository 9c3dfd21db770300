//! Managed objects over a stream that leaves the process tree.
//!
//! Owns what both ends say: the server has a *session* for each client, with the references
//! that the client has; the client a *road* to the server, with the calls under way. A
//! reference travels as its object's number, and only to the other end. A function never
//! does: where none but a place in the image could be named, nothing is accepted. It must
//! never decide what a message means. Neighbours: `far_session` and `far_road` are the two
//! ends; the face brings authenticated streams.
//!
//! ```text
//!  client                                  server
//!         <── Hello { version, values, node, door }
//!  Ask { number, object, ask } ──>
//!         <── (number, reply)
//!  Cancel { number, object } ──>           nobody waits for it any more
//!  Watch { number, object } ──>            (number, its end) when an actor has ended
//!  Stop { object, is_kill } ──>            the actor ends, unless only some of it is offered
//!  Release { object } ──>                  one reference less
//!  Bye ──>                                 the session ends
//! ```

use super::Ask;
use super::far_actor::{self, Packed};
use super::far_road::{Far, Road};
use super::far_session::Session;
use super::proxy::Proxy;
use super::stored::Stored;
use crate::codec;
use crate::listener::LONGEST;
use procession_protocols::id::NodeId;
use procession_protocols::manager::{Fault, Reply};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// Changes with every change of what is said here.
pub(super) const VERSION: u32 = 3;

/// How values go over a stream. Both ends must say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Values {
    /// As the server keeps them.
    Native,
    /// As JSON, which a value is that has no references in it.
    Json,
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native ones",
            Self::Json => "JSON",
        })
    }
}

/// An authenticated stream of messages.
pub trait Stream: Send + Sync + 'static {
    /// Sends one message.
    ///
    /// # Errors
    /// The stream has ended.
    fn send(&self, message: &[u8]) -> io::Result<()>;

    /// Waits for the next message.
    ///
    /// # Errors
    /// The stream has ended.
    fn recv(&self) -> io::Result<Vec<u8>>;
}

/// A message under way.
pub type Sending<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

/// A stream that this process has alone, and reads ahead. One thread at a time receives.
pub trait Sole: Stream {
    /// Sends a message if there is room for its beginning, and does not wait until all of it
    /// has left. False when there is none.
    ///
    /// # Errors
    /// The stream has ended.
    fn try_send(&self, message: &[u8]) -> io::Result<bool>;

    /// As [`send_all`](Self::send_all), without blocking the thread.
    ///
    /// # Errors
    /// The stream has ended.
    fn send_all_async<'a>(&'a self, messages: &'a [&'a [u8]]) -> Sending<'a>;

    /// Ends it, for both sides.
    fn end(&self);

    /// Sends messages, in one write if there is room for it.
    ///
    /// # Errors
    /// The stream has ended.
    fn send_all(&self, messages: &[Vec<u8>]) -> io::Result<()>;

    /// As [`recv`](Stream::recv), at most until the deadline: `None` when that passed.
    ///
    /// # Errors
    /// The stream has ended.
    fn recv_until(&self, deadline: Option<Instant>) -> io::Result<Option<Vec<u8>>>;

    /// The next message, if it has come together with the one before.
    ///
    /// # Errors
    /// The stream has ended.
    fn come(&self) -> io::Result<Option<Vec<u8>>>;
}

/// A stream whose peer is listened to while a call of his waits.
pub trait Watched: Stream {
    /// Whether something has come, or the stream has ended. Does not wait.
    fn has_come(&self) -> bool;

    /// Waits until something has come, or the stream has ended.
    fn heard(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What a server says first.
#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) values: Values,
    pub(super) node: NodeId,
    pub(super) name: String,
    pub(super) door: Proxy,
}

/// What a client says.
#[derive(Serialize, Deserialize)]
pub(super) enum ToServer {
    Ask {
        number: u64,
        object: u64,
        ask: Ask,
    },
    Cancel {
        number: u64,
        object: u64,
    },
    Release {
        object: u64,
    },
    /// A message to an actor.
    Message {
        number: u64,
        object: u64,
        message: Packed,
    },
    Bye,
    /// Answer when this actor has ended. It is no call under way.
    Watch {
        number: u64,
        object: u64,
    },
    /// End this actor, if its reference is not limited to some methods.
    Stop {
        object: u64,
        is_kill: bool,
    },
}

/// Whose references are being encoded or decoded.
#[derive(Clone)]
pub(super) enum End {
    Server(Arc<Session>),
    Client(Arc<Road>),
}

thread_local! {
    static END: RefCell<Option<End>> = const { RefCell::new(None) };
    /// The references that what is being encoded gives to a client.
    static GIVEN: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// Why what was decoded last could not be, where it is its call's fault alone.
    static REFUSAL: Cell<Option<Refusal>> = const { Cell::new(None) };
}

/// What is wrong with a message that is one.
#[derive(Clone, Copy)]
enum Refusal {
    /// It has a reference in it that its sender does not have.
    Unknown,
    /// It has a value in it that would take too much memory.
    TooLarge,
}

impl Refusal {
    fn fault(self) -> Fault {
        match self {
            Self::Unknown => Fault::NoSuchObject("such object".into()),
            Self::TooLarge => Fault::Failed("the plain data takes too much memory".into()),
        }
    }
}

/// The value that is being decoded takes too much memory.
pub(super) fn is_too_large() {
    REFUSAL.set(Some(Refusal::TooLarge));
}

/// Whether what is being encoded or decoded leaves the process tree, or comes from outside.
pub(super) fn is_on_its_way() -> bool {
    END.with_borrow(Option::is_some)
}

pub(super) fn at<T>(end: End, act: impl FnOnce() -> T) -> T {
    /// Restores it also when a `Serialize` panics.
    struct Restore(Option<End>);
    impl Drop for Restore {
        fn drop(&mut self) {
            END.replace(self.0.take());
        }
    }
    let _restore = Restore(END.replace(Some(end)));
    codec::bounded(act)
}

pub(super) fn encode<T: Serialize>(end: End, value: &T) -> Result<Vec<u8>, String> {
    GIVEN.take();
    let encoded = encode_within_bounds(end.clone(), value);
    let given = GIVEN.take();
    if let (Err(_), End::Server(session)) = (&encoded, end) {
        // The client never hears of them.
        for object in given {
            session.release(object);
        }
    }
    encoded
}

fn encode_within_bounds<T: Serialize>(end: End, value: &T) -> Result<Vec<u8>, String> {
    let encoded = at(end, || codec::encode(value)).map_err(|error| error.to_string())?;
    if !encoded.fds.is_empty() {
        return Err("a handle or a descriptor does not leave its process tree".into());
    }
    // The other end would hang up.
    match encoded.bytes.len() {
        len if len as u64 > LONGEST => Err(format!(
            "it takes {len} bytes, and what goes to or from the manager of another program has \
             at most {LONGEST}"
        )),
        _ => Ok(encoded.bytes),
    }
}

pub(super) fn decode<T: for<'de> Deserialize<'de>>(end: End, bytes: &[u8]) -> io::Result<T> {
    at(end, || codec::decode(bytes, Vec::new())).map_err(io::Error::other)
}

/// What a server has heard.
pub(super) enum Heard {
    Message(ToServer),
    /// Why the call of this number could not be read.
    Refused(u64, Fault),
}

/// Decodes what a client says.
///
/// # Errors
/// It is no message.
pub(super) fn hear(session: &Arc<Session>, bytes: &[u8]) -> io::Result<Heard> {
    REFUSAL.set(None);
    match (decode(End::Server(session.clone()), bytes), REFUSAL.get()) {
        (Err(_), Some(refusal)) => {
            // Nothing but an `Ask` has references or values in it, and its number stands first.
            let (_, number): (u32, u64) = codec::decode_prefix(bytes).map_err(io::Error::other)?;
            Ok(Heard::Refused(number, refusal.fault()))
        }
        (heard, _) => heard.map(Heard::Message),
    }
}

/// Decodes what a server answers.
///
/// # Errors
/// It is no answer.
pub(super) fn hear_answer(road: &Arc<Road>, bytes: &[u8]) -> io::Result<(u64, Reply<Stored>)> {
    REFUSAL.set(None);
    match (decode(End::Client(road.clone()), bytes), REFUSAL.get()) {
        (Err(_), Some(refusal)) => {
            let number = codec::decode_prefix(bytes).map_err(io::Error::other)?;
            Ok((number, Reply::Fault(refusal.fault())))
        }
        (answer, _) => answer,
    }
}

/// Whether the value that is being encoded or decoded goes as JSON.
pub(super) fn speaks_json() -> bool {
    END.with_borrow(|end| match end {
        None => false,
        Some(End::Server(session)) => session.values == Values::Json,
        Some(End::Client(road)) => road.values() == Values::Json,
    })
}

/// A proxy on its way over such a stream: its object's number. `None` elsewhere.
pub(super) fn pass(proxy: &Proxy) -> Option<u64> {
    let end = END.with_borrow(Clone::clone)?;
    match end {
        End::Server(session) => {
            let object = proxy.own()?;
            session.grant(object, proxy);
            GIVEN.with_borrow_mut(|given| given.push(proxy.object()));
            Some(proxy.object())
        }
        End::Client(road) => proxy.is_by(&road).then(|| {
            far_actor::lend(proxy);
            proxy.object()
        }),
    }
}

/// The proxy that came as a number.
pub(super) fn receive(object: u64) -> Option<Proxy> {
    match END.with_borrow(Clone::clone)? {
        End::Server(session) => {
            let found = session.find(object);
            if found.is_none() {
                REFUSAL.set(Some(Refusal::Unknown));
            }
            found
        }
        End::Client(road) => Some(Proxy::far(Far { object, road })),
    }
}
