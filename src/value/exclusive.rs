//! `ExclusiveArray`: values that are a slice for whoever holds their lock.
//!
//! Owns memory and lock in a way that nobody can go round: neither is ever handed out, by a
//! call or by a message that is read as another type; the lock is not recursive and says
//! which memory is its own; and a guard can neither be sent to another thread nor to a copy
//! of its process. That is what makes a safe slice of shared memory sound; it must stay so
//! whatever is added here. Neighbours: `array.rs` has the lock for everybody.

use super::ValueError;
use crate::sync::SyncError;
use procession_runtime::memory::{self, Alone, Memory, Plain, SharedCells};
use procession_runtime::share::ShareError;
use procession_runtime::sync::after;
use procession_runtime::words::{Death, Held, PrivateLock};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A row of values in shared memory with a lock of its own, whose guard is a slice.
///
/// All that works on slices works on it, at the speed of memory of this process. The price:
/// every use takes the lock, which is not recursive (a thread that holds it and wants it
/// again waits for itself) and cannot be had alone.
///
/// ```
/// use procession::{ExclusiveArray, Process};
///
/// fn sort(array: ExclusiveArray<u64>) {
///     array.lock().unwrap().sort_unstable();
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let array = ExclusiveArray::new([3, 1, 2])?;
/// Process::spawn(sort, (array.clone(),))?.result()?;
/// assert_eq!(array.lock()?[..], [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = "T: Plain"))]
pub struct ExclusiveArray<T> {
    memory: Memory<T, true>,
    lock: PrivateLock,
    /// The lock has said that this memory is its own.
    #[serde(skip)]
    is_pair: AtomicBool,
}

/// The values, for as long as the lock is held.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct ExclusiveGuard<'a, T> {
    cells: SharedCells<'a, T>,
    lock: &'a PrivateLock,
    held: Held,
    /// Neither to be sent nor shared: a forked process could have what its parent still has.
    thread: PhantomData<*const ()>,
}

impl<T: Plain> ExclusiveArray<T> {
    /// A shared row of these values.
    ///
    /// # Errors
    /// When there is no memory or descriptor for it.
    pub fn new(values: impl IntoIterator<Item = T>) -> Result<Self, ValueError> {
        let values: Vec<T> = values.into_iter().collect();
        let new = Self::zeroed(values.len())?;
        new.lock()?.copy_from_slice(&values);
        Ok(new)
    }

    /// A shared row of `len` values of which all bytes are 0.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn zeroed(len: usize) -> Result<Self, ValueError> {
        let memory = Memory::new(len)?;
        let lock = PrivateLock::of(&memory)?;
        Ok(Self { memory, lock, is_pair: AtomicBool::new(false) })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    /// Holds the lock: the values, as a slice.
    ///
    /// # Errors
    /// [`ValueError::Sync`] when the owner has ended; [`ValueError::Share`] when it was not
    /// used here before and its owner has ended.
    #[inline]
    pub fn lock(&self) -> Result<ExclusiveGuard<'_, T>, ValueError> {
        let cells = self.memory.cells()?;
        self.guard(cells, self.lock.acquire().map_err(SyncError::from)?)
    }

    /// As [`lock`](Self::lock), waiting at most so long. `None` when the time was up.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<ExclusiveGuard<'_, T>>, ValueError> {
        let cells = self.memory.cells()?;
        let held = self.lock.acquire_until(after(timeout)).map_err(SyncError::from)?;
        held.map(|held| self.guard(cells, held)).transpose()
    }

    /// As [`lock`](Self::lock), for any executor. The guard stays with its thread, so the
    /// task that holds it must as well.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it does not take the lock.
    pub async fn lock_async(&self) -> Result<ExclusiveGuard<'_, T>, ValueError> {
        let cells = self.memory.cells_async().await?;
        self.guard(cells, self.lock.take_async().await.map_err(SyncError::from)?)
    }

    #[inline]
    fn guard<'a>(
        &'a self,
        cells: SharedCells<'a, T>,
        held: Held,
    ) -> Result<ExclusiveGuard<'a, T>, ValueError> {
        let guard = ExclusiveGuard { cells, lock: &self.lock, held, thread: PhantomData };
        if !self.is_pair.load(Ordering::Relaxed) {
            self.pair()?;
        }
        Ok(guard)
    }

    /// Makes sure, once, that no message has put memory and lock together.
    #[cold]
    fn pair(&self) -> Result<(), ValueError> {
        if !self.lock.is_of(&self.memory).map_err(SyncError::from)? {
            return Err(ShareError::OtherKind { found: "the lock of other memory".into() }.into());
        }
        self.is_pair.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl<T: Plain> ExclusiveGuard<'_, T> {
    /// Who held the lock before and died with it, if that was so. What the slice holds may
    /// be half done then.
    pub fn previous_holder(&self) -> Option<Death> {
        self.lock.death(self.held)
    }
}

impl<T> Drop for ExclusiveGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.release_held(self.held);
    }
}

// SAFETY: the cells are those of a private memory, which is reached only by `lock` and its
// like, for it is of a kind that no other handle has; each gives out a guard of the memory's
// private lock, of which `pair` made sure, which is not recursive and is given back only by
// the guard's drop. The guard stays in its process and thread.
#[allow(unsafe_code, reason = "the promise that makes slices sound; there is no unsafe block")]
unsafe impl<T: Plain> Alone for ExclusiveGuard<'_, T> {
    type Item = T;

    #[inline]
    fn cells(&self) -> SharedCells<'_, T> {
        self.cells
    }
}

impl<T: Plain> Deref for ExclusiveGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        memory::slice(self)
    }
}

impl<T: Plain> DerefMut for ExclusiveGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        memory::slice_mut(self)
    }
}

impl<T> Clone for ExclusiveArray<T> {
    fn clone(&self) -> Self {
        let is_pair = AtomicBool::new(self.is_pair.load(Ordering::Relaxed));
        Self { memory: self.memory.clone(), lock: self.lock.clone(), is_pair }
    }
}

impl<T> fmt::Debug for ExclusiveArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExclusiveArray")
            .field("memory", &self.memory)
            .field("lock", &self.lock)
            .finish_non_exhaustive()
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for ExclusiveGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
