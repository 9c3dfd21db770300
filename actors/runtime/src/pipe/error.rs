//! What a pipe can say instead of a message.
//!
//! Owns the one error of all operations on an end, and how the system's errors read as it.

use crate::codec::{DecodeError, EncodeError};
use procession_protocols::pipe::FrameError;
use std::io;

/// Why nothing was sent, received or waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipeError {
    /// This handle has been closed.
    #[error("the handle is closed")]
    Closed,
    /// The other end is closed, and all that it sent has been received: Python's `EOFError`.
    #[error("the other end is closed, and nothing is left to receive")]
    EndOfFile,
    /// The other end was closed in the middle of a message, or its writer died there.
    #[error("the other end ended in the middle of a message")]
    Truncated,
    /// Nobody can receive what would be sent: the other end is closed.
    #[error("the other end is closed; nobody would receive this")]
    BrokenPipe,
    /// A process died while it was receiving a large message on this very end, and took
    /// part of it along. Nothing more can be received here.
    #[error("a process that shared this end died in the middle of receiving a message")]
    Damaged,
    /// This end only sends.
    #[error("this end only sends; receive at the other one")]
    NotReadable,
    /// This end only receives.
    #[error("this end only receives; send at the other one")]
    NotWritable,
    /// A message arrived that cannot be taken: it is longer than allowed, or no message.
    /// Nothing more can be received by this handle and its clones.
    #[error("bad message length: {0}")]
    BadLength(#[from] FrameError),
    /// A message was refused before, see [`BadLength`](Self::BadLength).
    #[error("this handle refused a message and receives no more")]
    Refused,
    /// A message arrived that the peer has not sent so: somebody stands in between. The
    /// connection is of no more use.
    #[error("a message arrived that the peer did not send so; the connection is closed")]
    Forged,
    /// The message is longer than the buffer. Here it is, whole.
    #[error("the buffer is too short for a message of {} bytes", .0.len())]
    BufferTooShort(Vec<u8>),
    /// The time was up. What was to be sent has not been sent.
    #[error("the time was up")]
    Timeout,
    /// The value cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// What arrived is no value of the type that was asked for. The next message is not
    /// touched.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Descriptors and handles travel over Unix sockets only.
    #[error("descriptors and handles travel over Unix sockets only, not over this descriptor")]
    CannotCarry,
    /// The wait could never end: the library's own thread would wait.
    #[error("the library's own thread must not wait here; use an async form")]
    WouldDeadlock,
    /// The system refused.
    #[error("pipe: {0}")]
    Io(#[from] io::Error),
}

/// How an error of a read is meant. A peer that closes its end while it has not read all
/// resets the connection, which ends the stream like any other close.
pub(super) fn of_read(error: io::Error) -> PipeError {
    match error.kind() {
        io::ErrorKind::ConnectionReset => PipeError::EndOfFile,
        _ => error.into(),
    }
}

/// How an error of a write is meant.
pub(super) fn of_write(error: io::Error) -> PipeError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => PipeError::BrokenPipe,
        _ => error.into(),
    }
}

pub(super) fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
