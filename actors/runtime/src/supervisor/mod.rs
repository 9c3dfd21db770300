//! Supervisors: the policy of `procession_protocols::supervision`, carried out.
//!
//! Owns what the policy never sees: how a child is started, its process, its timers,
//! who waits for an answer. A supervisor is a ractor actor of the hidden thread
//! (`actor`); its children (`living`) are linked to it there as process proxies or
//! supervisors. `slot` keeps the references that survive restarts, `process` runs a supervisor in a
//! process of its own. It decides nothing about restarts, and runs no user code.

mod actor;
mod interrupt;
mod living;
pub mod process;
pub mod slot;

use crate::actor::MailboxOptions;
use crate::actor::remote::Remote;
use crate::codec::{self, EncodeError, Encoded};
use crate::function::FunctionRef;
use crate::launcher::{EnvChanges, LaunchSpec, ParentDeath, StartError, StartMethod, Stdio};
use crate::node::{self, hidden};
use crate::sync::lock;
use crate::wait;
use actor::{Ask, Message, SupervisorActor};
use procession_protocols::supervision::event::{
    ChildCounts, ChildInfo, ChildRef, Incarnation, Request, RequestError, Response, SupervisorExit,
};
use procession_protocols::supervision::intensity::Intensity;
use procession_protocols::supervision::spec::{
    AutoShutdown, ChildSpec, SpecError, Strategy, SupervisorSpec,
};
use ractor::{Actor as _, ActorCell, ActorRef};
use serde::Serialize;
use slot::{Logical, Slot};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::{oneshot, watch};

/// How a child is started, each time.
#[derive(Debug)]
pub enum Start {
    /// As a process.
    Process(Box<ProcessPlan>),
    /// As a supervisor in this process.
    Supervisor(Box<SupervisorPlan>),
}

/// How a supervised process is started.
#[derive(Debug)]
pub struct ProcessPlan {
    /// What it runs.
    pub entry: FunctionRef,
    /// Its encoded arguments; descriptors in them are duplicated for each start.
    pub args: Encoded,
    /// Whether it is an actor (or a supervisor), which ends by a message; with its
    /// mailbox when it takes calls.
    pub actor: Option<MailboxOptions>,
    /// Whether it is a supervisor.
    pub is_supervisor: bool,
    /// Whether a watchdog looks at it, so that its hidden thread must answer pings.
    pub watched: bool,
    /// How it is started.
    pub method: Option<StartMethod>,
    /// Standard output and error are relayed.
    pub relay: bool,
    /// Its environment.
    pub env: EnvChanges,
    /// Its working directory.
    pub current_dir: Option<PathBuf>,
    /// Its resource limits.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// What becomes of it when this process dies.
    pub on_parent_death: ParentDeath,
}

/// A child of a supervisor: what the policy knows of it, and how it is started.
#[derive(Debug)]
pub struct ChildPlan {
    /// What the policy knows.
    pub spec: ChildSpec,
    /// How it is started.
    pub start: Start,
}

/// A supervisor before its start.
#[derive(Debug)]
pub struct SupervisorPlan {
    /// Which children a death concerns.
    pub strategy: Strategy,
    /// The restart budget.
    pub intensity: Intensity,
    /// Whether significant children end it.
    pub auto_shutdown: AutoShutdown,
    /// Its children, in start order.
    pub children: Vec<Arc<ChildPlan>>,
}

/// Why a supervisor did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Its specs are invalid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A child did not start, or it gave up while starting; nothing is left running.
    #[error("the supervisor did not start: {0}")]
    Failed(SupervisorExit),
    /// The system refused what a supervisor needs.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl SupervisorPlan {
    /// What the policy knows of it.
    pub fn spec(&self) -> SupervisorSpec {
        SupervisorSpec {
            strategy: self.strategy,
            intensity: self.intensity,
            auto_shutdown: self.auto_shutdown,
            children: self.children.iter().map(|child| child.spec.clone()).collect(),
        }
    }
}

/// A running supervisor, as its users and its parent see it. It stays the same over the
/// restarts of a nested supervisor.
pub struct Tree {
    /// The process whose it is: nothing of it runs in a copy of that one, which a fork made.
    pid: u32,
    /// The ractor actor of this life; `None` between two.
    cell: Mutex<Option<ActorRef<Message>>>,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    nested: Mutex<HashMap<String, Arc<Tree>>>,
    lives: watch::Sender<Lives>,
}

/// The lives of a supervisor, numbered from 1. Its own supervisor may begin the next one before
/// those that wait for the end of the last one have looked, so they wait for a number.
#[derive(Default)]
struct Lives {
    begun: u64,
    ended: u64,
    /// How the last one that has ended did.
    exit: Option<SupervisorExit>,
}

/// A running supervisor that no other supervises. Dropped, it is asked to stop.
#[derive(Debug)]
pub struct Root(Arc<Tree>);

impl Root {
    /// The supervisor.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.0
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.0.ask_to_stop();
    }
}

/// The roots of this process's supervision trees, which are stopped when it ends, each with the
/// process whose it is: a copy that the user made by a fork of his own has none of them.
static ROOTS: Mutex<Vec<(u32, Weak<Tree>)>> = Mutex::new(Vec::new());

/// Keeps the lists of this module still across a fork.
pub(crate) fn hold_for_fork() -> impl Sized {
    (lock(&ROOTS), slot::hold_for_fork())
}

/// Forgets, in a forked child, the trees of its parent.
pub(crate) fn forget_inherited() {
    std::mem::forget(std::mem::take(&mut *lock(&ROOTS)));
    slot::forget_inherited();
}

impl Tree {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            pid: std::process::id(),
            cell: Mutex::new(None),
            slots: Mutex::default(),
            nested: Mutex::default(),
            lives: watch::Sender::default(),
        })
    }

    /// Starts a supervisor under this node's root, and waits until its children are up.
    ///
    /// # Errors
    /// [`TreeError`]; nothing is left running.
    pub fn start(plan: SupervisorPlan) -> Result<Root, TreeError> {
        wait::block_on(hidden::run(Self::start_here(plan))?)
    }

    /// As [`start`](Self::start), without blocking the thread.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// Dropping the future stops what has been started.
    pub async fn start_async(plan: SupervisorPlan) -> Result<Root, TreeError> {
        hidden::run(Self::start_here(plan))?.await
    }

    async fn start_here(plan: SupervisorPlan) -> Result<Root, TreeError> {
        node::leave::prepare();
        let tree = Self::new();
        let supervisor = node::tree::root().await.map_err(io::Error::other)?;
        let started = tree.clone().launch(Arc::new(plan), supervisor).await?;
        // From here on whoever waits may go, with the future or with what it has given.
        let root = Root(tree.clone());
        {
            let me = std::process::id();
            let roots = &mut *lock(&ROOTS);
            roots.retain(|(pid, root)| *pid == me && root.strong_count() > 0);
            roots.push((me, Arc::downgrade(&tree)));
        }
        if started.await.is_err() {
            return Err(TreeError::Failed(tree.ended().await));
        }
        Ok(root)
    }

    /// Begins a life under a ractor supervisor. What it gives completes when the
    /// children are up, and fails when they will not be. Runs on the hidden thread.
    async fn launch(
        self: Arc<Self>,
        plan: Arc<SupervisorPlan>,
        supervisor: ActorCell,
    ) -> Result<oneshot::Receiver<()>, TreeError> {
        let (started, receiver) = oneshot::channel();
        let policy = procession_protocols::supervision::policy::Supervisor::new(
            plan.spec(),
            uuid::Uuid::new_v4().as_u64_pair().0,
        )?;
        let args = actor::Life { tree: self.clone(), plan, policy, started };
        SupervisorActor::spawn_linked(None, SupervisorActor, args, supervisor)
            .await
            .map_err(io::Error::other)?;
        Ok(receiver)
    }

    /// A life has begun: from here on it can be asked to stop.
    fn set_begun(&self, own: ActorRef<Message>) {
        let mut cell = lock(&self.cell);
        *cell = Some(own);
        self.lives.send_modify(|lives| lives.begun += 1);
    }

    /// The slot of a child, made when first asked for.
    fn slot(&self, id: &str) -> Arc<Slot> {
        lock(&self.slots).entry(id.to_owned()).or_insert_with(|| Slot::new(id)).clone()
    }

    fn nested_tree(&self, id: &str) -> Arc<Tree> {
        lock(&self.nested).entry(id.to_owned()).or_insert_with(Tree::new).clone()
    }

    /// The supervisor of one more child of a dynamic supervisor: the one that is there as long
    /// as it has not begun. By the template's id goes the youngest.
    fn next_nested_tree(&self, id: &str) -> Arc<Tree> {
        let nested = &mut *lock(&self.nested);
        let youngest = nested.entry(id.to_owned()).or_insert_with(Tree::new);
        if youngest.lives.borrow().begun > 0 {
            *youngest = Tree::new();
        }
        youngest.clone()
    }

    /// The reference by id to an actor among the children.
    pub fn actor(&self, id: &str, options: MailboxOptions) -> Option<Arc<dyn Remote>> {
        let slot = lock(&self.slots).get(id)?.clone();
        Some(Arc::new(Logical { slot, options }))
    }

    /// A supervisor among the children, in this process.
    pub fn supervisor(&self, id: &str) -> Option<Arc<Tree>> {
        lock(&self.nested).get(id).cloned()
    }

    /// The ractor actor of the present life.
    pub fn cell(&self) -> Option<ActorCell> {
        lock(&self.cell).as_ref().map(ActorRef::get_cell)
    }

    /// Adds a child and starts it.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn start_child(&self, plan: ChildPlan) -> Result<Option<Incarnation>, RequestError> {
        let request = Request::StartChild(Box::new(plan.spec.clone()));
        started(self.ask(request, Some(plan), None).await)
    }

    /// Starts one more child from the template of a dynamic supervisor, with these
    /// arguments in place of the template's.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn start_dynamic(
        &self,
        args: Option<Encoded>,
    ) -> Result<Option<Incarnation>, RequestError> {
        started(self.ask(Request::StartDynamic, None, args).await)
    }

    /// Encodes arguments for `start_dynamic` as the template's child expects them.
    ///
    /// # Errors
    /// What their `Serialize` says.
    pub fn encode_dynamic<T: Serialize>(&self, args: &T) -> Result<Encoded, EncodeError> {
        codec::encode_with(|encoder| {
            if !lock(&self.slots).is_empty() {
                // An actor's arguments say first that it is supervised.
                encoder.value(&true)?;
            }
            encoder.value(args)
        })
    }

    /// Stops a child; its spec stays.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn terminate_child(&self, child: ChildRef) -> Result<(), RequestError> {
        self.ask(Request::TerminateChild(child), None, None).await.map(drop)
    }

    /// Starts a child that is down.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn restart_child(&self, id: &str) -> Result<Option<Incarnation>, RequestError> {
        started(self.ask(Request::RestartChild(id.to_owned()), None, None).await)
    }

    /// Drops the spec of a child that is down.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn delete_child(&self, id: &str) -> Result<(), RequestError> {
        self.ask(Request::DeleteChild(id.to_owned()), None, None).await.map(drop)
    }

    async fn ask(
        &self,
        request: Request,
        plan: Option<ChildPlan>,
        args: Option<Encoded>,
    ) -> Result<Response, RequestError> {
        let (reply, answer) = oneshot::channel();
        let plan = plan.map(Arc::new);
        self.tell(Message::Ask(Box::new(Ask { request, plan, args, reply })));
        // A supervisor that has ended drops the question.
        answer.await.unwrap_or(Err(RequestError::ShuttingDown))
    }

    /// Every child: id, state, incarnation, kind, and its process id when it has one.
    pub async fn which_children(&self) -> Vec<(ChildInfo, Option<u32>)> {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Which(reply));
        answer.await.unwrap_or_default()
    }

    /// How many children there are, by kind.
    pub async fn count_children(&self) -> ChildCounts {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Count(reply));
        answer.await.unwrap_or_default()
    }

    /// A child's spec.
    pub async fn childspec(&self, id: &str) -> Option<ChildSpec> {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Spec(id.to_owned(), reply));
        answer.await.ok().flatten()
    }

    /// Asks it to stop: its children in reverse order. Does not wait.
    pub fn ask_to_stop(&self) {
        self.tell(Message::Stop);
    }

    /// Kills all its children at once. Does not wait.
    pub fn kill(&self) {
        self.tell(Message::Kill);
    }

    /// Whether it is this process's own.
    ///
    /// # Errors
    /// It is that of the process that this one is a copy of.
    pub fn own(&self) -> Result<(), TreeError> {
        if self.pid == std::process::id() {
            return Ok(());
        }
        let why = "the supervisor is that of the process that this one is a copy of";
        Err(io::Error::new(io::ErrorKind::Unsupported, why).into())
    }

    /// Asks it to stop, and waits for the end of the life that was asked.
    ///
    /// # Errors
    /// As [`own`](Self::own).
    pub async fn stop(&self) -> Result<SupervisorExit, TreeError> {
        self.own()?;
        let life = {
            let cell = lock(&self.cell);
            if let Some(cell) = &*cell {
                let _ = cell.send_message(Message::Stop);
            }
            self.lives.borrow().begun
        };
        Ok(self.end_of(life).await)
    }

    /// Waits until it has ended; one that has another life before it, until that one has. What is
    /// not this process's own is not waited for.
    pub async fn ended(&self) -> SupervisorExit {
        let life = self.lives.borrow().begun.max(1);
        self.end_of(life).await
    }

    async fn end_of(&self, life: u64) -> SupervisorExit {
        if self.own().is_err() {
            return self.exit().unwrap_or(SupervisorExit::Shutdown);
        }
        let mut lives = self.lives.subscribe();
        let exit = match lives.wait_for(|lives| lives.ended >= life).await {
            Ok(lives) => lives.exit.clone(),
            Err(_) => None,
        };
        exit.unwrap_or(SupervisorExit::Shutdown)
    }

    /// How it has ended, if it has.
    pub fn exit(&self) -> Option<SupervisorExit> {
        let lives = self.lives.borrow();
        if lives.ended == lives.begun { lives.exit.clone() } else { None }
    }

    fn tell(&self, message: Message) {
        if self.own().is_err() {
            return;
        }
        if let Some(cell) = &*lock(&self.cell) {
            // One that has ended drops the message, and what waits for an answer fails.
            let _ = cell.send_message(message);
        }
    }

    fn set_ended(&self, exit: SupervisorExit) {
        let mut cell = lock(&self.cell);
        *cell = None;
        self.lives.send_modify(|lives| {
            lives.ended = lives.begun;
            lives.exit = Some(exit);
        });
    }

    fn abandon(&self) {
        for slot in lock(&self.slots).values() {
            slot.abandon();
        }
        for tree in lock(&self.nested).values() {
            tree.abandon();
        }
    }
}

fn started(response: Result<Response, RequestError>) -> Result<Option<Incarnation>, RequestError> {
    match response? {
        Response::Started(incarnation) => Ok(incarnation),
        Response::Done => Ok(None),
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exit() {
            Some(exit) => write!(f, "Supervisor({exit})"),
            None => write!(f, "Supervisor(running)"),
        }
    }
}

/// Stops every supervision tree of this process, and waits for their ends.
pub(crate) fn stop_all() {
    let me = std::process::id();
    let of_this = |(pid, tree): &(u32, Weak<Tree>)| if *pid == me { tree.upgrade() } else { None };
    let roots: Vec<_> = lock(&ROOTS).iter().filter_map(of_this).collect();
    for tree in &roots {
        tree.ask_to_stop();
    }
    for tree in &roots {
        wait::block_on(tree.ended());
    }
}

impl ProcessPlan {
    /// The request for its next start.
    fn launch_spec(
        &self,
        spec: &ChildSpec,
        args: Option<&Encoded>,
    ) -> Result<LaunchSpec, StartError> {
        let node = node::current();
        let template = args.unwrap_or(&self.args);
        let fds = template.fds.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
        let args = Encoded { bytes: template.bytes.clone(), fds };
        let mut launch =
            LaunchSpec::plain(spec.id.clone(), node.next_child(), self.entry.clone(), args);
        launch.method = match self.method.unwrap_or(launch.method) {
            // The hidden thread starts it, beside the user's, so that there can be no copy.
            StartMethod::Fork => StartMethod::Spawn,
            method => method,
        };
        launch.start_timeout = spec.start_timeout;
        // Its supervisor counts from now on.
        launch.awaits_preload = false;
        launch.ends_by_message = self.actor.is_some() || self.is_supervisor;
        // Ctrl-C is for the supervisor to decide.
        launch.ignore_sigint = true;
        launch.attend = self.watched;
        launch.allow_nested = self.is_supervisor;
        if self.relay {
            launch.stdio[1] = Stdio::Relay;
            launch.stdio[2] = Stdio::Relay;
        }
        launch.env = self.env.clone();
        launch.current_dir.clone_from(&self.current_dir);
        launch.rlimits.clone_from(&self.rlimits);
        launch.on_parent_death = self.on_parent_death;
        Ok(launch)
    }
}
