//! Locks and their kin when their users die, at random and between any two steps.
//!
//! A victim is stopped first, so that what it holds can be read, and then killed. After
//! each death everybody who lives goes on, and what was held is accounted for to the last
//! one. `PROCESSION_KILLS` says how many die in each test (20,000 by hand),
//! `PROCESSION_SEED` repeats a run.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod places;
#[path = "../util/mod.rs"]
mod util;

use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
use procession::{
    Acquired, Barrier, Condition, Event, Lock, Process, RawArray, RawValue, Semaphore, SyncError,
};
use std::time::{Duration, Instant};
use util::{SOON, signal, state, until};

/// Deaths in each test, unless the environment says otherwise.
const KILLS: u32 = 100;

fn kills() -> u32 {
    let given = std::env::var("PROCESSION_KILLS").ok();
    given.and_then(|kills| kills.parse().ok()).unwrap_or(KILLS)
}

struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var("PROCESSION_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("PROCESSION_SEED={seed}");
        Self(seed | 1)
    }

    fn one_of(&mut self, count: u64) -> usize {
        usize::try_from(self.below(count)).unwrap()
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What the workers of a test report.
type Progress = RawArray<u64>;

/// Starts a worker: its number, its name.
type Spawn = Box<dyn Fn(Progress, u32, String) -> Process<()>>;

/// Workers that do the same for ever, and die.
struct Crew {
    spawn: Spawn,
    progress: Progress,
    all: Vec<Process<()>>,
    born: u32,
}

/// A crew of workers that each run a function with arguments of which each gets a clone.
macro_rules! crew {
    ($count:expr, $body:expr, $args:expr) => {{
        let args = $args;
        let spawn = move |progress, me, name| {
            Process::builder($body, (args.clone(), progress, me)).name(name).start().unwrap()
        };
        Crew::new($count, Box::new(spawn))
    }};
}

impl Crew {
    fn new(count: u32, spawn: Spawn) -> Self {
        let progress = Progress::zeroed(count as usize).unwrap();
        let mut crew = Self { spawn, progress, all: Vec::new(), born: 0 };
        for at in 0..count {
            let worker = crew.bear(at);
            crew.all.push(worker);
        }
        crew
    }

    fn bear(&mut self, at: u32) -> Process<()> {
        self.born += 1;
        (self.spawn)(self.progress.clone(), at, format!("Worker-{}", self.born))
    }

    fn replace(&mut self, at: usize) {
        self.all[at] = self.bear(u32::try_from(at).unwrap());
    }

    /// Stops one; `look` sees it stopped; then it dies and is replaced.
    fn kill(&mut self, at: usize, look: impl FnOnce(&str)) {
        let victim = &self.all[at];
        let pid = victim.pid().unwrap();
        signal(pid, SIGSTOP);
        until("it has stopped", || state(pid) == Some('T'));
        look(&victim.name());
        signal(pid, SIGKILL);
        victim.join().unwrap();
        self.replace(at);
    }

    /// Waits until everybody has gone on.
    fn go_on(&self, what: &str) {
        let before = self.progress.read(..).unwrap();
        until(what, || {
            let now = self.progress.read(..).unwrap();
            now.iter().zip(&before).all(|(now, before)| now > before)
        });
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &self.all {
            let _ = worker.kill();
            let _ = worker.join_timeout(SOON);
        }
    }
}

fn went_on(progress: &Progress, me: u32) {
    let me = me as usize;
    progress.set(me, progress.get(me).unwrap() + 1).unwrap();
}

fn spin(turns: u64) {
    (0..turns).for_each(|_| std::hint::spin_loop());
}

// ---------------------------------------------------------------- at random

/// The lock, who is in, reported deaths, things that must not be.
type Section = (Lock, RawValue<u64>, RawValue<u64>, RawValue<u64>);

fn in_and_out((lock, inside, told, bad): Section, progress: Progress, me: u32) {
    for turn in 0_u64.. {
        let acquired = lock.acquire().unwrap();
        let after_death = acquired != Acquired::Clean;
        if after_death {
            told.fetch_add(1).unwrap();
        }
        // Who finds somebody in there has been told of its death.
        if inside.get().unwrap() != 0 && !after_death {
            bad.fetch_add(1).unwrap();
        }
        inside.set(u64::from(me) + 1).unwrap();
        spin(turn % 200);
        if inside.get().unwrap() != u64::from(me) + 1 {
            bad.fetch_add(1).unwrap();
        }
        inside.set(0).unwrap();
        went_on(&progress, me);
        lock.release().unwrap();
        spin(turn % 50);
    }
}

#[test]
fn each_holder_that_dies_is_reported_once_and_nobody_hangs() {
    let value = || RawValue::new(0_u64).unwrap();
    let section = (Lock::new().unwrap(), value(), value(), value());
    let (lock, _, told, bad) = section.clone();
    let mut crew = crew!(4, in_and_out, section);
    let mut random = Random::new();
    crew.go_on("they begin");
    let mut holders = 0;
    for kill in 0..kills() {
        std::thread::sleep(Duration::from_micros(random.below(1200)));
        let at = random.one_of(4);
        crew.kill(at, |name| {
            holders += u64::from(format!("{lock:?}") == format!("Lock(owner={name})"));
        });
        // Before the next one dies, which might be the one that was told.
        until("the death is told", || told.get().unwrap() == holders);
        if kill % 3 == 0 {
            crew.go_on("everybody takes the lock after a death");
        }
    }
    crew.go_on("everybody takes the lock at the end");
    assert_eq!(told.get().unwrap(), holders, "deaths with the lock, and reports of them");
    assert_eq!(bad.get().unwrap(), 0, "two were inside");
}

type Places = (Semaphore, RawArray<u64>, RawValue<u64>);

fn permits((places, inside, bad): Places, progress: Progress, me: u32) {
    for turn in 0_u64.. {
        let permit = places.permit().unwrap();
        inside.set(me as usize, 1).unwrap();
        if inside.read(..).unwrap().iter().sum::<u64>() > 2 {
            bad.fetch_add(1).unwrap();
        }
        spin(turn % 100);
        inside.set(me as usize, 0).unwrap();
        drop(permit);
        went_on(&progress, me);
    }
}

#[test]
fn no_permit_is_lost_or_doubled() {
    let places = Semaphore::new(2).unwrap();
    let inside = RawArray::zeroed(4).unwrap();
    let bad = RawValue::new(0_u64).unwrap();
    let args = (places.clone(), inside.clone(), bad);
    let mut crew = crew!(4, permits, args);
    let mut random = Random::new();
    for kill in 0..kills() {
        std::thread::sleep(Duration::from_micros(random.below(1200)));
        crew.kill(random.one_of(4), |_| ());
        if kill % 10 == 0 {
            crew.go_on("everybody gets a permit after a death");
        }
    }
    crew.go_on("everybody gets a permit at the end");
    drop(crew);
    // All are dead, and all is repaired.
    until("both places are free", || places.value().unwrap() == 2);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(places.value().unwrap(), 2);
}

/// A condition with its lock, and tokens that it guards.
type Tokens = (Condition, RawValue<u64>);

fn takes_tokens((cond, tokens): Tokens, progress: Progress, me: u32) {
    loop {
        let mut guard = cond.lock().unwrap();
        went_on(&progress, me);
        guard.wait_for(|| tokens.get().unwrap() > 0).unwrap();
        tokens.fetch_sub(1).unwrap();
    }
}

#[test]
fn a_notification_that_a_dead_sleeper_did_not_spend_wakes_another() {
    let (cond, tokens) = (Condition::new().unwrap(), RawValue::new(0_u64).unwrap());
    let args = (cond.clone(), tokens.clone());
    let mut crew = crew!(4, takes_tokens, args);
    let mut random = Random::new();
    for _ in 0..kills() {
        // One token and one notification each: were one lost, its token would stay while
        // others sleep.
        let count = 1 + random.below(3);
        {
            let guard = cond.lock().unwrap();
            tokens.fetch_add(count).unwrap();
            guard.notify_n(u32::try_from(count).unwrap()).unwrap();
        }
        std::thread::sleep(Duration::from_micros(random.below(100)));
        crew.kill(random.one_of(4), |_| ());
        until("all tokens are taken", || tokens.get().unwrap() == 0);
    }
}

fn meets((barrier, broken): (Barrier, RawValue<u64>), progress: Progress, me: u32) {
    loop {
        match barrier.wait() {
            Ok(_) => went_on(&progress, me),
            Err(SyncError::BrokenBarrier) => {
                broken.fetch_add(1).unwrap();
                while barrier.broken().unwrap() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_party_that_dies_breaks_the_barrier_for_all() {
    let (barrier, broken) = (Barrier::new(3).unwrap(), RawValue::new(0_u64).unwrap());
    let args = (barrier.clone(), broken.clone());
    let mut crew = crew!(3, meets, args);
    let mut random = Random::new();
    for _ in 0..kills().div_ceil(2) {
        crew.go_on("all meet");
        std::thread::sleep(Duration::from_micros(random.below(1200)));
        let before = broken.get().unwrap();
        let at = random.one_of(3);
        let victim = &crew.all[at];
        victim.kill().unwrap();
        victim.join().unwrap();
        until("the others are told", || broken.get().unwrap() == before + 2);
        assert!(barrier.broken().unwrap());
        barrier.reset().unwrap();
        crew.replace(at);
    }
    crew.go_on("all meet at the end");
}

fn pulses((event, _): (Event, u8), progress: Progress, me: u32) {
    for turn in 0_u64.. {
        if me < 2 {
            event.set().unwrap();
            spin(turn % 300);
            event.clear().unwrap();
            spin(turn % 3000);
        } else {
            event.wait().unwrap();
        }
        went_on(&progress, me);
    }
}

#[test]
fn setters_and_waiters_of_an_event_die_and_the_others_go_on() {
    let args = (Event::new().unwrap(), 0_u8);
    let mut crew = crew!(4, pulses, args);
    let mut random = Random::new();
    for kill in 0..kills().div_ceil(2) {
        std::thread::sleep(Duration::from_micros(random.below(1200)));
        crew.kill(random.one_of(4), |_| ());
        if kill % 3 == 0 {
            crew.go_on("everybody goes on after a death");
        }
    }
    crew.go_on("everybody goes on at the end");
}

#[test]
fn waiters_that_are_stopped_hold_nobody_up_for_long() {
    let value = || RawValue::new(0_u64).unwrap();
    let section = (Lock::new().unwrap(), value(), value(), value());
    let (lock, _, told, bad) = section.clone();
    let crew = crew!(4, in_and_out, section);
    let mut random = Random::new();
    crew.go_on("they begin");
    let mut took = Vec::new();
    for _ in 0..kills().div_ceil(2) {
        let at = random.one_of(4);
        let pid = crew.all[at].pid().unwrap();
        signal(pid, SIGSTOP);
        until("it has stopped", || state(pid) == Some('T'));
        // A stopped holder holds the lock, as it should.
        if format!("{lock:?}") != format!("Lock(owner={})", crew.all[at].name()) {
            let before = crew.progress.read(..).unwrap();
            let begun = Instant::now();
            until("the others go on", || {
                let now = crew.progress.read(..).unwrap();
                (0..4).all(|other| other == at || now[other] > before[other])
            });
            took.push(begun.elapsed());
        }
        signal(pid, nix::sys::signal::Signal::SIGCONT);
    }
    crew.go_on("everybody goes on at the end");
    took.sort_unstable();
    println!("the others went on after {took:?}");
    // A slice or two when the stopped one was next. How long one stop may take is the
    // machine's business as well, and has the limit of `until`.
    assert!(took.get(took.len() / 2).is_none_or(|half| *half < Duration::from_secs(2)), "{took:?}");
    assert_eq!((told.get().unwrap(), bad.get().unwrap()), (0, 0));
}
