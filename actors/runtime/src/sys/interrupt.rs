//! Signals as bytes in a pipe, for a program that asks the library to handle them.
//!
//! Owns the one handler of this library, which only writes a byte. Which signals, and
//! what they mean, is decided in `crate::supervisor::interrupt`.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// The pipe's writing end; it stays open for good, so that the handler can rely on it.
static WRITER: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note(signal: c_int) {
    let byte = signal.to_le_bytes()[0];
    // SAFETY: write is async-signal-safe, and the byte lives as long as the call. The errno
    // of the code that was interrupted is put back.
    unsafe {
        let before = *libc::__errno_location();
        libc::write(WRITER.load(Ordering::Acquire), (&raw const byte).cast(), 1);
        *libc::__errno_location() = before;
    }
}

/// Has these signals written to a pipe from now on; gives its reading end. The pipe of an
/// earlier call gets no more.
pub(crate) fn catch(signals: &[Signal]) -> io::Result<OwnedFd> {
    let (reader, writer) = std::io::pipe()?;
    let writer = super::socket::duplicate_above(&writer, 3)?;
    WRITER.store(writer.as_raw_fd(), Ordering::Release);
    std::mem::forget(writer);
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in signals {
        // SAFETY: the handler calls async-signal-safe functions only.
        unsafe { sigaction(*signal, &action) }.map_err(io::Error::from)?;
    }
    Ok(reader.into())
}
