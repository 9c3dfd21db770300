//! The supervision policy, one behaviour per test.
//!
//! Owns the readable cases; `supervision_model.rs` has the random ones. Actions are
//! compared as short lines: `start a#1` is life 1 of child a. Timers are kept by the
//! driver and fire when its clock passes them.

use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::backoff::Backoff;
use procession_protocols::supervision::event::{
    Action, ChildCounts, ChildRef, ChildState, Event, Incarnation, Report, Request, RequestId,
    SupervisorExit, TimerToken,
};
use procession_protocols::supervision::intensity::Intensity;
use procession_protocols::supervision::policy::Supervisor;
use procession_protocols::supervision::spec::{
    AutoShutdown, ChildSpec, Restart, Shutdown, Strategy, SupervisorSpec,
};
use std::collections::BTreeMap;
use std::time::Duration;

const CRASH: ExitReason = ExitReason::Code(1);
const KILLED: ExitReason = ExitReason::Signal(9);
const ASKED: ExitReason = ExitReason::Shutdown;
const NOTHING: [&str; 0] = [];

struct Driver {
    policy: Supervisor,
    now_ms: u64,
    timers: BTreeMap<TimerToken, u64>,
    ids: BTreeMap<Incarnation, String>,
    requests: u64,
    reports: Vec<Report>,
}

impl Driver {
    fn new(spec: SupervisorSpec) -> Self {
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
    fn up(spec: SupervisorSpec) -> Self {
        let children = spec.children.len() as u64;
        let mut driver = Self::new(spec);
        driver.event(Event::Start);
        for child in 1..=children {
            driver.ready(child);
        }
        driver
    }

    fn event(&mut self, event: Event) -> Vec<String> {
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

    fn ready(&mut self, life: u64) -> Vec<String> {
        self.event(Event::ChildReady { incarnation: Incarnation(life) })
    }

    fn exit(&mut self, life: u64, reason: ExitReason) -> Vec<String> {
        self.event(Event::ChildExited { incarnation: Incarnation(life), reason })
    }

    fn fail(&mut self, life: u64) -> Vec<String> {
        let reason = ExitReason::StartFailed("no".into());
        let incarnation = Incarnation(life);
        self.event(Event::ChildStartFailed { incarnation, reason, ignore: false })
    }

    fn ignore(&mut self, life: u64) -> Vec<String> {
        let (incarnation, reason) = (Incarnation(life), ExitReason::Normal);
        self.event(Event::ChildStartFailed { incarnation, reason, ignore: true })
    }

    fn ask(&mut self, what: Request) -> Vec<String> {
        self.requests += 1;
        self.event(Event::Request(RequestId(self.requests), what))
    }

    fn add(&mut self, spec: ChildSpec) -> Vec<String> {
        self.ask(Request::StartChild(Box::new(spec)))
    }

    fn terminate(&mut self, id: &str) -> Vec<String> {
        self.ask(Request::TerminateChild(ChildRef::Id(id.into())))
    }

    fn restart(&mut self, id: &str) -> Vec<String> {
        self.ask(Request::RestartChild(id.into()))
    }

    fn delete(&mut self, id: &str) -> Vec<String> {
        self.ask(Request::DeleteChild(id.into()))
    }

    fn stop(&mut self) -> Vec<String> {
        self.requests += 1;
        self.event(Event::Stop(RequestId(self.requests)))
    }

    /// Lets time pass, firing what comes due on the way.
    fn pass(&mut self, ms: u64) -> Vec<String> {
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

    fn states(&self) -> Vec<(String, ChildState)> {
        self.policy.which_children().into_iter().map(|child| (child.id, child.state)).collect()
    }

    fn reported(&self, wanted: impl Fn(&Report) -> bool) -> usize {
        self.reports.iter().filter(|report| wanted(report)).count()
    }
}

fn worker(id: &str) -> ChildSpec {
    ChildSpec::worker(id)
}

fn typed(id: &str, restart: Restart) -> ChildSpec {
    ChildSpec { restart, ..worker(id) }
}

/// With a budget that does not get in the way.
fn spec(strategy: Strategy, children: Vec<ChildSpec>) -> SupervisorSpec {
    let intensity = Intensity { max_restarts: 100, period: Duration::from_secs(5) };
    SupervisorSpec { children, intensity, ..SupervisorSpec::new(strategy) }
}

fn abc(strategy: Strategy) -> SupervisorSpec {
    spec(strategy, vec![worker("a"), worker("b"), worker("c")])
}

fn one(child: ChildSpec) -> SupervisorSpec {
    spec(Strategy::OneForOne, vec![child])
}

// Item 1: restart types.

#[test]
fn a_permanent_child_restarts_after_any_end() {
    let mut d = Driver::up(one(worker("a")));
    assert_eq!(d.exit(1, ExitReason::Normal), ["start a#2"]);
    d.ready(2);
    assert_eq!(d.exit(2, KILLED), ["start a#3"]);
}

#[test]
fn a_transient_child_restarts_after_an_abnormal_end_only() {
    let mut d = Driver::up(one(typed("a", Restart::Transient)));
    assert_eq!(d.exit(1, ExitReason::Hung), ["start a#2"]);
    d.ready(2);
    assert_eq!(d.exit(2, ExitReason::ShutdownWith("done".into())), NOTHING);
    assert_eq!(d.states(), [("a".to_string(), ChildState::Down)]);
}

#[test]
fn a_temporary_child_is_dropped_when_it_ends() {
    let mut d = Driver::up(one(typed("a", Restart::Temporary)));
    assert_eq!(d.exit(1, CRASH), ["forget a"]);
    assert_eq!(d.states(), []);
}

// Item 3: start.

#[test]
fn each_child_is_ready_before_the_next_one_starts() {
    let mut d = Driver::new(abc(Strategy::OneForOne));
    assert_eq!(d.event(Event::Start), ["start a#1"]);
    assert_eq!(d.ready(1), ["start b#2"]);
    assert_eq!(d.ready(2), ["start c#3"]);
    assert_eq!(d.ready(3), ["started"]);
    assert_eq!(d.event(Event::Start), NOTHING);
}

#[test]
fn a_failed_first_start_stops_the_started_in_reverse() {
    let mut d = Driver::new(abc(Strategy::OneForOne));
    d.event(Event::Start);
    d.ready(1);
    d.ready(2);
    assert_eq!(d.fail(3), ["stop b#2"]);
    assert_eq!(d.exit(2, ASKED), ["stop a#1"]);
    assert_eq!(d.exit(1, ASKED), ["exit failed_to_start_child(c): start failed: no"]);
}

#[test]
fn a_child_that_is_not_ready_in_time_is_killed_and_has_failed_when_its_end_is_read() {
    let mut d = Driver::new(abc(Strategy::OneForOne));
    d.event(Event::Start);
    assert_eq!(d.pass(9_999), NOTHING);
    assert_eq!(d.pass(1), ["kill a#1"]);
    assert_eq!(d.ready(1), NOTHING, "too late");
    assert_eq!(d.exit(1, KILLED), ["exit failed_to_start_child(a): start timeout"]);
}

#[test]
fn a_child_that_ignores_keeps_its_spec_unless_it_is_temporary() {
    let children = vec![worker("a"), typed("b", Restart::Temporary), worker("c")];
    let mut d = Driver::new(spec(Strategy::OneForOne, children));
    d.event(Event::Start);
    assert_eq!(d.ignore(1), ["start b#2"]);
    assert_eq!(d.ignore(2), ["forget b", "start c#3"]);
    assert_eq!(d.ready(3), ["started"]);
    let left = [("a".to_string(), ChildState::Down), ("c".to_string(), ChildState::Running)];
    assert_eq!(d.states(), left);
}

#[test]
fn a_death_before_all_are_up_is_acted_on_at_once() {
    let mut d = Driver::new(abc(Strategy::RestForOne));
    d.event(Event::Start);
    d.ready(1);
    assert_eq!(d.exit(1, CRASH), ["stop b#2"]);
    assert_eq!(d.exit(2, ASKED), ["start a#3"]);
    assert_eq!(d.ready(3), ["start b#4"]);
    assert_eq!(d.ready(4), ["start c#5"]);
    assert_eq!(d.ready(5), ["started"]);
}

// Item 4: strategies and requests.

#[test]
fn one_for_one_restarts_the_dead_child_alone_and_others_meanwhile() {
    let mut d = Driver::up(abc(Strategy::OneForOne));
    assert_eq!(d.exit(2, CRASH), ["start b#4"]);
    assert_eq!(d.exit(1, CRASH), ["start a#5"]);
}

#[test]
fn one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() {
    let mut d = Driver::up(abc(Strategy::OneForAll));
    assert_eq!(d.exit(2, CRASH), ["stop c#3"]);
    assert_eq!(d.exit(3, ASKED), ["stop a#1"]);
    assert_eq!(d.exit(1, ASKED), ["start a#4"]);
    assert_eq!(d.ready(4), ["start b#5"]);
    assert_eq!(d.ready(5), ["start c#6"]);
    assert_eq!(d.ready(6), NOTHING);
}

#[test]
fn rest_for_one_leaves_the_earlier_children_alone() {
    let mut d = Driver::up(abc(Strategy::RestForOne));
    assert_eq!(d.exit(2, CRASH), ["stop c#3"]);
    assert_eq!(d.exit(3, ASKED), ["start b#4"]);
    assert_eq!(d.ready(4), ["start c#5"]);
}

#[test]
fn a_group_restart_drops_temporary_children() {
    let children = vec![worker("a"), typed("b", Restart::Temporary), worker("c")];
    let mut d = Driver::up(spec(Strategy::OneForAll, children));
    d.exit(1, CRASH);
    assert_eq!(d.exit(3, ASKED), ["stop b#2"]);
    assert_eq!(d.exit(2, ASKED), ["forget b", "start a#4"]);
    assert_eq!(d.ready(4), ["start c#5"]);
}

#[test]
fn a_member_that_dies_before_its_turn_is_not_counted_again() {
    let mut d = Driver::up(abc(Strategy::OneForAll));
    d.exit(2, CRASH);
    assert_eq!(d.exit(1, CRASH), NOTHING, "c is still stopping");
    assert_eq!(d.exit(3, ASKED), ["start a#4"]);
    assert_eq!(d.reported(|r| matches!(r, Report::Restarting(_))), 1);
}

#[test]
fn an_earlier_death_widens_the_group_under_way() {
    let mut d = Driver::up(abc(Strategy::RestForOne));
    assert_eq!(d.exit(2, CRASH), ["stop c#3"]);
    assert_eq!(d.exit(1, CRASH), NOTHING);
    assert_eq!(d.exit(3, ASKED), ["start a#4"]);
    assert_eq!(d.ready(4), ["start b#5"]);
}

#[test]
fn a_failed_member_of_a_group_is_tried_again_with_all_that_its_strategy_takes() {
    let mut d = Driver::up(abc(Strategy::OneForAll));
    d.exit(3, CRASH);
    d.exit(2, ASKED);
    assert_eq!(d.exit(1, ASKED), ["start a#4"]);
    d.ready(4);
    assert_eq!(d.fail(5), ["stop a#4"]);
    assert_eq!(d.exit(4, ASKED), NOTHING);
    assert_eq!(d.pass(0), ["start a#6"]);
}

#[test]
fn terminating_the_failed_member_lets_the_rest_of_its_group_start() {
    let mut d = Driver::up(abc(Strategy::RestForOne));
    d.exit(2, CRASH);
    d.exit(3, ASKED);
    assert_eq!(d.fail(4), NOTHING);
    assert_eq!(d.terminate("b"), ["reply 1 Done", "start c#5"]);
}

#[test]
fn start_child_answers_as_otp_does() {
    let mut d = Driver::up(one(worker("a")));
    assert_eq!(d.add(worker("a")), ["reply 1 error: already started"]);
    assert_eq!(d.add(worker("b")), ["start b#2"]);
    assert_eq!(d.ready(2), ["reply 2 Started(Some(Incarnation(2)))"]);
    assert_eq!(d.add(worker("c")), ["start c#3"]);
    let failed = "reply 3 error: the child could not be started: start failed: no";
    assert_eq!(d.fail(3), [failed, "forget c"]);
    assert_eq!(d.add(worker("d")), ["start d#4"]);
    assert_eq!(d.ignore(4), ["reply 4 Started(None)"]);
    assert_eq!(d.add(worker("d")), ["reply 5 error: a child with this id is already present"]);
    let bad = ChildSpec { significant: true, ..worker("e") };
    assert_eq!(d.add(bad), ["reply 6 error: child \"e\" is significant and permanent"]);
}

#[test]
fn terminate_keeps_the_spec_restart_starts_it_and_delete_drops_it() {
    let mut d = Driver::up(one(worker("a")));
    assert_eq!(d.delete("a"), ["reply 1 error: the child is running"]);
    assert_eq!(d.restart("a"), ["reply 2 error: the child is running"]);
    assert_eq!(d.terminate("a"), ["stop a#1"]);
    assert_eq!(d.exit(1, ASKED), ["reply 3 Done"]);
    assert_eq!(d.terminate("a"), ["reply 4 Done"]);
    assert_eq!(d.restart("a"), ["start a#2"]);
    assert_eq!(d.fail(2), ["reply 5 error: the child could not be started: start failed: no"]);
    assert_eq!(d.delete("a"), ["forget a", "reply 6 Done"]);
    assert_eq!(d.terminate("a"), ["reply 7 error: no such child"]);
}

#[test]
fn requests_for_a_moving_child_wait_and_others_do_not() {
    let mut d = Driver::up(abc(Strategy::OneForOne));
    assert_eq!(d.terminate("a"), ["stop a#1"]);
    assert_eq!(d.restart("a"), NOTHING);
    assert_eq!(d.terminate("b"), ["stop b#2"]);
    assert_eq!(d.exit(1, ASKED), ["reply 1 Done", "start a#4"]);
    assert_eq!(d.ready(4), ["reply 2 Started(Some(Incarnation(4)))"]);
}

#[test]
fn a_start_that_a_groups_restart_breaks_off_is_answered_and_not_kept() {
    for ready_before_its_turn in [false, true] {
        let mut d = Driver::up(abc(Strategy::OneForAll));
        assert_eq!(d.terminate("c"), ["stop c#3"]);
        assert_eq!(d.add(worker("d")), ["start d#4"]);
        let interrupted = "reply 2 error: the start was interrupted by a sibling's restart";
        assert_eq!(d.exit(2, CRASH), [interrupted, "stop d#4"]);
        if ready_before_its_turn {
            d.ready(4);
        }
        assert_eq!(d.exit(4, ASKED), ["forget d"]);
        assert_eq!(d.exit(3, ASKED), ["reply 1 Done", "stop a#1"]);
    }
}

#[test]
fn a_dynamic_supervisor_starts_from_its_template_up_to_its_cap() {
    let mut d = Driver::new(spec(Strategy::Dynamic { max_children: 2 }, vec![worker("w")]));
    assert_eq!(d.event(Event::Start), ["started"]);
    assert_eq!(d.ask(Request::StartDynamic), ["start w#1"]);
    assert_eq!(d.ask(Request::StartDynamic), ["start w#2"]);
    assert_eq!(d.ask(Request::StartDynamic), ["reply 3 error: max_children is 2"]);
    assert_eq!(d.ready(2), ["reply 2 Started(Some(Incarnation(2)))"]);
    let failed = "reply 1 error: the child could not be started: start failed: no";
    assert_eq!(d.fail(1), [failed, "forget w"]);
    assert_eq!(d.exit(2, CRASH), ["start w#3"]);
    d.ready(3);
    let counts = ChildCounts { specs: 1, active: 1, supervisors: 0, workers: 1 };
    assert_eq!(d.policy.count_children(), counts);
    assert_eq!(d.ask(Request::TerminateChild(ChildRef::Incarnation(Incarnation(3)))), ["stop w#3"]);
    assert_eq!(d.exit(3, ASKED), ["reply 4 Done", "forget w"]);
}

#[test]
fn a_dynamic_supervisor_refuses_ids_and_stops_all_at_once() {
    let mut d = Driver::new(spec(Strategy::Dynamic { max_children: 9 }, vec![worker("w")]));
    d.event(Event::Start);
    for life in 1..=3 {
        d.ask(Request::StartDynamic);
        d.ready(life);
    }
    for answer in [d.restart("w"), d.delete("w"), d.terminate("w"), d.add(worker("x"))] {
        assert!(answer[0].ends_with("not possible with this supervisor's strategy"), "{answer:?}");
    }
    assert_eq!(d.stop(), ["stop w#1", "stop w#2", "stop w#3"]);
    assert_eq!(d.pass(5_000), ["kill w#1", "kill w#2", "kill w#3"]);
    d.exit(2, KILLED);
    d.exit(1, KILLED);
    assert_eq!(d.exit(3, KILLED), ["forget w", "reply 8 Done", "exit shutdown"]);
}

#[test]
fn queries_tell_the_living_from_the_dead() {
    let children = vec![worker("a"), ChildSpec::supervisor("s"), typed("t", Restart::Transient)];
    let mut d = Driver::up(spec(Strategy::OneForOne, children));
    d.exit(3, ExitReason::Normal);
    let counts = ChildCounts { specs: 3, active: 2, supervisors: 1, workers: 2 };
    assert_eq!(d.policy.count_children(), counts);
    assert_eq!(d.policy.childspec("s"), Some(&ChildSpec::supervisor("s")));
    assert_eq!(d.policy.childspec("x"), None);
}

// Items 5 and 6: intensity and giving up.

fn tight(strategy: Strategy) -> SupervisorSpec {
    SupervisorSpec { intensity: Intensity::default(), ..abc(strategy) }
}

#[test]
fn more_restarts_than_the_intensity_end_the_supervisor_in_reverse_order() {
    let mut d = Driver::up(tight(Strategy::OneForOne));
    assert_eq!(d.exit(1, CRASH), ["start a#4"]);
    d.ready(4);
    assert_eq!(d.exit(2, CRASH), ["stop c#3"], "the budget is the supervisor's, not the child's");
    assert_eq!(d.exit(3, ASKED), ["stop a#4"]);
    let gave_up = "exit reached_max_restart_intensity, last by child \"b\": exit code 1";
    assert_eq!(d.exit(4, ASKED), [gave_up]);
    assert_eq!(d.reported(|r| matches!(r, Report::ReachedMaxRestartIntensity(_))), 1);
    assert_eq!(SupervisorExit::GaveUp { history: vec![] }.reason(), ExitReason::Shutdown);
}

#[test]
fn restarts_further_apart_than_the_period_go_on_for_ever() {
    let mut d = Driver::up(SupervisorSpec { intensity: Intensity::default(), ..one(worker("a")) });
    for life in 1..100 {
        assert_eq!(d.exit(life, CRASH), [format!("start a#{}", life + 1)]);
        d.ready(life + 1);
        d.pass(5_001);
    }
}

#[test]
fn a_group_counts_once() {
    let mut d = Driver::up(tight(Strategy::OneForAll));
    d.exit(1, CRASH);
    d.exit(3, ASKED);
    assert_eq!(d.exit(2, ASKED), ["start a#4"]);
    for life in 4..=6 {
        d.ready(life);
    }
    assert_eq!(d.exit(6, CRASH), ["stop b#5"], "one attempt was allowed");
    d.exit(5, ASKED);
    assert!(d.exit(4, ASKED)[0].starts_with("exit reached_max"));
}

#[test]
fn a_failed_restart_queues_up_and_counts_as_another_attempt() {
    let mut d = Driver::up(tight(Strategy::OneForOne));
    d.exit(1, CRASH);
    assert_eq!(d.fail(4), NOTHING, "it waits for its turn in the mailbox");
    assert_eq!(d.states()[0].1, ChildState::Restarting);
    assert_eq!(d.restart("a"), ["reply 1 error: the child is being restarted"]);
    assert_eq!(d.pass(0), ["stop c#3"], "a second attempt is too many");
}

#[test]
fn terminate_is_served_between_two_failed_restarts() {
    let mut d = Driver::up(abc(Strategy::OneForOne));
    d.exit(1, CRASH);
    assert_eq!(d.terminate("a"), NOTHING, "it waits for the start to end");
    assert_eq!(d.fail(4), ["reply 1 Done"]);
    assert_eq!(d.pass(60_000), NOTHING);
    assert_eq!(d.states()[0].1, ChildState::Down);
}

// Item 7: stop.

#[test]
fn a_stop_goes_in_reverse_order_one_after_the_other() {
    let mut d = Driver::up(abc(Strategy::OneForOne));
    assert_eq!(d.stop(), ["stop c#3"]);
    assert_eq!(d.exit(3, ASKED), ["stop b#2"]);
    assert_eq!(d.add(worker("d")), ["reply 2 error: the supervisor is shutting down"]);
    assert_eq!(d.exit(2, ExitReason::Normal), ["stop a#1"]);
    assert_eq!(d.stop(), NOTHING);
    assert_eq!(d.exit(1, ASKED), ["reply 1 Done", "reply 3 Done", "exit shutdown"]);
    assert_eq!(d.stop(), ["reply 4 Done"]);
    assert_eq!(d.reported(|r| matches!(r, Report::ShutdownError(..))), 0);
}

#[test]
fn a_child_that_does_not_stop_is_killed_at_its_deadline_and_reported() {
    let mut d = Driver::up(one(worker("a")));
    d.stop();
    assert_eq!(d.pass(4_999), NOTHING);
    assert_eq!(d.pass(1), ["kill a#1"]);
    assert_eq!(d.ready(1), NOTHING, "only its end ends the wait");
    assert_eq!(d.exit(1, KILLED), ["reply 1 Done", "exit shutdown"]);
    assert_eq!(d.reported(|r| matches!(r, Report::ShutdownError(..))), 1);
}

#[test]
fn brutal_kill_kills_at_once_and_is_no_error() {
    let mut d = Driver::up(one(ChildSpec { shutdown: Shutdown::BrutalKill, ..worker("a") }));
    assert_eq!(d.stop(), ["kill a#1"]);
    d.exit(1, KILLED);
    assert_eq!(d.reported(|r| matches!(r, Report::ShutdownError(..))), 0);
}

#[test]
fn infinity_waits_and_says_so_every_10_seconds() {
    let mut d = Driver::up(one(ChildSpec::supervisor("s")));
    d.stop();
    assert_eq!(d.pass(35_000), NOTHING);
    assert_eq!(d.reported(|r| matches!(r, Report::StillStopping { .. })), 3);
    assert_eq!(d.exit(1, ASKED), ["reply 1 Done", "exit shutdown"]);
}

#[test]
fn a_child_that_never_gets_ready_cannot_hold_up_a_stop() {
    let mut d = Driver::new(one(ChildSpec::supervisor("s")));
    d.event(Event::Start);
    d.pass(4_000);
    assert_eq!(d.stop(), ["stop s#1"]);
    assert_eq!(d.pass(6_000), ["kill s#1"], "at its start deadline");
    assert_eq!(d.exit(1, KILLED), ["reply 1 Done", "exit shutdown"]);
}

#[test]
fn a_stop_in_the_middle_of_a_groups_restart_starts_nothing_more() {
    let mut d = Driver::up(abc(Strategy::OneForAll));
    d.exit(2, CRASH);
    assert_eq!(d.stop(), NOTHING, "c is stopping already");
    assert_eq!(d.exit(3, ASKED), ["stop a#1"]);
    assert_eq!(d.exit(1, ASKED), ["reply 1 Done", "exit shutdown"]);
}

#[test]
fn a_stop_before_the_start_ends_at_once() {
    let mut d = Driver::new(abc(Strategy::OneForAll));
    assert_eq!(d.stop(), ["reply 1 Done", "exit shutdown"]);
    assert_eq!(d.event(Event::Start), NOTHING);
}

fn significant(auto_shutdown: AutoShutdown) -> SupervisorSpec {
    let significant = |id| ChildSpec { significant: true, ..typed(id, Restart::Transient) };
    let children = vec![significant("a"), significant("b"), worker("c")];
    SupervisorSpec { auto_shutdown, ..spec(Strategy::OneForOne, children) }
}

#[test]
fn any_significant_child_ends_the_supervisor() {
    let mut d = Driver::up(significant(AutoShutdown::AnySignificant));
    assert_eq!(d.exit(1, CRASH), ["start a#4"], "a restarted child has not ended for good");
    d.ready(4);
    assert_eq!(d.exit(2, ExitReason::Normal), ["stop c#3"]);
    assert_eq!(d.exit(3, ASKED), ["stop a#4"]);
    assert_eq!(d.exit(4, ASKED), ["exit shutdown"]);
}

#[test]
fn the_last_significant_child_ends_the_supervisor() {
    let mut d = Driver::up(significant(AutoShutdown::AllSignificant));
    assert_eq!(d.exit(1, ExitReason::Normal), NOTHING);
    assert_eq!(d.exit(2, ExitReason::Normal), ["stop c#3"]);
}

#[test]
fn terminating_a_significant_child_ends_nothing() {
    let mut d = Driver::up(significant(AutoShutdown::AnySignificant));
    d.terminate("a");
    assert_eq!(d.exit(1, ASKED), ["reply 1 Done"]);
}

// Item 12: backoff.

fn slow(id: &str) -> ChildSpec {
    let backoff = Backoff { jitter_percent: 0, ..Backoff::default() };
    ChildSpec { backoff: Some(backoff), ..worker(id) }
}

#[test]
fn backoff_begins_with_the_second_restart_and_ends_with_health() {
    let mut d = Driver::up(one(slow("a")));
    assert_eq!(d.exit(1, CRASH), ["start a#2"]);
    d.ready(2);
    assert_eq!(d.exit(2, CRASH), NOTHING);
    assert_eq!(d.pass(99), NOTHING);
    assert_eq!(d.pass(1), ["start a#3"]);
    assert_eq!(d.fail(3), NOTHING);
    assert_eq!(d.pass(199), NOTHING);
    assert_eq!(d.pass(1), ["start a#4"]);
    d.ready(4);
    d.pass(30_000);
    assert_eq!(d.exit(4, CRASH), ["start a#5"], "it was healthy");
}

#[test]
fn a_backoff_is_cancelled_by_terminate_and_by_stop() {
    for by_stop in [false, true] {
        let mut d = Driver::up(one(slow("a")));
        d.exit(1, CRASH);
        d.ready(2);
        d.exit(2, CRASH);
        let answer = if by_stop { d.stop() } else { d.terminate("a") };
        assert_eq!(answer[0], "reply 1 Done");
        assert!(d.timers.is_empty());
    }
}

#[test]
fn a_group_is_down_while_its_dead_member_backs_off() {
    let mut d = Driver::up(spec(Strategy::OneForAll, vec![slow("a"), worker("b")]));
    d.exit(1, CRASH);
    d.exit(2, ASKED);
    d.ready(3);
    d.ready(4);
    assert_eq!(d.exit(3, CRASH), ["stop b#4"]);
    assert_eq!(d.pass(1_000), NOTHING, "the delay counts from when the group is down");
    assert_eq!(d.exit(4, ASKED), NOTHING);
    assert_eq!(d.pass(99), NOTHING);
    assert_eq!(d.pass(1), ["start a#5"]);
}

// What crosses on the way.

#[test]
fn stale_events_are_ignored() {
    let mut d = Driver::up(one(worker("a")));
    d.exit(1, CRASH);
    assert_eq!(d.ready(1), NOTHING);
    assert_eq!(d.exit(1, CRASH), NOTHING);
    assert_eq!(d.fail(77), NOTHING);
    assert_eq!(d.event(Event::Timer(TimerToken(1))), NOTHING);
    assert_eq!(d.ready(2), NOTHING);
    assert_eq!(d.ready(2), NOTHING);
    assert_eq!(d.states(), [("a".to_string(), ChildState::Running)]);
}

#[test]
fn requests_beyond_the_bound_are_refused() {
    let mut d = Driver::new(abc(Strategy::OneForOne));
    d.event(Event::Start);
    for _ in 0..1_024 {
        assert_eq!(d.delete("a"), NOTHING);
    }
    assert_eq!(d.delete("a"), ["reply 1025 error: too many requests are waiting"]);
    assert_eq!(d.stop()[..1], ["reply 1 error: the supervisor is shutting down"]);
}
