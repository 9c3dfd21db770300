//! One life of a supervisor, as a ractor actor on the hidden thread.
//!
//! Owns the carrying out of the policy's actions: asking, killing, timers, replies. Ends of
//! children come as ractor's supervision events, which their proxies send when the reaper has
//! the status. Everything else comes by its mailbox, so that requests are served between two
//! steps. It must never block: it runs on the hidden thread. Neighbour: `living` starts the
//! children and looks after them.

use super::living::{Living, What};
use super::{ChildPlan, Start, SupervisorPlan, Tree};
use crate::codec::Encoded;
use crate::launcher::{StartError, Unclaimed};
use crate::sync::lock;
use procession_protocols::supervision::event::{
    Action, ChildCounts, ChildInfo, Event, Incarnation, Report, Request, RequestError, RequestId,
    Response, SupervisorExit, TimerToken,
};
use procession_protocols::supervision::policy::Supervisor as Policy;
use procession_protocols::supervision::spec::{ChildSpec, Strategy};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// What a supervisor's mailbox takes.
pub(crate) enum Message {
    /// Carry on: the first turn of a life.
    Begin,
    /// A request of a user's.
    Ask(Box<Ask>),
    /// Which children?
    Which(oneshot::Sender<Vec<(ChildInfo, Option<u32>)>>),
    /// How many?
    Count(oneshot::Sender<ChildCounts>),
    /// A child's spec?
    Spec(String, oneshot::Sender<Option<ChildSpec>>),
    /// End in good order.
    Stop,
    /// End now: kill every child.
    Kill,
    /// A process is ready, or will not be.
    Launched(Incarnation, Result<Unclaimed, StartError>),
    /// A nested supervisor's children are up, or will not be.
    Nested(Incarnation, bool),
    /// A timer of the policy has come.
    Timer(TimerToken),
    /// A child's watchdog wants to look.
    Watch(Incarnation),
}

/// A request, and what it brings along.
pub(crate) struct Ask {
    pub(super) request: Request,
    pub(super) plan: Option<Arc<ChildPlan>>,
    pub(super) args: Option<Encoded>,
    pub(super) reply: oneshot::Sender<Result<Response, RequestError>>,
}

/// What a life is begun with.
pub(crate) struct Life {
    pub(super) tree: Arc<Tree>,
    pub(super) plan: Arc<SupervisorPlan>,
    pub(super) policy: Policy,
    pub(super) started: oneshot::Sender<()>,
}

/// The ractor actor.
pub(crate) struct SupervisorActor;

/// A supervisor's state.
pub(crate) struct State {
    pub(super) tree: Arc<Tree>,
    /// This life's ractor actor.
    pub(super) own: ActorId,
    policy: Policy,
    began: Instant,
    started: Option<oneshot::Sender<()>>,
    pub(super) plans: HashMap<String, Arc<ChildPlan>>,
    /// Arguments of dynamic children, which replace the template's.
    pub(super) args: HashMap<Incarnation, Arc<Encoded>>,
    /// The supervisors that are dynamic children: each stays itself over its restarts.
    pub(super) trees: HashMap<Incarnation, Arc<Tree>>,
    pub(super) is_dynamic: bool,
    pub(super) lives: HashMap<Incarnation, Living>,
    pub(super) by_cell: HashMap<ActorId, Incarnation>,
    timers: HashMap<TimerToken, AbortHandle>,
    pub(super) asked: HashMap<RequestId, Ask>,
    next_request: u64,
    exit: Option<SupervisorExit>,
    /// Whether it has ended as the policy says.
    pub(super) has_left: bool,
}

impl Actor for SupervisorActor {
    type Msg = Message;
    type State = State;
    type Arguments = Life;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        life: Life,
    ) -> Result<State, ActorProcessingErr> {
        myself.send_message(Message::Begin)?;
        let plans = life.plan.children.iter();
        let plans = plans.map(|child| (child.spec.id.clone(), child.clone())).collect();
        for child in &life.plan.children {
            life.tree.prepare(child);
        }
        life.tree.set_begun(myself.clone());
        Ok(State {
            tree: life.tree,
            own: myself.get_id(),
            policy: life.policy,
            began: Instant::now(),
            started: Some(life.started),
            plans,
            args: HashMap::new(),
            trees: HashMap::new(),
            is_dynamic: matches!(life.plan.strategy, Strategy::Dynamic { .. }),
            lives: HashMap::new(),
            by_cell: HashMap::new(),
            timers: HashMap::new(),
            asked: HashMap::new(),
            next_request: 0,
            exit: None,
            has_left: false,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Begin => state.feed(&myself, Event::Start).await,
            Message::Ask(ask) => state.asked(&myself, *ask).await,
            Message::Stop => {
                let id = state.next_request();
                state.feed(&myself, Event::Stop(id)).await;
            }
            Message::Kill => {
                let id = state.next_request();
                state.feed(&myself, Event::Stop(id)).await;
                state.lives.values_mut().for_each(Living::kill);
            }
            Message::Which(reply) => drop(reply.send(state.which())),
            Message::Count(reply) => drop(reply.send(state.policy.count_children())),
            Message::Spec(id, reply) => drop(reply.send(state.policy.childspec(&id).cloned())),
            Message::Launched(incarnation, outcome) => {
                state.launched(&myself, incarnation, outcome).await;
            }
            Message::Nested(incarnation, ready) => state.nested(&myself, incarnation, ready).await,
            Message::Timer(token) => {
                state.timers.remove(&token);
                state.feed(&myself, Event::Timer(token)).await;
            }
            Message::Watch(incarnation) => state.look_at(&myself, incarnation),
        }
        state.leave_if_ended(&myself)
    }

    async fn post_stop(
        &self,
        _: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.break_off();
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let cell = match &event {
            SupervisionEvent::ActorTerminated(cell, ..)
            | SupervisionEvent::ActorFailed(cell, _) => cell.get_id(),
            _ => return Ok(()),
        };
        if let Some(incarnation) = state.by_cell.remove(&cell) {
            state.ended(&myself, incarnation).await;
        }
        state.leave_if_ended(&myself)
    }
}

impl State {
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn next_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// Gives the policy an event, and does what it says.
    pub(super) async fn feed(&mut self, myself: &ActorRef<Message>, event: Event) {
        let now = self.now_ms();
        for action in self.policy.handle(now, event) {
            self.act(myself, action).await;
        }
    }

    async fn asked(&mut self, myself: &ActorRef<Message>, ask: Ask) {
        let id = self.next_request();
        let request = ask.request.clone();
        self.asked.insert(id, ask);
        self.feed(myself, Event::Request(id, request)).await;
    }

    async fn act(&mut self, myself: &ActorRef<Message>, action: Action) {
        match action {
            Action::StartChild { id, incarnation, replaces, request, .. } => {
                self.start(myself, &id, incarnation, replaces, request).await;
            }
            Action::StopChild(incarnation) => {
                if let Some(living) = self.lives.get_mut(&incarnation) {
                    living.ask_to_end();
                }
            }
            Action::KillChild(incarnation) => {
                if let Some(living) = self.lives.get_mut(&incarnation) {
                    living.kill();
                }
            }
            Action::SetTimer { token, at_ms } => {
                let wait = Duration::from_millis(at_ms.saturating_sub(self.now_ms()));
                let timer = send_after(myself, wait, Message::Timer(token));
                self.timers.insert(token, timer);
            }
            Action::CancelTimer(token) => {
                if let Some(timer) = self.timers.remove(&token) {
                    timer.abort();
                }
            }
            Action::Reply(id, answer) => {
                if let Some(ask) = self.asked.remove(&id) {
                    let _ = ask.reply.send(answer);
                }
            }
            Action::Report(report) => log(&report),
            Action::Forget { id, incarnation } => {
                if let Some(incarnation) = incarnation {
                    self.args.remove(&incarnation);
                    if let Some(tree) = self.trees.remove(&incarnation) {
                        tree.abandon();
                    }
                }
                // The template of a dynamic supervisor stays; so does a namesake's plan.
                if self.policy.childspec(&id).is_none() {
                    self.plans.remove(&id);
                    self.tree.forget(&id);
                }
            }
            Action::Started => {
                if let Some(started) = self.started.take() {
                    let _ = started.send(());
                }
            }
            Action::Exit(exit) => self.exit = Some(exit),
        }
    }

    fn which(&self) -> Vec<(ChildInfo, Option<u32>)> {
        let pid = |info: &ChildInfo| match &self.lives.get(&info.incarnation?)?.what {
            What::Process(child, _) => Some(child.pid()),
            _ => None,
        };
        let children = self.policy.which_children().into_iter();
        children.map(|info| (info.clone(), pid(&info))).collect()
    }

    fn leave_if_ended(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        let Some(exit) = self.exit.take() else { return Ok(()) };
        // What is still asked of it is answered by the dropping of this state.
        self.started = None;
        self.has_left = true;
        let is_root = myself.get_cell().try_get_supervisor().is_none_or(|supervisor| {
            // Only supervisors of this kind restart their children.
            supervisor.is_message_type_of::<Message>() != Some(true)
        });
        if is_root {
            self.tree.abandon();
        }
        tracing::info!(target: "procession", %exit, "supervisor ended");
        self.tree.set_ended(exit.clone());
        if exit.reason().is_clean() {
            myself.stop(Some(exit.to_string()));
            Ok(())
        } else {
            Err(exit.to_string().into())
        }
    }
}

impl Tree {
    /// Makes the places of a child that is to be started, so that references exist.
    pub(super) fn prepare(&self, child: &ChildPlan) {
        match &child.start {
            Start::Process(process) if process.actor.is_some() => drop(self.slot(&child.spec.id)),
            Start::Process(_) => {}
            Start::Supervisor(_) => drop(self.nested_tree(&child.spec.id)),
        }
    }

    fn forget(&self, id: &str) {
        if let Some(slot) = lock(&self.slots).remove(id) {
            slot.abandon();
        }
        if let Some(tree) = lock(&self.nested).remove(id) {
            tree.abandon();
        }
    }
}

impl SupervisorPlan {
    /// The same plan for one more life.
    pub(super) fn share(&self) -> Self {
        Self {
            strategy: self.strategy,
            intensity: self.intensity,
            auto_shutdown: self.auto_shutdown,
            children: self.children.clone(),
        }
    }
}

pub(super) fn send_after(
    myself: &ActorRef<Message>,
    wait: Duration,
    message: Message,
) -> AbortHandle {
    let myself = myself.clone();
    let timer = tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        let _ = myself.send_message(message);
    });
    timer.abort_handle()
}

fn log(report: &Report) {
    match report {
        Report::ChildReady(id, _) => {
            tracing::debug!(target: "procession", id, "child ready");
        }
        Report::ChildDied(id, _, reason) => {
            tracing::info!(target: "procession", id, %reason, "child died");
        }
        Report::StartFailed(id, _, reason) => {
            tracing::warn!(target: "procession", id, %reason, "child did not start");
        }
        Report::Restarting(id) => tracing::info!(target: "procession", id, "restarting"),
        Report::BackingOff { id, delay_ms } => {
            tracing::info!(target: "procession", id, delay_ms, "restart delayed");
        }
        Report::ShutdownError(id, _, reason) => {
            tracing::warn!(target: "procession", id, %reason, "shutdown_error");
        }
        Report::StillStopping { id, waited_ms, .. } => {
            tracing::warn!(target: "procession", id, waited_ms, "still waiting for a child to stop");
        }
        Report::ReachedMaxRestartIntensity(intensity) => {
            tracing::error!(target: "procession", ?intensity, "reached_max_restart_intensity");
        }
        Report::AutoShutdown(id) => {
            tracing::info!(target: "procession", id, "a significant child ended: shutting down");
        }
    }
}
