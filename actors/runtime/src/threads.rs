//! The library's own threads, by their numbers.
//!
//! Owns the list that a fork counts by: each thread in it parks, or waits under a lock
//! that the fork holds, so that it has nothing in its hands that the copy would miss. A
//! thread that runs user code must never stand in it. Neighbour: `launcher::fork`.

use crate::sync::lock;
use nix::sys::signal::SigSet;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::channel;

/// As (process, thread): what a fork left here is the parent's.
static OURS: Mutex<Vec<(u32, i32)>> = Mutex::new(Vec::new());

/// Starts a thread of the library's own, and returns when it is in the list: a fork right
/// after this must not take it for somebody else's. It takes no signal, since the user's
/// handlers run on the user's threads.
///
/// # Errors
/// No thread is to be had.
pub(crate) fn start(
    thread: std::thread::Builder,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let (entered, is_entered) = channel();
    thread.spawn(move || {
        let _ = SigSet::all().thread_block();
        this_is_ours();
        let _ = entered.send(());
        run();
    })?;
    // It lives until then: an error is not to be expected, and no reason to wait.
    let _ = is_entered.recv();
    Ok(())
}

/// Says that the calling thread is the library's own, for as long as the process lives.
fn this_is_ours() {
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
