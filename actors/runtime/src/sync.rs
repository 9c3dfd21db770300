//! Small helpers for locks and descriptor waits that the whole runtime shares.
//!
//! Owns no state. A lock here is never left poisoned: a panic in user code must not
//! make the runtime's tables unreachable, and each table is valid between any two
//! statements that change it.

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Locks, and takes the value as it is when a holder panicked.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The moment `timeout` from now; `None` when that lies beyond what a clock can say.
pub fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Waits until one of the descriptors is ready. False when the deadline passed.
pub fn poll(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let timeout = deadline
            .map(|deadline| TimeSpec::from(deadline.saturating_duration_since(Instant::now())));
        match ppoll(fds, timeout, None) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {}
            Ok(ready) => return Ok(ready > 0),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until one descriptor can be read. False when the deadline passed.
pub fn readable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], deadline)
}
