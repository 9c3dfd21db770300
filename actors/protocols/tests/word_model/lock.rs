//! The lock's word: never two holders, and every state can still finish.
//!
//! Owns the world: processes that take the lock a few times, sleepers without a slice to
//! save them, time-outs, deaths at any step and the owner's repair step by step, and a
//! waiter for which the owner waits. The machines are those of the library.

use super::explorer::{World, explore};
use super::plain::{Plains, Stand, wakes};
use procession_protocols::word::lock::{
    Acquire, LockWords, Release, Served, Taken, Word, repair, serve, strike,
};
use procession_protocols::word::{Advice, Effect, Seat, Slept, Told};
use std::hash::{Hash, Hasher};

/// Words that are part of a state.
#[derive(Debug, Default)]
struct Words(LockWords<Plains>);

impl Clone for Words {
    fn clone(&self) -> Self {
        let words = LockWords::default();
        let LockWords { word, seq, .. } = &self.0;
        Self(LockWords { word: word.clone(), seq: seq.clone(), ..words })
    }
}

impl Hash for Words {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.word.hash(state);
        self.0.seq.hash(state);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Doing {
    Nothing,
    Taking(Acquire),
    Holding,
    Giving(Release),
    /// Waits without a thread: the owner does.
    Listening,
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct One {
    doing: Doing,
    /// How often it still takes the lock.
    left: u8,
    listens: bool,
    may_be_late: u8,
    may_be_sliced: u8,
}

/// What the owner does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Owner {
    Idle,
    /// After the death of this one: its words are put right; then the futex is bumped;
    /// then all are woken; then its queue is served anew.
    Repairs(usize),
    Bumps,
    Wakes,
    Passes(Release, Stand),
}

#[derive(Debug, Clone, Hash)]
struct Locks {
    words: Words,
    all: Vec<One>,
    stands: Vec<Stand>,
    kills: u8,
    owner: Owner,
    /// Deaths that the owner has yet to see.
    unseen: Vec<usize>,
    rung: bool,
    /// Without a thread, in the order in which they came.
    queue: Vec<usize>,
    /// A holder's death that nobody has been told.
    untold: bool,
}

const fn seat(at: usize) -> Seat {
    at as Seat + 1
}

impl Locks {
    fn new(threads: usize, listeners: usize, turns: u8) -> Self {
        let one = |listens| One {
            doing: Doing::Nothing,
            left: turns,
            listens,
            may_be_late: 0,
            may_be_sliced: 0,
        };
        let all: Vec<_> = (0..threads + listeners).map(|at| one(at >= threads)).collect();
        Self {
            words: Words::default(),
            stands: vec![Stand::Step; all.len()],
            all,
            kills: 0,
            owner: Owner::Idle,
            unseen: Vec::new(),
            rung: false,
            queue: Vec::new(),
            untold: false,
        }
    }

    fn kills(mut self, kills: u8) -> Self {
        self.kills = kills;
        self
    }

    fn late(mut self, often: u8) -> Self {
        self.all.iter_mut().for_each(|one| one.may_be_late = often);
        self
    }

    fn sliced(mut self, often: u8) -> Self {
        self.all.iter_mut().for_each(|one| one.may_be_sliced = often);
        self
    }

    fn takes(&mut self, at: usize, taken: Taken) {
        for (other, one) in self.all.iter().enumerate() {
            assert!(one.doing != Doing::Holding, "{at} and {other} hold it");
        }
        let tells = taken == Taken::AfterDeath;
        assert_eq!(tells, self.untold, "a death is told once");
        self.untold = false;
        // A grant may come to one that has just died: the repair finds it.
        if self.all[at].doing == Doing::Dead {
            return;
        }
        self.all[at].doing = Doing::Holding;
        self.stands[at] = Stand::Step;
    }

    /// One step of a thread's machine.
    fn step(&mut self, at: usize) {
        let told = self.stands[at].told();
        let words = &self.words.0;
        match &mut self.all[at].doing {
            Doing::Taking(acquire) => {
                let effect = acquire.step(words, told);
                match Stand::after(effect, words.seq.get()) {
                    Ok(stand) => self.stands[at] = stand,
                    Err(Taken::TimedOut) => self.rests(at),
                    Err(taken) => self.takes(at, taken),
                }
            }
            Doing::Giving(release) => {
                let effect = release.step(words, told);
                match Stand::after(effect, words.seq.get()) {
                    Ok(stand) => self.stands[at] = stand,
                    Err(result) => {
                        result.expect("it held the lock");
                        self.rests(at);
                    }
                }
            }
            _ => unreachable!("no machine to step"),
        }
    }

    fn rests(&mut self, at: usize) {
        self.all[at].doing = Doing::Nothing;
        self.stands[at] = Stand::Step;
    }

    fn begins(&mut self, at: usize) {
        let one = &mut self.all[at];
        one.left -= 1;
        if one.listens {
            one.doing = Doing::Listening;
            self.queue.push(at);
            self.serves(true);
        } else {
            one.doing = Doing::Taking(Acquire::new(seat(at)));
        }
    }

    /// The owner looks whether the first of its queue has its turn.
    fn serves(&mut self, patient: bool) {
        let Some(first) = self.queue.first().copied() else {
            if strike(&self.words.0) {
                self.owner = Owner::Passes(Release::pass_on(), Stand::Step);
            }
            return;
        };
        let more = self.queue.len() > 1;
        if let Served::Granted(taken) = serve(&self.words.0, seat(first), more, patient) {
            self.queue.remove(0);
            self.takes(first, taken);
        }
    }

    fn owner_next(&self, into: &mut Vec<Self>) {
        let mut next = self.clone();
        match &self.owner {
            Owner::Idle => {
                if let Some(dead) = self.unseen.first() {
                    next.unseen.remove(0);
                    next.owner = Owner::Repairs(*dead);
                    into.push(next);
                } else if self.rung {
                    next.rung = false;
                    let mut other = next.clone();
                    next.serves(true);
                    into.push(next);
                    other.serves(false);
                    into.push(other);
                }
            }
            Owner::Repairs(dead) => {
                let gone = seat(*dead);
                next.untold |= repair(&next.words.0, |seat| seat == gone, || ());
                next.queue.retain(|one| one != dead);
                next.owner = Owner::Bumps;
                into.push(next);
            }
            Owner::Bumps => {
                next.words.0.bump();
                next.owner = Owner::Wakes;
                into.push(next);
            }
            Owner::Wakes => {
                for one in &mut next.stands {
                    if matches!(one, Stand::Sleeps(_)) {
                        *one = Stand::Woken;
                    }
                }
                next.owner = Owner::Idle;
                next.rung = true;
                into.push(next);
            }
            Owner::Passes(release, stand) => {
                let (mut release, stand) = (release.clone(), *stand);
                if let Stand::Wakes(count, bits) = stand {
                    self.wake(count, bits, into, |world, woke| {
                        world.owner = Owner::Passes(release.clone(), Stand::Woke(woke));
                    });
                    return;
                }
                next.rung |= stand == Stand::Rings;
                let effect = release.step(&next.words.0, stand.told());
                next.owner = match Stand::after(effect, next.words.0.seq.get()) {
                    Ok(stand) => Owner::Passes(release, stand),
                    Err(_) => Owner::Idle,
                };
                into.push(next);
            }
        }
    }

    fn wake(&self, count: u32, bits: u32, into: &mut Vec<Self>, tell: impl Fn(&mut Self, u32)) {
        for woken in wakes(&self.stands, count, bits) {
            let mut next = self.clone();
            for one in &woken {
                next.stands[*one] = Stand::Woken;
            }
            tell(&mut next, u32::try_from(woken.len()).unwrap());
            into.push(next);
        }
    }

    /// All that one may do next.
    fn one_next(&self, at: usize, into: &mut Vec<Self>) {
        let mut then = |change: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            change(&mut next);
            into.push(next);
        };
        let one = &self.all[at];
        if self.kills > 0 && one.doing != Doing::Dead {
            then(&|next| {
                next.kills -= 1;
                next.all[at].doing = Doing::Dead;
                next.stands[at] = Stand::Step;
                next.unseen.push(at);
            });
        }
        match &one.doing {
            Doing::Dead | Doing::Listening => {}
            Doing::Nothing if one.left == 0 => {}
            Doing::Nothing => then(&|next| next.begins(at)),
            Doing::Holding => then(&|next| {
                next.all[at].doing = Doing::Giving(Release::new(Some(seat(at))));
            }),
            Doing::Taking(_) | Doing::Giving(_) => match self.stands[at] {
                Stand::Spins => {
                    for advice in [Advice::Take, Advice::Reserve, Advice::Sleep, Advice::Inherit] {
                        then(&|next| {
                            next.stands[at] = Stand::Advised(advice);
                            next.step(at);
                        });
                    }
                    if one.may_be_late > 0 {
                        then(&|next| {
                            next.all[at].may_be_late -= 1;
                            next.stands[at] = Stand::Advised(Advice::Leave);
                        });
                    }
                }
                Stand::Sleeps(_) => {
                    if one.may_be_late > 0 {
                        then(&|next| {
                            next.all[at].may_be_late -= 1;
                            next.stands[at] = Stand::Late;
                        });
                    }
                    if one.may_be_sliced > 0 {
                        // Whether the lock went round is the policy's to tell: both are safe.
                        for stand in [Stand::Sliced, Stand::Passed] {
                            then(&|next| {
                                next.all[at].may_be_sliced -= 1;
                                next.stands[at] = stand;
                            });
                        }
                    }
                }
                Stand::Wakes(count, bits) => self.wake(count, bits, into, |next, woke| {
                    next.stands[at] = Stand::Woke(woke);
                }),
                Stand::Rings => then(&|next| {
                    next.rung = true;
                    next.stands[at] = Stand::Step;
                }),
                _ => then(&|next| next.step(at)),
            },
        }
    }
}

impl World for Locks {
    fn next(&self, into: &mut Vec<Self>) {
        for at in 0..self.all.len() {
            self.one_next(at, into);
        }
        self.owner_next(into);
    }

    fn is_over(&self) -> bool {
        let done = |one: &One| match one.doing {
            Doing::Dead => true,
            Doing::Nothing => one.left == 0,
            _ => false,
        };
        let over = self.all.iter().all(done)
            && self.owner == Owner::Idle
            && self.unseen.is_empty()
            && !self.rung;
        if over {
            let word = Word(self.words.0.word.get());
            assert_eq!((word.holder(), word.next()), (0, 0), "everybody has gone: {word:?}");
        }
        over
    }
}

#[test]
fn two_with_deaths_and_time_outs() {
    explore("2 x 2, 2 kills, late", Locks::new(2, 0, 2).kills(2).late(1));
}

#[test]
fn three_without_deaths() {
    explore("3 x 1", Locks::new(3, 0, 1));
}

#[test]
fn three_with_a_death() {
    explore("3 x 1, 1 kill", Locks::new(3, 0, 1).kills(1));
}

#[test]
fn slices_that_end() {
    explore("2 x 2, slices", Locks::new(2, 0, 2).sliced(1).kills(1));
    explore("3 x 1, slices", Locks::new(3, 0, 1).sliced(1));
    explore("2 + 1 x 1, slices", Locks::new(2, 1, 1).sliced(1));
}

/// One that is stopped while it is next keeps nobody asleep who was passed over once.
#[test]
fn a_turn_that_is_not_taken_is_taken_over() {
    let words = LockWords::<Plains>::default();
    assert!(words.take_fast(1));
    let (mut stopped, mut sleeper) = (Acquire::new(2), Acquire::new(3));
    let until = |one: &mut Acquire, mut told, wanted: fn(&Effect<Taken>) -> bool| {
        loop {
            let effect = one.step(&words, std::mem::replace(&mut told, Told::Go));
            if wanted(&effect) {
                return effect;
            }
            assert_eq!(effect, Effect::Again);
        }
    };
    until(&mut stopped, Told::Go, |effect| *effect == Effect::Spin);
    until(&mut sleeper, Told::Go, |effect| matches!(effect, Effect::Sleep { .. }));
    // Nothing was given back: it may be a long section, and the turn stays.
    let slice = Told::Slept(Slept::Slice);
    until(&mut sleeper, slice, |effect| matches!(effect, Effect::Sleep { .. }));
    assert_eq!(words.look().next(), 2);
    until(&mut sleeper, Told::Slept(Slept::Passed), |effect| *effect == Effect::Spin);
    assert_eq!(words.look().next(), 3);
    assert!(words.word.get() & 0xffff == 1, "the holder holds on");
    // The stopped one goes on as a newcomer, behind.
    let take = Told::Advice(Advice::Take);
    until(&mut stopped, take, |effect| matches!(effect, Effect::Sleep { .. }));
    let mut release = Release::new(Some(1));
    assert_eq!(release.step(&words, Told::Go), Effect::Done(Ok(())));
    assert_eq!(sleeper.step(&words, take), Effect::Done(Taken::Clean));
}

#[test]
fn one_for_which_the_owner_waits() {
    explore("2 + 1 x 1", Locks::new(2, 1, 1));
    explore("1 + 1 x 2, 1 kill", Locks::new(1, 1, 2).kills(1).late(1));
    explore("1 + 2 x 1, 1 kill", Locks::new(1, 2, 1).kills(1));
}

/// The worlds find what they are there for: without a wake after a death, a sleeper stays
/// asleep.
#[test]
fn a_release_that_forgets_its_wake_is_found() {
    #[derive(Debug, Clone, Hash)]
    struct Forgetful(Locks);
    impl World for Forgetful {
        fn next(&self, into: &mut Vec<Self>) {
            let mut next = Vec::new();
            self.0.next(&mut next);
            into.extend(next.into_iter().map(|mut world| {
                // The wake of a repair is left out.
                if world.owner == Owner::Wakes {
                    world.owner = Owner::Idle;
                }
                Self(world)
            }));
        }
        fn is_over(&self) -> bool {
            self.0.is_over()
        }
    }
    let begun = || explore("forgetful", Forgetful(Locks::new(2, 0, 1).kills(1)));
    let found = std::panic::catch_unwind(begun).expect_err("a lost wake-up is found");
    let text = found.downcast_ref::<String>().expect("a message");
    assert!(text.contains("cannot end"), "{text}");
}

#[test]
fn effects_are_small() {
    assert!(size_of::<Effect<Taken>>() <= 16);
    assert!(size_of::<Acquire>() <= 24);
}
