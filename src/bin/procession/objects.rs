//! What `--serve` says: objects under names.
//!
//! Owns the kinds, by Python's names for them in small letters, and what stands behind a colon.
//! Neighbour: `main` has the other arguments.

use procession::manager::{
    ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, DictProxy, EventProxy,
    JoinableQueueProxy, ListProxy, LockProxy, NamespaceProxy, QueueProxy, RLockProxy,
    SemaphoreProxy, SetProxy, ValueProxy,
};
use procession::{Dynamic, ManagerBuilder};
use std::collections::BTreeSet;
use std::str::FromStr;

/// Most cells of an array.
const MOST_CELLS: usize = 1 << 20;

/// Offers an object, `NAME=KIND` or `NAME=KIND:WITH`, under a name that none of `names` has.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn offer(
    builder: ManagerBuilder,
    names: &mut BTreeSet<String>,
    object: &str,
) -> Result<ManagerBuilder, String> {
    let unfit = || format!("'{object}' is no NAME=KIND with a kind that there is");
    let (name, kind) = object.split_once('=').ok_or_else(unfit)?;
    if name.is_empty() {
        return Err(unfit());
    }
    // The builder would take the last one, and the others would be gone without a word.
    if !names.insert(name.to_owned()) {
        return Err(format!("the name '{name}' is given twice"));
    }
    let (kind, with) = match kind.split_once(':') {
        Some((kind, with)) => (kind, Some(with)),
        None => (kind, None),
    };
    let offered = match (kind, with) {
        ("queue", _) => builder.offer_with::<QueueProxy<Dynamic>>(name, or(with, object, 0)?),
        ("joinable_queue", _) => {
            builder.offer_with::<JoinableQueueProxy<Dynamic>>(name, or(with, object, 0)?)
        }
        ("semaphore", _) => builder.offer_with::<SemaphoreProxy>(name, or(with, object, 1)?),
        ("bounded_semaphore", _) => {
            builder.offer_with::<BoundedSemaphoreProxy>(name, or(with, object, 1)?)
        }
        ("value", _) => {
            builder.offer_with::<ValueProxy<Dynamic>>(name, number(with.unwrap_or("0"), object)?)
        }
        ("barrier", Some(with)) => match parse(with, object)? {
            0 => return Err(format!("'{object}': a barrier is for one party at least")),
            parties => builder.offer_with::<BarrierProxy>(name, parties),
        },
        ("array", Some(with)) => match parse(with, object)? {
            cells if cells > MOST_CELLS => {
                return Err(format!("'{object}': an array has {MOST_CELLS} cells at most"));
            }
            cells => builder.offer_with::<ArrayProxy<Dynamic>>(name, vec![0.into(); cells]),
        },
        ("barrier" | "array", None) => {
            return Err(format!("'{object}' needs a number: {kind}:NUMBER"));
        }
        ("dict", None) => builder.offer::<DictProxy<Dynamic, Dynamic>>(name),
        ("list", None) => builder.offer::<ListProxy<Dynamic>>(name),
        ("set", None) => builder.offer::<SetProxy<Dynamic>>(name),
        ("namespace", None) => builder.offer::<NamespaceProxy>(name),
        ("lock", None) => builder.offer::<LockProxy>(name),
        ("rlock", None) => builder.offer::<RLockProxy>(name),
        ("condition", None) => builder.offer::<ConditionProxy>(name),
        ("event", None) => builder.offer::<EventProxy>(name),
        _ => return Err(unfit()),
    };
    Ok(offered)
}

fn or<T: FromStr>(with: Option<&str>, object: &str, default: T) -> Result<T, String> {
    with.map_or(Ok(default), |with| parse(with, object))
}

fn parse<T: FromStr>(with: &str, object: &str) -> Result<T, String> {
    with.parse().map_err(|_| format!("'{object}': '{with}' is no number that fits"))
}

/// A whole number, if it is one.
fn number(with: &str, object: &str) -> Result<Dynamic, String> {
    match with.parse::<i64>() {
        Ok(whole) => Ok(whole.into()),
        Err(_) => parse::<f64>(with, object).map(Into::into),
    }
}
