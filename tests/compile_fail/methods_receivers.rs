//! Receivers that methods cannot have.
#![allow(unused_variables)]
use procession::{Actor, methods};

#[derive(Actor)]
struct Job;

#[methods]
impl Job {
    pub fn finish(self) {}
    pub fn finish_boxed(self: Box<Self>) {}
    pub unsafe fn poke(&mut self) {}
    pub extern "C" fn call(&mut self) {}
}

fn main() {}
