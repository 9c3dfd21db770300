//! Forking: a copy of this process that runs a closure with captures.
//!
//! Owns the face of it, on `Process`. When a fork is refused is the runtime's, as is the
//! fork; the one `unsafe` word here is the caller's promise. Neighbours: `process.rs`,
//! `builder.rs`.

use crate::builder::ProcessBuilder;
use crate::error::Result;
use crate::process::Process;
use serde::Serialize;

impl<R> Process<R> {
    /// Starts a copy of this process that runs `closure`, which may have captured anything;
    /// only what it returns is encoded.
    ///
    /// The copy has this process's memory and descriptors, but one thread, and no children
    /// or exit hooks. It ends without the C library's exit handlers.
    ///
    /// ```no_run
    /// use procession::Process;
    ///
    /// # fn main() -> procession::Result<()> {
    /// let table: Vec<u64> = (0..1_000_000).collect();
    /// let sum = Process::fork(move || table.iter().sum::<u64>())?;
    /// assert_eq!(sum.result()?, 499_999_500_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StartError::ForeignThreads`](crate::StartError::ForeignThreads) when this process
    /// has threads beside the calling one and the library's own: what they hold (a mutex,
    /// standard output) would be held in the copy for ever. So it is always under
    /// `cargo test`, unless with `harness = false`. Else as [`spawn`](Self::spawn).
    pub fn fork<F>(closure: F) -> Result<Self>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Serialize + 'static,
    {
        Self::fork_builder(closure).start()
    }

    /// As [`fork`](Self::fork), with options, and to be started.
    pub fn fork_builder<F>(closure: F) -> ProcessBuilder<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Serialize + 'static,
    {
        ProcessBuilder::forked(closure, false)
    }

    /// As [`fork`](Self::fork), whatever threads there are.
    ///
    /// # Safety
    /// No other thread may hold, at the moment of the fork, a lock that the closure needs:
    /// its own mutexes, and those in the libraries that it calls. POSIX promises only the
    /// async-signal-safe functions in such a copy.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    #[allow(unsafe_code, reason = "the caller's promise; nothing here is unsafe by itself")]
    pub unsafe fn fork_unchecked<F>(closure: F) -> Result<Self>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Serialize + 'static,
    {
        ProcessBuilder::forked(closure, true).start()
    }
}
