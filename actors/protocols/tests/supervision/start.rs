//! The first start, and what arrives late.

use super::driver::{ASKED, CRASH, Driver, KILLED, NOTHING, abc, one, spec, typed, worker};
use procession_protocols::supervision::event::{ChildState, Event, TimerToken};
use procession_protocols::supervision::spec::{Restart, Strategy};

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
