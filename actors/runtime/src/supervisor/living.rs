//! A supervisor's children, from the start of each to its end.
//!
//! Owns the starts, which wait for nobody, what a child that is ready gets (its proxy, its
//! slot, its watchdog), and what is left of it when it has ended. It must never decide what
//! follows: each of these is an event for the policy. Neighbour: `actor` has the mailbox, and
//! carries out what the policy answers.

use super::actor::{Message, State, send_after};
use super::slot::Slot;
use super::{ChildPlan, Start, Tree};
use crate::child::Child;
use crate::launcher::hello::StartFault;
use crate::launcher::{self, StartError, Unclaimed};
use crate::node;
use crate::peer::Peer;
use crate::sync::lock;
use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::event::{Event, Incarnation, RequestId, SupervisorExit};
use procession_protocols::supervision::watchdog::{Verdict, Watchdog};
use ractor::ActorRef;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// A child that is alive, or on its way.
pub(super) struct Living {
    pub(super) slot: Option<Arc<Slot>>,
    /// What is in its slot when nobody else is: an actor that is ready.
    pub(super) peer: Option<Arc<Peer>>,
    pub(super) what: What,
}

pub(super) enum What {
    /// Its start is under way.
    Launching(Launch),
    /// With its watchdog, and the progress that was last seen.
    Process(Arc<Child>, Option<(Watchdog, AbortHandle, Option<u64>)>),
    Nested(Arc<Tree>),
}

/// A start that is under way.
#[derive(Default)]
pub(super) struct Launch {
    cancel: Arc<Notify>,
    /// It may have become ready before it heard of that.
    is_cancelled: bool,
}

impl Launch {
    fn cancel(&mut self) {
        self.is_cancelled = true;
        self.cancel.notify_one();
    }
}

/// What a start comes to that is cancelled: its process is killed and reaped.
fn cancelled() -> StartError {
    StartError::Died { reason: ExitReason::Signal(9), stderr: String::new() }
}

impl State {
    pub(super) async fn start(
        &mut self,
        myself: &ActorRef<Message>,
        id: &str,
        incarnation: Incarnation,
        replaces: Option<Incarnation>,
        request: Option<RequestId>,
    ) {
        if let Some(ask) = request.and_then(|request| self.asked.get_mut(&request)) {
            if let Some(plan) = &ask.plan {
                self.tree.prepare(plan);
                self.plans.insert(id.to_owned(), plan.clone());
            }
            if let Some(args) = ask.args.take() {
                self.args.insert(incarnation, Arc::new(args));
            }
        }
        if let Some(args) = replaces.and_then(|before| self.args.remove(&before)) {
            self.args.insert(incarnation, args);
        }
        if let Some(tree) = replaces.and_then(|before| self.trees.remove(&before)) {
            self.trees.insert(incarnation, tree);
        }
        let Some(plan) = self.plans.get(id).cloned() else {
            let why = "there is no plan for it".to_owned();
            let _ = myself.send_message(Message::Launched(
                incarnation,
                Err(StartError::Refused(StartFault::Failed(why))),
            ));
            return;
        };
        match &plan.start {
            Start::Process(_) => self.launch(myself, &plan, incarnation),
            Start::Supervisor(_) => self.launch_nested(myself, &plan, incarnation).await,
        }
    }

    pub(super) fn launch(
        &mut self,
        myself: &ActorRef<Message>,
        plan: &Arc<ChildPlan>,
        life: Incarnation,
    ) {
        let Start::Process(process) = &plan.start else { return };
        let launch = Launch::default();
        let cancel = launch.cancel.clone();
        let slot = process.actor.map(|_| self.tree.slot(&plan.spec.id));
        self.lives.insert(life, Living { slot, peer: None, what: What::Launching(launch) });
        let args = self.args.get(&life).cloned();
        let spec = process.launch_spec(&plan.spec, args.as_deref());
        let myself = myself.clone();
        tokio::spawn(async move {
            let start = async { launcher::start_request_async(spec?.into()).await };
            // A start kills and reaps its process as it is dropped.
            let outcome = tokio::select! {
                outcome = start => outcome,
                () = cancel.notified() => Err(cancelled()),
            };
            let _ = myself.send_message(Message::Launched(life, outcome));
        });
    }

    pub(super) async fn launch_nested(
        &mut self,
        myself: &ActorRef<Message>,
        plan: &Arc<ChildPlan>,
        life: Incarnation,
    ) {
        let Start::Supervisor(nested) = &plan.start else { return };
        let tree = if self.is_dynamic {
            let next = || self.tree.next_nested_tree(&plan.spec.id);
            self.trees.entry(life).or_insert_with(next).clone()
        } else {
            self.tree.nested_tree(&plan.spec.id)
        };
        let shared = Arc::new(nested.share());
        // The nested supervisor's own spawn runs on this thread, between two messages.
        match Box::pin(tree.clone().launch(shared, myself.get_cell())).await {
            Ok(started) => {
                if let Some(cell) = tree.cell() {
                    self.by_cell.insert(cell.get_id(), life);
                }
                self.lives
                    .insert(life, Living { slot: None, peer: None, what: What::Nested(tree) });
                let myself = myself.clone();
                tokio::spawn(async move {
                    let ready = started.await.is_ok();
                    let _ = myself.send_message(Message::Nested(life, ready));
                });
            }
            Err(error) => {
                let why = StartError::Refused(StartFault::Failed(error.to_string()));
                let _ = myself.send_message(Message::Launched(life, Err(why)));
            }
        }
    }

    pub(super) async fn nested(
        &mut self,
        myself: &ActorRef<Message>,
        life: Incarnation,
        ready: bool,
    ) {
        // One that will not be ready ends, and that is told by its supervision event.
        if ready {
            self.feed(myself, Event::ChildReady { incarnation: life }).await;
        }
    }

    pub(super) async fn launched(
        &mut self,
        myself: &ActorRef<Message>,
        incarnation: Incarnation,
        outcome: Result<Unclaimed, StartError>,
    ) {
        let is_cancelled = self.lives.get(&incarnation).is_some_and(
            |living| matches!(&living.what, What::Launching(launch) if launch.is_cancelled),
        );
        let adopted = match outcome {
            Ok(child) if is_cancelled => {
                drop(child);
                Err(cancelled())
            }
            Ok(child) => self.adopt(myself, incarnation, child.claim()).await,
            Err(error) => Err(error),
        };
        match adopted {
            Ok(()) => self.feed(myself, Event::ChildReady { incarnation }).await,
            Err(error) => {
                self.lives.remove(&incarnation);
                let ignore = matches!(error, StartError::Refused(StartFault::Ignored));
                let reason = match error {
                    StartError::Timeout(_) => ExitReason::StartTimeout,
                    StartError::Died { reason, .. } => reason,
                    other => ExitReason::StartFailed(other.to_string()),
                };
                let event = Event::ChildStartFailed { incarnation, reason, ignore };
                self.feed(myself, event).await;
            }
        }
    }

    /// Puts a process that is ready under this supervisor.
    pub(super) async fn adopt(
        &mut self,
        myself: &ActorRef<Message>,
        incarnation: Incarnation,
        child: Arc<Child>,
    ) -> Result<(), StartError> {
        let node = node::current();
        lock(&node.children).insert(child.number(), child.clone());
        node::control::attend()?;
        let proxy = match node::tree::watch(child.clone(), myself.get_cell()).await {
            Ok(proxy) => proxy,
            Err(error) => {
                child.kill_and_reap();
                lock(&node.children).remove(&child.number());
                return Err(StartError::Io(std::io::Error::other(error)));
            }
        };
        self.by_cell.insert(proxy.get_id(), incarnation);
        let slot = self.lives.get(&incarnation).and_then(|living| living.slot.clone());
        let plan = self.plans.get(child.name()).cloned();
        let mut peer = None;
        if let (Some(slot), Some(plan)) = (&slot, &plan)
            && let Start::Process(process) = &plan.start
            && let Some(options) = process.actor
        {
            let path = node.path.child(child.number());
            slot.fill(peer.insert(Peer::of_child(&child, path, options, false)).clone());
        }
        let watchdog = plan.and_then(|plan| plan.spec.watchdog).map(|settings| {
            let watchdog = Watchdog::new(settings, self.now_ms());
            (watchdog, send_after(myself, settings.interval, Message::Watch(incarnation)), None)
        });
        let what = What::Process(child, watchdog);
        self.lives.insert(incarnation, Living { slot, peer, what });
        Ok(())
    }

    pub(super) async fn ended(&mut self, myself: &ActorRef<Message>, incarnation: Incarnation) {
        let Some(living) = self.lives.remove(&incarnation) else { return };
        if let Some(slot) = &living.slot {
            match self.youngest_in(slot) {
                Some(peer) => slot.fill(peer),
                None => slot.empty(),
            }
        }
        let reason = match &living.what {
            What::Launching(_) => return,
            What::Process(child, watchdog) => {
                if let Some((_, timer, _)) = watchdog {
                    timer.abort();
                }
                child.reap().map_or(ExitReason::Unknown, |down| down.reason.clone())
            }
            What::Nested(tree) => tree.exit().map_or(ExitReason::Unknown, |exit| exit.reason()),
        };
        self.feed(myself, Event::ChildExited { incarnation, reason }).await;
    }

    /// The youngest actor that is ready in a place: a dynamic supervisor's children share theirs.
    fn youngest_in(&self, slot: &Arc<Slot>) -> Option<Arc<Peer>> {
        let of_slot =
            |living: &Living| living.slot.as_ref().is_some_and(|own| Arc::ptr_eq(own, slot));
        let ready =
            self.lives.iter().filter(|(_, living)| living.peer.is_some() && of_slot(living));
        ready.max_by_key(|(incarnation, _)| **incarnation)?.1.peer.clone()
    }

    /// Lets a child's watchdog look at it.
    pub(super) fn look_at(&mut self, myself: &ActorRef<Message>, incarnation: Incarnation) {
        let now = self.now_ms();
        let Some(living) = self.lives.get_mut(&incarnation) else { return };
        let What::Process(child, Some((watchdog, timer, progress))) = &mut living.what else {
            return;
        };
        if let Some(pong) = child.last_pong() {
            watchdog.answered(pong.number);
            if !pong.busy {
                watchdog.idle();
            } else if *progress != Some(pong.progress) {
                *progress = Some(pong.progress);
                watchdog.progress(now);
            }
        }
        match watchdog.tick(now) {
            Verdict::Wait => {}
            Verdict::Ping(number) => child.ping(number),
            Verdict::Hung(cause) => {
                tracing::warn!(target: "procession", name = child.name(), ?cause, "a child hangs");
                let _ = child.kill_hung();
                return;
            }
        }
        let wait = Duration::from_millis(watchdog.next_tick_ms().saturating_sub(now));
        *timer = send_after(myself, wait, Message::Watch(incarnation));
    }
}

impl Living {
    pub(super) fn ask_to_end(&mut self) {
        match &mut self.what {
            What::Launching(launch) => launch.cancel(),
            What::Process(child, _) => drop(child.ask_to_end()),
            What::Nested(tree) => tree.ask_to_stop(),
        }
    }

    pub(super) fn kill(&mut self) {
        match &mut self.what {
            What::Launching(launch) => launch.cancel(),
            What::Process(child, _) => drop(child.signal(nix::sys::signal::Signal::SIGKILL)),
            What::Nested(tree) => tree.kill(),
        }
    }
}

impl State {
    /// Ends a life otherwise than the policy says, because ractor was told to stop or kill its
    /// actor: no child outlives it, and who waits for its end hears of it.
    pub(super) fn break_off(&mut self) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        for living in self.lives.values_mut() {
            living.kill();
            if let What::Process(child, _) = &living.what {
                // Its proxy, which would reap it, ends with this actor.
                child.kill_and_reap();
                lock(&node::current().children).remove(&child.number());
            }
        }
        self.trees.values().for_each(|tree| tree.abandon());
        // There may be another life by now.
        if self.tree.cell().is_some_and(|cell| cell.get_id() == self.own) {
            self.tree.abandon();
            self.tree.set_ended(SupervisorExit::Shutdown);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.break_off();
    }
}
