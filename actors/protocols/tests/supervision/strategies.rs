//! Which children a death concerns, and in which order.

use super::driver::{ASKED, CRASH, Driver, KILLED, NOTHING, abc, spec, typed, worker};
use procession_protocols::supervision::event::{
    ChildCounts, ChildRef, Event, Incarnation, Report, Request,
};
use procession_protocols::supervision::spec::{Restart, Strategy};

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
