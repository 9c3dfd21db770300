//! The library's own threads, by their numbers.
//!
//! Owns the list that a fork counts by: each thread in it parks, or waits under a lock
//! that the fork holds, so that it has nothing in its hands that the copy would miss. A
//! thread that runs user code must never stand in it. Neighbour: `launcher::fork`.

use crate::sync::lock;
use std::sync::Mutex;

/// As (process, thread): what a fork left here is the parent's.
static OURS: Mutex<Vec<(u32, i32)>> = Mutex::new(Vec::new());

/// Says that the calling thread is the library's own, for as long as the process lives.
pub(crate) fn this_is_ours() {
    let me = std::process::id();
    let ours = &mut *lock(&OURS);
    ours.retain(|(pid, _)| *pid == me);
    ours.push((me, nix::unistd::gettid().as_raw()));
}

/// Takes the library's own out of a list of threads of this process.
pub(crate) fn remove_ours(threads: &mut Vec<i32>) {
    let me = std::process::id();
    let ours = lock(&OURS);
    threads.retain(|thread| !ours.contains(&(me, *thread)));
}

/// Keeps the list still across a fork.
pub(crate) fn hold_for_fork() -> impl Sized {
    lock(&OURS)
}
