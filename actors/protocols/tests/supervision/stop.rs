//! Stops, their deadlines and their order; auto-shutdown.

use super::driver::{ASKED, CRASH, Driver, KILLED, NOTHING, abc, one, spec, typed, worker};
use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::event::{Event, Report};
use procession_protocols::supervision::spec::{
    AutoShutdown, ChildSpec, Restart, Shutdown, Strategy, SupervisorSpec,
};

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
