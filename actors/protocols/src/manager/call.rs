//! What is asked of managed objects, and what they answer.
//!
//! Owns the words, which travel between a proxy and a server. Their methods are Python's
//! (`multiprocessing.managers`), with its rules for indices and slices.

use serde::{Deserialize, Serialize};

/// A call, by the kind of object that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum Call<V> {
    List(ListCall<V>),
    Dict(DictCall<V>),
    Set(SetCall<V>),
    Array(ArrayCall<V>),
    Queue(QueueCall<V>),
    Lock(LockCall),
    Semaphore(SemaphoreCall),
    Event(EventCall),
    Barrier(BarrierCall),
}

impl<V> Call<V> {
    /// Whether it gives back what its caller has, or says that he has it. It never waits, and
    /// who makes it may do so by dropping something: it is not to be refused for want of room.
    pub fn gives_back(&self) -> bool {
        matches!(
            self,
            Self::Lock(LockCall::Release)
                | Self::Semaphore(SemaphoreCall::Release(_))
                | Self::Queue(QueueCall::Kept(_) | QueueCall::TaskDone)
                | Self::Barrier(BarrierCall::Acted | BarrierCall::Abort)
        )
    }
}

/// A slice `[start:stop:step]`; what is `None` is as when it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Range {
    /// The first index; negative ones count from the end.
    pub start: Option<i64>,
    /// The index before which it ends.
    pub stop: Option<i64>,
    /// How far apart; not 0.
    pub step: Option<i64>,
}

/// Asked of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Python's methods")]
pub enum ListCall<V> {
    Get(i64),
    Set(i64, V),
    Delete(i64),
    Len,
    Append(V),
    Extend(Vec<V>),
    Insert(i64, V),
    Pop(i64),
    Remove(V),
    Reverse,
    Contains(V),
    Count(V),
    Index(V, Range),
    Clear,
    Slice(Range),
    SetSlice(Range, Vec<V>),
    DeleteSlice(Range),
    Repeat(i64),
}

/// Asked of a dict. A namespace is one too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Python's methods")]
pub enum DictCall<V> {
    Get(V),
    Set(V, V),
    /// As `Set`; answers what was there.
    Replace(V, V),
    SetDefault(V, V),
    Pop(V),
    PopItem,
    Contains(V),
    Len,
    Clear,
    Keys,
    Values,
    Items,
    Update(Vec<(V, V)>),
    /// The keys after a position, at most so many, if the dict still has the given form.
    Next {
        position: Option<u64>,
        form: Option<u64>,
        most: u32,
        backwards: bool,
    },
}

/// How two sets are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Union {
    /// What is in either.
    Either,
    /// What is in both.
    Both,
    /// What is in this one only.
    Without,
    /// What is in one of them only.
    OneOf,
}

/// Asked of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Python's methods")]
pub enum SetCall<V> {
    Add(V),
    Remove(V),
    Pop,
    Contains(V),
    Len,
    Clear,
    Items,
    /// Puts the set and another together; in place, or as the answer.
    Combine {
        how: Union,
        other: Vec<V>,
        in_place: bool,
    },
    /// How the set and another relate.
    Relate(Vec<V>),
}

/// Asked of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Python's methods")]
pub enum ArrayCall<V> {
    Get(i64),
    Set(i64, V),
    Len,
    Slice(Range),
    SetSlice(Range, Vec<V>),
}

/// Asked of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Python's methods")]
pub enum QueueCall<V> {
    Put(V),
    /// With `kept`, the item stays with the queue until `Kept` says that it arrived.
    Get {
        kept: bool,
    },
    /// The item that was the answer to this call has arrived.
    Kept(u64),
    Len,
    /// Whether it has as many items as it may have.
    IsFull,
    /// Answers `None` when the queue has no bound.
    Capacity,
    TaskDone,
    Join,
    Shutdown {
        immediate: bool,
    },
}

/// Asked of a lock, and of the conditions on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockCall {
    /// Wait until the caller holds it.
    Acquire,
    /// Give it up.
    Release,
    /// Whether anybody holds it.
    IsLocked,
    /// Make a condition on this lock; answers its number.
    Condition,
    /// Give the lock up, wait to be notified, and take it again.
    Wait(u32),
    /// Wake so many of those who wait.
    Notify(u32, u64),
}

/// Asked of a semaphore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SemaphoreCall {
    /// Wait for a permit.
    Acquire,
    /// Give so many permits.
    Release(u64),
    /// Whether no permit is to be had.
    IsLocked,
}

/// Asked of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Python's methods")]
pub enum EventCall {
    IsSet,
    Set,
    Clear,
    Wait,
}

/// Asked of a barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BarrierCall {
    /// Come, and wait for the others. Answers the place in which one came, from 0.
    Wait,
    /// The action is done; from the party that was told to act.
    Acted,
    /// Break it.
    Abort,
    /// Make it new.
    Reset,
    /// Parties, how many of them wait, and whether it is broken.
    State,
}

/// Where a change in one step takes place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place<V> {
    /// A key of a dict.
    Key(V),
    /// An index of a list or an array.
    Index(i64),
    /// All values; of a dict keys and values by turns.
    All,
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<V> {
    /// It is done.
    Done,
    /// Yes or no. A wait that timed out is a no.
    Bool(bool),
    /// A number.
    Number(u64),
    /// One value.
    Value(V),
    /// There is no such value.
    None,
    /// Several values.
    Values(Vec<V>),
    /// Pairs of key and value.
    Pairs(Vec<(V, V)>),
    /// Keys of a dict: its form, where they end, and whether there are more.
    Keys {
        /// To be named in the next call.
        form: u64,
        /// To be named in the next call; `None` when there are no more.
        position: Option<u64>,
        /// The keys.
        keys: Vec<V>,
    },
    /// An item of a queue.
    Item {
        /// The item.
        item: V,
        /// Whether somebody had it before, and died or went before it was done.
        redelivered: bool,
        /// The call's number, if the queue keeps the item until it is said to be there.
        kept: Option<u64>,
    },
    /// The lock or permit is the caller's.
    Acquired {
        /// Whether it belonged to a client that died.
        after_death: bool,
    },
    /// How two sets relate.
    Relation {
        /// Whether the other has all that this one has.
        is_subset: bool,
        /// Whether this one has all that the other has.
        is_superset: bool,
        /// Whether they have nothing in common.
        is_disjoint: bool,
    },
    /// The state of a barrier.
    Barrier {
        /// How many meet.
        parties: u32,
        /// How many of them wait.
        waiting: u32,
        /// Whether it is broken.
        is_broken: bool,
    },
    /// The caller is to act for all, and then say so.
    Act,
    /// Why not.
    Fault(Fault),
}

/// Why a managed object did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The object's kind has no such method, or the method is not exposed.
    #[error("the object has no such method")]
    NoSuchMethod,
    /// There is no such object, or no such name.
    #[error("the manager has no {0}")]
    NoSuchObject(String),
    /// The index is out of range.
    #[error("index out of range")]
    Index,
    /// There is no such key.
    #[error("there is no such key")]
    Key,
    /// There is no such value, or none at all.
    #[error("there is no such value")]
    Value,
    /// A slice's step is 0, or its length is not that of the values.
    #[error("the values do not fit the slice")]
    Slice,
    /// The dict's keys changed while it was iterated.
    #[error("the dictionary changed while it was iterated")]
    Changed,
    /// The queue has no item, and the time is up.
    #[error("the queue is empty")]
    Empty,
    /// The queue is full, and the time is up.
    #[error("the queue is full")]
    Full,
    /// The queue is shut down.
    #[error("the queue is shut down")]
    Shutdown,
    /// `task_done` was called more often than there were items.
    #[error("task_done was called more often than there were items")]
    TooManyDone,
    /// A lock was released that nobody holds.
    #[error("the lock is not held, so it cannot be released")]
    NotHeld,
    /// A recursive lock, or a condition's, is not held by the caller.
    #[error("the lock is not held by the caller")]
    NotOwner,
    /// A bounded semaphore was released too often.
    #[error("the semaphore was released too many times")]
    TooManyReleases,
    /// The barrier is broken.
    #[error("the barrier is broken")]
    Broken,
    /// A function that was to run in the server panicked or failed.
    #[error("in the manager: {0}")]
    Failed(String),
    /// The server runs as many functions as it may, and more have waited for too long, or are too
    /// many; or it has too many calls of this client.
    #[error("the manager has as much to do as it may have; try again")]
    Busy,
    /// The manager has been shut down.
    #[error("the manager has been shut down")]
    ShutDown,
}
