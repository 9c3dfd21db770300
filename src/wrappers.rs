//! Values that travel in another format, for types that the usual one cannot carry.
//!
//! Owns three wrappers. The usual format says nothing of a value's shape, so that it has no
//! way for serde's `flatten`, `untagged`, `skip_serializing_if` and `serde_json::Value`;
//! JSON and `MessagePack` have one: each of these two is one string of bytes to the format
//! outside. The third is plain data. Descriptors ([`Fd`](crate::Fd)) do not travel inside.

use procession_protocols::dynamic::Dynamic;
use serde::de::{DeserializeOwned, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// A value that travels as JSON.
///
/// ```
/// use procession::{Json, Process};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Options {
///     #[serde(skip_serializing_if = "Option::is_none")]
///     colour: Option<String>,
/// }
///
/// # fn main() -> procession::Result<()> {
/// let options = Json(Options { colour: None });
/// let plain = Process::spawn(|Json(o): Json<Options>| o.colour.is_none(), (options,))?;
/// assert!(plain.result()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(pub T);

/// A value that travels as `MessagePack`, fields by name: as [`Json`], but smaller, and
/// with bytes and numbers as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsgPack<T>(pub T);

/// A value that is kept and travels as plain data: what a [`Dynamic`] of it is.
///
/// A [`Manager`](crate::Manager) keeps the values of Rust types as their own bytes, but for
/// numbers, texts and the like. In a `PlainData` all parts can be seen, by Python programs too,
/// and two are the same key when Python's `==` says so. Structs are dicts by the names of
/// their fields; `Some(None)` is `None`.
///
/// ```
/// use procession::{Dynamic, Manager, PlainData, manager::ListProxy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = Manager::start()?;
/// let list: ListProxy<PlainData<(String, u8)>> = manager.list([PlainData(("a".into(), 1))])?;
/// assert_eq!(list.get(0)?.0, ("a".into(), 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainData<T>(pub T);

impl<T: Serialize> Serialize for PlainData<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Dynamic::of(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for PlainData<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Dynamic::deserialize(deserializer)?.to().map(Self).map_err(serde::de::Error::custom)
    }
}

impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&serde_json::to_vec(&self.0).map_err(S::Error::custom)?)
    }
}

impl<T: Serialize> Serialize for MsgPack<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&rmp_serde::to_vec_named(&self.0).map_err(S::Error::custom)?)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|error| error.to_string());
        deserializer.deserialize_byte_buf(Bytes(read, PhantomData)).map(Self)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for MsgPack<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |bytes: &[u8]| rmp_serde::from_slice(bytes).map_err(|error| error.to_string());
        deserializer.deserialize_byte_buf(Bytes(read, PhantomData)).map(Self)
    }
}

/// Reads bytes, borrowed or not, by a function.
struct Bytes<T, F>(F, PhantomData<T>);

impl<T, F: FnOnce(&[u8]) -> Result<T, String>> Visitor<'_> for Bytes<T, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        (self.0)(bytes).map_err(E::custom)
    }
}
