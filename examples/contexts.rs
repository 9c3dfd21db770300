//! Several start methods in one program, by contexts.
//!
//! The Python original makes its queue and its process from `get_context("spawn")` and gets
//! "hello" through the queue; the program's own choice of a method stays open. A library
//! should do the same. Here children of three contexts share one queue.

mod support;

use procession::{Failure, Queue, StartMethod, context, current_process, start_method_if_set};

fn foo(queue: Queue<String>) -> Result<(), Failure> {
    let method = current_process().start_method().map(|method| method.to_string());
    Ok(queue.put(format!("hello, started by {}", method.unwrap_or_default()))?)
}

fn main() -> procession::Result<()> {
    let queue = Queue::new()?;
    for method in [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork] {
        let p = context(method).spawn(foo, (queue.clone(),))?;
        println!("{}", queue.get_timeout(support::DEADLINE)?);
        assert!(p.join_timeout(support::DEADLINE)?);
    }
    assert_eq!(start_method_if_set(), None);
    println!("the program has chosen no method");
    Ok(())
}
