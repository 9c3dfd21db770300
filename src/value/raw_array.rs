//! `RawArray`: values of one type that processes share, without a lock.
//!
//! Owns the handle. Neighbour: `raw.rs`, for one value.

use super::ValueError;
use procession_runtime::memory::{Memory, Plain, SharedCells};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeBounds;

/// A row of values in shared memory, without a lock, as Python's `RawArray` (and its
/// `Array` with `lock=False`).
///
/// Its length is fixed. It travels as [`RawValue`](super::RawValue) does. Rows and columns
/// are one index, `row * width + column`; or an element is itself an array, as in
/// `RawArray<[i32; 2]>`.
///
/// ```
/// use procession::RawArray;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let array = RawArray::new([1, 2, 3, 4])?;
/// array.set(1, 20)?;
/// array.write(2, &[30, 40])?;
/// assert_eq!(array.read(1..)?, [20, 30, 40]);
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = "T: Plain"))]
pub struct RawArray<T> {
    memory: Memory<T>,
}

impl<T: Plain> RawArray<T> {
    /// A shared row of these values.
    ///
    /// # Errors
    /// When there is no memory or descriptor for it.
    pub fn new(values: impl IntoIterator<Item = T>) -> Result<Self, ValueError> {
        let values: Vec<T> = values.into_iter().collect();
        let new = Self::zeroed(values.len())?;
        new.write(0, &values)?;
        Ok(new)
    }

    /// A shared row of `len` values, of which all bytes are 0.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn zeroed(len: usize) -> Result<Self, ValueError> {
        Ok(Self { memory: Memory::new(len)? })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`ValueError::OutOfRange`]; [`ValueError::Share`] when it was not used here before
    /// and its owner has ended.
    #[inline]
    pub fn get(&self, index: usize) -> Result<T, ValueError> {
        let part = self.cells()?.part(index..=index)?;
        Ok(part.first().get())
    }

    /// Writes one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline]
    pub fn set(&self, index: usize, value: T) -> Result<(), ValueError> {
        Ok(self.cells()?.set(index, value)?)
    }

    /// A copy of the values in a range.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn read(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, ValueError> {
        Ok(self.cells()?.part(range)?.to_vec())
    }

    /// Copies `values` to the places from `start` on.
    ///
    /// # Errors
    /// As [`get`](Self::get); none is written when they do not all fit.
    pub fn write(&self, start: usize, values: &[T]) -> Result<(), ValueError> {
        let end = start.saturating_add(values.len());
        Ok(self.cells()?.part(start..end)?.write(values)?)
    }

    /// The values where they lie: for many operations, which then cost no more than on
    /// memory of this process.
    ///
    /// # Errors
    /// As [`get`](Self::get), but for the range.
    #[inline]
    pub fn cells(&self) -> Result<SharedCells<'_, T>, ValueError> {
        Ok(self.memory.cells()?)
    }

    /// As [`cells`](Self::cells), for any executor; it waits only at the first use in a
    /// process.
    ///
    /// # Errors
    /// As [`cells`](Self::cells).
    ///
    /// # Cancel safety
    /// Dropped, it leaves all as it was.
    pub async fn cells_async(&self) -> Result<SharedCells<'_, T>, ValueError> {
        Ok(self.memory.cells_async().await?)
    }

    /// A new shared row with what is in this one now.
    ///
    /// # Errors
    /// As [`cells`](Self::cells) and [`new`](Self::new).
    pub fn copy(&self) -> Result<Self, ValueError> {
        let new = Self::zeroed(self.len())?;
        new.write(0, &self.read(..)?)?;
        Ok(new)
    }
}

impl<T> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        Self { memory: self.memory.clone() }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.memory.peek() {
            Some(cells) => f.debug_tuple("RawArray").field(&cells).finish(),
            None => f.debug_tuple("RawArray").field(&self.memory).finish(),
        }
    }
}
