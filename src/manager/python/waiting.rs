//! Queues, locks, semaphores, conditions, events and barriers of a Python program's manager.
//!
//! Owns their methods, under the names that those of our own managers have. A thread of this
//! program is a thread there. Dropping a guard never waits.

use super::proxy::{calls, kinds};
use super::{PythonError, PythonProxy, Result};
use crate::manager::Unput;
use crate::sync::wait_for;
use procession_runtime::sync::after;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::{Duration, Instant};

kinds! {
    /// A queue at a [`PythonManager`](super::PythonManager); each is a joinable one as well.
    PythonQueue<T>;
    /// A lock at a [`PythonManager`](super::PythonManager). If it is a recursive one, the
    /// thread that took it releases it.
    ///
    /// Who dies with it leaves it locked: a Python manager does not see that.
    PythonLock;
    /// A semaphore, bounded or not, at a [`PythonManager`](super::PythonManager).
    PythonSemaphore;
    /// A condition at a [`PythonManager`](super::PythonManager). Whoever waits or notifies
    /// holds its lock.
    PythonCondition;
    /// An event at a [`PythonManager`](super::PythonManager).
    PythonEvent;
    /// A barrier at a [`PythonManager`](super::PythonManager). Broken, it says
    /// [`Fault::Broken`](crate::manager::Fault::Broken).
    PythonBarrier;
}

impl<T> PythonQueue<T> {
    calls! {
        /// How many items there are.
        qsize() -> usize = "qsize"();
        /// Whether it has no items.
        is_empty() -> bool = "empty"();
        /// Whether it has as many items as it may have.
        is_full() -> bool = "full"();
        /// Says that an item which was got is finished.
        /// [`Fault::TooManyDone`](crate::manager::Fault::TooManyDone) when none is unfinished.
        task_done() -> () = "task_done"();
        /// Waits until every item that was put is finished.
        join() -> () = "join"();
        /// Shuts it down: puts fail from now on, gets when nothing is left; with `immediate`
        /// nothing is. Since Python 3.13.
        shutdown(immediate: bool) -> () = "shutdown"(immediate);
    }
}

impl<T: Serialize> PythonQueue<T> {
    /// Puts an item; waits while the queue is full.
    ///
    /// # Errors
    /// [`Unput`] gives it back.
    pub fn put(&self, item: T) -> Result<(), Unput<T, PythonError>> {
        let put = self.proxy.call("put", (&item,));
        put.map_err(|why| Unput { item, why })
    }

    /// As [`put`](Self::put), waiting for a place at most for `timeout`.
    ///
    /// # Errors
    /// [`Fault::Full`](crate::manager::Fault::Full), and as [`put`](Self::put).
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), Unput<T, PythonError>> {
        let put = self.proxy.call_within(timeout, "put", (&item, true, timeout.as_secs_f64()));
        put.map_err(|why| Unput { item, why })
    }

    /// As [`put`](Self::put), if there is a place now.
    ///
    /// # Errors
    /// As [`put_timeout`](Self::put_timeout).
    pub fn try_put(&self, item: T) -> Result<(), Unput<T, PythonError>> {
        let put = self.proxy.call_within(Duration::ZERO, "put", (&item, false));
        put.map_err(|why| Unput { item, why })
    }
}

impl<T> From<Unput<T, Self>> for PythonError {
    fn from(unput: Unput<T, Self>) -> Self {
        unput.why
    }
}

impl<T: DeserializeOwned> PythonQueue<T> {
    calls! {
        /// Takes an item out; waits while there is none. One that is not of the type is
        /// [`PythonError::Value`], and gone.
        get() -> T = "get"();
        /// As [`get`](Self::get), waiting at most for `timeout`:
        /// [`Fault::Empty`](crate::manager::Fault::Empty).
        get_timeout(timeout: Duration) -> T = "get"(true, timeout.as_secs_f64())
            within timeout;
        /// As [`get_timeout`](Self::get_timeout), if there is an item now.
        try_get() -> T = "get"(false) within Duration::ZERO;
    }
}

/// What is held until this is dropped, in the thread that took it.
#[must_use = "the lock is given back when the guard is dropped"]
#[derive(Debug)]
pub struct PythonGuard {
    proxy: PythonProxy,
    /// A recursive lock is the thread's.
    stays: PhantomData<Rc<()>>,
}

impl Drop for PythonGuard {
    fn drop(&mut self) {
        // Without a connection the manager is gone, or the thread was another one to it.
        self.proxy.tell("release");
    }
}

/// What is acquired and released.
macro_rules! acquirers {
    ($($name:ident)*) => {$(
        impl $name {
            calls! {
                /// Gives it back.
                release() -> () = "release"();
                /// Whether none is to be had now. Since Python 3.14.
                locked() -> bool = "locked"();
                /// As [`acquire`](Self::acquire), at most for `timeout`: whether it is the
                /// caller's.
                acquire_timeout(timeout: Duration) -> bool = "acquire"(true, timeout.as_secs_f64())
                    within timeout;
                /// As [`acquire`](Self::acquire), if it is to be had now: whether it is the
                /// caller's.
                try_acquire() -> bool = "acquire"(false) within Duration::ZERO;
            }

            /// Waits until it is the caller's.
            ///
            /// # Errors
            /// [`PythonError`].
            pub fn acquire(&self) -> Result<()> {
                match self.proxy.call("acquire", ())? {
                    true => Ok(()),
                    false => Err(PythonError::NoPython),
                }
            }

            /// Waits until it is the caller's, and gives it back when the guard is dropped.
            ///
            /// # Errors
            /// [`PythonError`].
            pub fn lock(&self) -> Result<PythonGuard> {
                self.acquire()?;
                Ok(PythonGuard { proxy: self.proxy.clone(), stays: PhantomData })
            }
        }
    )*};
}

acquirers! { PythonLock PythonSemaphore PythonCondition }

impl PythonCondition {
    calls! {
        /// As [`wait`](Self::wait), at most for `timeout` and until the lock is had again:
        /// whether it was notified.
        wait_timeout(timeout: Duration) -> bool = "wait"(timeout.as_secs_f64());
        /// Wakes one of those who wait.
        notify() -> () = "notify"();
        /// Wakes so many of those who wait.
        notify_some(count: u64) -> () = "notify"(count);
        /// Wakes all who wait.
        notify_all() -> () = "notify_all"();
    }

    /// Gives the lock up, waits to be notified, and takes the lock again.
    ///
    /// # Errors
    /// [`Fault::NotOwner`](crate::manager::Fault::NotOwner) without the lock.
    pub fn wait(&self) -> Result<()> {
        self.proxy.call::<bool>("wait", ()).map(drop)
    }

    /// Waits until `is_so`, at most for `timeout` if there is one: whether it is.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for(&self, is_so: impl FnMut() -> bool, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(after);
        wait_for(deadline, is_so, || match deadline {
            Some(at) => self.wait_timeout(at.saturating_duration_since(Instant::now())),
            None => self.proxy.call("wait", ()),
        })
    }
}

impl PythonEvent {
    calls! {
        /// Whether it is set.
        is_set() -> bool = "is_set"();
        /// Sets it: all who wait go on.
        set() -> () = "set"();
        /// Takes it back.
        clear() -> () = "clear"();
        /// Waits until it is set.
        wait() -> bool = "wait"();
        /// As [`wait`](Self::wait), at most for `timeout`: whether it is set.
        wait_timeout(timeout: Duration) -> bool = "wait"(timeout.as_secs_f64()) within timeout;
    }
}

impl PythonBarrier {
    calls! {
        /// Breaks it, for those who wait and those who come.
        abort() -> () = "abort"();
        /// Makes it new; those who wait find it broken.
        reset() -> () = "reset"();
        /// How many meet.
        parties() -> usize = "__getattribute__"("parties");
        /// How many of them wait.
        n_waiting() -> usize = "__getattribute__"("n_waiting");
        /// Whether it is broken.
        broken() -> bool = "__getattribute__"("broken");
        /// Comes, and waits for the others: the place in which it came, from 0.
        wait() -> usize = "wait"();
        /// As [`wait`](Self::wait), at most for `timeout`, which breaks the barrier.
        wait_timeout(timeout: Duration) -> usize = "wait"(timeout.as_secs_f64()) within timeout;
    }
}
