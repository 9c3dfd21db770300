//! What this process is about to say to others when it ends.
//!
//! Owns the count of those who say it, each a thread of its own, and the wait for them at the
//! process's end. It must never wait for long: whoever is to hear it may be stopped. Neighbours:
//! `finalizer` has the hooks; managers' clients are those who have something to say.

use crate::finalizer::at_exit;
use crate::sync::lock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// At its end a process waits so long for all of them together.
const PATIENCE: Duration = Duration::from_secs(1);

/// Behind all other hooks: what those drop is said as well.
const LAST: i32 = i32::MIN;

/// How many there are, and in which process.
static UNDER_WAY: (Mutex<(u32, u32)>, Condvar) = (Mutex::new((0, 0)), Condvar::new());

/// Somebody who has something to say. Dropped, he has said it.
#[derive(Debug)]
pub struct Farewell(u32);

impl Farewell {
    /// One more, for whom this process waits at its end.
    pub fn begin() -> Self {
        static PREPARED: AtomicU32 = AtomicU32::new(0);
        let me = std::process::id();
        if PREPARED.swap(me, Ordering::AcqRel) != me {
            at_exit(LAST, wait);
        }
        let count = &mut *lock(&UNDER_WAY.0);
        let others = if count.0 == me { count.1 } else { 0 };
        *count = (me, others + 1);
        Self(me)
    }

    /// Has this process call `hurry` at its end, when there is nothing left to do but to wait.
    pub fn before(hurry: impl FnOnce() + Send + 'static) {
        at_exit(LAST + 1, hurry);
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let count = &mut *lock(&UNDER_WAY.0);
        // A copy of that process has none of its threads.
        if count.0 == self.0 {
            count.1 -= 1;
            UNDER_WAY.1.notify_all();
        }
    }
}

fn wait() {
    let me = std::process::id();
    let count = lock(&UNDER_WAY.0);
    let are_some = |count: &mut (u32, u32)| count.0 == me && count.1 > 0;
    let waited = UNDER_WAY.1.wait_timeout_while(count, PATIENCE, are_some);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}
