//! Names that methods cannot have.
#![allow(unused_variables)]
use procession::{Actor, methods};

#[derive(Actor)]
struct Radio;

#[methods]
impl Radio {
    pub fn cast(&mut self) {}
    pub fn tune(&mut self) {}
    pub fn tune_async(&mut self) {}
    pub fn tune_timeout(&mut self) {}
    pub fn play_all(&mut self) {}
    pub fn play__all(&mut self) {}
    pub fn _1(&mut self) {}
}

fn main() {}
