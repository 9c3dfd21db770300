//! A table whose keys keep the order in which they came, as Python's dicts do.
//!
//! Owns the order; dicts and sets stand on it. Looking up, adding and removing are as
//! quick as a hash table and a tree of the same size.

use super::Value;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

#[derive(Debug, Clone)]
pub(super) struct Ordered<V, T> {
    places: HashMap<V, u64>,
    entries: BTreeMap<u64, (V, T)>,
    last: u64,
    /// Changes whenever a key comes or goes.
    form: u64,
}

impl<V: Value, T> Ordered<V, T> {
    pub(super) fn new() -> Self {
        Self { places: HashMap::new(), entries: BTreeMap::new(), last: 0, form: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn form(&self) -> u64 {
        self.form
    }

    pub(super) fn has(&self, key: &V) -> bool {
        self.places.contains_key(key)
    }

    pub(super) fn get(&self, key: &V) -> Option<&T> {
        Some(&self.entries.get(self.places.get(key)?)?.1)
    }

    /// Adds a key at the end, or replaces its value where it stands; gives the old value.
    pub(super) fn insert(&mut self, key: V, value: T) -> Option<T> {
        if let Some((_, old)) = self.places.get(&key).and_then(|place| self.entries.get_mut(place))
        {
            return Some(std::mem::replace(old, value));
        }
        self.last += 1;
        self.form += 1;
        self.places.insert(key.clone(), self.last);
        self.entries.insert(self.last, (key, value));
        None
    }

    pub(super) fn remove(&mut self, key: &V) -> Option<T> {
        let place = self.places.remove(key)?;
        self.form += 1;
        self.entries.remove(&place).map(|(_, value)| value)
    }

    /// Takes the youngest, or the oldest.
    pub(super) fn pop(&mut self, youngest: bool) -> Option<(V, T)> {
        let taken = if youngest { self.entries.pop_last() } else { self.entries.pop_first() };
        let (_, (key, value)) = taken?;
        self.places.remove(&key);
        self.form += 1;
        Some((key, value))
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.entries.clear();
        self.form += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&V, &T)> {
        self.entries.values().map(|(key, value)| (key, value))
    }

    /// Keys beyond a place, upwards or downwards, each with its place.
    pub(super) fn beyond(
        &self,
        place: Option<u64>,
        backwards: bool,
    ) -> Box<dyn Iterator<Item = (u64, &V)> + '_> {
        if backwards {
            let range = self.entries.range(..place.unwrap_or(u64::MAX));
            Box::new(range.rev().map(|(place, (key, _))| (*place, key)))
        } else {
            let from = place.map_or(Bound::Unbounded, Bound::Excluded);
            let range = self.entries.range((from, Bound::Unbounded));
            Box::new(range.map(|(place, (key, _))| (*place, key)))
        }
    }
}
