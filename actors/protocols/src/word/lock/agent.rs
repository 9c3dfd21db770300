//! The owner's side of a lock: it waits for those who have no thread to block.
//!
//! Owns the turns of async waiters. The owner is one more sleeper, with a flag in the
//! word in place of a count, and a ring in place of a wake. It never spins; when it finds
//! the lock taken again it goes back to sleep, and after a while it has the lock
//! reserved, as any waiter would.

use super::super::{Memory, Seat};
use super::{AGENT, LockWords, Taken, Word};

/// What came of serving the first in the owner's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Served {
    /// It has the lock.
    Granted(Taken),
    /// The owner will be rung.
    Later,
}

/// Takes the lock for `seat`, the first in the owner's queue, or has the owner rung when
/// it is free. `more` says whether others stand behind it; `patient` is false when it has
/// waited for so long that the next turn is to be its own.
pub fn serve<M: Memory>(words: &LockWords<M>, seat: Seat, more: bool, patient: bool) -> Served {
    let mut granted = false;
    let (was, _) = words.update(|word| {
        let rung = word.next() == AGENT;
        granted = word.holder() == 0 && (rung || word.is_open() && word.next() == 0);
        let waits = if granted && !more { word.off(Word::ASYNC) } else { word.on(Word::ASYNC) };
        Some(if granted {
            waits.in_turn(seat)
        } else if rung && !patient {
            word.off(Word::ASYNC).on(Word::RESERVED | Word::NEXT_SLEEPS)
        } else if rung {
            waits.with_next(0).off(Word::RESERVED | Word::NEXT_SLEEPS)
        } else {
            waits
        })
    });
    if granted {
        let died = was.died();
        return Served::Granted(if died { Taken::AfterDeath } else { Taken::Clean });
    }
    Served::Later
}

/// The owner waits for nobody any more. Gives whether it had the turn, which the caller
/// must then pass on by `Release::pass_on`.
pub fn strike<M: Memory>(words: &LockWords<M>) -> bool {
    let (was, _) = words.update(|word| {
        let gone = word.off(Word::ASYNC);
        Some(if word.next() == AGENT {
            gone.with_next(0).off(Word::RESERVED | Word::NEXT_SLEEPS)
        } else {
            gone
        })
    });
    was.next() == AGENT
}
