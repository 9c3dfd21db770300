//! Objects of users' own types at a manager, and what it offers under names.

use crate::util::{SOON, until};
use procession::manager::DictProxy;
use procession::{Actor, CallError, Manager, ManagerError, Process, Queue, methods};
use serde::{Deserialize, Serialize};

#[derive(Actor, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

#[methods]
impl Counter {
    pub fn add(&mut self, n: i64) -> i64 {
        self.value += n;
        self.value
    }

    pub fn _hidden(&mut self) -> u32 {
        std::process::id()
    }
}

#[test]
fn an_actor_lives_in_the_manager() {
    let manager = Manager::start().unwrap();
    let counter = manager.create(Counter { value: 40 }).unwrap();
    assert_eq!(counter.add(1).unwrap(), 41);
    assert_eq!(Some(counter._hidden().unwrap()), manager.process().unwrap().pid());
    let child = |counter: CounterRef| counter.add(1).unwrap();
    let child = Process::spawn(child, (counter.clone(),)).unwrap();
    assert_eq!(child.result_timeout(SOON).unwrap(), 42);
    assert_eq!(counter.add(0).unwrap(), 42);
    manager.shutdown().unwrap();
    assert!(matches!(counter.add(0), Err(CallError::ActorDied { .. })));
}

#[test]
fn an_own_object_ends_with_its_last_reference_wherever_that_is() {
    let manager = Manager::start().unwrap();
    let count = || manager.object_count().unwrap();
    let counter = manager.create(Counter { value: 0 }).unwrap();
    let dict = manager.dict::<u8, CounterRef>().unwrap();
    assert_eq!(count(), 2);
    dict.insert(&1, &counter).unwrap();
    drop(counter);
    // What a child has, and what it gave to a child of its own, which outlives it.
    let child = |dict: DictProxy<u8, CounterRef>| {
        let counter = dict.pop(&1).unwrap().unwrap();
        counter.add(1).unwrap();
        let grandchild = |counter: CounterRef, dict: DictProxy<u8, CounterRef>| {
            counter.add(1).unwrap();
            dict.insert(&2, &counter).unwrap();
            std::thread::sleep(SOON);
        };
        Process::spawn(grandchild, (counter, dict.clone())).unwrap().result().unwrap();
    };
    let child = Process::spawn(child, (dict.clone(),)).unwrap();
    until("a grandchild has it", || dict.contains_key(&2).unwrap());
    let again = dict.pop(&2).unwrap().unwrap();
    assert_eq!(again.add(1).unwrap(), 3);
    drop(again);
    assert_eq!(count(), 2);
    child.as_ref().kill().unwrap();
    until("with those who had it, it is gone", || count() == 1);
}

#[test]
fn registered_types_are_made_by_name_and_show_what_they_expose() {
    let make = |value: i64| if value < 0 { Err("below zero") } else { Ok(Counter { value }) };
    let manager = Manager::builder()
        .register("Counter", make)
        .register_exposed("Adder", || Counter { value: 0 }, &["add"])
        .start()
        .unwrap();
    assert_eq!(manager.names().unwrap(), ["Adder", "Counter"]);
    assert_eq!(manager.exposed("Adder").unwrap().unwrap(), ["add"]);
    assert_eq!(manager.exposed("Counter").unwrap(), None, "all");
    let counter = manager.make::<Counter>("Counter", (5,)).unwrap();
    assert_eq!(counter.add(1).unwrap(), 6);
    let fails = manager.make::<Counter>("Counter", (-1,)).err().unwrap();
    assert!(fails.to_string().contains("below zero"), "{fails}");
    let adder = manager.make::<Counter>("Adder", ()).unwrap();
    assert_eq!(adder.add(2).unwrap(), 2);
    assert!(matches!(adder._hidden(), Err(CallError::NotExposed)));
    assert_eq!(adder.add(1).unwrap(), 3);
    let none = manager.make::<Counter>("Subtracter", ()).err().unwrap();
    assert!(matches!(none, ManagerError::Fault(_)));
}

#[test]
fn a_shared_handle_is_the_same_for_everybody() {
    let queue = Queue::<String>::new().unwrap();
    let manager = Manager::builder()
        .share("get_queue", queue.clone())
        .register_value("pid", std::process::id)
        .start()
        .unwrap();
    let again = manager.get::<Queue<String>>("get_queue").unwrap();
    again.put("hello".into()).unwrap();
    let more = manager.get::<Queue<String>>("get_queue").unwrap();
    more.put("world".into()).unwrap();
    assert_eq!([queue.get().unwrap(), queue.get().unwrap()], ["hello", "world"]);
    assert_eq!(manager.get::<u32>("pid").ok(), manager.process().unwrap().pid());
}
