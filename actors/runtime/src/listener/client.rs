//! Connecting to a listener.
//!
//! Owns the client's waits: for the connection, then for the listener's words, with one
//! deadline for both. Neighbours: `socket`, `talk`.

use super::talk::{Side, Talk};
use super::{Address, ListenerError, Options, Peer, random, socket};
use crate::node::hidden;
use crate::pipe;
use crate::sync::{after, readable};
use procession_protocols::auth::{Connector, Terms};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// Connects and proves the key; at most [`Options::patience`] long.
///
/// # Errors
/// Nobody listens, or not with this key: [`ListenerError`] says which.
pub fn dial(address: &Address, options: &Options) -> Result<Peer, ListenerError> {
    if hidden::is_current() {
        return Err(ListenerError::WouldDeadlock);
    }
    let deadline = after(options.patience);
    let socket = socket::dial(address, deadline)?;
    let Some(terms) = options.terms(address) else {
        return options.peer(socket, None, Some(address.clone()));
    };
    let mut talk = begin(socket, terms)?;
    loop {
        if let Some(session) = talk.go_on()? {
            return options.peer(talk.into_socket(), Some(session), Some(address.clone()));
        }
        if !readable(talk.as_fd(), deadline)? {
            return Err(ListenerError::Timeout);
        }
    }
}

/// As [`dial`], without blocking the thread, on any executor.
///
/// # Errors
/// As [`dial`].
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn dial_async(address: &Address, options: &Options) -> Result<Peer, ListenerError> {
    let deadline = after(options.patience);
    let socket = hidden::run(socket::dial_async(address.clone(), options.patience))?.await?;
    let Some(terms) = options.terms(address) else {
        return options.peer(socket, None, Some(address.clone()));
    };
    let mut talk = begin(socket, terms)?;
    loop {
        if let Some(session) = talk.go_on()? {
            return options.peer(talk.into_socket(), Some(session), Some(address.clone()));
        }
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if pipe::wait_async(&[talk.as_fd()], left).await?.is_empty() {
            return Err(ListenerError::Timeout);
        }
    }
}

fn begin(socket: OwnedFd, terms: Terms) -> Result<Talk, ListenerError> {
    let connector = Connector::new(terms, &random()?);
    Talk::new(socket, Side::Connector(connector), None)
}
