//! The queue with the fewest calls.
//!
//! Owns [`SimpleQueue`], which is a [`Queue`] without a bound behind four calls.

use super::{GetError, PutError, Queue, QueueError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A queue that can `put`, `get`, say whether it is empty, and be closed.
///
/// ```
/// # fn main() -> procession::Result<()> {
/// let queue = procession::SimpleQueue::new()?;
/// queue.put(7)?;
/// assert!(!queue.is_empty()?);
/// assert_eq!(queue.get()?, 7);
/// queue.close();
/// assert!(queue.put(8).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct SimpleQueue<T>(Queue<T>);

impl<T> SimpleQueue<T> {
    /// Makes one.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn new() -> crate::Result<Self> {
        Queue::new().map(Self)
    }

    /// Whether it has no item now.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn is_empty(&self) -> Result<bool, QueueError> {
        self.0.is_empty()
    }

    /// As [`Queue::close`].
    pub fn close(&self) {
        self.0.close();
    }
}

impl<T: Serialize> SimpleQueue<T> {
    /// Puts an item.
    ///
    /// # Errors
    /// As [`Queue::put`].
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.0.put(item)
    }

    /// As [`put`](Self::put), without blocking the thread.
    ///
    /// # Errors
    /// As [`Queue::put`].
    ///
    /// # Cancel safety
    /// As [`Queue::put_async`].
    pub async fn put_async(&self, item: T) -> Result<(), PutError<T>> {
        self.0.put_async(item).await
    }
}

impl<T: DeserializeOwned> SimpleQueue<T> {
    /// Takes an item out. Waits while there is none.
    ///
    /// # Errors
    /// As [`Queue::get`].
    pub fn get(&self) -> Result<T, GetError> {
        self.0.get()
    }

    /// As [`get`](Self::get), but waits at most for `timeout`.
    ///
    /// # Errors
    /// As [`Queue::get_timeout`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.0.get_timeout(timeout)
    }

    /// As [`get`](Self::get), without blocking the thread.
    ///
    /// # Errors
    /// As [`Queue::get`].
    ///
    /// # Cancel safety
    /// Dropping the future takes no item out.
    pub async fn get_async(&self) -> Result<T, GetError> {
        self.0.get_async().await
    }
}

impl<T> Clone for SimpleQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimpleQueue").field(&self.0).finish()
    }
}
