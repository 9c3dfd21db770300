//! From values of Rust's to plain data.
//!
//! Owns the serializer. A [`Dynamic`] inside of a value is known by its name, and stays what
//! it is. Neighbour: `de`, the way back.

use super::{Dynamic, NAME};
use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, SerializeStruct};
use std::fmt;

/// A value and plain data do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotPlain(pub(super) String);

impl ser::Error for NotPlain {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl serde::de::Error for NotPlain {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Makes a [`Dynamic`] of what is serialized.
pub(super) struct ToDynamic;

type Made = Result<Dynamic, NotPlain>;

macro_rules! integers {
    ($($method:ident: $integer:ty),*) => {
        $(fn $method(self, value: $integer) -> Made {
            Ok(Dynamic::number(value.into()))
        })*
    };
}

impl ser::Serializer for ToDynamic {
    type Ok = Dynamic;
    type Error = NotPlain;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Entries;

    integers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64
    );

    fn serialize_u128(self, value: u128) -> Made {
        Ok(Dynamic::integer(&[&value.to_le_bytes()[..], &[0]].concat()))
    }

    fn serialize_bool(self, value: bool) -> Made {
        Ok(value.into())
    }

    fn serialize_f32(self, value: f32) -> Made {
        Ok(f64::from(value).into())
    }

    fn serialize_f64(self, value: f64) -> Made {
        Ok(value.into())
    }

    fn serialize_char(self, value: char) -> Made {
        Ok(value.to_string().into())
    }

    fn serialize_str(self, value: &str) -> Made {
        Ok(value.into())
    }

    fn serialize_bytes(self, value: &[u8]) -> Made {
        Ok(Dynamic::bytes(value))
    }

    fn serialize_none(self) -> Made {
        Ok(Dynamic::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Made {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Made {
        Ok(Dynamic::None)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Made {
        Ok(Dynamic::None)
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Made {
        Ok(if name == NAME { Dynamic::None } else { variant.into() })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Made {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Made {
        let value = value.serialize(Self)?;
        if name == NAME { dynamic(variant, value) } else { Ok(one_entry(variant, value)) }
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items, NotPlain> {
        Ok(Items { variant: None, make: Dynamic::List, made: Vec::new() })
    }

    fn serialize_tuple(self, _: usize) -> Result<Items, NotPlain> {
        Ok(Items { variant: None, make: Dynamic::Tuple, made: Vec::new() })
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items, NotPlain> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items, NotPlain> {
        Ok(Items { variant: Some(variant), make: Dynamic::Tuple, made: Vec::new() })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries, NotPlain> {
        Ok(Entries { variant: None, key: None, made: Vec::new() })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Entries, NotPlain> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries, NotPlain> {
        Ok(Entries { variant: Some(variant), key: None, made: Vec::new() })
    }
}

/// What the variant of a [`Dynamic`] is whose content has become `value`.
fn dynamic(variant: &str, value: Dynamic) -> Made {
    let items = |value: Dynamic| match value {
        Dynamic::List(items) | Dynamic::Tuple(items) => items,
        _ => Vec::new(),
    };
    Ok(match variant {
        "Big" => match value {
            Dynamic::Bytes(bytes) => Dynamic::integer(&bytes),
            other => other,
        },
        "Tuple" => Dynamic::Tuple(items(value)),
        "Set" => Dynamic::Set(items(value)),
        "FrozenSet" => Dynamic::FrozenSet(items(value)),
        "Dict" => {
            let entry = |entry| match <[Dynamic; 2]>::try_from(items(entry)) {
                Ok([key, value]) => Ok((key, value)),
                Err(_) => Err(NotPlain("an entry of a dict is a pair".into())),
            };
            Dynamic::Dict(items(value).into_iter().map(entry).collect::<Result<_, _>>()?)
        }
        "Slice" => Dynamic::Slice(value.to()?),
        "Exception" => Dynamic::Exception(value.to()?),
        "Token" => Dynamic::Token(value.to()?),
        "Proxy" => Dynamic::Proxy(value.to()?),
        _ => value,
    })
}

fn one_entry(variant: &str, value: Dynamic) -> Dynamic {
    Dynamic::Dict(vec![(variant.into(), value)])
}

/// A sequence in the making.
pub(super) struct Items {
    variant: Option<&'static str>,
    make: fn(Vec<Dynamic>) -> Dynamic,
    made: Vec<Dynamic>,
}

impl Items {
    fn finish(self) -> Dynamic {
        let value = (self.make)(self.made);
        match self.variant {
            Some(variant) => one_entry(variant, value),
            None => value,
        }
    }
}

impl SerializeSeq for Items {
    type Ok = Dynamic;
    type Error = NotPlain;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotPlain> {
        self.made.push(value.serialize(ToDynamic)?);
        Ok(())
    }

    fn end(self) -> Made {
        Ok(self.finish())
    }
}

/// The kinds of tuples do what sequences do.
macro_rules! as_sequence {
    ($($kind:ident: $method:ident),*) => {
        $(impl ser::$kind for Items {
            type Ok = Dynamic;
            type Error = NotPlain;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotPlain> {
                SerializeSeq::serialize_element(self, value)
            }

            fn end(self) -> Made {
                Ok(self.finish())
            }
        })*
    };
}
as_sequence!(
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

/// A dict in the making.
pub(super) struct Entries {
    variant: Option<&'static str>,
    key: Option<Dynamic>,
    made: Vec<(Dynamic, Dynamic)>,
}

impl Entries {
    fn finish(self) -> Dynamic {
        let value = Dynamic::Dict(self.made);
        match self.variant {
            Some(variant) => one_entry(variant, value),
            None => value,
        }
    }
}

impl SerializeMap for Entries {
    type Ok = Dynamic;
    type Error = NotPlain;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotPlain> {
        self.key = Some(key.serialize(ToDynamic)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotPlain> {
        let key = self.key.take().ok_or_else(|| NotPlain("a value without a key".into()))?;
        self.made.push((key, value.serialize(ToDynamic)?));
        Ok(())
    }

    fn end(self) -> Made {
        Ok(self.finish())
    }
}

impl SerializeStruct for Entries {
    type Ok = Dynamic;
    type Error = NotPlain;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NotPlain> {
        self.made.push((key.into(), value.serialize(ToDynamic)?));
        Ok(())
    }

    fn end(self) -> Made {
        Ok(self.finish())
    }
}

impl ser::SerializeStructVariant for Entries {
    type Ok = Dynamic;
    type Error = NotPlain;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NotPlain> {
        SerializeStruct::serialize_field(self, key, value)
    }

    fn end(self) -> Made {
        Ok(self.finish())
    }
}
