//! What a forked child inherits, and how a cache notices that it was copied.
//!
//! The Python original is a property that keeps the pid beside a cache, and drops the
//! cache when the pid is another: a forked child then starts with an empty one. It is
//! needed only under fork, which copies all memory. Text that waits in the buffer of
//! standard output is written before the fork, so that it does not come twice.

mod support;

use procession::Process;
use std::process::id;
use std::sync::{Mutex, PoisonError};

/// Found once, and used again by the process that found it.
static CACHE: Mutex<(u32, Vec<String>)> = Mutex::new((0, Vec::new()));

/// Calls `use_it` with this process's own cache.
fn with_cache<T>(use_it: impl FnOnce(&mut Vec<String>) -> T) -> T {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.0 != id() {
        *cache = (id(), Vec::new());
    }
    use_it(&mut cache.1)
}

fn main() -> procession::Result<()> {
    let captured = "a closure that is forked may capture".to_string();
    with_cache(|cache| cache.push("found by the parent".into()));
    print!("this waits in a buffer; ");
    let p = Process::fork(move || {
        println!("the child inherits: {captured}");
        let before = with_cache(|cache| cache.len());
        with_cache(|cache| cache.push("found by the child".into()));
        (before, with_cache(|cache| cache.clone()))
    })?;
    let (before, after) = p.result_timeout(support::DEADLINE)?;
    println!("the child's cache: {before} entries, then {after:?}");
    println!("the parent's cache: {:?}", with_cache(|cache| cache.clone()));
    Ok(())
}
