//! Lists, dicts, namespaces and arrays, by Python's methods.
//!
//! Owns which call each method is.

use super::answer::merged;
use super::args::{Args, Refused, error, hashable, int, items, pairs};
use super::{Step, Then};
use crate::dynamic::{Dynamic, Exception};
use crate::manager::{ArrayCall, Call, DictCall, ListCall, Range};

pub(super) const LIST: &[&str] = &[
    "__add__",
    "__contains__",
    "__delitem__",
    "__getitem__",
    "__imul__",
    "__len__",
    "__mul__",
    "__reversed__",
    "__rmul__",
    "__setitem__",
    "append",
    "clear",
    "copy",
    "count",
    "extend",
    "index",
    "insert",
    "pop",
    "remove",
    "reverse",
    "sort",
];

pub(super) const DICT: &[&str] = &[
    "__contains__",
    "__delitem__",
    "__getitem__",
    "__ior__",
    "__iter__",
    "__len__",
    "__or__",
    "__reversed__",
    "__ror__",
    "__setitem__",
    "clear",
    "copy",
    "fromkeys",
    "get",
    "items",
    "keys",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "values",
];

/// A place in a list or an array.
enum At {
    Index(i64),
    Slice(Range),
}

fn at(value: Dynamic) -> Result<At, Exception> {
    let parts = match value {
        Dynamic::Slice(parts) => parts,
        Dynamic::Big(_) => {
            return Err(error("IndexError", "cannot fit 'int' into an index-sized integer"));
        }
        value => return int(&value).map(At::Index),
    };
    let part = |part: &Dynamic| match part {
        Dynamic::None => Ok(None),
        // Beyond either end it is that end, however far.
        Dynamic::Big(far) if far.is_negative() => Ok(Some(i64::MIN)),
        Dynamic::Big(_) => Ok(Some(i64::MAX)),
        part => int(part).map(Some),
    };
    let [start, stop, by] = &*parts;
    Ok(At::Slice(Range { start: part(start)?, stop: part(stop)?, step: part(by)? }))
}

pub(super) fn list(method: &str, mut args: Args) -> Result<Step, Refused> {
    let all = ListCall::Slice(Range::default());
    let (call, then) = match method {
        "append" => (ListCall::Append(args.take("object")?), Then::Nothing),
        "extend" | "__iadd__" => (ListCall::Extend(args.items("iterable")?), Then::Nothing),
        "insert" => (ListCall::Insert(args.int("index")?, args.take("object")?), Then::Nothing),
        "pop" => {
            let at = args.maybe("index").map_or(Ok(-1), |at| int(&at))?;
            (ListCall::Pop(at), Then::Itself)
        }
        "remove" => (ListCall::Remove(args.take("value")?), Then::Nothing),
        "reverse" => (ListCall::Reverse, Then::Nothing),
        "clear" => (ListCall::Clear, Then::Nothing),
        "copy" => (all, Then::Itself),
        "count" => (ListCall::Count(args.take("value")?), Then::Itself),
        "index" => {
            let value = args.take("value")?;
            let start = args.maybe("start").map(|at| int(&at)).transpose()?;
            let stop = args.maybe("stop").map(|at| int(&at)).transpose()?;
            (ListCall::Index(value, Range { start, stop, step: None }), Then::Itself)
        }
        "__len__" => (ListCall::Len, Then::Itself),
        "__contains__" => (ListCall::Contains(args.take("key")?), Then::Itself),
        "__getitem__" => match at(args.take("index")?)? {
            At::Index(at) => (ListCall::Get(at), Then::Itself),
            At::Slice(range) => (ListCall::Slice(range), Then::Itself),
        },
        "__setitem__" => match (at(args.take("index")?)?, args.take("value")?) {
            (At::Index(at), value) => (ListCall::Set(at, value), Then::Nothing),
            (At::Slice(range), values) => {
                (ListCall::SetSlice(range, items(values)?), Then::Nothing)
            }
        },
        "__delitem__" => match at(args.take("index")?)? {
            At::Index(at) => (ListCall::Delete(at), Then::Nothing),
            At::Slice(range) => (ListCall::DeleteSlice(range), Then::Nothing),
        },
        "__imul__" => (ListCall::Repeat(args.int("value")?), Then::Nothing),
        "__mul__" | "__rmul__" => {
            let times = usize::try_from(args.int("value")?).unwrap_or(0);
            (all, Then::Times(times))
        }
        "__add__" => (all, Then::And(args.items("value")?)),
        "__reversed__" => (all, Then::Backwards),
        "sort" => {
            if args.maybe("key").is_some_and(|key| !key.is_none()) {
                return Err(error("TypeError", "a key function is code, and none is taken").into());
            }
            let backwards = args.flag("reverse", false)?;
            args.end()?;
            return Ok(Step::Sort { backwards });
        }
        _ => return Err(Refused::NoSuchMethod),
    };
    args.end()?;
    Ok(Step::Call { call: Call::List(call), limit_ms: None, then })
}

/// Dicts, and namespaces, whose attributes are a dict's keys.
pub(super) fn dict(method: &str, mut args: Args) -> Result<Step, Refused> {
    let (call, then) = match method {
        "__getitem__" => {
            let key = args.key("key")?;
            (DictCall::Get(key.clone()), Then::OrKey(key))
        }
        "get" => {
            let key = args.key("key")?;
            (DictCall::Get(key), Then::Or(args.maybe("default").unwrap_or_default()))
        }
        "__setitem__" => (DictCall::Set(args.key("key")?, args.take("value")?), Then::Nothing),
        "__delitem__" => {
            let key = args.key("key")?;
            (DictCall::Pop(key.clone()), Then::NothingOrKey(key))
        }
        "pop" => {
            let key = args.key("key")?;
            let then = args.maybe("default").map_or_else(|| Then::OrKey(key.clone()), Then::Or);
            (DictCall::Pop(key), then)
        }
        "popitem" => (DictCall::PopItem, Then::Pair),
        "setdefault" => {
            let key = args.key("key")?;
            let default = args.maybe("default").unwrap_or_default();
            (DictCall::SetDefault(key, default), Then::Itself)
        }
        "update" | "__ior__" => {
            let mut more = args.maybe("other").map_or(Ok(Vec::new()), pairs)?;
            more.extend(args.names().into_iter().map(|(name, value)| (name.into(), value)));
            (DictCall::Update(more), Then::Nothing)
        }
        "__or__" => (DictCall::Items, Then::Merged(pairs(args.take("value")?)?, false)),
        "__ror__" => (DictCall::Items, Then::Merged(pairs(args.take("value")?)?, true)),
        "copy" => (DictCall::Items, Then::Merged(Vec::new(), false)),
        "clear" => (DictCall::Clear, Then::Nothing),
        "fromkeys" => {
            let keys = args.items("iterable")?.into_iter().map(hashable);
            let keys = keys.collect::<Result<Vec<_>, _>>()?;
            let value = args.maybe("value").unwrap_or_default();
            args.end()?;
            let pairs = keys.into_iter().map(|key| (key, value.clone())).collect();
            return Ok(Step::Say(merged(pairs, Vec::new())));
        }
        "keys" => (DictCall::Keys, Then::Itself),
        "values" => (DictCall::Values, Then::Itself),
        "items" => (DictCall::Items, Then::Itself),
        "__len__" => (DictCall::Len, Then::Itself),
        "__contains__" => (DictCall::Contains(args.key("key")?), Then::Itself),
        "__iter__" | "__reversed__" => {
            args.end()?;
            return Ok(Step::Iterate { backwards: method == "__reversed__" });
        }
        "__getattribute__" => {
            let name = args.text("name")?;
            (DictCall::Get(name.as_str().into()), Then::OrAttribute(name))
        }
        "__setattr__" => {
            let name = args.text("name")?;
            (DictCall::Set(name.into(), args.take("value")?), Then::Nothing)
        }
        "__delattr__" => {
            let name = args.text("name")?;
            (DictCall::Pop(name.as_str().into()), Then::NothingOrAttribute(name))
        }
        _ => return Err(Refused::NoSuchMethod),
    };
    args.end()?;
    Ok(Step::Call { call: Call::Dict(call), limit_ms: None, then })
}

/// Arrays, and values, which are the first cell of one.
pub(super) fn array(method: &str, mut args: Args) -> Result<Step, Refused> {
    let (call, then) = match method {
        "__len__" => (ArrayCall::Len, Then::Itself),
        "get" => (ArrayCall::Get(0), Then::Itself),
        "set" => (ArrayCall::Set(0, args.take("value")?), Then::Nothing),
        "__getitem__" => match at(args.take("index")?)? {
            At::Index(at) => (ArrayCall::Get(at), Then::Itself),
            At::Slice(range) => (ArrayCall::Slice(range), Then::Itself),
        },
        "__setitem__" => match (at(args.take("index")?)?, args.take("value")?) {
            (At::Index(at), value) => (ArrayCall::Set(at, value), Then::Nothing),
            (At::Slice(range), values) => {
                (ArrayCall::SetSlice(range, items(values)?), Then::Nothing)
            }
        },
        _ => return Err(Refused::NoSuchMethod),
    };
    args.end()?;
    Ok(Step::Call { call: Call::Array(call), limit_ms: None, then })
}
