//! The model: what the supervisor promised, checked at every action.
//!
//! Owns the world's state (which lives exist, what was asked of them and by when,
//! which requests are open) and its moves. It knows the promises, not how the policy
//! keeps them, and chooses nothing: `main` does.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::event::{
    Action, ChildRef, ChildState, Event, Incarnation, Report, Request, RequestError, RequestId,
    Response, TimerToken,
};
use procession_protocols::supervision::policy::Supervisor;
use procession_protocols::supervision::spec::{
    ChildSpec, Restart, Shutdown, Strategy, SupervisorSpec,
};
use std::collections::{BTreeMap, BTreeSet};

/// What the world knows of a life.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    id: String,
    pub(crate) ready: bool,
    /// Until then it must be ready, or be killed.
    start_deadline_ms: u64,
    pub(crate) asked: bool,
    /// Until then it must have ended, or be killed.
    pub(crate) stop_deadline_ms: Option<u64>,
    pub(crate) killed: bool,
}

pub(crate) struct World {
    pub(crate) policy: Supervisor,
    pub(crate) spec: SupervisorSpec,
    pub(crate) now_ms: u64,
    pub(crate) lives: BTreeMap<Incarnation, Life>,
    pub(crate) timers: BTreeMap<TimerToken, u64>,
    last_timer: u64,
    pub(crate) last_life: u64,
    last_request: u64,
    pub(crate) open: BTreeMap<RequestId, Option<Request>>,
    /// The children in start order, with their specs.
    order: Vec<ChildSpec>,
    /// Children that stay down until somebody or, in a group, a sibling starts them.
    pub(crate) resting: BTreeSet<String>,
    restarts_ms: Vec<u64>,
    pub(crate) started: bool,
    ending: bool,
    pub(crate) exited: bool,
}

impl World {
    pub(crate) fn new(spec: SupervisorSpec) -> Self {
        let dynamic = matches!(spec.strategy, Strategy::Dynamic { .. });
        Self {
            policy: Supervisor::new(spec.clone(), 1).unwrap(),
            now_ms: 0,
            lives: BTreeMap::new(),
            timers: BTreeMap::new(),
            last_timer: 0,
            last_life: 0,
            last_request: 0,
            open: BTreeMap::new(),
            order: if dynamic { vec![] } else { spec.children.clone() },
            resting: BTreeSet::new(),
            restarts_ms: Vec::new(),
            started: false,
            ending: false,
            exited: false,
            spec,
        }
    }

    pub(crate) fn dynamic(&self) -> bool {
        matches!(self.spec.strategy, Strategy::Dynamic { .. })
    }

    fn groups(&self) -> bool {
        matches!(self.spec.strategy, Strategy::OneForAll | Strategy::RestForOne)
    }

    fn spec_of(&self, id: &str) -> &ChildSpec {
        let specs = if self.dynamic() { &self.spec.children } else { &self.order };
        specs.iter().find(|spec| spec.id == id).expect("a spec for every life")
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.order.iter().position(|spec| spec.id == id)
    }

    pub(crate) fn event(&mut self, event: Event) {
        for action in self.policy.handle(self.now_ms, event) {
            self.note(action);
        }
        let mut alive: Vec<Incarnation> = Vec::new();
        for child in self.policy.which_children() {
            if !matches!(child.state, ChildState::Down | ChildState::Restarting) {
                alive.push(child.incarnation.unwrap());
            }
        }
        alive.sort();
        assert!(alive.iter().eq(self.lives.keys()), "which_children tells the truth");
        assert!(self.timers.len() <= self.policy.which_children().len(), "a timer per child");
    }

    fn note(&mut self, action: Action) {
        assert!(!self.exited || matches!(action, Action::Reply(..)), "after Exit: {action:?}");
        match action {
            Action::StartChild { id, incarnation, replaces, request, deadline_ms } => {
                self.note_start(id, incarnation, replaces, request, deadline_ms);
            }
            Action::StopChild(life) => {
                self.note_stop(life);
                let spec = self.spec_of(&self.lives[&life].id).clone();
                let now_ms = self.now_ms;
                let life = self.lives.get_mut(&life).unwrap();
                assert_ne!(spec.shutdown, Shutdown::BrutalKill, "a brutal kill asks nothing");
                life.stop_deadline_ms = match spec.shutdown {
                    Shutdown::Timeout(limit) => {
                        Some(now_ms + u64::try_from(limit.as_millis()).unwrap())
                    }
                    _ => None,
                };
                if !life.ready {
                    let start_ms = life.start_deadline_ms;
                    life.stop_deadline_ms =
                        Some(life.stop_deadline_ms.map_or(start_ms, |at| at.min(start_ms)));
                }
                life.asked = true;
            }
            Action::KillChild(incarnation) => {
                let life = self.lives[&incarnation].clone();
                let late = !life.ready && life.start_deadline_ms <= self.now_ms;
                let overdue = life.stop_deadline_ms.is_some_and(|at| at <= self.now_ms);
                if !late && !overdue {
                    assert_eq!(self.spec_of(&life.id).shutdown, Shutdown::BrutalKill, "too early");
                    self.note_stop(incarnation);
                }
                let life = self.lives.get_mut(&incarnation).unwrap();
                life.killed = true;
            }
            Action::SetTimer { token, at_ms } => {
                assert!(token.0 > self.last_timer, "tokens are never used again");
                assert!(at_ms >= self.now_ms);
                self.last_timer = token.0;
                self.timers.insert(token, at_ms);
            }
            Action::CancelTimer(token) => {
                assert!(self.timers.remove(&token).is_some(), "cancels what is set");
            }
            Action::Reply(request, answer) => self.note_reply(request, &answer),
            Action::Report(Report::ReachedMaxRestartIntensity(_) | Report::AutoShutdown(_)) => {
                self.ending = true;
            }
            Action::Report(Report::Restarting(_)) => {
                self.restarts_ms.push(self.now_ms);
                let period_ms = u64::try_from(self.spec.intensity.period.as_millis()).unwrap();
                let recent = self.restarts_ms.iter().filter(|&&at| self.now_ms - at <= period_ms);
                assert!(
                    recent.count() <= self.spec.intensity.max_restarts as usize,
                    "too many restarts"
                );
            }
            Action::Report(_) => {}
            Action::Forget { id, .. } => {
                if let Some(i) = self.position(&id) {
                    self.order.remove(i);
                }
                assert!(self.dynamic() || !self.lives.values().any(|life| life.id == id));
                self.resting.remove(&id);
            }
            Action::Started => {
                assert!(!self.started && !self.ending);
                self.started = true;
            }
            Action::Exit(_) => {
                assert!(self.lives.is_empty(), "nobody outlives the supervisor");
                assert!(self.timers.is_empty() && self.open.is_empty());
                self.exited = true;
            }
        }
    }

    fn note_start(
        &mut self,
        id: String,
        incarnation: Incarnation,
        replaces: Option<Incarnation>,
        request: Option<RequestId>,
        deadline_ms: u64,
    ) {
        assert!(!self.ending, "nothing starts once the end has begun");
        assert!(incarnation.0 > self.last_life, "lives are never used again");
        self.last_life = incarnation.0;
        let asked_for = request.is_some();
        if let Some(Some(Request::StartChild(spec))) = request.map(|request| &self.open[&request]) {
            self.order.push((**spec).clone());
        }
        if self.dynamic() {
            assert!(replaces.is_none_or(|old| !self.lives.contains_key(&old)));
            let Strategy::Dynamic { max_children } = self.spec.strategy else { unreachable!() };
            assert!(self.lives.len() < max_children, "max_children");
        } else {
            assert!(!self.lives.values().any(|life| life.id == id), "two lives of {id}");
        }
        if self.spec_of(&id).restart == Restart::Temporary {
            assert_eq!(replaces, None, "a temporary child never returns");
        }
        if !asked_for {
            if self.groups() || !self.started && replaces.is_none() {
                let starting = self.lives.values().any(|life| !life.ready && !life.asked);
                assert!(!starting, "each is ready before the next one starts");
                let unborn = |spec: &ChildSpec| {
                    !self.lives.values().any(|life| life.id == spec.id)
                        && !self.resting.contains(&spec.id)
                };
                let earlier = &self.order[..self.position(&id).unwrap()];
                let waits = self.policy_waits();
                assert!(
                    !earlier.iter().any(|spec| unborn(spec) && !waits.contains(&spec.id)),
                    "start order"
                );
            }
            if !self.groups() {
                assert!(!self.resting.contains(&id), "{id} was to stay down");
            }
        }
        self.resting.remove(&id);
        let life = Life {
            id,
            ready: false,
            start_deadline_ms: deadline_ms,
            asked: false,
            stop_deadline_ms: None,
            killed: false,
        };
        self.lives.insert(incarnation, life);
    }

    /// Children that wait for a restart of their own and may be overtaken.
    fn policy_waits(&self) -> BTreeSet<String> {
        let waits = |state| state == ChildState::Restarting;
        let children = self.policy.which_children().into_iter();
        children
            .filter(|child| !self.groups() && waits(child.state))
            .map(|child| child.id)
            .collect()
    }

    /// A life is asked to stop, or is killed as the way to stop it.
    fn note_stop(&mut self, incarnation: Incarnation) {
        let life = &self.lives[&incarnation];
        assert!(!life.asked && !life.killed, "each is asked once");
        let terminated = self.open.values().flatten().any(|request| {
            matches!(request, Request::TerminateChild(ChildRef::Id(id)) if *id == life.id)
        });
        if !self.dynamic() && !terminated {
            let position = self.position(&life.id).unwrap();
            let mut later = self.order[position + 1..].iter();
            assert!(
                !later.any(|spec| self.lives.values().any(|life| life.id == spec.id)),
                "the last one stops first"
            );
        }
        self.lives.get_mut(&incarnation).unwrap().asked = true;
    }

    fn note_reply(&mut self, request: RequestId, answer: &Result<Response, RequestError>) {
        let asked = self.open.remove(&request).expect("each request is answered once");
        let starts = matches!(
            asked,
            Some(Request::StartChild(_) | Request::StartDynamic | Request::RestartChild(_))
        );
        if let Ok(answer) = answer {
            assert_eq!(starts, matches!(answer, Response::Started(_)), "to {asked:?}");
        }
        match (asked, answer) {
            (Some(Request::TerminateChild(ChildRef::Id(id))), Ok(_))
            | (
                Some(Request::RestartChild(id)),
                Err(RequestError::StartFailed(_)) | Ok(Response::Started(None)),
            ) => {
                self.resting.insert(id);
            }
            _ => {}
        }
    }

    /// Asks for something, or (`None`) for the stop of all.
    pub(crate) fn ask(&mut self, what: Option<Request>) {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        self.open.insert(request, what.clone());
        if let Some(what) = what {
            self.event(Event::Request(request, what));
        } else {
            self.ending = true;
            self.event(Event::Stop(request));
        }
    }

    pub(crate) fn ready(&mut self, incarnation: Incarnation) {
        let life = self.lives.get_mut(&incarnation).unwrap();
        life.ready |= !life.asked && !life.killed;
        self.event(Event::ChildReady { incarnation });
    }

    pub(crate) fn exit(&mut self, incarnation: Incarnation, reason: ExitReason) {
        let life = self.lives.remove(&incarnation).unwrap();
        let stays_down = self.spec_of(&life.id).restart == Restart::Transient && reason.is_clean();
        if life.ready && stays_down {
            self.resting.insert(life.id.clone());
        }
        self.ending |= !self.started && !life.ready && !life.asked && !self.groups();
        self.event(Event::ChildExited { incarnation, reason });
    }

    pub(crate) fn start_failed(&mut self, incarnation: Incarnation, ignore: bool) {
        let life = self.lives.remove(&incarnation).unwrap();
        self.ending |= !ignore && !self.started && !life.asked && !self.groups();
        if ignore {
            self.resting.insert(life.id);
        }
        let reason = ExitReason::StartFailed("random".into());
        self.event(Event::ChildStartFailed { incarnation, reason, ignore });
    }

    pub(crate) fn next_timer_ms(&self) -> Option<u64> {
        self.timers.values().min().copied()
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while let Some(at_ms) = self.next_timer_ms().filter(|&at_ms| at_ms <= end_ms) {
            self.now_ms = self.now_ms.max(at_ms);
            let (&token, _) = self.timers.iter().find(|(_, at)| **at == at_ms).unwrap();
            self.timers.remove(&token);
            self.event(Event::Timer(token));
        }
        self.now_ms = end_ms;
        for life in self.lives.values() {
            let overdue = life.stop_deadline_ms.is_some_and(|at| at <= self.now_ms);
            let late = !life.ready && life.start_deadline_ms <= self.now_ms;
            assert!(life.killed || !overdue && !late, "past its deadline: {life:?}");
        }
    }

    pub(crate) fn pick(&self, pick: u8, wanted: impl Fn(&Life) -> bool) -> Option<Incarnation> {
        let lives: Vec<_> = self.lives.iter().filter(|(_, life)| wanted(life)).collect();
        lives.get(usize::from(pick) % lives.len().max(1)).map(|(incarnation, _)| **incarnation)
    }
}
