//! The seam between references and the node: actors in other processes, and how a
//! reference travels.
//!
//! Owns the traits only. What is behind them, links and introductions, is the node's;
//! it installs itself once with [`install`]. All of it is free of message types: a
//! reference encodes before it calls [`Remote`], and an actor decodes on its own thread
//! what [`LocalActor::deliver`] brought.

use super::MailboxOptions;
use super::error::CallError;
use super::message::MethodNames;
use super::reply::ReplyPort;
use crate::codec::{Encoded, Fd, Lent};
use crate::down::{Down, DownSink, Tie};
use crate::link::Link;
use procession_protocols::dynamic::Dynamic;
use procession_protocols::id::{ActorId, NodeId, NodePath};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Instant;

/// An actor in another process.
pub trait Remote: Send + Sync {
    /// Its address.
    fn id(&self) -> ActorId;

    /// Its name.
    fn name(&self) -> &str;

    /// Sends a message; blocks while the link or the mailbox has no room, at most until
    /// `deadline` and as long as the actor's policy says. `reply` is completed when the
    /// answer comes, or when it is known that none will come.
    ///
    /// # Errors
    /// Why the message was not sent; then `reply` may be dropped.
    fn send(
        &self,
        message: Encoded,
        reply: Option<ReplyPort>,
        deadline: Option<Instant>,
    ) -> Result<(), CallError>;

    /// As [`send`](Self::send), but waits without blocking.
    fn send_async(&self, message: Encoded, reply: Option<ReplyPort>) -> Sending<'_>;

    /// Blocks until `ready` completes or the deadline passes; meanwhile the caller's
    /// thread reads the link. `ready` is to be polled at least once, and again when its
    /// waker is woken: by this thread, as it completes the reply that it just read, or
    /// by another that read it. So the waker must end a `poll(2)`: an eventfd beside
    /// the link's descriptor does.
    fn wait(&self, ready: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>);

    /// Has the hidden thread read the link while the guard lives: an async caller is
    /// waiting, and cannot.
    fn watch(&self) -> Box<dyn Send>;

    /// What its messages are encoded in, and their replies decoded in; `None` is nothing.
    fn scope(&self) -> Option<Arc<dyn Scope>> {
        None
    }

    /// Whether it is not known to have ended.
    fn is_alive(&self) -> bool;

    /// Asks it to end after the message in progress. Returns at once.
    fn stop(&self);

    /// Ends it without asking. Returns at once.
    fn kill(&self);

    /// Has `sink` called with the actor's one `Down`, at once if it has ended, as long as is
    /// kept what this gives. Where there is no way to it yet, one is waited for, at most until
    /// `deadline`.
    ///
    /// # Errors
    /// No way to watch it.
    fn monitor(&self, sink: DownSink, deadline: Option<Instant>) -> Result<Tie, CallError>;

    /// As [`monitor`](Self::monitor), but waits without blocking.
    fn monitor_async(&self, sink: DownSink) -> Watching<'_> {
        Box::pin(std::future::ready(self.monitor(sink, None)))
    }

    /// This reference, for another process. Called inside a transfer, so it may attach
    /// tickets and descriptors.
    ///
    /// # Errors
    /// Why it cannot travel.
    fn to_wire(&self) -> Result<RefWire, CallError>;
}

/// What has to be known while a value is encoded for a certain stream, or decoded.
pub trait Scope: Send + Sync {
    /// Acts while it is known.
    fn enter(&self, act: &mut dyn FnMut());
}

/// Acts within a scope, if there is one.
pub(super) fn within<T>(scope: Option<&Arc<dyn Scope>>, act: impl FnOnce() -> T) -> T {
    let Some(scope) = scope else { return act() };
    let (mut act, mut done) = (Some(act), None);
    scope.enter(&mut || done = act.take().map(|act| act()));
    done.unwrap_or_else(|| unreachable!("a scope acts"))
}

/// What [`Remote::send_async`] returns. Dropped before the first byte was written,
/// nothing was sent; after it, the message is sent.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send + 'a>>;

/// What [`Remote::monitor_async`] returns.
pub type Watching<'a> = Pin<Box<dyn Future<Output = Result<Tie, CallError>> + Send + 'a>>;

/// An actor of this process, without its message type. The actor lives at least as long
/// as one of these does.
pub trait LocalActor: Send + Sync {
    /// Its address.
    fn id(&self) -> ActorId;

    /// Its name.
    fn name(&self) -> &str;

    /// Its mailbox's bound and policy.
    fn options(&self) -> MailboxOptions;

    /// Puts a message from another process into the mailbox; never blocks, never
    /// decodes. Its sender's credit should keep the mailbox from being full.
    ///
    /// # Errors
    /// Gives both back when the mailbox is full (whatever its policy) or has closed.
    fn deliver(&self, message: Encoded, reply: Option<ReplyPort>) -> Result<(), Box<Undelivered>>;

    /// Where its callers in other processes come in, made at the first call; `None` when it
    /// has ended or is about to.
    ///
    /// # Errors
    /// What `make` says.
    fn inlet(&self, make: fn() -> io::Result<Arc<dyn Inlet>>)
    -> io::Result<Option<Arc<dyn Inlet>>>;

    /// The names of its messages; none of those that do not travel.
    fn methods(&self) -> &'static [MethodNames];

    /// Sends it a message by name, of arguments that are plain data; waits while the mailbox
    /// is full. The reply's port takes plain data.
    ///
    /// # Errors
    /// [`CallError::NotExposed`] when it has no such message; [`CallError::Decode`] when the
    /// arguments do not fit; as sending says.
    fn deliver_plain(
        &self,
        method: &str,
        args: Vec<Dynamic>,
        reply: ReplyPort,
    ) -> Result<(), CallError>;

    /// Gives its `on_down` the notice of another actor's end.
    fn notify(&self, down: Down);

    /// Whether it has not ended and is not being killed.
    fn is_alive(&self) -> bool;

    /// Asks it to end after the message in progress.
    fn stop(&self);

    /// Ends it after the message in progress, without its `on_stop`.
    fn kill(&self);

    /// Has `sink` called with the actor's one `Down`.
    fn monitor(&self, sink: DownSink);

    /// For the way back to the typed reference.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// What the thread of an actor reads while it waits for messages: the links of its callers
/// in other processes. It brings messages by [`LocalActor::deliver`].
pub trait Inlet: Send + Sync {
    /// Lets a caller in. Any thread may call it.
    fn admit(&self, link: Link, actor: Arc<dyn LocalActor>);

    /// Ends [`wait`](Self::wait).
    fn waker(&self) -> &Waker;

    /// Looks for what has come, if that is due; never waits. For the actor's thread, as all
    /// below.
    fn glance(&self);

    /// Waits until something has come or the waker was woken since the last wait.
    fn wait(&self);

    /// The actor has ended: tells its callers, those of now and those to come.
    fn close(&self, down: &Down);
}

/// A message that [`LocalActor::deliver`] did not take.
pub struct Undelivered {
    /// The message.
    pub message: Encoded,
    /// Its reply.
    pub reply: Option<ReplyPort>,
    /// Why.
    pub why: CallError,
}

/// A reference as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefWire {
    /// The life of the process that hosts the actor.
    pub node: NodeId,
    /// Where in the tree that process is.
    pub path: NodePath,
    /// The actor's number there.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// Its mailbox.
    pub options: MailboxOptions,
    /// What keeps it alive; `None` when something else does.
    pub lifeline: Option<Lifeline>,
}

/// What keeps an actor alive, in whatever process it is, until its last copy is dropped or
/// its last holder has ended.
#[derive(Clone)]
pub enum Lifeline {
    /// A descriptor whose other end is with the actor.
    Fd(Arc<OwnedFd>),
    /// A reference to an object that has the actor.
    Object(Arc<dyn Keeper>),
}

/// A reference that keeps an actor alive; what it refers to is not known here.
pub trait Keeper: Send + Sync {
    /// The reference, for the transfer under way.
    ///
    /// # Errors
    /// Why it cannot travel there.
    fn pack(&self) -> Result<Vec<u8>, CallError>;

    /// The way to the actor, if that is by the reference itself.
    fn way(&self, wire: &RefWire) -> Option<Arc<dyn Remote>>;
}

impl fmt::Debug for Lifeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lifeline")
    }
}

/// A lifeline as it travels.
#[derive(Serialize)]
enum Going<'a> {
    Fd(Lent<'a>),
    Object(Vec<u8>),
}

#[derive(Deserialize)]
enum Coming {
    Fd(Fd),
    Object(Vec<u8>),
}

impl Serialize for Lifeline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let going = match self {
            Self::Fd(fd) => Going::Fd(Lent(fd.as_fd())),
            Self::Object(keeper) => Going::Object(keeper.pack().map_err(ser::Error::custom)?),
        };
        going.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lifeline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Coming::deserialize(deserializer)? {
            Coming::Fd(fd) => Self::Fd(Arc::new(fd.into())),
            Coming::Object(packed) => {
                let keeper = node().and_then(|node| node.unpack(&packed));
                Self::Object(keeper.map_err(de::Error::custom)?)
            }
        })
    }
}

/// What a [`RefWire`] leads to.
pub enum Imported {
    /// An actor of this process.
    Local(Arc<dyn LocalActor>),
    /// An actor elsewhere.
    Remote(Arc<dyn Remote>),
}

/// What references need of this process's node.
pub trait Node: Send + Sync {
    /// The node's identity.
    fn id(&self) -> NodeId;

    /// A reference to an actor of this process is being encoded: from now on messages
    /// for it may arrive. The node keeps `actor` for as long as another process has the
    /// reference, or it is under way. Called inside a transfer.
    ///
    /// # Errors
    /// Why it cannot travel.
    fn export(&self, actor: Arc<dyn LocalActor>) -> Result<RefWire, CallError>;

    /// A reference has been decoded. Called inside a transfer. It should not wait: an
    /// introduction can be made at the first message.
    ///
    /// # Errors
    /// Why there is no way to it.
    fn import(&self, wire: RefWire) -> Result<Imported, CallError>;

    /// Reads what [`Keeper::pack`] wrote, within the same transfer.
    ///
    /// # Errors
    /// This node knows of no such references, or it is none.
    fn unpack(&self, packed: &[u8]) -> Result<Arc<dyn Keeper>, CallError> {
        let _ = packed;
        Err(CallError::Unreachable("no references to managed objects are known here".into()))
    }
}

/// Installs this process's node. False when there was one.
pub fn install(node: Box<dyn Node>) -> bool {
    NODE.set(node).is_ok()
}

/// This process's node.
pub(super) fn node() -> Result<&'static dyn Node, CallError> {
    NODE.get()
        .map(Box::as_ref)
        .ok_or_else(|| CallError::Unreachable("this process has no node yet".into()))
}

/// The identity that actors of this process carry.
pub(super) fn node_id() -> NodeId {
    NODE.get().map_or_else(|| crate::node::current().id, |node| node.id())
}

static NODE: OnceLock<Box<dyn Node>> = OnceLock::new();
