//! From plain data to values of Rust's.
//!
//! Owns the deserializer. Asked for a [`Dynamic`] inside of a value, it gives what is there.
//! Neighbour: `ser`, the other way.

use super::{Dynamic, NAME, NotPlain};
use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

impl IntoDeserializer<'_, NotPlain> for Dynamic {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Dynamic {
    type Error = NotPlain;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        match self {
            Self::None => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Int(value) => visitor.visit_i64(value),
            Self::Big(value) => match value.to_i128() {
                Some(small) if small >= 0 => {
                    let small = small.cast_unsigned();
                    match u64::try_from(small) {
                        Ok(small) => visitor.visit_u64(small),
                        Err(_) => visitor.visit_u128(small),
                    }
                }
                Some(small) => visitor.visit_i128(small),
                None => Err(NotPlain(format!("{value} is too large"))),
            },
            Self::Float(value) => visitor.visit_f64(value),
            Self::Str(text) => visitor.visit_string(text),
            Self::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Self::List(items) | Self::Tuple(items) | Self::Set(items) | Self::FrozenSet(items) => {
                let mut items = SeqDeserializer::new(items.into_iter());
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Self::Dict(entries) => {
                let mut entries = MapDeserializer::new(entries.into_iter());
                let value = visitor.visit_map(&mut entries)?;
                entries.end()?;
                Ok(value)
            }
            Self::Slice(_) | Self::Exception(_) | Self::Token(_) | Self::Proxy(_) => {
                Err(NotPlain(format!("{self} is no plain value")))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        if self.is_none() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        if name == NAME {
            return visitor.visit_enum(taken_apart(self)?);
        }
        match self {
            Self::Str(variant) => visitor.visit_enum(Variant { name: variant, content: None }),
            Self::Dict(entries) => match <[_; 1]>::try_from(entries) {
                Ok([(Self::Str(name), content)]) => {
                    visitor.visit_enum(Variant { name, content: Some(content) })
                }
                _ => Err(NotPlain("a variant is its name, or a dict of one entry".into())),
            },
            other => Err(NotPlain(format!("{other} is no variant of an enum"))),
        }
    }

    /// Bytes are a sequence of numbers to who asks for one.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        let Self::Bytes(bytes) = self else { return self.deserialize_any(visitor) };
        let mut bytes = SeqDeserializer::new(bytes.into_iter());
        let value = visitor.visit_seq(&mut bytes)?;
        bytes.end()?;
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        self.deserialize_seq(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit tuple_struct map struct identifier ignored_any
    }
}

/// A [`Dynamic`] as the enum that it is, its content as that of the variant.
fn taken_apart(value: Dynamic) -> Result<Variant, NotPlain> {
    let (name, content) = match value {
        Dynamic::None => return Ok(Variant { name: "None".into(), content: None }),
        Dynamic::Bool(_) => ("Bool", value),
        Dynamic::Int(_) => ("Int", value),
        Dynamic::Big(value) => ("Big", Dynamic::bytes(value.to_le_bytes())),
        Dynamic::Float(_) => ("Float", value),
        Dynamic::Str(_) => ("Str", value),
        Dynamic::Bytes(_) => ("Bytes", value),
        Dynamic::List(_) => ("List", value),
        Dynamic::Tuple(_) => ("Tuple", value),
        Dynamic::Dict(entries) => {
            let pair = |(key, value)| Dynamic::Tuple(vec![key, value]);
            ("Dict", Dynamic::List(entries.into_iter().map(pair).collect()))
        }
        Dynamic::Set(_) => ("Set", value),
        Dynamic::FrozenSet(_) => ("FrozenSet", value),
        Dynamic::Slice(parts) => ("Slice", Dynamic::Tuple(Vec::from(*parts))),
        Dynamic::Exception(exception) => ("Exception", Dynamic::of(&exception)?),
        Dynamic::Token(token) => ("Token", Dynamic::of(&token)?),
        Dynamic::Proxy(proxy) => ("Proxy", Dynamic::of(&proxy)?),
    };
    Ok(Variant { name: name.into(), content: Some(content) })
}

/// A variant of an enum.
struct Variant {
    name: String,
    content: Option<Dynamic>,
}

impl<'de> de::EnumAccess<'de> for Variant {
    type Error = NotPlain;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content), NotPlain> {
        let name: StringDeserializer<NotPlain> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.content)))
    }
}

struct Content(Option<Dynamic>);

impl Content {
    fn take(self) -> Result<Dynamic, NotPlain> {
        self.0.ok_or_else(|| NotPlain("the variant has no content".into()))
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = NotPlain;

    fn unit_variant(self) -> Result<(), NotPlain> {
        match self.0 {
            None | Some(Dynamic::None) => Ok(()),
            Some(_) => Err(NotPlain("the variant has no content here".into())),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, NotPlain> {
        seed.deserialize(self.take()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, NotPlain> {
        self.take()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        self.take()?.deserialize_any(visitor)
    }
}
