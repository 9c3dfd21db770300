//! What a start is asked for: function, arguments, surroundings.
//!
//! Owns the request as plain data. It starts nothing.

use crate::codec::Encoded;
use crate::function::FunctionRef;
use crate::sys::socket;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use procession_protocols::id::NodeId;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How processes are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StartMethod {
    /// A fresh start of the running image.
    Spawn,
    /// A copy of a single-threaded server process of the same image.
    ForkServer,
    /// A copy of this process.
    Fork,
}

/// The names of Python's start methods.
impl fmt::Display for StartMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spawn => "spawn",
            Self::ForkServer => "forkserver",
            Self::Fork => "fork",
        })
    }
}

/// A text names no start method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no start method; they are spawn, forkserver and fork")]
pub struct UnknownStartMethod(String);

impl FromStr for StartMethod {
    type Err = UnknownStartMethod;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "spawn" => Ok(Self::Spawn),
            "forkserver" => Ok(Self::ForkServer),
            "fork" => Ok(Self::Fork),
            other => Err(UnknownStartMethod(other.into())),
        }
    }
}

/// What becomes of a child when its parent dies without ending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParentDeath {
    /// The kernel kills it at once, even if it is stopped or wedged.
    Kill,
    /// It is told, and has this long to end; then it is killed.
    Grace(Duration),
    /// Nothing: it lives on by itself.
    Detached,
}

/// What a child's standard stream is connected to.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// The parent's own stream.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// A pipe whose other end the parent takes from the process handle.
    Piped,
    /// A pipe that the parent copies line by line to its own standard error, keeping the
    /// last lines for error reports. For output streams only.
    Relay,
    /// This descriptor.
    Fd(OwnedFd),
}

/// Changes to the environment that a child gets.
#[derive(Debug, Clone, Default)]
pub struct EnvChanges {
    /// Start from nothing instead of from the parent's environment.
    pub clear: bool,
    /// Set (`Some`) or remove (`None`), in order.
    pub changes: Vec<(OsString, Option<OsString>)>,
}

impl EnvChanges {
    /// Whether a process can have these variables at all.
    ///
    /// # Errors
    /// `InvalidInput`: a name that is empty or has `=` in it, or a zero byte.
    pub(crate) fn check(&self) -> io::Result<()> {
        for (name, value) in &self.changes {
            let (name, value) = (name.as_bytes(), value.as_ref().map_or(&[][..], |v| v.as_bytes()));
            if name.is_empty() || name.contains(&b'=') || [name, value].concat().contains(&0) {
                let name = String::from_utf8_lossy(name);
                let what = format!("no environment can have the variable {name:?} with this value");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
        }
        Ok(())
    }

    /// The environment that results, as (name, value).
    pub fn apply(&self) -> Vec<(OsString, OsString)> {
        let mut env: Vec<_> = if self.clear { Vec::new() } else { std::env::vars_os().collect() };
        for (name, value) in &self.changes {
            env.retain(|(known, _)| known != name);
            if let Some(value) = value {
                env.push((name.clone(), value.clone()));
            }
        }
        env
    }
}

/// A limit as `setrlimit` takes it: resource number, soft and hard limit.
pub type Rlimit = (u32, u64, u64);

/// A request to start a process.
#[derive(Debug)]
pub struct LaunchSpec {
    /// The life that it will be.
    pub node: NodeId,
    /// How.
    pub method: StartMethod,
    /// What it runs.
    pub entry: FunctionRef,
    /// The entry's arguments.
    pub args: Encoded,
    /// Its name.
    pub name: String,
    /// Its number among the children of this node.
    pub number: u32,
    /// Whether it is ended at this node's normal exit.
    pub daemon: bool,
    /// Its key for managers and listeners.
    pub authkey: Vec<u8>,
    /// Standard input, output and error.
    pub stdio: [Stdio; 3],
    /// Its environment.
    pub env: EnvChanges,
    /// Its working directory, when not the parent's.
    pub current_dir: Option<PathBuf>,
    /// Its resource limits, when not the parent's.
    pub rlimits: Vec<Rlimit>,
    /// The processors that it may run on, when not the parent's.
    pub affinity: Option<Vec<usize>>,
    /// Added to its niceness.
    pub nice: i32,
    /// What becomes of it when this node dies.
    pub on_parent_death: ParentDeath,
    /// Whether it adopts the orphans below it.
    pub contain: bool,
    /// Whether it ignores SIGINT: its parent decides.
    pub ignore_sigint: bool,
    /// Whether it may start processes although it is a daemon.
    pub allow_nested: bool,
    /// Time it has to get ready.
    pub start_timeout: Duration,
    /// Whether that begins only when the preload function is done, which is waited for.
    pub awaits_preload: bool,
    /// Whether it is asked to end by a message (an actor), not by SIGTERM.
    pub ends_by_message: bool,
    /// Whether its hidden thread answers its parent from the start.
    pub attend: bool,
}

impl LaunchSpec {
    /// A child of this node with everything as this process has it.
    pub fn plain(name: String, number: u32, entry: FunctionRef, args: Encoded) -> Self {
        let node = crate::node::current();
        Self {
            node: NodeId::new(),
            method: super::default_method(),
            entry,
            args,
            name,
            number,
            daemon: node.daemon,
            authkey: node.authkey(),
            stdio: [Stdio::Null, Stdio::Inherit, Stdio::Inherit],
            env: EnvChanges::default(),
            current_dir: None,
            rlimits: Vec::new(),
            affinity: None,
            nice: 0,
            on_parent_death: ParentDeath::Kill,
            contain: false,
            ignore_sigint: false,
            allow_nested: false,
            start_timeout: START_TIMEOUT,
            awaits_preload: true,
            ends_by_message: false,
            attend: false,
        }
    }
}

/// A child has this long to get ready, unless its spec says otherwise.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Whoever gives a start more time than this gives it this: clocks and timers have an end.
pub(crate) const LONGEST_START: Duration = Duration::from_hours(365 * 24);

/// The first number above those that a child's own descriptors take.
const LOWEST: i32 = 10;

/// Standard streams, opened: what the child gets, and the ends that the parent keeps.
#[derive(Debug)]
pub(crate) struct OpenStdio {
    /// `None` is inherited.
    pub(crate) child: [Option<OwnedFd>; 3],
    /// Our ends of pipes; relayed or not.
    pub(crate) ours: [Option<(OwnedFd, bool)>; 3],
}

impl OpenStdio {
    pub(crate) fn new(stdio: &[Stdio; 3]) -> io::Result<Self> {
        let mut open = Self { child: [None, None, None], ours: [None, None, None] };
        for (stream, wanted) in stdio.iter().enumerate() {
            match wanted {
                Stdio::Inherit => {}
                Stdio::Null => open.child[stream] = Some(above_standard(null_device()?)?),
                Stdio::Fd(fd) => {
                    // The start may come to nothing, and then has this one for the next.
                    open.child[stream] = Some(socket::duplicate_above(fd, LOWEST)?);
                }
                kind @ (Stdio::Piped | Stdio::Relay) => {
                    let (reader, writer) = std::io::pipe()?;
                    let (theirs, ours): (OwnedFd, OwnedFd) = if stream == 0 {
                        (reader.into(), writer.into())
                    } else {
                        (writer.into(), reader.into())
                    };
                    open.child[stream] = Some(above_standard(theirs)?);
                    // Nobody's prints shall land in it, should a standard stream be closed here.
                    let ours = above_standard(ours)?;
                    open.ours[stream] = Some((ours, matches!(kind, Stdio::Relay) && stream > 0));
                }
            }
        }
        Ok(open)
    }
}

/// A descriptor of the same file above the numbers that a child's own descriptors take.
pub(crate) fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= LOWEST { Ok(fd) } else { socket::duplicate_above(&fd, LOWEST) }
}

/// Opens `/dev/null` for reading and writing.
pub(crate) fn null_device() -> io::Result<OwnedFd> {
    Ok(open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?)
}
