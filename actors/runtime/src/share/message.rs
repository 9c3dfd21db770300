//! What clients and owners of shared objects say to each other.
//!
//! Owns the words. They travel in the links' frames: `Control` for those below, whose
//! header names the call where there is one; `Call` and `Cast` for a kind's own messages
//! (target: the object), `Reply` and `Refused` for the answers, `Release` (target: the
//! object, call: the attachment's number) for the end of an attachment. What comes from a
//! client is untrusted: what does not decode ends its connection.

use crate::codec::{self, Encoded, Fd};
use crate::link::{Link, LinkError, OUTBOUND_LIMIT};
use crate::sys::socket::duplicate;
use nix::libc;
use procession_protocols::custody::ClientId;
use procession_protocols::wire::{Header, Kind};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::AsFd;

/// From a client, or from who holds a ticket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToOwner {
    /// On a ticket: a process becomes a client, over the connection whose end this is.
    Connect { name: String, pid: u32, pidfd: Fd, end: Fd },
    /// A call: attach me to this object, which should be of this kind.
    Attach { object: u64, kind: String },
    /// A call: a ticket for these objects is on its way, and this is its other end.
    Adopt { objects: Vec<u64>, end: Fd },
    /// I wait no longer for the answer to this call.
    Cancel { object: u64, call: u64 },
}

/// From the owner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToClient {
    /// The first on a connection: the client's number, and a pidfd of the owner if it had
    /// a descriptor free.
    Welcome { client: ClientId, pidfd: Option<Fd> },
}

/// Why a call has no answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// There is no such object any more.
    NoSuchObject,
    /// It is of this kind.
    OtherKind(String),
    /// The client is not attached to it.
    NotAttached,
    /// The object dropped the call.
    NoReply,
    /// The owner's system refused; an error's number if there is one.
    Failed(String, Option<i32>),
}

impl Refusal {
    pub(super) fn of(error: &io::Error) -> Self {
        Self::Failed(error.to_string(), error.raw_os_error())
    }
}

/// Descriptors that must be free before a process attaches, or is attached.
const ROOM: usize = 4;

/// Sees to it that descriptors can arrive, so that who attaches learns at once that they
/// cannot, and who is asked to attach somebody waits until it can answer.
///
/// # Errors
/// `EMFILE` and its like.
pub(super) fn check_room(link: &Link) -> io::Result<()> {
    let copies: io::Result<Vec<_>> = (0..ROOM).map(|_| duplicate(&link.as_fd())).collect();
    copies.map(drop)
}

/// Whether no descriptor is free for what comes next, here or in the system. It comes later.
pub(super) fn lacks_room(error: &LinkError) -> bool {
    let LinkError::Io(error) = error else { return false };
    let full = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    error.raw_os_error().is_some_and(|number| full.contains(&number))
}

/// Posts a frame: never waits.
pub(super) fn post(
    link: &Link,
    kind: Kind,
    target: u64,
    call: u64,
    message: Encoded,
) -> Result<(), LinkError> {
    post_up_to(OUTBOUND_LIMIT, link, kind, target, call, message)
}

/// As [`post`], with a limit of its own for what waits.
pub(super) fn post_up_to(
    limit: usize,
    link: &Link,
    kind: Kind,
    target: u64,
    call: u64,
    message: Encoded,
) -> Result<(), LinkError> {
    let mut header = Header::new(kind, message.bytes.len()).map_err(io::Error::other)?;
    header.target = target;
    header.call = call;
    link.post(header, message, limit)
}

/// Posts one of the words above.
pub(super) fn say(link: &Link, call: u64, word: &impl Serialize) -> Result<(), LinkError> {
    let message = codec::encode(word).map_err(io::Error::other)?;
    post(link, Kind::Control, 0, call, message)
}
