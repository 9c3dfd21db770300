//! Copies of this process: the zygote's clone of itself, and `fork`.
//!
//! Owns `clone3`, `clone` and `fork`, and what the C library must be told after a raw
//! clone: the new thread id, and the list of robust locks. It must never run anything
//! in the copy but its caller's next line. Above it stand `launcher::zygote` and
//! `launcher::fork`.

use nix::errno::Errno;
use std::ffi::{c_int, c_long};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Which side of a copy this is.
#[derive(Debug)]
pub(crate) enum Side {
    /// The process that was copied; the copy has this id and this pidfd.
    Original(u32, OwnedFd),
    /// The copy.
    Copy,
}

/// Proof that this process has one thread. It holds as long as that thread starts no
/// other, so whoever keeps it must run no code but its own.
pub(crate) struct OnlyThread(PhantomData<*const ()>);

impl OnlyThread {
    /// Counts the threads; the error is their number.
    pub(crate) fn check() -> io::Result<Result<Self, usize>> {
        let count = settled(|| Ok(threads()?.len()), |count| *count == 1)?;
        Ok(if count == 1 { Ok(Self(PhantomData)) } else { Err(count) })
    }
}

/// Looks again while what is found is not well, as often as the last steps take of a thread
/// that was waited for in another way than by joining it.
///
/// # Errors
/// What `look` says.
pub(crate) fn settled<T>(
    look: impl Fn() -> io::Result<T>,
    is_well: impl Fn(&T) -> bool,
) -> io::Result<T> {
    const TRIES: u32 = 20;
    let mut found = look()?;
    for _ in 0..TRIES {
        if is_well(&found) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
        found = look()?;
    }
    Ok(found)
}

/// The ids of this process's threads, but for those that run nothing any more.
pub(crate) fn threads() -> io::Result<Vec<i32>> {
    let mut ids = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        ids.extend(task?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    // With one there is nothing to find out: it is the one that asks.
    if ids.len() > 1 {
        ids.retain(|id| !is_ending(*id));
    }
    Ok(ids)
}

/// Whether a thread runs nothing any more, and so holds nothing: one that has been joined is
/// counted until the kernel has come to take it away, which is late on a busy machine.
fn is_ending(thread: i32) -> bool {
    /// `PF_EXITING` among the flags in the ninth field of `proc_pid_stat(5)`.
    const EXITING: u64 = 4;
    let stat = match std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")) {
        Ok(stat) => stat,
        Err(error) => return matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
    };
    // The second field, a name in parentheses, may have anything in it.
    let flags = stat.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(6));
    flags.and_then(|flags| flags.parse().ok()).is_some_and(|flags: u64| flags & EXITING != 0)
}

/// The id of the calling thread, asked of the kernel: nothing remembers it over a fork.
pub(crate) fn thread_id() -> i32 {
    nix::unistd::gettid().as_raw()
}

/// Copies this process into a brother: the copy is a child of our own parent. The kernel
/// notes its id before the copy runs (where it has `clone3`), so that a note in shared
/// memory tells of it even if this process and the copy are killed at once.
///
/// # Errors
/// `EAGAIN` and `ENOMEM` when there is no room for a process; `EPERM`, `EINVAL` or
/// `ENOSYS` where such a copy is not to be had.
pub(crate) fn clone_brother(_alone: &OnlyThread, note: &AtomicU32) -> io::Result<Side> {
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD;
    match clone_by(clone3, flags, 0, note) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            clone_by(clone2, flags, 0, note)
        }
        other => other,
    }
}

/// Makes a copy: flags, exit signal, where the pidfd goes, where the copy's thread id goes,
/// where the kernel notes its id.
type Way = fn(c_int, c_int, &mut RawFd, *mut c_int, &AtomicU32) -> c_long;

fn clone_by(way: Way, mut flags: c_int, exit_signal: c_int, note: &AtomicU32) -> io::Result<Side> {
    let robust = robust_list()?;
    let tid = remembered_id()?;
    flags |= libc::CLONE_CHILD_SETTID;
    if cfg!(target_env = "gnu") {
        flags |= libc::CLONE_CHILD_CLEARTID;
    }
    let mut pidfd = -1;
    let pid = Errno::result(way(flags, exit_signal, &mut pidfd, tid, note))?;
    if pid == 0 {
        // The kernel does not copy the registration of the list that the C library's
        // robust mutexes are in.
        // SAFETY: head and length are what this very memory had registered before.
        unsafe { libc::syscall(libc::SYS_set_robust_list, robust.0, robust.1) };
        return Ok(Side::Copy);
    }
    let pid = u32::try_from(pid).map_err(|_| io::Error::from(Errno::ESRCH))?;
    // SAFETY: CLONE_PIDFD has just made this descriptor for us.
    Ok(Side::Original(pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Where the C library keeps the calling thread's id, which `raise` and `abort` send to: the
/// kernel writes a copy's there, or a copy would kill the process that it was made of.
///
/// # Errors
/// `ENOSYS` where that place is not known.
fn remembered_id() -> io::Result<*mut c_int> {
    if cfg!(target_env = "gnu") {
        let mut tid = ptr::null_mut();
        // The kernel knows the place, because threads announce it.
        // SAFETY: the call writes one pointer to a live local.
        let asked = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut tid) };
        return Errno::result(asked).map(|_| tid).map_err(io::Error::from);
    }
    // musl announces a lock of its own there. The id stands just before the thread's errno
    // (`struct pthread` in its src/internal/pthread_impl.h).
    // SAFETY: both are fields of one structure of musl's, which lives as long as the thread.
    let tid = unsafe { libc::__errno_location().sub(1) };
    // SAFETY: the same; nobody else writes it.
    if unsafe { tid.read() } == thread_id() { Ok(tid) } else { Err(Errno::ENOSYS.into()) }
}

/// The calling thread's list of robust locks: head and length.
fn robust_list() -> io::Result<(*mut libc::c_void, usize)> {
    let mut list = (ptr::null_mut(), 0);
    // SAFETY: 0 is the calling thread, and both pointers are to live locals.
    let asked =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut list.0, &raw mut list.1) };
    Errno::result(asked)?;
    Ok(list)
}

/// `clone3`.
fn clone3(
    flags: c_int,
    exit_signal: c_int,
    pidfd: &mut RawFd,
    tid: *mut c_int,
    note: &AtomicU32,
) -> c_long {
    /// `struct clone_args` of linux/sched.h in its first published size.
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
    }
    let args = CloneArgs {
        flags: u64::from((flags | libc::CLONE_PARENT_SETTID).cast_unsigned()),
        pidfd: ptr::from_mut(pidfd) as u64,
        child_tid: tid as u64,
        parent_tid: note.as_ptr() as u64,
        exit_signal: u64::from(exit_signal.cast_unsigned()),
        ..CloneArgs::default()
    };
    // SAFETY: the size says how far the structure goes, and the addresses in it are of
    // live memory; the note is atomic, and the kernel writes it whole. Without CLONE_VM the copy has
    // memory of its own, and with a stack of 0 it goes on where this call is. The only caller outside the tests has one thread, so that
    // no lock is held by a thread that is not copied.
    unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) }
}

/// `clone`, for kernels and sandboxes without `clone3`. It puts the pidfd where it would
/// note the id.
fn clone2(
    flags: c_int,
    exit_signal: c_int,
    pidfd: &mut RawFd,
    tid: *mut c_int,
    _note: &AtomicU32,
) -> c_long {
    let flags = c_long::from(flags | exit_signal);
    let (none, pidfd) = (ptr::null_mut::<libc::c_void>(), ptr::from_mut(pidfd));
    // SAFETY: as for `clone3`. x86-64 and riscv differ from the others in the place of
    // the last two arguments, of which the thread storage is not used.
    unsafe {
        if cfg!(target_arch = "x86_64") {
            libc::syscall(libc::SYS_clone, flags, none, pidfd, tid, none)
        } else {
            libc::syscall(libc::SYS_clone, flags, none, pidfd, none, tid)
        }
    }
}

/// `fork`, by the C library, so that handlers for it run. `None` is the child.
///
/// What other threads hold stays held in the child for ever: the callers see to it that
/// they hold nothing, or were told by the user that it does not matter.
pub(crate) fn fork() -> io::Result<Option<u32>> {
    // SAFETY: memory stays valid on both sides. That no lock is lost is what the thread
    // count of `launcher::fork`, or the promise of an `unsafe` caller, is for.
    let pid = Errno::result(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid.cast_unsigned()))
}

/// Has `hook` run in every child that the C library's `fork` makes from now on.
///
/// # Errors
/// `ENOMEM`
pub(crate) fn in_forked_children(hook: fn()) -> io::Result<()> {
    static HOOK: OnceLock<fn()> = OnceLock::new();
    extern "C" fn run() {
        if let Some(hook) = HOOK.get() {
            hook();
        }
    }
    let _ = HOOK.set(hook);
    // SAFETY: a function that lives as long as the image; its caller passes one that only
    // touches an atomic, as a copy of a process with threads may.
    match unsafe { libc::pthread_atfork(None, None, Some(run)) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::waitid_pidfd;
    use procession_protocols::exit::RawStatus;
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering::Relaxed;

    /// The tests' process has threads, so the copy does nothing but end, and it is a
    /// plain child: a brother would be cargo's.
    #[test]
    fn both_ways_copy_and_the_copy_knows_its_thread_id() {
        for (way, is_noted) in [(clone3 as Way, true), (clone2, false)] {
            let note = AtomicU32::new(0);
            match clone_by(way, libc::CLONE_PIDFD, 0, &note).unwrap() {
                Side::Copy => {
                    let known = thread_id() == std::process::id().cast_signed();
                    crate::sys::exit::now(if known { 7 } else { 8 });
                }
                Side::Original(pid, pidfd) => {
                    assert!(pid > 1);
                    assert_eq!(note.load(Relaxed), if is_noted { pid } else { 0 });
                    let (status, _) = waitid_pidfd(pidfd.as_fd(), false).unwrap().unwrap();
                    assert_eq!(status, RawStatus::Code(7));
                }
            }
        }
    }

    #[test]
    fn a_second_thread_is_counted() {
        // The harness's own main thread waits beside this one.
        assert!(matches!(OnlyThread::check().unwrap(), Err(count) if count >= 2));
        assert!(threads().unwrap().contains(&thread_id()));
    }
}
