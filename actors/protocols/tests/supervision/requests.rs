//! What callers ask, when it is served, and the answers.

use super::driver::{ASKED, CRASH, Driver, NOTHING, abc, one, spec, typed, worker};
use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::event::{ChildCounts, Event};
use procession_protocols::supervision::spec::{ChildSpec, Restart, Strategy};

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
        let mut d = Driver::up(spec(Strategy::OneForAll, vec![worker("a")]));
        assert_eq!(d.add(worker("b")), ["start b#2"]);
        assert_eq!(d.add(worker("c")), ["start c#3"]);
        let interrupted = "error: the start was interrupted by a sibling's restart";
        let answers = [format!("reply 1 {interrupted}"), format!("reply 2 {interrupted}")];
        assert_eq!(d.exit(1, CRASH), [&answers[..], &["stop c#3".to_string()]].concat());
        if ready_before_its_turn {
            d.ready(2);
        }
        assert_eq!(d.exit(3, ASKED), ["forget c", "stop b#2"]);
        assert_eq!(d.exit(2, ASKED), ["forget b", "start a#4"]);
        assert_eq!(d.ready(4), NOTHING);
    }
}

#[test]
fn a_start_that_a_stop_breaks_off_is_answered_at_once() {
    let mut d = Driver::up(one(worker("a")));
    d.add(worker("b"));
    assert_eq!(d.stop(), ["reply 1 error: the supervisor is shutting down", "stop b#2"]);
    assert_eq!(d.exit(2, ASKED), ["forget b", "stop a#1"]);
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
