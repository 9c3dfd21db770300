//! Dicts, lists, sets, namespaces, values, arrays and iterators of a Python program's manager.
//!
//! Owns their methods, under the names that those of our own managers have. Indices and slices
//! are Python's, and so is which keys are equal.

use super::proxy::{calls, kinds};
use super::{PythonError, PythonProxy, Result};
use crate::manager::{Fault, Range};
use procession_protocols::dynamic::Dynamic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;

kinds! {
    /// A dict at a [`PythonManager`](super::PythonManager). What is got is a copy.
    ///
    /// ```no_run
    /// use procession::manager::{PythonDict, PythonList, PythonManager};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = PythonManager::connect("127.0.0.1:5000", b"abc")?;
    /// let dict: PythonDict<String, PythonList<u64>> = manager.dict()?;
    /// dict.insert(&"squares".into(), &manager.list([0, 1, 4])?)?;
    /// dict.get(&"squares".into())?.expect("it is there").append(&9)?;
    /// # Ok(())
    /// # }
    /// ```
    PythonDict<K, V>;
    /// A list at a [`PythonManager`](super::PythonManager). What is got is a copy.
    PythonList<T>;
    /// A set at a [`PythonManager`](super::PythonManager), which has such since Python 3.14.
    PythonSet<T>;
    /// A namespace at a [`PythonManager`](super::PythonManager): each attribute has a type of
    /// its own, which who gets it says.
    PythonNamespace;
    /// A value at a [`PythonManager`](super::PythonManager).
    PythonValue<T>;
    /// An array of numbers at a [`PythonManager`](super::PythonManager).
    PythonArray<T>;
}

impl<K: Serialize, V: Serialize + DeserializeOwned> PythonDict<K, V> {
    calls! {
        /// A copy of the value of a key.
        get(key: &K) -> Option<V> = "get"(key);
        /// Sets the value of a key.
        insert(key: &K, value: &V) -> () = "__setitem__"(key, value);
        /// Sets the value of a key that has none; gives the value that is there then.
        set_default(key: &K, default: &V) -> V = "setdefault"(key, default);
        /// Takes a key out; gives its value.
        pop(key: &K) -> Option<V> = "pop"(key, ());
        /// Whether it has the key.
        contains_key(key: &K) -> bool = "__contains__"(key);
        /// How many keys it has.
        len() -> usize = "__len__"();
        /// Takes all keys out.
        clear() -> () = "clear"();
        /// All values, in the order of the keys.
        values() -> Vec<V> = "values"();
    }

    /// Whether it has no keys.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Sets several pairs in one call: Python's `update`.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn extend(&self, items: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        self.proxy.call("update", (items.into_iter().collect::<Vec<_>>(),))
    }
}

impl<K: Serialize + DeserializeOwned, V: DeserializeOwned> PythonDict<K, V> {
    calls! {
        /// All keys, the oldest first.
        keys() -> Vec<K> = "keys"();
        /// A copy of all pairs.
        items() -> Vec<(K, V)> = "items"();
    }

    /// Takes the youngest key out.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn pop_item(&self) -> Result<Option<(K, V)>> {
        match self.proxy.call("popitem", ()) {
            Err(PythonError::Fault(Fault::Key)) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Goes over the keys, the oldest first; each step is a call.
    pub fn iter(&self) -> PythonIterator<K> {
        PythonIterator::of(self.proxy.call_for_proxy("__iter__", ()))
    }
}

impl<K: Serialize + DeserializeOwned, V: DeserializeOwned> IntoIterator for &PythonDict<K, V> {
    type Item = Result<K>;
    type IntoIter = PythonIterator<K>;

    fn into_iter(self) -> PythonIterator<K> {
        self.iter()
    }
}

impl<T: Serialize + DeserializeOwned> PythonList<T> {
    calls! {
        /// A copy of an item; [`Fault::Index`] beyond the ends.
        get(index: i64) -> T = "__getitem__"(index);
        /// Replaces an item.
        set(index: i64, item: &T) -> () = "__setitem__"(index, item);
        /// Takes an item out, and throws it away.
        delete(index: i64) -> () = "__delitem__"(index);
        /// How many items there are.
        len() -> usize = "__len__"();
        /// Adds an item at the end.
        append(item: &T) -> () = "append"(item);
        /// Puts an item before the one at this index.
        insert(index: i64, item: &T) -> () = "insert"(index, item);
        /// Takes an item out, the last by -1.
        pop(index: i64) -> T = "pop"(index);
        /// Takes the first item out that is equal.
        remove(item: &T) -> () = "remove"(item);
        /// Turns the list round.
        reverse() -> () = "reverse"();
        /// Sorts it.
        sort() -> () = "sort"();
        /// Whether it has such an item.
        contains(item: &T) -> bool = "__contains__"(item);
        /// How many such items it has.
        count(item: &T) -> usize = "count"(item);
        /// Where the first such item is.
        index(item: &T) -> usize = "index"(item);
        /// Takes all items out.
        clear() -> () = "__delitem__"(slice(Range::default()));
        /// Copies of the items of a slice.
        slice(range: Range) -> Vec<T> = "__getitem__"(slice(range));
        /// Takes the items of a slice out.
        delete_slice(range: Range) -> () = "__delitem__"(slice(range));
        /// A copy of all items.
        to_vec() -> Vec<T> = "__getitem__"(slice(Range::default()));
    }

    /// Whether it has no items.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Adds items at the end, in one call.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn extend(&self, items: impl IntoIterator<Item = T>) -> Result<()> {
        self.proxy.call("extend", (items.into_iter().collect::<Vec<_>>(),))
    }

    /// Puts items in the place of a slice. A slice with steps needs as many as it has.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn set_slice(&self, range: Range, items: impl IntoIterator<Item = T>) -> Result<()> {
        let items: Vec<_> = items.into_iter().collect();
        self.proxy.call("__setitem__", (slice(range), items))
    }

    /// Makes it so many times itself, as `*=` does.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn repeat(&self, times: i64) -> Result<()> {
        // It answers with the list.
        self.proxy.call::<Dynamic>("__imul__", (times,)).map(drop)
    }
}

impl<T: Serialize + DeserializeOwned> PythonSet<T> {
    calls! {
        /// Adds a member.
        add(item: &T) -> () = "add"(item);
        /// Takes a member out, if it is one: Python's `discard`.
        remove(item: &T) -> () = "discard"(item);
        /// Whether it is a member.
        contains(item: &T) -> bool = "__contains__"(item);
        /// How many members there are.
        len() -> usize = "__len__"();
        /// Takes all members out.
        clear() -> () = "clear"();
        /// A copy of all members, in no order.
        to_vec() -> Vec<T> = "copy"();
    }

    /// Whether it has no members.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Takes any member out.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn pop(&self) -> Result<Option<T>> {
        match self.proxy.call("pop", ()) {
            Err(PythonError::Fault(Fault::Key)) => Ok(None),
            answer => answer.map(Some),
        }
    }
}

/// Methods of sets that take another one.
macro_rules! with_another {
    ($($(#[$attribute:meta])* $name:ident -> $out:ty = $method:literal;)*) => {
        impl<T: Serialize + DeserializeOwned> PythonSet<T> {
            $(
                $(#[$attribute])*
                ///
                /// # Errors
                /// [`PythonError`].
                pub fn $name(&self, other: impl IntoIterator<Item = T>) -> Result<$out> {
                    self.proxy.call($method, (other.into_iter().collect::<Vec<_>>(),))
                }
            )*
        }
    };
}

with_another! {
    /// Adds several members in one call: Python's `update`.
    extend -> () = "update";
    /// Keeps what is in the other one too: Python's `intersection_update`.
    intersect -> () = "intersection_update";
    /// Takes out what is in the other one: Python's `difference_update`.
    subtract -> () = "difference_update";
    /// Keeps what is in one of the two only: Python's `symmetric_difference_update`.
    toggle -> () = "symmetric_difference_update";
    /// What is in either, without a change of this one.
    union -> Vec<T> = "union";
    /// What is in both.
    intersection -> Vec<T> = "intersection";
    /// What is in this one only.
    difference -> Vec<T> = "difference";
    /// What is in one of them only.
    symmetric_difference -> Vec<T> = "symmetric_difference";
    /// Whether the other one has all members of this one.
    is_subset -> bool = "issubset";
    /// Whether this one has all members of the other one.
    is_superset -> bool = "issuperset";
    /// Whether they have no member in common.
    is_disjoint -> bool = "isdisjoint";
}

impl PythonNamespace {
    /// Whether it has such an attribute.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn has(&self, name: &str) -> Result<bool> {
        match missing(self.proxy.call::<Dynamic>("__getattribute__", (name,))) {
            Err(PythonError::Fault(Fault::Key)) => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    /// A copy of an attribute.
    ///
    /// # Errors
    /// [`Fault::Key`] when there is none; [`PythonError::Value`] when it is of another type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        missing(self.proxy.call("__getattribute__", (name,)))
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn set<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        self.proxy.call("__setattr__", (name, value))
    }

    /// Takes an attribute away: Python's `del`.
    ///
    /// # Errors
    /// [`Fault::Key`] when there is none.
    pub fn delete(&self, name: &str) -> Result<()> {
        missing(self.proxy.call("__delattr__", (name,)))
    }
}

/// A missing attribute as a namespace of our own has it.
fn missing<T>(answer: Result<T>) -> Result<T> {
    match answer {
        Err(PythonError::Raised(raised)) if raised.class == "builtins.AttributeError" => {
            Err(Fault::Key.into())
        }
        answer => answer,
    }
}

impl<T: Serialize + DeserializeOwned> PythonValue<T> {
    calls! {
        /// A copy of the value.
        get() -> T = "get"();
        /// Replaces the value.
        set(to: &T) -> () = "set"(to);
    }
}

impl<T: Serialize + DeserializeOwned> PythonArray<T> {
    calls! {
        /// A copy of a cell.
        get(index: i64) -> T = "__getitem__"(index);
        /// Replaces a cell.
        set(index: i64, to: &T) -> () = "__setitem__"(index, to);
        /// How many cells there are.
        len() -> usize = "__len__"();
        /// Copies of the cells of a slice.
        slice(range: Range) -> Vec<T> = "__getitem__"(slice(range));
        /// Copies of all cells.
        to_vec() -> Vec<T> = "__getitem__"(slice(Range::default()));
    }

    /// Whether it has no cells.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A slice as Python has it.
fn slice(Range { start, stop, step }: Range) -> Dynamic {
    Dynamic::Slice(Box::new([start.into(), stop.into(), step.into()]))
}

/// An iterator, or a generator, at a [`PythonManager`](super::PythonManager): an item is made
/// when it is asked for. It ends with the last item, and with the first error.
pub struct PythonIterator<T> {
    /// Until it is over.
    source: Option<Result<PythonProxy>>,
    items: PhantomData<fn() -> T>,
}

impl<T> PythonIterator<T> {
    fn of(source: Result<PythonProxy>) -> Self {
        Self { source: Some(source), items: PhantomData }
    }
}

impl<T> From<PythonProxy> for PythonIterator<T> {
    fn from(proxy: PythonProxy) -> Self {
        Self::of(Ok(proxy))
    }
}

impl<T: DeserializeOwned> Iterator for PythonIterator<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let source = self.source.take()?;
        let step = |proxy: PythonProxy| {
            let item = proxy.call("__next__", ())?;
            self.source = Some(Ok(proxy));
            Ok(item)
        };
        match source.and_then(step) {
            Err(PythonError::Raised(raised)) if raised.class == "builtins.StopIteration" => None,
            item => Some(item),
        }
    }
}

impl<T> fmt::Debug for PythonIterator<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PythonIterator").field(&self.source).finish()
    }
}
