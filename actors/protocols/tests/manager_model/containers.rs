//! Lists, dicts, sets and arrays, call by call, against what the standard library has.
//!
//! Owns the references: a vector with Python's indices, and pairs in the order in which
//! they came.

use super::Object;
use procession_protocols::manager::{
    ArrayCall, Call, DictCall, Fault, ListCall, Range, Reply, Seed, SetCall,
};
use proptest::prelude::*;

/// Where an index of Python's is in a sequence of this length.
fn place(index: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let from_start = if index < 0 { index + len } else { index };
    usize::try_from(from_start).ok().filter(|_| from_start < len)
}

fn list_step(object: &mut Object, model: &mut Vec<u8>, call: ListCall<u8>) {
    let expected = match call.clone() {
        ListCall::Get(at) => place(at, model.len()).map(|at| Reply::Value(model[at])),
        ListCall::Set(at, value) => place(at, model.len()).map(|at| {
            model[at] = value;
            Reply::Done
        }),
        ListCall::Delete(at) => place(at, model.len()).map(|at| {
            model.remove(at);
            Reply::Done
        }),
        ListCall::Pop(at) => place(at, model.len()).map(|at| Reply::Value(model.remove(at))),
        ListCall::Len => Some(Reply::Number(model.len() as u64)),
        ListCall::Append(value) => {
            model.push(value);
            Some(Reply::Done)
        }
        ListCall::Insert(at, value) => {
            // Beyond the ends it goes to the end.
            let len = i64::try_from(model.len()).unwrap_or(i64::MAX);
            let at = if at < 0 { (at + len).max(0) } else { at.min(len) };
            model.insert(usize::try_from(at).unwrap_or(0), value);
            Some(Reply::Done)
        }
        ListCall::Reverse => {
            model.reverse();
            Some(Reply::Done)
        }
        ListCall::Contains(value) => Some(Reply::Bool(model.contains(&value))),
        ListCall::Count(value) => {
            Some(Reply::Number(model.iter().map(|one| u64::from(*one == value)).sum()))
        }
        ListCall::Clear => {
            model.clear();
            Some(Reply::Done)
        }
        _ => return,
    };
    let reply = object.ask(Call::List(call));
    assert_eq!(reply, expected.unwrap_or(Reply::Fault(Fault::Index)));
}

fn list_calls() -> impl Strategy<Value = ListCall<u8>> {
    let at = -6_i64..6;
    let value = 0_u8..4;
    prop_oneof![
        at.clone().prop_map(ListCall::Get),
        (at.clone(), value.clone()).prop_map(|(at, value)| ListCall::Set(at, value)),
        at.clone().prop_map(ListCall::Delete),
        at.clone().prop_map(ListCall::Pop),
        Just(ListCall::Len),
        value.clone().prop_map(ListCall::Append),
        value.clone().prop_map(ListCall::Append),
        (at, value.clone()).prop_map(|(at, value)| ListCall::Insert(at, value)),
        Just(ListCall::Reverse),
        value.clone().prop_map(ListCall::Contains),
        value.prop_map(ListCall::Count),
        Just(ListCall::Clear),
    ]
}

fn dict_step(object: &mut Object, model: &mut Vec<(u8, u8)>, call: DictCall<u8>) {
    let found = |model: &[(u8, u8)], key| model.iter().position(|(known, _)| *known == key);
    let or_none = |value: Option<u8>| value.map_or(Reply::None, Reply::Value);
    let insert = |model: &mut Vec<(u8, u8)>, key, value| {
        // A key that is there keeps its place.
        if let Some(at) = found(model, key) {
            return Some(std::mem::replace(&mut model[at].1, value));
        }
        model.push((key, value));
        None
    };
    let expected = match call.clone() {
        DictCall::Get(key) => or_none(found(model, key).map(|at| model[at].1)),
        DictCall::Set(key, value) => {
            insert(model, key, value);
            Reply::Done
        }
        DictCall::Replace(key, value) => or_none(insert(model, key, value)),
        DictCall::SetDefault(key, value) => {
            let known = found(model, key).map(|at| model[at].1);
            Reply::Value(known.unwrap_or_else(|| {
                model.push((key, value));
                value
            }))
        }
        DictCall::Pop(key) => or_none(found(model, key).map(|at| model.remove(at).1)),
        DictCall::PopItem => model.pop().map_or(Reply::None, |pair| Reply::Pairs(vec![pair])),
        DictCall::Contains(key) => Reply::Bool(found(model, key).is_some()),
        DictCall::Len => Reply::Number(model.len() as u64),
        DictCall::Clear => {
            model.clear();
            Reply::Done
        }
        DictCall::Keys => Reply::Values(model.iter().map(|(key, _)| *key).collect()),
        DictCall::Values => Reply::Values(model.iter().map(|(_, value)| *value).collect()),
        DictCall::Items => Reply::Pairs(model.clone()),
        DictCall::Update(pairs) => {
            for (key, value) in pairs {
                insert(model, key, value);
            }
            Reply::Done
        }
        DictCall::Next { .. } => return,
    };
    assert_eq!(object.ask(Call::Dict(call)), expected);
}

fn dict_calls() -> impl Strategy<Value = DictCall<u8>> {
    let (key, value) = (0_u8..6, any::<u8>());
    prop_oneof![
        key.clone().prop_map(DictCall::Get),
        (key.clone(), value).prop_map(|(key, value)| DictCall::Set(key, value)),
        (key.clone(), value).prop_map(|(key, value)| DictCall::Set(key, value)),
        (key.clone(), value).prop_map(|(key, value)| DictCall::Replace(key, value)),
        (key.clone(), value).prop_map(|(key, value)| DictCall::SetDefault(key, value)),
        key.clone().prop_map(DictCall::Pop),
        Just(DictCall::PopItem),
        key.clone().prop_map(DictCall::Contains),
        Just(DictCall::Len),
        Just(DictCall::Clear),
        Just(DictCall::Keys),
        Just(DictCall::Values),
        Just(DictCall::Items),
        proptest::collection::vec((key, value), 0..4).prop_map(DictCall::Update),
    ]
}

proptest! {
    #[test]
    fn a_list_is_as_a_vector_with_pythons_indices(
        begins in proptest::collection::vec(0_u8..4, 0..4),
        calls in proptest::collection::vec(list_calls(), 0..40),
    ) {
        let (mut object, mut model) = (Object::new(Seed::List(begins.clone())), begins);
        for call in calls {
            list_step(&mut object, &mut model, call);
        }
        let all = object.ask(Call::List(ListCall::Slice(Range::default())));
        prop_assert_eq!(all, Reply::Values(model));
    }

    #[test]
    fn a_dict_keeps_its_keys_in_the_order_in_which_they_came(
        calls in proptest::collection::vec(dict_calls(), 0..60),
    ) {
        let (mut object, mut model) = (Object::new(Seed::Dict(Vec::new())), Vec::new());
        for call in calls {
            dict_step(&mut object, &mut model, call);
        }
        prop_assert_eq!(object.ask(Call::Dict(DictCall::Items)), Reply::Pairs(model));
    }

    #[test]
    fn a_set_has_each_value_once(
        calls in proptest::collection::vec((any::<bool>(), 0_u8..6), 0..40),
    ) {
        let mut object = Object::new(Seed::Set(Vec::new()));
        let mut model = std::collections::BTreeSet::new();
        for (adds, value) in calls {
            if adds {
                model.insert(value);
                object.ask(Call::Set(SetCall::Add(value)));
            } else {
                let was_there = model.remove(&value);
                let reply = object.ask(Call::Set(SetCall::Remove(value)));
                prop_assert_eq!(reply == Reply::Bool(true) || reply == Reply::Done, was_there, "{:?}", reply);
            }
            prop_assert_eq!(object.ask(Call::Set(SetCall::Len)), Reply::Number(model.len() as u64));
            let has = object.ask(Call::Set(SetCall::Contains(value)));
            prop_assert_eq!(has, Reply::Bool(model.contains(&value)));
        }
    }

    #[test]
    fn an_array_keeps_its_length(
        cells in proptest::collection::vec(any::<u8>(), 1..5),
        calls in proptest::collection::vec((-6_i64..6, any::<u8>()), 0..30),
    ) {
        let (mut object, mut model) = (Object::new(Seed::Array(cells.clone())), cells);
        for (at, value) in calls {
            let found = place(at, model.len());
            let expected = found.map_or(Reply::Fault(Fault::Index), |at| {
                model[at] = value;
                Reply::Done
            });
            prop_assert_eq!(object.ask(Call::Array(ArrayCall::Set(at, value))), expected);
            let expected = found.map_or(Reply::Fault(Fault::Index), |at| Reply::Value(model[at]));
            prop_assert_eq!(object.ask(Call::Array(ArrayCall::Get(at))), expected);
            let len = Reply::Number(model.len() as u64);
            prop_assert_eq!(object.ask(Call::Array(ArrayCall::Len)), len);
        }
    }
}

#[test]
fn nothing_lies_beyond_the_last_place_of_all() {
    let mut object = Object::new(Seed::Dict(vec![(1, 2)]));
    for (position, backwards) in [(u64::MAX, false), (0, true)] {
        let call = DictCall::Next { position: Some(position), form: None, most: 9, backwards };
        let reply = object.ask(Call::Dict(call));
        assert!(matches!(&reply, Reply::Keys { keys, .. } if keys.is_empty()), "{reply:?}");
    }
}
