//! Plain data as a server keeps it, and bytes.
//!
//! Owns how it is kept and how it travels. What has no parts, a number or the like, stands in
//! its place; anything else is shared by the value's clones. It must never matter to equality
//! which of the two it is. Neighbour: `stored`, values of both forms.

use super::{far, json};
use procession_protocols::dynamic::Dynamic;
use procession_protocols::pickle::{self, Limits, PickleError};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Plain data.
#[derive(Debug, Clone)]
pub(super) enum Plain {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Shared(Arc<Dynamic>),
}

impl From<Dynamic> for Plain {
    fn from(value: Dynamic) -> Self {
        match value {
            Dynamic::None => Self::None,
            Dynamic::Bool(value) => Self::Bool(value),
            Dynamic::Int(value) => Self::Int(value),
            Dynamic::Float(value) => Self::Float(value),
            value => Self::Shared(Arc::new(value)),
        }
    }
}

impl Plain {
    /// The data.
    pub(super) fn value(&self) -> Cow<'_, Dynamic> {
        Cow::Owned(match self {
            Self::None => Dynamic::None,
            Self::Bool(value) => Dynamic::Bool(*value),
            Self::Int(value) => Dynamic::Int(*value),
            Self::Float(value) => Dynamic::Float(*value),
            Self::Shared(value) => return Cow::Borrowed(value),
        })
    }
}

impl PartialEq for Plain {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(one), Self::Int(other)) => one == other,
            _ => self.value() == other.value(),
        }
    }
}

impl Eq for Plain {}

impl Hash for Plain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value().hash(state);
    }
}

/// Bytes that serde carries as such.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Bytes(pub(super) Arc<[u8]>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taker;
        impl Visitor<'_> for Taker {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.into()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Taker)
    }
}

/// What no pickle of ours costs for each of its bytes, which names nothing twice.
const MOST_FOR_A_BYTE: usize = 256;

/// What a reader may spend. Within the tree whatever was written is read; from outside, what is
/// one long string of bytes may be as long as its message.
fn limits(bytes: &[u8]) -> Limits {
    let limits = Limits::default();
    let for_a_byte = if far::is_on_its_way() { 4 } else { MOST_FOR_A_BYTE };
    Limits {
        memory: limits.memory.saturating_add(bytes.len().saturating_mul(for_a_byte)),
        ..limits
    }
}

/// How plain data travels: what has no parts as it is, anything else as a pickle; or all of it
/// as JSON, where both ends have said so. The readers of both have bounds for what comes from
/// outside.
#[derive(Serialize)]
enum Packed<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'a str),
    Pickle(Bytes),
    Json(Bytes),
}

#[derive(Deserialize)]
enum Unpacked {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Pickle(Bytes),
    Json(Bytes),
}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let packed = match self {
            plain if far::speaks_json() => {
                let bytes = json::write(&plain.value()).map_err(serde::ser::Error::custom)?;
                Packed::Json(Bytes(bytes.into()))
            }
            Self::None => Packed::None,
            Self::Bool(value) => Packed::Bool(*value),
            Self::Int(value) => Packed::Int(*value),
            Self::Float(value) => Packed::Float(*value),
            Self::Shared(value) => match &**value {
                Dynamic::Str(text) => Packed::Str(text),
                value => {
                    let bytes = pickle::write(value).map_err(serde::ser::Error::custom)?;
                    Packed::Pickle(Bytes(bytes.into()))
                }
            },
        };
        packed.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = match Unpacked::deserialize(deserializer)? {
            Unpacked::None => return Ok(Self::None),
            Unpacked::Bool(value) => return Ok(Self::Bool(value)),
            Unpacked::Int(value) => return Ok(Self::Int(value)),
            Unpacked::Float(value) => return Ok(Self::Float(value)),
            Unpacked::Str(text) => Dynamic::Str(text),
            Unpacked::Pickle(Bytes(bytes)) => {
                pickle::read(&bytes, limits(&bytes)).map_err(|error| {
                    if matches!(error, PickleError::TooLarge(_)) {
                        far::is_too_large();
                    }
                    serde::de::Error::custom(error)
                })?
            }
            Unpacked::Json(Bytes(bytes)) => {
                json::read(&bytes, limits(&bytes).memory).map_err(serde::de::Error::custom)?
            }
        };
        Ok(value.into())
    }
}
