//! Hooks whose types are others.
#![allow(unused_variables)]
use procession::{Actor, ExitReason, methods};

#[derive(Actor)]
struct Hooked;

#[methods]
impl Hooked {
    #[on_start]
    fn start(&mut self) -> u8 {
        1
    }
    #[on_down]
    fn down(&mut self, down: &ExitReason) {}
}

fn main() {}
