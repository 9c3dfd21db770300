//! Memory is not shared: a plain vector beside a handle.
//!
//! In Python a list that a child appends to is unchanged in the parent. So is a vector
//! here: the child has a copy. What the child does through a handle, here the reference of
//! an actor in a third process, is seen by both.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Actor, CallError, Failure, Process, methods};
use serde::{Deserialize, Serialize};

#[derive(Actor, Serialize, Deserialize)]
struct Shelf {
    books: Vec<u32>,
}

#[methods]
impl Shelf {
    pub fn put(&mut self, book: u32) {
        self.books.push(book);
    }

    pub fn books(&self) -> Vec<u32> {
        self.books.clone()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what travels to a child is owned")]
fn append(mut plain: Vec<u32>, shelf: ShelfRef) -> Result<Vec<u32>, CallError> {
    plain.push(4);
    shelf.put_timeout(4, support::DEADLINE)?;
    Ok(plain)
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let plain = vec![1, 2, 3];
    let shelf = Shelf { books: plain.clone() }.spawn()?;
    let p = Process::spawn(append, (plain.clone(), shelf.clone()))?;
    println!("in the child: {:?}", p.result_timeout(support::DEADLINE)??);
    println!("a plain vector in the parent: {plain:?}");
    println!("behind a handle: {:?}", shelf.books_timeout(support::DEADLINE)?);
    Ok(())
}
