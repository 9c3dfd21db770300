//! Places where the attribute cannot stand.
#![allow(unused_variables)]
use procession::{Actor, methods};

#[derive(Actor)]
struct Counter;

#[methods]
impl Counter {}

#[methods]
impl Drop for Counter {
    fn drop(&mut self) {}
}

#[methods(sync)]
impl [Counter] {}

#[methods]
struct Other;

fn main() {}
