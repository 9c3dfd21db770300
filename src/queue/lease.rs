//! Items that come back when their consumer does not finish them.
//!
//! Owns the guard of a leased item. Dropping it never waits.

use procession_runtime::queue::RawQueue;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// An item, and whether a consumer had it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<T> {
    /// The item.
    pub item: T,
    /// A consumer had it before, and died or gave it back before it had finished it.
    pub redelivered: bool,
}

impl<T> From<(T, bool)> for Delivery<T> {
    fn from((item, redelivered): (T, bool)) -> Self {
        Self { item, redelivered }
    }
}

/// An item that comes back, marked as redelivered, unless it is [done](Self::done).
///
/// It comes back when the lease is dropped, and when this process dies.
///
/// ```
/// # fn main() -> procession::Result<()> {
/// let queue = procession::Queue::<u32>::new()?;
/// queue.put(7)?;
/// drop(queue.get_leased()?);                  // not done: it comes back
/// let lease = queue.get_leased()?;
/// assert!(lease.is_redelivered());
/// assert_eq!(lease.done(), 7);
/// assert!(queue.is_empty()?);
/// # Ok(())
/// # }
/// ```
#[must_use = "a lease that is dropped gives the item back"]
pub struct Lease<T> {
    queue: RawQueue,
    number: u64,
    item: Option<T>,
    redelivered: bool,
}

impl<T> Lease<T> {
    pub(super) fn new(queue: RawQueue, number: u64, item: T, redelivered: bool) -> Self {
        Self { queue, number, item: Some(item), redelivered }
    }

    /// Whether a consumer had it before.
    pub fn is_redelivered(&self) -> bool {
        self.redelivered
    }

    /// The item is finished, and is not brought back. On a
    /// [`JoinableQueue`](super::JoinableQueue) this is its `task_done` as well.
    pub fn done(mut self) -> T {
        self.queue.end_lease(self.number, true);
        match self.item.take() {
            Some(item) => item,
            None => unreachable!("the item leaves with the lease"),
        }
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        if self.item.is_some() {
            self.queue.end_lease(self.number, false);
        }
    }
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.item {
            Some(item) => item,
            None => unreachable!("the item leaves with the lease"),
        }
    }
}

impl<T> DerefMut for Lease<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.item {
            Some(item) => item,
            None => unreachable!("the item leaves with the lease"),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("item", &self.item)
            .field("redelivered", &self.redelivered)
            .finish_non_exhaustive()
    }
}
