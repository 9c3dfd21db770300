//! Plain data whose shape only shows at run time: what a Python program sends, and what a
//! managed object holds for clients of several kinds.
//!
//! Owns [`Dynamic`], when two of them are the same (`same`: as in Python, `1`, `1.0` and `True`
//! are one key), how they look (`text`), and the ways to and from values of Rust's (`ser`,
//! `de`), and which values are plain as they stand (`probe`). It must never hold code: an exception here is a name with arguments, a proxy is an
//! address. Neighbour: `pickle`, which reads and writes them.

mod big;
mod de;
mod probe;
mod same;
mod ser;
mod text;

#[cfg(test)]
mod tests;

pub use big::BigInt;
pub use ser::NotPlain;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The name by which the conversions know a [`Dynamic`] inside of another value.
pub(crate) const NAME: &str = "procession::Dynamic";

/// A value of Python's kinds.
///
/// ```
/// use procession_protocols::dynamic::Dynamic;
///
/// let list = Dynamic::from(vec![Dynamic::from(1), "two".into(), ().into()]);
/// assert_eq!(list.to_string(), "[1, 'two', None]");
/// assert_eq!(Dynamic::from(1), Dynamic::from(1.0));
/// assert_eq!(Dynamic::of(&(1, "two"))?.to::<(u8, String)>()?, (1, "two".into()));
/// # Ok::<(), procession_protocols::dynamic::NotPlain>(())
/// ```
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename = "procession::Dynamic")]
#[non_exhaustive]
pub enum Dynamic {
    /// `None`.
    #[default]
    None,
    /// `True` and `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer that is no `i64`.
    Big(BigInt),
    /// A float.
    Float(f64),
    /// A text.
    Str(String),
    /// `bytes` or `bytearray`.
    #[serde(with = "bytes")]
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Dynamic>),
    /// A tuple.
    Tuple(Vec<Dynamic>),
    /// A dict, in its order.
    Dict(Vec<(Dynamic, Dynamic)>),
    /// A set.
    Set(Vec<Dynamic>),
    /// A frozenset.
    FrozenSet(Vec<Dynamic>),
    /// `slice(start, stop, step)`.
    Slice(Box<[Dynamic; 3]>),
    /// An exception.
    Exception(Exception),
    /// What names an object of a manager.
    Token(Token),
    /// A proxy of an object of a manager.
    Proxy(Box<Proxy>),
}

/// An exception: its class by name, and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exception {
    /// `builtins.KeyError`, `_queue.Empty`.
    pub class: String,
    /// What it was made with.
    pub args: Vec<Dynamic>,
}

/// Names an object of a manager.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token {
    /// What kind of object it is, as registered.
    pub typeid: String,
    /// Where its manager is: a tuple of host and port, a path, or bytes for an abstract socket.
    pub address: Box<Dynamic>,
    /// Its number there, as text.
    pub id: String,
}

/// A proxy as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proxy {
    /// The name of its class in `multiprocessing.managers`: `ListProxy`, `AutoProxy`.
    pub class: String,
    /// Of what it is a proxy.
    pub token: Token,
    /// How its manager writes values: `pickle`.
    pub serializer: String,
    /// Its methods, where the class does not say them.
    pub exposed: Option<Vec<String>>,
}

impl Dynamic {
    /// A value as plain data: structs and maps are dicts, sequences lists, tuples tuples,
    /// variants of enums their name or a dict of one entry.
    ///
    /// # Errors
    /// [`NotPlain`] with what its `Serialize` says.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, NotPlain> {
        value.serialize(ser::ToDynamic)
    }

    /// A value that is plain as it stands: a `Dynamic`, or one text, number, truth value, string
    /// of bytes, or nothing. `None` of a value that is made of parts, which is plain data only
    /// if somebody asks for it, by [`of`](Self::of).
    pub fn as_it_stands<T: Serialize + ?Sized>(value: &T) -> Option<Self> {
        if probe::is_plain(value) { Self::of(value).ok() } else { None }
    }

    /// The value that this is the plain data of.
    ///
    /// # Errors
    /// [`NotPlain`] when it is another kind of value.
    pub fn to<T: DeserializeOwned>(self) -> Result<T, NotPlain> {
        T::deserialize(self)
    }

    /// Bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// An integer of any size, from its bytes in two's complement, lowest first.
    pub fn integer(bytes: &[u8]) -> Self {
        // Most are small, whatever room they were given.
        let sign = bytes.last().map_or(0, |last| if *last < 0x80 { 0 } else { 0xff });
        let (low, high) = bytes.split_at(bytes.len().min(8));
        let mut small = [sign; 8];
        small[..low.len()].copy_from_slice(low);
        let small = i64::from_le_bytes(small);
        if high.iter().all(|byte| *byte == sign) && (small < 0) == (sign != 0) {
            return Self::Int(small);
        }
        Self::Big(BigInt::from_le_bytes(bytes))
    }

    fn number(value: i128) -> Self {
        i64::try_from(value).map_or_else(|_| Self::integer(&value.to_le_bytes()), Self::Int)
    }

    /// Whether it is `None`.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The integer; a bool is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bool(value) => Some((*value).into()),
            _ => None,
        }
    }

    /// The text.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(text) } else { None }
    }

    /// The items of a list, tuple or set.
    pub fn as_items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Set(items) | Self::FrozenSet(items) => {
                Some(items)
            }
            _ => None,
        }
    }

    /// What a dict has at this key.
    pub fn get(&self, key: impl Into<Self>) -> Option<&Self> {
        let key = key.into();
        let Self::Dict(entries) = self else { return None };
        entries.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Which of two comes first, as Python's `<` has it: numbers, texts, bytes, and lists and
    /// tuples of such. `None` of what has no order.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Str(a), Self::Str(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                let differ = a.iter().zip(b).find(|(a, b)| a != b);
                differ.map_or(Some(a.len().cmp(&b.len())), |(a, b)| a.compare(b))
            }
            _ => same::compare(self, other),
        }
    }

    /// Whether it can be a key, or in a set.
    pub fn is_hashable(&self) -> bool {
        match self {
            Self::List(_) | Self::Dict(_) | Self::Set(_) => false,
            Self::Tuple(items) | Self::FrozenSet(items) => items.iter().all(Self::is_hashable),
            _ => true,
        }
    }
}

impl From<()> for Dynamic {
    fn from((): ()) -> Self {
        Self::None
    }
}

impl From<bool> for Dynamic {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Dynamic {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Dynamic {
    fn from(value: &str) -> Self {
        Self::Str(value.into())
    }
}

impl From<String> for Dynamic {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

macro_rules! from_integers {
    ($($integer:ty)*) => {
        $(impl From<$integer> for Dynamic {
            fn from(value: $integer) -> Self {
                Self::number(value.into())
            }
        })*
    };
}
from_integers!(i8 i16 i32 i64 i128 u16 u32 u64);

impl<T: Into<Dynamic>> From<Vec<T>> for Dynamic {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Dynamic>> From<Option<T>> for Dynamic {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl<A: Into<Dynamic>, B: Into<Dynamic>> From<(A, B)> for Dynamic {
    fn from((a, b): (A, B)) -> Self {
        Self::Tuple(vec![a.into(), b.into()])
    }
}

impl<A: Into<Dynamic>, B: Into<Dynamic>, C: Into<Dynamic>> From<(A, B, C)> for Dynamic {
    fn from((a, b, c): (A, B, C)) -> Self {
        Self::Tuple(vec![a.into(), b.into(), c.into()])
    }
}

impl From<Exception> for Dynamic {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}

/// Bytes as one string of bytes, not number by number.
pub(crate) mod bytes {
    use serde::de::{SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.into())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }

            /// JSON has no bytes.
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
