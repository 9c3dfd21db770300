//! Locks and their kin between processes, behaviour by behaviour.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod leaving;
mod meet;
mod processes;
#[path = "../util/mod.rs"]
mod util;
mod words;
