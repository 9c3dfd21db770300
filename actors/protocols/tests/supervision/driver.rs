//! Drives a policy by hand.
//!
//! Owns the clock, the timers, and the short form in which actions are compared:
//! `start a#1` is life 1 of child a. Timers fire when the clock passes them. It checks
//! nothing itself.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::event::{
    Action, ChildRef, ChildState, Event, Incarnation, Report, Request, RequestId, TimerToken,
};
use procession_protocols::supervision::intensity::Intensity;
use procession_protocols::supervision::policy::Supervisor;
use procession_protocols::supervision::spec::{ChildSpec, Restart, Strategy, SupervisorSpec};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const CRASH: ExitReason = ExitReason::Code(1);
pub(crate) const KILLED: ExitReason = ExitReason::Signal(9);
pub(crate) const ASKED: ExitReason = ExitReason::Shutdown;
pub(crate) const NOTHING: [&str; 0] = [];

pub(crate) struct Driver {
    pub(crate) policy: Supervisor,
    now_ms: u64,
    pub(crate) timers: BTreeMap<TimerToken, u64>,
    ids: BTreeMap<Incarnation, String>,
    requests: u64,
    reports: Vec<Report>,
}

impl Driver {
    pub(crate) fn new(spec: SupervisorSpec) -> Self {
        Self {
            policy: Supervisor::new(spec, 0).unwrap(),
            now_ms: 0,
            timers: BTreeMap::new(),
            ids: BTreeMap::new(),
            requests: 0,
            reports: Vec::new(),
        }
    }

    /// A supervisor of these children, all up, with life numbers from 1.
    pub(crate) fn up(spec: SupervisorSpec) -> Self {
        let children = spec.children.len() as u64;
        let mut driver = Self::new(spec);
        driver.event(Event::Start);
        for child in 1..=children {
            driver.ready(child);
        }
        driver
    }

    pub(crate) fn event(&mut self, event: Event) -> Vec<String> {
        let actions = self.policy.handle(self.now_ms, event);
        actions.into_iter().filter_map(|action| self.note(action)).collect()
    }

    fn note(&mut self, action: Action) -> Option<String> {
        let name = |ids: &BTreeMap<Incarnation, String>, life: Incarnation| {
            format!("{}#{}", ids[&life], life.0)
        };
        Some(match action {
            Action::StartChild { id, incarnation, .. } => {
                self.ids.insert(incarnation, id);
                format!("start {}", name(&self.ids, incarnation))
            }
            Action::StopChild(life) => format!("stop {}", name(&self.ids, life)),
            Action::KillChild(life) => format!("kill {}", name(&self.ids, life)),
            Action::SetTimer { token, at_ms } => {
                self.timers.insert(token, at_ms);
                return None;
            }
            Action::CancelTimer(token) => {
                self.timers.remove(&token);
                return None;
            }
            Action::Reply(request, Ok(answer)) => format!("reply {} {answer:?}", request.0),
            Action::Reply(request, Err(error)) => format!("reply {} error: {error}", request.0),
            Action::Report(report) => {
                self.reports.push(report);
                return None;
            }
            Action::Forget { id, .. } => format!("forget {id}"),
            Action::Started => "started".into(),
            Action::Exit(exit) => format!("exit {exit}"),
        })
    }

    pub(crate) fn ready(&mut self, life: u64) -> Vec<String> {
        self.event(Event::ChildReady { incarnation: Incarnation(life) })
    }

    pub(crate) fn exit(&mut self, life: u64, reason: ExitReason) -> Vec<String> {
        self.event(Event::ChildExited { incarnation: Incarnation(life), reason })
    }

    pub(crate) fn fail(&mut self, life: u64) -> Vec<String> {
        let reason = ExitReason::StartFailed("no".into());
        let incarnation = Incarnation(life);
        self.event(Event::ChildStartFailed { incarnation, reason, ignore: false })
    }

    pub(crate) fn ignore(&mut self, life: u64) -> Vec<String> {
        let (incarnation, reason) = (Incarnation(life), ExitReason::Normal);
        self.event(Event::ChildStartFailed { incarnation, reason, ignore: true })
    }

    pub(crate) fn ask(&mut self, what: Request) -> Vec<String> {
        self.requests += 1;
        self.event(Event::Request(RequestId(self.requests), what))
    }

    pub(crate) fn add(&mut self, spec: ChildSpec) -> Vec<String> {
        self.ask(Request::StartChild(Box::new(spec)))
    }

    pub(crate) fn terminate(&mut self, id: &str) -> Vec<String> {
        self.ask(Request::TerminateChild(ChildRef::Id(id.into())))
    }

    pub(crate) fn restart(&mut self, id: &str) -> Vec<String> {
        self.ask(Request::RestartChild(id.into()))
    }

    pub(crate) fn delete(&mut self, id: &str) -> Vec<String> {
        self.ask(Request::DeleteChild(id.into()))
    }

    pub(crate) fn stop(&mut self) -> Vec<String> {
        self.requests += 1;
        self.event(Event::Stop(RequestId(self.requests)))
    }

    /// Lets time pass, firing what comes due on the way.
    pub(crate) fn pass(&mut self, ms: u64) -> Vec<String> {
        let end_ms = self.now_ms + ms;
        let mut lines = Vec::new();
        loop {
            let next = self.timers.iter().min_by_key(|(token, at)| (**at, **token));
            let Some((&token, &at_ms)) = next.filter(|(_, at)| **at <= end_ms) else { break };
            self.now_ms = self.now_ms.max(at_ms);
            self.timers.remove(&token);
            lines.extend(self.event(Event::Timer(token)));
        }
        self.now_ms = end_ms;
        lines
    }

    pub(crate) fn states(&self) -> Vec<(String, ChildState)> {
        self.policy.which_children().into_iter().map(|child| (child.id, child.state)).collect()
    }

    pub(crate) fn reported(&self, wanted: impl Fn(&Report) -> bool) -> usize {
        self.reports.iter().filter(|report| wanted(report)).count()
    }
}

pub(crate) fn worker(id: &str) -> ChildSpec {
    ChildSpec::worker(id)
}

pub(crate) fn typed(id: &str, restart: Restart) -> ChildSpec {
    ChildSpec { restart, ..worker(id) }
}

/// With a budget that does not get in the way.
pub(crate) fn spec(strategy: Strategy, children: Vec<ChildSpec>) -> SupervisorSpec {
    let intensity = Intensity { max_restarts: 100, period: Duration::from_secs(5) };
    SupervisorSpec { children, intensity, ..SupervisorSpec::new(strategy) }
}

pub(crate) fn abc(strategy: Strategy) -> SupervisorSpec {
    spec(strategy, vec![worker("a"), worker("b"), worker("c")])
}

pub(crate) fn one(child: ChildSpec) -> SupervisorSpec {
    spec(Strategy::OneForOne, vec![child])
}
