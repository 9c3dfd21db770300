//! `ValueProxy` and `ArrayProxy`: cells at a manager.
//!
//! Owns the typed calls. A value is an array of one cell.

use super::proxy::{Result, calls, done, number, proxy, value, values};
use procession_protocols::manager::{ArrayCall, Call, Place, Range};
use procession_runtime::manager::{Ask, Change};
use serde::Serialize;
use serde::de::DeserializeOwned;

proxy! {
    /// One value at a [`Manager`](crate::Manager), as Python's `ValueProxy`, of any type
    /// that serde carries.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = procession::Manager::start()?;
    /// let value = manager.value(1u64)?;
    /// value.set(&2)?;
    /// value.update(|n: &mut u64, by: u64| *n *= by, 21)?;
    /// assert_eq!(value.get()?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ValueProxy<T>
}

impl<T: Serialize + DeserializeOwned + 'static> ValueProxy<T> {
    calls! {
        /// A copy of the value.
        get get_async(_proxy) -> T { Call::Array(ArrayCall::Get(0)) => value }

        /// Replaces the value.
        set set_async(proxy, to: &T) -> () {
            Call::Array(ArrayCall::Set(0, proxy.encode(to)?)) => done
        }
    }

    /// Changes the value in one step; see [`DictProxy::update`](super::DictProxy::update).
    ///
    /// # Errors
    /// [`Fault::Failed`](super::Fault::Failed) when the function panics.
    pub fn update<F, A, R>(&self, change: F, args: A) -> Result<R>
    where
        F: Fn(&mut T, A) -> R + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let function = Change::one(change).map_err(super::not_in_image)?;
        let (place, args) = (Place::Index(0), self.proxy.encode(&args)?);
        value(self.proxy.ask(Ask::Change { place, function, args }, None)?)
    }
}

proxy! {
    /// An array at a [`Manager`](crate::Manager), as Python's `ArrayProxy`: its length never
    /// changes. Indices and slices are Python's.
    ArrayProxy<T>
}

impl<T: Serialize + DeserializeOwned + 'static> ArrayProxy<T> {
    calls! {
        /// A copy of a cell.
        get get_async(_proxy, index: i64) -> T { Call::Array(ArrayCall::Get(index)) => value }

        /// Replaces a cell.
        set set_async(proxy, index: i64, to: &T) -> () {
            Call::Array(ArrayCall::Set(index, proxy.encode(to)?)) => done
        }

        /// How many cells there are.
        len len_async(_proxy) -> usize { Call::Array(ArrayCall::Len) => number }

        /// Copies of the cells of a slice.
        slice slice_async(_proxy, range: Range) -> Vec<T> {
            Call::Array(ArrayCall::Slice(range)) => values
        }

        /// Copies of all cells.
        to_vec to_vec_async(_proxy) -> Vec<T> {
            Call::Array(ArrayCall::Slice(Range::default())) => values
        }
    }

    /// Whether it has no cells.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Replaces the cells of a slice, as many as it has.
    ///
    /// # Errors
    /// [`Fault::Slice`](super::Fault::Slice) when they do not fit.
    pub fn set_slice(&self, range: Range, to: impl IntoIterator<Item = T>) -> Result<()> {
        let to = to.into_iter().map(|item| self.proxy.encode(&item)).collect::<Result<_>>()?;
        done(self.proxy.call(Call::Array(ArrayCall::SetSlice(range, to)), None)?)
    }
}
