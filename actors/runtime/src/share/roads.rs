//! The ways from this process to owners, and the handles that are alive in it.
//!
//! Owns the table of connections (one for each owner), the table of handles (one for each
//! object), and tickets. A ticket only ever asks for a connection, so it may be copied and
//! kept with a message for as long as anybody likes. It must never wait. Neighbours:
//! `connection`, `handle`, `host`.

use super::ShareError;
use super::connection::{Connection, Owner};
use super::era::Eras;
use super::handle::Handle;
use super::host;
use super::message::{self, ToOwner};
use crate::codec::Fd;
use crate::link::{Link, LinkError};
use crate::node;
use crate::sync::lock;
use crate::sys::process::pidfd_open;
use procession_protocols::id::NodeId;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

/// An object's name in this process: its owner, unless that is this process, and its
/// number there.
pub(super) type Name = (Option<NodeId>, u64);

#[derive(Default)]
struct Roads {
    connections: HashMap<NodeId, Arc<Connection>>,
    handles: HashMap<Name, Weak<dyn Handle>>,
}

static ROADS: Eras<Mutex<Roads>> = Eras::new();

/// One end of a ticket: as long as it is open, the owner keeps what it stands for.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) owner: Arc<Owner>,
    pub(super) link: Link,
}

impl Ticket {
    pub(super) fn new(owner: Arc<Owner>, fd: OwnedFd) -> Self {
        Self { owner, link: Link::new(fd) }
    }
}

/// The connection to a ticket's owner, made if there is none yet.
pub(super) fn connection(ticket: &Ticket) -> Result<Arc<Connection>, ShareError> {
    let mut roads = lock(ROADS.now());
    if let Some(connection) = roads.connections.get(&ticket.owner.id) {
        return Ok(connection.clone());
    }
    let (ours, theirs) = Link::pair()?;
    let pid = std::process::id();
    let word = ToOwner::Connect {
        name: node::current().name(),
        pid,
        pidfd: Fd(pidfd_open(pid.cast_signed())?),
        end: Fd(theirs),
    };
    message::say(&ticket.link, 0, &word).map_err(|error| match error {
        LinkError::Closed => ticket.owner.gone(),
        LinkError::Io(error) => error.into(),
        other => io::Error::other(other).into(),
    })?;
    let connection = Connection::new(ticket.owner.clone(), Link::new(ours));
    let id = ticket.owner.id;
    connection.attend(move |gone| forget(id, gone))?;
    roads.connections.insert(id, connection.clone());
    Ok(connection)
}

/// Forgets a connection whose owner is gone.
fn forget(owner: NodeId, gone: &Arc<Connection>) {
    let mut roads = lock(ROADS.now());
    if roads.connections.get(&owner).is_some_and(|known| Arc::ptr_eq(known, gone)) {
        roads.connections.remove(&owner);
    }
}

/// Enters a handle.
pub(super) fn enter(name: Name, handle: Weak<dyn Handle>) {
    lock(ROADS.now()).handles.insert(name, handle);
}

/// The living handle of this name, or the one that `make` makes, which is entered.
pub(super) fn find_or_enter(
    name: Name,
    make: impl FnOnce() -> Result<Arc<dyn Handle>, String>,
) -> Result<Arc<dyn Handle>, String> {
    let mut roads = lock(ROADS.now());
    if let Some(handle) = roads.handles.get(&name).and_then(Weak::upgrade) {
        return Ok(handle);
    }
    let handle = make()?;
    roads.handles.insert(name, Arc::downgrade(&handle));
    Ok(handle)
}

/// A handle has been dropped. Another of its name may have been made meanwhile.
pub(super) fn leave(name: Name) {
    let mut roads = lock(ROADS.now());
    if roads.handles.get(&name).is_some_and(|handle| handle.strong_count() == 0) {
        roads.handles.remove(&name);
    }
}

/// A fresh ticket for these handles, which are all of one owner: the end that travels.
pub(super) fn issue(handles: Vec<Arc<dyn Handle>>) -> Result<OwnedFd, ShareError> {
    let (kept, travels) = Link::pair()?;
    match handles.first().and_then(|first| first.ticket()) {
        Some(ticket) => connection(&ticket)?.adopt(handles, kept)?,
        None => match handles.first().and_then(|first| first.connection()) {
            Some(connection) => connection.adopt(handles, kept)?,
            None => host::issue(handles.iter().map(|handle| handle.object()), kept)?,
        },
    }
    Ok(travels)
}

/// All living handles.
pub(super) fn handles() -> Vec<Arc<dyn Handle>> {
    lock(ROADS.now()).handles.values().filter_map(Weak::upgrade).collect()
}

/// This process ends in good order: tells owners, as far as that matters to them.
pub(crate) fn take_leave() {
    for handle in handles() {
        handle.process_ends();
    }
}

/// Before this process ends: sends what owners have had no room for, so that tickets under
/// way don't lose their other ends. Waits until the deadline at most.
pub(crate) fn flush(deadline: Option<Instant>) {
    let connections: Vec<_> = lock(ROADS.now()).connections.values().cloned().collect();
    for connection in connections {
        connection.flush(deadline);
    }
}
