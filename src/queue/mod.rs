//! Queues between processes.
//!
//! Owns [`Queue`], the handle that users hold, and its encoding of items. Where an item is
//! and who gets it is the runtime's business. Neighbours: `joinable` and `simple` are the
//! other two queues, `many` puts and gets several items in a call, `lease` is an item that
//! comes back, `error` has the errors.

mod error;
mod joinable;
mod lease;
mod many;
mod simple;

pub use error::{GetError, PutError, PutFault, PutManyError, QueueError};
pub use joinable::JoinableQueue;
pub use lease::{Delivery, Lease};
pub use simple::SimpleQueue;

use crate::error::{EncodeError, Result};
use procession_runtime::queue::{Options, Patience, RawQueue, tag};
use procession_runtime::sync::lock;
use procession_runtime::wait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A queue of items of one type, for any number of processes and threads that put and get.
///
/// The process that makes it keeps its items. A handle is cheap to clone and travels: as an
/// argument, on another queue, in a message. Items of one producer are got in the order in
/// which it put them, by one consumer; several consumers share them out. What was there when a
/// process first used the queue comes before what it puts, as long as less than 1 GiB waits.
///
/// An item is encoded in the thread that puts it, and with the queue when `put` returns:
/// nothing is kept back for later, so the process may end, or be killed, at once. What a
/// consumer did not get before it died stays in the queue. There is no bound on the number
/// of items unless it is made with [`bounded`](Self::bounded), but 1 GiB of bytes, beyond
/// which `put` waits.
///
/// The queue is there while its maker lives and while somebody has a handle of it, or a
/// message with one is under way. An item that holds a handle of its own queue is such a
/// message: it keeps the queue until it is got.
///
/// ```
/// use procession::{Process, Queue};
///
/// # fn main() -> procession::Result<()> {
/// let queue = Queue::<String>::new()?;
/// let child = Process::spawn(
///     |queue: Queue<String>| queue.put("hello".to_string()).unwrap(),
///     (queue.clone(),),
/// )?;
/// assert_eq!(queue.get()?, "hello");
/// child.join()?;
/// # Ok(())
/// # }
/// ```
pub struct Queue<T> {
    raw: RawQueue,
    tag: u32,
    local: Arc<Local<T>>,
}

/// What the clones of a handle in one process share.
struct Local<T> {
    is_closed: AtomicBool,
    hook: Mutex<Option<Arc<Hook<T>>>>,
}

type Hook<T> = dyn Fn(&EncodeError, &T) + Send + Sync;

impl<T> Queue<T> {
    /// Makes a queue without a bound on the number of its items.
    ///
    /// # Errors
    /// None today; what the system refuses.
    pub fn new() -> Result<Self> {
        Ok(Self::make(Options::default()))
    }

    /// Makes a queue of at most `capacity` items: `put` waits while it is full. A capacity
    /// of 0 is, as in Python, none. What a consumer gives back, by a lease or by its death,
    /// is in the queue again even if its place has been given away: then there are more
    /// items than that, and nobody puts until there are fewer. So is what a producer had put
    /// that died while its owner was out of descriptors for it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn bounded(capacity: usize) -> Result<Self> {
        let capacity = (capacity > 0).then_some(capacity as u64);
        Ok(Self::make(Options { capacity, ..Options::default() }))
    }

    fn make(options: Options) -> Self {
        Self::of(RawQueue::new(options))
    }

    fn of(raw: RawQueue) -> Self {
        let local = Local { is_closed: AtomicBool::new(false), hook: Mutex::new(None) };
        Self { raw, tag: tag::<T>(), local: Arc::new(local) }
    }

    /// How many items are in the queue: put and not got yet. Exact at the moment of asking.
    ///
    /// # Errors
    /// [`QueueError`], also [`QueueError::Unanswered`] when the owner is another process and is
    /// stopped.
    pub fn qsize(&self) -> Result<usize, QueueError> {
        self.open()?;
        Ok(usize::try_from(self.raw.count()?).unwrap_or(usize::MAX))
    }

    /// Whether it has no item now.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn is_empty(&self) -> Result<bool, QueueError> {
        Ok(self.qsize()? == 0)
    }

    /// Whether it has as many items as it may have now. Never, without a bound.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn is_full(&self) -> Result<bool, QueueError> {
        let len = self.qsize()? as u64;
        Ok(self.raw.capacity()?.is_some_and(|capacity| len >= capacity))
    }

    /// Nobody in this process puts or gets by this handle and its clones any more: that is
    /// the error `Closed`. Other handles, here and elsewhere, go on. Closing twice is fine.
    pub fn close(&self) {
        self.local.is_closed.store(true, Ordering::Release);
    }

    /// Nobody puts any more, in any process. What is in the queue can still be got, and
    /// then `get` ends in [`GetError::Shutdown`], also for those who wait in it now. With
    /// `immediate`, what is in the queue is dropped, and counts as finished.
    ///
    /// An item that a consumer has under a lease, or has not finished, is not in the queue. With
    /// `immediate` it is dropped if it comes back. Else it may come back when all others have
    /// seen the end, and is for whoever gets next: as long as [`qsize`](Self::qsize) is not 0,
    /// or a [`join`](JoinableQueue::join) waits, somebody should.
    ///
    /// # Errors
    /// [`QueueError`], also [`QueueError::Unanswered`] when the owner is another process and is
    /// stopped.
    pub fn shutdown(&self, immediate: bool) -> Result<(), QueueError> {
        self.open()?;
        Ok(self.raw.shutdown(immediate)?)
    }

    /// Does nothing: `put` has written an item when it returns, and there is no thread to
    /// join. It is here so that programs from Python read the same.
    pub fn join_thread(&self) {}

    /// Does nothing, as [`join_thread`](Self::join_thread): no data is ever held back that
    /// could be given up.
    pub fn cancel_join_thread(&self) {}

    /// Has `hook` called with an item that cannot be encoded and the reason, in the thread
    /// that puts it, before `put` returns the same. For this handle and its clones here.
    pub fn on_feed_error(&self, hook: impl Fn(&EncodeError, &T) + Send + Sync + 'static) {
        let former = lock(&self.local.hook).replace(Arc::new(hook));
        drop(former);
    }

    fn is_closed(&self) -> bool {
        self.local.is_closed.load(Ordering::Acquire)
    }

    fn open(&self) -> Result<(), QueueError> {
        if self.is_closed() { Err(QueueError::Closed) } else { Ok(()) }
    }

    /// Whether the next item may be asked for.
    fn may_get(&self) -> Result<(), GetError> {
        if self.is_closed() { Err(GetError::Closed) } else { Ok(()) }
    }

    /// Tells the hook of an item that cannot be encoded.
    fn tell_hook(&self, why: &PutFault, item: &T) {
        if let PutFault::Encode(error) = why {
            let hook = lock(&self.local.hook).clone();
            if let Some(hook) = hook {
                hook(error, item);
            }
        }
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts an item. Waits while the queue is full.
    ///
    /// # Errors
    /// [`PutError`] with the item: it cannot be encoded, the queue is closed or shut down,
    /// its owner is gone.
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_with(item, Patience::Until(None))
    }

    /// As [`put`](Self::put), but waits at most for `timeout`; zero asks once, as
    /// [`try_put`](Self::try_put) does.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`PutFault::Timeout`].
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        let put = self.put_with(item, Patience::within(timeout));
        put.map_err(|PutError { item, why }| PutError { item, why: why.in_time() })
    }

    /// Puts an item if there is room for it now. Python's `put_nowait`.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`PutFault::Full`].
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_with(item, Patience::Never)
    }

    /// As [`put`](Self::put), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has not put the item, which is lost; or it has put it
    /// in the moment of the drop.
    pub async fn put_async(&self, item: T) -> Result<(), PutError<T>> {
        let result = if self.is_closed() {
            Err(PutFault::Closed)
        } else {
            self.raw.put(&item, self.tag, Patience::Async).await.map_err(PutFault::from)
        };
        self.put_ends(item, result)
    }

    fn put_with(&self, item: T, patience: Patience) -> Result<(), PutError<T>> {
        let result = if self.is_closed() {
            Err(PutFault::Closed)
        } else {
            self.raw.put_now(&item, self.tag, patience).map_err(PutFault::from)
        };
        self.put_ends(item, result)
    }

    fn put_ends(&self, item: T, result: Result<(), PutFault>) -> Result<(), PutError<T>> {
        let Err(why) = result else { return Ok(()) };
        self.tell_hook(&why, &item);
        Err(PutError { item, why })
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes an item out. Waits while there is none. Dies the process before it has returned,
    /// then the item is in the queue again. Of more than 48 calls of one process that are
    /// about to return at one instant, this holds for 48; the waiting ones do not count.
    ///
    /// # Errors
    /// [`GetError`]: the queue is closed, or shut down and empty; the item is of another
    /// type; the owner is gone.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_with(Patience::Until(None)).map(|(item, _)| item)
    }

    /// As [`get`](Self::get), but waits at most for `timeout`; zero asks once, as
    /// [`try_get`](Self::try_get) does.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`GetError::Timeout`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        let got = self.get_with(Patience::within(timeout)).map_err(GetError::in_time);
        got.map(|(item, _)| item)
    }

    /// Takes an item out if there is one now. Python's `get_nowait`. An item whose `put`
    /// has returned, in any process, is there.
    ///
    /// # Errors
    /// As [`get`](Self::get), [`GetError::Empty`], and [`GetError::Unanswered`] when the
    /// owner is another process and is stopped.
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_with(Patience::Never).map(|(item, _)| item)
    }

    /// As [`get`](Self::get), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Dropping the future takes no item out.
    pub async fn get_async(&self) -> Result<T, GetError> {
        self.may_get()?;
        Ok(self.raw.get(self.tag, Patience::Async).await?.0)
    }

    /// As [`get`](Self::get), and says whether a consumer had it before that died without
    /// having finished it: only an item of a [`JoinableQueue`], or one that was leased.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_delivery(&self) -> Result<Delivery<T>, GetError> {
        Ok(self.get_with(Patience::Until(None))?.into())
    }

    /// As [`get_delivery`](Self::get_delivery), but waits at most for `timeout`.
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub fn get_delivery_timeout(&self, timeout: Duration) -> Result<Delivery<T>, GetError> {
        Ok(self.get_with(Patience::within(timeout)).map_err(GetError::in_time)?.into())
    }

    /// As [`get_delivery`](Self::get_delivery), if there is an item now.
    ///
    /// # Errors
    /// As [`try_get`](Self::try_get).
    pub fn try_get_delivery(&self) -> Result<Delivery<T>, GetError> {
        Ok(self.get_with(Patience::Never)?.into())
    }

    /// As [`get_delivery`](Self::get_delivery), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Dropping the future takes no item out.
    pub async fn get_delivery_async(&self) -> Result<Delivery<T>, GetError> {
        self.may_get()?;
        Ok(self.raw.get(self.tag, Patience::Async).await?.into())
    }

    /// Takes an item that stays in the owner's keeping until it is [done](Lease::done), and
    /// comes back, marked, when this process dies or drops the lease before. Waits while
    /// there is none. As to what comes back after a [`shutdown`](Self::shutdown), see there.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`GetError::Share`] with `EMFILE` when this process has not as many
    /// numbers free as descriptors come with the item, which goes back.
    pub fn get_leased(&self) -> Result<Lease<T>, GetError> {
        self.lease_with(Patience::Until(None))
    }

    /// As [`get_leased`](Self::get_leased), but waits at most for `timeout`; zero asks once,
    /// as [`try_get_leased`](Self::try_get_leased) does. Less than 20 ms are up to so many while
    /// the owner, another process, does not say whether there is one.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`GetError::Timeout`].
    pub fn get_leased_timeout(&self, timeout: Duration) -> Result<Lease<T>, GetError> {
        self.lease_with(Patience::within(timeout)).map_err(GetError::in_time)
    }

    /// As [`get_leased`](Self::get_leased), if there is an item now.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`GetError::Empty`]; [`GetError::Unanswered`] when the owner does
    /// not say within five seconds whether there is one.
    pub fn try_get_leased(&self) -> Result<Lease<T>, GetError> {
        self.lease_with(Patience::Never)
    }

    /// As [`get_leased`](Self::get_leased), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Dropping the future takes no item out.
    pub async fn get_leased_async(&self) -> Result<Lease<T>, GetError> {
        self.lease(Patience::Async).await
    }

    /// The items as they come, until the queue is shut down and empty, or closed.
    ///
    /// ```
    /// # use procession::Queue;
    /// # fn main() -> procession::Result<()> {
    /// let queue = Queue::new()?;
    /// queue.put_many(["a".to_string(), "b".to_string()])?;
    /// queue.shutdown(false)?;
    /// let items: Result<Vec<String>, _> = queue.iter().collect();
    /// assert_eq!(items?, ["a", "b"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: self, is_over: false }
    }

    fn get_with(&self, patience: Patience) -> Result<(T, bool), GetError> {
        self.may_get()?;
        Ok(self.raw.get_now(self.tag, patience)?)
    }

    fn lease_with(&self, patience: Patience) -> Result<Lease<T>, GetError> {
        wait::at_once(self.lease(patience))
    }

    async fn lease(&self, patience: Patience) -> Result<Lease<T>, GetError> {
        self.may_get()?;
        let (lease, item, redelivered) = self.raw.lease(self.tag, patience).await?;
        Ok(Lease::new(self.raw.clone(), lease, item, redelivered))
    }
}

/// The items of a queue as they come; see [`Queue::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    queue: &'a Queue<T>,
    is_over: bool,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.queue.get() {
            Err(GetError::Shutdown | GetError::Closed) => {
                self.is_over = true;
                None
            }
            // Another item may follow one that cannot be decoded.
            other => {
                self.is_over =
                    matches!(&other, Err(error) if !matches!(error, GetError::Decode(_)));
                Some(other)
            }
        }
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Queue<T> {
    type Item = Result<T, GetError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), tag: self.tag, local: self.local.clone() }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("item", &std::any::type_name::<T>())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawQueue::deserialize(deserializer).map(Self::of)
    }
}
