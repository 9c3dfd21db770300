//! What goes into the policy and what comes out of it.
//!
//! Owns the vocabulary between the policy and whoever runs it: events and requests
//! in, actions, replies and reports out. Data only; the meaning is in `policy`.

use super::intensity::Intensity;
use super::spec::{ChildKind, ChildSpec, SpecError};
use crate::exit::ExitReason;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// One life of one child, numbered by its supervisor and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// A timer that the policy asked for. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerToken(pub u64);

/// A request, numbered by whoever makes it. Each is answered by one `Reply`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What the policy is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Start the children. A second one is ignored.
    Start,
    /// The child has sent Ready.
    ChildReady {
        /// Which life.
        incarnation: Incarnation,
    },
    /// The start is over and **no process of this incarnation exists**: it never came
    /// to be, or its end has been read. Ends the incarnation, as `ChildExited` does.
    ChildStartFailed {
        /// Which life.
        incarnation: Incarnation,
        /// Why.
        reason: ExitReason,
        /// The child said that it does not want to run; this is no failure.
        ignore: bool,
    },
    /// The end of the incarnation was read from the kernel.
    ChildExited {
        /// Which life.
        incarnation: Incarnation,
        /// How it ended.
        reason: ExitReason,
    },
    /// A timer has come.
    Timer(TimerToken),
    /// Stop everything in reverse order, and exit. Acted on at once in every state,
    /// and answered when nothing lives any more.
    Stop(RequestId),
    /// Somebody wants something of a child.
    Request(RequestId, Request),
}

/// What can be asked of a supervisor about its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Add a child after all others, and start it. It stays only if it starts.
    StartChild(Box<ChildSpec>),
    /// Start one more child from the template of a dynamic supervisor.
    StartDynamic,
    /// Stop a child; its spec stays (but a temporary's, or a dynamic child's).
    TerminateChild(ChildRef),
    /// Start a child that is down.
    RestartChild(String),
    /// Drop the spec of a child that is down.
    DeleteChild(String),
}

/// A child's address: its incarnation in a dynamic supervisor, its id in any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildRef {
    /// By id.
    Id(String),
    /// By its latest incarnation.
    Incarnation(Incarnation),
}

/// What the policy wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a child. To be followed by `ChildReady` and later `ChildExited`, or by
    /// one of `ChildStartFailed` and `ChildExited` alone.
    StartChild {
        /// Its id; for a dynamic child the template's.
        id: String,
        /// The number of the new life.
        incarnation: Incarnation,
        /// The previous life of the same child, if there was one.
        replaces: Option<Incarnation>,
        /// The request that this start belongs to, if any.
        request: Option<RequestId>,
        /// When the policy will kill it for not being ready. For information.
        deadline_ms: u64,
    },
    /// Ask a child to stop (Shutdown message or SIGTERM, and SIGCONT). No wait.
    StopChild(Incarnation),
    /// SIGKILL a child. Idempotent.
    KillChild(Incarnation),
    /// Send `Event::Timer` at this time, or as soon as possible after it.
    SetTimer {
        /// Which timer.
        token: TimerToken,
        /// When.
        at_ms: u64,
    },
    /// Drop a timer. One that fires all the same is ignored.
    CancelTimer(TimerToken),
    /// The answer to a request.
    Reply(RequestId, Result<Response, RequestError>),
    /// Something to log and count.
    Report(Report),
    /// This child is no more: drop what was kept to start it.
    Forget {
        /// Its id.
        id: String,
        /// Its last life.
        incarnation: Option<Incarnation>,
    },
    /// All children of the first start are up.
    Started,
    /// The supervisor has ended; no child lives. The last action ever, but for
    /// replies to requests that come too late.
    Exit(SupervisorExit),
}

/// A request's success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// The child has started; `None`: it declined (`ignore`).
    Started(Option<Incarnation>),
    /// It is done.
    Done,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is a child with this id, and it runs or is being restarted.
    #[error("already started")]
    AlreadyStarted(Option<Incarnation>),
    /// There is a child with this id, and it is down.
    #[error("a child with this id is already present")]
    AlreadyPresent,
    /// There is no such child.
    #[error("no such child")]
    NotFound,
    /// The child runs; stop it first.
    #[error("the child is running")]
    Running,
    /// The child waits for its restart; terminate it first.
    #[error("the child is being restarted")]
    Restarting,
    /// The child could not be started.
    #[error("the child could not be started: {0}")]
    StartFailed(ExitReason),
    /// The start was broken off because a sibling's death restarts the whole group.
    /// A child that was to be added is not kept.
    #[error("the start was interrupted by a sibling's restart")]
    Interrupted,
    /// The dynamic supervisor is full.
    #[error("max_children is {0}")]
    MaxChildren(usize),
    /// This request makes no sense with this supervisor's strategy.
    #[error("not possible with this supervisor's strategy")]
    WrongStrategy,
    /// The spec is invalid.
    #[error(transparent)]
    InvalidSpec(#[from] SpecError),
    /// Too many requests wait already.
    #[error("too many requests are waiting")]
    Busy,
    /// The supervisor is stopping, or has ended.
    #[error("the supervisor is shutting down")]
    ShuttingDown,
}

/// A failure that asked for a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When, on the supervisor's clock.
    pub at_ms: u64,
    /// Which child.
    pub id: String,
    /// Which life of it.
    pub incarnation: Option<Incarnation>,
    /// How it ended.
    pub reason: ExitReason,
}

/// How a supervisor ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SupervisorExit {
    /// It was asked to, or its significant children have ended.
    Shutdown,
    /// More restarts than its intensity allows.
    GaveUp {
        /// The last failures, oldest first; the last one broke the budget.
        history: Vec<Failure>,
    },
    /// A child failed before all were up.
    FailedToStart {
        /// Which child.
        id: String,
        /// Why.
        reason: ExitReason,
    },
}

impl SupervisorExit {
    /// What the parent supervisor sees. Giving up reads as shutdown, as in OTP: a
    /// permanent supervisor is then restarted under its parent's budget.
    pub fn reason(&self) -> ExitReason {
        match self {
            Self::Shutdown | Self::GaveUp { .. } => ExitReason::Shutdown,
            Self::FailedToStart { .. } => ExitReason::StartFailed(self.to_string()),
        }
    }
}

impl fmt::Display for SupervisorExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("shutdown"),
            Self::GaveUp { history } => {
                f.write_str("reached_max_restart_intensity")?;
                match history.last() {
                    Some(last) => write!(f, ", last by child {:?}: {}", last.id, last.reason),
                    None => Ok(()),
                }
            }
            Self::FailedToStart { id, reason } => {
                write!(f, "failed_to_start_child({id}): {reason}")
            }
        }
    }
}

/// Something worth logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A child is ready.
    ChildReady(String, Incarnation),
    /// A child ended of itself.
    ChildDied(String, Incarnation, ExitReason),
    /// A child ended before it was ready.
    StartFailed(String, Incarnation, ExitReason),
    /// A restart attempt begins, and counts; with a group strategy its siblings' too.
    Restarting(String),
    /// A restart waits for its backoff.
    BackingOff {
        /// Which child.
        id: String,
        /// For how long.
        delay_ms: u64,
    },
    /// A child that was being stopped ended otherwise than asked.
    ShutdownError(String, Incarnation, ExitReason),
    /// A stopping child is still there; every 10 s.
    StillStopping {
        /// Which child.
        id: String,
        /// Which life.
        incarnation: Incarnation,
        /// Since it was asked.
        waited_ms: u64,
    },
    /// The budget is spent: everything is stopped.
    ReachedMaxRestartIntensity(Intensity),
    /// The end of this significant child ends the supervisor.
    AutoShutdown(String),
}

/// Where a child is in its life, see `child`'s diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    /// No process.
    Down,
    /// Started, not yet ready.
    Starting,
    /// Ready.
    Running,
    /// No process; waiting for its next restart attempt.
    Restarting,
    /// Being stopped.
    Stopping,
}

/// One row of `which_children`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildInfo {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub state: ChildState,
    /// Its latest life, which the state is about.
    pub incarnation: Option<Incarnation>,
    /// Worker or supervisor.
    pub kind: ChildKind,
}

/// The answer of `count_children`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChildCounts {
    /// Child specs, of living and dead; 1 for a dynamic supervisor.
    pub specs: usize,
    /// Children that have a process.
    pub active: usize,
    /// Supervisors, living or dead.
    pub supervisors: usize,
    /// Workers, living or dead.
    pub workers: usize,
}
