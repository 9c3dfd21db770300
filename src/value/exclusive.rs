//! `ExclusiveArray`: values that are a slice for whoever holds their lock.
//!
//! Owns memory and lock in a way that nobody can go round: neither is ever handed out, the
//! lock is not recursive, and a guard can neither be sent to another thread nor to a copy
//! of its process. That is what makes a safe slice of shared memory sound; it must stay so
//! whatever is added here. Neighbours: `array.rs` has the lock for everybody.

use super::ValueError;
use crate::sync::{Lock, LockGuard};
use procession_runtime::memory::{self, Alone, Memory, Plain, SharedCells};
use procession_runtime::words::Death;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
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
    memory: Memory<T>,
    lock: Lock,
}

/// The values, for as long as the lock is held.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct ExclusiveGuard<'a, T> {
    cells: SharedCells<'a, T>,
    held: LockGuard<'a>,
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
        Ok(Self { memory: Memory::new(len)?, lock: Lock::new()? })
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
        Ok(ExclusiveGuard { cells, held: self.lock.lock()?, thread: PhantomData })
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
        let held = self.lock.lock_timeout(timeout)?;
        Ok(held.map(|held| ExclusiveGuard { cells, held, thread: PhantomData }))
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
        Ok(ExclusiveGuard { cells, held: self.lock.lock_async().await?, thread: PhantomData })
    }
}

impl<T: Plain> ExclusiveGuard<'_, T> {
    /// Who held the lock before and died with it, if that was so. What the slice holds may
    /// be half done then.
    pub fn previous_holder(&self) -> Option<Death> {
        self.held.previous_holder()
    }
}

// SAFETY: the cells are those of a private memory, which is reached only by `lock` and its
// like; each gives out a guard of the memory's private lock, which is not recursive and is
// given back only by the guard's drop. The guard stays in its process and thread.
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
        Self { memory: self.memory.clone(), lock: self.lock.clone() }
    }
}

impl<T> fmt::Debug for ExclusiveArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExclusiveArray")
            .field("memory", &self.memory)
            .field("lock", &self.lock)
            .finish()
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for ExclusiveGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
