//! What can go wrong between a caller and an actor.
//!
//! Owns the errors of this folder; each operation has its own. They are plain data, so
//! that they can travel in a reply.

use crate::codec::{DecodeError, EncodeError};
use procession_protocols::exit::{ExitReason, PanicReport};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// Why a call brought no answer. A method's own error is not one of these: it is the
/// answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The deadline passed. Whether the call was carried out is unknown.
    #[error("no reply in time")]
    Timeout,
    /// The actor ended before it replied. Whether the call was carried out is unknown.
    #[error("actor {name} died ({reason})")]
    ActorDied {
        /// The actor's name.
        name: String,
        /// How it ended.
        reason: ExitReason,
    },
    /// The actor had been stopped before the call reached it.
    #[error("the actor has stopped")]
    Stopped,
    /// The handler dropped its `Reply` without sending.
    #[error("the actor dropped the call without a reply")]
    NoReply,
    /// The method is not among those that are exposed under the name by which the actor
    /// was made.
    #[error("the method is not exposed")]
    NotExposed,
    /// The message, or the reply on its way back, could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The message could not be decoded by the actor, or the reply by the caller.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The mailbox was full, and its policy gave up on the message.
    #[error("the actor's mailbox is full")]
    Full,
    /// An actor that waits for itself, or a wait on one of the library's own threads,
    /// would never end.
    #[error("the wait would deadlock: an actor called itself, or the library's own thread waited")]
    WouldDeadlock,
    /// There is no way to the actor's process.
    #[error("the actor cannot be reached: {0}")]
    Unreachable(String),
    /// User code that ran for this call, but not as the actor, panicked there.
    #[error("panic at {}: {}", .0.location, .0.message)]
    RemotePanic(PanicReport),
}

/// A message that was not sent, and why.
pub struct SendError<M> {
    /// The message. Where it had been a call on its way to another process, its reply
    /// is spent.
    pub message: M,
    /// What was in the way. Boxed, for each send returns the space for this.
    pub why: Box<CallError>,
}

impl<M> SendError<M> {
    pub(super) fn new(message: M, why: CallError) -> Self {
        Self { message, why: Box::new(why) }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the message was not sent: {}", self.why)
    }
}

impl<M> std::error::Error for SendError<M> {}

impl<M> From<SendError<M>> for CallError {
    fn from(error: SendError<M>) -> Self {
        *error.why
    }
}

/// Why an actor did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its `on_start` refused, with these words.
    #[error("the actor did not start: {0}")]
    Failed(String),
    /// Its `on_start` declined: it does not want to run, which a supervisor does not take
    /// for a failure.
    #[error("the actor declined to start")]
    Ignored,
    /// Its `on_start` panicked.
    #[error("the actor panicked while starting, at {}: {}", .0.location, .0.message)]
    Panicked(PanicReport),
    /// Another actor of this process has the name; stop it first, or take another name.
    #[error("the name {0:?} is taken by an actor of this process")]
    NameTaken(String),
    /// Its process could not be started.
    #[error(transparent)]
    Process(#[from] crate::launcher::StartError),
    /// Its state or its arguments could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The system gave no thread, or a thread cannot have the name.
    #[error("no thread for the actor: {0}")]
    Thread(#[source] io::Error),
}

impl StartError {
    pub(crate) fn reason(&self) -> ExitReason {
        match self {
            Self::Panicked(report) => ExitReason::Panic(report.clone()),
            other => ExitReason::StartFailed(other.to_string()),
        }
    }
}
