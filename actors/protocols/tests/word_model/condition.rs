//! The condition's bells: each notify wakes exactly one that waited, or passes on.

use super::explorer::explore;
use super::plain::Plains;
use super::stage::{Actor, Play, Stage};
use procession_protocols::word::condition::{
    self, Bell, Bells, ConditionWords, Notify, Rings, Wait, enter, leave,
};
use procession_protocols::word::lock::{self, Acquire, LockWords, Release, Taken};
use procession_protocols::word::{Effect, SLEEPER, Seat, Told};
use std::hash::{Hash, Hasher};

const RECORD: u32 = 3;

#[derive(Debug, Default)]
struct Shared {
    lock: LockWords<Plains>,
    words: ConditionWords<Plains>,
    bells: Table,
    /// Waits that ended notified, and notifications given; a death may spend one.
    woken: u8,
    given: u8,
}

#[derive(Debug, Default)]
struct Table([Bell<Plains>; 4]);

impl Bells<Plains> for Table {
    fn bell(&self, seat: Seat) -> Option<&Bell<Plains>> {
        self.0.get(usize::from(seat))
    }
    fn highest(&self) -> Seat {
        3
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        let LockWords { word, seq, .. } = &self.lock;
        let (word, seq) = (word.clone(), seq.clone());
        let lock = LockWords { word, seq, ..LockWords::default() };
        let words = ConditionWords { tickets: self.words.tickets.clone() };
        let bell = |at: usize| {
            let Bell { word, ticket } = &self.bells.0[at];
            Bell { word: word.clone(), ticket: ticket.clone() }
        };
        let bells = Table([bell(0), bell(1), bell(2), bell(3)]);
        Self { lock, words, bells, woken: self.woken, given: self.given }
    }
}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.lock.word.hash(state);
        self.lock.seq.hash(state);
        self.words.tickets.hash(state);
        for bell in &self.bells.0 {
            bell.word.hash(state);
            bell.ticket.hash(state);
        }
        (self.woken, self.given).hash(state);
    }
}

#[derive(Debug, Clone, Hash)]
enum Doing {
    Begin,
    Locks(Acquire),
    /// Holds the lock for the first time.
    Holds,
    Unlocks(Release),
    Sleeps,
    Relocks(Acquire, bool),
    /// With those that it has still to wake.
    Notifies(Notify, Vec<Seat>),
    Ends(Release, Vec<Seat>),
    Wakes(Seat, Vec<Seat>),
}

#[derive(Debug, Clone, Hash)]
struct Thread {
    seat: Seat,
    /// Notifies so many instead of waiting; again and again until all the others are done.
    notifies: Option<u32>,
    /// Wakes them with the lock held, or when it has given it back.
    wakes: When,
    doing: Doing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum When {
    AtOnce,
    Later,
}

impl Thread {
    fn bell<'a>(&self, shared: &'a Shared) -> &'a Bell<Plains> {
        &shared.bells.0[usize::from(self.seat)]
    }
}

impl Play for Thread {
    type Shared = Shared;

    fn step(&mut self, shared: &mut Shared, told: Told) -> Effect<()> {
        let next = match &mut self.doing {
            Doing::Begin => Doing::Locks(Acquire::new(self.seat)),
            Doing::Locks(acquire) => match acquire.step(&shared.lock, told) {
                Effect::Done(_) => Doing::Holds,
                other => return relay(other),
            },
            Doing::Holds if self.notifies.is_some() => {
                Doing::Notifies(Notify::new(RECORD, self.notifies.unwrap()), Vec::new())
            }
            Doing::Holds => {
                enter(&shared.words, self.bell(shared), RECORD, false);
                Doing::Unlocks(Release::new(Some(self.seat)))
            }
            Doing::Unlocks(release) => match release.step(&shared.lock, told) {
                Effect::Done(_) => Doing::Sleeps,
                other => return relay(other),
            },
            Doing::Sleeps => match Wait.step(self.bell(shared), told) {
                Effect::Done(notified) => Doing::Relocks(Acquire::new(self.seat), notified),
                other => return relay(other),
            },
            Doing::Relocks(acquire, notified) => match acquire.step(&shared.lock, told) {
                Effect::Done(Taken::TimedOut) => unreachable!("it waits without a deadline"),
                Effect::Done(_) => {
                    shared.woken += u8::from(*notified);
                    leave(self.bell(shared));
                    Doing::Ends(Release::new(Some(self.seat)), Vec::new())
                }
                other => return relay(other),
            },
            Doing::Notifies(notify, owed) => match notify.step(&shared.words, &shared.bells) {
                Rings::Again => return Effect::Again,
                Rings::Wake(seat) => {
                    owed.push(seat);
                    if self.wakes == When::Later {
                        return Effect::Again;
                    }
                    return Effect::Wake { count: 1, bits: SLEEPER };
                }
                Rings::Ring => return Effect::Ring,
                Rings::Done(left) => {
                    shared.given += (self.notifies.unwrap() - left) as u8;
                    let mut owed = std::mem::take(owed);
                    owed.retain(|_| self.wakes == When::Later);
                    Doing::Ends(Release::new(Some(self.seat)), owed)
                }
            },
            Doing::Ends(release, owed) => match release.step(&shared.lock, told) {
                Effect::Done(_) => match owed.pop() {
                    Some(first) => {
                        self.doing = Doing::Wakes(first, std::mem::take(owed));
                        return Effect::Wake { count: 1, bits: SLEEPER };
                    }
                    None => return Effect::Done(()),
                },
                other => return relay(other),
            },
            Doing::Wakes(seat, owed) => {
                let Some(next) = owed.pop() else { return Effect::Done(()) };
                *seat = next;
                return Effect::Wake { count: 1, bits: SLEEPER };
            }
        };
        self.doing = next;
        Effect::Again
    }

    fn futex(&self, shared: &Shared) -> (usize, u32) {
        if matches!(self.doing, Doing::Sleeps) {
            return (usize::from(self.seat), self.bell(shared).word.get());
        }
        (0, shared.lock.seq.get())
    }

    fn has_deadline(&self) -> bool {
        matches!(self.doing, Doing::Sleeps)
    }

    fn wakes(&self) -> usize {
        match &self.doing {
            Doing::Notifies(_, owed) => owed.last().copied().map_or(0, usize::from),
            Doing::Wakes(seat, _) => usize::from(*seat),
            _ => 0,
        }
    }

    fn repair(shared: &mut Shared, dead: &Self, at: u8) -> bool {
        match at {
            0 => {
                lock::repair(&shared.lock, |seat| seat == dead.seat, || ());
                true
            }
            1 => {
                shared.lock.bump();
                true
            }
            _ => {
                if condition::repair(dead.bell(shared)).is_some() {
                    // What it had not spent goes to the next, who is woken with all.
                    let mut notify = Notify::new(RECORD, 1);
                    while !matches!(notify.step(&shared.words, &shared.bells), Rings::Done(_)) {}
                }
                false
            }
        }
    }

    fn end(shared: &Shared, all: &[Actor<Self>]) {
        if all.iter().all(|actor| !actor.dead) {
            assert_eq!(shared.woken, shared.given, "each notify wakes one: {shared:?}");
        }
    }
}

fn relay<T>(effect: Effect<T>) -> Effect<()> {
    match effect {
        Effect::Again | Effect::Done(_) => Effect::Again,
        Effect::Spin => Effect::Spin,
        Effect::Sleep { while_is, bits } => Effect::Sleep { while_is, bits },
        Effect::Wake { count, bits } => Effect::Wake { count, bits },
        Effect::Ring => Effect::Ring,
    }
}

/// A world whose notifiers have found nobody too early is one in which waiters wait on.
#[derive(Debug, Clone, Hash)]
struct Until(Stage<Thread>);

impl super::explorer::World for Until {
    fn next(&self, into: &mut Vec<Self>) {
        let mut next = Vec::new();
        self.0.next(&mut next);
        into.extend(next.into_iter().map(Self));
    }
    fn is_over(&self) -> bool {
        let shared = &self.0.shared;
        self.0.is_over()
            || self.0.all.iter().all(|actor| {
                let thread = &actor.play;
                let waits = thread.notifies.is_none()
                    && matches!(thread.doing, Doing::Sleeps)
                    && !condition::is_notified(thread.bell(shared));
                actor.done || actor.dead || waits
            }) && self.0.is_quiet()
    }
}

fn world(waiters: u16, notifiers: &[u32], wakes: When) -> Stage<Thread> {
    let thread = |seat, notifies| Thread { seat, notifies, wakes, doing: Doing::Begin };
    let mut all: Vec<_> = (1..=waiters).map(|seat| thread(seat, None)).collect();
    for (at, count) in notifiers.iter().enumerate() {
        all.push(thread(waiters + 1 + at as u16, Some(*count)));
    }
    Stage::new(Shared::default(), all)
}

#[test]
fn one_notify_for_one_waiter() {
    for wakes in [When::AtOnce, When::Later] {
        let explores = |name: &str, world| explore(&format!("{name}, wakes {wakes:?}"), world);
        explores("condition 1 + 1", Until(world(1, &[1], wakes)));
        explores("condition 1 + 1, late", Until(world(1, &[1], wakes).late(0)));
        explores("condition 2 + 1", Until(world(2, &[1], wakes)));
        explores("condition 2 + 2 at once", Until(world(2, &[2], wakes)));
    }
}

#[test]
fn deaths_pass_the_notify_on() {
    for wakes in [When::AtOnce, When::Later] {
        let explores = |name: &str, world| explore(&format!("{name}, wakes {wakes:?}"), world);
        explores("condition 1 + 1, a kill", Until(world(1, &[1], wakes).kills(1)));
        explores("condition 2 + 1, a waiter dies", Until(world(2, &[1], wakes).kills_one(0)));
        explores("condition 2 + 1, the notifier dies", Until(world(2, &[1], wakes).kills_one(2)));
    }
}
