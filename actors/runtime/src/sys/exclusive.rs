//! Slices of shared memory, for whoever holds the lock of that memory.
//!
//! Owns memory and lock in a way that nobody can go round: neither is ever handed out, by a
//! call or by a message that is read as another type; the lock is not recursive and says
//! which memory is its own; a guard cannot be sent to another thread; and a copy of its
//! process cannot touch the memory by what its parent had (`memory::keep_from_copies`).
//! That is what makes a safe slice of shared memory sound; it must stay so whatever is added
//! here. Neighbours: `cells` has the memory for everybody, `crate::words` the lock.

use super::cells::{Plain, SharedCells};
use crate::memory::Memory;
use crate::words::{Death, Denied, Held, PrivateLock};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A row of values in shared memory, with a lock of its own whose guard is a slice.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = "T: Plain"))]
pub struct Exclusive<T> {
    memory: Memory<T, true>,
    lock: PrivateLock,
    /// The lock has said that this memory is its own.
    #[serde(skip)]
    is_pair: AtomicBool,
}

/// The values, as a slice, for as long as the lock is held.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct ExclusiveGuard<'a, T> {
    cells: SharedCells<'a, T>,
    lock: &'a PrivateLock,
    held: Held,
    /// Neither to be sent nor shared: a forked process could have what its parent still has.
    thread: PhantomData<*const ()>,
}

impl<T: Plain> Exclusive<T> {
    /// A shared row of `len` values of which all bytes are 0.
    ///
    /// # Errors
    /// No memory or descriptor for it.
    pub fn zeroed(len: usize) -> io::Result<Self> {
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

    /// Takes the lock, waiting for as long as that needs.
    ///
    /// # Errors
    /// [`Denied`].
    #[inline]
    pub fn lock(&self) -> Result<ExclusiveGuard<'_, T>, Denied> {
        let cells = self.memory.cells()?;
        self.guard(cells, self.lock.acquire()?)
    }

    /// As [`lock`](Self::lock), waiting until the deadline. `None` when the time was up.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn lock_until(
        &self,
        deadline: Option<Instant>,
    ) -> Result<Option<ExclusiveGuard<'_, T>>, Denied> {
        let cells = self.memory.cells()?;
        let held = self.lock.acquire_until(deadline)?;
        held.map(|held| self.guard(cells, held)).transpose()
    }

    /// As [`lock`](Self::lock), for any executor.
    ///
    /// # Errors
    /// [`Denied`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it does not take the lock.
    pub async fn lock_async(&self) -> Result<ExclusiveGuard<'_, T>, Denied> {
        let cells = self.memory.cells_async().await?;
        self.guard(cells, self.lock.take_async().await?)
    }

    #[inline]
    fn guard<'a>(
        &'a self,
        cells: SharedCells<'a, T>,
        held: Held,
    ) -> Result<ExclusiveGuard<'a, T>, Denied> {
        let guard = ExclusiveGuard { cells, lock: &self.lock, held, thread: PhantomData };
        if !self.is_pair.load(Ordering::Relaxed) {
            // Once: that no message has put memory and lock together.
            self.lock.must_be_of(&self.memory)?;
            self.is_pair.store(true, Ordering::Relaxed);
        }
        Ok(guard)
    }
}

impl<T> Clone for Exclusive<T> {
    fn clone(&self) -> Self {
        let is_pair = AtomicBool::new(self.is_pair.load(Ordering::Relaxed));
        Self { memory: self.memory.clone(), lock: self.lock.clone(), is_pair }
    }
}

impl<T> fmt::Debug for Exclusive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exclusive")
            .field("memory", &self.memory)
            .field("lock", &self.lock)
            .finish_non_exhaustive()
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

impl<T: Plain> Deref for ExclusiveGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the cells are those of a private memory, which is reached only by the calls
        // of `Exclusive`, for it is of a kind that no other handle has. Each gives out a guard
        // of the memory's private lock, of which `guard` made sure, which is not recursive and
        // is given back only by the guard's drop; the guard stays in its thread, and copies of
        // the process are kept from the memory. So nobody else is there, and this one lends
        // the guard for as long.
        unsafe { self.cells.as_slice() }
    }
}

impl<T: Plain> DerefMut for ExclusiveGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and the guard is lent exclusively.
        unsafe { self.cells.as_mut_slice() }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for ExclusiveGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
