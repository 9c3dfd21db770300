//! `Value`: one value that processes share, and the lock that guards it.
//!
//! Owns the pair. It must never touch the value through a guard that is not its own lock's.
//! Neighbours: `raw.rs` below, `array.rs` beside it.

use super::{RawValue, ValueError, ValueLock};
use crate::sync::{Lock, RLock};
use procession_runtime::memory::{Integer, Plain, SharedCell};
use procession_runtime::words::Death;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// One value in shared memory with a lock, as Python's `Value`.
///
/// The lock is an [`RLock`] of its own, unless [`with_lock`](Self::with_lock) gave it one,
/// which may guard several values. [`get`](Self::get) and [`set`](Self::set) each hold it
/// for themselves; so what reads *and* writes takes [`lock`](Self::lock) for both, or is
/// one [`update`](Self::update). Integers can be added to without the lock, which is faster
/// than any: [`fetch_add`](Self::fetch_add).
///
/// A lock got after the death of its holder says so: the value may be half of what it was
/// meant to be. Where values lie and how handles travel is told at [`RawValue`].
///
/// ```
/// use procession::{Process, Value};
///
/// fn deposit(balance: Value<f64>) {
///     for _ in 0..1000 {
///         balance.update(|balance| balance + 1.5).unwrap();
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let balance = Value::new(0.0)?;
/// let (a, b) = (Process::spawn(deposit, (balance.clone(),))?, Process::spawn(deposit, (balance.clone(),))?);
/// (a.result()?, b.result()?);
/// assert_eq!(balance.get()?, 3000.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "L: ValueLock", deserialize = "T: Plain, L: ValueLock"))]
pub struct Value<T, L = RLock> {
    raw: RawValue<T>,
    lock: L,
}

/// A value whose lock is held until this is dropped.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct ValueGuard<'a, T, L: ValueLock = RLock> {
    cell: SharedCell<'a, T>,
    held: L::Guard<'a>,
}

impl<T: Plain> Value<T> {
    /// A shared value that begins with this, with a recursive lock of its own.
    ///
    /// # Errors
    /// When there is no memory or descriptor for it.
    pub fn new(value: T) -> Result<Self, ValueError> {
        Self::with_lock(value, RLock::new()?)
    }
}

impl<T: Plain, L: ValueLock> Value<T, L> {
    /// A shared value that begins with this, guarded by this lock; pass clones of one lock
    /// to guard several values by it.
    ///
    /// # Errors
    /// As [`new`](Value::new).
    pub fn with_lock(value: T, lock: L) -> Result<Self, ValueError> {
        Ok(Self { raw: RawValue::new(value)?, lock })
    }

    /// Guards a value by a lock. It keeps no one from using `raw` without.
    pub fn synchronized(raw: RawValue<T>, lock: L) -> Self {
        Self { raw, lock }
    }

    /// Holds the lock. Threads and processes that want it wait for as long as the guard
    /// lives.
    ///
    /// # Errors
    /// [`ValueError::Sync`], as the lock's own `lock`; [`ValueError::Share`] when it was not
    /// used here before and its owner has ended.
    #[inline]
    pub fn lock(&self) -> Result<ValueGuard<'_, T, L>, ValueError> {
        let cell = self.raw.cell()?;
        Ok(ValueGuard { cell, held: self.lock.hold()? })
    }

    /// As [`lock`](Self::lock), waiting at most so long. `None` when the time was up.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<ValueGuard<'_, T, L>>, ValueError> {
        let cell = self.raw.cell()?;
        Ok(self.lock.hold_timeout(timeout)?.map(|held| ValueGuard { cell, held }))
    }

    /// Reads it, with the lock held.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    #[inline]
    pub fn get(&self) -> Result<T, ValueError> {
        Ok(self.lock()?.get())
    }

    /// Writes it, with the lock held.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    #[inline]
    pub fn set(&self, value: T) -> Result<(), ValueError> {
        self.lock()?.set(value);
        Ok(())
    }

    /// Makes one value of the other, with the lock held all the time. Gives the new one.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    #[inline]
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<T, ValueError> {
        Ok(self.lock()?.update(change))
    }

    /// The lock.
    pub fn get_lock(&self) -> &L {
        &self.lock
    }

    /// The value without its lock (Python's `get_obj`).
    pub fn get_raw(&self) -> &RawValue<T> {
        &self.raw
    }

    /// A new value with what is in this one now, and a lock of its own.
    ///
    /// # Errors
    /// As [`lock`](Self::lock) and [`new`](Value::new).
    pub fn copy(&self) -> Result<Value<T>, ValueError> {
        Value::new(self.get()?)
    }
}

impl<T: Plain> Value<T, Lock> {
    /// As [`lock`](Self::lock), for any executor. A recursive lock belongs to a thread, and
    /// so has no such form.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it does not take the lock.
    pub async fn lock_async(&self) -> Result<ValueGuard<'_, T, Lock>, ValueError> {
        let cell = self.raw.cell_async().await?;
        Ok(ValueGuard { cell, held: self.lock.lock_async().await? })
    }
}

impl<T: Integer, L: ValueLock> Value<T, L> {
    /// Adds in one step without the lock, wrapping around at the ends of the type. Gives
    /// what was there before. [`get_raw`](Self::get_raw)`().cell()` has more such
    /// operations.
    ///
    /// It can come between the two steps of one who holds the lock.
    ///
    /// # Errors
    /// [`ValueError::Share`] when it was not used here before and its owner has ended.
    #[inline]
    pub fn fetch_add(&self, value: T) -> Result<T, ValueError> {
        self.raw.fetch_add(value)
    }

    /// Subtracts; else as [`fetch_add`](Self::fetch_add).
    ///
    /// # Errors
    /// As [`fetch_add`](Self::fetch_add).
    #[inline]
    pub fn fetch_sub(&self, value: T) -> Result<T, ValueError> {
        self.raw.fetch_sub(value)
    }
}

impl<T: Plain, L: ValueLock> ValueGuard<'_, T, L> {
    /// Reads it.
    #[inline]
    pub fn get(&self) -> T {
        self.cell.get()
    }

    /// Writes it.
    #[inline]
    pub fn set(&mut self, value: T) {
        self.cell.set(value);
    }

    /// Makes one value of the other. Gives the new one.
    #[inline]
    pub fn update(&mut self, change: impl FnOnce(T) -> T) -> T {
        let value = change(self.cell.get());
        self.cell.set(value);
        value
    }

    /// Who held the lock before and died with it, if that was so.
    pub fn previous_holder(&self) -> Option<Death> {
        L::previous_holder(&self.held)
    }
}

impl<T: Plain + fmt::Debug, L: ValueLock> fmt::Debug for Value<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("raw", &self.raw).field("lock", &self.lock).finish()
    }
}

impl<T: Plain + fmt::Debug, L: ValueLock> fmt::Debug for ValueGuard<'_, T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueGuard").field(&self.get()).finish()
    }
}
