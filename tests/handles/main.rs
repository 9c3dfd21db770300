//! Handles of shared objects: the ways they go, what deaths and lies do to them, all kinds at
//! once.
//!
//! What counts objects or descriptors runs in a process of its own.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

mod all;
#[path = "../util/counter.rs"]
mod counter;
mod ends;
mod scarce;
#[path = "../util/mod.rs"]
mod util;
mod ways;
