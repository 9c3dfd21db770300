//! System calls about processes: pidfds, waiting with resource use, closing ranges.
//!
//! Owns the raw forms of `pidfd_open`, `pidfd_send_signal`, `tgkill`, `waitid`,
//! `close_range` and of the ioctl `PIDFD_GET_INFO`. It must never wait for a process by number or for
//! "any child": those could take the end of a child that the user started. Above it
//! stand the reaper (`reap`) and the walker of process trees (`proc_tree`).

use nix::errno::Errno;
use nix::sys::signal::Signal;
use procession_protocols::exit::RawStatus;
use serde::{Deserialize, Serialize};
use std::ffi::{c_int, c_long, c_uint};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What a process and the children that it waited for have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// The largest resident size that it had, in KiB.
    pub max_rss_kib: u64,
    /// Page faults served without input or output.
    pub minor_faults: u64,
    /// Page faults that had to read.
    pub major_faults: u64,
    /// Times that it gave up the processor to wait.
    pub voluntary_switches: u64,
    /// Times that the processor was taken from it.
    pub involuntary_switches: u64,
}

/// What `PIDFD_GET_INFO` knows of a process's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitInfo {
    /// The process was reaped, and ended so.
    Known(RawStatus),
    /// The process has not been reaped: it runs, or is a zombie.
    NotReaped,
    /// This kernel keeps no exit information with a pidfd (Linux before 6.15).
    Unsupported,
}

/// Opens a pidfd (close-on-exec) for the process `pid`.
///
/// # Errors
/// `ESRCH` when there is no such process, `EMFILE` and the like as the kernel says.
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and touches no memory of ours.
    let fd = retry(|| unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from(Errno::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us, so that nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends `signal` to the very process of `pidfd`; `None` only asks whether it could.
///
/// # Errors
/// `ESRCH` when the process was reaped, `EPERM` when it is another user's.
pub(crate) fn pidfd_send_signal(
    pidfd: BorrowedFd<'_>,
    signal: impl Into<Option<Signal>>,
) -> io::Result<()> {
    let number = signal.into().map_or(0, |signal| signal as c_int);
    // SAFETY: the descriptor is borrowed for the length of the call, and a null siginfo
    // asks the kernel to fill in what kill(2) would.
    retry(|| unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}

/// Sends `signal` to one thread of a process, by their numbers: the caller has seen to it
/// that they are whom it means.
///
/// # Errors
/// `ESRCH` when the process has no such thread, `EPERM` when it is another user's.
pub(crate) fn signal_thread(pid: i32, thread: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: three numbers; the call touches no memory of ours.
    retry(|| unsafe { libc::syscall(libc::SYS_tgkill, pid, thread, signal as c_int) })?;
    Ok(())
}

/// Reaps the child of `pidfd` and says how it ended and what it used. With `nohang`,
/// `None` says that it has not ended.
///
/// The raw system call is used because only its fifth argument tells resource use;
/// the C library's waitid has four.
///
/// # Errors
/// `ECHILD` when the process is not our child, or somebody else reaped it.
pub(crate) fn waitid_pidfd(
    pidfd: BorrowedFd<'_>,
    nohang: bool,
) -> io::Result<Option<(RawStatus, Usage)>> {
    /// `struct rusage` as the kernel writes it here: eighteen longs, whatever layout the
    /// C library gave to its own.
    #[repr(C)]
    #[derive(Default)]
    struct KernelUsage {
        user: [c_long; 2],
        system: [c_long; 2],
        max_rss: c_long,
        unused_sizes: [c_long; 3],
        minor_faults: c_long,
        major_faults: c_long,
        unused_counts: [c_long; 6],
        voluntary_switches: c_long,
        involuntary_switches: c_long,
    }

    // Without __WALL a child whose end is told by another signal than SIGCHLD, or by none,
    // as a raw clone may ask for, would be no child.
    let options = libc::WEXITED | libc::__WALL | if nohang { libc::WNOHANG } else { 0 };
    // SAFETY: siginfo_t is plain data, for which all bytes zero is a valid value. With
    // WNOHANG a pid that stays 0 says that nothing had ended.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let mut used = KernelUsage::default();
    // SAFETY: both pointers are to live locals of the layout that the kernel writes, and
    // the descriptor is borrowed for the length of the call.
    let waited = retry(|| unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_raw_fd(),
            &raw mut info,
            options,
            &raw mut used,
        )
    });
    match waited {
        Ok(_) => {}
        // A pidfd opened with PIDFD_NONBLOCK says it so.
        Err(error) if nohang && error.raw_os_error() == Some(libc::EAGAIN) => return Ok(None),
        Err(error) => return Err(error),
    }
    // SAFETY: waitid fills the SIGCHLD fields of the union, or leaves the zeroes above.
    let (pid, code) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let status = match info.si_code {
        libc::CLD_EXITED => RawStatus::Code(code),
        libc::CLD_KILLED | libc::CLD_DUMPED => RawStatus::Signal(code),
        _ => RawStatus::Unknown,
    };
    let usage = Usage {
        user: time(used.user),
        system: time(used.system),
        max_rss_kib: count(used.max_rss),
        minor_faults: count(used.minor_faults),
        major_faults: count(used.major_faults),
        voluntary_switches: count(used.voluntary_switches),
        involuntary_switches: count(used.involuntary_switches),
    };
    Ok(Some((status, usage)))
}

/// Asks the kernel how the process of `pidfd` ended, after anybody reaped it. The
/// pidfd must have been opened before the reaping.
///
/// # Errors
/// `EBADF` when the descriptor is no pidfd.
pub(crate) fn pidfd_exit_info(pidfd: BorrowedFd<'_>) -> io::Result<ExitInfo> {
    /// The first published size of `struct pidfd_info` in linux/pidfd.h, to which
    /// later kernels only append.
    #[repr(C)]
    #[derive(Default)]
    struct PidfdInfo {
        mask: u64,
        cgroup_id: u64,
        pid: u32,
        tgid: u32,
        ppid: u32,
        user_and_group_ids: [u32; 8],
        exit_code: i32,
    }
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    const _: () = assert!(size_of::<PidfdInfo>() == 64);
    const PIDFD_GET_INFO: libc::Ioctl = nix::request_code_readwrite!(0xFF, 11, 64);

    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the request carries the size of the structure that the pointer leads to,
    // and the kernel writes no more than that.
    let asked = retry(|| {
        c_long::from(unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) })
    });
    match asked {
        Ok(_) if info.mask & PIDFD_INFO_EXIT != 0 => {
            Ok(ExitInfo::Known(status_of_wait(info.exit_code)))
        }
        // A kernel from 6.13 on that does not know the bit answers without it, as a newer
        // one does for a process that was not reaped. Both mean: nothing to be had now.
        Ok(_) => Ok(ExitInfo::NotReaped),
        Err(error) => match error.raw_os_error() {
            // Asked for the exit alone, a kernel that knows it answers so before the reaping.
            Some(libc::ESRCH) => Ok(ExitInfo::NotReaped),
            Some(libc::ENOTTY | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS) => {
                Ok(ExitInfo::Unsupported)
            }
            _ => Err(error),
        },
    }
}

/// Closes the descriptors from `first` to `last`, both included.
///
/// # Safety
/// Nothing in this process may own or use one of them afterwards: a fresh child calls
/// it, for what it inherited by accident.
///
/// # Errors
/// `EINVAL` when `first` is greater than `last`.
pub(crate) unsafe fn close_range(first: c_uint, last: c_uint) -> io::Result<()> {
    // SAFETY: the call takes three integers; that the descriptors are free to close is
    // what our own caller upholds.
    retry(|| unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

/// Marks the descriptors from `first` to `last`, both included, close-on-exec.
///
/// # Errors
/// `EINVAL` when `first` is greater than `last`, or on a Linux before 5.11.
#[allow(dead_code, reason = "for the launcher")]
pub(crate) fn close_range_on_exec(first: c_uint, last: c_uint) -> io::Result<()> {
    // SAFETY: the call takes three integers, and with this flag closes nothing now.
    retry(|| unsafe {
        libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC)
    })?;
    Ok(())
}

/// Repeats a call for as long as a signal interrupts it, and reads its error.
fn retry(mut call: impl FnMut() -> c_long) -> io::Result<c_long> {
    loop {
        let result = call();
        if result != -1 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Reads a status in the form of wait(2).
fn status_of_wait(status: c_int) -> RawStatus {
    if libc::WIFEXITED(status) {
        RawStatus::Code(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        RawStatus::Signal(libc::WTERMSIG(status))
    } else {
        RawStatus::Unknown
    }
}

fn time([seconds, micros]: [c_long; 2]) -> Duration {
    Duration::from_secs(count(seconds)) + Duration::from_micros(count(micros))
}

#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
fn count(value: c_long) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn spawn(script: &str) -> (Child, OwnedFd) {
        let child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let pidfd = pidfd_open(i32::try_from(child.id()).unwrap()).unwrap();
        (child, pidfd)
    }

    fn reap(pidfd: &OwnedFd) -> (RawStatus, Usage) {
        let start = Instant::now();
        loop {
            if let Some(ended) = waitid_pidfd(pidfd.as_fd(), true).unwrap() {
                return ended;
            }
            assert!(start.elapsed() < DEADLINE, "the child did not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn waitid_tells_code_signal_and_use() {
        let (_child, pidfd) = spawn("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 7");
        let (status, usage) = reap(&pidfd);
        assert_eq!(status, RawStatus::Code(7));
        assert!(usage.max_rss_kib > 100, "{usage:?}");
        assert!(usage.minor_faults > 0, "{usage:?}");
        assert!(usage.user + usage.system > Duration::ZERO, "{usage:?}");

        let (_child, pidfd) = spawn("kill -KILL $$");
        assert_eq!(reap(&pidfd).0, RawStatus::Signal(libc::SIGKILL));
        let again = waitid_pidfd(pidfd.as_fd(), true).unwrap_err();
        assert_eq!(again.raw_os_error(), Some(libc::ECHILD));
    }

    #[test]
    fn a_running_child_is_not_reaped_and_can_be_signalled() {
        let (_child, pidfd) = spawn("read line");
        assert_eq!(waitid_pidfd(pidfd.as_fd(), true).unwrap(), None);
        assert!(!matches!(pidfd_exit_info(pidfd.as_fd()).unwrap(), ExitInfo::Known(_)));
        pidfd_send_signal(pidfd.as_fd(), None).unwrap();
        pidfd_send_signal(pidfd.as_fd(), Signal::SIGTERM).unwrap();
        assert_eq!(reap(&pidfd).0, RawStatus::Signal(libc::SIGTERM));
        let gone = pidfd_send_signal(pidfd.as_fd(), Signal::SIGTERM).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_blocking_wait_ends_with_the_child() {
        let (child, pidfd) = spawn("sleep 0.05; exit 3");
        let (status, _) = waitid_pidfd(pidfd.as_fd(), false).unwrap().unwrap();
        assert_eq!(status, RawStatus::Code(3));
        drop(child);
    }

    #[test]
    fn the_kernel_still_knows_an_end_that_another_took() {
        for (script, expected) in
            [("exit 5", RawStatus::Code(5)), ("kill -TERM $$", RawStatus::Signal(libc::SIGTERM))]
        {
            let (mut child, pidfd) = spawn(script);
            child.wait().unwrap();
            match pidfd_exit_info(pidfd.as_fd()).unwrap() {
                ExitInfo::Known(status) => assert_eq!(status, expected),
                ExitInfo::Unsupported | ExitInfo::NotReaped => {
                    eprintln!("this kernel keeps no exit information");
                }
            }
        }
    }

    #[test]
    fn no_process_and_no_pidfd_are_errors() {
        assert_eq!(pidfd_open(i32::MAX).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = pidfd_send_signal(file.as_fd(), None).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn ranges_are_checked_by_the_kernel() {
        // Far above any descriptor of this test process: other tests run beside us.
        close_range_on_exec(1 << 29, c_uint::MAX).unwrap();
        // SAFETY: no process has so many descriptors, so that nothing is closed.
        unsafe { close_range(1 << 29, c_uint::MAX) }.unwrap();
        let error = close_range_on_exec(2, 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
