//! The scheduler of a pool against a random world: workers that start, fail to start, work,
//! and are killed between any two steps, while tasks are submitted and cancelled and time
//! passes.
//!
//! What must hold: each task ends once; none that finished is lost; none is begun twice but
//! after a death, with retries; one that was never begun does not end in its worker's
//! death; a close and a terminate end.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod holding;
mod readers;
mod world;

use procession_protocols::pool::{Effect, End, Options, Scheduler, Terms, WorkerId};
use procession_protocols::supervision::intensity::Intensity;
use proptest::prelude::*;
use std::collections::BTreeMap;
use world::{Setup, Step, World};

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u32..6, 0u32..3, 0u64..40)
            .prop_map(|(items, retries, limit)| Step::Submit { items, retries, limit }),
        4 => (1u32..6, 0u32..3).prop_map(|(items, retries)| Step::Leave { items, retries }),
        4 => Just(Step::Start),
        1 => Just(Step::FailToStart),
        12 => any::<u8>().prop_map(Step::Work),
        8 => any::<u8>().prop_map(Step::Receive),
        3 => any::<u8>().prop_map(Step::Kill),
        3 => Just(Step::Bury),
        2 => (0u64..10).prop_map(Step::Pass),
        1 => any::<u8>().prop_map(Step::Cancel),
        1 => any::<u8>().prop_map(Step::Withdraw),
        1 => any::<u8>().prop_map(Step::Outgrow),
        1 => any::<u8>().prop_map(Step::Hurry),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    (
        1usize..4,
        prop_oneof![Just(None), (1u32..4).prop_map(Some)],
        0u32..30,
        any::<bool>(),
        prop_oneof![Just(None), (1u64..20).prop_map(Some)],
    )
        .prop_map(|(workers, max_tasks, budget, on_demand, idle_ms)| Setup {
            workers,
            max_tasks,
            budget,
            on_demand,
            idle_ms,
        })
}

proptest! {
    #![proptest_config(crate::config(200))]

    #[test]
    fn a_closed_pool_ends_with_every_task(
        setup in setup(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new(setup);
        for step in steps {
            world.step(step);
        }
        world.close();
        world.settle();
        world.check();
    }

    #[test]
    fn a_terminated_pool_ends_at_once(
        setup in setup(),
        steps in prop::collection::vec(step(), 0..80),
        after_close in any::<bool>(),
    ) {
        let mut world = World::new(setup);
        for step in steps {
            world.step(step);
        }
        if after_close {
            world.close();
        }
        world.terminate();
        prop_assert_eq!(world.unfinished(), 0, "no task outlives it");
        prop_assert!(world.is_ending(), "nor does a worker, one that is starting least of all");
        world.settle();
        world.check();
    }
}

/// A worker is killed after each step of the same run, one after another.
#[test]
fn a_death_at_every_step_costs_one_task_at_most() {
    for at in 0..80 {
        let mut world = World::new(Setup {
            workers: 2,
            max_tasks: None,
            budget: 5,
            on_demand: false,
            idle_ms: None,
        });
        world.step(Step::Start);
        world.step(Step::Start);
        for number in 0..80u8 {
            if number == at {
                world.step(Step::Kill(at));
            }
            let step = match number % 5 {
                0 => Step::Submit { items: 1 + u32::from(number % 3), retries: 0, limit: 0 },
                1 | 2 => Step::Work(number / 3),
                _ => Step::Receive(number / 2),
            };
            world.step(step);
        }
        world.close();
        world.settle();
        world.check();
        let lost = world.ends().flatten().count();
        assert!(lost <= 1, "{lost} tasks ended with one death");
    }
}

#[test]
fn tasks_of_one_worker_are_begun_in_order() {
    let mut world = World::new(Setup {
        workers: 1,
        max_tasks: Some(3),
        budget: 0,
        on_demand: false,
        idle_ms: None,
    });
    for _ in 0..10 {
        world.step(Step::Submit { items: 1, retries: 0, limit: 0 });
    }
    world.close();
    world.settle();
    world.check();
    assert!(world.begun_in_order.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(world.ends().filter(Option::is_none).count(), 10);
}

#[test]
fn workers_that_never_begin_anything_break_the_pool() {
    let mut world = World::new(Setup {
        workers: 1,
        max_tasks: None,
        budget: 2,
        on_demand: false,
        idle_ms: None,
    });
    world.step(Step::Submit { items: 1, retries: 5, limit: 0 });
    for _ in 0..3 {
        world.step(Step::FailToStart);
    }
    assert_eq!(world.ends().collect::<Vec<_>>(), [Some(End::Broken)]);
    world.check();
}

/// The time limit of one task takes its worker, and the task behind it is given to another.
#[test]
fn a_time_limit_condemns_one_task() {
    let mut world = World::new(Setup {
        workers: 1,
        max_tasks: None,
        budget: 0,
        on_demand: false,
        idle_ms: None,
    });
    world.step(Step::Start);
    world.step(Step::Submit { items: 1, retries: 0, limit: 5 });
    world.step(Step::Submit { items: 1, retries: 0, limit: 0 });
    world.step(Step::Work(0));
    world.step(Step::Pass(10));
    world.close();
    world.settle();
    world.check();
    assert_eq!(world.ends().collect::<Vec<_>>(), [Some(End::TimedOut), None]);
}

/// A task is cancelled while its worker is being asked what it has begun, for another's sake:
/// if it has begun that task, it is ended as soon as the answer is there.
#[test]
fn a_cancel_that_comes_during_a_take_back_ends_its_task() {
    let budget = Intensity { max_restarts: 0, period: std::time::Duration::from_secs(1) };
    let options = Options { workers: 1, max_tasks: None, budget, on_demand: false, idle_ms: None };
    let (mut scheduler, mut out) = (Scheduler::new(options), Vec::new());
    let worker = WorkerId(1);
    scheduler.begin(&mut out);
    scheduler.ready(worker, 0, &mut out);
    let wanted = scheduler.submit("wanted", 1, Terms::default(), 0, &mut out).unwrap();
    let other = scheduler.submit("other", 1, Terms::default(), 0, &mut out).unwrap();
    out.clear();
    scheduler.withdraw(&[other], &mut out);
    let take_back = Effect::TakeBack { worker, last: 2 };
    assert_eq!(std::mem::take(&mut out), [take_back]);
    // It can be asked only once at a time.
    scheduler.cancel(&[wanted], 0, &mut out);
    assert_eq!(out, []);
    // The worker was at it, and had not begun the other.
    scheduler.taken_back(worker, 1, 0, &mut out);
    let [Effect::Deliver { task: "other", end: End::Cancelled, .. }, Effect::TakeBack { .. }] =
        out[..]
    else {
        panic!("{out:?}")
    };
    out.clear();
    scheduler.taken_back(worker, 1, 0, &mut out);
    assert_eq!(std::mem::take(&mut out), [Effect::Kill(worker)]);
    scheduler.died(worker, 1, 0, &mut out);
    let [Effect::Deliver { task: "wanted", end: End::Cancelled, is_last: true, .. }, ..] = out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(scheduler.unfinished(), 0);
}

/// A task that is withdrawn ends at once though what was taken back with it fills the queue
/// before it, and no worker has room.
#[test]
fn a_withdrawn_task_waits_for_no_room() {
    let (max_tasks, idle_ms) = (None, None);
    let mut world =
        World::new(Setup { workers: 3, max_tasks, budget: 1, on_demand: true, idle_ms });
    let submit = |items| Step::Submit { items, retries: 0, limit: 0 };
    for step in [submit(1), submit(2), Step::Start, Step::Start, submit(1), submit(1)] {
        world.step(step);
    }
    // Now a worker may come, so that those that are there are given nothing ahead.
    world.step(Step::FailToStart);
    world.step(Step::Withdraw(3));
    assert_eq!(world.ends().collect::<Vec<_>>(), [Some(End::Cancelled)]);
    world.close();
    world.settle();
    world.check();
}

/// What is left goes to a worker at the next look at the time, and is not left at all where
/// that would be long.
#[test]
fn a_task_is_left_for_a_moment_and_to_fast_workers_only() {
    let leave = Step::Leave { items: 1, retries: 0 };
    let mut world = World::new(Setup {
        workers: 1,
        max_tasks: None,
        budget: 0,
        on_demand: false,
        idle_ms: None,
    });
    world.step(Step::Start);
    for step in [leave, Step::Work(0), Step::Work(0), Step::Receive(0)] {
        world.step(step);
    }
    assert_eq!(world.begun_in_order.len(), 1, "nobody knew that the worker is fast");
    for step in [Step::Hurry(0), leave, Step::Work(0)] {
        world.step(step);
    }
    assert_eq!(world.begun_in_order.len(), 1);
    for step in [Step::Pass(0), Step::Work(0)] {
        world.step(step);
    }
    assert_eq!(world.begun_in_order.len(), 2);
    world.close();
    world.settle();
    world.check();
}

/// A worker is started only when no other is idle or about to start for the task.
#[test]
fn workers_come_on_demand() {
    let mut world = World::new(Setup {
        workers: 3,
        max_tasks: None,
        budget: 0,
        on_demand: true,
        idle_ms: None,
    });
    assert_eq!(world.workers(), 0);
    for submitted in 1..=5 {
        world.step(Step::Submit { items: 1, retries: 0, limit: 0 });
        assert_eq!(world.workers(), submitted.min(3));
    }
    world.close();
    world.settle();
    world.check();
    assert_eq!(world.ends().filter(Option::is_none).count(), 5);

    let mut world = World::new(Setup {
        workers: 3,
        max_tasks: None,
        budget: 0,
        on_demand: true,
        idle_ms: None,
    });
    for _ in 0..3 {
        world.step(Step::Submit { items: 1, retries: 0, limit: 0 });
        for step in [Step::Start, Step::Work(0), Step::Work(0), Step::Receive(0)] {
            world.step(step);
        }
        assert_eq!((world.workers(), world.unfinished()), (1, 0));
    }
}

/// As long as another worker may come a task does not wait behind one that is busy.
#[test]
fn a_task_that_finds_only_busy_workers_gets_another() {
    let idle_ms = Some(10);
    let mut world =
        World::new(Setup { workers: 2, max_tasks: None, budget: 0, on_demand: false, idle_ms });
    let submit = Step::Submit { items: 1, retries: 0, limit: 0 };
    for step in [Step::Start, Step::Start, submit, Step::Work(0), Step::Pass(10)] {
        world.step(step);
    }
    // The other one leaves.
    for step in [Step::Work(1), Step::Bury] {
        world.step(step);
    }
    assert_eq!(world.workers(), 1);
    for step in [submit, Step::Start, Step::Work(1)] {
        world.step(step);
    }
    assert_eq!((world.workers(), world.begun_in_order.len()), (2, 2));
    world.close();
    world.settle();
    world.check();
}

/// However short its limit, an item that is about to be begun costs no worker; but one that
/// begins nothing at all is ended.
#[test]
fn a_time_limit_leaves_time_to_begin() {
    let budget = Intensity { max_restarts: 0, period: std::time::Duration::from_secs(1) };
    let options = Options { workers: 1, max_tasks: None, budget, on_demand: false, idle_ms: None };
    for begins in [true, false] {
        let (mut scheduler, mut out) = (Scheduler::new(options), Vec::new());
        let worker = WorkerId(1);
        scheduler.begin(&mut out);
        scheduler.ready(worker, 0, &mut out);
        let terms = Terms { limit_ms: Some(0), retries: 0 };
        scheduler.submit("task", 1, terms, 0, &mut out).unwrap();
        out.clear();
        scheduler.tick(0, &mut out);
        assert_eq!(std::mem::take(&mut out), [Effect::TakeBack { worker, last: 1 }]);
        scheduler.taken_back(worker, 0, 0, &mut out);
        let [Effect::Send { number: 2, .. }] = out[..] else { panic!("{out:?}") };
        out.clear();
        assert_eq!(scheduler.next_deadline(), Some(1));
        // Either it has begun by then, or it never does.
        let (mut now, mut sent) = (0, 2);
        while !out.contains(&Effect::Kill(worker)) {
            now = scheduler.next_deadline().unwrap();
            out.clear();
            scheduler.tick(now, &mut out);
            assert_eq!(std::mem::take(&mut out), [Effect::TakeBack { worker, last: sent }]);
            scheduler.taken_back(worker, if begins { 2 } else { 0 }, now, &mut out);
            sent += 1;
        }
        assert!(if begins { now == 1 } else { (500..2_500).contains(&now) }, "{now}");
        out.clear();
        scheduler.died(worker, if begins { 2 } else { 0 }, now, &mut out);
        let is_over = matches!(out[0], Effect::Deliver { end: End::TimedOut, is_last: true, .. });
        assert_eq!(is_over, begins, "what nobody began is tried again: {out:?}");
    }
}

/// Who does not begin its only task loses it to one that is idle, and is given others last.
#[test]
fn what_is_not_begun_is_done_by_one_that_is_idle() {
    let budget = Intensity { max_restarts: 0, period: std::time::Duration::from_secs(1) };
    let options = Options { workers: 2, max_tasks: None, budget, on_demand: false, idle_ms: None };
    let (mut scheduler, mut out) = (Scheduler::new(options), Vec::new());
    let [first, second] = [WorkerId(1), WorkerId(2)];
    let submit = |scheduler: &mut Scheduler<_>, now, out: &mut Vec<_>| {
        scheduler.submit("task", 1, Terms { limit_ms: None, retries: 0 }, now, out).unwrap();
        let [Effect::Send { worker, .. }] = out[..] else { panic!("{out:?}") };
        out.clear();
        worker
    };
    scheduler.begin(&mut out);
    scheduler.ready(first, 0, &mut out);
    scheduler.ready(second, 0, &mut out);
    out.clear();
    assert_eq!(submit(&mut scheduler, 0, &mut out), first);
    let at = scheduler.next_deadline().unwrap();
    assert!(at >= 50, "one that is about to begin is left alone");
    scheduler.tick(at - 1, &mut out);
    assert_eq!(out, []);
    scheduler.tick(at, &mut out);
    assert_eq!(std::mem::take(&mut out), [Effect::TakeBack { worker: first, last: 1 }]);
    scheduler.taken_back(first, 0, at, &mut out);
    let [Effect::Send { worker, number: 1, .. }] = out[..] else { panic!("{out:?}") };
    assert_eq!(worker, second);
    // Both are idle again, but one of them has begun what it was given.
    scheduler.advance(second, 1, at, &mut out);
    out.clear();
    assert_eq!(submit(&mut scheduler, at, &mut out), second);
    assert_eq!(submit(&mut scheduler, at, &mut out), first);
}

/// Two that both are too slow to begin have more and more time for it.
#[test]
fn an_item_does_not_go_to_and_fro() {
    let budget = Intensity { max_restarts: 0, period: std::time::Duration::from_secs(1) };
    let options = Options { workers: 2, max_tasks: None, budget, on_demand: false, idle_ms: None };
    let (mut scheduler, mut out) = (Scheduler::new(options), Vec::new());
    scheduler.begin(&mut out);
    scheduler.ready(WorkerId(1), 0, &mut out);
    scheduler.ready(WorkerId(2), 0, &mut out);
    scheduler.submit("task", 1, Terms { limit_ms: None, retries: 0 }, 0, &mut out).unwrap();
    let (mut sent, mut last) = (BTreeMap::from([(WorkerId(1), 1)]), 0);
    for turn in 0..12 {
        let now = scheduler.next_deadline().unwrap();
        assert!(now - last >= [50, 500][usize::from(turn >= 6)], "{turn}: {now}, {last}");
        last = now;
        out.clear();
        scheduler.tick(now, &mut out);
        let [Effect::TakeBack { worker, .. }] = out[..] else { panic!("{out:?}") };
        out.clear();
        scheduler.taken_back(worker, 0, now, &mut out);
        let [Effect::Send { worker: other, number, .. }] = out[..] else { panic!("{out:?}") };
        assert_ne!(other, worker);
        let before = sent.insert(other, number).unwrap_or(0);
        assert_eq!(number, before + 1);
    }
}

/// A death in the middle of a task: what is before has its result, what is behind is done.
#[test]
fn a_death_costs_one_item_of_its_task() {
    let mut world = World::new(Setup {
        workers: 1,
        max_tasks: None,
        budget: 0,
        on_demand: false,
        idle_ms: None,
    });
    world.step(Step::Start);
    world.step(Step::Submit { items: 5, retries: 0, limit: 0 });
    for _ in 0..5 {
        world.step(Step::Work(0));
    }
    world.step(Step::Kill(0));
    world.close();
    world.settle();
    world.check();
    let ends: Vec<_> = world.ends().collect();
    assert_eq!(ends, [None, None, Some(End::Died), None, None]);
}

/// An idle worker takes half of what one that does not get on has not begun.
#[test]
fn an_idle_worker_takes_items_from_a_busy_one() {
    let mut world = World::new(Setup {
        workers: 2,
        max_tasks: None,
        budget: 0,
        on_demand: false,
        idle_ms: None,
    });
    world.step(Step::Start);
    world.step(Step::Submit { items: 9, retries: 0, limit: 0 });
    world.step(Step::Work(0));
    world.step(Step::Start);
    world.step(Step::Pass(2));
    for _ in 0..8 {
        world.step(Step::Work(1));
    }
    assert_eq!(world.begun_in_order.len(), 5, "one here, four there");
    world.close();
    world.settle();
    world.check();
    assert_eq!(world.ends().filter(Option::is_none).count(), 9);
}

/// A worker that has nothing to do is let go after a while; the next task gets another.
#[test]
fn idle_workers_leave_and_come_back_on_demand() {
    let idle_ms = Some(10);
    let mut world =
        World::new(Setup { workers: 2, max_tasks: None, budget: 0, on_demand: false, idle_ms });
    assert_eq!(world.workers(), 2);
    world.step(Step::Start);
    world.step(Step::Start);
    world.step(Step::Pass(10));
    for step in [Step::Work(0), Step::Work(1), Step::Bury] {
        world.step(step);
    }
    assert_eq!(world.workers(), 0);
    world.step(Step::Submit { items: 1, retries: 0, limit: 0 });
    assert_eq!(world.workers(), 1);
    world.close();
    world.settle();
    world.check();
    assert_eq!(world.ends().collect::<Vec<_>>(), [None]);
}
