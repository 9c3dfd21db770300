//! `DictProxy`: a dict at a manager.
//!
//! Owns the typed calls. Keys are equal when they are encoded alike.

use super::proxy::{Result, boolean, calls, done, maybe, number, pairs, proxy, value, values};
use procession_protocols::manager::{Call, DictCall, Place, Reply};
use procession_runtime::manager::{Ask, Change, ManagerError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt;

proxy! {
    /// A dict at a [`Manager`](crate::Manager), as Python's `DictProxy`: keys in the order
    /// in which they came.
    ///
    /// What [`get`](Self::get) returns is a copy. A change of it is seen by nobody until it
    /// is put back by [`insert`](Self::insert); [`update`](Self::update) changes a value in
    /// one step, in the manager. A value may be a proxy itself, whose changes are seen at
    /// once; its object lives as long as the value is there.
    ///
    /// Any number of threads and processes may use one at a time.
    ///
    /// ```
    /// use procession::{Manager, Process};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::start()?;
    /// let dict = manager.dict::<String, u64>()?;
    /// dict.insert(&"a".into(), &1)?;
    /// let add = |dict: procession::manager::DictProxy<String, u64>| {
    ///     dict.update(&"a".into(), |value: &mut u64, n: u64| *value += n, 41).unwrap();
    /// };
    /// Process::spawn(add, (dict.clone(),))?.result()?;
    /// assert_eq!(dict.get(&"a".into())?, Some(42));
    /// # Ok(())
    /// # }
    /// ```
    DictProxy<K, V>
}

impl<K, V> DictProxy<K, V>
where
    K: Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    calls! {
        /// A copy of the value of a key.
        get get_async(proxy, key: &K) -> Option<V> {
            Call::Dict(DictCall::Get(proxy.encode(key)?)) => maybe
        }

        /// Sets the value of a key.
        insert insert_async(proxy, key: &K, value: &V) -> () {
            Call::Dict(DictCall::Set(proxy.encode(key)?, proxy.encode(value)?)) => done
        }

        /// Sets the value of a key; gives what was there.
        replace replace_async(proxy, key: &K, value: &V) -> Option<V> {
            Call::Dict(DictCall::Replace(proxy.encode(key)?, proxy.encode(value)?)) => maybe
        }

        /// Sets the value of a key that has none; gives the value that is there then.
        set_default set_default_async(proxy, key: &K, default: &V) -> V {
            Call::Dict(DictCall::SetDefault(proxy.encode(key)?, proxy.encode(default)?)) => value
        }

        /// Takes a key out; gives its value.
        pop pop_async(proxy, key: &K) -> Option<V> {
            Call::Dict(DictCall::Pop(proxy.encode(key)?)) => maybe
        }

        /// Takes the youngest key out.
        pop_item pop_item_async(_proxy) -> Option<(K, V)> {
            Call::Dict(DictCall::PopItem) => |answer| match answer {
                Reply::None => Ok(None),
                answer => pairs(answer).map(|mut pairs| pairs.pop()),
            }
        }

        /// Whether it has the key.
        contains_key contains_key_async(proxy, key: &K) -> bool {
            Call::Dict(DictCall::Contains(proxy.encode(key)?)) => boolean
        }

        /// How many keys it has.
        len len_async(_proxy) -> usize { Call::Dict(DictCall::Len) => number }

        /// Takes all keys out.
        clear clear_async(_proxy) -> () { Call::Dict(DictCall::Clear) => done }

        /// All keys, the oldest first.
        keys keys_async(_proxy) -> Vec<K> { Call::Dict(DictCall::Keys) => values }

        /// All values, in the order of the keys.
        values values_async(_proxy) -> Vec<V> { Call::Dict(DictCall::Values) => values }

        /// A copy of all pairs.
        items items_async(_proxy) -> Vec<(K, V)> { Call::Dict(DictCall::Items) => pairs }
    }

    /// Whether it has no keys.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Sets several pairs in one step, as Python's `update` and `|=` do.
    ///
    /// # Errors
    /// [`ManagerError`]; then none is set.
    pub fn extend(&self, items: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        let encode = |(key, value)| Ok((self.proxy.encode(&key)?, self.proxy.encode(&value)?));
        let items = items.into_iter().map(encode).collect::<Result<_>>()?;
        done(self.proxy.call(Call::Dict(DictCall::Update(items)), None)?)
    }

    /// Changes the value of a key in one step: `change` runs in the manager, where nobody
    /// sees the dict before it is done. It is a `fn` item or a closure that captures
    /// nothing; what it needs are its arguments.
    ///
    /// # Errors
    /// [`Fault::Key`](super::Fault::Key) when the key has no value; [`Fault::Failed`](super::Fault::Failed) when the function
    /// panics, and then nothing is changed.
    pub fn update<F, A, R>(&self, key: &K, change: F, args: A) -> Result<R>
    where
        F: Fn(&mut V, A) -> R + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let function = Change::one(change).map_err(super::not_in_image)?;
        self.change(Place::Key(self.proxy.encode(key)?), function, &args)
    }

    /// As [`update`](Self::update), for a key that may have no value: the function sees
    /// `None`, and leaves `None` to take the key out.
    ///
    /// # Errors
    /// As [`update`](Self::update), but for a missing value.
    pub fn update_entry<F, A, R>(&self, key: &K, change: F, args: A) -> Result<R>
    where
        F: Fn(&mut Option<V>, A) -> R + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let function = Change::entry(change).map_err(super::not_in_image)?;
        self.change(Place::Key(self.proxy.encode(key)?), function, &args)
    }

    fn change<A: Serialize, R: DeserializeOwned>(
        &self,
        place: Place<procession_runtime::manager::Stored>,
        function: procession_runtime::function::FunctionRef,
        args: &A,
    ) -> Result<R> {
        let args = self.proxy.encode(args)?;
        value(self.proxy.ask(Ask::Change { place, function, args }, None)?)
    }

    /// Goes over the keys, the oldest first, some at a time.
    ///
    /// When it asks for more and a key has come or gone since it began, it ends with
    /// [`Fault::Changed`](super::Fault::Changed); values may change.
    pub fn iter(&self) -> DictIter<K, V> {
        DictIter::new(self.clone(), false)
    }

    /// As [`iter`](Self::iter), the youngest first.
    pub fn iter_reversed(&self) -> DictIter<K, V> {
        DictIter::new(self.clone(), true)
    }
}

impl<K, V> IntoIterator for &DictProxy<K, V>
where
    K: Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    type Item = Result<K>;
    type IntoIter = DictIter<K, V>;

    fn into_iter(self) -> DictIter<K, V> {
        self.iter()
    }
}

/// The keys of a dict; see [`DictProxy::iter`].
pub struct DictIter<K, V> {
    dict: DictProxy<K, V>,
    backwards: bool,
    form: Option<u64>,
    position: Option<u64>,
    ahead: VecDeque<K>,
    has_more: bool,
}

/// So many keys are asked for at a time.
const AT_A_TIME: u32 = 256;

impl<K, V> DictIter<K, V> {
    fn new(dict: DictProxy<K, V>, backwards: bool) -> Self {
        let ahead = VecDeque::new();
        Self { dict, backwards, form: None, position: None, ahead, has_more: true }
    }
}

impl<K: DeserializeOwned, V> DictIter<K, V> {
    fn fetch(&mut self) -> Result<()> {
        let Self { form, position, backwards, .. } = *self;
        let call = DictCall::Next { position, form, most: AT_A_TIME, backwards };
        match self.dict.proxy.call(Call::Dict(call), None)? {
            Reply::Keys { form, position, keys } => {
                self.form = Some(form);
                self.position = position;
                self.has_more = position.is_some();
                for key in keys {
                    self.ahead.push_back(key.decode()?);
                }
                Ok(())
            }
            _ => Err(ManagerError::Unexpected),
        }
    }
}

impl<K: DeserializeOwned, V> Iterator for DictIter<K, V> {
    type Item = Result<K>;

    fn next(&mut self) -> Option<Result<K>> {
        if self.ahead.is_empty() && !self.has_more {
            return None;
        }
        if self.ahead.is_empty()
            && let Err(error) = self.fetch()
        {
            self.has_more = false;
            return Some(Err(error));
        }
        self.ahead.pop_front().map(Ok)
    }
}

impl<K, V> fmt::Debug for DictIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DictIter({:?})", self.dict)
    }
}
