//! Hooks that take or give something else.
#![allow(unused_variables)]
use procession::{Actor, Down, ExitReason, methods};

#[derive(Actor)]
struct Hooked;

#[methods]
impl Hooked {
    #[on_start]
    fn start(&mut self, n: u8) {}
    #[on_start]
    fn begin(&mut self) {}
    #[on_start]
    fn begin_again(&mut self) {}
    #[on_stop]
    fn stop(&mut self, why: ExitReason) {}
    #[on_stop]
    fn no_reason(&mut self) {}
    #[on_stop]
    fn halt(&mut self, why: &ExitReason) -> bool {
        true
    }
    #[on_down]
    fn down(down: &Down) {}
    #[on_down]
    #[on_stop]
    fn both(&mut self, why: &ExitReason) {}
    #[on_down(twice)]
    fn with_arguments(&mut self, down: &Down) {}
}

fn main() {}
