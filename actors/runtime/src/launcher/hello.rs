//! What parent and child say to each other on the control link.
//!
//! Owns the messages. Who sends which when is decided by `handshake` (parent) and
//! `child` (child).

use super::{LaunchSpec, ParentDeath, StartMethod, Stdio};
use crate::codec::{self, DecodeError, Encoded, MAX_FDS};
use crate::function::FunctionRef;
use crate::link::{Frame, Link, LinkError};
use crate::log::{self, LogLevel};
use crate::node;
use crate::node::routes::Routed;
use crate::sys::environment;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use procession_protocols::exit::{ExitReason, PanicReport};
use procession_protocols::id::{NodeId, NodePath};
use procession_protocols::wire::{Header, Kind};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// From a parent to its child.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToChild {
    /// Who the child is, and what it is to do. Its arguments follow as a payload frame.
    Hello(Box<Hello>),
    /// End in good order.
    Shutdown,
    /// Say that you live.
    Ping(u64),
    /// To be passed on along the tree.
    Routed(Routed),
}

/// From a child to its parent.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToParent {
    /// The child has its function and arguments, and is ready.
    Ready,
    /// The child will not run: why.
    Refused(StartFault),
    /// How the child's body ended. A returned value follows as a payload frame.
    Report(Report),
    /// The answer to a ping.
    Pong(Pong),
    /// Whole lines for standard error that are too long to be written in one piece by
    /// several processes.
    Log(Vec<u8>),
    /// To be passed on along the tree.
    Routed(Routed),
    /// Said by a zygote, of a worker: it exists, with this id; its pidfd comes along.
    Cloned(u32),
    /// Said by a zygote: there is no worker; the error's number.
    NotCloned(i32),
    /// Said by a worker: it exists, with this id.
    Born(u32),
}

/// The answer to a ping: the child's hidden thread lives, and what its work looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The ping's number.
    pub number: u64,
    /// Moves with each message handled and each `keepalive`.
    pub progress: u64,
    /// Whether a message is being handled.
    pub busy: bool,
}

/// Everything that a child must know before user code runs in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    pub(crate) nonce: Uuid,
    pub(crate) build_id: Vec<u8>,
    pub(crate) entry: FunctionRef,
    pub(crate) method: StartMethod,
    pub(crate) name: String,
    pub(crate) node: NodeId,
    pub(crate) path: NodePath,
    pub(crate) parent: NodeId,
    pub(crate) parent_name: String,
    pub(crate) parent_pid: u32,
    pub(crate) argv: Vec<OsString>,
    pub(crate) authkey: Vec<u8>,
    pub(crate) daemon: bool,
    pub(crate) allow_nested: bool,
    pub(crate) log: LogSettings,
    pub(crate) surroundings: Surroundings,
    pub(crate) on_parent_death: ParentDeath,
    pub(crate) contain: bool,
    pub(crate) ignore_sigint: bool,
    pub(crate) attend: bool,
    pub(crate) default_method: Option<StartMethod>,
    /// Where the descriptors belong that come with this.
    pub(crate) given: Vec<Place>,
}

/// What a descriptor is to a worker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Place {
    /// The standard stream of this number.
    Stream(u8),
    /// The working directory.
    Directory,
}

/// Log settings that a child inherits.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LogSettings {
    /// The level that was set.
    pub(crate) level: Option<LogLevel>,
    /// Whether lines are written to standard error.
    pub(crate) to_stderr: bool,
    /// Whether they show the pid.
    pub(crate) show_pid: bool,
    /// Whether the child has the parent's standard error, so that its long lines go
    /// through the parent.
    pub(crate) shared_stderr: bool,
    /// Names of the parent's spans at the start, outermost first.
    pub(crate) spans: Vec<String>,
}

/// What the child sets up by itself, because exec does not.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Surroundings {
    pub(crate) env: Option<Vec<(OsString, OsString)>>,
    /// No `PathBuf`: of those only UTF-8 travels.
    pub(crate) current_dir: Option<OsString>,
    pub(crate) umask: Option<u32>,
    pub(crate) rlimits: Vec<super::spec::Rlimit>,
    pub(crate) affinity: Option<Vec<usize>>,
    pub(crate) niceness: Option<i32>,
    /// Whether it was asked for, not only inherited.
    pub(crate) is_nice: bool,
}

/// Why a child refuses to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum StartFault {
    /// It runs another build of the program.
    #[error(
        "the child runs another build of the program (the executable was replaced, or \
             set_executable names another one)"
    )]
    ForeignImage,
    /// The function is not in its image.
    #[error("the child has no function at that place with these types")]
    NoSuchFunction,
    /// Its arguments could not be decoded.
    #[error("the child cannot decode its arguments: {0}")]
    Arguments(String),
    /// Its surroundings could not be set up.
    #[error("the child cannot set its {what}: {why}")]
    Surroundings {
        /// Which setting.
        what: String,
        /// The system's words.
        why: String,
    },
    /// It panicked before it was ready.
    #[error("the child panicked while it started at {}: {}", .0.location, .0.message)]
    Panicked(PanicReport),
    /// It declined to run, which is no failure.
    #[error("the child declined to start")]
    Ignored,
    /// Its own start function said no.
    #[error("the child could not start: {0}")]
    Failed(String),
}

/// How a child's body ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It returned a value; `failed` says that the value is an error.
    Returned {
        /// Whether the value is an `Err`.
        failed: bool,
    },
    /// It returned a value that could not be encoded.
    Unencodable(String),
    /// It panicked.
    Panicked(PanicReport),
    /// It was an actor or a supervisor, and ended in order, for this reason.
    Ended(ExitReason),
}

impl Hello {
    pub(super) fn new(spec: &LaunchSpec) -> Self {
        let node = node::current();
        Self {
            nonce: Uuid::new_v4(),
            build_id: spec.entry.build_id.clone(),
            entry: spec.entry.clone(),
            method: spec.method,
            name: spec.name.clone(),
            node: spec.node,
            path: node.path.child(spec.number),
            parent: node.id,
            parent_name: node.name(),
            parent_pid: std::process::id(),
            argv: node.argv(),
            authkey: spec.authkey.clone(),
            daemon: spec.daemon,
            allow_nested: spec.allow_nested,
            log: LogSettings {
                level: log::level(),
                to_stderr: log::writes_to_stderr(),
                show_pid: log::shows_pid(),
                shared_stderr: matches!(spec.stdio[2], Stdio::Inherit),
                spans: log::current_span_names(),
            },
            surroundings: Surroundings::of_the_moment(spec),
            on_parent_death: spec.on_parent_death,
            contain: spec.contain,
            ignore_sigint: spec.ignore_sigint,
            attend: spec.attend,
            default_method: node::fixed_start_method(),
            given: Vec::new(),
        }
    }
}

impl Surroundings {
    /// Ours and what the spec changes. A zygote has those of its own start, so that its
    /// workers are told everything. Processors and niceness are those of the calling thread,
    /// whichever thread makes the child.
    fn of_the_moment(spec: &LaunchSpec) -> Self {
        let of_a_zygote = spec.method == StartMethod::ForkServer;
        Self {
            // exec brings its own.
            env: (spec.method != StartMethod::Spawn).then(|| spec.env.apply()),
            current_dir: spec.current_dir.clone().map(PathBuf::into_os_string),
            umask: if of_a_zygote { umask() } else { None },
            rlimits: spec.rlimits.clone(),
            affinity: spec.affinity.clone().or_else(|| affinity().map(|set| processors(&set))),
            niceness: environment::niceness().ok().map(|now| now.saturating_add(spec.nice)),
            is_nice: spec.nice != 0,
        }
    }

    /// Sets them in this process; `failed` makes a fault of what failed.
    pub(super) fn apply<E: FnOnce(io::Error) -> StartFault>(
        &self,
        failed: impl Fn(&str) -> E,
    ) -> Result<(), StartFault> {
        if let Some(env) = &self.env {
            environment::replace(env);
        }
        if let Some(path) = &self.current_dir {
            std::env::set_current_dir(path).map_err(failed("working directory"))?;
        }
        if let Some(mask) = self.umask {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
        }
        for (resource, soft, hard) in &self.rlimits {
            environment::set_rlimit(*resource, *soft, *hard)
                .map_err(failed(&format!("resource limit {resource}")))?;
        }
        if let Some(processors) = &self.affinity {
            let mut set = CpuSet::new();
            for processor in processors {
                set.set(*processor).map_err(|error| failed("affinity")(error.into()))?;
            }
            // Set only when it differs: a mask that was set does not widen with its cpuset.
            if affinity() != Some(set) {
                sched_setaffinity(Pid::from_raw(0), &set)
                    .map_err(|error| failed("affinity")(error.into()))?;
            }
        }
        if let Some(niceness) = self.niceness
            && environment::niceness().ok() != Some(niceness)
        {
            match environment::set_niceness(niceness) {
                // Where it may not be lowered again, it is as far as it goes.
                Err(error) if self.is_nice => return Err(failed("niceness")(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Sends a control message, waiting for room until the deadline.
///
/// # Errors
/// As [`Link::send`], and a message that cannot be encoded.
pub(crate) fn send<T: Serialize>(
    link: &Link,
    message: &T,
    deadline: Option<Instant>,
) -> Result<(), LinkError> {
    let message = codec::encode(message).map_err(io::Error::other)?;
    let header = Header::new(Kind::Control, message.bytes.len()).map_err(io::Error::other)?;
    link.send(header, &message, deadline)
}

/// As [`send`], for as long as the other side reads, as [`Link::send_to_reader`] has it.
///
/// # Errors
/// The link's.
pub(crate) fn send_to_reader<T: Serialize>(
    link: &Link,
    message: &T,
    patience: Duration,
) -> Result<(), LinkError> {
    let message = codec::encode(message).map_err(io::Error::other)?;
    let header = Header::new(Kind::Control, message.bytes.len()).map_err(io::Error::other)?;
    link.send_to_reader(header, &message, patience)
}

/// The processors that the calling thread may use; `None` when there are too many to say.
fn affinity() -> Option<CpuSet> {
    sched_getaffinity(Pid::from_raw(0)).ok()
}

fn processors(set: &CpuSet) -> Vec<usize> {
    (0..CpuSet::count()).filter(|processor| set.is_set(*processor) == Ok(true)).collect()
}

/// This process's umask. The call of that name can only swap it, and for a moment files
/// of other threads would get the wrong mode.
fn umask() -> Option<u32> {
    /// It stands on the second line, after the name.
    const ENOUGH: usize = 128;
    let mut start = [0; ENOUGH];
    let count = File::open("/proc/self/status").ok()?.read(&mut start).ok()?;
    let status = String::from_utf8_lossy(&start[..count]);
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(mask.trim(), 8).ok()
}

/// Posts a control message; it never waits.
///
/// # Errors
/// The link's, and a message that cannot be encoded.
pub(crate) fn post<T: Serialize>(link: &Link, message: &T, limit: usize) -> Result<(), LinkError> {
    let message = codec::encode(message).map_err(io::Error::other)?;
    let header = Header::new(Kind::Control, message.bytes.len()).map_err(io::Error::other)?;
    link.post(header, message, limit)
}

/// Two messages that together are at most so long go out in one write.
const TOGETHER_LIMIT: usize = 16 * 1024;

/// Posts the hello with what the child is given, and the child's arguments; it never waits.
///
/// # Errors
/// The link's.
pub(crate) fn post_hello(
    link: &Link,
    hello: &ToChild,
    given: Vec<OwnedFd>,
    args: Encoded,
) -> Result<(), LinkError> {
    let mut message = codec::encode(hello).map_err(io::Error::other)?;
    message.fds = given;
    post_both(link, message, args, 0)
}

/// Posts a control message and the payload that belongs to it, with its flags; never waits.
///
/// # Errors
/// The link's.
pub(super) fn post_both(
    link: &Link,
    message: Encoded,
    payload: Encoded,
    flags: u8,
) -> Result<(), LinkError> {
    let header = |kind, len| Header::new(kind, len).map_err(io::Error::other);
    let head = header(Kind::Control, message.bytes.len())?;
    let payload_head = Header { flags, ..header(Kind::Payload, payload.bytes.len())? };
    let fits = message.fds.len() + payload.fds.len() <= MAX_FDS
        && message.bytes.len() + payload.bytes.len() <= TOGETHER_LIMIT;
    if fits {
        return link.post_together([(head, message), (payload_head, payload)]);
    }
    link.post(head, message, usize::MAX)?;
    link.post(payload_head, payload, usize::MAX)
}

/// Reads a control message out of a frame.
pub(crate) fn read<T: serde::de::DeserializeOwned>(frame: Frame) -> Result<T, DecodeError> {
    codec::decode(&frame.payload, frame.fds)
}
