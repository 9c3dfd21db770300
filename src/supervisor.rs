//! Supervisors: trees of processes that are started in order, restarted when they die,
//! and stopped in reverse.
//!
//! Owns the builders and the handle. The policy is `procession_protocols::supervision`,
//! which docs/supervision.md describes; the runtime carries it out.

use crate::error::EncodeError;
use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::backoff::Backoff;
pub use procession_protocols::supervision::event::{
    ChildCounts, ChildState, Failure as ChildFailure, Incarnation, RequestError, SupervisorExit,
};
use procession_protocols::supervision::event::{ChildInfo as PolicyInfo, ChildRef};
use procession_protocols::supervision::intensity::Intensity;
use procession_protocols::supervision::spec::{self, SupervisorSpec, check_childspecs};
pub use procession_protocols::supervision::spec::{
    AutoShutdown, ChildKind, Restart, Shutdown, SpecError, SpecWarning, Strategy,
};
use procession_protocols::supervision::watchdog::WatchdogSettings;
use procession_runtime::actor::{self, Actor, ActorRef, IntoActor, Wire, process as actor_process};
use procession_runtime::codec;
use procession_runtime::function::{self, Entry};
use procession_runtime::launcher::{EnvChanges, StartError, StartMethod};
pub use procession_runtime::supervisor::TreeError;
use procession_runtime::supervisor::{
    ChildPlan, ProcessPlan, Start, SupervisorPlan, Tree, process as supervisor_process,
};
use procession_runtime::wait::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::path::PathBuf;
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
        let tree = Tree::start(self.plan()?)?;
        Ok(SupervisorRef::of_root(tree))
    }

    /// As [`start`](Self::start), without blocking the thread.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// Dropping the future stops what has been started.
    pub async fn start_async(self) -> Result<SupervisorRef, SupervisorError> {
        let tree = Tree::start_async(self.plan()?).await?;
        Ok(SupervisorRef::of_root(tree))
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

/// One child of a supervisor: what it runs, and how it is restarted and stopped.
///
/// By default it is permanent, gets 5 s to stop and 10 s to start; a supervisor gets all
/// the time that it needs to stop.
#[derive(Debug)]
#[must_use = "a child spec does nothing until its supervisor is started"]
pub struct ChildSpec {
    spec: spec::ChildSpec,
    start: Result<Kind, Problem>,
    method: Option<StartMethod>,
    relay: bool,
    env: EnvChanges,
    current_dir: Option<PathBuf>,
    rlimits: Vec<(u32, u64, u64)>,
}

#[derive(Debug)]
enum Kind {
    Process(ProcessPlan),
    Supervisor(Box<Supervisor>),
}

#[derive(Debug)]
enum Problem {
    Encode(EncodeError),
    Start(StartError),
}

impl ChildSpec {
    /// An actor in a process of its own, made by a function there, at each start.
    pub fn actor<A, F, Args>(id: impl Into<String>, make: F, args: Args) -> Self
    where
        F: Entry<Args> + Copy + 'static,
        F::Output: IntoActor<A>,
        A: Actor,
        A::Msg: Wire,
        Args: Serialize + DeserializeOwned + 'static,
    {
        let start = actor_process::from_function::<A, F, Args>(make).and_then(|blueprint| {
            let args = actor_process::encode_args(true, &args)?;
            Ok(Kind::Process(plan(blueprint.entry, args, Some(A::MAILBOX), false)))
        });
        let start = start.map_err(|error| match error {
            actor::StartError::Encode(error) => Problem::Encode(error),
            actor::StartError::Process(error) => Problem::Start(error),
            other => Problem::Start(StartError::Io(std::io::Error::other(other))),
        });
        Self::new(spec::ChildSpec::worker(id), start)
    }

    /// A function in a process of its own.
    pub fn process<F, Args>(id: impl Into<String>, function: F, args: Args) -> Self
    where
        F: Entry<Args> + Copy + 'static,
        F::Output: Serialize + 'static,
        Args: Serialize + DeserializeOwned + 'static,
    {
        let start = match (function::entry::<F, Args>(function), codec::encode(&args)) {
            (Ok(entry), Ok(args)) => Ok(Kind::Process(plan(entry, args, None, false))),
            (_, Err(error)) => Err(Problem::Encode(error)),
            (Err(_), _) => Err(Problem::Start(StartError::NoSuchFunction)),
        };
        Self::new(spec::ChildSpec::worker(id), start)
    }

    /// A supervisor in this process.
    pub fn supervisor(id: impl Into<String>, supervisor: Supervisor) -> Self {
        Self::new(spec::ChildSpec::supervisor(id), Ok(Kind::Supervisor(Box::new(supervisor))))
    }

    /// A supervisor in a process of its own, described by a function there.
    pub fn supervisor_process<F>(id: impl Into<String>, make: F) -> Self
    where
        F: Fn() -> Supervisor + Copy + 'static,
    {
        let start = match (supervisor_process::entry::<F, Supervisor>(make), codec::encode(&())) {
            (Ok(entry), Ok(args)) => Ok(Kind::Process(plan(entry, args, None, true))),
            (_, Err(error)) => Err(Problem::Encode(error)),
            (Err(_), _) => Err(Problem::Start(StartError::NoSuchFunction)),
        };
        Self::new(spec::ChildSpec::supervisor(id), start)
    }

    fn new(spec: spec::ChildSpec, start: Result<Kind, Problem>) -> Self {
        Self {
            spec,
            start,
            method: None,
            relay: false,
            env: EnvChanges::default(),
            current_dir: None,
            rlimits: Vec::new(),
        }
    }

    /// When it is started again after it ended of itself.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.spec.restart = restart;
        self
    }

    /// How it is stopped.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.spec.shutdown = shutdown;
        self
    }

    /// Whether its own end can end the supervisor; see [`Supervisor::auto_shutdown`].
    pub fn significant(mut self, significant: bool) -> Self {
        self.spec.significant = significant;
        self
    }

    /// The time that it has to get ready.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.spec.start_timeout = timeout;
        self
    }

    /// Delays its restarts: `base`, doubled each time up to `cap`, give or take 20 %. The
    /// first restart after 30 s of health is immediate.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.spec.backoff = Some(Backoff { base, cap, ..Backoff::default() });
        self
    }

    /// Kills it when it gives no sign of life: when its hidden thread does not answer
    /// `missed` pings in a row, one each `interval`; or, with a `handler_timeout`, when
    /// it is at work for so long without handling a message or calling
    /// [`keepalive`](crate::keepalive).
    pub fn watchdog(
        mut self,
        interval: Duration,
        missed: u32,
        handler_timeout: Option<Duration>,
    ) -> Self {
        self.spec.watchdog = Some(WatchdogSettings { interval, missed, handler_timeout });
        self
    }

    /// How its process is started.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// Copies its output to our standard error, line by line, and quotes its end when it
    /// dies before it is ready.
    pub fn relay_output(mut self) -> Self {
        self.relay = true;
        self
    }

    /// Sets an environment variable for it.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.changes.push((name.into(), Some(value.into())));
        self
    }

    /// Its working directory.
    pub fn current_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(path.into());
        self
    }

    /// Limits a resource (a `RLIMIT_` number of the system), soft and hard.
    pub fn rlimit(mut self, resource: u32, soft: u64, hard: u64) -> Self {
        self.rlimits.push((resource, soft, hard));
        self
    }

    fn plan(mut self) -> Result<ChildPlan, SupervisorError> {
        let start = match self.start {
            Ok(Kind::Supervisor(supervisor)) => Start::Supervisor(Box::new(supervisor.plan()?)),
            Ok(Kind::Process(mut plan)) => {
                plan.method = self.method;
                plan.relay = self.relay;
                plan.env = self.env;
                plan.current_dir = self.current_dir;
                plan.rlimits = self.rlimits;
                plan.watched = self.spec.watchdog.is_some();
                Start::Process(Box::new(plan))
            }
            Err(Problem::Encode(error)) => return Err(error.into()),
            Err(Problem::Start(error)) => return Err(error.into()),
        };
        self.spec.id.shrink_to_fit();
        Ok(ChildPlan { spec: self.spec, start })
    }
}

fn plan(
    entry: function::FunctionRef,
    args: codec::Encoded,
    actor: Option<actor::MailboxOptions>,
    is_supervisor: bool,
) -> ProcessPlan {
    ProcessPlan {
        entry,
        args,
        actor,
        is_supervisor,
        watched: false,
        method: None,
        relay: false,
        env: EnvChanges::default(),
        current_dir: None,
        rlimits: Vec::new(),
    }
}

/// A supervisor's description, for a process of its own.
impl From<Supervisor> for Result<SupervisorPlan, String> {
    fn from(supervisor: Supervisor) -> Self {
        supervisor.plan().map_err(|error| error.to_string())
    }
}

/// A running supervisor. When the last clone of a root's handle is dropped it is asked
/// to stop; it is stopped, in order, when this process ends.
#[derive(Debug, Clone)]
pub struct SupervisorRef {
    tree: Arc<Tree>,
    _stop: Option<Arc<StopOnDrop>>,
}

/// Asks a tree to stop when the last handle goes.
#[derive(Debug)]
struct StopOnDrop(Arc<Tree>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.ask_to_stop();
    }
}

/// One row of [`SupervisorRef::which_children`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildInfo {
    /// Its id.
    pub id: String,
    /// Where it is in its life.
    pub state: ChildState,
    /// Its latest life.
    pub incarnation: Option<Incarnation>,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// Its process id, when it has a process.
    pub pid: Option<u32>,
}

impl SupervisorRef {
    fn of_root(tree: Arc<Tree>) -> Self {
        Self { _stop: Some(Arc::new(StopOnDrop(tree.clone()))), tree }
    }

    /// A reference to an actor among the children that survives its restarts: a call
    /// made while it is being restarted waits for it (5 s, unless it has a deadline of
    /// its own); one in flight at its death fails with `ActorDied`.
    ///
    /// # Errors
    /// [`SupervisorError::NoSuchActor`].
    pub fn actor<A: Actor>(&self, id: &str) -> Result<A::Ref, SupervisorError> {
        let remote = self.tree.actor(id, A::MAILBOX);
        remote
            .and_then(ActorRef::<A>::remote)
            .map(A::Ref::from)
            .ok_or_else(|| SupervisorError::NoSuchActor(id.to_owned()))
    }

    /// A supervisor among the children that runs in this process.
    ///
    /// # Errors
    /// [`SupervisorError::NoSuchSupervisor`].
    pub fn supervisor(&self, id: &str) -> Result<Self, SupervisorError> {
        let tree = self.tree.supervisor(id);
        tree.map(|tree| Self { tree, _stop: None })
            .ok_or_else(|| SupervisorError::NoSuchSupervisor(id.to_owned()))
    }

    /// Every child, in start order.
    pub fn which_children(&self) -> Vec<ChildInfo> {
        block_on(self.which_children_async())
    }

    /// As [`which_children`](Self::which_children), without blocking the thread.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the answer.
    pub async fn which_children_async(&self) -> Vec<ChildInfo> {
        let row = |(info, pid): (PolicyInfo, Option<u32>)| ChildInfo {
            id: info.id,
            state: info.state,
            incarnation: info.incarnation,
            kind: info.kind,
            pid,
        };
        self.tree.which_children().await.into_iter().map(row).collect()
    }

    /// How many children there are, by kind.
    pub fn count_children(&self) -> ChildCounts {
        block_on(self.tree.count_children())
    }

    /// Adds a child after all others, and starts it; it stays only if it starts. `None`:
    /// it declined to run.
    ///
    /// # Errors
    /// [`RequestError`], as a [`SupervisorError::Request`].
    pub fn start_child(&self, child: ChildSpec) -> Result<Option<Incarnation>, SupervisorError> {
        Ok(block_on(self.tree.start_child(child.plan()?))?)
    }

    /// Starts one more child of a dynamic supervisor from its template, with these
    /// arguments in place of the template's (of the same types).
    ///
    /// # Errors
    /// [`RequestError`], as a [`SupervisorError::Request`].
    pub fn start_dynamic<Args: Serialize>(
        &self,
        args: &Args,
    ) -> Result<Option<Incarnation>, SupervisorError> {
        let args = self.tree.encode_dynamic(args)?;
        Ok(block_on(self.tree.start_dynamic(Some(args)))?)
    }

    /// Stops a child; its spec stays, unless it is temporary.
    ///
    /// # Errors
    /// [`RequestError`], as a [`SupervisorError::Request`].
    pub fn terminate_child(&self, id: &str) -> Result<(), SupervisorError> {
        Ok(block_on(self.tree.terminate_child(ChildRef::Id(id.to_owned())))?)
    }

    /// Stops a child of a dynamic supervisor.
    ///
    /// # Errors
    /// [`RequestError`], as a [`SupervisorError::Request`].
    pub fn terminate_dynamic(&self, incarnation: Incarnation) -> Result<(), SupervisorError> {
        Ok(block_on(self.tree.terminate_child(ChildRef::Incarnation(incarnation)))?)
    }

    /// Starts a child that is down.
    ///
    /// # Errors
    /// [`RequestError`], as a [`SupervisorError::Request`].
    pub fn restart_child(&self, id: &str) -> Result<Option<Incarnation>, SupervisorError> {
        Ok(block_on(self.tree.restart_child(id))?)
    }

    /// Drops the spec of a child that is down.
    ///
    /// # Errors
    /// [`RequestError`], as a [`SupervisorError::Request`].
    pub fn delete_child(&self, id: &str) -> Result<(), SupervisorError> {
        Ok(block_on(self.tree.delete_child(id))?)
    }

    /// Stops it: its children in reverse order, each as its spec says. Returns when
    /// nothing of it is left. Stopping one that has stopped is no error.
    ///
    /// # Errors
    /// [`SupervisorError::GaveUp`] when it had given up before.
    pub fn stop(&self) -> Result<(), SupervisorError> {
        block_on(self.stop_async())
    }

    /// As [`stop`](Self::stop), without blocking the thread.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    ///
    /// # Cancel safety
    /// Dropping the future does not take the stop back.
    pub async fn stop_async(&self) -> Result<(), SupervisorError> {
        self.tree.ask_to_stop();
        outcome(self.tree.ended().await)
    }

    /// Waits until it has ended by itself: it gave up, or its significant children ended.
    ///
    /// # Errors
    /// [`SupervisorError::GaveUp`].
    pub fn join(&self) -> Result<(), SupervisorError> {
        outcome(block_on(self.tree.ended()))
    }

    /// As [`join`](Self::join), without blocking the thread.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait.
    pub async fn join_async(&self) -> Result<(), SupervisorError> {
        outcome(self.tree.ended().await)
    }

    /// Waits until it has ended, and lets Ctrl-C (SIGINT) and SIGTERM stop it in good
    /// order; a second Ctrl-C kills what is left. The processes of the tree ignore
    /// Ctrl-C: what it means is decided here. From the first call on this process
    /// handles both signals.
    ///
    /// # Errors
    /// [`SupervisorError::GaveUp`]; the system refused the signal handlers.
    pub fn serve(&self) -> Result<(), SupervisorError> {
        block_on(self.serve_async())
    }

    /// As [`serve`](Self::serve), without blocking the thread.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait; the signals stay handled, to no effect.
    pub async fn serve_async(&self) -> Result<(), SupervisorError> {
        outcome(self.tree.clone().serve().await.map_err(TreeError::Io)?)
    }

    /// How it has ended; `None` while it runs.
    pub fn exit(&self) -> Option<SupervisorExit> {
        self.tree.exit()
    }

    /// Why it has ended, as its own supervisor would see it; `None` while it runs.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.tree.exit().map(|exit| exit.reason())
    }

    /// The ractor actor that it is: its children there are the proxies of its processes
    /// and its nested supervisors, and whoever supervises it gets its end as an event.
    /// `None` when it has ended.
    pub fn ractor_cell(&self) -> Option<ractor::ActorCell> {
        self.tree.cell()
    }
}

fn outcome(exit: SupervisorExit) -> Result<(), SupervisorError> {
    match exit {
        exit @ SupervisorExit::GaveUp { .. } => Err(SupervisorError::GaveUp(exit)),
        _ => Ok(()),
    }
}
