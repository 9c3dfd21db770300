//! A generic type: each of its methods blocks is for all of its parameters, or refused.
#![allow(unused_variables)]
use procession::methods;

struct Store<T>(T);

#[methods]
impl<T> Store<T> {
    pub fn clear(&mut self) {}
}

#[methods]
impl Store<u8> {
    pub fn clear(&mut self) {}
}

fn main() {}
