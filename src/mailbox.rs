//! The mailbox of a process: what its parent sends it with `p.send(message)`.
//!
//! Owns the receiving handle and its typed errors. The messages travel on the process's
//! data link, which the thread that receives reads itself.

use crate::error::{Error, Result};
use crate::process::ProcessRef;
use procession_runtime::mail;
pub use procession_runtime::mail::MailboxError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// This process's own mailbox, for messages of type `M`.
///
/// Messages arrive in the order in which they were sent. Each process has one mailbox;
/// a message of another type than the one that is asked for is an error that names both,
/// and is taken out.
///
/// ```
/// use procession::{Process, mailbox};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sum = Process::spawn(
///     || -> u64 {
///         let mailbox = mailbox::<u64>();
///         std::iter::from_fn(|| mailbox.recv().ok()).take_while(|n| *n != 0).sum()
///     },
///     (),
/// )?;
/// for n in [3u64, 4, 5, 0] {
///     sum.send(&n)?;
/// }
/// assert_eq!(sum.result_timeout(Duration::from_secs(10))?, 12);
/// # Ok(())
/// # }
/// ```
pub fn mailbox<M: DeserializeOwned + 'static>() -> Mailbox<M> {
    Mailbox { message: PhantomData }
}

/// See [`mailbox`].
pub struct Mailbox<M> {
    message: PhantomData<fn() -> M>,
}

impl<M: DeserializeOwned + 'static> Mailbox<M> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// [`MailboxError`]: this is a root process, the parent has ended, or the message is
    /// of another type.
    pub fn recv(&self) -> Result<M, MailboxError> {
        mail::receive(None)
    }

    /// Waits for the next message, at most for `timeout`.
    ///
    /// # Errors
    /// [`MailboxError::Timeout`], and as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<M, MailboxError> {
        mail::receive(Some(timeout))
    }

    /// Takes the next message if there is one.
    ///
    /// # Errors
    /// [`MailboxError::Timeout`] when there is none, and as [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<M, MailboxError> {
        mail::receive(Some(Duration::ZERO))
    }

    /// As [`recv`](Self::recv), without blocking the thread.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// Dropping the future takes no message out.
    pub async fn recv_async(&self) -> Result<M, MailboxError> {
        mail::receive_async().await
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox<{}>", std::any::type_name::<M>())
    }
}

/// A message to a process waits at most so long for room.
const SEND_PATIENCE: Duration = Duration::from_secs(5);

impl ProcessRef {
    /// Sends a message to its mailbox. When that is full (1,024 messages, or what a
    /// socket holds), waits at most 5 s.
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::Timeout`] when it did not take the message in time,
    /// [`Error::NotStarted`], [`Error::Closed`] when it has ended, [`Error::Invalid`] when it is
    /// an actor, as [`active_children`](crate::active_children) gives too.
    pub fn send<M: Serialize + 'static>(&self, message: &M) -> Result<()> {
        self.send_timeout(message, SEND_PATIENCE)
    }

    /// As [`send`](Self::send), but waits at most for `timeout`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_timeout<M: Serialize + 'static>(
        &self,
        message: &M,
        timeout: Duration,
    ) -> Result<()> {
        let child = self.child()?;
        mail::send(&child, message, timeout).map_err(|error| match error {
            MailboxError::Timeout => Error::Timeout,
            MailboxError::Encode(error) => Error::Encode(error),
            MailboxError::Io(error) => Error::Io(error),
            MailboxError::IsActor => {
                Error::Invalid("an actor is sent messages by a reference to it")
            }
            _ => Error::Closed,
        })
    }
}
