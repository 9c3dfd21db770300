//! The tests of what processes share, and of pools, once more on threads.
//!
//! Owns the one trick for that: in this binary the crate is called `real`, and `procession`
//! is what stands here, with the names of `dummy` in the place of those of processes. The
//! files of tests that say nothing of processes run unchanged.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

extern crate procession as real;
extern crate self as procession;

pub(crate) use real::dummy::{AsyncResult, Pool, Process};
pub(crate) use real::*;

#[path = "../queue/ends.rs"]
mod ends;
mod faults;
#[path = "../queue/items.rs"]
mod items;
mod leaving;
#[path = "../sync/meet.rs"]
mod meet;
#[path = "../pool/rows.rs"]
mod rows;
mod threads;
#[path = "../util/mod.rs"]
mod util;
#[path = "../sync/words.rs"]
mod words;

/// A context, of which threads have one only.
pub(crate) struct Context;

pub(crate) fn context(_method: StartMethod) -> Context {
    Context
}

impl Context {
    #[allow(clippy::unused_self, reason = "as that of processes")]
    pub(crate) fn spawn<F, A, R>(self, function: F, args: A) -> Result<Process<R>>
    where
        F: Entry<A, Output = R> + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        Process::spawn(function, args)
    }
}
