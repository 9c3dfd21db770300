//! Clients outside the process tree, as their server has them.
//!
//! Owns the *session*: the references that a client has, the calls that it may have under
//! way, and the threads that serve it. It must never trust what comes: what does not decode
//! ends the session, and with it what its client held. Neighbours: `far` has the messages,
//! `far_reply` writes the answers, `far_road` is the other end.

#[cfg(test)]
mod tests;

use super::Ask;
use super::asker::Asker;
use super::far::{End, Heard, Hello, Sole, ToServer, VERSION, Values, encode, hear};
use super::far_actor;
use super::far_reply::{self, Answer, Place, Together};
use super::far_watch;
use super::object::Object;
use super::presence::Presence;
use super::proxy::Proxy;
use super::stored::Stored;
use crate::node;
use crate::share::{self, ClientId};
use crate::sync::lock;
use procession_protocols::manager::{Caller, Fault, Reply};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;

/// Most calls of one client that may be under way.
const MAX_UNDER_WAY: usize = 1024;

/// Most clients from outside the tree that a server has at a time.
pub const MAX_SESSIONS: usize = 256;

/// What a server keeps for a client outside the tree.
pub(super) struct Session {
    client: ClientId,
    /// Each object with the number of references that the client has.
    held: Mutex<HashMap<u64, (Proxy, u64)>>,
    presence: Presence,
    out: mpsc::Sender<Answer>,
    under_way: Arc<AtomicUsize>,
    /// Set with `held` locked, when the client is gone and nothing is given any more.
    is_over: AtomicBool,
    pub(super) values: Values,
}

impl Session {
    fn new(client: ClientId, out: mpsc::Sender<Answer>, values: Values) -> Self {
        Self {
            client,
            held: Mutex::default(),
            presence: Presence::default(),
            out,
            under_way: Arc::default(),
            is_over: AtomicBool::new(false),
            values,
        }
    }

    pub(super) fn grant(&self, object: Arc<Object>, proxy: &Proxy) {
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
        far_watch::leave(self.client);
        std::mem::take(held)
    }

    pub(super) fn find(&self, object: u64) -> Option<Proxy> {
        lock(&self.held).get(&object).map(|(proxy, _)| proxy.clone())
    }

    /// The client has one reference less.
    pub(super) fn release(&self, object: u64) {
        let gone = {
            let held = &mut *lock(&self.held);
            let Some((_, count)) = held.get_mut(&object) else { return };
            *count -= 1;
            if *count > 0 {
                return;
            }
            held.remove(&object)
        };
        drop(gone);
    }

    /// Answers a call of the client's.
    pub(super) fn answer(&self, number: u64, reply: Reply<Stored>, place: Option<Place>) {
        far_reply::give(self, &self.out, Answer { number, reply, place, of: Weak::new() });
    }

    /// What this call of the client's was given, which it cannot be told of, is for others.
    pub(super) fn take_back(&self, object: &Object, number: u64) {
        object.cancel_call(self.client, number);
    }

    fn refuse(&self, number: u64, fault: Fault) {
        self.answer(number, Reply::Fault(fault), None);
    }

    /// An object of the client's.
    fn object(&self, number: u64) -> Option<Arc<Object>> {
        self.find(number).and_then(|proxy| proxy.own())
    }

    fn heard(self: &Arc<Self>, message: ToServer) -> bool {
        match message {
            ToServer::Bye => return false,
            ToServer::Release { object } => self.release(object),
            ToServer::Cancel { number, object } => {
                if let Some(object) = self.object(object) {
                    object.cancel_call(self.client, number);
                }
            }
            ToServer::Message { number, object, message } => {
                match (Place::take(&self.under_way, MAX_UNDER_WAY), self.object(object)) {
                    (None, _) => self.refuse(number, Fault::Busy),
                    (Some(place), Some(object)) => {
                        far_actor::deliver(self, number, place, &object, message);
                    }
                    (Some(_), None) => self.refuse(number, no_such_object()),
                }
            }
            ToServer::Ask { number, object, ask } => self.ask(number, object, ask),
            ToServer::Watch { number, object } => {
                let object = self.object(object);
                match object.as_ref().and_then(|object| object.as_actor()) {
                    Some(actor) => {
                        // A client that has gone is not kept for it.
                        let session = Arc::downgrade(self);
                        let answer = move |reply| {
                            if let Some(session) = session.upgrade() {
                                session.answer(number, reply, None);
                            }
                        };
                        let asker = Asker::Far(self.client, number, Box::new(answer));
                        far_watch::watch(actor, self.client, asker);
                    }
                    None => self.refuse(number, no_such_object()),
                }
            }
            ToServer::Stop { object, is_kill } => {
                let object = self.object(object);
                if let Some(actor) = object.as_ref().and_then(|object| object.as_actor()) {
                    far_actor::stop(actor, is_kill);
                }
            }
        }
        true
    }

    fn ask(self: &Arc<Self>, number: u64, object: u64, ask: Ask) {
        let place = Place::take(&self.under_way, MAX_UNDER_WAY);
        let gives_back = matches!(&ask, Ask::Call { call, .. } if call.gives_back());
        if place.is_none() && !gives_back {
            return self.refuse(number, Fault::Busy);
        }
        let thread = match &ask {
            Ask::Call { thread, .. } => *thread,
            Ask::Run { .. } | Ask::Change { .. } => {
                let text = "no function is named from outside the process tree";
                return self.refuse(number, Fault::Failed(text.into()));
            }
            _ => 0,
        };
        let Some(object) = self.object(object) else {
            return self.refuse(number, no_such_object());
        };
        let (session, of) = (self.clone(), Arc::downgrade(&object));
        // Given up, the call drops this, and its place with it.
        let answer = move |reply| {
            far_reply::give(&session, &session.out, Answer { number, reply, place, of });
        };
        let asker = Asker::Far(self.client, number, Box::new(answer));
        object.take(Caller { client: self.client, thread }, ask, asker);
    }
}

fn no_such_object() -> Fault {
    Fault::NoSuchObject("such object".into())
}

static SESSIONS: AtomicUsize = AtomicUsize::new(0);

/// A place among the clients from outside the tree, and the client's number. Dropped, both are
/// another's: what the client had is put right before.
struct Seat(ClientId);

impl Seat {
    fn take() -> io::Result<Self> {
        let taken = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let client = if taken < MAX_SESSIONS { share::enlist() } else { None };
        client.map(Self).ok_or_else(|| {
            SESSIONS.fetch_sub(1, Ordering::Relaxed);
            io::Error::other("the manager has as many clients as it may have")
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        share::discharge(self.0);
        SESSIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a client that has proved who it is, on threads of its own.
/// Values go between the two as said.
///
/// # Errors
/// There are [`MAX_SESSIONS`] already, or no thread is to be had.
pub fn serve(door: &Proxy, stream: Arc<dyn Sole>, values: Values) -> io::Result<()> {
    let seat = Seat::take()?;
    let (out, replies) = mpsc::channel();
    let session = Arc::new(Session::new(seat.0, out, values));
    let door = door.clone();
    let reader = move || {
        // It goes last, also when there is no thread.
        let _seat = seat;
        attend(&session, &door, &stream, replies);
        // An actor that is busy with a call of his keeps the way back to him.
        stream.end();
        let held = session.close();
        session.presence.end();
        drop(held);
    };
    let thread = thread::Builder::new().name("procession-session".into());
    thread.spawn(reader).map(drop)
}

fn attend(
    session: &Arc<Session>,
    door: &Proxy,
    stream: &Arc<dyn Sole>,
    replies: mpsc::Receiver<Answer>,
) {
    let end = || End::Server(session.clone());
    let node = node::current();
    let hello = Hello {
        version: VERSION,
        values: session.values,
        node: node.id,
        name: node.name(),
        door: door.clone(),
    };
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
    let mut answers = Together::default();
    while let Ok(message) = next(&**stream, &mut answers) {
        let Ok(heard) = hear(session, &message) else {
            tracing::warn!(target: "procession", "a client of the manager sent what is no message");
            break;
        };
        if !far_reply::carry_out(session, &mut answers, || match heard {
            Heard::Message(message) => session.heard(message),
            Heard::Refused(number, fault) => {
                session.refuse(number, fault);
                true
            }
        }) {
            break;
        }
    }
    answers.write(&**stream);
}

/// What the client says next. Before it is waited for, the answers to what came before leave.
fn next(stream: &dyn Sole, answers: &mut Together) -> io::Result<Vec<u8>> {
    if answers.are_many() {
        answers.write(stream);
    }
    if let Some(message) = stream.come()? {
        return Ok(message);
    }
    answers.write(stream);
    stream.recv()
}
