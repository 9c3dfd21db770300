//! Three values from a child, through a queue.
//!
//! The Python original puts the list 42, None, "hello" and gets it in the parent before the
//! join. A queue here has one type of item: a tuple, or an enum where each item differs.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Failure, Process, Queue};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
enum Item {
    Number(i64),
    Nothing,
    Text(String),
}

fn f(tuples: Queue<(i64, Option<bool>, String)>, items: Queue<Item>) -> Result<(), Failure> {
    tuples.put((42, None, "hello".to_string()))?;
    for item in [Item::Number(42), Item::Nothing, Item::Text("hello".to_string())] {
        items.put(item)?;
    }
    Ok(())
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let (tuples, items) = (Queue::new()?, Queue::new()?);
    let p = Process::spawn(f, (tuples.clone(), items.clone()))?;
    println!("{:?}", tuples.get_timeout(support::DEADLINE)?);
    for _ in 0..3 {
        println!("{:?}", items.get_timeout(support::DEADLINE)?);
    }
    assert!(p.join_timeout(support::DEADLINE)?);
    Ok(())
}
