//! Plain data as JSON.
//!
//! Owns writing and reading. What JSON has no form for is an error of the writer's: keys that
//! are no texts, numbers that are not finite or too large, exceptions and proxies. Tuples and
//! sets become lists, and bytes lists of numbers. What is read costs no more than it may,
//! whatever the bytes say. Neighbour: `stored`.

use super::far;
use procession_protocols::dynamic::Dynamic;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};
use std::cell::Cell;
use std::fmt;

/// How deeply a value may be nested; a reader takes a few more.
const DEPTH: usize = 120;

/// Writes a value.
///
/// # Errors
/// JSON has no form for it.
pub(super) fn write(value: &Dynamic) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Written { value, depth: DEPTH })
}

/// Reads a value that may take about so many bytes of memory.
///
/// # Errors
/// The bytes are no JSON, or the value takes more.
pub(super) fn read(bytes: &[u8], memory: usize) -> Result<Dynamic, serde_json::Error> {
    let left = Cell::new(memory);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Reader(&left).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

struct Written<'a> {
    value: &'a Dynamic,
    /// How much deeper it may go.
    depth: usize,
}

impl<'a> Written<'a> {
    fn within(&self, value: &'a Dynamic) -> Self {
        Self { value, depth: self.depth - 1 }
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.depth == 0 {
            return Err(S::Error::custom(format!("it is nested more than {DEPTH} deep")));
        }
        match self.value {
            Dynamic::None => serializer.serialize_unit(),
            Dynamic::Bool(value) => serializer.serialize_bool(*value),
            Dynamic::Int(value) => serializer.serialize_i64(*value),
            Dynamic::Big(value) => match value.to_i128().map(u64::try_from) {
                Some(Ok(value)) => serializer.serialize_u64(value),
                _ => Err(S::Error::custom(format!("{value} is too large a number for JSON"))),
            },
            Dynamic::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Dynamic::Str(text) => serializer.serialize_str(text),
            Dynamic::Bytes(bytes) => serializer.collect_seq(bytes),
            Dynamic::List(items)
            | Dynamic::Tuple(items)
            | Dynamic::Set(items)
            | Dynamic::FrozenSet(items) => {
                serializer.collect_seq(items.iter().map(|item| self.within(item)))
            }
            Dynamic::Dict(entries) => {
                let text = |(key, _): &(Dynamic, Dynamic)| key.as_str().is_some();
                if !entries.iter().all(text) {
                    return Err(S::Error::custom("JSON has texts as keys, and no others"));
                }
                let entries = entries.iter().map(|(key, value)| (key.as_str(), self.within(value)));
                serializer.collect_map(entries)
            }
            other => Err(S::Error::custom(format!("JSON has no form for {other}"))),
        }
    }
}

/// Reads while there are bytes left to spend.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a Cell<usize>);

impl Reader<'_> {
    /// A value takes its own size, and so many bytes.
    fn spend<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(size_of::<Dynamic>() + bytes);
        self.0.set(left.ok_or_else(|| {
            far::is_too_large();
            E::custom("the value takes too much memory")
        })?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        self.spend(0)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Dynamic, E> {
        self.spend(text.len())?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Dynamic, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Dynamic::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Dynamic, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            self.spend(key.len()).map_err(A::Error::custom::<A::Error>)?;
            entries.push((Dynamic::Str(key), map.next_value_seed(self)?));
        }
        Ok(Dynamic::Dict(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(value: &Dynamic) -> Result<Dynamic, serde_json::Error> {
        read(&write(value)?, 1 << 20)
    }

    fn nested(depth: usize) -> Dynamic {
        (0..depth).fold(Dynamic::None, |inner, _| Dynamic::List(vec![inner]))
    }

    #[test]
    fn plain_data_comes_back_as_json_has_it() {
        let mixed: Dynamic = vec![
            Dynamic::from("é\n"),
            ().into(),
            true.into(),
            2.25.into(),
            u64::MAX.into(),
            i64::MIN.into(),
            Dynamic::bytes([0, 255]),
            Dynamic::Tuple(vec![Dynamic::Dict(vec![
                ("b".into(), 1.into()),
                ("a".into(), 2.into()),
            ])]),
        ]
        .into();
        let back = through(&mixed).unwrap();
        let text = "['é\\n', None, True, 2.25, 18446744073709551615, -9223372036854775808, \
             [0, 255], [{'b': 1, 'a': 2}]]";
        assert_eq!(back.to_string(), text);
    }

    #[test]
    fn what_json_has_not_is_refused_by_the_writer() {
        let key = Dynamic::Dict(vec![(1.into(), 2.into())]);
        for value in [f64::NAN.into(), f64::INFINITY.into(), i128::MAX.into(), key, nested(120)] {
            assert!(write(&value).is_err(), "{value}");
        }
        assert_eq!(through(&nested(119)).unwrap(), nested(119));
    }

    #[test]
    fn a_reader_spends_no_more_than_it_may() {
        let many = [b"[".as_slice(), &b"[],".repeat(10_000), b"0]"].concat();
        assert!(read(&many, 100_000).unwrap_err().to_string().contains("memory"));
        assert!(read(&many, 1 << 20).is_ok());
        assert!(read(&b"[".repeat(100_000), 1 << 20).is_err());
        assert!(read(b"1 2", 1 << 20).is_err());
    }
}
