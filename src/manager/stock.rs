//! Making the stock objects of a manager.
//!
//! Owns the methods of [`Manager`] that are Python's `SyncManager`'s.

use super::lock::{
    BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, EventProxy, LockProxy, RLockProxy,
    SemaphoreProxy,
};
use super::proxy::{Result, value};
use super::{
    ArrayProxy, DictProxy, DynDict, JoinableQueueProxy, ListProxy, Manager, NamespaceProxy,
    QueueProxy, SetProxy, ValueProxy,
};
use crate::function::Function;
use procession_protocols::manager::Seed;
use procession_runtime::function::Entry;
use procession_runtime::manager::{Ask, Proxy, Stored};
use serde::Serialize;
use std::time::Duration;

/// The stock objects. Each call makes a new one.
impl Manager {
    /// An empty dict.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn dict<K, V>(&self) -> Result<DictProxy<K, V>> {
        self.stock(Seed::Dict(Vec::new())).map(DictProxy::of)
    }

    /// An empty dict of keys and values that are plain data.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn dyn_dict(&self) -> Result<DynDict> {
        self.dict().map(DynDict)
    }

    /// A dict of these pairs.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn dict_of<K: Serialize, V: Serialize>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<DictProxy<K, V>> {
        let encode = |(key, value)| Ok((self.door.encode(&key)?, self.door.encode(&value)?));
        let pairs = pairs.into_iter().map(encode).collect::<Result<_>>()?;
        self.stock(Seed::Dict(pairs)).map(DictProxy::of)
    }

    /// A list of these items.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn list<T: Serialize>(&self, items: impl IntoIterator<Item = T>) -> Result<ListProxy<T>> {
        self.stock(Seed::List(self.encode_all(items)?)).map(ListProxy::of)
    }

    /// A queue without a bound on the number of its items.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn queue<T>(&self) -> Result<QueueProxy<T>> {
        self.stock(Seed::Queue { capacity: None, joinable: false }).map(QueueProxy::of)
    }

    /// A queue of at most `capacity` items; 0 is no bound.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn bounded_queue<T>(&self, capacity: usize) -> Result<QueueProxy<T>> {
        let capacity = Some(capacity as u64);
        self.stock(Seed::Queue { capacity, joinable: false }).map(QueueProxy::of)
    }

    /// A joinable queue of at most `capacity` items; 0 is no bound.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn joinable_queue<T>(&self, capacity: usize) -> Result<JoinableQueueProxy<T>> {
        let capacity = Some(capacity as u64);
        self.stock(Seed::Queue { capacity, joinable: true }).map(JoinableQueueProxy::of)
    }

    /// A set of these.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn set<T: Serialize>(&self, items: impl IntoIterator<Item = T>) -> Result<SetProxy<T>> {
        self.stock(Seed::Set(self.encode_all(items)?)).map(SetProxy::of)
    }

    /// An empty namespace.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn namespace(&self) -> Result<NamespaceProxy> {
        self.stock(Seed::Dict(Vec::new())).map(NamespaceProxy::of)
    }

    /// A value.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn value<T: Serialize>(&self, value: T) -> Result<ValueProxy<T>> {
        self.stock(Seed::Array(vec![self.door.encode(&value)?])).map(ValueProxy::of)
    }

    /// An array of as many cells as these.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn array<T: Serialize>(&self, items: impl IntoIterator<Item = T>) -> Result<ArrayProxy<T>> {
        self.stock(Seed::Array(self.encode_all(items)?)).map(ArrayProxy::of)
    }

    /// A lock.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn lock(&self) -> Result<LockProxy> {
        self.stock(Seed::Lock { recursive: false }).map(LockProxy::of)
    }

    /// A recursive lock.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn rlock(&self) -> Result<RLockProxy> {
        self.stock(Seed::Lock { recursive: true }).map(RLockProxy::of)
    }

    /// A condition with a recursive lock of its own.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn condition(&self) -> Result<ConditionProxy> {
        ConditionProxy::on(self.stock(Seed::Lock { recursive: true })?)
    }

    /// A condition on a managed lock.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn condition_on(&self, lock: &LockProxy) -> Result<ConditionProxy> {
        ConditionProxy::on(lock.proxy.clone())
    }

    /// A condition on a managed recursive lock.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn condition_on_rlock(&self, lock: &RLockProxy) -> Result<ConditionProxy> {
        ConditionProxy::on(lock.proxy.clone())
    }

    /// A semaphore with so many permits.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn semaphore(&self, value: u64) -> Result<SemaphoreProxy> {
        self.stock(Seed::Semaphore { value, bounded: false }).map(SemaphoreProxy::of)
    }

    /// A semaphore with so many permits and never more.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn bounded_semaphore(&self, value: u64) -> Result<BoundedSemaphoreProxy> {
        self.stock(Seed::Semaphore { value, bounded: true }).map(BoundedSemaphoreProxy::of)
    }

    /// An event that is not set.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn event(&self) -> Result<EventProxy> {
        self.stock(Seed::Event).map(EventProxy::of)
    }

    /// A barrier for so many parties, at least one. With a `timeout`, a wait without one of
    /// its own ends by that.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn barrier(&self, parties: u32, timeout: Option<Duration>) -> Result<BarrierProxy> {
        self.barrier_for(parties, timeout, None)
    }

    /// As [`barrier`](Self::barrier), with an action, which the last party to come runs
    /// before anybody passes.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn barrier_with_action<F>(
        &self,
        parties: u32,
        action: F,
        timeout: Option<Duration>,
    ) -> Result<BarrierProxy>
    where
        F: Entry<(), Output = ()> + Copy + 'static,
    {
        let action = Function::new(action).map_err(super::not_in_image)?;
        self.barrier_for(parties, timeout, Some(action))
    }

    fn barrier_for(
        &self,
        parties: u32,
        timeout: Option<Duration>,
        action: Option<Function<(), ()>>,
    ) -> Result<BarrierProxy> {
        let to_ms = |limit: Duration| {
            // One of less than a millisecond is not none.
            u64::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
        };
        let (patience_ms, acts) = (timeout.map(to_ms), action.is_some());
        let proxy = self.stock(Seed::Barrier { parties, patience_ms, acts })?;
        Ok(BarrierProxy::new(proxy, parties.max(1), action))
    }

    fn stock(&self, seed: Seed<Stored>) -> Result<Proxy> {
        value(self.door.ask(Ask::Create(seed), None)?)
    }

    fn encode_all<T: Serialize>(&self, items: impl IntoIterator<Item = T>) -> Result<Vec<Stored>> {
        items.into_iter().map(|item| self.door.encode(&item)).collect()
    }
}
