//! A stage for small plays: threads that go through machines, and die at any step.
//!
//! Owns what the worlds of semaphores, events, conditions and barriers have in common:
//! spinning, sleeping, being woken, being late, dying, and the owner's repair, which comes
//! some time after a death, in as many steps as the play says.

use super::explorer::World;
use super::plain::{Stand, wakes};
use procession_protocols::word::{Advice, Effect, Told};
use std::fmt::Debug;
use std::hash::Hash;

/// What one thread of a play does.
pub(crate) trait Play: Clone + Hash + Debug {
    /// The words, and what the checks need to know.
    type Shared: Clone + Hash + Debug;

    /// One step. `Done` when the thread has played its part.
    fn step(&mut self, shared: &mut Self::Shared, told: Told) -> Effect<()>;

    /// The futex on which a sleep after this step is: which, and what it says.
    fn futex(&self, shared: &Self::Shared) -> (usize, u32);

    /// The futex on which a wake after this step is.
    fn wakes(&self) -> usize {
        0
    }

    /// Whether its wait has a deadline.
    fn has_deadline(&self) -> bool {
        true
    }

    /// The owner is rung.
    fn ring(_shared: &mut Self::Shared) {}

    /// Step `at` of the repair after the death of a thread; the last one is followed by a
    /// wake of everybody. Gives whether there is another.
    fn repair(shared: &mut Self::Shared, dead: &Self, at: u8) -> bool;

    /// What holds when everybody has finished.
    fn end(_shared: &Self::Shared, _all: &[Actor<Self>]) {}
}

/// A thread on the stage.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Actor<P> {
    pub(crate) play: P,
    /// On which futex it sleeps.
    on: usize,
    pub(crate) done: bool,
    pub(crate) dead: bool,
    may_be_late: u8,
    late: bool,
}

impl<P> Actor<P> {
    /// Whether its time was up.
    pub(crate) fn was_late(&self) -> bool {
        self.late
    }
}

/// The stage with all that is on it.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Stage<P: Play> {
    pub(crate) shared: P::Shared,
    pub(crate) all: Vec<Actor<P>>,
    stands: Vec<Stand>,
    kills: u8,
    /// Whom they may hit: anybody, or one, where all are alike.
    victim: Option<usize>,
    unseen: Vec<usize>,
    /// The death that the owner repairs, and in which step it is.
    repairs: Option<(usize, u8)>,
}

impl<P: Play> Stage<P> {
    pub(crate) fn new(shared: P::Shared, plays: Vec<P>) -> Self {
        let actor =
            |play| Actor { play, on: 0, done: false, dead: false, may_be_late: 0, late: false };
        Self {
            shared,
            stands: vec![Stand::Step; plays.len()],
            all: plays.into_iter().map(actor).collect(),
            kills: 0,
            victim: None,
            unseen: Vec::new(),
            repairs: None,
        }
    }

    pub(crate) fn kills(mut self, kills: u8) -> Self {
        self.kills = kills;
        self
    }

    /// One death, of this one.
    pub(crate) fn kills_one(mut self, who: usize) -> Self {
        self.kills = 1;
        self.victim = Some(who);
        self
    }

    pub(crate) fn late(mut self, who: usize) -> Self {
        self.all[who].may_be_late = 2;
        self
    }

    pub(crate) fn add(&mut self, actor: Actor<P>) {
        self.all.push(actor);
        self.stands.push(Stand::Step);
    }

    /// Whether the owner has nothing to repair.
    pub(crate) fn is_quiet(&self) -> bool {
        self.unseen.is_empty() && self.repairs.is_none()
    }

    fn step(&mut self, at: usize) {
        let told = self.stands[at].told();
        let actor = &mut self.all[at];
        let effect = actor.play.step(&mut self.shared, told);
        let (on, now) = actor.play.futex(&self.shared);
        actor.on = on;
        let after = Stand::after(effect, now);
        actor.done = after.is_err();
        self.stands[at] = after.unwrap_or(Stand::Step);
    }

    /// Who sleeps on this futex, the others as awake.
    fn sleepers(&self, futex: usize) -> Vec<Stand> {
        let here = |(stand, actor): (&Stand, &Actor<P>)| {
            if actor.on == futex { *stand } else { Stand::Step }
        };
        self.stands.iter().zip(&self.all).map(here).collect()
    }

    fn owner_next(&self, into: &mut Vec<Self>) {
        let mut next = self.clone();
        match self.repairs {
            None if self.unseen.is_empty() => return,
            None => next.repairs = Some((next.unseen.remove(0), 0)),
            Some((_, u8::MAX)) => {
                for stand in &mut next.stands {
                    if matches!(stand, Stand::Sleeps(_)) {
                        *stand = Stand::Woken;
                    }
                }
                P::ring(&mut next.shared);
                next.repairs = None;
            }
            Some((dead, at)) => {
                let more = P::repair(&mut next.shared, &self.all[dead].play, at);
                next.repairs = Some((dead, if more { at + 1 } else { u8::MAX }));
            }
        }
        into.push(next);
    }

    fn one_next(&self, at: usize, into: &mut Vec<Self>) {
        let actor = &self.all[at];
        if actor.dead {
            return;
        }
        let mut then = |change: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            change(&mut next);
            into.push(next);
        };
        if self.kills > 0 && self.victim.is_none_or(|victim| victim == at) {
            then(&|next| {
                next.kills -= 1;
                next.all[at].dead = true;
                next.stands[at] = Stand::Step;
                next.unseen.push(at);
            });
        }
        if actor.done {
            return;
        }
        let late = |next: &mut Self, stand| {
            next.all[at].may_be_late -= 1;
            next.all[at].late = true;
            next.stands[at] = stand;
        };
        let may_be_late = actor.may_be_late > 0 && actor.play.has_deadline();
        match self.stands[at] {
            Stand::Spins => {
                for advice in [Advice::Take, Advice::Sleep] {
                    then(&|next| {
                        next.stands[at] = Stand::Advised(advice);
                        next.step(at);
                    });
                }
                if may_be_late {
                    then(&|next| late(next, Stand::Advised(Advice::Leave)));
                }
            }
            Stand::Sleeps(_) if may_be_late => then(&|next| late(next, Stand::Late)),
            Stand::Sleeps(_) => {}
            Stand::Wakes(count, bits) => {
                for woken in wakes(&self.sleepers(actor.play.wakes()), count, bits) {
                    then(&|next| {
                        for one in &woken {
                            next.stands[*one] = Stand::Woken;
                        }
                        next.stands[at] = Stand::Woke(woken.len() as u32);
                    });
                }
            }
            Stand::Rings => then(&|next| {
                P::ring(&mut next.shared);
                next.stands[at] = Stand::Step;
            }),
            _ => then(&|next| next.step(at)),
        }
    }
}

impl<P: Play> World for Stage<P> {
    fn next(&self, into: &mut Vec<Self>) {
        for at in 0..self.all.len() {
            self.one_next(at, into);
        }
        self.owner_next(into);
    }

    fn is_over(&self) -> bool {
        let over = self.all.iter().all(|actor| actor.done || actor.dead) && self.is_quiet();
        if over {
            P::end(&self.shared, &self.all);
        }
        over
    }
}
