//! Arguments that methods cannot have.
#![allow(unused_variables)]
use procession::{Actor, methods};
use std::borrow::Cow;
use std::path::Path;

#[derive(Actor)]
struct Log;

#[methods]
impl Log {
    pub fn write(&mut self, line: &str) {}
    pub fn write_all(&mut self, lines: &[String]) {}
    pub fn open(&mut self, path: Option<&Path>) {}
    pub fn show(&mut self, what: impl ToString) {}
    pub fn cow(&mut self, text: Cow<'_, str>) {}
    pub fn pair(&mut self, (a, b): (u8, u8)) {}
    pub fn ignore(&mut self, _: u8) {}
    pub fn fine(&mut self, filter: fn(&str) -> bool) {}
}

fn main() {
    let log = Log.host().unwrap();
    log.fine(str::is_empty).unwrap();
}
