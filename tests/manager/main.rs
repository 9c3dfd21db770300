//! Managers: what they keep, who may use it from where, what deaths leave behind.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod attacks;
mod cells;
mod chains;
mod channel;
mod command;
mod containers;
#[path = "../util/counted.rs"]
mod counted;
mod custom;
mod deaths;
mod given_up;
mod json;
mod kills;
mod life;
mod locks;
mod many;
mod namespaces;
mod pools;
mod python;
mod python_stock;
mod remote;
mod remote_actors;
mod remote_calls;
mod rows;
mod stopped;
#[path = "../util/mod.rs"]
mod util;
