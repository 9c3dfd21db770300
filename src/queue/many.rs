//! Several items put, or got, in one call.
//!
//! Owns these calls of [`Queue`]. Their neighbour `mod.rs` has those for one item.

use super::{GetError, PutFault, PutManyError, Queue};
use procession_runtime::queue::{Patience, Stopped};
use procession_runtime::wait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

type Put<I> = Result<(), PutManyError<<I as IntoIterator>::IntoIter>>;

impl<T: Serialize> Queue<T> {
    /// Puts several items, in their order. Waits while the queue is full. Others may see
    /// them later than one by one: by some kilobytes, or when all are put. Should `items`
    /// panic, the last of those that it gave may not be put.
    ///
    /// # Errors
    /// [`PutManyError`] with the items that were not put: those that had been drawn, and behind
    /// them `items` itself, which may have no end.
    pub fn put_many<I>(&self, items: I) -> Put<I>
    where
        I: IntoIterator<Item = T>,
    {
        wait::at_once(self.put_many_with(items, Patience::Until(None)))
    }

    /// As [`put_many`](Self::put_many), but waits at most for `timeout` in all; zero puts what
    /// there is room for.
    ///
    /// # Errors
    /// As [`put_many`](Self::put_many), and [`PutFault::Timeout`].
    pub fn put_many_timeout<I>(&self, items: I, timeout: Duration) -> Put<I>
    where
        I: IntoIterator<Item = T>,
    {
        let put = wait::at_once(self.put_many_with(items, Patience::within(timeout)));
        put.map_err(|error| PutManyError { why: error.why.in_time(), ..error })
    }

    /// Puts as many of the items, in their order, as there is room for now.
    ///
    /// # Errors
    /// As [`put_many`](Self::put_many), and [`PutFault::Full`].
    pub fn try_put_many<I>(&self, items: I) -> Put<I>
    where
        I: IntoIterator<Item = T>,
    {
        wait::at_once(self.put_many_with(items, Patience::Never))
    }

    /// As [`put_many`](Self::put_many), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`put_many`](Self::put_many).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has put the first ones; the others are lost.
    pub async fn put_many_async<I>(&self, items: I) -> Put<I>
    where
        I: IntoIterator<Item = T>,
    {
        self.put_many_with(items, Patience::Async).await
    }

    async fn put_many_with<I>(&self, items: I, patience: Patience) -> Put<I>
    where
        I: IntoIterator<Item = T>,
    {
        let goes_on = || !self.is_closed();
        let put = self.raw.put_many(self.tag, items, patience, goes_on).await;
        put.map_err(|stopped| {
            let Stopped { put, drawn, behind, why } = stopped;
            let why = why.map_or(PutFault::Closed, PutFault::from);
            if let Some(item) = drawn.first() {
                self.tell_hook(&why, item);
            }
            PutManyError { put, rest: drawn.into_iter().chain(behind), why }
        })
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes out at least one item, and as many more as are at hand in this process, up to
    /// `most`. Waits while there is none. Dies the process before it has returned, then all
    /// that it took is in the queue again, within the bounds that [`get`](Self::get) has.
    ///
    /// # Errors
    /// As [`get`](Self::get). An item behind others that cannot be decoded ends the call, and
    /// is what the next get of this process gets.
    pub fn get_many(&self, most: usize) -> Result<Vec<T>, GetError> {
        wait::at_once(self.get_many_with(most, Patience::Until(None)))
    }

    /// As [`get_many`](Self::get_many), but waits at most for `timeout`; zero asks
    /// once.
    ///
    /// # Errors
    /// As [`get_many`](Self::get_many), and [`GetError::Timeout`].
    pub fn get_many_timeout(&self, most: usize, timeout: Duration) -> Result<Vec<T>, GetError> {
        wait::at_once(self.get_many_with(most, Patience::within(timeout)))
            .map_err(GetError::in_time)
    }

    /// As [`get_many`](Self::get_many), if there is an item now.
    ///
    /// # Errors
    /// As [`get_many`](Self::get_many), and [`GetError::Empty`].
    pub fn try_get_many(&self, most: usize) -> Result<Vec<T>, GetError> {
        wait::at_once(self.get_many_with(most, Patience::Never))
    }

    /// As [`get_many`](Self::get_many), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`get_many`](Self::get_many).
    ///
    /// # Cancel safety
    /// Dropping the future takes no item out.
    pub async fn get_many_async(&self, most: usize) -> Result<Vec<T>, GetError> {
        self.get_many_with(most, Patience::Async).await
    }

    async fn get_many_with(&self, most: usize, patience: Patience) -> Result<Vec<T>, GetError> {
        self.may_get()?;
        Ok(self.raw.get_many(self.tag, most, patience).await?)
    }
}
