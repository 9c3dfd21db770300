//! Actors: hosted here and as processes of their own, mailboxes, and what messages carry.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

mod distant;
mod ends;
mod host;
mod limits;
pub mod macros;
mod mailbox;
mod process;
#[path = "../util/mod.rs"]
mod util;
mod wrappers;
