//! `ListProxy`: a list at a manager.
//!
//! Owns the typed calls. Indices and slices are Python's: negative ones count from the end.

use super::proxy::{Result, boolean, calls, done, number, proxy, value, values};
use procession_protocols::manager::{Call, ListCall, Place, Range};
use procession_runtime::function::FunctionRef;
use procession_runtime::manager::{Ask, Change, Stored};
use serde::Serialize;
use serde::de::DeserializeOwned;

proxy! {
    /// A list at a [`Manager`](crate::Manager), as Python's `ListProxy`.
    ///
    /// Indices may be negative, which counts from the end; slices are [`Range`](super::Range)s.
    /// What is got is a copy, as with [`DictProxy`](super::DictProxy).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = procession::Manager::start()?;
    /// let list = manager.list(0..10)?;
    /// list.reverse()?;
    /// assert_eq!(list.get(-1)?, 0);
    /// list.sort()?;
    /// assert_eq!(list.to_vec()?, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    /// # Ok(())
    /// # }
    /// ```
    ListProxy<T>
}

impl<T: Serialize + DeserializeOwned + 'static> ListProxy<T> {
    calls! {
        /// A copy of an item; [`Fault::Index`](super::Fault::Index) beyond the ends.
        get get_async(_proxy, index: i64) -> T { Call::List(ListCall::Get(index)) => value }

        /// Replaces an item.
        set set_async(proxy, index: i64, item: &T) -> () {
            Call::List(ListCall::Set(index, proxy.encode(item)?)) => done
        }

        /// Takes an item out, and throws it away.
        delete delete_async(_proxy, index: i64) -> () {
            Call::List(ListCall::Delete(index)) => done
        }

        /// How many items there are.
        len len_async(_proxy) -> usize { Call::List(ListCall::Len) => number }

        /// Adds an item at the end.
        append append_async(proxy, item: &T) -> () {
            Call::List(ListCall::Append(proxy.encode(item)?)) => done
        }

        /// Puts an item before the one at this index.
        insert insert_async(proxy, index: i64, item: &T) -> () {
            Call::List(ListCall::Insert(index, proxy.encode(item)?)) => done
        }

        /// Takes an item out, the last by -1.
        pop pop_async(_proxy, index: i64) -> T { Call::List(ListCall::Pop(index)) => value }

        /// Takes the first item out that is encoded as this one is;
        /// [`Fault::Value`](super::Fault::Value) when there is none.
        remove remove_async(proxy, item: &T) -> () {
            Call::List(ListCall::Remove(proxy.encode(item)?)) => done
        }

        /// Turns the list round.
        reverse reverse_async(_proxy) -> () { Call::List(ListCall::Reverse) => done }

        /// Whether it has such an item.
        contains contains_async(proxy, item: &T) -> bool {
            Call::List(ListCall::Contains(proxy.encode(item)?)) => boolean
        }

        /// How many such items it has.
        count count_async(proxy, item: &T) -> usize {
            Call::List(ListCall::Count(proxy.encode(item)?)) => number
        }

        /// Where the first such item is; [`Fault::Value`](super::Fault::Value) when there
        /// is none.
        index index_async(proxy, item: &T) -> usize {
            Call::List(ListCall::Index(proxy.encode(item)?, Range::default())) => number
        }

        /// As [`index`](Self::index), within a slice.
        index_in index_in_async(proxy, item: &T, within: Range) -> usize {
            Call::List(ListCall::Index(proxy.encode(item)?, within)) => number
        }

        /// Takes all items out.
        clear clear_async(_proxy) -> () { Call::List(ListCall::Clear) => done }

        /// Copies of the items of a slice.
        slice slice_async(_proxy, range: Range) -> Vec<T> {
            Call::List(ListCall::Slice(range)) => values
        }

        /// Takes the items of a slice out.
        delete_slice delete_slice_async(_proxy, range: Range) -> () {
            Call::List(ListCall::DeleteSlice(range)) => done
        }

        /// Makes it so many times itself, as `*=` does.
        repeat repeat_async(_proxy, times: i64) -> () {
            Call::List(ListCall::Repeat(times)) => done
        }

        /// A copy of all items.
        to_vec to_vec_async(_proxy) -> Vec<T> {
            Call::List(ListCall::Slice(Range::default())) => values
        }
    }

    /// Whether it has no items.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Adds items at the end, in one step.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError); then none is added.
    pub fn extend(&self, items: impl IntoIterator<Item = T>) -> Result<()> {
        let items = self.encode_all(items)?;
        done(self.proxy.call(Call::List(ListCall::Extend(items)), None)?)
    }

    /// Puts items in the place of a slice. A slice with steps needs as many as it has.
    ///
    /// # Errors
    /// [`Fault::Slice`](super::Fault::Slice) when they do not fit.
    pub fn set_slice(&self, range: Range, items: impl IntoIterator<Item = T>) -> Result<()> {
        let items = self.encode_all(items)?;
        done(self.proxy.call(Call::List(ListCall::SetSlice(range, items)), None)?)
    }

    /// Sorts it, in the manager and in one step. It is stable.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn sort(&self) -> Result<()>
    where
        T: Ord,
    {
        self.update_all(|items: &mut Vec<T>, ()| items.sort(), ())
    }

    /// Changes an item in one step; see [`DictProxy::update`](super::DictProxy::update).
    ///
    /// # Errors
    /// [`Fault::Index`](super::Fault::Index); [`Fault::Failed`](super::Fault::Failed) when
    /// the function panics, and then nothing is changed.
    pub fn update<F, A, R>(&self, index: i64, change: F, args: A) -> Result<R>
    where
        F: Fn(&mut T, A) -> R + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let function = Change::one(change).map_err(super::not_in_image)?;
        self.change(Place::Index(index), function, &args)
    }

    /// Changes all items in one step: sorts by another order, removes some, whatever.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn update_all<F, A, R>(&self, change: F, args: A) -> Result<R>
    where
        F: Fn(&mut Vec<T>, A) -> R + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let function = Change::all(change).map_err(super::not_in_image)?;
        self.change(Place::All, function, &args)
    }

    fn change<A: Serialize, R: DeserializeOwned>(
        &self,
        place: Place<Stored>,
        function: FunctionRef,
        args: &A,
    ) -> Result<R> {
        let args = self.proxy.encode(args)?;
        value(self.proxy.ask(Ask::Change { place, function, args }, None)?)
    }

    fn encode_all(&self, items: impl IntoIterator<Item = T>) -> Result<Vec<Stored>> {
        items.into_iter().map(|item| self.proxy.encode(&item)).collect()
    }
}
