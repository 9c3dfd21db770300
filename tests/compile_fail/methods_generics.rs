//! Methods with parameters of their own.
#![allow(unused_variables)]
use procession::{Actor, methods};

#[derive(Actor)]
struct Store;

#[methods]
impl Store {
    pub fn put<T: Send>(&mut self, value: T) {}
    pub fn get<'a>(&'a mut self, key: String) {}
    pub fn clear(&mut self)
    where
        Self: Send,
    {
    }
    #[cfg(unix)]
    pub fn flush(&mut self) {}
}

fn main() {}
