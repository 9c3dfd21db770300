//! Messages to a process's own mailbox, on its data link.
//!
//! Owns both ends. The window is the link's: the receiver says with `Credit` frames how
//! many messages it has taken, and the sender keeps at most [`WINDOW`] beyond that. A
//! message carries the tag of its type, so that reading it as another is an error.

use crate::child::Child;
use crate::codec::{self, DecodeError, EncodeError, Encoded};
use crate::function::type_tag;
use crate::link::{Frame, LinkCopy, LinkError, OUTBOUND_LIMIT};
use crate::node::{self, control, hidden, writing};
use crate::sync::{after, lock, poll};
use nix::poll::{PollFd, PollFlags};
use procession_protocols::wire::{Header, Kind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::type_name;
use std::io;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Most messages that wait in a process's mailbox.
pub const WINDOW: u64 = 1024;

/// The receiver tells after so many messages how many it has taken.
const CREDIT_BATCH: u64 = 128;

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailboxError {
    /// Nothing came, or nothing was taken, in time.
    #[error("no message in time")]
    Timeout,
    /// The other process has ended, and nothing that it sent is left.
    #[error("the other process has ended")]
    Closed,
    /// A root process has no parent that could send it anything.
    #[error("a root process has no mailbox")]
    NoParent,
    /// The process is an actor: its messages are those of its protocol, and go by a reference.
    #[error("a process that is an actor has no other mailbox; send by a reference to it")]
    IsActor,
    /// The message is of another type than the one that was asked for. It is gone.
    #[error("the message is no {wanted}, as was asked for")]
    OtherType {
        /// The type that was asked for.
        wanted: &'static str,
    },
    /// The message could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The message could not be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<LinkError> for MailboxError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Timeout => Self::Timeout,
            LinkError::Closed | LinkError::Truncated => Self::Closed,
            LinkError::Io(error) => Self::Io(error),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

/// How many messages went to a child, and how many it has taken.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Held while a message goes out, so that two senders do not both take the last place.
    sending: Mutex<u64>,
    taken: AtomicU64,
}

/// Sends a message to a child's mailbox.
///
/// # Errors
/// [`MailboxError`]; the message was not sent.
pub fn send<M: Serialize + 'static>(
    child: &Child,
    message: &M,
    timeout: Duration,
) -> Result<(), MailboxError> {
    if child.ends_by_message() {
        return Err(MailboxError::IsActor);
    }
    let encoded = codec::encode(message)?;
    let mut header = Header::new(Kind::Mail, encoded.bytes.len()).map_err(io::Error::other)?;
    header.target = type_tag::<M>();
    let deadline = after(timeout);
    let outbox = child.outbox();
    loop {
        // Its end of the link may be open for a moment longer than it lives, where it came
        // from.
        if child.reap().is_some() {
            return Err(MailboxError::Closed);
        }
        {
            let mut sent = lock(&outbox.sending);
            hear(child, outbox)?;
            if *sent - outbox.taken.load(Ordering::Acquire) < WINDOW {
                *sent += 1;
                drop(sent);
                let outcome = child.data().send(header, &encoded, deadline);
                // Once it has begun it has been sent, though this thread waits no longer.
                writing::finish(child.data(), |link| link);
                return outcome.map_err(|error| {
                    *lock(&outbox.sending) -= 1;
                    error.into()
                });
            }
        }
        let mut fds = [
            PollFd::new(child.data().as_fd(), PollFlags::POLLIN),
            PollFd::new(child.pidfd(), PollFlags::POLLIN),
        ];
        if !poll(&mut fds, deadline)? {
            return Err(MailboxError::Timeout);
        }
    }
}

/// Reads how much the child has taken.
fn hear(child: &Child, outbox: &Outbox) -> Result<(), MailboxError> {
    while let Some(frame) = child.data().try_recv()? {
        if frame.header.kind == Kind::Credit {
            outbox.taken.fetch_max(frame.header.target, Ordering::AcqRel);
        }
    }
    Ok(())
}

/// Takes the next message of this process's mailbox.
///
/// # Errors
/// [`MailboxError`].
pub fn receive<M: DeserializeOwned + 'static>(
    timeout: Option<Duration>,
) -> Result<M, MailboxError> {
    let deadline: Option<Instant> = timeout.and_then(after);
    let node = node::current();
    let parent = node.parent().ok_or(MailboxError::NoParent)?;
    if control::is_actor() {
        return Err(MailboxError::IsActor);
    }
    loop {
        match parent.data.recv(deadline)? {
            Some(frame) if frame.header.kind == Kind::Mail => return open(&node, frame),
            Some(_) => {}
            None => return Err(MailboxError::Timeout),
        }
    }
}

/// As [`receive`], without blocking the thread: the hidden thread watches the link, and
/// the caller takes the message.
///
/// # Errors
/// [`MailboxError`].
pub async fn receive_async<M: DeserializeOwned + 'static>() -> Result<M, MailboxError> {
    loop {
        match receive(Some(Duration::ZERO)) {
            Err(MailboxError::Timeout) => {}
            other => return other,
        }
        let node = node::current();
        hidden::run(async move {
            let parent = node.parent().ok_or(MailboxError::NoParent)?;
            let copy = std::sync::Arc::new(parent.data.copy()?);
            let held = crate::sys::watch::Held::new(&copy, LinkCopy::as_fd);
            let watched = crate::sys::watch::watch(held, tokio::io::Interest::READABLE)?;
            drop(watched.readable().await?);
            Ok::<_, MailboxError>(())
        })?
        .await?;
    }
}

fn open<M: DeserializeOwned + 'static>(node: &node::Node, frame: Frame) -> Result<M, MailboxError> {
    let parent = node.parent().ok_or(MailboxError::NoParent)?;
    let taken = parent.mail_taken.fetch_add(1, Ordering::AcqRel) + 1;
    if taken.is_multiple_of(CREDIT_BATCH) {
        let mut header = Header::new(Kind::Credit, 0).map_err(io::Error::other)?;
        header.target = taken;
        // A parent that has ended needs no credit.
        let _ = parent.data.post(header, Encoded::default(), OUTBOUND_LIMIT);
    }
    if frame.header.target != type_tag::<M>() {
        return Err(MailboxError::OtherType { wanted: type_name::<M>() });
    }
    Ok(codec::decode(&frame.payload, frame.fds)?)
}
