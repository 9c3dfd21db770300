//! Processes: how they start, live and end, and what they leave behind.
//!
//! Neighbours: `tests/process_by_spawn.rs` runs the life of a process once more by spawn,
//! `tests/fork.rs` has fork's share, `tests/forkserver.rs` the fork server's.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

#[path = "../util/counted.rs"]
mod counted;
mod exit_hooks;
mod faults;
mod forced_child;
mod inherited;
mod life;
mod parent_death;
mod relay;
mod retry;
mod rows;
mod signals;
mod start_methods;
mod tree;
#[path = "../util/mod.rs"]
mod util;
