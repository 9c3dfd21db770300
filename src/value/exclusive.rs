//! `ExclusiveArray`: values that are a slice for whoever holds their lock.
//!
//! Owns the handle. What makes a slice of shared memory sound is the runtime's
//! (`sys::exclusive`). Neighbours: `array.rs` has the lock for everybody.

use super::ValueError;
use procession_runtime::memory::Plain;
use procession_runtime::sync::after;
use procession_runtime::words::{Denied, Exclusive};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

pub use procession_runtime::words::ExclusiveGuard;

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
#[serde(transparent, bound(serialize = "", deserialize = "T: Plain"))]
pub struct ExclusiveArray<T> {
    inner: Exclusive<T>,
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
        Ok(Self { inner: Exclusive::zeroed(len)? })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Holds the lock: the values, as a slice.
    ///
    /// # Errors
    /// [`ValueError::Sync`] when the owner has ended; [`ValueError::Share`] when it was not
    /// used here before and its owner has ended.
    #[inline]
    pub fn lock(&self) -> Result<ExclusiveGuard<'_, T>, ValueError> {
        Ok(self.inner.lock()?)
    }

    /// As [`lock`](Self::lock), waiting at most so long. `None` when the time was up.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<ExclusiveGuard<'_, T>>, ValueError> {
        Ok(self.inner.lock_until(after(timeout))?)
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
        Ok(self.inner.lock_async().await?)
    }
}

impl From<Denied> for ValueError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Memory(error) => Self::Share(error),
            Denied::Lock(error) => Self::Sync(error.into()),
        }
    }
}

impl<T> Clone for ExclusiveArray<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> fmt::Debug for ExclusiveArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExclusiveArray").field(&self.inner).finish()
    }
}
