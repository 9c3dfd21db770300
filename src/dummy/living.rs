//! The threads that run as processes.
//!
//! Owns the list of them, and the waiting for those that are no daemons when the program ends.
//! Neighbour: `process.rs` says who begins and ends.

use super::process::{ProcessRef, current};
use crate::error::Error;
use procession_runtime::finalizer;
use procession_runtime::node::leave::LEAVER_PERIOD;
use procession_runtime::sync::lock;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Those that are being started are looked at this often.
const START_PERIOD: Duration = Duration::from_millis(1);

/// Those that run, and the process that they run in: a copy of it has none of them.
static LIVING: Mutex<(u32, Vec<ProcessRef>)> = Mutex::new((0, Vec::new()));

/// The threads that this one started as processes and that have not ended.
pub fn active_children() -> Vec<ProcessRef> {
    let me = current().map_or(0, |life| life.number);
    let living = lock(&LIVING);
    let is_here = living.0 == std::process::id();
    living.1.iter().filter(|one| is_here && one.0.parent == me).cloned().collect()
}

/// One begins.
pub(super) fn enlist(one: &ProcessRef) {
    let is_first = {
        let (process, living) = &mut *lock(&LIVING);
        let is_first = std::mem::replace(process, std::process::id()) != std::process::id();
        if is_first {
            living.clear();
        }
        living.push(one.clone());
        is_first
    };
    if is_first {
        finalizer::at_exit(0, join_all);
    }
}

/// It has ended.
pub(super) fn strike(one: &ProcessRef) {
    lock(&LIVING).1.retain(|known| !Arc::ptr_eq(&known.0, &one.0));
}

/// At the end of the program.
fn join_all() {
    loop {
        let next = {
            let living = lock(&LIVING);
            let is_awaited = |one: &&ProcessRef| {
                let is_me = current().is_some_and(|life| Arc::ptr_eq(&life, &one.0));
                !one.is_daemon() && !is_me && !one.0.ends_the_program()
            };
            living.1.iter().find(is_awaited).cloned()
        };
        let Some(next) = next else { return };
        match next.join_timeout(LEAVER_PERIOD) {
            // If not yet, it may come to end the program meanwhile.
            Ok(_has_ended) => {}
            // There is a thread for it in a moment, or none to be had.
            Err(Error::NotStarted) => std::thread::sleep(START_PERIOD),
            Err(error) => {
                tracing::warn!(target: "procession", %error, "{next:?} is not waited for");
                return;
            }
        }
    }
}
