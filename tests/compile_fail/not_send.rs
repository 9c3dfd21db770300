//! Actors, arguments and results that may not go to another thread.
#![allow(unused_variables)]
use procession::{Actor, methods};
use std::rc::Rc;

#[derive(Actor)]
struct Local;

#[methods]
impl Local {
    pub fn share(&mut self, it: Rc<u8>) {}
}

fn main() {}
