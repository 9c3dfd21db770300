//! Choosing how processes are started.
//!
//! The Python original sets the start method to spawn and gets "hello" from a child through
//! a queue. A second call of `set_start_method` ends in a `RuntimeError` there, in a typed error
//! here; a method can be set by force.

mod support;

use procession::{
    Error, Failure, Process, Queue, StartMethod, all_start_methods, current_process,
    force_start_method, set_start_method, start_method, start_method_if_set,
};

fn foo(queue: Queue<(String, Option<StartMethod>)>) -> Result<(), Failure> {
    Ok(queue.put(("hello".to_string(), current_process().start_method()))?)
}

fn main() -> procession::Result<()> {
    println!("the methods, the default first: {:?}", all_start_methods().map(|m| m.to_string()));
    assert_eq!(start_method_if_set(), None);
    set_start_method(StartMethod::Spawn)?;
    println!("set to {}", start_method());
    match set_start_method(StartMethod::Fork) {
        Err(error @ Error::StartMethodAlreadySet) => println!("second call: {error}"),
        other => panic!("{other:?}"),
    }
    for method in [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork] {
        force_start_method(Some(method));
        let queue = Queue::new()?;
        let p = Process::spawn(foo, (queue.clone(),))?;
        let (text, by) = queue.get_timeout(support::DEADLINE)?;
        assert_eq!(by, Some(method));
        assert!(p.join_timeout(support::DEADLINE)?);
        println!("{text} by {method}");
    }
    Ok(())
}
