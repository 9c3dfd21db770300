//! A manager keeps a dict, a list and a namespace; children change them.
//!
//! A value that is got is a copy: to change what the manager keeps, put it back, or let a
//! proxy be the value.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::manager::{DictProxy, ListProxy};
use procession::{Manager, Process};
use std::collections::BTreeMap;

fn represent(number: u32, returned: DictProxy<u32, u32>) {
    println!("{number} represent!");
    returned.insert(&number, &number).expect("the manager keeps it");
}

fn change(dict: DictProxy<String, String>, list: ListProxy<i32>) {
    dict.insert(&"a".into(), &"1".into()).expect("the manager keeps it");
    list.reverse().expect("the manager keeps it");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    support::start_method_from_args()?;
    let manager = Manager::start()?;

    // Return values by way of a dict, in any order.
    let returned = manager.dict::<u32, u32>()?;
    let children: Vec<_> = (0..5)
        .map(|number| Process::spawn(represent, (number, returned.clone())))
        .collect::<Result<_, _>>()?;
    for child in children {
        child.result()?;
    }
    let mut numbers = returned.values()?;
    numbers.sort_unstable();
    println!("{numbers:?}");

    let dict = manager.dict::<String, String>()?;
    let list = manager.list(0..10)?;
    Process::spawn(change, (dict.clone(), list.clone()))?.result()?;
    println!("{:?} {:?}", dict.items()?, list.to_vec()?);

    // A change of a copy is seen by nobody; of what a proxy stands for, by all.
    let copies = manager.list([BTreeMap::<String, u32>::new()])?;
    let mut copy = copies.get(0)?;
    copy.insert("a".into(), 1);
    println!("{:?}", copies.to_vec()?);
    copies.set(0, &copy)?;
    println!("{:?}", copies.to_vec()?);
    let nested = manager.list([manager.dict::<String, u32>()?])?;
    nested.get(0)?.insert(&"a".into(), &1)?;
    println!("{:?}", nested.get(0)?.items()?);

    let namespace = manager.namespace()?;
    namespace.set("x", &10)?;
    namespace.set("y", "hello")?;
    println!("x={} y={}", namespace.get::<i32>("x")?, namespace.get::<String>("y")?);
    manager.shutdown()?;
    Ok(())
}
