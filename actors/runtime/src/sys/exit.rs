//! The end of this process: exit handlers, and ends without them.
//!
//! Owns `atexit` and `_exit`. What runs at exit is decided in `crate::node`.

/// Runs `handler` when this process calls `exit` or returns from `main`. False when
/// the C library has no room for it.
pub(crate) fn at_exit(handler: extern "C" fn()) -> bool {
    // SAFETY: the handler is a plain function of this image; a library that holds it is
    // never unloaded (Rust does not unload).
    unsafe { libc::atexit(handler) == 0 }
}

/// Ends this process at once: no exit handlers, no destructors, no flushing.
pub(crate) fn now(code: i32) -> ! {
    // SAFETY: `_exit` takes any number and does not return.
    unsafe { libc::_exit(code) }
}
