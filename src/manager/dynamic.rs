//! `DynDict`: a dict at a manager whose keys and values are of any of Python's kinds.
//!
//! Owns the calls that take what becomes a [`Dynamic`]; all others are those of the
//! [`DictProxy`] within.

use super::DictProxy;
use super::proxy::Result;
use crate::Dynamic;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;

/// A dict of keys and values that are plain data, as Python's: `1`, `1.0` and `true` are one
/// key. Python programs see all of it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = procession::Manager::start()?;
/// let dict = manager.dyn_dict()?;
/// dict.insert(1, "1")?;
/// dict.insert("2", 2)?;
/// dict.insert(0.25, ())?;
/// assert_eq!(dict.get(1.0)?, Some("1".into()));
/// assert_eq!(dict.len()?, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct DynDict(pub(super) DictProxy<Dynamic, Dynamic>);

impl DynDict {
    /// A copy of the value of a key.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn get(&self, key: impl Into<Dynamic>) -> Result<Option<Dynamic>> {
        self.0.get(&key.into())
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn insert(&self, key: impl Into<Dynamic>, value: impl Into<Dynamic>) -> Result<()> {
        self.0.insert(&key.into(), &value.into())
    }

    /// Takes a key out; gives its value.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn pop(&self, key: impl Into<Dynamic>) -> Result<Option<Dynamic>> {
        self.0.pop(&key.into())
    }

    /// Whether it has the key.
    ///
    /// # Errors
    /// [`ManagerError`](crate::ManagerError).
    pub fn contains_key(&self, key: impl Into<Dynamic>) -> Result<bool> {
        self.0.contains_key(&key.into())
    }
}

impl Deref for DynDict {
    type Target = DictProxy<Dynamic, Dynamic>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for DynDict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<DynDict #{}>", self.id())
    }
}
