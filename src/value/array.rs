//! `Array`: values of one type that processes share, and the lock that guards them.
//!
//! Owns the pair. Its lock can be had by anybody, so its guard hands out no slice: that is
//! `exclusive.rs`. Neighbours: `raw_array.rs` below, `locked.rs` beside it.

use super::{RawArray, ValueError, ValueLock};
use crate::sync::{Lock, RLock};
use procession_runtime::memory::{OutOfRange, Plain, SharedCells};
use procession_runtime::words::Death;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeBounds;
use std::time::Duration;

/// A row of values in shared memory with a lock, as Python's `Array`.
///
/// Its length is fixed; elements have one type, and there are no rows of rows: use an index
/// `row * width + column`, or `Array<[i32; 2]>`. As with [`Value`](super::Value), each call
/// holds the lock for itself; take [`lock`](Self::lock) once for what belongs together,
/// which is also much faster than a lock for each element. For slices see
/// [`ExclusiveArray`](super::ExclusiveArray).
///
/// ```
/// use procession::{Array, Process};
///
/// fn negate(array: Array<i32>) {
///     let mut array = array.lock().unwrap();
///     for at in 0..array.len() {
///         array.update(at, |value| -value).unwrap();
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let array = Array::new(0..10)?;
/// Process::spawn(negate, (array.clone(),))?.result()?;
/// assert_eq!(array.read(..)?, [0, -1, -2, -3, -4, -5, -6, -7, -8, -9]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "L: ValueLock", deserialize = "T: Plain, L: ValueLock"))]
pub struct Array<T, L = RLock> {
    raw: RawArray<T>,
    lock: L,
}

/// An array whose lock is held until this is dropped.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct ArrayGuard<'a, T, L: ValueLock = RLock> {
    cells: SharedCells<'a, T>,
    held: L::Guard<'a>,
}

impl<T: Plain> Array<T> {
    /// A shared row of these values, with a recursive lock of its own.
    ///
    /// # Errors
    /// When there is no memory or descriptor for it.
    pub fn new(values: impl IntoIterator<Item = T>) -> Result<Self, ValueError> {
        Self::with_lock(values, RLock::new()?)
    }

    /// A shared row of `len` values of which all bytes are 0, with a recursive lock of its
    /// own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn zeroed(len: usize) -> Result<Self, ValueError> {
        Ok(Self { raw: RawArray::zeroed(len)?, lock: RLock::new()? })
    }
}

impl<T: Plain, L: ValueLock> Array<T, L> {
    /// A shared row of these values, guarded by this lock; pass clones of one lock to guard
    /// several by it.
    ///
    /// # Errors
    /// As [`new`](Array::new).
    pub fn with_lock(values: impl IntoIterator<Item = T>, lock: L) -> Result<Self, ValueError> {
        Ok(Self { raw: RawArray::new(values)?, lock })
    }

    /// Guards an array by a lock. It keeps no one from using `raw` without.
    pub fn synchronized(raw: RawArray<T>, lock: L) -> Self {
        Self { raw, lock }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Holds the lock. Threads and processes that want it wait for as long as the guard
    /// lives.
    ///
    /// # Errors
    /// [`ValueError::Sync`], as the lock's own `lock`; [`ValueError::Share`] when it was not
    /// used here before and its owner has ended.
    #[inline]
    pub fn lock(&self) -> Result<ArrayGuard<'_, T, L>, ValueError> {
        let cells = self.raw.cells()?;
        Ok(ArrayGuard { cells, held: self.lock.hold()? })
    }

    /// As [`lock`](Self::lock), waiting at most so long. `None` when the time was up.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<ArrayGuard<'_, T, L>>, ValueError> {
        let cells = self.raw.cells()?;
        Ok(self.lock.hold_timeout(timeout)?.map(|held| ArrayGuard { cells, held }))
    }

    /// Reads one, with the lock held.
    ///
    /// # Errors
    /// [`ValueError::OutOfRange`], and as [`lock`](Self::lock).
    pub fn get(&self, index: usize) -> Result<T, ValueError> {
        Ok(self.lock()?.get(index)?)
    }

    /// Writes one, with the lock held.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn set(&self, index: usize, value: T) -> Result<(), ValueError> {
        Ok(self.lock()?.set(index, value)?)
    }

    /// A copy of the values in a range, read with the lock held.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn read(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, ValueError> {
        Ok(self.lock()?.read(range)?)
    }

    /// Copies `values` to the places from `start` on, with the lock held.
    ///
    /// # Errors
    /// As [`get`](Self::get); none is written when they do not all fit.
    pub fn write(&self, start: usize, values: &[T]) -> Result<(), ValueError> {
        Ok(self.lock()?.write(start, values)?)
    }

    /// The lock.
    pub fn get_lock(&self) -> &L {
        &self.lock
    }

    /// The array without its lock (Python's `get_obj`).
    pub fn get_raw(&self) -> &RawArray<T> {
        &self.raw
    }

    /// A new array with what is in this one now, and a lock of its own.
    ///
    /// # Errors
    /// As [`lock`](Self::lock) and [`new`](Array::new).
    pub fn copy(&self) -> Result<Array<T>, ValueError> {
        Array::new(self.read(..)?)
    }
}

impl<T: Plain> Array<T, Lock> {
    /// As [`lock`](Self::lock), for any executor. A recursive lock belongs to a thread, and
    /// so has no such form.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it does not take the lock.
    pub async fn lock_async(&self) -> Result<ArrayGuard<'_, T, Lock>, ValueError> {
        let cells = self.raw.cells_async().await?;
        Ok(ArrayGuard { cells, held: self.lock.lock_async().await? })
    }
}

/// Text in an array of bytes, as Python has it for `Array("c", ..)`: it ends at the first
/// NUL, or with the array.
impl<L: ValueLock> Array<u8, L> {
    /// The bytes of the text (Python's `value`).
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn bytes(&self) -> Result<Vec<u8>, ValueError> {
        let mut bytes = self.read(..)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
        Ok(bytes)
    }

    /// The text; what is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn text(&self) -> Result<String, ValueError> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// Writes a text, and a NUL behind it where there is room.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn set_text(&self, text: impl AsRef<[u8]>) -> Result<(), ValueError> {
        let mut bytes = text.as_ref().to_vec();
        if bytes.len() < self.len() {
            bytes.push(0);
        }
        self.write(0, &bytes)
    }
}

impl<'a, T: Plain, L: ValueLock> ArrayGuard<'a, T, L> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`OutOfRange`].
    #[inline]
    pub fn get(&self, index: usize) -> Result<T, OutOfRange> {
        Ok(self.cells.part(index..=index)?.first().get())
    }

    /// Writes one.
    ///
    /// # Errors
    /// [`OutOfRange`].
    #[inline]
    pub fn set(&mut self, index: usize, value: T) -> Result<(), OutOfRange> {
        self.cells.set(index, value)
    }

    /// Makes one value of the other. Gives the new one.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn update(&mut self, index: usize, change: impl FnOnce(T) -> T) -> Result<T, OutOfRange> {
        let cell = self.cells.part(index..=index)?.first();
        let value = change(cell.get());
        cell.set(value);
        Ok(value)
    }

    /// A copy of the values in a range.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn read(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, OutOfRange> {
        Ok(self.cells.part(range)?.to_vec())
    }

    /// Copies `values` to the places from `start` on.
    ///
    /// # Errors
    /// [`OutOfRange`]; none is written then.
    pub fn write(&mut self, start: usize, values: &[T]) -> Result<(), OutOfRange> {
        self.cells.part(start..start.saturating_add(values.len()))?.write(values)
    }

    /// Reads all, one after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + DoubleEndedIterator + 'a {
        self.cells.iter()
    }

    /// The values where they lie. Its `as_slice` is unsafe, since others may have got the
    /// lock as well (it is recursive, or was given back), or do without.
    pub fn cells(&self) -> SharedCells<'_, T> {
        self.cells
    }

    /// Who held the lock before and died with it, if that was so.
    pub fn previous_holder(&self) -> Option<Death> {
        L::previous_holder(&self.held)
    }
}

impl<T: Plain + fmt::Debug, L: ValueLock> fmt::Debug for Array<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("raw", &self.raw).field("lock", &self.lock).finish()
    }
}

impl<T: Plain + fmt::Debug, L: ValueLock> fmt::Debug for ArrayGuard<'_, T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ArrayGuard").field(&self.cells).finish()
    }
}
