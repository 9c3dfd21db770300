//! Results that methods cannot have.
#![allow(unused_variables)]
use procession::{Actor, methods};

#[derive(Actor)]
struct Names(Vec<String>);

#[methods]
impl Names {
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }
    pub fn all(&self) -> &[String] {
        &self.0
    }
    pub fn each(&self) -> impl Iterator<Item = String> {
        self.0.clone().into_iter()
    }
}

fn main() {}
