//! A lock given back, the turn passed on, and a lock repaired.
//!
//! Owns the wakes: whoever makes a change after which somebody must be woken makes it,
//! bumps the futex, and wakes. Dying in between is what [`repair`] is for.

use super::super::{ALL, ANYBODY, Atomic, Effect, HEIR, Memory, SLEEPER, Seat, Told};
use super::{AGENT, LockWords, WAKING, Word};
use core::sync::atomic::Ordering;

/// The lock was free, or somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NotHeld;

/// A release: the machine of one thread.
pub type Release = Baton;

/// The turn on its way to whoever is next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Baton {
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Frees the lock of this holder, or of any.
    Free(Option<Seat>),
    /// Sends for somebody if the lock is free and nobody is awake.
    Pass,
    Bump(Whom),
    Wake(Whom),
    Woken(Whom),
    /// A wake found nobody: counts of those who left by themselves are cleared.
    Reset,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Whom {
    Nobody,
    Sleeper,
    Heir,
    Agent,
    All,
}

impl Baton {
    /// Frees the lock that the seat `holder` holds; with `None`, that anybody holds.
    pub fn new(holder: Option<Seat>) -> Self {
        Self { at: At::Free(holder) }
    }

    /// Passes the turn on without a release.
    pub fn pass_on() -> Self {
        Self { at: At::Pass }
    }

    /// Where it is, for those who stop it there.
    pub fn place(&self) -> &'static str {
        match self.at {
            At::Free(_) => "release",
            At::Pass => "release.pass",
            At::Bump(_) => "release.bump",
            At::Wake(_) => "release.wake",
            At::Woken(_) => "release.woken",
            At::Reset => "release.reset",
            At::Done => "release.done",
        }
    }

    /// One step.
    pub fn step<M: Memory>(
        &mut self,
        words: &LockWords<M>,
        told: Told,
    ) -> Effect<Result<(), NotHeld>> {
        match self.at {
            At::Free(holder) => {
                let mut whom = Whom::Nobody;
                let (_, freed) = words.update(|word| {
                    let theirs = holder.is_none_or(|seat| seat == word.holder());
                    let (free, next) = freed(word);
                    whom = next;
                    (theirs && word.holder() != 0).then_some(free)
                });
                if !freed {
                    return Effect::Done(Err(NotHeld));
                }
                self.send(whom)
            }
            At::Pass => {
                let mut whom = Whom::Nobody;
                words.update(|word| {
                    whom = Whom::Nobody;
                    if word.holder() != 0 || word.next() != 0 {
                        return None;
                    }
                    let (sent, any) = word.send_for();
                    whom = sent_whom(sent, any);
                    any.then_some(sent)
                });
                self.send(whom)
            }
            At::Bump(whom) => {
                words.seq.add(1, Ordering::AcqRel);
                self.at = At::Wake(whom);
                Effect::Again
            }
            At::Wake(whom) => {
                self.at = At::Woken(whom);
                match whom {
                    // Also one from which the turn has been taken while this was under way.
                    Whom::Heir => Effect::Wake { count: ALL, bits: HEIR },
                    Whom::All => Effect::Wake { count: ALL, bits: ANYBODY },
                    Whom::Sleeper => Effect::Wake { count: 1, bits: SLEEPER },
                    Whom::Agent | Whom::Nobody => Effect::Again,
                }
            }
            At::Woken(whom) => {
                self.at = match (whom, told) {
                    (Whom::Sleeper, Told::Woke(0)) => At::Reset,
                    // Look once more: somebody may have gone between.
                    (Whom::All, _) => At::Pass,
                    _ => At::Done,
                };
                Effect::Again
            }
            At::Reset => {
                let (_, reset) = words.update(|word| {
                    (word.next() == WAKING).then(|| word.with_next(0).with_sleepers(0))
                });
                self.at = if reset { At::Bump(Whom::All) } else { At::Done };
                Effect::Again
            }
            At::Done => Effect::Done(Ok(())),
        }
    }

    fn send(&mut self, whom: Whom) -> Effect<Result<(), NotHeld>> {
        match whom {
            Whom::Nobody => Effect::Done(Ok(())),
            Whom::Agent => {
                self.at = At::Done;
                Effect::Ring
            }
            _ => {
                self.at = At::Bump(whom);
                Effect::Again
            }
        }
    }
}

/// The word of a held lock without its holder, and whom that wakes.
const fn freed(word: Word) -> (Word, Whom) {
    let mut free = word.held_by(0);
    if free.has(Word::DEBT) {
        free = free.off(Word::DEBT);
        match free.next() {
            WAKING => return (free, Whom::Sleeper),
            AGENT => return (free.off(Word::NEXT_SLEEPS), Whom::Agent),
            // The one that was sent for sleeps on, for somebody else took its turn.
            _ => free = free.one_sleeps(),
        }
    }
    if free.has(Word::NEXT_SLEEPS) {
        let whom = if free.next() == AGENT { Whom::Agent } else { Whom::Heir };
        return (free.off(Word::NEXT_SLEEPS), whom);
    }
    if free.next() != 0 {
        return (free, Whom::Nobody);
    }
    let (sent, any) = free.send_for();
    (sent, sent_whom(sent, any))
}

const fn sent_whom(sent: Word, any: bool) -> Whom {
    match (any, sent.next()) {
        (false, _) => Whom::Nobody,
        (true, AGENT) => Whom::Agent,
        (true, _) => Whom::Sleeper,
    }
}

/// Makes a lock whole after the death of those whose seats `dead` knows: what they held
/// is free and marked, their turn is void, and all sleepers are to look again. Gives
/// whether one of them held it. `bury` is called first when that is so: it writes down
/// who died, for the next holder.
///
/// The caller must then [bump](LockWords::bump) the futex and wake everybody, **also when
/// nothing in the word shows a trace**: a waker killed between its change and its wake leaves a clean
/// word while a sleeper is on its way to bed.
pub fn repair<M: Memory>(
    words: &LockWords<M>,
    dead: impl Fn(Seat) -> bool,
    bury: impl FnOnce(),
) -> bool {
    // A dead holder changes nothing any more, and nobody else frees what it held but by
    // a plain release, after which there is nothing to tell.
    let holder = words.look().holder();
    if holder != 0 && dead(holder) {
        bury();
    }
    let (was, _) = words.update(|word| {
        let mut whole = word.with_sleepers(0).off(Word::DEBT);
        if word.holder() != 0 && dead(word.holder()) {
            whole = whole.held_by(0).on(Word::DIED);
        }
        let next = word.next();
        if next == WAKING || next == AGENT || dead(next) {
            whole = whole.with_next(0).off(Word::RESERVED | Word::NEXT_SLEEPS);
        } else if next != 0 {
            // The living one that sleeps as heir is woken with the others.
            whole = whole.off(Word::NEXT_SLEEPS);
        }
        Some(whole)
    });
    was.holder() != 0 && dead(was.holder())
}
