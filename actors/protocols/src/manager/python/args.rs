//! A call's arguments.
//!
//! Owns the taking of them, by place or by name, as Python binds them.

use crate::dynamic::{Dynamic, Exception};
use std::collections::VecDeque;

/// Why a call is not carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// The object has no such method.
    NoSuchMethod,
    /// The method would have raised this.
    Raised(Exception),
}

impl From<Exception> for Refused {
    fn from(exception: Exception) -> Self {
        Self::Raised(exception)
    }
}

/// An exception of Python's own, with a text.
pub fn error(class: &str, text: impl Into<String>) -> Exception {
    Exception { class: format!("builtins.{class}"), args: vec![Dynamic::Str(text.into())] }
}

/// The arguments of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Args {
    by_place: VecDeque<Dynamic>,
    by_name: Vec<(String, Dynamic)>,
}

impl Args {
    /// Arguments by place and by name.
    pub fn new(by_place: Vec<Dynamic>, by_name: Vec<(String, Dynamic)>) -> Self {
        Self { by_place: by_place.into(), by_name }
    }

    /// All of them by place; `None` if some have names.
    pub fn all_by_place(self) -> Option<Vec<Dynamic>> {
        self.by_name.is_empty().then(|| self.by_place.into())
    }

    /// All of them, for a function whose arguments have these names; fewer, if the last ones
    /// are left out.
    ///
    /// # Errors
    /// The `TypeError` for one that is none of these, or comes twice, or in place of one that
    /// is missing.
    pub fn bind(mut self, names: &[&str]) -> Result<Vec<Dynamic>, Exception> {
        let twice = |(name, _): &&(String, Dynamic)| {
            names.iter().take(self.by_place.len()).any(|known| known == name)
        };
        if let Some((name, _)) = self.by_name.iter().find(twice) {
            return Err(error("TypeError", format!("got multiple values for argument '{name}'")));
        }
        let mut bound = Vec::from(self.by_place);
        for name in names.iter().skip(bound.len()) {
            let at = self.by_name.iter().position(|(known, _)| known == name);
            match (at, self.by_name.iter().find(|(known, _)| names.contains(&known.as_str()))) {
                (Some(at), _) => bound.push(self.by_name.remove(at).1),
                (None, Some(_)) => {
                    let text = format!("missing required argument: '{name}'");
                    return Err(error("TypeError", text));
                }
                (None, None) => break,
            }
        }
        match self.by_name.first() {
            None => Ok(bound),
            Some((name, _)) => {
                Err(error("TypeError", format!("got an unexpected keyword argument '{name}'")))
            }
        }
    }

    /// Those that are left, by name.
    pub(super) fn names(&mut self) -> Vec<(String, Dynamic)> {
        std::mem::take(&mut self.by_name)
    }

    /// The next one, or the one of this name, if there is one.
    pub(super) fn maybe(&mut self, name: &str) -> Option<Dynamic> {
        self.by_place.pop_front().or_else(|| {
            let at = self.by_name.iter().position(|(known, _)| known == name)?;
            Some(self.by_name.remove(at).1)
        })
    }

    /// The next one, or the one of this name.
    pub(super) fn take(&mut self, name: &str) -> Result<Dynamic, Exception> {
        let missing = || error("TypeError", format!("missing required argument: '{name}'"));
        self.maybe(name).ok_or_else(missing)
    }

    /// As [`take`](Self::take), an integer.
    pub(super) fn int(&mut self, name: &str) -> Result<i64, Exception> {
        int(&self.take(name)?)
    }

    /// As [`take`](Self::take), the items of something that has some.
    pub(super) fn items(&mut self, name: &str) -> Result<Vec<Dynamic>, Exception> {
        items(self.take(name)?)
    }

    /// As [`take`](Self::take), a text.
    pub(super) fn text(&mut self, name: &str) -> Result<String, Exception> {
        match self.take(name)? {
            Dynamic::Str(text) => Ok(text),
            other => Err(error("TypeError", format!("'{name}' is a text, not {other}"))),
        }
    }

    /// As [`take`](Self::take), something that can be a key.
    pub(super) fn key(&mut self, name: &str) -> Result<Dynamic, Exception> {
        hashable(self.take(name)?)
    }

    /// A truth value, or what it is if nothing is said.
    pub(super) fn flag(&mut self, name: &str, default: bool) -> Result<bool, Exception> {
        match self.maybe(name) {
            None => Ok(default),
            Some(Dynamic::None) => Ok(false),
            Some(Dynamic::Float(value)) => Ok(value != 0.0),
            Some(value) => int(&value).map(|value| value != 0),
        }
    }

    /// A time in seconds as milliseconds; `None` is as long as it takes.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<u64>, Exception> {
        Ok(self.seconds(name)?.map(to_ms))
    }

    /// A time in seconds; `None` is as long as it takes.
    pub(super) fn seconds(&mut self, name: &str) -> Result<Option<f64>, Exception> {
        Ok(match self.maybe(name) {
            None | Some(Dynamic::None) => None,
            Some(Dynamic::Float(value)) => Some(value),
            #[expect(clippy::cast_precision_loss, reason = "so long nobody waits")]
            Some(value) => Some(int(&value)? as f64),
        })
    }

    /// All that are left by place.
    pub(super) fn rest(&mut self) -> Vec<Dynamic> {
        std::mem::take(&mut self.by_place).into()
    }

    /// No more are wanted.
    pub(super) fn end(self) -> Result<(), Exception> {
        if let Some((name, _)) = self.by_name.first() {
            return Err(error("TypeError", format!("unexpected keyword argument '{name}'")));
        }
        match self.by_place.len() {
            0 => Ok(()),
            more => Err(error("TypeError", format!("{more} arguments too many"))),
        }
    }
}

/// Seconds as milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and what is negative is 0"
)]
pub(super) fn to_ms(seconds: f64) -> u64 {
    (seconds * 1000.0).ceil() as u64
}

pub(super) fn int(value: &Dynamic) -> Result<i64, Exception> {
    let unfit = || error("TypeError", format!("{value} is no integer that fits here"));
    value.as_int().ok_or_else(unfit)
}

/// The items of something that has some: of a dict its keys.
pub(super) fn items(value: Dynamic) -> Result<Vec<Dynamic>, Exception> {
    match value {
        Dynamic::List(items)
        | Dynamic::Tuple(items)
        | Dynamic::Set(items)
        | Dynamic::FrozenSet(items) => Ok(items),
        Dynamic::Dict(entries) => Ok(entries.into_iter().map(|(key, _)| key).collect()),
        Dynamic::Str(text) => Ok(text.chars().map(|one| one.to_string().into()).collect()),
        Dynamic::Bytes(bytes) => Ok(bytes.into_iter().map(|one| i64::from(one).into()).collect()),
        other => Err(error("TypeError", format!("{other} is not iterable"))),
    }
}

pub(super) fn hashable(value: Dynamic) -> Result<Dynamic, Exception> {
    if value.is_hashable() {
        Ok(value)
    } else {
        Err(error("TypeError", format!("unhashable: {value}")))
    }
}

/// The pairs of a dict, or of items of two.
pub(super) fn pairs(value: Dynamic) -> Result<Vec<(Dynamic, Dynamic)>, Exception> {
    if let Dynamic::Dict(entries) = value {
        return Ok(entries);
    }
    let pair = |item| {
        let [key, value] = <[Dynamic; 2]>::try_from(items(item)?)
            .map_err(|_| error("ValueError", "an item of a dict has two parts"))?;
        Ok((hashable(key)?, value))
    };
    items(value)?.into_iter().map(pair).collect()
}
