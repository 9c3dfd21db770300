//! When two values are the same, as Python's `==` and `hash` have it.
//!
//! Owns equality and hash, and the order of numbers. Numbers are the same across their kinds; dicts and sets whatever
//! their order; a set and a frozenset of the same items are. Unlike in Python, a NaN is the
//! same as itself, since Rust asks that of keys.

use super::{BigInt, Dynamic};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::mem::discriminant;

/// A number in the one form that all that are the same have.
#[derive(PartialEq, Eq, Hash)]
enum Number {
    Int(i64),
    Big(BigInt),
    Float(u64),
}

fn number(value: &Dynamic) -> Option<Number> {
    Some(match value {
        Dynamic::Bool(value) => Number::Int((*value).into()),
        Dynamic::Int(value) => Number::Int(*value),
        Dynamic::Big(value) => Number::Big(value.clone()),
        Dynamic::Float(value) => float(*value),
        _ => return None,
    })
}

fn float(value: f64) -> Number {
    if value.is_nan() {
        return Number::Float(f64::NAN.to_bits());
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is compared with what it was")]
    let whole = value as i64;
    #[expect(clippy::cast_precision_loss, reason = "it is compared with what it was")]
    // The greatest i64 is no float: the one above it would be taken for it.
    if (whole as f64).to_bits() == (value + 0.0).to_bits() && whole != i64::MAX {
        return Number::Int(whole);
    }
    BigInt::from_whole(value).map_or(Number::Float(value.to_bits()), Number::Big)
}

/// Which of two numbers comes first. Between an integer and a float it is as exact as a float.
pub(super) fn compare(a: &Dynamic, b: &Dynamic) -> Option<Ordering> {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => approximate(a)?.partial_cmp(&approximate(b)?),
    }
}

fn whole(value: &Dynamic) -> Option<i128> {
    match value {
        Dynamic::Big(value) => value.to_i128(),
        other => other.as_int().map(i128::from),
    }
}

fn approximate(value: &Dynamic) -> Option<f64> {
    match value {
        Dynamic::Float(value) => Some(*value),
        #[expect(clippy::cast_precision_loss, reason = "it is compared with a float")]
        other => whole(other).map(|value| value as f64),
    }
}

impl PartialEq for Dynamic {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => {
                let b: HashMap<_, _> = b.iter().map(|(key, value)| (key, value)).collect();
                a.len() == b.len() && a.iter().all(|(key, value)| b.get(key) == Some(&value))
            }
            (Self::Set(a) | Self::FrozenSet(a), Self::Set(b) | Self::FrozenSet(b)) => {
                let b: HashSet<_> = b.iter().collect();
                a.len() == b.len() && a.iter().all(|item| b.contains(item))
            }
            (Self::Slice(a), Self::Slice(b)) => a == b,
            (Self::Exception(a), Self::Exception(b)) => a == b,
            (Self::Token(a), Self::Token(b)) => a == b,
            (Self::Proxy(a), Self::Proxy(b)) => a == b,
            (a, b) => matches!((number(a), number(b)), (Some(a), Some(b)) if a == b),
        }
    }
}

impl Eq for Dynamic {}

impl Hash for Dynamic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(number) = number(self) {
            return number.hash(state);
        }
        match self {
            // Of what is the same in any order, only how many there are.
            Self::Set(items) | Self::FrozenSet(items) => return items.len().hash(state),
            Self::Dict(entries) => return entries.len().hash(state),
            _ => discriminant(self).hash(state),
        }
        match self {
            Self::Str(text) => text.hash(state),
            Self::Bytes(bytes) => bytes.hash(state),
            Self::List(items) | Self::Tuple(items) => items.hash(state),
            Self::Slice(parts) => parts.hash(state),
            Self::Exception(exception) => exception.hash(state),
            Self::Token(token) => token.hash(state),
            Self::Proxy(proxy) => proxy.hash(state),
            _ => {}
        }
    }
}
