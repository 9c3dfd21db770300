//! A handle to a shared object: local in its owner, attached on first use elsewhere.
//!
//! Owns the path from "a ticket came with a message" to "ready to use", and the way back.
//! One [`Share`] of an object exists in a process, however often it was received; clones
//! share it. The fast path ([`Share::side`]) is two loads and a compare. It must never hold
//! a lock across a wait. Neighbours: `roads` finds the owner, `travel` encodes.

use super::connection::{Connection, Owner, wait_until};
use super::era::{self, Era};
use super::message::check_room;
use super::roads::{self, Name, Ticket};
use super::{Kind, ShareError, Stock, host};
use crate::node;
use crate::sync::lock;
use procession_protocols::id::NodeId;
use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Poll, Waker};
use std::time::Instant;

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
    /// Dropped, it gives back an attachment that was under way.
    pub async fn side_async(&self) -> Result<Side<'_, K>, ShareError> {
        let life = self.0.life();
        if let Some(side) = life.side.get() {
            return Ok(side.borrow());
        }
        let turn = life.turn().await;
        if life.side.get().is_none() {
            self.attach(life, &turn).await?;
        }
        drop(turn);
        life.side.get().map(Ready::borrow).ok_or(ShareError::Forked)
    }

    /// The object, if this process is ready to use it at once.
    #[inline]
    pub fn ready(&self) -> Option<Side<'_, K>> {
        let first = &self.0.first;
        let life = if first.is_now() { &first.state } else { self.0.life() };
        life.side.get().map(Ready::borrow)
    }

    /// Attaches; called by one at a time.
    async fn attach<'a>(&'a self, life: &'a Life<K>, turn: &Turn<'a>) -> Result<(), ShareError> {
        let ticket = lock(&life.start).ticket.clone().ok_or(ShareError::Forked)?;
        check_room(&ticket.link)?;
        let connection = roads::connection(&ticket)?;
        let call = connection.begin_attach(self.0.object, K::NAME)?;
        let number = call.number;
        let reply = call.await?;
        let away = K::attached(&connection, self.0.object, reply)
            .inspect_err(|_| connection.release(self.0.object, number))?;
        let attached = Attached { away, connection: connection.clone(), number };
        if life.side.set(Ready::Away(attached)).is_err() {
            unreachable!("one attaches at a time")
        }
        let weak: Weak<Inner<K>> = Arc::downgrade(&self.0);
        if !connection.tell(self.0.object, number, weak) {
            self.0.owner_gone();
        }
        turn.done_with_ticket();
        Ok(())
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
    side: OnceLock<Ready<K>>,
}

/// What is known before the object is ready to use.
#[derive(Default)]
struct Start {
    ticket: Option<Arc<Ticket>>,
    /// Whether somebody is attaching; these wait for him.
    is_busy: bool,
    waiting: Vec<Waker>,
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
        Self { start: Mutex::default(), side: OnceLock::from(Ready::Own(own)) }
    }

    /// Without a ticket it cannot attach.
    fn away(ticket: Option<Arc<Ticket>>) -> Self {
        Self { start: Mutex::new(Start { ticket, ..Start::default() }), side: OnceLock::new() }
    }

    /// Waits for the turn to attach.
    async fn turn(&self) -> Turn<'_> {
        poll_fn(|context| {
            let start = &mut *lock(&self.start);
            if start.is_busy {
                start.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            start.is_busy = true;
            Poll::Ready(())
        })
        .await;
        Turn(&self.start)
    }
}

/// The turn to attach.
struct Turn<'a>(&'a Mutex<Start>);

impl Turn<'_> {
    fn done_with_ticket(&self) {
        let ticket = lock(self.0).ticket.take();
        drop(ticket);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let waiting = {
            let start = &mut *lock(self.0);
            start.is_busy = false;
            std::mem::take(&mut start.waiting)
        };
        for waker in waiting {
            waker.wake();
        }
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
        let owner = match life.side.get() {
            Some(Ready::Own(_)) => return Place::Here,
            Some(Ready::Away(attached)) => Some(attached.connection.owner().clone()),
            None => lock(&life.start).ticket.as_ref().map(|ticket| ticket.owner.clone()),
        };
        owner.map_or(Place::Lost, Place::Away)
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
            let Life { start, side } = &mut one.state;
            let ticket = start.get_mut().map(|start| start.ticket.take());
            match (side.take(), is_now) {
                (Some(Ready::Own(_)), true) => host::let_go(object),
                (Some(Ready::Away(Attached { away, connection, number })), true) => {
                    drop(away);
                    connection.release(object, number);
                }
                (None, true) => {}
                // What an older generation had is the business of the process that this
                // one is a copy of; locks in it may be held for ever.
                (side, false) => std::mem::forget((side, ticket)),
            }
            era = one.next_mut();
        }
        if let Some(name) = name {
            roads::leave(name);
        }
    }
}
