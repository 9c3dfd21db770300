//! Pipes between real processes: messages, what travels in them, waiting for many.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

mod messages;
mod travel;
#[path = "../util/mod.rs"]
mod util;
mod wait;

use procession::{Connection, Process};
use std::time::Duration;
use util::SOON;

const MOMENT: Duration = Duration::from_millis(30);

fn ended<R: serde::de::DeserializeOwned>(p: &Process<R>) {
    assert!(p.join_timeout(SOON).unwrap());
    assert_eq!(p.exitcode(), Some(0));
}

/// Sends back what comes, until the end.
fn echo(end: Connection) {
    while end.recv_bytes().is_ok_and(|bytes| end.send_bytes(&bytes).is_ok()) {}
}
