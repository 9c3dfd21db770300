//! A value that counts how many of it exist in a process.
//!
//! Owns the count. Tests of who keeps arguments and results send such values; each that is
//! made, decoded or dropped is counted where that happens.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::atomic::{AtomicUsize, Ordering};

static COUNTED: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
pub(crate) struct Counted(pub(crate) u64);

impl Counted {
    pub(crate) fn new(value: u64) -> Self {
        COUNTED.fetch_add(1, Ordering::SeqCst);
        Self(value)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNTED.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::new)
    }
}

/// How many there are in this process.
pub(crate) fn counted() -> usize {
    COUNTED.load(Ordering::SeqCst)
}
