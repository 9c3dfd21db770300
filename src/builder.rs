//! Options for a process before its start.
//!
//! Owns the plan that a handle keeps until then. It starts nothing.

use crate::error::{EncodeError, Error, Result};
use crate::process::Process;
use procession_protocols::id::NodeId;
use procession_runtime::codec::{self, Encoded};
use procession_runtime::function::{self, Entry, FunctionRef, NotInImage};
use procession_runtime::launcher::spec::START_TIMEOUT;
use procession_runtime::launcher::{
    self, EnvChanges, LaunchSpec, ParentDeath, Request, Returns, StartError, StartMethod, Stdio,
    Unused, Work,
};
use procession_runtime::node;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::marker::PhantomData;
use std::mem::take;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a process is to be; see [`Process::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until build or start"]
pub struct ProcessBuilder<R = ()> {
    plan: std::result::Result<Plan, PlanError>,
    returns: PhantomData<fn() -> R>,
}

#[derive(Debug)]
pub(crate) enum PlanError {
    Encode(EncodeError),
    NotInImage,
}

/// A process that has not been started: function, encoded arguments, options.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: Option<String>,
    pub(crate) daemon: bool,
    pub(crate) authkey: Vec<u8>,
    type_name: String,
    number: u32,
    method: Option<StartMethod>,
    entry: FunctionRef,
    args: Encoded,
    stdio: [Stdio; 3],
    env: EnvChanges,
    current_dir: Option<PathBuf>,
    rlimits: Vec<(u32, u64, u64)>,
    affinity: Option<Vec<usize>>,
    nice: i32,
    on_parent_death: ParentDeath,
    contain: bool,
    ignore_sigint: bool,
    allow_nested: bool,
    start_timeout: Option<Duration>,
    /// What a forked child runs in place of the entry.
    work: Option<Work>,
}

impl Plan {
    fn new(type_name: &str, entry: FunctionRef, args: Encoded) -> Self {
        let node = node::current();
        Self {
            name: None,
            daemon: node.daemon,
            authkey: node.authkey(),
            type_name: type_name.to_owned(),
            number: node.next_child(),
            method: None,
            entry,
            args,
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
            start_timeout: None,
            work: None,
        }
    }

    /// The name given, or Python's: the type's name and the place in the tree.
    pub(crate) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            format!("{}-{}", self.type_name, node::current().path.child(self.number))
        })
    }

    /// What the launcher needs. It leaves arguments, streams and closure in `returns` when no
    /// child comes to have them.
    pub(crate) fn request(&mut self, returns: &Arc<Returns>) -> Request {
        let method = match &self.work {
            // A closure with captures can only be copied.
            Some(_) => StartMethod::Fork,
            None => self.method.unwrap_or_else(launcher::default_method),
        };
        let spec = LaunchSpec {
            node: NodeId::new(),
            name: self.name(),
            method,
            entry: self.entry.clone(),
            args: take(&mut self.args),
            number: self.number,
            daemon: self.daemon,
            authkey: self.authkey.clone(),
            stdio: take(&mut self.stdio),
            env: self.env.clone(),
            current_dir: self.current_dir.clone(),
            rlimits: self.rlimits.clone(),
            affinity: self.affinity.clone(),
            nice: self.nice,
            on_parent_death: self.on_parent_death,
            contain: self.contain,
            ignore_sigint: self.ignore_sigint,
            allow_nested: self.allow_nested,
            start_timeout: self.start_timeout.unwrap_or(START_TIMEOUT),
            awaits_preload: self.start_timeout.is_none(),
            ends_by_message: false,
            attend: false,
        };
        Request::new(spec, self.work.take(), returns.clone())
    }

    /// Has back what [`request`](Self::request) gave away.
    pub(crate) fn take_back(&mut self, unused: Unused) {
        (self.args, self.stdio, self.work) = (unused.args, unused.stdio, unused.work);
    }
}

impl<R> ProcessBuilder<R> {
    #[expect(clippy::needless_pass_by_value, reason = "arguments are given away to the child")]
    pub(crate) fn new<F, A>(function: F, args: A) -> Self
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        Self::named("Process", function::entry::<F, A>(function), codec::encode(&args))
    }

    /// A copy of this process that runs a closure. Its entry only lends it a name.
    pub(crate) fn forked<F>(closure: F, is_unchecked: bool) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Serialize + 'static,
    {
        let entry = function::entry::<_, ()>(|| ());
        let builder = Self::named("Process", entry, Ok(Work::arguments()));
        builder.set(|plan| plan.work = Some(Work::new(closure, is_unchecked)))
    }

    pub(crate) fn named(
        type_name: &str,
        entry: std::result::Result<FunctionRef, NotInImage>,
        args: std::result::Result<Encoded, EncodeError>,
    ) -> Self {
        let plan = match (entry, args) {
            (Ok(entry), Ok(args)) => Ok(Plan::new(type_name, entry, args)),
            (_, Err(error)) => Err(PlanError::Encode(error)),
            (Err(NotInImage), _) => Err(PlanError::NotInImage),
        };
        Self { plan, returns: PhantomData }
    }

    fn set(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        if let Ok(plan) = &mut self.plan {
            change(plan);
        }
        self
    }

    /// Its name; by default `Process-` and its place in the tree.
    pub fn name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.set(|plan| plan.name = Some(name))
    }

    /// Whether it is ended, instead of joined, when this process ends, and may have no
    /// children. By default as this process.
    pub fn daemon(self, daemon: bool) -> Self {
        self.set(|plan| plan.daemon = daemon)
    }

    /// Its key for managers and listeners; by default this process's.
    pub fn authkey(self, authkey: impl Into<Vec<u8>>) -> Self {
        let authkey = authkey.into();
        self.set(|plan| plan.authkey = authkey)
    }

    /// How it is started (a closure of [`Process::fork_builder`] is always forked); by default by [`start_method`](crate::start_method).
    pub fn start_method(self, method: StartMethod) -> Self {
        self.set(|plan| plan.method = Some(method))
    }

    /// Its standard input; by default `/dev/null`, so that it cannot take ours.
    pub fn stdin(self, stdio: Stdio) -> Self {
        self.set(|plan| plan.stdio[0] = stdio)
    }

    /// Its standard output; by default ours.
    pub fn stdout(self, stdio: Stdio) -> Self {
        self.set(|plan| plan.stdio[1] = stdio)
    }

    /// Its standard error; by default ours.
    pub fn stderr(self, stdio: Stdio) -> Self {
        self.set(|plan| plan.stdio[2] = stdio)
    }

    /// Sets an environment variable for it.
    pub fn env(self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let change = (name.into(), Some(value.into()));
        self.set(|plan| plan.env.changes.push(change))
    }

    /// Removes an environment variable for it.
    pub fn env_remove(self, name: impl Into<OsString>) -> Self {
        let change = (name.into(), None);
        self.set(|plan| plan.env.changes.push(change))
    }

    /// Gives it only the variables that are set here.
    pub fn env_clear(self) -> Self {
        self.set(|plan| plan.env = EnvChanges { clear: true, changes: Vec::new() })
    }

    /// Its working directory; by default ours at its start.
    pub fn current_dir(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.set(|plan| plan.current_dir = Some(path))
    }

    /// Limits a resource, soft and hard; which, by the system's number for it, as
    /// `nix::sys::resource::Resource::RLIMIT_AS as u32` has it with every C library.
    pub fn rlimit(self, resource: u32, soft: u64, hard: u64) -> Self {
        self.set(|plan| plan.rlimits.push((resource, soft, hard)))
    }

    /// The processors that it may run on, counted from 0.
    pub fn affinity(self, processors: impl IntoIterator<Item = usize>) -> Self {
        let processors = processors.into_iter().collect();
        self.set(|plan| plan.affinity = Some(processors))
    }

    /// Adds to its niceness.
    pub fn nice(self, by: i32) -> Self {
        self.set(|plan| plan.nice = by)
    }

    /// Lets it live on when this process ends, by itself and unwaited for.
    pub fn detached(self) -> Self {
        self.on_parent_death(ParentDeath::Detached)
    }

    /// What becomes of it when this process dies; by default it is killed at once, unless it
    /// has changed its user by then (see docs/coexistence.md).
    pub fn on_parent_death(self, fate: ParentDeath) -> Self {
        self.set(|plan| plan.on_parent_death = fate)
    }

    /// Makes it adopt the orphans below it, so that [`kill_tree`] reaches processes that
    /// forked twice.
    ///
    /// [`kill_tree`]: crate::ProcessRef::kill_tree
    pub fn contain(self) -> Self {
        self.set(|plan| plan.contain = true)
    }

    /// Makes it ignore Ctrl-C (SIGINT): this process decides.
    pub fn ignore_interrupt(self) -> Self {
        self.set(|plan| plan.ignore_sigint = true)
    }

    /// Lets it have children although it is a daemon.
    pub fn allow_nested(self) -> Self {
        self.set(|plan| plan.allow_nested = true)
    }

    /// The time that its start may take until it is ready. Where no fork server has come up in
    /// half of it, as one with a long preload, it is started by spawn.
    ///
    /// By default it is 10 s, and begins when the preload function is done: that is waited for
    /// (see [`set_forkserver_preload`](crate::set_forkserver_preload)).
    pub fn start_timeout(self, timeout: Duration) -> Self {
        self.set(|plan| plan.start_timeout = Some(timeout))
    }

    /// Makes the process, not started.
    ///
    /// # Errors
    /// As [`Process::new`].
    pub fn build(self) -> Result<Process<R>> {
        match self.plan {
            Ok(plan) => Ok(Process::from_plan(plan)),
            Err(PlanError::Encode(error)) => Err(error.into()),
            Err(PlanError::NotInImage) => Err(Error::Start(StartError::NoSuchFunction)),
        }
    }

    /// Makes the process and starts it.
    ///
    /// # Errors
    /// As [`Process::spawn`].
    pub fn start(self) -> Result<Process<R>> {
        let process = self.build()?;
        process.start()?;
        Ok(process)
    }

    /// As [`start`](Self::start), without blocking the thread.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// Dropping the future leaves no process.
    pub async fn start_async(self) -> Result<Process<R>> {
        let process = self.build()?;
        process.start_async().await?;
        Ok(process)
    }
}
