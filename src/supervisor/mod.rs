//! Supervisors: trees of processes that are started in order, restarted when they die,
//! and stopped in reverse.
//!
//! Owns the builder; `spec.rs` has a child's, `handle.rs` what a running supervisor is
//! asked. The policy is `procession_protocols::supervision`, which docs/supervision.md
//! describes; the runtime carries it out.

mod handle;
mod spec;

use crate::error::EncodeError;
pub use handle::{ChildInfo, SupervisorRef};
pub use procession_protocols::supervision::event::{
    ChildCounts, ChildState, Failure as ChildFailure, Incarnation, RequestError, SupervisorExit,
};
use procession_protocols::supervision::intensity::Intensity;
pub use procession_protocols::supervision::spec::{
    AutoShutdown, ChildKind, ChildSpec as ChildSettings, Restart, Shutdown, SpecError, SpecWarning,
    Strategy,
};
use procession_protocols::supervision::spec::{SupervisorSpec, check_childspecs};
use procession_runtime::actor;
use procession_runtime::launcher::StartError;
pub use procession_runtime::supervisor::TreeError;
use procession_runtime::supervisor::{SupervisorPlan, Tree};
pub use spec::ChildSpec;
use std::sync::Arc;
use std::time::Duration;

/// A supervisor before its start.
///
/// Its children start in the order in which they are added, each when the one before is
/// ready, and are stopped in reverse.
///
/// ```
/// use procession::{Actor, ChildSpec, Strategy, Supervisor, methods};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Actor, Serialize, Deserialize)]
/// struct Counter { value: i64 }
///
/// #[methods]
/// impl Counter {
///     pub fn add(&mut self, n: i64) -> i64 { self.value += n; self.value }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tree = Supervisor::new(Strategy::OneForOne)
///     .child(ChildSpec::actor("counter", || Counter { value: 0 }, ()))
///     .start()?;
/// let counter = tree.actor::<Counter>("counter")?;
/// counter.add(1)?;
/// counter.kill();
/// // The reference survives the restart; the state does not.
/// assert_eq!(counter.add(1)?, 1);
/// tree.stop()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a supervisor does nothing until it is started"]
pub struct Supervisor {
    strategy: Strategy,
    intensity: Intensity,
    auto_shutdown: AutoShutdown,
    children: Vec<ChildSpec>,
}

impl Supervisor {
    /// A supervisor without children: 1 restart in 5 s, no automatic shutdown.
    pub fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            intensity: Intensity::default(),
            auto_shutdown: AutoShutdown::Never,
            children: Vec::new(),
        }
    }

    /// How many restarts there may be in a period; more, and it gives up: it stops its
    /// children and ends.
    pub fn intensity(mut self, max_restarts: u32, period: Duration) -> Self {
        self.intensity = Intensity { max_restarts, period };
        self
    }

    /// Whether the end of significant children ends it.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// Adds a child, after those that there are.
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Checks the specs without starting anything: what `start` would refuse, and what
    /// is allowed but will hardly be meant.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn check(&self) -> Result<Vec<SpecWarning>, SpecError> {
        check_childspecs(&SupervisorSpec {
            strategy: self.strategy,
            intensity: self.intensity,
            auto_shutdown: self.auto_shutdown,
            children: self.children.iter().map(|child| child.spec.clone()).collect(),
        })
    }

    /// Starts it and its children, and returns when all are ready.
    ///
    /// # Errors
    /// [`SupervisorError`]: a child did not start, say; those that had are stopped.
    pub fn start(self) -> Result<SupervisorRef, SupervisorError> {
        Ok(SupervisorRef::of_root(Tree::start(self.plan()?)?))
    }

    /// As [`start`](Self::start), without blocking the thread.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// Dropping the future stops what has been started.
    pub async fn start_async(self) -> Result<SupervisorRef, SupervisorError> {
        Ok(SupervisorRef::of_root(Tree::start_async(self.plan()?).await?))
    }

    fn plan(self) -> Result<SupervisorPlan, SupervisorError> {
        let children = self.children.into_iter().map(|child| child.plan().map(Arc::new));
        Ok(SupervisorPlan {
            strategy: self.strategy,
            intensity: self.intensity,
            auto_shutdown: self.auto_shutdown,
            children: children.collect::<Result<_, _>>()?,
        })
    }
}

/// Why a supervisor or a request of it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The supervisor did not start.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The supervisor refused a request, or could not fulfil it.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A child's arguments could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A child's function cannot be found in a child.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no such child, or it takes no calls.
    #[error("there is no actor {0:?} among the children")]
    NoSuchActor(String),
    /// There is no such supervisor among the children in this process.
    #[error("there is no supervisor {0:?} among the children of this process")]
    NoSuchSupervisor(String),
    /// It ended because it had to restart too often.
    #[error("the supervisor gave up: {0}")]
    GaveUp(SupervisorExit),
}

impl From<actor::StartError> for SupervisorError {
    fn from(error: actor::StartError) -> Self {
        match error {
            actor::StartError::Encode(error) => Self::Encode(error),
            actor::StartError::Process(error) => Self::Start(error),
            other => Self::Start(StartError::Io(std::io::Error::other(other))),
        }
    }
}

/// A supervisor's description, for a process of its own.
impl From<Supervisor> for Result<SupervisorPlan, String> {
    fn from(supervisor: Supervisor) -> Self {
        supervisor.plan().map_err(|error| error.to_string())
    }
}
