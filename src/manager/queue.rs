//! `QueueProxy` and `JoinableQueueProxy`: queues at a manager.
//!
//! Owns the typed calls. The manager keeps the items; nobody who dies takes one along that
//! was not his.

use super::proxy::{Answer, Pending, Result, calls, done, number, proxy};
use procession_protocols::manager::{Call, QueueCall, Reply};
use procession_runtime::manager::{ManagerError, Patience, Proxy, Stored};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Duration;

/// An item was not put. Here it is.
pub struct Unput<T, E = ManagerError> {
    /// The item.
    pub item: T,
    /// Why.
    pub why: E,
}

impl<T, E: fmt::Debug> fmt::Debug for Unput<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unput").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<T, E: fmt::Display> fmt::Display for Unput<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the item was not put: {}", self.why)
    }
}

impl<T, E: std::error::Error + 'static> std::error::Error for Unput<T, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

impl<T> From<Unput<T>> for ManagerError {
    fn from(unput: Unput<T>) -> Self {
        unput.why
    }
}

proxy! {
    /// A queue at a [`Manager`](crate::Manager), as `manager.Queue()` in Python.
    ///
    /// Unlike a [`Queue`](crate::Queue) it may be reached from outside the process tree,
    /// and does not end with the process that asked for it; each call is a round trip to
    /// the manager.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = procession::Manager::start()?;
    /// let queue = manager.queue::<String>()?;
    /// queue.put("hello".into())?;
    /// assert_eq!(queue.get()?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    QueueProxy<T>
}

proxy! {
    /// A [`QueueProxy`] whose items belong to the queue until they are
    /// [done](Self::task_done): those of a client that dies come back, in front.
    JoinableQueueProxy<T>
}

macro_rules! queue_calls {
    ($name:ident) => {
        impl<T> $name<T> {
            calls! {
                /// How many items there are.
                qsize qsize_async(_proxy) -> usize { Call::Queue(QueueCall::Len) => number }

                /// Shuts it down: puts fail from now on, gets when nothing is left; with
                /// `immediate` nothing is.
                shutdown shutdown_async(_proxy, immediate: bool) -> () {
                    Call::Queue(QueueCall::Shutdown { immediate }) => done
                }
            }

            /// Whether it has no items.
            ///
            /// # Errors
            /// [`ManagerError`].
            pub fn is_empty(&self) -> Result<bool> {
                Ok(self.qsize()? == 0)
            }

            /// Whether it has as many items as it may have.
            ///
            /// # Errors
            /// [`ManagerError`].
            pub fn is_full(&self) -> Result<bool> {
                let len = self.qsize()?;
                match self.proxy.call(Call::Queue(QueueCall::Capacity), None)? {
                    Reply::None => Ok(false),
                    answer => Ok(len >= number(answer)?),
                }
            }
        }

        impl<T: Serialize> $name<T> {
            /// Puts an item; waits while the queue is full.
            ///
            /// # Errors
            /// [`Unput`] gives it back: [`Fault::Shutdown`](super::Fault::Shutdown), and why the manager could not
            /// be reached.
            pub fn put(&self, item: T) -> Result<(), Unput<T>> {
                put(&self.proxy, item, None)
            }

            /// As [`put`](Self::put), waiting for a place at most for `timeout`.
            ///
            /// # Errors
            /// [`Fault::Full`](super::Fault::Full), and as [`put`](Self::put).
            pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), Unput<T>> {
                put(&self.proxy, item, Some(timeout))
            }

            /// As [`put`](Self::put), if there is a place now.
            ///
            /// # Errors
            /// As [`put_timeout`](Self::put_timeout).
            pub fn try_put(&self, item: T) -> Result<(), Unput<T>> {
                self.put_timeout(item, Duration::ZERO)
            }

            /// As [`put`](Self::put), without blocking the thread.
            ///
            /// # Errors
            /// As [`put`](Self::put); the item stays with the caller.
            ///
            /// # Cancel safety
            /// A future that is dropped may have put the item.
            pub fn put_async(&self, item: &T) -> Pending<()> {
                let call = self.proxy.encode(item).map(|item| Call::Queue(QueueCall::Put(item)));
                Pending::begin(&self.proxy, call, None, done)
            }
        }

        impl<T: DeserializeOwned> $name<T> {
            /// Takes an item out; waits while there is none.
            ///
            /// # Errors
            /// [`Fault::Shutdown`](super::Fault::Shutdown); an item that is not of the type is
            /// [`ManagerError::Decode`], and gone.
            pub fn get(&self) -> Result<T> {
                get(&self.proxy, None)
            }

            /// As [`get`](Self::get), waiting at most for `timeout`.
            ///
            /// # Errors
            /// [`Fault::Empty`](super::Fault::Empty), and as [`get`](Self::get).
            pub fn get_timeout(&self, timeout: Duration) -> Result<T> {
                get(&self.proxy, Some(timeout))
            }

            /// As [`get`](Self::get), if there is an item now.
            ///
            /// # Errors
            /// As [`get_timeout`](Self::get_timeout).
            pub fn try_get(&self) -> Result<T> {
                self.get_timeout(Duration::ZERO)
            }

            /// As [`get`](Self::get), without blocking the thread.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            ///
            /// # Cancel safety
            /// Dropped, it leaves the item with the queue.
            pub fn get_async(&self) -> Pending<T> {
                let proxy = self.proxy.clone();
                let call = Ok(Call::Queue(QueueCall::Get { kept: true }));
                Pending::begin(&self.proxy, call, None, move |answer| keep(&proxy, answer))
            }
        }
    };
}

queue_calls!(QueueProxy);
queue_calls!(JoinableQueueProxy);

impl<T> JoinableQueueProxy<T> {
    calls! {
        /// Says that an item which was got is finished.
        /// [`Fault::TooManyDone`](super::Fault::TooManyDone) when none is unfinished.
        task_done task_done_async(_proxy) -> () { Call::Queue(QueueCall::TaskDone) => done }

        /// Waits until every item that was put is finished.
        join join_async(_proxy) -> () { Call::Queue(QueueCall::Join) => done }
    }

    /// As [`join`](Self::join), at most for `timeout`: whether all are finished.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        match self.proxy.call(Call::Queue(QueueCall::Join), Some(timeout))? {
            Reply::Bool(is_done) => Ok(is_done),
            answer => done(answer).map(|()| true),
        }
    }
}

fn put<T: Serialize>(proxy: &Proxy, item: T, patience: Patience) -> Result<(), Unput<T>> {
    let call = |item: Stored| proxy.call(Call::Queue(QueueCall::Put(item)), patience);
    let put = proxy.encode(&item).and_then(call).and_then(done);
    put.map_err(|why| Unput { item, why })
}

fn get<T: DeserializeOwned>(proxy: &Proxy, patience: Patience) -> Result<T> {
    // The way to another tree can break under the answer: the item stays the queue's until it
    // is known to be here.
    let kept = proxy.is_far();
    keep(proxy, proxy.call(Call::Queue(QueueCall::Get { kept }), patience)?)
}

/// Says that an item has come, if the queue wants to know, and gives it.
fn keep<T: DeserializeOwned>(proxy: &Proxy, answer: Answer) -> Result<T> {
    match answer {
        Reply::Item { item, kept, .. } => {
            if let Some(number) = kept {
                proxy.tell(Call::Queue(QueueCall::Kept(number)))?;
            }
            Ok(item.decode()?)
        }
        Reply::Fault(fault) => Err(fault.into()),
        _ => Err(ManagerError::Unexpected),
    }
}
