//! How a process ended, as data.
//!
//! Owns the reading of a raw wait status and the classes that supervision acts on.
//! It never asks the kernel: `procession-runtime` brings the raw status.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a panic said: message, place and backtrace, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicReport {
    /// The panic's message.
    pub message: String,
    /// `file:line:column`, empty when unknown.
    pub location: String,
    /// The backtrace as the standard library prints it, empty when it was switched off.
    pub backtrace: String,
}

/// The raw end of a process, as `waitid` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RawStatus {
    /// The process called exit with this code (0 to 255).
    Code(i32),
    /// The process was ended by this signal number.
    Signal(i32),
    /// Somebody else took the status, and the kernel does not keep it.
    Unknown,
}

impl RawStatus {
    /// Python's exit code: the code, or the negated signal number; `None` when unknown.
    pub fn exitcode(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(-signal),
            Self::Unknown => None,
        }
    }
}

/// Why an incarnation ended. The words are Erlang/OTP's, with what processes add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitReason {
    /// It returned, or exited with code 0.
    Normal,
    /// It was asked to stop and ended so.
    Shutdown,
    /// It ended of its own accord and said that this was in order, with its words.
    ShutdownWith(String),
    /// It exited with a code other than 0.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It panicked (exit code 1).
    Panic(PanicReport),
    /// It did not become ready within its start timeout.
    StartTimeout,
    /// It could not be started; the text says why.
    StartFailed(String),
    /// Its watchdog found it hanging, and killed it.
    Hung,
    /// It has ended, but nobody can say how.
    Unknown,
}

impl ExitReason {
    /// Reads a raw status. `asked` says that the end had been asked for, by the
    /// protocol or by a SIGTERM of ours.
    pub fn from_status(status: RawStatus, asked: bool) -> Self {
        match status {
            RawStatus::Code(0) | RawStatus::Signal(SIGTERM) if asked => Self::Shutdown,
            RawStatus::Code(0) => Self::Normal,
            RawStatus::Code(code) => Self::Code(code),
            RawStatus::Signal(signal) => Self::Signal(signal),
            RawStatus::Unknown => Self::Unknown,
        }
    }

    /// Whether a transient child stays down after this end: normal, shutdown, or
    /// shutdown with words of its own.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown | Self::ShutdownWith(_))
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::ShutdownWith(words) => write!(f, "shutdown: {words}"),
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
            Self::Panic(report) => write!(f, "panicked at {}: {}", report.location, report.message),
            Self::StartTimeout => f.write_str("start timeout"),
            Self::StartFailed(why) => write!(f, "start failed: {why}"),
            Self::Hung => f.write_str("hung"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// SIGTERM, the same number on every Linux.
const SIGTERM: i32 = 15;

/// The name of a standard Linux signal (x86-64 and aarch64), such as `SIGKILL`.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    const NAMES: [&str; 32] = [
        "",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    NAMES.get(usize::try_from(signal).ok()?).copied().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_end_is_shutdown_unless_it_was_killed() {
        assert_eq!(ExitReason::from_status(RawStatus::Code(0), true), ExitReason::Shutdown);
        assert_eq!(ExitReason::from_status(RawStatus::Signal(15), true), ExitReason::Shutdown);
        assert_eq!(ExitReason::from_status(RawStatus::Signal(9), true), ExitReason::Signal(9));
        assert_eq!(ExitReason::from_status(RawStatus::Code(3), true), ExitReason::Code(3));
        assert_eq!(ExitReason::from_status(RawStatus::Signal(15), false), ExitReason::Signal(15));
        assert_eq!(ExitReason::from_status(RawStatus::Code(0), false), ExitReason::Normal);
    }

    #[test]
    fn exit_codes_follow_python() {
        assert_eq!(RawStatus::Code(7).exitcode(), Some(7));
        assert_eq!(RawStatus::Signal(11).exitcode(), Some(-11));
        assert_eq!(RawStatus::Unknown.exitcode(), None);
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_name(9), Some("SIGKILL"));
        assert_eq!(signal_name(15), Some("SIGTERM"));
        assert_eq!(signal_name(0), None);
        assert_eq!(signal_name(64), None);
    }
}
