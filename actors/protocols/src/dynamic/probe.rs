//! Whether a value is plain as it stands.
//!
//! Owns the question: is it a [`Dynamic`](super::Dynamic), or one text, number, truth value,
//! string of bytes, or nothing? Those mean the same to every reader, whatever the types of
//! its language. Of all others the first word of their `Serialize` is enough to say no.

use super::NAME;
use serde::ser::{Impossible, Serialize, Serializer};
use std::fmt;

/// Whether a value is plain as it stands.
pub(super) fn is_plain<T: Serialize + ?Sized>(value: &T) -> bool {
    value.serialize(Probe).is_ok()
}

struct Probe;

/// It is made of parts.
#[derive(Debug)]
struct Compound;

impl fmt::Display for Compound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is made of parts")
    }
}

impl std::error::Error for Compound {}

impl serde::ser::Error for Compound {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Answer = Result<(), Compound>;
type Parts = Result<Impossible<(), Compound>, Compound>;

fn is_dynamic(name: &str) -> Answer {
    if name == NAME { Ok(()) } else { Err(Compound) }
}

macro_rules! plain {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, _: $type) -> Answer {
            Ok(())
        })*
    };
}

impl Serializer for Probe {
    type Ok = ();
    type Error = Compound;
    type SerializeSeq = Impossible<(), Compound>;
    type SerializeTuple = Impossible<(), Compound>;
    type SerializeTupleStruct = Impossible<(), Compound>;
    type SerializeTupleVariant = Impossible<(), Compound>;
    type SerializeMap = Impossible<(), Compound>;
    type SerializeStruct = Impossible<(), Compound>;
    type SerializeStructVariant = Impossible<(), Compound>;

    plain!(
        serialize_bool: bool, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_u128: u128, serialize_f32: f32, serialize_f64: f64
    );

    fn serialize_unit(self) -> Answer {
        Ok(())
    }

    /// An option of an option would lose one of its two kinds of nothing.
    fn serialize_none(self) -> Answer {
        Err(Compound)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Answer {
        Err(Compound)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Answer {
        Err(Compound)
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, _: &'static str) -> Answer {
        is_dynamic(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Answer {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Answer {
        is_dynamic(name)
    }

    fn serialize_seq(self, _: Option<usize>) -> Parts {
        Err(Compound)
    }

    fn serialize_tuple(self, _: usize) -> Parts {
        Err(Compound)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Parts {
        Err(Compound)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Parts {
        Err(Compound)
    }

    fn serialize_map(self, _: Option<usize>) -> Parts {
        Err(Compound)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Parts {
        Err(Compound)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Parts {
        Err(Compound)
    }
}
