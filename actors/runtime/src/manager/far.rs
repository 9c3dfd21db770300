//! Managed objects over a stream that leaves the process tree.
//!
//! Owns what both ends keep: the server a *session* for each client, with the references
//! that the client has; the client a *road* to the server, with the calls under way. A
//! reference travels as its object's number, and only to the other end. A function never
//! does: where none but a place in the image could be named, nothing is accepted. It must
//! never trust what comes: what does not decode ends the session, and with it what its
//! client held. Neighbours: the face brings authenticated streams.
//!
//! ```text
//!  client                                  server
//!         <── Hello { version, node, door }
//!  Ask { number, object, ask } ──>
//!         <── (number, reply)
//!  Cancel { number, object } ──>           nobody waits for it any more
//!  Release { object } ──>                  one reference less
//!  Bye ──>                                 the session ends
//! ```

use super::Ask;
use super::far_actor::{self, Packed};
use super::far_reply;
use super::object::{Asker, Object};
use super::presence::Presence;
use super::proxy::{ManagerError, Proxy, open};
use super::stored::Stored;
use crate::actor::{CallError, ReplyPort};
use crate::codec;
use crate::node;
use crate::share::{self, ClientId, ShareError};
use crate::sync::lock;
use crate::wait;
use procession_protocols::exit::ExitReason;
use procession_protocols::id::NodeId;
use procession_protocols::manager::{Caller, Fault, Reply};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;
use std::time::Instant;
use tokio::sync::oneshot;

/// Changes with every change of what is said here.
const VERSION: u32 = 1;

/// Most calls of one client that may be under way.
const MAX_UNDER_WAY: usize = 1024;

/// Most clients from outside the tree that a server has at a time.
pub const MAX_SESSIONS: usize = 256;

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

    /// Waits until something has come, or the stream has ended.
    fn heard(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

#[derive(Serialize, Deserialize)]
struct Hello {
    version: u32,
    node: NodeId,
    name: String,
    door: Proxy,
}

#[derive(Serialize, Deserialize)]
enum ToServer {
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
}

/// Whose references are being encoded or decoded.
#[derive(Clone)]
pub(super) enum End {
    Server(Arc<Session>),
    Client(Arc<Road>),
}

thread_local! {
    static END: RefCell<Option<End>> = const { RefCell::new(None) };
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
    act()
}

pub(super) fn encode<T: Serialize>(end: End, value: &T) -> Result<Vec<u8>, String> {
    let encoded = at(end, || codec::encode(value)).map_err(|error| error.to_string())?;
    if encoded.fds.is_empty() {
        Ok(encoded.bytes)
    } else {
        Err("a handle or a descriptor does not leave its process tree".into())
    }
}

fn decode<T: for<'de> Deserialize<'de>>(end: End, bytes: &[u8]) -> io::Result<T> {
    at(end, || codec::decode(bytes, Vec::new())).map_err(io::Error::other)
}

/// A proxy on its way over such a stream: its object's number. `None` elsewhere.
pub(super) fn pass(proxy: &Proxy) -> Option<u64> {
    let end = END.with_borrow(Clone::clone)?;
    match end {
        End::Server(session) => {
            let object = proxy.own()?;
            session.grant(object, proxy);
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
        End::Server(session) => session.find(object),
        End::Client(road) => Some(Proxy::far(Far { object, road })),
    }
}

/// What a server keeps for a client outside the tree.
pub(super) struct Session {
    client: ClientId,
    /// Each object with the number of references that the client has.
    held: Mutex<HashMap<u64, (Proxy, u64)>>,
    presence: Presence,
    out: mpsc::Sender<(u64, Reply<Stored>)>,
    pub(super) under_way: AtomicUsize,
    /// Set with `held` locked, when the client is gone and nothing is given any more.
    is_over: AtomicBool,
}

impl Session {
    fn grant(&self, object: Arc<Object>, proxy: &Proxy) {
        let held = &mut *lock(&self.held);
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let (_, count) = held.entry(proxy.object()).or_insert_with(|| {
            object.admit(self.client);
            self.presence.enter(self.client, Arc::downgrade(&object));
            (proxy.clone(), 0)
        });
        *count += 1;
    }

    /// Takes what the client had; it gets nothing more.
    fn close(&self) -> HashMap<u64, (Proxy, u64)> {
        let held = &mut *lock(&self.held);
        self.is_over.store(true, Ordering::Relaxed);
        std::mem::take(held)
    }

    fn find(&self, object: u64) -> Option<Proxy> {
        lock(&self.held).get(&object).map(|(proxy, _)| proxy.clone())
    }

    fn release(&self, object: u64) {
        let held = &mut *lock(&self.held);
        if let Some((_, count)) = held.get_mut(&object) {
            *count -= 1;
            if *count == 0 {
                let gone = held.remove(&object);
                drop(gone);
            }
        }
    }

    /// Answers a call of the client's.
    pub(super) fn answer(&self, number: u64, reply: Reply<Stored>) {
        far_reply::give(self, &self.out, (number, reply));
    }

    fn heard(self: &Arc<Self>, message: ToServer) -> bool {
        match message {
            ToServer::Bye => return false,
            ToServer::Release { object } => self.release(object),
            ToServer::Cancel { number, object } => {
                if let Some(object) = self.find(object).and_then(|proxy| proxy.own()) {
                    object.cancel_call(self.client, number);
                }
            }
            ToServer::Message { number, object, message } => {
                if self.under_way.fetch_add(1, Ordering::Relaxed) >= MAX_UNDER_WAY {
                    self.answer(number, Reply::Fault(Fault::Busy));
                } else if let Some(object) = self.find(object).and_then(|proxy| proxy.own()) {
                    far_actor::deliver(self, number, &object, message);
                } else {
                    self.answer(number, Reply::Fault(Fault::NoSuchObject("such object".into())));
                }
            }
            ToServer::Ask { number, object, ask } => {
                let session = self.clone();
                let answer = move |reply| session.answer(number, reply);
                if self.under_way.fetch_add(1, Ordering::Relaxed) >= MAX_UNDER_WAY {
                    answer(Reply::Fault(Fault::Busy));
                    return true;
                }
                let thread = match &ask {
                    Ask::Call { thread, .. } => *thread,
                    Ask::Run { .. } | Ask::Change { .. } => {
                        let text = "no function is named from outside the process tree";
                        answer(Reply::Fault(Fault::Failed(text.into())));
                        return true;
                    }
                    _ => 0,
                };
                match self.find(object).and_then(|proxy| proxy.own()) {
                    Some(object) => {
                        let asker = Asker::Far(self.client, number, Box::new(answer));
                        object.take(Caller { client: self.client, thread }, ask, asker);
                    }
                    None => answer(Reply::Fault(Fault::NoSuchObject("such object".into()))),
                }
            }
        }
        true
    }
}

static SESSIONS: AtomicUsize = AtomicUsize::new(0);

/// Serves a client that has proved who it is, on threads of its own.
///
/// # Errors
/// There are [`MAX_SESSIONS`] already, or no thread is to be had.
pub fn serve(door: &Proxy, stream: Arc<dyn Stream>) -> io::Result<()> {
    if SESSIONS.fetch_add(1, Ordering::Relaxed) >= MAX_SESSIONS {
        SESSIONS.fetch_sub(1, Ordering::Relaxed);
        return Err(io::Error::other("the manager has as many clients as it may have"));
    }
    let Some(client) = share::enlist() else {
        SESSIONS.fetch_sub(1, Ordering::Relaxed);
        return Err(io::Error::other("no number is left for a client"));
    };
    let (out, replies) = mpsc::channel();
    let session = Arc::new(Session {
        client,
        held: Mutex::default(),
        presence: Presence::default(),
        out,
        under_way: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    });
    let door = door.clone();
    let reader = move || {
        attend(&session, &door, &stream, replies);
        // What it had is put right before its number can be another's.
        let held = session.close();
        session.presence.end();
        drop(held);
        share::discharge(session.client);
        SESSIONS.fetch_sub(1, Ordering::Relaxed);
    };
    let thread = thread::Builder::new().name("procession-session".into());
    thread.spawn(reader).map(drop)
}

fn attend(
    session: &Arc<Session>,
    door: &Proxy,
    stream: &Arc<dyn Stream>,
    replies: mpsc::Receiver<(u64, Reply<Stored>)>,
) {
    let end = || End::Server(session.clone());
    let node = node::current();
    let hello = Hello { version: VERSION, node: node.id, name: node.name(), door: door.clone() };
    let Ok(hello) = encode(end(), &hello) else { return };
    if stream.send(&hello).is_err() {
        return;
    }
    let (of, to) = (Arc::downgrade(session), stream.clone());
    let thread = thread::Builder::new().name("procession-replies".into());
    let spawned = thread.spawn(move || far_reply::write(&of, &to, &replies));
    if spawned.is_err() {
        return;
    }
    while let Ok(message) = stream.recv() {
        let Ok(message) = decode(end(), &message) else {
            tracing::warn!(target: "procession", "a client of the manager sent what is no message");
            return;
        };
        if !far_reply::carry_out(session, &**stream, || session.heard(message)) {
            return;
        }
    }
}

/// A reference to an object of a server outside the tree.
pub(super) struct Far {
    object: u64,
    road: Arc<Road>,
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
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    last: u64,
    under_way: HashMap<u64, Waiting>,
    is_gone: bool,
}

/// Who waits for an answer.
enum Waiting {
    Caller(oneshot::Sender<Reply<Stored>>),
    /// An actor's caller, if it is no cast, and the references in the message: the server
    /// must have them until the actor's thread has read it.
    Actors(Option<ReplyPort>, Vec<Proxy>),
}

/// Meets the server at the other end of a stream: its door.
///
/// # Errors
/// What is there is no server of this version.
pub fn meet(stream: Arc<dyn Stream>) -> io::Result<Proxy> {
    let first = stream.recv()?;
    // Who the server is stands in the hello itself, so it is read twice.
    let (version, server, name): (u32, NodeId, String) =
        codec::decode_prefix(&first).map_err(io::Error::other)?;
    if version != VERSION {
        return Err(io::Error::other(format!(
            "the manager speaks version {version}, not {VERSION}"
        )));
    }
    let road = Arc::new_cyclic(|this| Road {
        this: this.clone(),
        stream: stream.clone(),
        server,
        name,
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

    pub(super) fn is_gone(&self) -> bool {
        lock(&self.calls).is_gone
    }

    /// Nobody answers any more.
    fn end(&self) {
        let under_way = {
            let calls = &mut *lock(&self.calls);
            calls.is_gone = true;
            std::mem::take(&mut calls.under_way)
        };
        for waiting in under_way.into_values() {
            if let Waiting::Actors(Some(port), _) = waiting {
                port.complete(Err(self.actor_gone()));
            }
        }
    }

    fn actor_gone(&self) -> CallError {
        CallError::ActorDied { name: self.name.clone(), reason: ExitReason::Unknown }
    }

    fn gone(&self) -> ManagerError {
        ManagerError::OwnerGone { name: self.name.clone() }
    }

    fn say(&self, message: &ToServer) {
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
    }
}

impl fmt::Debug for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Road").field("name", &self.name).finish_non_exhaustive()
    }
}
