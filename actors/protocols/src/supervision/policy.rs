//! The supervisor: strategies, the budget, auto-shutdown, start and stop in order.
//!
//! Owns every decision that concerns more than one child. It never acts: it turns
//! events into actions, and what is not in an event it does not know. In particular
//! the end of a child is only what [`Event::ChildExited`] (or `ChildStartFailed`)
//! says, whatever was asked of it before. Below it `child` makes the moves of one
//! child; beside it `requests` serves what callers ask.
//!
//! ```text
//! New           -- Start ----------------------------------> StartingGroup
//! StartingGroup -- all that are due are ready -------------> Idle
//! StartingGroup -- a death, or a failed restart (groups) --> StoppingGroup
//! Idle          -- a death (one_for_all, rest_for_one) ----> StoppingGroup
//! StoppingGroup -- no one due lives -----------------------> StartingGroup
//! StoppingGroup -- the same, but its cause has to wait ----> Idle
//! Idle          -- that one's timer comes -----------------> StoppingGroup
//! Idle          -- that one is terminated -----------------> StartingGroup
//! any but Done  -- Stop, too many restarts, auto-shutdown,
//!                  a failed first start -------------------> Stopping
//! Stopping      -- no one lives ---------------------------> Done
//! ```
//!
//! With `one_for_one` and dynamic children a restart concerns nobody else, and happens
//! within `Idle` (or beside the first start).
//!
//! - `StoppingGroup`: the living children that are `due` are stopped, the last one
//!   first, one after the other. `due` is the whole list (`one_for_all`) or its rest.
//! - `StartingGroup`: the children that are `due` are started, the first one first,
//!   each when the one before is ready.
//! - `Stopping`: all are stopped, the last one first; a dynamic supervisor's at once.
//!
//! A death outside the group, or of a member that is up already, is acted on at once
//! and begins a new attempt, whose group then includes what was left of the old one.
//! Requests wait while a group moves, or while their own child does.
//!
//! Bounds: [`MAX_WAITING_REQUESTS`] requests wait, [`MAX_HISTORY`] failures are
//! remembered, the restart window holds no more than its intensity, and each child
//! has at most one timer.

mod requests;

use super::backoff::SplitMix;
use super::child::{Child, State, Turn};
use super::event::{
    Action, ChildCounts, ChildInfo, Event, Failure, Incarnation, Report, Request, RequestError,
    RequestId, Response, SupervisorExit, TimerToken,
};
use super::intensity::RestartWindow;
use super::millis;
use super::spec::{
    AutoShutdown, ChildKind, ChildSpec, Restart, SpecError, Strategy, SupervisorSpec,
    check_childspecs,
};
use crate::exit::ExitReason;
use std::collections::VecDeque;

/// How many requests may wait for their turn; a further one is answered `Busy`.
pub const MAX_WAITING_REQUESTS: usize = 1_024;

/// How many failures the history keeps.
pub const MAX_HISTORY: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    StartingGroup,
    StoppingGroup,
    Idle,
    Stopping,
    Done,
}

/// A supervisor's policy, from `Event::Start` to `Action::Exit`.
#[derive(Debug, Clone)]
pub struct Supervisor {
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    /// A dynamic supervisor's one spec.
    template: Option<ChildSpec>,
    window: RestartWindow,
    random: SplitMix,
    /// In start order.
    children: Vec<Child>,
    phase: Phase,
    /// `Action::Started` has been said. Until then any failed start is fatal.
    started: bool,
    /// Set once the phase is `Stopping`.
    exit: Option<SupervisorExit>,
    waiting: VecDeque<(RequestId, Request)>,
    stop_requests: Vec<RequestId>,
    history: VecDeque<Failure>,
    turn: Turn,
}

impl Supervisor {
    /// A supervisor that has not started anything yet. `seed` feeds the jitter of
    /// its backoffs.
    ///
    /// # Errors
    ///
    /// What [`check_childspecs`] finds.
    pub fn new(spec: SupervisorSpec, seed: u64) -> Result<Self, SpecError> {
        check_childspecs(&spec)?;
        let mut specs = spec.children;
        let dynamic = matches!(spec.strategy, Strategy::Dynamic { .. });
        let template = if dynamic { specs.pop() } else { None };
        Ok(Self {
            strategy: spec.strategy,
            auto_shutdown: spec.auto_shutdown,
            template,
            window: RestartWindow::new(spec.intensity),
            random: SplitMix::new(seed),
            children: specs.into_iter().map(Child::new).collect(),
            phase: Phase::New,
            started: false,
            exit: None,
            waiting: VecDeque::new(),
            stop_requests: Vec::new(),
            history: VecDeque::new(),
            turn: Turn::default(),
        })
    }

    /// Takes one event, and says what is to be done about it, in order. `now_ms` is a
    /// monotonic clock; a value before the last one is read as the last one.
    ///
    /// An event about an incarnation or timer that is no longer the current one is
    /// ignored, so the runtime need not filter what crosses on the way.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        self.turn.now_ms = self.turn.now_ms.max(now_ms);
        match event {
            Event::Start if self.phase == Phase::New => {
                self.children.iter_mut().for_each(|child| child.due = true);
                self.phase = Phase::StartingGroup;
            }
            Event::Start => {}
            Event::ChildReady { incarnation } => {
                if let Some(i) = self.alive(incarnation)
                    && self.children[i].ready(&mut self.turn)
                {
                    // A child whose start was broken off by its group is not kept, even
                    // if it became ready before its turn to be stopped came.
                    self.children[i].adding &= self.is_doomed(i);
                    let id = self.children[i].spec.id.clone();
                    self.turn.report(Report::ChildReady(id, incarnation));
                    self.answer(i, Ok(Response::Started(Some(incarnation))));
                }
            }
            Event::ChildStartFailed { incarnation, reason, ignore } => {
                if let Some(i) = self.alive(incarnation) {
                    self.ended(i, reason, ignore);
                }
            }
            Event::ChildExited { incarnation, reason } => {
                if let Some(i) = self.alive(incarnation) {
                    self.ended(i, reason, false);
                }
            }
            Event::Timer(token) => self.timer(token),
            Event::Stop(request) => self.stop(request),
            Event::Request(request, what) => self.request(request, what),
        }
        loop {
            self.advance();
            if !self.serve_next() {
                return std::mem::take(&mut self.turn.actions);
            }
        }
    }

    /// All children in start order.
    pub fn which_children(&self) -> Vec<ChildInfo> {
        let info = |child: &Child| ChildInfo {
            id: child.spec.id.clone(),
            state: child.public_state(),
            incarnation: child.incarnation,
            kind: child.spec.kind,
        };
        self.children.iter().map(info).collect()
    }

    /// How many children there are, by kind.
    pub fn count_children(&self) -> ChildCounts {
        let supervisors =
            self.children.iter().filter(|child| child.spec.kind == ChildKind::Supervisor).count();
        ChildCounts {
            specs: if self.template.is_some() { 1 } else { self.children.len() },
            active: self.children.iter().filter(|child| child.is_alive()).count(),
            supervisors,
            workers: self.children.len() - supervisors,
        }
    }

    /// The spec of a child; a dynamic supervisor's template goes by its own id.
    pub fn childspec(&self, id: &str) -> Option<&ChildSpec> {
        let specs = self.children.iter().map(|child| &child.spec);
        self.template.iter().chain(specs).find(|spec| spec.id == id)
    }

    fn dynamic(&self) -> bool {
        self.template.is_some()
    }

    /// Whether one child's restart concerns others.
    fn restarts_groups(&self) -> bool {
        matches!(self.strategy, Strategy::OneForAll | Strategy::RestForOne)
    }

    fn alive(&self, incarnation: Incarnation) -> Option<usize> {
        self.children.iter().position(|c| c.is_alive() && c.incarnation == Some(incarnation))
    }

    /// Whether the child's end is part of a stop, begun or still to come in its turn.
    fn is_doomed(&self, i: usize) -> bool {
        self.phase == Phase::Stopping || self.phase == Phase::StoppingGroup && self.children[i].due
    }

    fn timer(&mut self, token: TimerToken) {
        let Some(i) = self.children.iter().position(|child| child.is_timer(token)) else { return };
        if self.children[i].timer_fired(&mut self.turn) {
            self.attempt_restart(i);
        }
    }

    /// The child's process is gone, or never was.
    fn ended(&mut self, i: usize, reason: ExitReason, ignore: bool) {
        let before = self.children[i].end(&mut self.turn);
        let child = &self.children[i];
        let (id, Some(incarnation)) = (child.spec.id.clone(), child.incarnation) else { return };
        match before {
            State::Stopping { .. } => {
                if !child.stopped_as_asked(&reason) && !ignore {
                    self.turn.report(Report::ShutdownError(id, incarnation, reason));
                }
                self.stopped(i);
            }
            State::Starting { .. } if ignore => {
                self.answer(i, Ok(Response::Started(None)));
                self.children[i].adding = false;
                self.drop_if_passing(i);
            }
            State::Starting { late, .. } => {
                let reason = if late { ExitReason::StartTimeout } else { reason };
                self.turn.report(Report::StartFailed(id, incarnation, reason.clone()));
                self.start_failed(i, reason);
            }
            State::Running { since_ms } => {
                self.turn.report(Report::ChildDied(id, incarnation, reason.clone()));
                self.died(i, reason, since_ms);
            }
            State::Down | State::Restarting { .. } => {}
        }
    }

    /// The child ended in the course of a stop, or before its turn in one came.
    fn stopped(&mut self, i: usize) {
        self.answer(i, Ok(Response::Done));
        self.drop_if_passing(i);
    }

    fn start_failed(&mut self, i: usize, reason: ExitReason) {
        if self.is_doomed(i) {
            self.stopped(i);
        } else if !self.started {
            let id = self.children[i].spec.id.clone();
            self.begin_stop(SupervisorExit::FailedToStart { id, reason });
        } else if self.children[i].request.is_some() {
            self.answer(i, Err(RequestError::StartFailed(reason)));
            self.drop_if_passing(i);
        } else {
            self.schedule_restart(i, reason, true);
        }
    }

    fn died(&mut self, i: usize, reason: ExitReason, since_ms: u64) {
        if self.is_doomed(i) {
            return self.stopped(i);
        }
        let child = &mut self.children[i];
        let lived_ms = self.turn.now_ms.saturating_sub(since_ms);
        if child.spec.backoff.is_some_and(|backoff| lived_ms >= millis(backoff.healthy_after)) {
            child.restarts = 0;
        }
        let restart = match child.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => !reason.is_clean(),
            Restart::Temporary => false,
        };
        if restart {
            return self.schedule_restart(i, reason, false);
        }
        let (id, significant) = (child.spec.id.clone(), child.spec.significant);
        self.drop_if_passing(i);
        let ends = significant
            && match self.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.children.iter().any(|child| {
                    child.spec.significant
                        && (child.is_alive() || child.is_restarting() || child.due)
                }),
            };
        if ends {
            self.turn.report(Report::AutoShutdown(id));
            self.begin_stop(SupervisorExit::Shutdown);
        }
    }

    /// The child is to be restarted: now, or later by its timer. A failed restart
    /// (`again`) always goes by the timer, be it one of 0 ms: it queues up behind what
    /// the runtime's mailbox holds already, so that a child that cannot start never
    /// locks out a request to stop it.
    fn schedule_restart(&mut self, i: usize, reason: ExitReason, again: bool) {
        let at_ms = self.turn.now_ms;
        let child = &mut self.children[i];
        let id = child.spec.id.clone();
        let incarnation = child.incarnation;
        let delay_ms = match child.spec.backoff {
            Some(backoff) => backoff.delay_ms(child.restarts, &mut self.random),
            None => 0,
        };
        child.restarts = child.restarts.saturating_add(1);
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Failure { at_ms, id: id.clone(), incarnation, reason });
        if delay_ms == 0 && !again {
            return self.attempt_restart(i);
        }
        if delay_ms > 0 {
            self.turn.report(Report::BackingOff { id, delay_ms });
        }
        if self.restarts_groups() {
            // Siblings that cannot do without this child are not left running while
            // it waits; its timer is set when they are down.
            self.begin_group(i);
            self.children[i].await_restart(delay_ms);
        } else {
            self.children[i].await_restart(delay_ms);
            self.children[i].arm_restart(&mut self.turn);
        }
    }

    /// Restarts the child, with its group, if the budget allows it.
    fn attempt_restart(&mut self, i: usize) {
        if !self.window.record(self.turn.now_ms) {
            self.turn.report(Report::ReachedMaxRestartIntensity(self.window.intensity()));
            let history = self.history.iter().cloned().collect();
            return self.begin_stop(SupervisorExit::GaveUp { history });
        }
        self.turn.report(Report::Restarting(self.children[i].spec.id.clone()));
        if self.restarts_groups() {
            self.begin_group(i);
        } else {
            self.children[i].start(&mut self.turn);
        }
    }

    /// Makes the child and those that go down with it due, and begins to stop them.
    fn begin_group(&mut self, i: usize) {
        let first = if self.strategy == Strategy::OneForAll { 0 } else { i };
        for i in first..self.children.len() {
            let child = &mut self.children[i];
            child.due = true;
            if child.is_restarting() {
                child.end(&mut self.turn);
            }
            if matches!(child.state, State::Starting { .. }) {
                self.answer(i, Err(RequestError::Interrupted));
            }
        }
        self.phase = Phase::StoppingGroup;
    }

    /// Begins the end; the first cause stands.
    fn begin_stop(&mut self, exit: SupervisorExit) {
        if matches!(self.phase, Phase::Stopping | Phase::Done) {
            return;
        }
        self.phase = Phase::Stopping;
        self.exit = Some(exit);
        for i in 0..self.children.len() {
            let child = &mut self.children[i];
            child.due = false;
            if child.is_restarting() {
                child.end(&mut self.turn);
            }
            if matches!(child.state, State::Starting { .. }) {
                self.answer(i, Err(RequestError::ShuttingDown));
            }
        }
        for (request, _) in std::mem::take(&mut self.waiting) {
            self.turn.push(Action::Reply(request, Err(RequestError::ShuttingDown)));
        }
    }

    /// Goes on with what the phase is about, until that needs an event.
    fn advance(&mut self) {
        loop {
            match self.phase {
                Phase::New | Phase::Done => return,
                Phase::StoppingGroup => {
                    if let Some(child) = self.children.iter_mut().rfind(|c| c.due && c.is_alive()) {
                        return child.stop(&mut self.turn);
                    }
                    // Whoever waits for a backoff holds up the start of its group.
                    self.children.iter_mut().for_each(|child| child.arm_restart(&mut self.turn));
                    self.phase = Phase::Idle;
                }
                Phase::Idle => {
                    if !self.children.iter().any(|child| child.due)
                        || self.children.iter().any(|child| child.due && child.is_restarting())
                    {
                        return;
                    }
                    self.phase = Phase::StartingGroup;
                }
                Phase::StartingGroup => {
                    if self.children.iter().any(|c| matches!(c.state, State::Starting { .. })) {
                        return;
                    }
                    if let Some(child) = self.children.iter_mut().find(|child| child.due) {
                        return child.start(&mut self.turn);
                    }
                    self.phase = Phase::Idle;
                    if !self.started {
                        self.started = true;
                        self.turn.push(Action::Started);
                    }
                }
                Phase::Stopping => {
                    if self.dynamic() {
                        self.children.iter_mut().for_each(|child| child.stop(&mut self.turn));
                    }
                    if let Some(child) = self.children.iter_mut().rfind(|c| c.is_alive()) {
                        return child.stop(&mut self.turn);
                    }
                    self.phase = Phase::Done;
                    for request in std::mem::take(&mut self.stop_requests) {
                        self.turn.push(Action::Reply(request, Ok(Response::Done)));
                    }
                    let exit = self.exit.clone().unwrap_or(SupervisorExit::Shutdown);
                    return self.turn.push(Action::Exit(exit));
                }
            }
        }
    }

    /// Answers whoever waits for this child's start or stop.
    fn answer(&mut self, i: usize, answer: Result<Response, RequestError>) {
        if let Some(request) = self.children[i].request.take() {
            self.turn.push(Action::Reply(request, answer));
        }
    }

    /// Drops a child that is down, if it does not stay in the list when it is.
    fn drop_if_passing(&mut self, i: usize) {
        let child = &self.children[i];
        if self.dynamic() || child.adding || child.spec.restart == Restart::Temporary {
            let child = self.children.remove(i);
            self.turn.push(Action::Forget { id: child.spec.id, incarnation: child.incarnation });
        }
    }
}
