//! Where a test stops a process, and what this process knows of its processors.
//!
//! Owns the places between two steps at which a process can be made to die or stop, so
//! that a test stands at each instead of hoping for it. In a release build there are none.

use crate::sys::page;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often the number of processors is asked for anew, in calls.
const ASK_EVERY: usize = 256;

/// On how many processors this process may run, as of a short while ago.
pub(super) fn processors() -> usize {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    let known = KNOWN.load(Ordering::Relaxed);
    if known != 0 && !CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(ASK_EVERY) {
        return known;
    }
    let now = page::processors();
    KNOWN.store(now, Ordering::Relaxed);
    now
}

/// Sends this process the signal the `nth` time that it comes to a place, counted from 1.
/// For tests; in a release build nothing happens.
#[doc(hidden)]
pub fn stop_at(place: &'static str, nth: u32, signal: i32) {
    #[cfg(debug_assertions)]
    {
        *crate::sync::lock(&armed::PLACE) = Some((place, nth, signal));
        armed::IS_SET.store(true, Ordering::SeqCst);
    }
    #[cfg(not(debug_assertions))]
    let _ = (place, nth, signal);
}

/// This thread is about to take the step at `place`.
#[inline]
pub(super) fn at(place: impl FnOnce() -> &'static str) {
    #[cfg(debug_assertions)]
    if armed::IS_SET.load(Ordering::Relaxed) {
        armed::reached(place());
    }
    #[cfg(not(debug_assertions))]
    let _ = place;
}

#[cfg(debug_assertions)]
mod armed {
    use crate::sync::lock;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::getpid;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    pub(super) static PLACE: Mutex<Option<(&'static str, u32, i32)>> = Mutex::new(None);
    pub(super) static IS_SET: AtomicBool = AtomicBool::new(false);

    pub(super) fn reached(place: &'static str) {
        let signal = {
            let armed = &mut *lock(&PLACE);
            let Some((wanted, left, signal)) = armed.as_mut() else { return };
            if *wanted != place {
                return;
            }
            *left -= 1;
            if *left > 0 {
                return;
            }
            let signal = *signal;
            *armed = None;
            signal
        };
        if let Ok(signal) = Signal::try_from(signal) {
            let _ = kill(getpid(), signal);
        }
    }
}
