//! An actor whose messages have no serde is hosted, but does not leave the process.

#![allow(unused_variables)]

use procession::{Actor, methods};

struct Opaque;

#[derive(Actor)]
struct Plain;

#[methods]
impl Plain {
    pub fn take(&mut self, it: Opaque) {}
}

/// What starting it in a process of its own asks for.
fn travels<M: procession::__private::Wire>() {}

fn main() {
    Plain.host().unwrap().take(Opaque).unwrap();
    travels::<PlainMsg>();
}
