//! Why there is no connection.
//!
//! Owns the error of listening and connecting.

use super::AddressError;
use crate::pipe::PipeError;
use procession_protocols::auth::AuthError;
use procession_protocols::pipe::FrameError;
use std::io;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    /// The listener has been closed.
    #[error("the listener is closed")]
    Closed,
    /// This process is a forked copy of the one that made the listener, whose it stays.
    #[error("the listener belongs to the process that made it, of which this is a forked copy")]
    Forked,
    /// The two sides did not come together: Python's `AuthenticationError`.
    #[error("authentication failed: {0}")]
    Authentication(#[from] AuthError),
    /// The peer left, or was sent away to make room for another, before it was known.
    #[error("the peer closed the connection before it was authenticated")]
    EndOfFile,
    /// The peer does not speak in messages.
    #[error("the peer does not speak this protocol: {0}")]
    Protocol(#[from] FrameError),
    /// The peer belongs to another user.
    #[error("the peer runs as user {0}, and only this process's own user may connect")]
    OtherUser(u32),
    /// The address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The time was up.
    #[error("the time was up")]
    Timeout,
    /// The wait could never end: the library's own thread would wait.
    #[error("the library's own thread must not wait here; use an async form")]
    WouldDeadlock,
    /// The system refused.
    #[error("listener: {0}")]
    Io(#[from] io::Error),
}

impl From<PipeError> for ListenerError {
    fn from(error: PipeError) -> Self {
        match error {
            PipeError::Io(error) => Self::Io(error),
            PipeError::WouldDeadlock => Self::WouldDeadlock,
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<nix::Error> for ListenerError {
    fn from(error: nix::Error) -> Self {
        Self::Io(error.into())
    }
}
