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
    // A copy of this process usually has it already, in the same order.
    if std::env::vars_os().eq(env.iter().cloned()) {
        return;
    }
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

/// Gives signals their default action, as a fresh start of the program does, but for those
/// that tell of faults: their handlers belong to code that was brought along.
pub(crate) fn default_signals() {
    const KEPT: [i32; 9] = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGHUP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
        libc::SIGSYS,
    ];
    for number in (1..=libc::SIGRTMAX()).filter(|number| !KEPT.contains(number)) {
        // SAFETY: the default action runs no code of ours. The few numbers that the C
        // library keeps for itself are refused, and stay as they are.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Whether this process ignores a signal.
pub(crate) fn ignores(which: Signal) -> bool {
    // SAFETY: all zeroes is a valid sigaction; the call only writes to it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(which as i32, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Number of resource limits that there are.
const RESOURCES: usize = 16;

/// All resource limits of this process, soft and hard, by their numbers.
pub(crate) fn rlimits() -> [(u64, u64); RESOURCES] {
    let mut limits = [(0, 0); RESOURCES];
    for (resource, (soft, hard)) in (0u32..).zip(&mut limits) {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer is to a live local of the right type.
        unsafe { libc::getrlimit(resource as _, &raw mut limit) };
        (*soft, *hard) = (limit.rlim_cur, limit.rlim_max);
    }
    limits
}

/// Writes out what C code has printed and its library still keeps.
pub(crate) fn flush_c_streams() {
    // SAFETY: null means all streams; the library locks each.
    unsafe { libc::fflush(std::ptr::null_mut()) };
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

/// The niceness of the calling thread.
pub(crate) fn niceness() -> io::Result<i32> {
    // SAFETY: the call takes integers. -1 can be a niceness, so errno tells failure.
    unsafe {
        *libc::__errno_location() = 0;
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        if *libc::__errno_location() == 0 { Ok(now) } else { Err(io::Error::last_os_error()) }
    }
}

/// Sets the niceness of the calling thread; what is no niceness is the nearest that is one.
pub(crate) fn set_niceness(to: i32) -> io::Result<()> {
    // SAFETY: the call takes integers.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, to) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the calling thread may do, and can give up but not regain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Effective, permitted and inheritable, the lower and the upper half of each.
    capabilities: [[u32; 3]; 2],
    /// Whether it may gain no more by an exec. Whoever has no capabilities sets this before it
    /// is put under filters of system calls (seccomp) or of files (Landlock).
    has_no_new: bool,
}

impl Rights {
    /// Those of now. What the system does not tell is none.
    pub(crate) fn now() -> Self {
        /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h, and the calling thread.
        #[repr(C)]
        struct Header {
            version: u32,
            pid: libc::c_int,
        }
        let mut header = Header { version: 0x2008_0522, pid: 0 };
        let mut rights = Self::default();
        // SAFETY: the version says that the kernel fills two structures of three words; the
        // other call takes integers.
        unsafe {
            libc::syscall(libc::SYS_capget, &raw mut header, &raw mut rights.capabilities);
            rights.has_no_new = libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
        }
        rights
    }
}

/// Whether the kernel marked this program as privileged beyond its caller (setuid,
/// setgid, capabilities).
pub(crate) fn is_privileged() -> bool {
    // SAFETY: getauxval only reads.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
