//! The errors of queues.
//!
//! Owns what putting, getting and the rest can end in. A failed put gives the item back.

use crate::error::{DecodeError, EncodeError, Error};
use procession_runtime::queue::{NoItem, Refused};
use procession_runtime::share::ShareError;
use std::fmt;
use std::iter::Chain;
use std::vec;

/// An item was not put. Here it is.
pub struct PutError<T> {
    /// The item.
    pub item: T,
    /// Why.
    pub why: PutFault,
}

/// Why an item was not put.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutFault {
    /// There is no room for it now.
    #[error("the queue is full")]
    Full,
    /// There was no room for it in time.
    #[error("the queue had no room for the item in time")]
    Timeout,
    /// The owner did not say within five seconds whether there is room: it is stopped, or
    /// gets no processor. The item was not put.
    #[error("the owner of the queue did not answer in time")]
    Unanswered,
    /// This handle of the queue is closed.
    #[error("the queue is closed")]
    Closed,
    /// The queue has been shut down.
    #[error("the queue has been shut down")]
    Shutdown,
    /// The item cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The process that owned the queue has ended.
    #[error("{name}, which owned the queue, has ended")]
    OwnerGone {
        /// Its name.
        name: String,
    },
    /// The queue cannot be reached.
    #[error(transparent)]
    Share(ShareError),
}

/// Why there is no item.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// The queue is empty.
    #[error("the queue is empty")]
    Empty,
    /// No item came in time.
    #[error("no item came in time")]
    Timeout,
    /// The owner did not say within five seconds whether there is an item: it is stopped, or
    /// gets no processor.
    #[error("the owner of the queue did not answer in time")]
    Unanswered,
    /// This handle of the queue is closed.
    #[error("the queue is closed")]
    Closed,
    /// The queue has been shut down, and nothing is left in it.
    #[error("the queue has been shut down, and nothing is left in it")]
    Shutdown,
    /// The item is of another type, or its own `Deserialize` refused it. It is gone.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The process that owned the queue has ended.
    #[error("{name}, which owned the queue, has ended")]
    OwnerGone {
        /// Its name.
        name: String,
    },
    /// The queue cannot be reached.
    #[error(transparent)]
    Share(ShareError),
}

/// Why a question to a queue, or a request, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// This handle of the queue is closed.
    #[error("the queue is closed")]
    Closed,
    /// Every item that was put is finished already.
    #[error("task_done() called too many times")]
    TooManyDone,
    /// The time was up.
    #[error("items were unfinished when the time was up")]
    Timeout,
    /// The owner did not answer within five seconds: it is stopped, or gets no processor.
    /// What it was to do it may do still, when it goes on.
    #[error("the owner of the queue did not answer in time")]
    Unanswered,
    /// The process that owned the queue has ended.
    #[error("{name}, which owned the queue, has ended")]
    OwnerGone {
        /// Its name.
        name: String,
    },
    /// The queue cannot be reached.
    #[error(transparent)]
    Share(ShareError),
}

/// Some of the items were not put.
pub struct PutManyError<I: Iterator> {
    /// How many were put.
    pub put: usize,
    /// The others, the one that failed first, in their order: to be collected, or put again.
    pub rest: Chain<vec::IntoIter<I::Item>, I>,
    /// Why that one failed.
    pub why: PutFault,
}

impl PutFault {
    /// Whether there was no room: at once, or in time. Python calls both `Full`.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full | Self::Timeout)
    }
}

impl PutFault {
    /// What it is where there was a limit of time, were it nothing.
    pub(super) fn in_time(self) -> Self {
        if let Self::Full = self { Self::Timeout } else { self }
    }
}

impl GetError {
    /// As [`PutFault::in_time`].
    pub(super) fn in_time(self) -> Self {
        if let Self::Empty = self { Self::Timeout } else { self }
    }

    /// Whether there was no item: at once, or in time. Python calls both `Empty`.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty | Self::Timeout)
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutError").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<T> std::error::Error for PutError<T> {}

impl<I: Iterator> fmt::Display for PutManyError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (after {} items)", self.why, self.put)
    }
}

impl<I: Iterator> fmt::Debug for PutManyError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { put, why, .. } = self;
        let mut debug = f.debug_struct("PutManyError");
        debug.field("put", put).field("why", why).finish_non_exhaustive()
    }
}

impl<I: Iterator> std::error::Error for PutManyError<I> {}

impl From<Refused> for PutFault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::Full,
            Refused::Timeout | Refused::Share(ShareError::Timeout) => Self::Timeout,
            Refused::Unanswered => Self::Unanswered,
            Refused::Shutdown => Self::Shutdown,
            Refused::Encode(error) => Self::Encode(error),
            Refused::Share(ShareError::OwnerGone { name }) => Self::OwnerGone { name },
            Refused::Share(error) => Self::Share(error),
        }
    }
}

impl From<NoItem> for GetError {
    fn from(error: NoItem) -> Self {
        match error {
            NoItem::Empty => Self::Empty,
            NoItem::Timeout | NoItem::Share(ShareError::Timeout) => Self::Timeout,
            NoItem::Unanswered => Self::Unanswered,
            NoItem::Shutdown => Self::Shutdown,
            NoItem::Decode(error) => Self::Decode(error),
            NoItem::Share(ShareError::OwnerGone { name }) => Self::OwnerGone { name },
            NoItem::Share(error) => Self::Share(error),
        }
    }
}

impl From<ShareError> for QueueError {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::OwnerGone { name } => Self::OwnerGone { name },
            ShareError::Timeout => Self::Unanswered,
            error => Self::Share(error),
        }
    }
}

impl<T> From<PutError<T>> for Error {
    fn from(error: PutError<T>) -> Self {
        Self::Put(error.why)
    }
}

impl<I: Iterator> From<PutManyError<I>> for Error {
    fn from(error: PutManyError<I>) -> Self {
        Self::Put(error.why)
    }
}
