//! What kinds keep for a client, or for an owner, over all their objects.
//!
//! Owns the table, by type. It must never know what it keeps. Neighbours: `connection` and
//! `client` have one each.

use crate::sync::lock;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Values of kinds' own types, one of each.
#[derive(Default)]
pub(super) struct Extensions(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Extensions {
    pub(super) fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut all = lock(&self.0);
        let one = all.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        let Ok(one) = one.clone().downcast() else { unreachable!("the key is the type") };
        one
    }

    /// Drops them all.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *lock(&self.0));
        drop(all);
    }
}
