//! `Condition`.
//!
//! Owns the order of a wait: enter among the sleepers with the lock held, give the lock
//! back, sleep, take the lock, leave. Who dies on the way passes its notification on.

use super::{Lock, RLock, SyncError, SyncResult};
use procession_runtime::sync::after;
use procession_runtime::words::{self, Death, Held};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

/// Sleepers that are notified, under a lock; as Python's `multiprocessing.Condition`.
///
/// Each notification wakes exactly one of those who waited when it was given, the longest
/// waiter first; none is stolen, and there are no spurious wake-ups. One whose process dies
/// before it has the lock again passes it on.
///
/// ```
/// use procession::{Condition, Process};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cond = Condition::new()?;
/// let mut guard = cond.lock()?;
/// let mut child = Process::spawn(
///     |cond: Condition| {
///         let guard = cond.lock().unwrap();
///         guard.notify().unwrap();
///     },
///     (cond.clone(),),
/// )?;
/// guard.wait()?;
/// drop(guard);
/// child.join()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Condition {
    lock: ConditionLock,
    sleepers: words::Condition,
}

/// The lock of a condition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ConditionLock {
    /// A plain one.
    Lock(Lock),
    /// A recursive one. A wait gives it back altogether, and takes it as often again.
    RLock(RLock),
}

impl From<Lock> for ConditionLock {
    fn from(lock: Lock) -> Self {
        Self::Lock(lock)
    }
}

impl From<RLock> for ConditionLock {
    fn from(lock: RLock) -> Self {
        Self::RLock(lock)
    }
}

/// A condition whose lock is held until this is dropped. It stays with its thread.
#[must_use = "the lock is given back when the guard is dropped"]
#[derive(Debug)]
pub struct CondGuard<'a> {
    cond: &'a Condition,
    held: Held,
    /// Those who are to be woken when the lock is free, which they need.
    notified: RefCell<Option<words::Notified<'a>>>,
    /// Not to be sent to another thread.
    thread: PhantomData<MutexGuard<'static, ()>>,
}

impl Condition {
    /// Makes one with a recursive lock of its own, as Python does. This process owns it.
    ///
    /// # Errors
    /// [`SyncError::Io`]: no memory or descriptor is free, or this process owns
    /// [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub fn new() -> SyncResult<Self> {
        Self::with(RLock::new()?)
    }

    /// Makes one with a lock that exists.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(lock: impl Into<ConditionLock>) -> SyncResult<Self> {
        Ok(Self { lock: lock.into(), sleepers: words::Condition::new()? })
    }

    /// The lock.
    pub fn get_lock(&self) -> &ConditionLock {
        &self.lock
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// As [`RLock::acquire`] or [`Lock::acquire`].
    pub fn acquire(&self) -> SyncResult<super::Acquired> {
        match &self.lock {
            ConditionLock::Lock(lock) => lock.acquire(),
            ConditionLock::RLock(lock) => lock.acquire(),
        }
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// As [`RLock::release`] or [`Lock::release`].
    pub fn release(&self) -> SyncResult<()> {
        match &self.lock {
            ConditionLock::Lock(lock) => lock.release(),
            ConditionLock::RLock(lock) => lock.release(),
        }
    }

    /// Takes the lock for as long as the guard lives.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn lock(&self) -> SyncResult<CondGuard<'_>> {
        let held = self.lock.take()?;
        Ok(CondGuard { cond: self, held, notified: RefCell::default(), thread: PhantomData })
    }

    /// Takes the lock, which must be a [`Lock`], without blocking a thread.
    ///
    /// # Errors
    /// [`SyncError::Invalid`] with a recursive lock, which belongs to a thread;
    /// [`SyncError::OwnerGone`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it does not take the lock.
    pub async fn acquire_async(&self) -> SyncResult<super::Acquired> {
        self.lock.plain()?.acquire_async().await
    }

    /// Waits to be notified. The calling thread holds the lock, gives it back while it
    /// waits, and holds it again at the end.
    ///
    /// # Errors
    /// [`SyncError::NotOwner`] without the lock; [`SyncError::OwnerGone`].
    pub fn wait(&self) -> SyncResult<()> {
        self.wait_until(None).map(|_| ())
    }

    /// As [`wait`](Self::wait), but waits at most so long to be notified. False when the
    /// time was up.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> SyncResult<bool> {
        self.wait_until(after(timeout))
    }

    /// Waits until it is so. `is_so` is asked with the lock held, at once and after each
    /// notification.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for(&self, is_so: impl FnMut() -> bool) -> SyncResult<()> {
        wait_for(None, is_so, || self.wait_until(None)).map(|_| ())
    }

    /// As [`wait_for`](Self::wait_for), but waits at most so long. Whether it is so.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for_timeout(
        &self,
        timeout: Duration,
        is_so: impl FnMut() -> bool,
    ) -> SyncResult<bool> {
        let deadline = after(timeout);
        wait_for(deadline, is_so, || self.wait_until(deadline))
    }

    /// Notifies the one that has waited longest, if any waits. It wakes at once, and then
    /// waits for the lock, which the caller has still: [`CondGuard::notify`] has it wake when
    /// the guard gives the lock back, which is sooner for both. Never waits, so that a task
    /// that has taken the lock by [`acquire_async`](Self::acquire_async) calls it as well.
    ///
    /// # Errors
    /// [`SyncError::NotOwner`] when neither the calling thread nor a task of this process
    /// holds the lock; [`SyncError::OwnerGone`].
    pub fn notify(&self) -> SyncResult<()> {
        self.notify_n(1)
    }

    /// Notifies so many, those who have waited longest, or all if fewer wait.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn notify_n(&self, count: u32) -> SyncResult<()> {
        self.notified(count).map(drop)
    }

    /// Notifies all who wait.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn notify_all(&self) -> SyncResult<()> {
        self.notify_n(u32::MAX)
    }

    /// How many wait and have not been notified.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn waiting(&self) -> SyncResult<usize> {
        Ok(self.sleepers.waiting()?)
    }

    /// Waits to be notified without blocking a thread. The caller holds the lock, which
    /// must be a [`Lock`], and holds it again at the end; in between any thread may drive
    /// this on.
    ///
    /// # Errors
    /// [`SyncError::NotOwner`] when nobody in this process holds the lock;
    /// [`SyncError::Invalid`] with a recursive lock, which belongs to a thread;
    /// [`SyncError::OwnerGone`].
    ///
    /// # Cancel safety
    /// Dropped, it passes a notification on, and **the lock is not held**.
    pub async fn wait_async(&self) -> SyncResult<()> {
        let lock = self.lock.plain()?;
        if !lock.inner().is_ours()? {
            return Err(SyncError::NotOwner);
        }
        let mut entered = self.sleepers.enter_async().await?;
        let paused = lock.inner().pause()?;
        lock.release()?;
        let notified = entered.sleep_async().await;
        let again = lock.inner().acquire_again_async(paused).await?;
        lock.inner().resume(paused, again)?;
        notified?;
        entered.leave();
        Ok(())
    }

    /// Waits until it is so, without blocking a thread: [`wait_async`](Self::wait_async) as often
    /// as it takes. `is_so` is asked with the lock held, at once and after each notification.
    ///
    /// # Errors
    /// As [`wait_async`](Self::wait_async).
    ///
    /// # Cancel safety
    /// As [`wait_async`](Self::wait_async): dropped in a wait, **the lock is not held**.
    pub async fn wait_for_async(&self, mut is_so: impl FnMut() -> bool) -> SyncResult<()> {
        while !is_so() {
            self.wait_async().await?;
        }
        Ok(())
    }

    fn notified(&self, count: u32) -> SyncResult<words::Notified<'_>> {
        let may = match &self.lock {
            ConditionLock::Lock(lock) => lock.inner().is_mine_or_a_tasks()?,
            ConditionLock::RLock(_) => self.lock.is_mine()?,
        };
        if !may {
            return Err(SyncError::NotOwner);
        }
        Ok(self.sleepers.notify(count)?)
    }

    fn wait_until(&self, deadline: Option<Instant>) -> SyncResult<bool> {
        Ok(self.wait_having(deadline, || ())?.0)
    }

    /// Waits; does something as soon as the lock is free. Gives whether it was notified, and
    /// the lock, held again.
    fn wait_having(
        &self,
        deadline: Option<Instant>,
        released: impl FnOnce(),
    ) -> SyncResult<(bool, Held)> {
        if !self.lock.is_mine()? {
            return Err(SyncError::NotOwner);
        }
        let mut entered = self.sleepers.enter()?;
        let paused = self.lock.give_all()?;
        released();
        let notified = entered.sleep(deadline);
        // Also when the sleepers' owner has ended: the caller has the lock, as before.
        let held = self.lock.take_again(paused)?;
        let notified = notified?;
        entered.leave();
        Ok((notified, held))
    }
}

impl ConditionLock {
    fn plain(&self) -> SyncResult<&Lock> {
        match self {
            Self::Lock(lock) => Ok(lock),
            Self::RLock(_) => Err(SyncError::Invalid("a recursive lock belongs to a thread")),
        }
    }

    fn is_mine(&self) -> SyncResult<bool> {
        Ok(match self {
            Self::Lock(lock) => lock.inner().is_mine()?,
            Self::RLock(lock) => lock.inner().is_mine()?,
        })
    }

    /// Gives it back altogether; gives what was held and, for a recursive one, how often.
    fn give_all(&self) -> SyncResult<(Held, u32)> {
        match self {
            Self::Lock(lock) => {
                let held = lock.inner().pause()?;
                lock.release().map(|()| (held, 1))
            }
            Self::RLock(lock) => {
                let held = lock.inner().pause()?;
                let depth = lock.inner().release_all()?.map_err(|_| SyncError::NotOwner)?;
                Ok((held, depth))
            }
        }
    }

    fn take(&self) -> SyncResult<Held> {
        Ok(match self {
            Self::Lock(lock) => lock.inner().acquire()?,
            Self::RLock(lock) => lock.inner().acquire()?,
        })
    }

    /// Takes it as it was before: guards that there were of it are its guards again.
    fn take_again(&self, (held, depth): (Held, u32)) -> SyncResult<Held> {
        let again = self.take()?;
        Ok(match self {
            Self::Lock(lock) => lock.inner().resume(held, again)?,
            Self::RLock(lock) => {
                lock.inner().set_depth(depth)?;
                lock.inner().resume(held, again)?
            }
        })
    }

    fn death(&self, held: Held) -> Option<Death> {
        match self {
            Self::Lock(lock) => lock.inner().death(held),
            Self::RLock(lock) => lock.inner().death(held),
        }
    }

    fn give(&self, held: Held) {
        match self {
            Self::Lock(lock) => lock.inner().release_held(held),
            Self::RLock(lock) => lock.inner().release_held(held),
        }
    }
}

/// Waits by `wait` until it is so; false when the deadline passed first.
pub(crate) fn wait_for<E>(
    deadline: Option<Instant>,
    mut is_so: impl FnMut() -> bool,
    mut wait: impl FnMut() -> Result<bool, E>,
) -> Result<bool, E> {
    loop {
        if is_so() {
            return Ok(true);
        }
        // One more look after the last wait: it may have become so just then.
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
        wait()?;
    }
}

impl CondGuard<'_> {
    /// Who held the lock before and died with it, if that was so when it was taken, first or
    /// after a wait: the last one.
    pub fn previous_holder(&self) -> Option<Death> {
        self.cond.lock.death(self.held)
    }

    /// See [`Condition::wait`].
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`]; [`SyncError::NotOwner`] when somebody else has given the
    /// lock back.
    pub fn wait(&mut self) -> SyncResult<()> {
        self.wait_until(None).map(|_| ())
    }

    /// See [`Condition::wait_timeout`].
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> SyncResult<bool> {
        self.wait_until(after(timeout))
    }

    /// See [`Condition::wait_for`].
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for(&mut self, is_so: impl FnMut() -> bool) -> SyncResult<()> {
        wait_for(None, is_so, || self.wait_until(None)).map(|_| ())
    }

    /// See [`Condition::wait_for_timeout`].
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for_timeout(
        &mut self,
        timeout: Duration,
        is_so: impl FnMut() -> bool,
    ) -> SyncResult<bool> {
        let deadline = after(timeout);
        wait_for(deadline, is_so, || self.wait_until(deadline))
    }

    /// As [`Condition::notify`]; the waiter wakes when the guard gives the lock back, at its
    /// end or in a wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn notify(&self) -> SyncResult<()> {
        self.notify_n(1)
    }

    /// See [`Condition::notify_n`].
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn notify_n(&self, count: u32) -> SyncResult<()> {
        let mut notified = self.cond.notified(count)?;
        if let Some(before) = self.notified.borrow_mut().take() {
            notified.join(before);
        }
        self.notified.replace(Some(notified));
        Ok(())
    }

    /// See [`Condition::notify_all`].
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn notify_all(&self) -> SyncResult<()> {
        self.notify_n(u32::MAX)
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> SyncResult<bool> {
        let wake = || drop(self.notified.take());
        let (notified, held) = self.cond.wait_having(deadline, wake)?;
        if self.cond.lock.death(held).is_some() {
            self.held = held;
        }
        Ok(notified)
    }
}

impl Drop for CondGuard<'_> {
    fn drop(&mut self) {
        self.cond.lock.give(self.held);
        // Now, not before, `notified` is dropped.
    }
}

/// As Python's: the lock, and how many wait.
impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lock: &dyn fmt::Debug = match &self.lock {
            ConditionLock::Lock(lock) => lock,
            ConditionLock::RLock(lock) => lock,
        };
        match self.sleepers.waiting() {
            Ok(waiting) => write!(f, "Condition({lock:?}, {waiting})"),
            Err(_) => write!(f, "Condition({lock:?}, unknown)"),
        }
    }
}
