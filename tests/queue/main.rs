//! Queues between real processes: order, bounds, waits, types, handles that travel.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod descriptors;
mod ends;
mod items;
mod liars;
mod processes;
#[path = "../util/mod.rs"]
mod util;
mod waits;
