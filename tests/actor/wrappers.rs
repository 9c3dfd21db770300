//! Types that the usual format cannot carry, and the wrappers that do.

use crate::util::SOON;
use procession::{Error, Json, MsgPack, Process};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    width: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(i64),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Awkward {
    #[serde(flatten)]
    inner: Inner,
    #[serde(skip_serializing_if = "Option::is_none")]
    colour: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    list: Vec<Either>,
    last: u8,
}

fn samples() -> [Awkward; 2] {
    let full = Awkward {
        inner: Inner { width: 7 },
        colour: Some("blue".into()),
        list: vec![Either::Number(-3), Either::Text("x".into())],
        last: 9,
    };
    [Awkward { colour: None, list: Vec::new(), ..full.clone() }, full]
}

#[test]
fn awkward_types_travel_as_json() {
    for sample in samples() {
        let echo = |Json(mut a): Json<Awkward>| {
            a.last += 1;
            Json(a)
        };
        let p = Process::spawn(echo, (Json(sample.clone()),)).unwrap();
        let back = p.result_timeout(SOON).unwrap().0;
        assert_eq!(back, Awkward { last: 10, ..sample });
    }
    let value = serde_json::json!({"a": [1, 2.5, null, "x"], "b": {"c": true}});
    let p = Process::spawn(|v: Json<serde_json::Value>| v, (Json(value.clone()),)).unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap().0, value);
}

#[test]
fn awkward_types_travel_as_message_pack() {
    for sample in samples() {
        let echo = |MsgPack(mut a): MsgPack<Awkward>| {
            a.last += 1;
            MsgPack(a)
        };
        let p = Process::spawn(echo, (MsgPack(sample.clone()),)).unwrap();
        let back = p.result_timeout(SOON).unwrap().0;
        assert_eq!(back, Awkward { last: 10, ..sample });
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    second: u64,
}

/// Without a wrapper each of them is an error, never a wrong value.
#[test]
fn without_a_wrapper_they_are_errors() {
    // What flattens is refused when it is encoded.
    let error = Process::new(|_: Awkward| (), (samples()[0].clone(),)).unwrap_err();
    assert!(matches!(error, Error::Encode(_)), "{error}");
    // What asks for the shape is refused when it is decoded.
    let error = Process::spawn(|_: Either| (), (Either::Number(1),)).unwrap_err();
    assert!(matches!(error, Error::Start(_)), "{error}");

    // What skips fields leaves bytes over, or has too few.
    let skips = Skips { first: None, second: 0x0101_0101 };
    let error = Process::spawn(|_: Skips| (), (skips,)).unwrap_err();
    assert!(matches!(error, Error::Start(_)), "{error}");
}

/// What is not in the format is an error, of the start or of the result.
#[test]
fn what_json_cannot_say_is_an_error() {
    let map: std::collections::BTreeMap<Vec<u8>, u8> = [(vec![1], 2)].into();
    let error = Process::new(|_: Json<std::collections::BTreeMap<Vec<u8>, u8>>| (), (Json(map),))
        .unwrap_err();
    assert!(matches!(error, Error::Encode(_)), "{error}");
    let p = Process::spawn(|_: Json<u8>| (), (Json(7u8),)).unwrap();
    p.result_timeout(SOON).unwrap();
}
