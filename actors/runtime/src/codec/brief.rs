//! Encoding into a buffer that a thread keeps.
//!
//! Owns that buffer: a small message that is copied on at once, into a socket or behind others,
//! needs no memory of its own. It must never be looked at after `with` has had it. Neighbour:
//! `codec`, whose transfers it uses.

use super::{EncodeError, encode_onto};
use serde::Serialize;
use std::cell::Cell;
use std::os::fd::OwnedFd;

/// A buffer that has grown beyond this, in bytes, is not kept.
const KEPT: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Encodes one value for another process, and gives its bytes and descriptors to `with`.
///
/// # Errors
/// As [`encode`](super::encode).
pub(crate) fn encode_briefly<T: Serialize + ?Sized, R>(
    value: &T,
    with: impl FnOnce(&[u8], Vec<OwnedFd>) -> R,
) -> Result<R, EncodeError> {
    // Whoever encodes something meanwhile, on this thread, finds none and makes one.
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let result = encode_onto(value, &mut buffer).map(|fds| with(&buffer, fds));
    if buffer.capacity() <= KEPT {
        // A thread that is about to end keeps nothing.
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
    }
    result
}
