//! How two sides of a connection prove to each other that they know a key.
//!
//! Owns the messages and their order, for peers of this library (`native`) and for Python's
//! (`python`), and the codes behind the messages of a session (`seal`). It must never read a
//! stream, a clock or a source of random bytes: the runtime's `listener` does. Neighbours:
//! `pipe` (each message here is one message there).

mod digest;
mod handshake;
mod native;
pub mod python;
mod seal;

#[cfg(test)]
mod tests;

pub use digest::{AuthKey, Digest};
pub use handshake::{Acceptor, Connector, Session, Step, Terms};
pub use native::{MAJOR, MINOR};
pub use seal::{SEAL, Seal};

use serde::{Deserialize, Serialize};

/// Longest message of a handshake, in bytes, as in Python.
pub const LONGEST: u64 = 256;

/// How a peer may prove itself that does not speak this library's handshake, but Python's.
///
/// Python's proves to each side that the other knows the key, but not whom it talks to: who
/// stands between the two can pass the messages on, and use the connection then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Python {
    /// Not at all.
    Off,
    /// By SHA-256 and stronger digests: Python 3.12 and later.
    #[default]
    Sha256,
    /// Also by MD5, the only digest of Python 3.11 and before.
    Md5,
}

impl Python {
    fn permit(self, digest: Digest) -> Result<(), AuthError> {
        let is_allowed = match self {
            Self::Off => false,
            Self::Sha256 => digest != Digest::Md5,
            Self::Md5 => true,
        };
        if is_allowed { Ok(()) } else { Err(AuthError::NotAllowed(digest)) }
    }
}

/// Two sides did not come together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// There is no key of no bytes.
    #[error("an authentication key needs at least one byte")]
    EmptyKey,
    /// The peer does not know the key.
    #[error("digest received was wrong: the peer has another key")]
    WrongDigest,
    /// The peer says that we don't.
    #[error(
        "digest sent was rejected: the peer has another key, or does not accept this kind of client"
    )]
    Rejected,
    /// The peer would use a digest, or a protocol, that is not allowed here.
    #[error("the peer speaks Python's handshake with {}, which python_peers does not allow here", .0.name())]
    NotAllowed(Digest),
    /// What the peer said belongs to no handshake.
    #[error("the peer does not keep to the handshake: {0}")]
    Protocol(&'static str),
    /// The peer speaks another version.
    #[error("the peer speaks version {theirs} of the protocol, this is version {ours}")]
    Version {
        /// This side's.
        ours: u8,
        /// The peer's.
        theirs: u8,
    },
    /// The peer says so.
    #[error("the peer speaks another version of the protocol")]
    OtherVersion,
    /// Both know the key, but what is served looks otherwise than the client believes.
    #[error("the peer was built with other types for what is served here")]
    Fingerprint,
    /// The listener says so before anything else.
    #[error("the listener lets only its own user's processes in (other_users)")]
    OtherUser,
}
