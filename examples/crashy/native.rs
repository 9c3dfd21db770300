//! The bug: a bad access in native code.
//!
//! Owns the only `unsafe` of the example.
#![allow(unsafe_code, reason = "the example is about code that is not safe")]

use std::hint::black_box;

/// Of no page that a process has.
const NOWHERE: usize = 8;

/// Has the C library read where nothing is: its process ends by SIGSEGV.
pub(crate) fn length_of_nothing() -> u64 {
    let text = black_box(std::ptr::without_provenance(NOWHERE));
    // SAFETY: none, which is the bug: C reads from an address that nobody has, and the kernel
    // ends the process.
    let length = unsafe { libc::strlen(text) };
    black_box(length) as u64
}
