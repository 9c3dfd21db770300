//! Sets, by Python's methods.
//!
//! Owns which call each method is.

use super::args::{Args, Refused, hashable, items};
use super::{Relation, Step, Then};
use crate::dynamic::{Dynamic, Exception};
use crate::manager::{Call, SetCall, Union};
use std::collections::HashSet;

pub(super) const METHODS: &[&str] = &[
    "__and__",
    "__contains__",
    "__ge__",
    "__gt__",
    "__iand__",
    "__ior__",
    "__isub__",
    "__iter__",
    "__ixor__",
    "__le__",
    "__len__",
    "__lt__",
    "__or__",
    "__rand__",
    "__ror__",
    "__rsub__",
    "__rxor__",
    "__sub__",
    "__xor__",
    "add",
    "clear",
    "copy",
    "difference",
    "difference_update",
    "discard",
    "intersection",
    "intersection_update",
    "isdisjoint",
    "issubset",
    "issuperset",
    "pop",
    "remove",
    "symmetric_difference",
    "symmetric_difference_update",
    "union",
    "update",
];

pub(super) fn set(method: &str, mut args: Args) -> Result<Step, Refused> {
    let (call, then) = match method {
        "add" => (SetCall::Add(args.key("object")?), Then::Nothing),
        "discard" => (SetCall::Remove(args.key("object")?), Then::Nothing),
        "remove" => {
            let key = args.key("object")?;
            (SetCall::Remove(key.clone()), Then::NothingOrKey(key))
        }
        "pop" => (SetCall::Pop, Then::OrKey("pop from an empty set".into())),
        "clear" => (SetCall::Clear, Then::Nothing),
        "copy" => (SetCall::Items, Then::Set),
        // Over a copy, as an iterator of Python's that has been sent.
        "__iter__" => (SetCall::Items, Then::Iterator),
        "__len__" => (SetCall::Len, Then::Itself),
        "__contains__" => (SetCall::Contains(args.key("object")?), Then::Itself),
        "issubset" | "__le__" => relate(&mut args, Relation::Subset)?,
        "__lt__" => relate(&mut args, Relation::ProperSubset)?,
        "issuperset" | "__ge__" => relate(&mut args, Relation::Superset)?,
        "__gt__" => relate(&mut args, Relation::ProperSuperset)?,
        "isdisjoint" => relate(&mut args, Relation::Disjoint)?,
        "__rsub__" => (SetCall::Items, Then::From(members(args.take("other")?)?)),
        _ => {
            let (how, in_place) = combination(method).ok_or(Refused::NoSuchMethod)?;
            let takes_many = how != Union::OneOf && !method.starts_with("__");
            let (how, other) = if takes_many {
                let others = args.rest().into_iter().map(members);
                gathered(how, others.collect::<Result<_, _>>()?)
            } else {
                (how, members(args.take("other")?)?)
            };
            let then = if in_place { Then::Nothing } else { Then::Set };
            (SetCall::Combine { how, other, in_place }, then)
        }
    };
    args.end()?;
    Ok(Step::Call { call: Call::Set(call), limit_ms: None, then })
}

/// What can be members of a set.
pub(super) fn members(value: Dynamic) -> Result<Vec<Dynamic>, Exception> {
    items(value)?.into_iter().map(hashable).collect()
}

/// One set that does what these do one after another, and how.
fn gathered(how: Union, others: Vec<Vec<Dynamic>>) -> (Union, Vec<Dynamic>) {
    if how != Union::Both {
        return (how, others.concat());
    }
    let mut others = others.into_iter();
    // What is common to a set and no other is the set.
    let Some(mut common) = others.next() else { return (Union::Either, Vec::new()) };
    for other in others {
        let other: HashSet<_> = other.into_iter().collect();
        common.retain(|one| other.contains(one));
    }
    (how, common)
}

fn relate(args: &mut Args, relation: Relation) -> Result<(SetCall<Dynamic>, Then), Exception> {
    Ok((SetCall::Relate(members(args.take("other")?)?), Then::Related(relation)))
}

/// How two sets are put together by this method, and whether in place.
fn combination(method: &str) -> Option<(Union, bool)> {
    Some(match method {
        "union" | "__or__" | "__ror__" => (Union::Either, false),
        "intersection" | "__and__" | "__rand__" => (Union::Both, false),
        "difference" | "__sub__" => (Union::Without, false),
        "symmetric_difference" | "__xor__" | "__rxor__" => (Union::OneOf, false),
        "update" | "__ior__" => (Union::Either, true),
        "intersection_update" | "__iand__" => (Union::Both, true),
        "difference_update" | "__isub__" => (Union::Without, true),
        "symmetric_difference_update" | "__ixor__" => (Union::OneOf, true),
        _ => return None,
    })
}
