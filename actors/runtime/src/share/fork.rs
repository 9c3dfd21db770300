//! Handles in copies of a process.
//!
//! Owns what a copy gets: after a fork of the library's, a ticket for each owner whose
//! handles the original holds, by which they attach anew in the copy when they are used;
//! after a clone of the fork server, the objects that can become the copy's own. A copy
//! made by anybody else gets nothing, and its handles say so. What belongs to the original
//! is never dropped here. Neighbours: `launcher::fork` and `launcher::zygote`.

use super::connection::Owner;
use super::era;
use super::handle::{Handle, Place};
use super::roads::{self, Ticket};
use super::{ShareError, host};
use crate::node;
use crate::sys::memory;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What a forked child gets for its handles. Dropped in the parent, its tickets are the
/// child's alone.
pub(crate) struct Heirlooms(Vec<Heirloom>);

struct Heirloom {
    owner: Owner,
    ticket: OwnedFd,
    handles: Vec<Arc<dyn Handle>>,
}

/// Makes tickets for all handles that are alive in this process.
///
/// # Errors
/// No descriptor is free.
pub(crate) fn before_fork() -> io::Result<Heirlooms> {
    let mut heirlooms: Vec<(Owner, Vec<Arc<dyn Handle>>)> = Vec::new();
    for handle in roads::handles() {
        let owner = match handle.place() {
            Place::Here => this_process(),
            Place::Away(owner) => Owner::clone(&owner),
            Place::Lost => continue,
        };
        match heirlooms.iter_mut().find(|(known, _)| known.id == owner.id) {
            Some((_, handles)) => handles.push(handle),
            None => heirlooms.push((owner, vec![handle])),
        }
    }
    let mut with_tickets = Vec::with_capacity(heirlooms.len());
    for (owner, handles) in heirlooms {
        match roads::issue(handles.clone()) {
            Ok(ticket) => with_tickets.push(Heirloom { owner, ticket, handles }),
            Err(ShareError::Io(error)) => return Err(error),
            // In the child they will say what they say here.
            Err(_) => {}
        }
    }
    Ok(Heirlooms(with_tickets))
}

impl Heirlooms {
    /// In the child, once it has given up its parent's links.
    pub(crate) fn inherit(self) {
        for Heirloom { owner, ticket, handles } in self.0 {
            let ticket = Arc::new(Ticket::new(Arc::new(owner), ticket));
            for handle in handles {
                handle.take_ticket(&ticket);
                roads::enter((Some(ticket.owner.id), handle.object()), Arc::downgrade(&handle));
            }
        }
    }
}

/// In the fork server: has its copies told of forks, which they inherit.
pub(crate) fn before_clones() {
    era::arm();
}

/// In a copy of the fork server: makes its own what the preload function has made.
pub(crate) fn after_clone() {
    let handles = roads::handles();
    let estate = host::leave_behind();
    era::begin();
    let kept = handles.into_iter().filter(|handle| {
        let stock = estate.stock(handle.object());
        let is_own = stock.is_some_and(|stock| stock.renew() && handle.become_own(stock));
        if is_own {
            roads::enter((None, handle.object()), Arc::downgrade(handle));
        }
        is_own
    });
    let kept = kept.map(|handle| handle.object()).collect();
    estate.settle(kept);
    // What was copied out of the original has been.
    memory::kept_from_copies().leave();
}

fn this_process() -> Owner {
    let node = node::current();
    Owner { id: node.id, name: node.name() }
}
