//! Python's names for values in shared memory: `multiprocessing.sharedctypes`.
//!
//! Owns the two functions that Python has there and Rust has as methods.

pub use super::{Array, RawArray, RawValue, Value};

use super::{ValueError, ValueLock};
use procession_runtime::memory::Plain;

/// What has no lock: [`RawValue`] or [`RawArray`].
pub trait Raw: Sized {
    /// The same with a lock.
    type Locked<L: ValueLock>;

    #[doc(hidden)]
    fn copied(&self) -> Result<Self, ValueError>;

    #[doc(hidden)]
    fn locked<L: ValueLock>(self, lock: L) -> Self::Locked<L>;
}

/// A new shared object with what is in this one now; later changes of either are not the
/// other's.
///
/// # Errors
/// When the first is not to be had, or there is no memory for another.
pub fn copy<R: Raw>(raw: &R) -> Result<R, ValueError> {
    raw.copied()
}

/// Guards what has no lock by this one. It keeps no one from using it without.
///
/// ```
/// use procession::sharedctypes::{RawValue, copy, synchronized};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let raw = RawValue::new(7)?;
/// let value = synchronized(copy(&raw)?, procession::Lock::new()?);
/// value.update(|value| value * 6)?;
/// assert_eq!((raw.get()?, value.get()?), (7, 42));
/// # Ok(())
/// # }
/// ```
pub fn synchronized<R: Raw, L: ValueLock>(raw: R, lock: L) -> R::Locked<L> {
    raw.locked(lock)
}

impl<T: Plain> Raw for RawValue<T> {
    type Locked<L: ValueLock> = Value<T, L>;

    fn copied(&self) -> Result<Self, ValueError> {
        self.copy()
    }

    fn locked<L: ValueLock>(self, lock: L) -> Value<T, L> {
        Value::synchronized(self, lock)
    }
}

impl<T: Plain> Raw for RawArray<T> {
    type Locked<L: ValueLock> = Array<T, L>;

    fn copied(&self) -> Result<Self, ValueError> {
        self.copy()
    }

    fn locked<L: ValueLock>(self, lock: L) -> Array<T, L> {
        Array::synchronized(self, lock)
    }
}
