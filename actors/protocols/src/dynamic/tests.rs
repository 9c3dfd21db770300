//! Values to plain data and back; what is the same; how it looks.

use super::*;
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Line(i32, i32),
    Box { width: u8, name: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct All {
    shapes: Vec<Shape>,
    map: BTreeMap<String, (i8, u64)>,
    wide: (i128, u128),
    letter: char,
    any: Dynamic,
    maybe: Option<Vec<Dynamic>>,
}

fn every_kind() -> Dynamic {
    let token = Token {
        typeid: "list".into(),
        address: Box::new(("host", 5000).into()),
        id: "7f00".into(),
    };
    let proxy = Proxy {
        class: "ListProxy".into(),
        token: token.clone(),
        serializer: "pickle".into(),
        exposed: Some(vec!["append".into()]),
    };
    let error = Exception { class: "builtins.KeyError".into(), args: vec!["key".into()] };
    Dynamic::List(vec![
        ().into(),
        true.into(),
        (-5).into(),
        Dynamic::integer(&[1; 30]),
        2.5.into(),
        "text".into(),
        Dynamic::bytes([0, 255]),
        (1, "a").into(),
        Dynamic::Dict(vec![(1.into(), ().into()), ("k".into(), vec![1, 2].into())]),
        Dynamic::Set(vec![1.into(), 2.into()]),
        Dynamic::FrozenSet(vec![]),
        Dynamic::Slice(Box::new([().into(), 5.into(), ().into()])),
        error.into(),
        Dynamic::Token(token),
        Dynamic::Proxy(Box::new(proxy)),
    ])
}

#[test]
fn bytes_are_read_as_numbers_too() {
    assert_eq!(Dynamic::bytes([1, 2]).to::<Vec<u8>>().unwrap(), [1, 2]);
    assert_eq!(Dynamic::bytes([1, 2]).to::<[u8; 2]>().unwrap(), [1, 2]);
    assert!(Dynamic::bytes([1, 2]).to::<[u8; 1]>().is_err());
    assert_eq!(Dynamic::bytes([1]).to::<Dynamic>().unwrap(), Dynamic::bytes([1]));
}

#[test]
fn values_come_back_from_plain_data() {
    let all = All {
        shapes: vec![
            Shape::Point,
            Shape::Circle(0.5),
            Shape::Line(1, -1),
            Shape::Box { width: 3, name: None },
        ],
        map: BTreeMap::from([("key".into(), (-1, u64::MAX))]),
        wide: (i128::MIN, u128::from(u64::MAX) * 3),
        letter: 'ä',
        any: every_kind(),
        maybe: Some(vec![every_kind(), ().into()]),
    };
    let plain = Dynamic::of(&all).unwrap();
    assert_eq!(plain.get("any"), Some(&every_kind()));
    assert_eq!(plain.get("letter"), Some(&"ä".into()));
    assert_eq!(plain.clone().to::<All>().unwrap(), all);
    assert_eq!(Dynamic::of(&plain).unwrap(), plain);
    assert!(Dynamic::from("text").to::<u32>().is_err());
    assert!(Dynamic::from(300).to::<u8>().is_err());
    assert!(Dynamic::from(vec![1, 2, 3]).to::<(i32, i32)>().is_err());
    assert!(every_kind().to::<Vec<String>>().is_err());
}

#[test]
fn numbers_are_one_key_across_kinds() {
    let mut map = HashMap::new();
    map.insert(Dynamic::from(1), "one");
    assert_eq!(map.get(&Dynamic::from(1.0)), Some(&"one"));
    assert_eq!(map.get(&Dynamic::from(true)), Some(&"one"));
    assert_eq!(map.get(&Dynamic::from("1")), None);
    let big = |power: u32| Dynamic::from(1i128 << power);
    assert_eq!(big(70), Dynamic::from(2f64.powi(70)));
    assert_eq!(Dynamic::from(-(1i128 << 63)), Dynamic::from(-(2f64.powi(63))));
    assert_eq!(Dynamic::from(1i128 << 63), Dynamic::from(2f64.powi(63)));
    assert_ne!(Dynamic::from(i64::MAX), Dynamic::from(2f64.powi(63)));
    assert_ne!(Dynamic::from(0.5), Dynamic::from(0));
    assert_eq!(Dynamic::from(f64::NAN), Dynamic::from(f64::NAN));
    assert_eq!(Dynamic::from(-0.0), Dynamic::from(0));
    let dict = |entries: [(i32, i32); 2]| {
        Dynamic::Dict(entries.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    };
    assert_eq!(dict([(1, 2), (3, 4)]), dict([(3, 4), (1, 2)]));
    assert_ne!(dict([(1, 2), (3, 4)]), dict([(1, 2), (3, 5)]));
    assert_eq!(
        Dynamic::Set(vec![1.into(), 2.into()]),
        Dynamic::FrozenSet(vec![2.into(), 1.0.into()])
    );
    assert_ne!(Dynamic::from(vec![1, 2]), Dynamic::from((1, 2)));
}

#[test]
fn the_text_is_python_s() {
    let texts = [
        (Dynamic::from(vec![Dynamic::from("it's"), "a\n\"'".into()]), r#"["it's", 'a\n"\'']"#),
        (Dynamic::Tuple(vec![1.into()]), "(1,)"),
        (
            Dynamic::Dict(vec![(1.into(), "1".into()), (0.25.into(), ().into())]),
            "{1: '1', 0.25: None}",
        ),
        (Dynamic::bytes([0, b'a']), r"b'\x00a'"),
        (Dynamic::from(1.0), "1.0"),
        (Dynamic::from(f64::NEG_INFINITY), "-inf"),
        (Dynamic::from(-(1i128 << 70)), "-1180591620717411303424"),
        (Dynamic::from(10i128.pow(30)), "1000000000000000000000000000000"),
        (Dynamic::Set(vec![]), "set()"),
        (
            Exception { class: "builtins.KeyError".into(), args: vec![1.into()] }.into(),
            "KeyError(1)",
        ),
    ];
    for (value, text) in texts {
        assert_eq!(value.to_string(), text);
    }
}
