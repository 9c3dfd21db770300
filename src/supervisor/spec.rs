//! One child of a supervisor, before its start.
//!
//! Owns the builder, and the plan that the runtime gets from it.

use super::{Restart, Shutdown, Supervisor, SupervisorError};
use crate::error::EncodeError;
use procession_protocols::supervision::backoff::Backoff;
use procession_protocols::supervision::spec;
use procession_protocols::supervision::watchdog::WatchdogSettings;
use procession_runtime::actor::{self, Actor, IntoActor, Wire, process as actor_process};
use procession_runtime::codec;
use procession_runtime::function::{self, Entry};
use procession_runtime::launcher::{EnvChanges, ParentDeath, StartError, StartMethod};
use procession_runtime::supervisor::{
    ChildPlan, ProcessPlan, Start, process as supervisor_process,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// One child of a supervisor: what it runs, and how it is restarted and stopped.
///
/// By default it is permanent, gets 5 s to stop and 10 s to start; a supervisor gets all
/// the time that it needs to stop.
#[derive(Debug)]
#[must_use = "a child spec does nothing until its supervisor is started"]
pub struct ChildSpec {
    pub(super) spec: spec::ChildSpec,
    start: Result<Kind, Problem>,
    method: Option<StartMethod>,
    relay: bool,
    env: EnvChanges,
    current_dir: Option<PathBuf>,
    rlimits: Vec<(u32, u64, u64)>,
    on_parent_death: ParentDeath,
}

#[derive(Debug)]
enum Kind {
    Process(Box<ProcessPlan>),
    Supervisor(Box<Supervisor>),
}

#[derive(Debug)]
enum Problem {
    Encode(EncodeError),
    Start(StartError),
}

impl ChildSpec {
    /// An actor in a process of its own, made by a function there, at each start.
    #[expect(clippy::needless_pass_by_value, reason = "arguments are given away to the child")]
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
    #[expect(clippy::needless_pass_by_value, reason = "arguments are given away to the child")]
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
            on_parent_death: ParentDeath::Kill,
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

    /// How its process is started; by default by [`start_method`](crate::start_method). Instead
    /// of *fork* it is *spawn*: a supervisor starts its children beside this program's threads.
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

    /// Limits a resource, soft and hard; which, by the system's number for it, as
    /// `nix::sys::resource::Resource::RLIMIT_AS as u32` has it with every C library.
    pub fn rlimit(mut self, resource: u32, soft: u64, hard: u64) -> Self {
        self.rlimits.push((resource, soft, hard));
        self
    }

    /// What becomes of it when this process dies; by default it is killed at once. With a
    /// grace an actor ends as by a stop, its `on_stop` included.
    pub fn on_parent_death(mut self, fate: ParentDeath) -> Self {
        self.on_parent_death = fate;
        self
    }

    pub(super) fn plan(mut self) -> Result<ChildPlan, SupervisorError> {
        let start = match self.start {
            Ok(Kind::Supervisor(supervisor)) => Start::Supervisor(Box::new(supervisor.plan()?)),
            Ok(Kind::Process(mut plan)) => {
                plan.method = self.method;
                plan.relay = self.relay;
                plan.env = self.env;
                plan.current_dir = self.current_dir;
                plan.rlimits = self.rlimits;
                plan.on_parent_death = self.on_parent_death;
                plan.watched = self.spec.watchdog.is_some();
                Start::Process(plan)
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
) -> Box<ProcessPlan> {
    Box::new(ProcessPlan {
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
        on_parent_death: ParentDeath::Kill,
    })
}
