//! A handle to a shared object: local in its owner, attached on first use elsewhere.
//!
//! Owns the path from "a ticket came with a message" to "ready to use", and the way back.
//! One [`Share`] of an object exists in a process, however often it was received; clones
//! share it. The fast path ([`Share::side`]) is two loads and a compare. It must never hold
//! a lock across a wait. Neighbours: `roads` finds the owner, `travel` encodes.

use super::connection::{Call, Connection, Owner, wait_until};
use super::era::{self, Era};
use super::fall::let_fall;
use super::message::check_room;
use super::roads::{self, Name, Ticket};
use super::{Kind, ShareError, Stock, host};
use crate::codec::Encoded;
use crate::node;
use crate::sync::lock;
use procession_protocols::id::NodeId;
use std::any::Any;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;
use tokio::sync::Notify;

/// A handle to an object of a kind.
pub struct Share<K: Kind>(pub(super) Arc<Inner<K>>);

/// Where the object is, as its handle's kind sees it.
pub enum Side<'a, K: Kind> {
    /// In this process.
    Own(&'a Arc<K::Own>),
    /// In its owner; this is what this process needs to use it.
    Away(&'a K::Away),
}

impl<K: Kind> Share<K> {
    /// Makes this process the owner of an object. It lives while anybody holds a handle,
    /// here or elsewhere, or one is under way, and as long as this process lives.
    pub fn host(own: Arc<K::Own>) -> Self {
        era::arm();
        let object = host::host(K::NAME, own.clone());
        let inner = Arc::new(Inner { object, first: Era::new(Life::own(own)) });
        let weak: Weak<Inner<K>> = Arc::downgrade(&inner);
        roads::enter((None, object), weak);
        Self(inner)
    }

    /// The object's number at its owner.
    pub fn object(&self) -> u64 {
        self.0.object
    }

    /// The owner's identity; `None` when it is out of reach.
    pub(crate) fn owner(&self) -> Option<NodeId> {
        match self.0.place() {
            Place::Here => Some(node::current().id),
            Place::Away(owner) => Some(owner.id),
            Place::Lost => None,
        }
    }

    /// Which object it is, the same for all who have it; `None` when it is out of reach.
    pub(crate) fn identity(&self) -> Option<(NodeId, u64)> {
        Some((self.owner()?, self.object()))
    }

    /// The object, attached to first if need be: that waits until the owner answers or is
    /// gone.
    ///
    /// # Errors
    /// [`ShareError::OwnerGone`] when the owner ended before this process attached;
    /// [`ShareError::Forked`] in a copy of the process that got no ticket, as by the user's
    /// own `fork`; [`ShareError::OtherKind`] and [`ShareError::NoSuchObject`] when the
    /// message that brought it lied; [`ShareError::WouldDeadlock`] on a thread of the
    /// library's own; [`ShareError::Io`] when no descriptor is free. After an error the
    /// handle is as before, and the next use tries again.
    #[inline]
    pub fn side(&self) -> Result<Side<'_, K>, ShareError> {
        match self.ready() {
            Some(side) => Ok(side),
            None => self.side_until(None),
        }
    }

    /// As [`side`](Self::side), with a deadline.
    ///
    /// # Errors
    /// As [`side`](Self::side), and [`ShareError::Timeout`].
    pub fn side_until(&self, deadline: Option<Instant>) -> Result<Side<'_, K>, ShareError> {
        match self.ready() {
            Some(side) => Ok(side),
            None => wait_until(self.side_async(), deadline),
        }
    }

    /// As [`side`](Self::side), for any executor.
    ///
    /// # Errors
    /// As [`side`](Self::side).
    ///
    /// # Cancel safety
    /// Dropped, it leaves an attachment that is under way to whoever uses the object next;
    /// the last handle gives it back.
    pub async fn side_async(&self) -> Result<Side<'_, K>, ShareError> {
        let life = self.0.life();
        loop {
            let mut changed = pin!(life.changed.0.notified());
            changed.as_mut().enable();
            if life.side.get().is_none() {
                self.0.attach(life)?;
            }
            if let Some(side) = life.side.get() {
                return Ok(side.borrow());
            }
            changed.await;
        }
    }

    /// The object, if this process is ready to use it at once.
    #[inline]
    pub fn ready(&self) -> Option<Side<'_, K>> {
        let first = &self.0.first;
        let life = if first.is_now() { &first.state } else { self.0.life() };
        life.side.get().map(Ready::borrow)
    }
}

impl<K: Kind> Clone for Share<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> fmt::Debug for Share<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = match self.0.place() {
            Place::Here => "this process".to_owned(),
            Place::Away(owner) => owner.name.clone(),
            Place::Lost => "out of reach".to_owned(),
        };
        f.debug_struct("Share")
            .field("kind", &K::NAME)
            .field("object", &self.0.object)
            .field("owner", &owner)
            .finish()
    }
}

/// A handle, whatever its kind.
pub(super) trait Handle: Any + Send + Sync {
    /// The kind's name.
    fn kind(&self) -> &'static str;

    /// The object's number at its owner.
    fn object(&self) -> u64;

    /// Where the object is.
    fn place(&self) -> Place;

    /// The ticket that it came with, while it is not attached.
    fn ticket(&self) -> Option<Arc<Ticket>>;

    /// The connection by which it is attached.
    fn connection(&self) -> Option<Arc<Connection>>;

    /// The owner is gone.
    fn owner_gone(&self);

    /// This process ends in good order.
    fn process_ends(&self);

    /// A newer ticket came, or after a fork the one that the copy has.
    fn take_ticket(&self, ticket: &Arc<Ticket>);

    /// In a copy of the owner, the object has become the copy's own. False when it is of
    /// another type.
    fn become_own(&self, own: Arc<dyn Stock>) -> bool;
}

/// Where an object is.
pub(super) enum Place {
    /// In this process.
    Here,
    /// In another.
    Away(Arc<Owner>),
    /// In the process that this one is a copy of, out of reach.
    Lost,
}

/// What all clones of a handle share.
pub(super) struct Inner<K: Kind> {
    pub(super) object: u64,
    first: Era<Life<K>>,
}

/// What a handle is in one generation of its process.
struct Life<K: Kind> {
    start: Mutex<Start>,
    changed: Arc<Changed>,
    side: OnceLock<Ready<K>>,
}

/// What is known before the object is ready to use.
#[derive(Default)]
struct Start {
    ticket: Option<Arc<Ticket>>,
    step: Step,
}

/// How far attaching has come. It belongs to all who wait for it: any of them takes the next
/// step, so that a future which is kept and not polled holds up nobody.
#[derive(Default)]
enum Step {
    #[default]
    None,
    /// A thread takes a step, which does not wait.
    Busy,
    /// The owner has been asked.
    Asked(Arc<Connection>, Call),
}

/// Wakes all who wait for the object.
#[derive(Default)]
struct Changed(Notify);

impl Wake for Changed {
    fn wake(self: Arc<Self>) {
        self.0.notify_waiters();
    }
}

enum Ready<K: Kind> {
    Own(Arc<K::Own>),
    Away(Attached<K>),
}

struct Attached<K: Kind> {
    away: K::Away,
    connection: Arc<Connection>,
    /// The attachment's number.
    number: u64,
}

impl<K: Kind> Ready<K> {
    #[inline]
    fn borrow(&self) -> Side<'_, K> {
        match self {
            Self::Own(own) => Side::Own(own),
            Self::Away(attached) => Side::Away(&attached.away),
        }
    }
}

impl<K: Kind> Life<K> {
    fn own(own: Arc<K::Own>) -> Self {
        let side = OnceLock::from(Ready::Own(own));
        Self { start: Mutex::default(), changed: Arc::default(), side }
    }

    /// Without a ticket it cannot attach.
    fn away(ticket: Option<Arc<Ticket>>) -> Self {
        let start = Mutex::new(Start { ticket, step: Step::None });
        Self { start, changed: Arc::default(), side: OnceLock::new() }
    }

    /// Takes the turn, with what has been answered; `None` when there is nothing to do now.
    fn turn(&self) -> Option<(Turn<'_>, Option<Answered>)> {
        let start = &mut *lock(&self.start);
        let answered = match &mut start.step {
            Step::None => None,
            Step::Busy => return None,
            Step::Asked(connection, call) => {
                let waker = Waker::from(self.changed.clone());
                match Pin::new(&mut *call).poll(&mut Context::from_waker(&waker)) {
                    Poll::Pending => return None,
                    Poll::Ready(reply) => Some((connection.clone(), call.number, reply)),
                }
            }
        };
        let done = std::mem::replace(&mut start.step, Step::Busy);
        drop(done);
        Some((Turn { start: &self.start, changed: &self.changed, next: Step::None }, answered))
    }
}

/// What an owner says to an attachment of this number.
type Answered = (Arc<Connection>, u64, Result<Encoded, ShareError>);

/// The turn to take a step; when it is over, those who wait look again.
struct Turn<'a> {
    start: &'a Mutex<Start>,
    changed: &'a Changed,
    next: Step,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(self.start).step = std::mem::take(&mut self.next);
        self.changed.0.notify_waiters();
    }
}

impl<K: Kind> Inner<K> {
    /// A handle that came with a ticket.
    pub(super) fn received(object: u64, ticket: &Arc<Ticket>) -> Self {
        era::arm();
        Self { object, first: Era::new(Life::away(Some(ticket.clone()))) }
    }

    /// A handle that came back to its owner, where it has been counted already.
    pub(super) fn returned(object: u64, own: Arc<K::Own>) -> Self {
        Self { object, first: Era::new(Life::own(own)) }
    }

    fn life(&self) -> &Life<K> {
        self.first.now(|| Life::away(None))
    }

    /// Asks the owner to attach this process, or takes its answer, if it is time for either.
    fn attach(self: &Arc<Self>, life: &Life<K>) -> Result<(), ShareError> {
        let Some((mut turn, answered)) = life.turn() else { return Ok(()) };
        let Some((connection, number, reply)) = answered else {
            if life.side.get().is_none() {
                let ticket = lock(&life.start).ticket.clone().ok_or(ShareError::Forked)?;
                check_room(&ticket.link)?;
                let connection = roads::connection(&ticket)?;
                let call = connection.begin_attach(self.object, K::NAME)?;
                turn.next = Step::Asked(connection, call);
            }
            return Ok(());
        };
        let away = K::attached(&connection, self.object, reply?)
            .inspect_err(|_| connection.release(self.object, number))?;
        let attached = Attached { away, connection: connection.clone(), number };
        if life.side.set(Ready::Away(attached)).is_err() {
            unreachable!("one attaches at a time")
        }
        let weak: Weak<Self> = Arc::downgrade(self);
        if !connection.tell(self.object, number, weak) {
            self.owner_gone();
        }
        let ticket = lock(&life.start).ticket.take();
        drop(ticket);
        Ok(())
    }

    /// Its name in this process; `None` when it is out of reach.
    fn name(&self) -> Option<Name> {
        match self.place() {
            Place::Here => Some((None, self.object)),
            Place::Away(owner) => Some((Some(owner.id), self.object)),
            Place::Lost => None,
        }
    }
}

impl<K: Kind> Handle for Inner<K> {
    fn kind(&self) -> &'static str {
        K::NAME
    }

    fn object(&self) -> u64 {
        self.object
    }

    fn place(&self) -> Place {
        let life = self.life();
        let ready = || match life.side.get()? {
            Ready::Own(_) => Some(Place::Here),
            Ready::Away(attached) => Some(Place::Away(attached.connection.owner().clone())),
        };
        let ticket = || Some(Place::Away(lock(&life.start).ticket.as_ref()?.owner.clone()));
        // Whoever finds no ticket looks again: it goes when the object has become ready.
        ready().or_else(ticket).or_else(ready).unwrap_or(Place::Lost)
    }

    fn ticket(&self) -> Option<Arc<Ticket>> {
        lock(&self.life().start).ticket.clone()
    }

    fn connection(&self) -> Option<Arc<Connection>> {
        match self.life().side.get() {
            Some(Ready::Away(attached)) => Some(attached.connection.clone()),
            _ => None,
        }
    }

    fn owner_gone(&self) {
        if let Some(Ready::Away(attached)) = self.life().side.get() {
            K::owner_gone(&attached.away);
        }
    }

    fn process_ends(&self) {
        if let Some(Ready::Away(attached)) = self.life().side.get() {
            K::process_ends(&attached.away);
        }
    }

    fn take_ticket(&self, ticket: &Arc<Ticket>) {
        let life = self.life();
        if life.side.get().is_none() {
            let older = lock(&life.start).ticket.replace(ticket.clone());
            drop(older);
        }
    }

    fn become_own(&self, own: Arc<dyn Stock>) -> bool {
        let own = (own as Arc<dyn Any + Send + Sync>).downcast();
        own.is_ok_and(|own| self.life().side.set(Ready::Own(own)).is_ok())
    }
}

impl<K: Kind> Drop for Inner<K> {
    fn drop(&mut self) {
        let name = self.name();
        let object = self.object;
        let mut era = Some(&mut self.first);
        while let Some(one) = era {
            let is_now = one.is_now();
            let Life { start, side, .. } = &mut one.state;
            let start = start.get_mut().map(std::mem::take);
            match (side.take(), is_now) {
                (Some(Ready::Own(own)), true) => {
                    host::let_go(object);
                    let_fall(own);
                }
                (Some(Ready::Away(Attached { away, connection, number })), true) => {
                    if std::thread::panicking() {
                        K::forsaken(&away);
                    }
                    let is_told = K::let_go(&away, number);
                    drop(away);
                    connection.forget(object, number);
                    if !is_told {
                        connection.release(object, number);
                    }
                }
                (None, true) => {}
                // What an older generation had is the business of the process that this
                // one is a copy of; locks in it may be held for ever.
                (side, false) => std::mem::forget((side, start)),
            }
            era = one.next_mut();
        }
        if let Some(name) = name {
            roads::leave(name);
        }
    }
}
