//! Making the stock objects of a Python program's `SyncManager`.
//!
//! Owns the methods of [`PythonManager`] that make them, each by Python's name.

use super::{
    PythonArray, PythonBarrier, PythonCondition, PythonDict, PythonEvent, PythonList, PythonLock,
    PythonManager, PythonNamespace, PythonQueue, PythonSemaphore, PythonSet, PythonValue, Result,
};
use serde::Serialize;
use std::time::Duration;

/// The stock objects of a `SyncManager`. Each call makes a new one; at a manager that has not
/// registered the kind it is [`PythonError::Remote`](super::PythonError::Remote).
impl PythonManager {
    /// An empty dict.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn dict<K, V>(&self) -> Result<PythonDict<K, V>> {
        self.get("dict", ()).map(Into::into)
    }

    /// A dict of these pairs.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn dict_of<K: Serialize, V: Serialize>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<PythonDict<K, V>> {
        self.get("dict", (all(pairs),)).map(Into::into)
    }

    /// A list of these items.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn list<T: Serialize>(&self, items: impl IntoIterator<Item = T>) -> Result<PythonList<T>> {
        self.get("list", (all(items),)).map(Into::into)
    }

    /// A set of these. Since Python 3.14.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn set<T: Serialize>(&self, items: impl IntoIterator<Item = T>) -> Result<PythonSet<T>> {
        self.get("set", (all(items),)).map(Into::into)
    }

    /// An empty namespace.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn namespace(&self) -> Result<PythonNamespace> {
        self.get("Namespace", ()).map(Into::into)
    }

    /// A queue without a bound on the number of its items.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn queue<T>(&self) -> Result<PythonQueue<T>> {
        self.bounded_queue(0)
    }

    /// A queue of at most `capacity` items; 0 is no bound.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn bounded_queue<T>(&self, capacity: usize) -> Result<PythonQueue<T>> {
        self.get("Queue", (capacity,)).map(Into::into)
    }

    /// A joinable queue of at most `capacity` items; 0 is no bound.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn joinable_queue<T>(&self, capacity: usize) -> Result<PythonQueue<T>> {
        self.get("JoinableQueue", (capacity,)).map(Into::into)
    }

    /// A value.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn value<T: Serialize>(&self, value: T) -> Result<PythonValue<T>> {
        // The type code is for those who read; what is kept is the value as it is.
        self.get("Value", ("O", value)).map(Into::into)
    }

    /// An array of as many cells as these, of the type that Python's `array` has under this
    /// code: `'q'` for 64-bit integers, `'d'` for floats.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn array<T: Serialize>(
        &self,
        typecode: char,
        items: impl IntoIterator<Item = T>,
    ) -> Result<PythonArray<T>> {
        self.get("Array", (typecode, all(items))).map(Into::into)
    }

    /// A lock.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn lock(&self) -> Result<PythonLock> {
        self.get("Lock", ()).map(Into::into)
    }

    /// A recursive lock.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn rlock(&self) -> Result<PythonLock> {
        self.get("RLock", ()).map(Into::into)
    }

    /// A semaphore with so many permits.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn semaphore(&self, value: u64) -> Result<PythonSemaphore> {
        self.get("Semaphore", (value,)).map(Into::into)
    }

    /// A semaphore with so many permits and never more.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn bounded_semaphore(&self, value: u64) -> Result<PythonSemaphore> {
        self.get("BoundedSemaphore", (value,)).map(Into::into)
    }

    /// A condition with a recursive lock of its own.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn condition(&self) -> Result<PythonCondition> {
        self.get("Condition", ()).map(Into::into)
    }

    /// An event that is not set.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn event(&self) -> Result<PythonEvent> {
        self.get("Event", ()).map(Into::into)
    }

    /// A barrier for so many parties. With a `timeout`, a wait without one of its own ends by
    /// that.
    ///
    /// # Errors
    /// [`PythonError`](super::PythonError).
    pub fn barrier(&self, parties: u32, timeout: Option<Duration>) -> Result<PythonBarrier> {
        let timeout = timeout.map(|timeout| timeout.as_secs_f64());
        self.get("Barrier", (parties, (), timeout)).map(Into::into)
    }
}

fn all<T>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    items.into_iter().collect()
}
