//! Places in a client's code at which the tests stop or kill it.
//!
//! Owns their names. Random kills seldom fall between two neighbouring instructions; the
//! tests have a process end itself there instead. Nothing is armed otherwise, and a place
//! costs one load.

use nix::sys::signal::{Signal, raise};
use std::sync::atomic::{AtomicU32, Ordering};

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(u32)]
pub enum Point {
    /// A place of a bounded queue is taken, and nothing written.
    PlaceTaken = 1,
    /// An item is written, and cannot be seen yet.
    Written,
    /// An item can be seen, and the owner may not have been woken.
    Put,
    /// An item is about to be taken: a hand says so.
    Reached,
    /// Items are taken, and not copied out.
    Taken,
    /// They are copied out, and not decoded.
    Copied,
    /// They are decoded, and their call is about to return.
    Decoded,
    /// They are the caller's.
    Returned,
}

/// The point and the signal.
static ARMED: AtomicU32 = AtomicU32::new(0);

/// This process sends itself a signal when it next comes to the point.
pub fn arm(point: Point, signal: Signal) {
    ARMED.store(point as u32 | (signal as u32) << 8, Ordering::SeqCst);
}

#[inline]
pub(super) fn reach(point: Point) {
    let armed = ARMED.load(Ordering::Relaxed);
    if armed & 0xff == point as u32 {
        end(armed);
    }
}

#[cold]
fn end(armed: u32) {
    ARMED.store(0, Ordering::SeqCst);
    let signal = i32::try_from(armed >> 8).ok().and_then(|number| Signal::try_from(number).ok());
    if let Some(signal) = signal {
        let _ = raise(signal);
    }
}
