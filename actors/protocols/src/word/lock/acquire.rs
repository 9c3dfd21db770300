//! A lock taken, or waited for.
//!
//! Owns the waiter's machine. What it must never do: take the lock straight from the slow
//! path while another waits (processes became unfair to each other), or leave the word
//! while it is `next` without passing the turn on.

use super::super::{Advice, Atomic, Effect, HEIR, MAX_SEAT, Memory, SLEEPER, Seat, Slept, Told};
use super::release::Baton;
use super::{LockWords, WAKING, Word};
use core::sync::atomic::Ordering;

/// How a wait for a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taken {
    /// It is the caller's.
    Clean,
    /// It is the caller's; the one who held it before died with it.
    AfterDeath,
    /// It is not: the time was up.
    TimedOut,
}

impl Taken {
    const fn from(word: Word) -> Self {
        if word.died() { Self::AfterDeath } else { Self::Clean }
    }
}

/// Takes the lock if it can be had at once.
pub fn try_take<M: Memory>(words: &LockWords<M>, me: Seat) -> Option<Taken> {
    let (was, taken) = words.update(|word| word.is_open().then(|| word.barged(me)));
    taken.then(|| Taken::from(was))
}

/// A wait for a lock: the machine of one thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acquire {
    me: Seat,
    at: At,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    /// A newcomer: may take what is open, once.
    Barge,
    /// Becomes `next` if nobody is.
    Enter,
    /// Somebody else is `next`: sleeps. The futex is read before the word is.
    ReadSeq,
    Count(u32),
    /// Behind this one, which was `next` when it fell asleep.
    Asleep(Seat),
    /// `next`: spins, looks, and gives up after a while.
    Spin,
    DozeSeq(Advice),
    Doze(u32, Advice),
    HeirAsleep,
    /// Goes without it, after passing the turn on.
    Leave,
    Pass(Baton),
}

impl Acquire {
    /// The wait of the thread on this seat.
    pub fn new(me: Seat) -> Self {
        debug_assert!(me > 0 && me <= MAX_SEAT, "a seat: {me}");
        Self { me, at: At::Barge }
    }

    /// Where it is, for those who stop it there.
    pub fn place(&self) -> &'static str {
        match &self.at {
            At::Barge => "acquire",
            At::Enter => "acquire.enter",
            At::ReadSeq | At::DozeSeq(_) => "acquire.read",
            At::Count(_) => "acquire.count",
            At::Asleep(_) => "acquire.sleep",
            At::Spin => "acquire.spin",
            At::Doze(..) => "acquire.doze",
            At::HeirAsleep => "acquire.inherit",
            At::Leave => "acquire.leave",
            At::Pass(baton) => baton.place(),
        }
    }

    /// Goes without it: steps on until it has left.
    pub fn leave(&mut self) {
        if !matches!(self.at, At::Pass(_)) {
            self.at = At::Leave;
        }
    }

    /// One step.
    pub fn step<M: Memory>(&mut self, words: &LockWords<M>, told: Told) -> Effect<Taken> {
        let me = self.me;
        match self.at {
            At::Barge => {
                if let Some(taken) = try_take(words, me) {
                    return Effect::Done(taken);
                }
                self.go(At::Enter)
            }
            At::Enter => self.claim(words, At::ReadSeq),
            At::ReadSeq => self.go(At::Count(words.seq.load(Ordering::Acquire))),
            At::Count(seq) => {
                let (was, _) = words.update(|word| {
                    Some(if word.next() == 0 { word.with_next(me) } else { word.one_sleeps() })
                });
                if was.next() == 0 {
                    self.at = At::Spin;
                    return Effect::Spin;
                }
                self.at = At::Asleep(was.next());
                Effect::Sleep { while_is: seq, bits: SLEEPER }
            }
            At::Asleep(behind) => match told {
                Told::Slept(Slept::Slice) => self.end_of_slice(words, None),
                Told::Slept(Slept::Passed) => self.end_of_slice(words, Some(behind)),
                Told::Slept(Slept::Deadline) => Effect::Done(Taken::TimedOut),
                _ => self.woken(words),
            },
            At::Spin => match told {
                Told::Advice(Advice::Take) => self.look(words, Some),
                Told::Advice(Advice::Reserve) => {
                    self.look(words, |word| Some(word.on(Word::RESERVED)))
                }
                Told::Advice(how @ (Advice::Sleep | Advice::Inherit)) => self.go(At::DozeSeq(how)),
                Told::Advice(Advice::Leave) => self.go(At::Leave),
                _ => Effect::Spin,
            },
            At::DozeSeq(how) => self.go(At::Doze(words.seq.load(Ordering::Acquire), how)),
            At::Doze(seq, how) => self.doze(words, seq, how),
            At::HeirAsleep if told == Told::Slept(Slept::Deadline) => self.go(At::Leave),
            // Whether it was woken is seen in the word.
            At::HeirAsleep => {
                let now = words.look();
                let waits = now.next() == me && now.holder() != 0;
                if waits && now.has(Word::NEXT_SLEEPS) {
                    return self.go(At::DozeSeq(Advice::Inherit));
                }
                self.at = At::Spin;
                Effect::Spin
            }
            At::Leave => {
                let (_, was_next) = words.update(|word| {
                    (word.next() == me)
                        .then(|| word.with_next(0).off(Word::RESERVED | Word::NEXT_SLEEPS))
                });
                if !was_next {
                    return Effect::Done(Taken::TimedOut);
                }
                self.go(At::Pass(Baton::pass_on()))
            }
            At::Pass(ref mut baton) => match baton.step(words, told) {
                Effect::Done(_) => Effect::Done(Taken::TimedOut),
                Effect::Again => Effect::Again,
                Effect::Spin => Effect::Spin,
                Effect::Sleep { while_is, bits } => Effect::Sleep { while_is, bits },
                Effect::Wake { count, bits } => Effect::Wake { count, bits },
                Effect::Ring => Effect::Ring,
            },
        }
    }

    fn go(&mut self, at: At) -> Effect<Taken> {
        self.at = at;
        Effect::Again
    }

    /// Becomes `next` if nobody is; else `or`.
    fn claim<M: Memory>(&mut self, words: &LockWords<M>, or: At) -> Effect<Taken> {
        let (_, claimed) = words.update(|word| (word.next() == 0).then(|| word.with_next(self.me)));
        if !claimed {
            return self.go(or);
        }
        self.at = At::Spin;
        Effect::Spin
    }

    /// A sleeper that was woken is the one who was sent for, or as good as it.
    fn woken<M: Memory>(&mut self, words: &LockWords<M>) -> Effect<Taken> {
        let (_, claimed) =
            words.update(|word| matches!(word.next(), 0 | WAKING).then(|| word.with_next(self.me)));
        if !claimed {
            return self.go(At::ReadSeq);
        }
        self.at = At::Spin;
        Effect::Spin
    }

    /// At the end of a slice a free lock is taken although it is reserved for somebody
    /// else, or somebody else was sent for: that one may be stopped. It stays `next`, and
    /// goes on when it can.
    ///
    /// `stuck` was `next` when the slice began, and the lock went round since. If it still
    /// is, and is awake, it let all those turns go by, so it is stopped, and the turn is
    /// taken from it: else nobody would send for those who sleep. When it goes on it finds
    /// itself a newcomer.
    fn end_of_slice<M: Memory>(
        &mut self,
        words: &LockWords<M>,
        stuck: Option<Seat>,
    ) -> Effect<Taken> {
        let me = self.me;
        let mut over = false;
        let (was, changed) = words.update(|word| {
            let is_stuck = Some(word.next()) == stuck && !word.has(Word::NEXT_SLEEPS);
            over = is_stuck || matches!(word.next(), 0 | WAKING);
            if over {
                Some(word.taken_over(me))
            } else {
                (word.holder() == 0).then(|| word.barged(me).off(Word::RESERVED))
            }
        });
        if !changed {
            return self.go(At::ReadSeq);
        }
        if !over {
            return Effect::Done(Taken::from(was));
        }
        self.at = At::Spin;
        Effect::Spin
    }

    /// Takes a free lock in turn; changes a held one by `wait`.
    fn look<M: Memory>(
        &mut self,
        words: &LockWords<M>,
        wait: impl Fn(Word) -> Option<Word>,
    ) -> Effect<Taken> {
        let me = self.me;
        let (was, _) = words.update(|word| {
            if word.next() != me {
                None
            } else if word.holder() == 0 {
                Some(word.in_turn(me))
            } else {
                wait(word).filter(|new| *new != word)
            }
        });
        if was.next() != me {
            // The turn was lost to a repair: once more from the start.
            return self.go(At::Enter);
        }
        if was.holder() == 0 { Effect::Done(Taken::from(was)) } else { Effect::Spin }
    }

    /// From spinning to sleep, unless the lock is free.
    fn doze<M: Memory>(&mut self, words: &LockWords<M>, seq: u32, how: Advice) -> Effect<Taken> {
        let heir = how == Advice::Inherit;
        let effect = self.look(words, |word| {
            Some(if heir {
                word.on(Word::RESERVED | Word::NEXT_SLEEPS)
            } else {
                word.with_next(0).off(Word::RESERVED).one_sleeps()
            })
        });
        if effect != Effect::Spin {
            return effect;
        }
        self.at = if heir { At::HeirAsleep } else { At::Asleep(0) };
        Effect::Sleep { while_is: seq, bits: if heir { HEIR } else { SLEEPER } }
    }
}
