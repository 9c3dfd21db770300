//! Replies and faults as Python's values and exceptions.
//!
//! Owns what a method's result looks like, and which exception each fault is.

use super::args::error;
use super::{OfBarrier, Relation, Then};
use crate::dynamic::{Dynamic, Exception};
use crate::manager::{Fault, Reply};
use std::collections::HashSet;

/// Most items of a list that is answered several times over.
const MOST: usize = 1 << 24;

impl Then {
    /// Whether it says nothing of a value, whatever that is.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing | Self::NothingOrKey(_) | Self::NothingOrAttribute(_))
    }

    /// What the client is answered.
    ///
    /// # Errors
    /// What the method raises.
    pub fn answer(self, reply: Reply<Dynamic>) -> Result<Dynamic, Exception> {
        Ok(match (self, reply) {
            (_, Reply::Fault(fault)) => return Err(exception_of(&fault)),
            (Self::Or(default), Reply::None) => default,
            (Self::OrKey(key) | Self::NothingOrKey(key), Reply::None | Reply::Bool(false)) => {
                return Err(Exception { class: "builtins.KeyError".into(), args: vec![key] });
            }
            (Self::OrAttribute(name) | Self::NothingOrAttribute(name), Reply::None) => {
                return Err(error("AttributeError", name));
            }
            (Self::Pair, Reply::None) => {
                return Err(error("KeyError", "popitem(): dictionary is empty"));
            }
            (Self::Pair, Reply::Pairs(mut pairs)) => pairs.pop().map(pair).unwrap_or_default(),
            (this, _) if this.is_nothing() => Dynamic::None,
            (Self::IsZero, Reply::Number(number)) => (number == 0).into(),
            (Self::And(more), Reply::Values(values)) => Dynamic::List([values, more].concat()),
            (Self::Times(times), Reply::Values(values)) => {
                if values.len().checked_mul(times).is_none_or(|len| len > MOST) {
                    return Err(error("MemoryError", "the list would be too long"));
                }
                // Nothing is repeated at once, however often.
                let times = if values.is_empty() { 0 } else { times };
                Dynamic::List(std::iter::repeat_n(values, times).flatten().collect())
            }
            (Self::Backwards, Reply::Values(mut values)) => {
                values.reverse();
                Dynamic::List(values)
            }
            (Self::Set, Reply::Values(values)) => Dynamic::Set(values),
            (Self::From(mut these), Reply::Values(values)) => {
                let gone: HashSet<_> = values.into_iter().collect();
                these.retain(|one| !gone.contains(one));
                Dynamic::Set(these)
            }
            (Self::Merged(other, below), Reply::Pairs(pairs)) => {
                let (lower, upper) = if below { (other, pairs) } else { (pairs, other) };
                merged(lower, upper)
            }
            (Self::Namespace, Reply::Pairs(pairs)) => {
                let show = |(name, value): &(Dynamic, Dynamic)| match name {
                    Dynamic::Str(name) => format!("{name}={value}"),
                    name => format!("{name}={value}"),
                };
                let parts: Vec<_> = pairs.iter().map(show).collect();
                format!("Namespace({})", parts.join(", ")).into()
            }
            (Self::Text(front), reply) => text(front, reply),
            (Self::OfBarrier(what), Reply::Barrier { parties, waiting, is_broken }) => match what {
                OfBarrier::Parties => i64::from(parties).into(),
                OfBarrier::Waiting => i64::from(waiting).into(),
                OfBarrier::IsBroken => is_broken.into(),
            },
            (Self::Related(how), Reply::Relation { is_subset, is_superset, is_disjoint }) => {
                match how {
                    Relation::Subset => is_subset,
                    Relation::ProperSubset => is_subset && !is_superset,
                    Relation::Superset => is_superset,
                    Relation::ProperSuperset => is_superset && !is_subset,
                    Relation::Disjoint => is_disjoint,
                }
                .into()
            }
            (_, reply) => plain(reply),
        })
    }
}

fn pair((key, value): (Dynamic, Dynamic)) -> Dynamic {
    Dynamic::Tuple(vec![key, value])
}

pub(super) fn merged(lower: Vec<(Dynamic, Dynamic)>, upper: Vec<(Dynamic, Dynamic)>) -> Dynamic {
    let mut all = super::super::ordered::Ordered::new();
    for (key, value) in lower.into_iter().chain(upper) {
        all.insert(key, value);
    }
    Dynamic::Dict(all.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// A reply as it stands.
fn plain(reply: Reply<Dynamic>) -> Dynamic {
    match reply {
        Reply::Bool(is) => is.into(),
        Reply::Number(number) => i64::try_from(number).unwrap_or(i64::MAX).into(),
        Reply::Value(value) | Reply::Item { item: value, .. } => value,
        Reply::Values(values) => Dynamic::List(values),
        Reply::Pairs(pairs) => Dynamic::List(pairs.into_iter().map(pair).collect()),
        Reply::Keys { keys, .. } => Dynamic::List(keys),
        Reply::Acquired { .. } => true.into(),
        _ => Dynamic::None,
    }
}

/// How an object looks.
fn text(front: &str, reply: Reply<Dynamic>) -> Dynamic {
    match (front, reply) {
        ("", reply) => plain(reply).to_string(),
        ("dict", Reply::Pairs(pairs)) => Dynamic::Dict(pairs).to_string(),
        ("set", Reply::Values(values)) => Dynamic::Set(values).to_string(),
        (front, reply) => format!("{front}({})", plain(reply)),
    }
    .into()
}

/// The exception that stands for a fault.
pub fn exception_of(fault: &Fault) -> Exception {
    let of = |class: &str| Exception { class: class.into(), args: Vec::new() };
    let text = fault.to_string();
    match fault {
        Fault::NoSuchMethod | Fault::NoSuchObject(_) => error("AttributeError", text),
        Fault::Index => error("IndexError", text),
        Fault::Key => error("KeyError", text),
        Fault::Value | Fault::Slice | Fault::TooManyDone | Fault::TooManyReleases => {
            error("ValueError", text)
        }
        Fault::Empty => of("_queue.Empty"),
        Fault::Full => of("queue.Full"),
        Fault::Broken => of("threading.BrokenBarrierError"),
        _ => error("RuntimeError", text),
    }
}

/// The fault that an exception of a Python server's stands for; `None` when it is none of
/// those that an object of ours would say.
pub fn read_fault(exception: &Exception) -> Option<Fault> {
    let text = exception.args.first().and_then(Dynamic::as_str).unwrap_or_default();
    Some(match exception.class.as_str() {
        "_queue.Empty" | "queue.Empty" => Fault::Empty,
        "queue.Full" => Fault::Full,
        "queue.ShutDown" => Fault::Shutdown,
        "threading.BrokenBarrierError" => Fault::Broken,
        "builtins.KeyError" => Fault::Key,
        "builtins.IndexError" => Fault::Index,
        "builtins.ValueError" if text.starts_with("task_done") => Fault::TooManyDone,
        "builtins.ValueError" if text.starts_with("Semaphore") => Fault::TooManyReleases,
        "builtins.ValueError" if text.contains("not in list") => Fault::Value,
        "builtins.RuntimeError" if text.starts_with("release unlocked") => Fault::NotHeld,
        "builtins.RuntimeError" if text.contains("un-acquired") => Fault::NotOwner,
        _ => return None,
    })
}
