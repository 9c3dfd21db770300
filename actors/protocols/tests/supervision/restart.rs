//! When a child restarts, when that is delayed, and when it is too often.

use super::driver::{ASKED, CRASH, Driver, KILLED, NOTHING, abc, one, spec, typed, worker};
use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::backoff::Backoff;
use procession_protocols::supervision::event::{ChildState, Report, SupervisorExit};
use procession_protocols::supervision::intensity::Intensity;
use procession_protocols::supervision::spec::{ChildSpec, Restart, Strategy, SupervisorSpec};

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

#[test]
fn an_earlier_death_takes_a_waiting_member_into_its_group_at_once() {
    let mut d = Driver::up(spec(Strategy::RestForOne, vec![worker("a"), slow("b")]));
    d.exit(2, CRASH);
    d.ready(3);
    assert_eq!(d.exit(3, CRASH), NOTHING);
    assert_eq!(d.exit(1, CRASH), ["start a#4"]);
    assert_eq!(d.ready(4), ["start b#5"]);
}
