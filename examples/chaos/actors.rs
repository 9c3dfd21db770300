//! A trial of process actors: callers on threads, faults at random moments.
//!
//! Checked: each call is answered within its limit and five seconds; answers agree with what
//! the caller sent, so that no acknowledged message is lost or seen twice; each monitor
//! gets one `Down` that names the fault, and a watching actor exactly one; a reference to
//! a dead actor gives errors at once.

use crate::random::Random;
use crate::world::{Check, Seen, Tally, Target, Violation, ensure};
use procession::{Actor, ActorId, CallError, Down, ExitReason, Monitor, Process, methods};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The limit of each call under load.
pub(crate) const LIMIT: Duration = Duration::from_millis(250);
/// What a call may take beyond its limit, and what a known end may take to be told.
pub(crate) const SLACK: Duration = Duration::from_secs(5);
/// For calls that are not part of the load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const CALLERS: usize = 2;

#[derive(Actor, Default, Serialize, Deserialize)]
pub(crate) struct Worker {
    totals: [u64; CALLERS],
}

#[methods]
impl Worker {
    pub fn add(&mut self, caller: usize, n: u64) -> u64 {
        self.totals[caller] += n;
        self.totals[caller]
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Starts a process below this one; its pid.
    pub fn hire(&self) -> Option<u32> {
        let sleep = || std::thread::sleep(Duration::from_mins(10));
        Process::builder(sleep, ()).daemon(true).start().ok()?.pid()
    }
}

/// Counts the ends that it hears of.
#[derive(Actor)]
pub(crate) struct Census {
    downs: HashMap<ActorId, u32>,
}

#[methods]
impl Census {
    pub fn follow(&mut self, worker: WorkerRef) -> Result<(), CallError> {
        worker.watch()?;
        self.downs.entry(worker.id()).or_insert(0);
        Ok(())
    }

    pub fn count(&self, id: ActorId) -> Option<u32> {
        self.downs.get(&id).copied()
    }

    /// Those with another number of ends than one.
    pub fn odd(&self) -> Vec<(ActorId, u32)> {
        self.downs.iter().filter(|(_, n)| **n != 1).map(|(id, n)| (*id, *n)).collect()
    }

    #[on_down]
    fn down(&mut self, down: &Down) {
        *self.downs.entry(down.actor).or_insert(0) += 1;
    }
}

pub(crate) fn census() -> Check<CensusRef> {
    Ok(Census { downs: HashMap::new() }.host()?)
}

struct Subject {
    worker: WorkerRef,
    target: Target,
    monitors: [Monitor; 2],
}

pub(crate) fn trial(random: &mut Random, census: &CensusRef, seen: &mut Seen) -> Check<Tally> {
    let mut tally = Tally::default();
    let mut subjects = Vec::new();
    for _ in 0..=random.below(3) {
        let worker = Worker::default().spawn()?;
        let target = Target::new(worker.pid_timeout(PATIENCE)?)?;
        census.follow_timeout(worker.clone(), PATIENCE)??;
        if random.once_in(4) && worker.hire_timeout(PATIENCE)?.is_none() {
            return Err(Violation("a worker could not start a process".into()));
        }
        let monitors = [worker.monitor()?, worker.monitor()?];
        subjects.push(Subject { worker, target, monitors });
        tally.starts += 1;
    }
    seen.look()?;
    random.shuffle(&mut subjects);
    std::thread::scope(|scope| {
        let mut callers = Vec::new();
        for subject in &subjects {
            for caller in 0..CALLERS {
                let (worker, random) = (subject.worker.clone(), random.fork());
                callers.push(scope.spawn(move || load(&worker, caller, random)));
            }
        }
        // A violation here leaves live actors to the callers: they give up in time.
        let faulted: Check = subjects.iter_mut().try_for_each(|subject| {
            random.pause(Duration::from_millis(4));
            let expected = fault(random, subject, &mut tally)?;
            ended(subject, &expected, census)
        });
        for subject in &subjects {
            subject.worker.kill();
        }
        for caller in callers {
            let load = caller.join().map_err(|_| Violation("a caller panicked".into()))?;
            tally.add(load?);
        }
        faulted
    })?;
    Ok(tally)
}

/// Ends an actor, one way or another; the reasons that its end may have.
fn fault(random: &mut Random, subject: &Subject, tally: &mut Tally) -> Check<Vec<ExitReason>> {
    let killed = vec![ExitReason::Signal(9)];
    let Subject { worker, target, .. } = subject;
    match random.below(8) {
        0..3 => target.kill(tally),
        3 => worker.kill(),
        4 => {
            target.stop(tally);
            random.pause(Duration::from_millis(10));
            target.kill(tally);
        }
        5 => {
            // A pause, sometimes longer than the limit of a call; then it goes on.
            target.stop(tally);
            let pause = if random.once_in(8) { LIMIT * 2 } else { Duration::from_millis(10) };
            random.pause(pause);
            target.signal(Signal::CONT);
            random.pause(Duration::from_millis(4));
            target.kill(tally);
        }
        6 => {
            // It is asked to end, and killed while it does.
            worker.stop();
            random.pause(Duration::from_millis(1));
            target.kill(tally);
            return Ok(vec![ExitReason::Signal(9), ExitReason::Shutdown]);
        }
        _ => {
            let down = worker.stop_timeout(PATIENCE)?;
            ensure(down.reason == ExitReason::Shutdown, || {
                format!("asked to stop, it ended otherwise: {}", down.reason)
            })?;
            return Ok(vec![ExitReason::Shutdown]);
        }
    }
    Ok(killed)
}

/// Each monitor has one notice, and so has the actor that watches.
fn ended(subject: &mut Subject, expected: &[ExitReason], census: &CensusRef) -> Check {
    let id = subject.worker.id();
    for monitor in &mut subject.monitors {
        let down = monitor.recv_timeout(PATIENCE);
        let down = down.ok_or_else(|| Violation(format!("no Down within {PATIENCE:?}")))?;
        ensure(down.actor == id && expected.contains(&down.reason), || {
            format!("the Down of {id:?} says {down:?}; expected {expected:?}")
        })?;
        ensure(monitor.recv_timeout(Duration::ZERO).is_none(), || "a second Down".into())?;
    }
    let begun = Instant::now();
    while census.count_timeout(id, PATIENCE)? == Some(0) {
        ensure(begun.elapsed() < SLACK, || format!("the census heard nothing of {id:?}"))?;
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Calls and casts until the actor has ended, and once after that.
fn load(worker: &WorkerRef, caller: usize, mut random: Random) -> Check<Tally> {
    let mut tally = Tally::default();
    let begun = Instant::now();
    // What was sent, and how much of it may not have been carried out.
    let (mut sent, mut unsure) = (0, 0);
    'load: loop {
        ensure(begun.elapsed() < PATIENCE * 2, || "the load never ended".into())?;
        for _ in 0..random.below(8) {
            if timed("cast", Duration::ZERO, || worker.cast().add(caller, 1))?.is_err() {
                break 'load;
            }
            sent += 1;
            tally.casts += 1;
        }
        tally.calls += 1;
        match timed("call", LIMIT, || worker.add_timeout(caller, 1, LIMIT))? {
            Ok(total) => {
                sent += 1;
                ensure((sent - unsure..=sent).contains(&total), || {
                    format!("{sent} sent, {unsure} of them unsure, and {total} were carried out")
                })?;
            }
            Err(CallError::Timeout) => {
                sent += 1;
                unsure += 1;
                tally.timeouts += 1;
            }
            Err(_) => break,
        }
    }
    match timed("call after the end", SLACK, || worker.add_timeout(caller, 1, PATIENCE))? {
        Err(CallError::ActorDied { .. } | CallError::Stopped) => Ok(tally),
        other => Err(Violation(format!("a call after the end gave {other:?}"))),
    }
}

pub(crate) fn timed<T>(what: &str, limit: Duration, act: impl FnOnce() -> T) -> Check<T> {
    let begun = Instant::now();
    let answer = act();
    let took = begun.elapsed();
    ensure(took <= limit + SLACK, || format!("a {what} took {took:?}"))?;
    Ok(answer)
}
