//! Managers whose values go as JSON to and from other programs.

use crate::util::SOON;
use procession::manager::{DictProxy, Fault, ListProxy, QueueProxy};
use procession::{
    Actor, Address, Dynamic, Error, Function, Manager, ManagerError, PlainData, Process,
    Serializer, methods,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// As long as the keys of Python's tests.
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

type Mixed = (String, Option<u8>, bool, f64, Vec<u8>, u64, (i8, i8));

#[derive(Actor)]
struct Sum(i64);

#[methods]
impl Sum {
    pub fn add(&mut self, n: i64) -> i64 {
        self.0 += n;
        self.0
    }
}

fn served() -> (Manager, Address) {
    let manager = Manager::builder()
        .address("127.0.0.1:0")
        .authkey(KEY)
        .serializer(Serializer::Json)
        .offer::<QueueProxy<Mixed>>("mixed")
        .offer::<QueueProxy<Dynamic>>("any")
        .offer::<DictProxy<String, ListProxy<u64>>>("lists")
        .offer::<DictProxy<String, Options>>("options")
        .offer::<ListProxy<PlainData<Mixed>>>("plain")
        .register("Sum", Sum)
        .start()
        .unwrap();
    let address = manager.address().unwrap().clone();
    (manager, address)
}

fn connect(address: Address) -> Manager {
    let manager = Manager::builder().address(address).authkey(KEY);
    manager.serializer(Serializer::Json).connect().unwrap()
}

fn mixed() -> Mixed {
    ("grüß dich, ñandú".into(), None, true, 2.25, vec![0, 255], u64::MAX, (-1, 1))
}

#[test]
fn seven_kinds_of_value_go_from_one_program_to_another_as_json() {
    let (_manager, address) = served();
    let child = |address: Address| {
        let remote = connect(address);
        remote.get::<QueueProxy<Mixed>>("mixed").unwrap().put(mixed()).unwrap();
        let any = remote.get::<QueueProxy<Dynamic>>("any").unwrap();
        any.put(Dynamic::of(&mixed()).unwrap()).unwrap();
    };
    let child = Process::spawn(child, (address.clone(),)).unwrap();
    child.result_timeout(SOON).unwrap();
    let third = connect(address);
    let got = third.get::<QueueProxy<Mixed>>("mixed").unwrap().get_timeout(SOON).unwrap();
    assert_eq!(got, mixed());
    // Who asks for nothing of a certain type gets lists.
    let got = third.get::<QueueProxy<Dynamic>>("any").unwrap().get_timeout(SOON).unwrap();
    let text = "['grüß dich, ñandú', None, True, 2.25, [0, 255], 18446744073709551615, [-1, 1]]";
    assert_eq!(got.to_string(), text);
    // A function is no value, nor is what JSON has no form for.
    let functions = third.list::<Function<(u8,), u8>>([]).unwrap();
    let error = functions.append(&Function::new(next).unwrap()).unwrap_err();
    assert!(matches!(error, ManagerError::Encode(_)), "{error}");
    let error = third.list([f64::NAN]).unwrap_err();
    assert!(matches!(error, ManagerError::Encode(_)), "{error}");
    let error = third.list([BTreeMap::from([(1, 2)])]).unwrap_err();
    assert!(error.to_string().contains("texts as keys"), "{error}");
    assert_eq!(third.list([BTreeMap::from([("a".to_owned(), 2)])]).unwrap().len().unwrap(), 1);
}

fn next(n: u8) -> u8 {
    n + 1
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Options {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u32>,
    #[serde(flatten)]
    others: BTreeMap<String, bool>,
}

#[test]
fn the_tree_and_other_programs_meet_at_plain_data() {
    let (manager, address) = served();
    let remote = connect(address);
    let options =
        Options { name: "a".into(), size: None, others: BTreeMap::from([("fast".into(), true)]) };
    let here = manager.get::<DictProxy<String, Options>>("options").unwrap();
    let there = remote.get::<DictProxy<String, Options>>("options").unwrap();
    there.insert(&"x".into(), &options).unwrap();
    assert_eq!(there.get(&"x".into()).unwrap(), Some(options.clone()));
    // What is plain data fits its type, in the tree too.
    assert_eq!(here.get(&"x".into()).unwrap(), Some(options.clone()));
    assert!(here.contains_key(&"x".into()).unwrap());
    // A value of a type of the tree's own is not to be had as JSON; the next call works.
    manager.get::<QueueProxy<Mixed>>("mixed").unwrap().put(mixed()).unwrap();
    let queue = remote.get::<QueueProxy<Mixed>>("mixed").unwrap();
    let error = queue.get_timeout(SOON).unwrap_err();
    assert!(matches!(&error, ManagerError::Fault(Fault::Failed(why)) if why.contains("PlainData")));
    let plain = manager.get::<ListProxy<PlainData<Mixed>>>("plain").unwrap();
    plain.append(&PlainData(mixed())).unwrap();
    let plain = remote.get::<ListProxy<PlainData<Mixed>>>("plain").unwrap();
    assert_eq!(plain.get(0).unwrap().0, mixed());
    manager.get::<QueueProxy<Dynamic>>("any").unwrap().put(7.into()).unwrap();
    assert_eq!(remote.get::<QueueProxy<Dynamic>>("any").unwrap().get().unwrap(), 7.into());
}

#[test]
fn references_and_own_objects_go_as_ever() {
    let (manager, address) = served();
    let remote = connect(address);
    let lists = remote.get::<DictProxy<String, ListProxy<u64>>>("lists").unwrap();
    lists.insert(&"mine".into(), &remote.list([1, 2]).unwrap()).unwrap();
    let here = manager.get::<DictProxy<String, ListProxy<u64>>>("lists").unwrap();
    here.get(&"mine".into()).unwrap().unwrap().append(&3).unwrap();
    assert_eq!(lists.get(&"mine".into()).unwrap().unwrap().to_vec().unwrap(), [1, 2, 3]);
    let sum = remote.make::<Sum>("Sum", (40,)).unwrap();
    assert_eq!(sum.add(2).unwrap(), 42);
}

#[test]
fn both_ends_must_say_the_same() {
    let (_json, address) = served();
    let error = Manager::connect(address, KEY).unwrap_err();
    assert!(matches!(error, Error::Manager(ManagerError::Values { .. })), "{error}");
    let native = Manager::builder().address("127.0.0.1:0").authkey(KEY).start().unwrap();
    let address = native.address().unwrap().clone();
    let client = Manager::builder().address(address.clone()).authkey(KEY);
    let error = client.serializer(Serializer::Json).connect().unwrap_err();
    assert!(matches!(error, Error::Manager(ManagerError::Values { .. })), "{error}");
    assert!(Manager::connect(address, KEY).is_ok());
    let pickle = Manager::builder().serializer(Serializer::Pickle).start().unwrap_err();
    assert!(matches!(pickle, Error::Invalid(_)), "{pickle}");
    assert!(matches!(Manager::builder().connect(), Err(Error::Invalid(_))));
}
