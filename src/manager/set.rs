//! `SetProxy`: a set at a manager.
//!
//! Owns the typed calls. Members are equal when they are encoded alike.

use super::proxy::{Answer, Result, boolean, calls, done, maybe, number, proxy, values};
use procession_protocols::manager::{Call, Reply, SetCall, Union};
use procession_runtime::manager::{ManagerError, Stored};
use serde::Serialize;
use serde::de::DeserializeOwned;

proxy! {
    /// A set at a [`Manager`](crate::Manager), as Python's `SetProxy`. What two sets make
    /// together is worked out in the manager.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = procession::Manager::start()?;
    /// let set = manager.set(["a".to_string(), "b".to_string()])?;
    /// assert!(!set.add(&"a".into())?);
    /// assert_eq!(set.difference(["b".to_string()])?, ["a"]);
    /// # Ok(())
    /// # }
    /// ```
    SetProxy<T>
}

impl<T: Serialize + DeserializeOwned + 'static> SetProxy<T> {
    calls! {
        /// Adds a member: whether it is new.
        add add_async(proxy, item: &T) -> bool {
            Call::Set(SetCall::Add(proxy.encode(item)?)) => boolean
        }

        /// Takes a member out, if it is one: Python's `discard`.
        remove remove_async(proxy, item: &T) -> bool {
            Call::Set(SetCall::Remove(proxy.encode(item)?)) => boolean
        }

        /// Takes out the member that has been there for longest.
        pop pop_async(_proxy) -> Option<T> { Call::Set(SetCall::Pop) => maybe }

        /// Whether it is a member.
        contains contains_async(proxy, item: &T) -> bool {
            Call::Set(SetCall::Contains(proxy.encode(item)?)) => boolean
        }

        /// How many members there are.
        len len_async(_proxy) -> usize { Call::Set(SetCall::Len) => number }

        /// Takes all members out.
        clear clear_async(_proxy) -> () { Call::Set(SetCall::Clear) => done }

        /// A copy of all members, in the order in which they came.
        to_vec to_vec_async(_proxy) -> Vec<T> { Call::Set(SetCall::Items) => values }
    }

    /// Whether it has no members.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Adds several members in one step: Python's `update` and `|=`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn extend(&self, other: impl IntoIterator<Item = T>) -> Result<()> {
        done(self.combine(Union::Either, other, true)?)
    }

    /// Keeps what is in the other one too: `&=`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn intersect(&self, other: impl IntoIterator<Item = T>) -> Result<()> {
        done(self.combine(Union::Both, other, true)?)
    }

    /// Takes out what is in the other one: `-=`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn subtract(&self, other: impl IntoIterator<Item = T>) -> Result<()> {
        done(self.combine(Union::Without, other, true)?)
    }

    /// Keeps what is in one of the two only: `^=`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn toggle(&self, other: impl IntoIterator<Item = T>) -> Result<()> {
        done(self.combine(Union::OneOf, other, true)?)
    }

    /// What is in either, without a change of this one: `|`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn union(&self, other: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
        values(self.combine(Union::Either, other, false)?)
    }

    /// What is in both: `&`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn intersection(&self, other: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
        values(self.combine(Union::Both, other, false)?)
    }

    /// What is in this one only: `-`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn difference(&self, other: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
        values(self.combine(Union::Without, other, false)?)
    }

    /// What is in one of them only: `^`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn symmetric_difference(&self, other: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
        values(self.combine(Union::OneOf, other, false)?)
    }

    /// Whether the other one has all members of this one: `<=`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_subset(&self, other: impl IntoIterator<Item = T>) -> Result<bool> {
        Ok(self.relate(other)?.0)
    }

    /// Whether this one has all members of the other one: `>=`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_superset(&self, other: impl IntoIterator<Item = T>) -> Result<bool> {
        Ok(self.relate(other)?.1)
    }

    /// Whether they have no member in common.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_disjoint(&self, other: impl IntoIterator<Item = T>) -> Result<bool> {
        Ok(self.relate(other)?.2)
    }

    fn combine(
        &self,
        how: Union,
        other: impl IntoIterator<Item = T>,
        in_place: bool,
    ) -> Result<Answer> {
        let other = self.encode_all(other)?;
        self.proxy.call(Call::Set(SetCall::Combine { how, other, in_place }), None)
    }

    fn relate(&self, other: impl IntoIterator<Item = T>) -> Result<(bool, bool, bool)> {
        let other = self.encode_all(other)?;
        match self.proxy.call(Call::Set(SetCall::Relate(other)), None)? {
            Reply::Relation { is_subset, is_superset, is_disjoint } => {
                Ok((is_subset, is_superset, is_disjoint))
            }
            _ => Err(ManagerError::Unexpected),
        }
    }

    fn encode_all(&self, items: impl IntoIterator<Item = T>) -> Result<Vec<Stored>> {
        items.into_iter().map(|item| self.proxy.encode(&item)).collect()
    }
}
