//! Objects by the names of their kinds, as `SyncManager` has them.
//!
//! Owns what each begins with.

use super::args::{Args, Refused, error, int, items, pairs};
use super::set::members;
use crate::dynamic::{Dynamic, Exception};
use crate::manager::Seed;

/// What is to be made.
#[derive(Debug, Clone, PartialEq)]
pub enum Made {
    /// A stock object.
    Stock(Seed<Dynamic>),
    /// A condition on a lock; without one, on a recursive lock of its own.
    Condition(Option<Dynamic>),
}

/// What the kind of this name is made of; `None` when there is no such kind.
///
/// # Errors
/// Arguments that do not fit, and kinds that need code.
pub fn make(kind: &str, mut args: Args) -> Option<Result<Made, Refused>> {
    let seed = match kind {
        "list" => args.maybe("iterable").map_or(Ok(Vec::new()), items).map(Seed::List),
        "dict" => entries(&mut args).map(Seed::Dict),
        "set" => args.maybe("iterable").map_or(Ok(Vec::new()), members).map(Seed::Set),
        "Namespace" => {
            let named = args.names().into_iter().map(|(name, value)| (name.into(), value));
            Ok(Seed::Dict(named.collect()))
        }
        // The first argument is the type of the cells, which plain data has of itself.
        "Value" => args
            .take("typecode")
            .and_then(|_| args.take("value"))
            .map(|value| Seed::Array(vec![value])),
        "Array" => args.take("typecode").and_then(|_| args.items("sequence")).map(Seed::Array),
        "Queue" | "JoinableQueue" => capacity(&mut args)
            .map(|capacity| Seed::Queue { capacity, joinable: kind == "JoinableQueue" }),
        "Lock" => Ok(Seed::Lock { recursive: false }),
        "RLock" => Ok(Seed::Lock { recursive: true }),
        "Semaphore" | "BoundedSemaphore" => {
            permits(&mut args).map(|value| Seed::Semaphore { value, bounded: kind != "Semaphore" })
        }
        "Event" => Ok(Seed::Event),
        "Barrier" => barrier(&mut args),
        "Condition" => {
            let lock = args.maybe("lock").filter(|lock| !lock.is_none());
            return Some(args.end().map(|()| Made::Condition(lock)).map_err(Refused::from));
        }
        _ => return None,
    };
    let made = seed.and_then(|seed| args.end().map(|()| Made::Stock(seed)));
    Some(made.map_err(Refused::from))
}

/// The kind of an object that is made by this name, where its machine does not know it.
pub fn kind_of(name: &str, machine: &'static str) -> &'static str {
    match (name, machine) {
        ("Namespace", "dict") => "Namespace",
        ("Value", "Array") => "Value",
        _ => machine,
    }
}

fn entries(args: &mut Args) -> Result<Vec<(Dynamic, Dynamic)>, Exception> {
    let mut entries = args.maybe("mapping").map_or(Ok(Vec::new()), pairs)?;
    entries.extend(args.names().into_iter().map(|(name, value)| (name.into(), value)));
    Ok(entries)
}

fn capacity(args: &mut Args) -> Result<Option<u64>, Exception> {
    let capacity = args.maybe("maxsize").map_or(Ok(0), |most| int(&most))?;
    Ok(u64::try_from(capacity).ok().filter(|capacity| *capacity > 0))
}

fn permits(args: &mut Args) -> Result<u64, Exception> {
    let value = args.maybe("value").map_or(Ok(1), |value| int(&value))?;
    u64::try_from(value).map_err(|_| error("ValueError", "semaphore initial value must be >= 0"))
}

fn barrier(args: &mut Args) -> Result<Seed<Dynamic>, Exception> {
    let parties = u32::try_from(args.int("parties")?).ok().filter(|parties| *parties > 0);
    let parties = parties.ok_or_else(|| error("ValueError", "parties must be > 0"))?;
    if args.maybe("action").is_some_and(|action| !action.is_none()) {
        return Err(error("TypeError", "an action is code, and none is taken"));
    }
    let patience_ms = args.time("timeout")?;
    Ok(Seed::Barrier { parties, patience_ms, acts: false })
}
