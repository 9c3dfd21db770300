//! The supervision policy against a world that does anything, in any order.
//!
//! Owns a small independent model: which lives exist, what was asked of them and by
//! when, which requests are open. It knows the promises, not how the policy keeps
//! them, and checks them at every action. Each case is a random supervisor and a
//! random run; then the world turns kind, and everything must come to rest; then the
//! supervisor is stopped among children of which some obey and some must be killed,
//! and must exit.
//!
//! `PROPTEST_CASES` sets the number of cases per test; a failure prints its seed.

use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::backoff::Backoff;
use procession_protocols::supervision::event::{
    Action, ChildRef, ChildState, Event, Incarnation, Report, Request, RequestError, RequestId,
    Response, TimerToken,
};
use procession_protocols::supervision::intensity::Intensity;
use procession_protocols::supervision::policy::Supervisor;
use procession_protocols::supervision::spec::{
    AutoShutdown, ChildKind, ChildSpec, Restart, Shutdown, Strategy, SupervisorSpec,
};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the world knows of a life.
#[derive(Debug, Clone)]
struct Life {
    id: String,
    ready: bool,
    /// Until then it must be ready, or be killed.
    start_deadline_ms: u64,
    asked: bool,
    /// Until then it must have ended, or be killed.
    stop_deadline_ms: Option<u64>,
    killed: bool,
}

struct World {
    policy: Supervisor,
    spec: SupervisorSpec,
    now_ms: u64,
    lives: BTreeMap<Incarnation, Life>,
    timers: BTreeMap<TimerToken, u64>,
    last_timer: u64,
    last_life: u64,
    last_request: u64,
    open: BTreeMap<RequestId, Option<Request>>,
    /// The children in start order, with their specs.
    order: Vec<ChildSpec>,
    /// Children that stay down until somebody or, in a group, a sibling starts them.
    resting: BTreeSet<String>,
    restarts_ms: Vec<u64>,
    started: bool,
    ending: bool,
    exited: bool,
}

impl World {
    fn new(spec: SupervisorSpec) -> Self {
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

    fn dynamic(&self) -> bool {
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

    fn event(&mut self, event: Event) {
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
        match (asked, answer) {
            (Some(Request::TerminateChild(ChildRef::Id(id))), Ok(_)) => {
                self.resting.insert(id);
            }
            (Some(Request::RestartChild(id)), Err(RequestError::StartFailed(_))) => {
                self.resting.insert(id);
            }
            (Some(Request::RestartChild(id)), Ok(Response::Started(None))) => {
                self.resting.insert(id);
            }
            _ => {}
        }
    }

    fn ask(&mut self, what: Option<Request>) {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        self.open.insert(request, what.clone());
        match what {
            Some(what) => self.event(Event::Request(request, what)),
            None => {
                self.ending = true;
                self.event(Event::Stop(request));
            }
        }
    }

    fn ready(&mut self, incarnation: Incarnation) {
        let life = self.lives.get_mut(&incarnation).unwrap();
        life.ready |= !life.asked && !life.killed;
        self.event(Event::ChildReady { incarnation });
    }

    fn exit(&mut self, incarnation: Incarnation, reason: ExitReason) {
        let life = self.lives.remove(&incarnation).unwrap();
        let stays_down = self.spec_of(&life.id).restart == Restart::Transient && reason.is_clean();
        if life.ready && stays_down {
            self.resting.insert(life.id.clone());
        }
        self.ending |= !self.started && !life.ready && !life.asked && !self.groups();
        self.event(Event::ChildExited { incarnation, reason });
    }

    fn start_failed(&mut self, incarnation: Incarnation, ignore: bool) {
        let life = self.lives.remove(&incarnation).unwrap();
        self.ending |= !ignore && !self.started && !life.asked && !self.groups();
        if ignore {
            self.resting.insert(life.id);
        }
        let reason = ExitReason::StartFailed("random".into());
        self.event(Event::ChildStartFailed { incarnation, reason, ignore });
    }

    fn next_timer_ms(&self) -> Option<u64> {
        self.timers.values().min().copied()
    }

    fn pass(&mut self, ms: u64) {
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

    fn pick(&self, pick: u8, wanted: impl Fn(&Life) -> bool) -> Option<Incarnation> {
        let lives: Vec<_> = self.lives.iter().filter(|(_, life)| wanted(life)).collect();
        lives.get(usize::from(pick) % lives.len().max(1)).map(|(incarnation, _)| **incarnation)
    }

    fn step(&mut self, (op, pick, detail): (u8, u8, u8)) {
        let id = format!("{}", pick % 6);
        let reference = if self.dynamic() && detail % 8 != 0 {
            ChildRef::Incarnation(Incarnation(self.last_life.saturating_sub(u64::from(pick % 4))))
        } else {
            ChildRef::Id(id.clone())
        };
        match op {
            0..6 => {
                if let Some(life) = self.pick(pick, |life| !life.ready) {
                    self.ready(life);
                }
            }
            6 => {
                if let Some(life) = self.pick(pick, |life| !life.ready) {
                    self.start_failed(life, detail % 4 == 0);
                }
            }
            7..9 => {
                if let Some(life) = self.pick(pick, |_| true) {
                    self.exit(life, reason(detail));
                }
            }
            9..11 => {
                if let Some(life) = self.pick(pick, |life| life.asked || life.killed) {
                    self.exit(life, reason(detail));
                }
            }
            11 => self.pass(u64::from(detail)),
            12 => self.pass(u64::from(detail) * 50),
            13 if self.dynamic() => self.ask(Some(Request::StartDynamic)),
            13 => {
                let spec = child(id, (pick / 6, detail, detail / 4), self.spec.auto_shutdown);
                self.ask(Some(Request::StartChild(Box::new(spec))));
            }
            14 => self.ask(Some(Request::TerminateChild(reference))),
            15 => self.ask(Some(Request::RestartChild(id))),
            16 => self.ask(Some(Request::DeleteChild(id))),
            17 => {
                // What crosses on the way: a dead life, a timer that was cancelled.
                let incarnation = Incarnation(u64::from(pick % 8));
                if !self.lives.contains_key(&incarnation) {
                    self.event(Event::ChildReady { incarnation });
                    self.event(Event::ChildExited { incarnation, reason: reason(detail) });
                }
                let token = TimerToken(u64::from(detail % 8));
                if !self.timers.contains_key(&token) {
                    self.event(Event::Timer(token));
                }
            }
            18 if detail < 32 => self.ask(None),
            _ => {}
        }
    }

    /// Everybody does what is asked; then everything comes to rest.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if let Some(life) = self.pick(0, |life| life.asked || life.killed) {
                self.exit(life, ExitReason::Shutdown);
            } else if let Some(life) = self.pick(0, |life| !life.ready) {
                self.ready(life);
            } else if let Some(at_ms) = self.next_timer_ms() {
                self.pass(at_ms - self.now_ms);
            } else {
                break;
            }
        }
        assert!(self.open.is_empty(), "unanswered: {:?}", self.open);
        assert!(self.started || self.exited);
        for child in self.policy.which_children().iter().filter(|_| !self.exited) {
            let rests = child.state == ChildState::Down && self.resting.contains(&child.id);
            assert!(rests || child.state == ChildState::Running, "forgotten: {child:?}");
        }
    }

    /// Stops it all among children of which some must be killed.
    fn end(&mut self, mut stubborn: u64) {
        if !self.exited {
            self.ask(None);
        }
        for _ in 0..10_000 {
            if self.exited {
                return;
            }
            stubborn = stubborn.rotate_left(1);
            if let Some(life) = self.pick(0, |life| life.killed) {
                self.exit(life, ExitReason::Signal(9));
            } else if let Some(life) = self.pick(0, |l| l.asked && l.stop_deadline_ms.is_none()) {
                self.exit(life, ExitReason::Shutdown);
            } else if let Some(life) = self.pick(0, |life| life.asked && stubborn % 2 == 0) {
                self.exit(life, ExitReason::Shutdown);
            } else {
                let at_ms = self.next_timer_ms().expect("somebody to wait for, or Exit");
                self.pass(at_ms - self.now_ms);
            }
        }
        panic!("no exit");
    }
}

fn reason(detail: u8) -> ExitReason {
    match detail % 5 {
        0 => ExitReason::Normal,
        1 => ExitReason::Shutdown,
        2 => ExitReason::Signal(9),
        3 => ExitReason::Hung,
        _ => ExitReason::Code(1),
    }
}

fn child(id: String, (a, b, c): (u8, u8, u8), auto_shutdown: AutoShutdown) -> ChildSpec {
    let restart = match a % 5 {
        0 => Restart::Temporary,
        1 | 2 => Restart::Transient,
        _ => Restart::Permanent,
    };
    let shutdown = match b % 4 {
        0 => Shutdown::BrutalKill,
        1 => Shutdown::Infinity,
        _ => Shutdown::Timeout(Duration::from_millis(u64::from(b) * 8)),
    };
    let significant =
        restart != Restart::Permanent && auto_shutdown != AutoShutdown::Never && c & 1 == 1;
    let backoff = (c & 2 == 2)
        .then(|| Backoff { healthy_after: Duration::from_secs(2), ..Backoff::default() });
    let kind = if c & 4 == 4 { ChildKind::Supervisor } else { ChildKind::Worker };
    let start_timeout = Duration::from_secs(2);
    ChildSpec {
        restart,
        shutdown,
        significant,
        kind,
        start_timeout,
        backoff,
        ..ChildSpec::worker(id)
    }
}

#[derive(Debug, Clone)]
struct Case {
    children: Vec<(u8, u8, u8)>,
    max_restarts: u32,
    period_ms: u64,
    auto_shutdown: u8,
    steps: Vec<(u8, u8, u8)>,
    stubborn: u64,
    settles: bool,
}

fn cases() -> impl proptest::strategy::Strategy<Value = Case> {
    let bytes = || (any::<u8>(), any::<u8>(), any::<u8>());
    let steps = prop::collection::vec((0_u8..20, any::<u8>(), any::<u8>()), 0..80);
    let children = prop::collection::vec(bytes(), 0..5);
    (children, 0_u32..6, 1_u64..8_000, 0_u8..6, steps, any::<u64>(), any::<bool>()).prop_map(
        |(children, max_restarts, period_ms, auto_shutdown, steps, stubborn, settles)| Case {
            children,
            max_restarts,
            period_ms,
            auto_shutdown,
            steps,
            stubborn,
            settles,
        },
    )
}

fn run(strategy: Strategy, case: Case) {
    let auto_shutdown = match case.auto_shutdown {
        0 => AutoShutdown::AnySignificant,
        1 => AutoShutdown::AllSignificant,
        _ => AutoShutdown::Never,
    };
    let numbered = case.children.iter().enumerate();
    let mut children: Vec<_> =
        numbered.map(|(i, bytes)| child(i.to_string(), *bytes, auto_shutdown)).collect();
    if matches!(strategy, Strategy::Dynamic { .. }) {
        children.resize_with(1, || ChildSpec::worker("0"));
    }
    let period = Duration::from_millis(case.period_ms);
    let intensity = Intensity { max_restarts: case.max_restarts, period };
    let mut world = World::new(SupervisorSpec { strategy, intensity, auto_shutdown, children });
    if case.stubborn % 16 != 0 {
        world.event(Event::Start);
    }
    for step in case.steps {
        world.step(step);
    }
    if case.settles {
        world.event(Event::Start);
        world.settle();
    }
    world.end(case.stubborn);
}

/// 3,000 cases for each of the four strategies, unless `PROPTEST_CASES` says otherwise.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 3_000 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn one_for_one_keeps_its_promises(case in cases()) {
        run(Strategy::OneForOne, case);
    }

    #[test]
    fn one_for_all_keeps_its_promises(case in cases()) {
        run(Strategy::OneForAll, case);
    }

    #[test]
    fn rest_for_one_keeps_its_promises(case in cases()) {
        run(Strategy::RestForOne, case);
    }

    #[test]
    fn a_dynamic_supervisor_keeps_its_promises(case in cases()) {
        run(Strategy::Dynamic { max_children: 4 }, case);
    }
}
