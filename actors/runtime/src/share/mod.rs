//! How what processes share is owned, and how handles to it travel.
//!
//! A *shared object* lives in its *owner*, the process that made it. A kind of object says
//! with [`Kind`] what it is in its owner ([`Stock`]) and what other processes need to use
//! it. This module owns the rest: who keeps an object alive, tickets, connections, clients'
//! deaths, the owner's death, forks. It must never read a kind's messages. See
//! docs/protocols.md for the protocol.
//!
//! ```text
//!  handle ─encode─> ticket beside the message ─decode─> handle ─first use─> attached
//!    │ Own             (a socket's end)                                        │ Away
//!    v                                                                         v
//!  Stock <── host <── stream <═══════ socket pair ═══════ connection <──── K::Away
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `handle` | a handle, and attaching |
//! | `travel` | its encoding and decoding |
//! | `roads` | this process's connections, handles and tickets |
//! | `connection` | calls to an owner |
//! | `host`, `stream`, `client` | the owner's side |
//! | `fork`, `era` | copies of this process |
//! | `extensions` | what kinds keep for a client or an owner |
//! | `fall` | dropping objects that hold others |
//! | `message` | the words |

mod client;
mod connection;
pub(crate) mod era;
mod extensions;
mod fall;
pub(crate) mod fork;
mod handle;
mod host;
mod message;
pub(crate) mod roads;
mod stream;
#[cfg(test)]
mod tests;
mod travel;

pub use client::{Client, ReplyTo};
pub use connection::Connection;
pub use handle::{Share, Side};
pub(crate) use host::{attached, discharge, enlist, is_there, released};
pub use procession_protocols::custody::ClientId;

use crate::codec::Encoded;
use std::any::Any;
use std::io;
use std::sync::Arc;

/// A kind of shared object.
pub trait Kind: Sized + Send + Sync + 'static {
    /// Its name, which the owner compares when somebody attaches.
    const NAME: &'static str;

    /// What an object is in its owner.
    type Own: Stock;

    /// What another process needs to use it.
    type Away: Send + Sync + 'static;

    /// This process has been attached: makes of the owner's answer what is needed. Runs in
    /// the thread that uses the handle first.
    ///
    /// # Errors
    /// Its own; the attachment is given back then.
    fn attached(
        connection: &Arc<Connection>,
        object: u64,
        answer: Encoded,
    ) -> Result<Self::Away, ShareError>;

    /// The owner is gone. Said once to each attached object, on the hidden thread, before
    /// the calls under way fail; or at once to one that attaches just then. It must not
    /// block.
    fn owner_gone(away: &Self::Away) {
        let _ = away;
    }

    /// The last handle goes because its thread panics. It must not block.
    fn forsaken(away: &Self::Away) {
        let _ = away;
    }

    /// The last handle goes. True when the owner hears of it by this way of the kind's own,
    /// behind what has been said there: by this attachment nobody uses the object any more. It
    /// must not block.
    fn let_go(away: &Self::Away, attachment: u64) -> bool {
        let _ = (away, attachment);
        false
    }

    /// This process ends in good order, with the object in its hands still. It must not
    /// block.
    fn process_ends(away: &Self::Away) {
        let _ = away;
    }
}

/// An object as its owner hosts it.
///
/// These are called on the hidden thread, one at a time: they must not block, and they may
/// call nothing that waits. What comes from a client is untrusted: ranges are checked, and
/// what is no message at all is [`BadMessage`]. The owner's own handles don't come this way,
/// they use the object itself.
pub trait Stock: Any + Send + Sync {
    /// A client attaches: what it needs. A client that is attached is detached first.
    ///
    /// # Errors
    /// The client gets it, and is not attached.
    fn attach(&self, client: &Arc<Client>) -> io::Result<Encoded>;

    /// A message of an attached client, and where the answer goes if it wants one. The
    /// answer may be given later, from any thread.
    ///
    /// # Errors
    /// [`BadMessage`]; the client's connection is closed.
    fn request(
        &self,
        client: &Arc<Client>,
        message: Encoded,
        reply: Option<ReplyTo>,
    ) -> Result<(), BadMessage>;

    /// A client waits no longer for the answer to its request of this number
    /// ([`ReplyTo::number`]), which may have been given already.
    fn cancel(&self, client: &Arc<Client>, number: u64) {
        let _ = (client, number);
    }

    /// The last handle of a client that lives has gone.
    fn detach(&self, client: &Arc<Client>);

    /// A client died attached, and all that it had sent was handled. Said once; until it
    /// returns, nobody else gets the client's number.
    fn died(&self, client: &Arc<Client>);

    /// This process is a fresh copy of the one that made the object, in which nobody else
    /// can have it: makes it the copy's own, with nothing in common with the original. False
    /// (the default) when that is not possible; its handles say [`ShareError::Forked`] then.
    fn renew(&self) -> bool {
        false
    }
}

/// What a client sent is no message of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client sent what is no message")]
pub struct BadMessage;

/// Why a shared object could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The process that owned the object has ended.
    #[error("{name}, which owned the object, has ended")]
    OwnerGone {
        /// Its name.
        name: String,
    },
    /// This process is a copy made by a fork that the library did not make, or the object
    /// belongs to the fork server.
    #[error(
        "this handle belongs to the process that this one is a copy of; pass it as an argument"
    )]
    Forked,
    /// The wait could never end.
    #[error("a thread of the library's own cannot wait for the owner")]
    WouldDeadlock,
    /// The owner did not answer in time.
    #[error("the owner did not answer in time")]
    Timeout,
    /// The object is of another kind.
    #[error("the object is a {found}")]
    OtherKind {
        /// Its kind.
        found: String,
    },
    /// The owner has no such object any more.
    #[error("the owner has no such object any more")]
    NoSuchObject,
    /// The owner's object gave no answer to the request.
    #[error("the object gave no answer")]
    NoReply,
    /// The system refused, here or in the owner.
    #[error(transparent)]
    Io(#[from] io::Error),
}
