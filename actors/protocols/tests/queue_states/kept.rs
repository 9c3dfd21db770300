//! A part of a state that many states share.
//!
//! Owns its hash: worked out once for all who share it.

use crate::word_model::explorer::key;
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// A part of a state. It says of itself the 128 bits that stand for it.
#[derive(Clone)]
pub(crate) struct Kept<T> {
    all: Rc<T>,
    /// Since its last change.
    key: Cell<Option<u128>>,
}

impl<T: Clone> Kept<T> {
    pub(crate) fn new(all: T) -> Self {
        Self { all: Rc::new(all), key: Cell::new(None) }
    }

    /// Its own from here on.
    pub(crate) fn change(&mut self) -> &mut T {
        self.key.set(None);
        Rc::make_mut(&mut self.all)
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.all
    }
}

impl<T: Hash> Hash for Kept<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let known = self.key.get().unwrap_or_else(|| key(&*self.all));
        self.key.set(Some(known));
        known.hash(state);
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.all.fmt(f)
    }
}
