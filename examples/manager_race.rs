//! Two children change one number at once: by reading and writing an update can be lost, in
//! one step it cannot.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::manager::{ListProxy, NamespaceProxy};
use procession::{Manager, Process};

fn add(namespace: NamespaceProxy, list: ListProxy<i32>, by: i32, item: i32) {
    // What Python's `ns.x += by` is.
    let x: i32 = namespace.get("plain").expect("it is there");
    namespace.set("plain", &(x + by)).expect("it is kept");
    // One step: the function runs in the manager.
    namespace.update("x", |x: &mut i32, by: i32| *x += by, by).expect("it is there");
    list.append(&item).expect("it is kept");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    support::start_method_from_args()?;
    let manager = Manager::start()?;
    let (namespace, list) = (manager.namespace()?, manager.list([1])?);
    namespace.set("plain", &0)?;
    namespace.set("x", &0)?;
    let f1 = Process::spawn(add, (namespace.clone(), list.clone(), 1, 2))?;
    let f2 = Process::spawn(add, (namespace.clone(), list.clone(), -2, 3))?;
    f1.result()?;
    f2.result()?;
    let plain: i32 = namespace.get("plain")?;
    println!("read and written: one of the three it can be: {}", [-2, -1, 1].contains(&plain));
    println!("in one step: {}", namespace.get::<i32>("x")?);
    list.sort()?;
    println!("{:?}", list.to_vec()?);
    Ok(())
}
