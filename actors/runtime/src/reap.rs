//! Reaping one child: how it ended, and what it used.
//!
//! Owns the order of the questions: waitid on the pidfd first, then, when somebody
//! else took the status, the kernel's own memory of it. It must never wait for a child
//! that it was not given, and it never blocks for longer than a moment. Above it stands
//! the reaper, which says when; below it `sys::process`.

use crate::sys::process::{ExitInfo, pidfd_exit_info, waitid_pidfd};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procession_protocols::exit::RawStatus;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

pub use crate::sys::process::Usage;

/// How long to wait for the kernel to note the end of a process that nobody has to reap
/// (SIGCHLD ignored): its pidfd is readable an instant before that.
const NOTE_TRIES: u32 = 20;

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Code or signal; unknown when somebody else took it and the kernel keeps none.
    pub status: RawStatus,
    /// What it used; `None` when somebody else reaped it.
    pub usage: Option<Usage>,
}

/// Reaps the process of `pidfd` if it has ended; `None` says that it has not.
///
/// It works too where the program ignores SIGCHLD or another thread waits for any
/// child: then the status comes from the kernel's memory of the pidfd (Linux 6.15 and
/// newer), else it is [`RawStatus::Unknown`].
///
/// # Errors
/// What the kernel says of a descriptor that is no pidfd.
pub fn try_reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
    match waitid_pidfd(pidfd, true) {
        Ok(None) => Ok(None),
        Ok(Some((status, usage))) => Ok(Some(Ended { status, usage: Some(usage) })),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
            if !readable(pidfd)? {
                // Not our child (or no longer), but alive.
                return Ok(None);
            }
            Ok(Some(Ended { status: remembered(pidfd)?, usage: None }))
        }
        Err(error) => Err(error),
    }
}

/// How a process ended that need not be a child of ours; unknown while it lives,
/// and where the kernel keeps no status (before Linux 6.15).
///
/// # Errors
/// What the kernel says of a descriptor that is no pidfd.
pub fn status_of_other(pidfd: BorrowedFd<'_>) -> io::Result<RawStatus> {
    if readable(pidfd)? { remembered(pidfd) } else { Ok(RawStatus::Unknown) }
}

/// The status that the kernel keeps for a process which somebody else reaped.
fn remembered(pidfd: BorrowedFd<'_>) -> io::Result<RawStatus> {
    for _ in 0..NOTE_TRIES {
        match pidfd_exit_info(pidfd)? {
            ExitInfo::Known(status) => return Ok(status),
            ExitInfo::Unsupported => break,
            ExitInfo::NotReaped => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(RawStatus::Unknown)
}

/// Whether the process of `pidfd` has ended: reaped or not, whoever's child it is.
fn readable(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(count) => return Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::pidfd_open;
    use std::os::fd::AsFd;
    use std::os::fd::OwnedFd;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    fn spawn(script: &str) -> (Child, OwnedFd) {
        let child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let pidfd = pidfd_open(i32::try_from(child.id()).unwrap()).unwrap();
        (child, pidfd)
    }

    #[test]
    fn a_child_is_reaped_once_and_its_use_told() {
        let (_child, pidfd) = spawn("exit 4");
        let start = Instant::now();
        let ended = loop {
            if let Some(ended) = try_reap(pidfd.as_fd()).unwrap() {
                break ended;
            }
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(ended.status, RawStatus::Code(4));
        assert!(ended.usage.is_some());
        // Asked again, it is as if somebody else had reaped it.
        let again = try_reap(pidfd.as_fd()).unwrap().unwrap();
        assert!(matches!(again.status, RawStatus::Code(4) | RawStatus::Unknown));
        assert_eq!(again.usage, None);
    }

    #[test]
    fn a_stolen_end_is_known_or_unknown_but_never_a_hang() {
        let (mut child, pidfd) = spawn("exit 6");
        child.wait().unwrap();
        let ended = try_reap(pidfd.as_fd()).unwrap().unwrap();
        assert!(matches!(ended.status, RawStatus::Code(6) | RawStatus::Unknown));
    }

    #[test]
    fn a_live_process_is_not_reaped_whoever_it_belongs_to() {
        let (mut child, pidfd) = spawn("read line");
        assert_eq!(try_reap(pidfd.as_fd()).unwrap(), None);
        let parent = pidfd_open(nix::unistd::getppid().as_raw()).unwrap();
        assert_eq!(try_reap(parent.as_fd()).unwrap(), None);
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    /// The disposition is the whole process's and passes through exec, so that env(1)
    /// sets it for a second run of this test.
    #[test]
    fn a_program_that_ignores_sigchld_learns_each_end_too() {
        const MARK: &str = "PROCESSION_TEST_IGNORED_CHILD";
        if std::env::var_os(MARK).is_none() {
            let name = "a_program_that_ignores_sigchld_learns_each_end_too";
            let output = Command::new("env")
                .arg("--ignore-signal=CHLD")
                .arg(std::env::current_exe().unwrap())
                .args([&format!("reap::tests::{name}"), "--exact", "--nocapture"])
                .env(MARK, "1")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            assert!(text.contains("1 passed"), "{text}");
            return;
        }
        for code in 1..=30 {
            let (mut child, pidfd) = spawn(&format!("read line; exit {code}"));
            assert_eq!(try_reap(pidfd.as_fd()).unwrap(), None);
            drop(child.stdin.take());
            let start = Instant::now();
            let ended = loop {
                if let Some(ended) = try_reap(pidfd.as_fd()).unwrap() {
                    break ended;
                }
                assert!(start.elapsed() < Duration::from_secs(10));
            };
            // Nobody could wait for it, so only the kernel's memory can tell.
            assert_eq!(ended.usage, None);
            assert!(
                matches!(ended.status, RawStatus::Code(found) if found == code)
                    || ended.status == RawStatus::Unknown,
                "{ended:?}"
            );
            eprintln!("{:?}", ended.status);
        }
    }
}
