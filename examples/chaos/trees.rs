//! A trial of supervised trees: workers are hit under load and started again.
//!
//! Checked: each call is answered within its limit and five seconds, whatever happens to the
//! worker; after the last fault all children are up, with their old references; a stop
//! takes the whole tree away, and references give errors then.

use crate::actors::{LIMIT, PATIENCE, SLACK, Worker, WorkerRef, timed};
use crate::random::Random;
use crate::world::{Check, Seen, Tally, Target, Violation, ensure};
use procession::{CallError, ChildSpec, Strategy, Supervisor, SupervisorRef};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A message to a worker that is being started again waits for it so long.
const RESTART_WAIT: Duration = Duration::from_secs(5);

fn sleep() {
    std::thread::sleep(Duration::from_mins(10));
}

fn worker(id: &str) -> ChildSpec {
    soon(ChildSpec::actor(id, Worker::default, ()))
}

/// Without long delays between restarts.
fn soon(child: ChildSpec) -> ChildSpec {
    child.backoff(Duration::from_millis(1), Duration::from_millis(20))
}

fn start(random: &mut Random) -> Check<SupervisorRef> {
    let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
    let mut pick = || strategies[usize::from(random.once_in(2)) + usize::from(random.once_in(3))];
    let (outer, inner) = (pick(), pick());
    let often = |tree: Supervisor| tree.intensity(1_000_000, Duration::from_mins(1));
    let lower = often(Supervisor::new(inner)).child(worker("c")).child(worker("d"));
    let sleeper = soon(ChildSpec::process("sleeper", sleep, ()));
    let upper = often(Supervisor::new(outer)).child(worker("a")).child(sleeper);
    Ok(upper.child(ChildSpec::supervisor("lower", lower)).child(worker("b")).start()?)
}

/// The processes of the tree that run now; `None` while one is missing.
fn pids(tree: &SupervisorRef, lower: &SupervisorRef) -> Option<Vec<u32>> {
    let mut children = tree.which_children();
    children.retain(|child| child.id != "lower");
    children.extend(lower.which_children());
    children.iter().map(|child| child.pid).collect()
}

pub(crate) fn trial(random: &mut Random, seen: &mut Seen) -> Check<Tally> {
    let mut tally = Tally::default();
    let tree = start(random)?;
    let lower = tree.supervisor("lower")?;
    let mut workers: Vec<WorkerRef> = Vec::new();
    for (tree, id) in [(&tree, "a"), (&tree, "b"), (&lower, "c"), (&lower, "d")] {
        workers.push(tree.actor::<Worker>(id)?);
    }
    seen.look()?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let callers: Vec<_> =
            workers.iter().map(|worker| scope.spawn(|| load(worker, &is_over))).collect();
        let hit = (0..=random.below(8)).try_for_each(|_| {
            random.pause(Duration::from_millis(8));
            let pids = pids(&tree, &lower).unwrap_or_default();
            let Some(pid) = pids.get(random.index(5)) else { return Ok(()) };
            let Ok(target) = Target::new(*pid) else { return Ok(()) };
            if random.once_in(3) {
                target.stop(&mut tally);
                random.pause(Duration::from_millis(5));
            }
            target.kill(&mut tally);
            tally.starts += 1;
            seen.look()
        });
        is_over.store(true, Ordering::Relaxed);
        for caller in callers {
            let load = caller.join().map_err(|_| Violation("a caller panicked".into()))?;
            tally.add(load?);
        }
        hit
    })?;
    for worker in &workers {
        up(worker)?;
    }
    let begun = Instant::now();
    while pids(&tree, &lower).is_none() {
        ensure(begun.elapsed() < PATIENCE, || format!("not all up: {:?}", tree.which_children()))?;
        std::thread::sleep(Duration::from_millis(1));
    }
    seen.look()?;
    timed("stop of a tree", PATIENCE, || tree.stop())??;
    for worker in &workers {
        let answer = timed("call after the stop", SLACK, || worker.add_timeout(0, 1, PATIENCE))?;
        ensure(answer.is_err(), || "a worker answers after the stop of its tree".into())?;
    }
    Ok(tally)
}

/// Waits until a worker answers.
fn up(worker: &WorkerRef) -> Check {
    let begun = Instant::now();
    loop {
        match timed("call", LIMIT, || worker.add_timeout(0, 1, LIMIT))? {
            Ok(_) => return Ok(()),
            Err(error) => ensure(begun.elapsed() < PATIENCE, || {
                format!("a worker is not back after {PATIENCE:?}: {error}")
            })?,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Calls and casts until the faults are over.
fn load(worker: &WorkerRef, is_over: &AtomicBool) -> Check<Tally> {
    let mut tally = Tally::default();
    while !is_over.load(Ordering::Relaxed) {
        if timed("cast", RESTART_WAIT, || worker.cast().add(0, 1))?.is_ok() {
            tally.casts += 1;
        }
        tally.calls += 1;
        if let Err(error) = timed("call", LIMIT, || worker.add_timeout(0, 1, LIMIT))? {
            tally.timeouts += u64::from(error == CallError::Timeout);
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    Ok(tally)
}
