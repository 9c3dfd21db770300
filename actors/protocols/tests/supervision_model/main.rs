//! The supervision policy against a world that does anything, in any order.
//!
//! Owns the choice of what happens; `world` has the model that checks it. Each case is
//! a random supervisor and a random run. Then, in half of them, the world turns kind,
//! and everything must come to rest. At last the supervisor is stopped among children
//! of which some obey and some must be killed, and must exit.
//!
//! `PROPTEST_CASES` sets the number of cases per test; a failure
//! prints its input and its seed, and keeps the seed in `regressions.txt`.

mod world;

use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::backoff::Backoff;
use procession_protocols::supervision::event::{
    ChildRef, ChildState, Event, Incarnation, Request, TimerToken,
};
use procession_protocols::supervision::intensity::Intensity;
use procession_protocols::supervision::spec::{
    AutoShutdown, ChildKind, ChildSpec, Restart, Shutdown, Strategy, SupervisorSpec,
};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use proptest::test_runner::FileFailurePersistence;
use std::time::Duration;

use world::World;

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
    if !case.stubborn.is_multiple_of(16) {
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

/// Where seeds of failures are kept, to be tried first from then on.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/supervision_model/regressions.txt");

/// 3,000 cases for each of the four strategies.
fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(SEEDS))),
        ..crate::config(3_000)
    }
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

impl World {
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
            } else if let Some(life) = self.pick(0, |life| life.asked && stubborn.is_multiple_of(2))
            {
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
