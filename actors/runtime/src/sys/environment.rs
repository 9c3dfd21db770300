//! What a child sets up before it has a second thread: environment, signals, limits.
//!
//! Owns calls that change the whole process. They happen only between entry and user
//! code, while the process has one thread.

use nix::sys::signal::{SigHandler, Signal, signal};
use std::ffi::{OsStr, OsString};
use std::io;

/// Removes a variable. Only before user code runs.
pub(crate) fn remove(name: &OsStr) {
    // SAFETY: called from the child's entry only, when no other thread exists that
    // could read the environment.
    unsafe { std::env::remove_var(name) }
}

/// Makes the environment just this. Only before user code runs.
pub(crate) fn replace(env: &[(OsString, OsString)]) {
    for (name, value) in std::env::vars_os() {
        if !env.iter().any(|(wanted, same)| *wanted == name && *same == value) {
            remove(&name);
        }
    }
    for (name, value) in env {
        if std::env::var_os(name).as_ref() != Some(value) {
            // SAFETY: as for `remove`.
            unsafe { std::env::set_var(name, value) }
        }
    }
}

/// Sets a signal to its default action, or to be ignored. Only before user code runs.
pub(crate) fn set_signal(which: Signal, action: SigHandler) -> io::Result<()> {
    debug_assert!(matches!(action, SigHandler::SigDfl | SigHandler::SigIgn));
    // SAFETY: no handler of ours is installed, only the default or ignoring.
    unsafe { signal(which, action) }?;
    Ok(())
}

/// Sets a resource limit of this process.
pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the pointer is to a live local of the right type.
    match unsafe { libc::setrlimit(resource as _, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Adds to this process's niceness.
pub(crate) fn add_nice(by: i32) -> io::Result<()> {
    // SAFETY: both calls take integers. -1 can be a niceness, so errno tells failure.
    unsafe {
        *libc::__errno_location() = 0;
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        if *libc::__errno_location() != 0 || libc::setpriority(libc::PRIO_PROCESS, 0, now + by) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether the kernel marked this program as privileged beyond its caller (setuid,
/// setgid, capabilities).
pub(crate) fn is_privileged() -> bool {
    // SAFETY: getauxval only reads.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
