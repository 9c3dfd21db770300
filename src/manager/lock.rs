//! Locks, semaphores, conditions, events and barriers at a manager.
//!
//! Owns the typed calls and the guards. Dropping a guard never waits. A client's death
//! frees what it held; who gets that next is told.

use super::proxy::{Answer, Pending, Result, boolean, calls, done, number, proxy};
use crate::function::Function;
use crate::sync::wait_for;
use procession_protocols::manager::{BarrierCall, Call, EventCall, LockCall, Reply, SemaphoreCall};
use procession_runtime::manager::{ManagerError, Patience, Proxy, Stored};
use procession_runtime::sync::after;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A lock or permit that was got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// From somebody who gave it back, or nobody.
    Clean,
    /// It belonged to a process that ended with it.
    AfterDeath,
}

proxy! {
    /// A lock at a [`Manager`](crate::Manager), as `manager.Lock()` in Python. Not
    /// recursive; anybody may release it.
    ///
    /// When a process ends with it, the next who asks gets it and [is told](Got::AfterDeath);
    /// or somebody who knows, its parent for example, releases it.
    LockProxy
}

proxy! {
    /// A lock that its holder, a thread, may take again; as `manager.RLock()` in Python.
    RLockProxy
}

proxy! {
    /// A semaphore at a [`Manager`](crate::Manager). The permits of a process that ended go
    /// to those who ask when there are no others; or somebody gives them back.
    SemaphoreProxy
}

proxy! {
    /// A [`SemaphoreProxy`] whose value never rises above the first one:
    /// [`Fault::TooManyReleases`](super::Fault::TooManyReleases).
    BoundedSemaphoreProxy
}

proxy! {
    /// An event at a [`Manager`](crate::Manager).
    EventProxy
}

/// A lock that is held until this is dropped; a recursive one in the thread that took it, whose
/// it stays when that is another.
#[must_use = "the lock is given back when the guard is dropped"]
#[derive(Debug)]
pub struct Guard {
    proxy: Proxy,
    release: fn() -> Call<Stored>,
    got: Got,
}

impl Guard {
    /// Whether it belonged to a process that ended with it.
    pub fn got(&self) -> Got {
        self.got
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A manager that is gone has no lock either. The lock is the thread's that drops
        // the guard, which for one that is recursive has to be the thread that took it.
        let _ = self.proxy.tell((self.release)());
    }
}

macro_rules! acquirer {
    ($name:ident, $acquire:expr, $release:expr, $is_locked:expr) => {
        impl $name {
            calls! {
                /// Gives it back.
                release release_async(_proxy) -> () { $release => done }

                /// Whether none is to be had now.
                locked locked_async(_proxy) -> bool { $is_locked => boolean }
            }

            /// Waits until it is the caller's.
            ///
            /// # Errors
            /// [`ManagerError`].
            pub fn acquire(&self) -> Result<Got> {
                acquired(self.proxy.call($acquire, None)?)?.ok_or(ManagerError::Unexpected)
            }

            /// As [`acquire`](Self::acquire), at most for `timeout`; `None` when that was
            /// not enough.
            ///
            /// # Errors
            /// [`ManagerError`].
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Got>> {
                acquired(self.proxy.call($acquire, Some(timeout))?)
            }

            /// As [`acquire`](Self::acquire), if it is to be had now.
            ///
            /// # Errors
            /// [`ManagerError`].
            pub fn try_acquire(&self) -> Result<Option<Got>> {
                self.acquire_timeout(Duration::ZERO)
            }

            /// As [`acquire`](Self::acquire), without blocking the thread.
            ///
            /// # Errors
            /// [`ManagerError`].
            ///
            /// # Cancel safety
            /// Dropped, it holds nothing.
            pub fn acquire_async(&self) -> Pending<Got> {
                Pending::begin(&self.proxy, Ok($acquire), None, |answer| {
                    acquired(answer)?.ok_or(ManagerError::Unexpected)
                })
            }

            /// Waits until it is the caller's, and gives it back when the guard is dropped.
            ///
            /// # Errors
            /// [`ManagerError`].
            pub fn lock(&self) -> Result<Guard> {
                let got = self.acquire()?;
                Ok(Guard { proxy: self.proxy.clone(), release: || $release, got })
            }
        }
    };
}

acquirer!(
    LockProxy,
    Call::Lock(LockCall::Acquire),
    Call::Lock(LockCall::Release),
    Call::Lock(LockCall::IsLocked)
);
acquirer!(
    RLockProxy,
    Call::Lock(LockCall::Acquire),
    Call::Lock(LockCall::Release),
    Call::Lock(LockCall::IsLocked)
);
acquirer!(
    SemaphoreProxy,
    Call::Semaphore(SemaphoreCall::Acquire),
    Call::Semaphore(SemaphoreCall::Release(1)),
    Call::Semaphore(SemaphoreCall::IsLocked)
);
acquirer!(
    BoundedSemaphoreProxy,
    Call::Semaphore(SemaphoreCall::Acquire),
    Call::Semaphore(SemaphoreCall::Release(1)),
    Call::Semaphore(SemaphoreCall::IsLocked)
);

fn acquired(answer: Answer) -> Result<Option<Got>> {
    match answer {
        Reply::Acquired { after_death: false } => Ok(Some(Got::Clean)),
        Reply::Acquired { after_death: true } => Ok(Some(Got::AfterDeath)),
        Reply::Bool(false) => Ok(None),
        _ => Err(ManagerError::Unexpected),
    }
}

impl EventProxy {
    calls! {
        /// Whether it is set.
        is_set is_set_async(_proxy) -> bool { Call::Event(EventCall::IsSet) => boolean }

        /// Sets it: all who wait go on.
        set set_async(_proxy) -> () { Call::Event(EventCall::Set) => done }

        /// Takes it back.
        clear clear_async(_proxy) -> () { Call::Event(EventCall::Clear) => done }

        /// Waits until it is set.
        wait wait_async(_proxy) -> bool { Call::Event(EventCall::Wait) => boolean }
    }

    /// As [`wait`](Self::wait), at most for `timeout`: whether it is set.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        boolean(self.proxy.call(Call::Event(EventCall::Wait), Some(timeout))?)
    }
}

/// A condition at a [`Manager`](crate::Manager), with a lock of its own or on one that is
/// there already.
///
/// Whoever waits or notifies holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionProxy {
    lock: Proxy,
    number: u32,
}

impl ConditionProxy {
    /// Makes one on a lock.
    pub(super) fn on(lock: Proxy) -> Result<Self> {
        let number = number(lock.call(Call::Lock(LockCall::Condition), None)?)?;
        let number = u32::try_from(number).map_err(|_| ManagerError::Unexpected)?;
        Ok(Self { lock, number })
    }

    /// The lock of the condition.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn acquire(&self) -> Result<Got> {
        RLockProxy::of(self.lock.clone()).acquire()
    }

    /// As [`acquire`](Self::acquire), at most for `timeout`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Got>> {
        RLockProxy::of(self.lock.clone()).acquire_timeout(timeout)
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// [`Fault::NotOwner`](super::Fault::NotOwner), [`Fault::NotHeld`](super::Fault::NotHeld).
    pub fn release(&self) -> Result<()> {
        RLockProxy::of(self.lock.clone()).release()
    }

    /// Takes the lock, and gives it back when the guard is dropped.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn lock(&self) -> Result<Guard> {
        RLockProxy::of(self.lock.clone()).lock()
    }

    /// Whether anybody holds the lock.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn locked(&self) -> Result<bool> {
        RLockProxy::of(self.lock.clone()).locked()
    }

    /// Gives the lock up, waits to be notified, and takes the lock again.
    ///
    /// # Errors
    /// [`Fault::NotOwner`](super::Fault::NotOwner) without the lock.
    pub fn wait(&self) -> Result<()> {
        self.wait_until(None).map(drop)
    }

    /// As [`wait`](Self::wait), at most for `timeout` and until the lock is had again:
    /// whether it was notified.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.wait_until(Some(timeout))
    }

    fn wait_until(&self, patience: Patience) -> Result<bool> {
        // Beyond its time it waits for the lock, for as long as that takes.
        boolean(self.lock.call_to_the_end(Call::Lock(LockCall::Wait(self.number)), patience)?)
    }

    /// Waits until `is_so`, at most for `timeout` if there is one: whether it is.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for(&self, is_so: impl FnMut() -> bool, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(after);
        let left = || deadline.map(|at| at.saturating_duration_since(Instant::now()));
        wait_for(deadline, is_so, || self.wait_until(left()))
    }

    /// Wakes one of those who wait.
    ///
    /// # Errors
    /// [`Fault::NotOwner`](super::Fault::NotOwner) without the lock.
    pub fn notify(&self) -> Result<()> {
        self.notify_some(1)
    }

    /// Wakes so many of those who wait.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn notify_some(&self, count: u64) -> Result<()> {
        done(self.lock.call(Call::Lock(LockCall::Notify(self.number, count)), None)?)
    }

    /// Wakes all who wait.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn notify_all(&self) -> Result<()> {
        self.notify_some(u64::MAX)
    }
}

/// A barrier at a [`Manager`](crate::Manager). A party that dies, or whose time is up,
/// breaks it: [`Fault::Broken`](super::Fault::Broken).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BarrierProxy {
    proxy: Proxy,
    parties: u32,
    action: Option<Function<(), ()>>,
}

impl BarrierProxy {
    calls! {
        /// Breaks it, for those who wait and those who come.
        abort abort_async(_proxy) -> () { Call::Barrier(BarrierCall::Abort) => done }

        /// Makes it new; those who wait find it broken.
        reset reset_async(_proxy) -> () { Call::Barrier(BarrierCall::Reset) => done }

        /// How many of them wait.
        n_waiting n_waiting_async(_proxy) -> usize {
            Call::Barrier(BarrierCall::State) => |answer| Ok(state(answer)?.0)
        }

        /// Whether it is broken.
        broken broken_async(_proxy) -> bool {
            Call::Barrier(BarrierCall::State) => |answer| Ok(state(answer)?.1)
        }
    }

    pub(super) fn new(proxy: Proxy, parties: u32, action: Option<Function<(), ()>>) -> Self {
        Self { proxy, parties, action }
    }

    /// How many meet.
    pub fn parties(&self) -> u32 {
        self.parties
    }

    /// Comes, and waits for the others: the place in which it came, from 0. With an action,
    /// the last one runs it before anybody passes; if it panics, the barrier is broken.
    ///
    /// # Errors
    /// [`Fault::Broken`](super::Fault::Broken).
    pub fn wait(&self) -> Result<usize> {
        self.passed(self.proxy.call(Call::Barrier(BarrierCall::Wait), None)?)
    }

    /// As [`wait`](Self::wait), at most for `timeout`, which breaks the barrier.
    ///
    /// # Errors
    /// [`Fault::Broken`](super::Fault::Broken).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize> {
        self.passed(self.proxy.call(Call::Barrier(BarrierCall::Wait), Some(timeout))?)
    }

    /// As [`wait`](Self::wait), without blocking the thread, but for the action.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// Dropped while others wait, it breaks the barrier.
    pub fn wait_async(&self) -> Pending<usize> {
        let this = self.clone();
        let call = Ok(Call::Barrier(BarrierCall::Wait));
        Pending::begin(&self.proxy, call, None, move |answer| this.passed(answer))
    }

    fn passed(&self, answer: Answer) -> Result<usize> {
        /// An action that panics leaves nobody waiting.
        struct Breaks<'a>(&'a Proxy);
        impl Drop for Breaks<'_> {
            fn drop(&mut self) {
                let _ = self.0.tell(Call::Barrier(BarrierCall::Abort));
            }
        }
        let (Reply::Act, Some(action)) = (&answer, &self.action) else { return number(answer) };
        let breaks = Breaks(&self.proxy);
        action.call(());
        std::mem::forget(breaks);
        self.proxy.tell(Call::Barrier(BarrierCall::Acted))?;
        Ok(self.parties as usize - 1)
    }
}

fn state(answer: Answer) -> Result<(usize, bool)> {
    match answer {
        Reply::Barrier { waiting, is_broken, .. } => Ok((waiting as usize, is_broken)),
        _ => Err(ManagerError::Unexpected),
    }
}
