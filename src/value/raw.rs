//! `RawValue`: one value that processes share, without a lock.
//!
//! Owns the handle. Neighbour: `raw_array.rs`, for several.

use super::ValueError;
use procession_runtime::memory::{Integer, Memory, Plain, SharedCell};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One value in shared memory, without a lock, as Python's `RawValue` (and its `Value` with
/// `lock=False`).
///
/// It can be an argument, and travels in messages, on queues and in pipes; clones and what
/// arrives are the same value. A process that has used it once can go on after its owner,
/// the process that made it, has ended.
///
/// Reading and writing are single steps for values of 1, 2, 4 and 8 bytes; reading and then
/// writing is two. Integers have steps that are both, as [`fetch_add`](Self::fetch_add).
///
/// ```
/// use procession::{Process, RawValue};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let count = RawValue::new(0u32)?;
/// let add = |count: RawValue<u32>| -> u32 { (0..1000).map(|_| count.fetch_add(1).unwrap()).sum() };
/// let (a, b) = (Process::spawn(add, (count.clone(),))?, Process::spawn(add, (count.clone(),))?);
/// (a.result()?, b.result()?);
/// assert_eq!(count.get()?, 2000);
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = "T: Plain"))]
pub struct RawValue<T> {
    memory: Memory<T>,
}

impl<T: Plain> RawValue<T> {
    /// A shared value that begins with this.
    ///
    /// # Errors
    /// When there is no memory or descriptor for it.
    pub fn new(value: T) -> Result<Self, ValueError> {
        let new = Self { memory: Memory::new(1)? };
        new.set(value)?;
        Ok(new)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`ValueError::Share`] when it was not used here before and its owner has ended.
    #[inline]
    pub fn get(&self) -> Result<T, ValueError> {
        Ok(self.cell()?.get())
    }

    /// Writes it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline]
    pub fn set(&self, value: T) -> Result<(), ValueError> {
        self.cell()?.set(value);
        Ok(())
    }

    /// The value where it lies: for many operations, which then cost no more than on memory
    /// of this process, and cannot fail.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline]
    pub fn cell(&self) -> Result<SharedCell<'_, T>, ValueError> {
        Ok(self.memory.cells()?.first())
    }

    /// As [`cell`](Self::cell), for any executor; it waits only at the first use in a process.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Dropped, it leaves all as it was.
    pub async fn cell_async(&self) -> Result<SharedCell<'_, T>, ValueError> {
        Ok(self.memory.cells_async().await?.first())
    }

    /// A new shared value with what is in this one now.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`new`](Self::new).
    pub fn copy(&self) -> Result<Self, ValueError> {
        Self::new(self.get()?)
    }
}

impl<T: Integer> RawValue<T> {
    /// Adds in one step, wrapping around at the ends of the type. Gives what was there
    /// before. [`cell`](Self::cell) has more such operations.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline]
    pub fn fetch_add(&self, value: T) -> Result<T, ValueError> {
        Ok(self.cell()?.fetch_add(value))
    }

    /// Subtracts in one step, wrapping around. Gives what was there before.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline]
    pub fn fetch_sub(&self, value: T) -> Result<T, ValueError> {
        Ok(self.cell()?.fetch_sub(value))
    }
}

impl<T> Clone for RawValue<T> {
    fn clone(&self) -> Self {
        Self { memory: self.memory.clone() }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.memory.peek() {
            Some(cells) => f.debug_tuple("RawValue").field(&cells.first().get()).finish(),
            None => f.debug_tuple("RawValue").field(&self.memory).finish(),
        }
    }
}
