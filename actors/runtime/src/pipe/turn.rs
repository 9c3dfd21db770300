//! Whose turn it is to receive, or to send, on an end that several processes hold.
//!
//! Owns the words that all holders of a pipe share, who a process is in them, and the waits.
//! A pipe has two directions, and each has two turns: one for its readers, one for its
//! writers. A turn is held for the few system calls of one message and never across a wait,
//! but in the middle of a message that is larger than the socket has room for. Neighbour:
//! `procession_protocols::pipe::turn` has the algorithm.
//!
//! The word names the holder by number and start time, so that a waiter, which looks every
//! [`SLICE`], knows a dead holder from a later process of the same number. It holds within
//! one pid namespace. A holder that dies while all is settled has done no harm, since a
//! message that fits is taken, or sent, by one system call: it is gone as a whole or there
//! as a whole.
//!
//! Others may write anything into the page: then turns overlap or never come, which the
//! deadline ends; nothing here trusts a value further.

use crate::proc_tree;
use crate::sys::desk::{self, Page, WORDS};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use procession_protocols::pipe::debt::Debt;
pub(super) use procession_protocols::pipe::turn::Attempt;
use procession_protocols::pipe::turn::{SLEEPERS, Turn as Words};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

/// How long a waiter sleeps before it looks whether the holder lives.
pub(super) const SLICE: Duration = Duration::from_millis(20);

/// Words from one turn to the next: each has two cache lines of its own.
const STRIDE: usize = 16;

/// Whose turn it is at one thing.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a>(Words<'a, AtomicU64>);

/// What is done in turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Read,
    Write,
}

impl<'a> Turn<'a> {
    /// The turn at one role in one direction, 0 or 1.
    pub(super) fn new(page: &'a Page, direction: usize, role: Role) -> Self {
        let [holder, state, passed, ..] = lines(page, direction, role);
        Self(Words { holder, state, passed })
    }

    /// The turn's own words, for what is done with it.
    pub(super) fn words(self) -> Words<'a, AtomicU64> {
        self.0
    }

    /// Takes the turn if nobody has it.
    pub(super) fn try_take(self) -> Attempt {
        self.0.try_take(me())
    }

    /// Sleeps while `held` has the turn, at most until the deadline: false when it passed.
    /// The turn of a holder that died is given back, and then it is worth another attempt.
    pub(super) fn wait(self, held: u64, deadline: Option<Instant>) -> bool {
        let left = deadline.map_or(SLICE, |at| at.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return self.free_of_the_dead(held);
        }
        if let Some(marked) = self.0.mark(held) {
            #[expect(clippy::cast_possible_truncation, reason = "sleepers compare the low half")]
            desk::sleep(self.0.holder, marked as u32, left.min(SLICE));
            self.free_of_the_dead(marked);
        }
        true
    }

    /// Gives the turn back, if `held` has it and is dead. True when it did.
    pub(super) fn free_of_the_dead(self, held: u64) -> bool {
        if held == 0 || self.holder() != held || lives(held) || !self.0.inherit(held, me()) {
            return false;
        }
        desk::wake_all(self.0.holder);
        true
    }

    /// Gives the turn to whoever comes.
    pub(super) fn release(self) {
        if self.0.give() {
            desk::wake_all(self.0.holder);
        }
    }

    /// Who has the turn; 0 is nobody.
    pub(super) fn holder(self) -> u64 {
        self.0.holder.load(Acquire)
    }

    /// A piece of a message is out, or in, and the rest is not.
    pub(super) fn set_midway(self) {
        self.0.set_midway();
    }

    /// All pieces are.
    pub(super) fn settle(self) {
        self.0.settle();
    }

    /// The rest will never be.
    pub(super) fn break_off(self) {
        self.0.break_off();
    }

    pub(super) fn is_midway(self) -> bool {
        self.0.is_midway()
    }

    /// A number that is another one after each message that somebody took.
    pub(super) fn passed(self) -> u64 {
        self.0.passed.load(Acquire)
    }

    /// A message has been taken.
    pub(super) fn pass(self) {
        self.0.pass();
    }
}

/// What those owe who receive in one direction; it belongs to whoever has the turn at it.
pub(super) fn debt(page: &Page, direction: usize) -> Debt<'_, AtomicU64> {
    let [_, _, _, owed, witness, is_open, ..] = lines(page, direction, Role::Read);
    Debt { owed, witness, is_open }
}

/// The words that stand together.
fn lines(page: &Page, direction: usize, role: Role) -> &[AtomicU64; STRIDE] {
    const { assert!(4 * STRIDE <= WORDS) };
    let (chunks, _) = page.words().as_chunks();
    &chunks[(direction & 1) * 2 + role as usize]
}

/// This process as the word names it: start time, number.
pub(super) fn me() -> u64 {
    desk::of_this_process(|| {
        let pid = std::process::id();
        let start = proc_tree::start_time(pid.cast_signed()).ok().flatten().unwrap_or(0);
        name(pid, start)
    })
}

fn name(pid: u32, start: u64) -> u64 {
    start << 32 | u64::from(pid)
}

/// Whether the process lives that a word names. What cannot be looked up counts as alive.
fn lives(held: u64) -> bool {
    let held = held & !SLEEPERS;
    #[expect(clippy::cast_possible_truncation, reason = "the number is the low half")]
    let pid = held as u32;
    if held == me() {
        return true;
    }
    match proc_tree::entry(pid.cast_signed()) {
        // One that had no descriptor free to learn when it started says nothing of that.
        Ok(Some(entry)) => {
            !entry.is_zombie() && [name(pid, 0), name(pid, entry.id.start)].contains(&held)
        }
        Ok(None) | Err(_) => kill(Pid::from_raw(pid.cast_signed()), None) != Err(nix::Error::ESRCH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;

    fn soon() -> Option<Instant> {
        crate::sync::after(Duration::from_secs(20))
    }

    /// A name that was a process's, and is nobody's now.
    fn dead() -> u64 {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        let start = proc_tree::start_time(pid.cast_signed()).unwrap().unwrap();
        // A zombie counts as dead.
        while lives(name(pid, start)) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!lives(name(pid, start)));
        name(pid, start)
    }

    #[test]
    fn turns_of_threads_exclude_each_other() {
        let page = Arc::new(Page::new().unwrap());
        let count = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (page, count) = (page.clone(), count.clone());
                std::thread::spawn(move || {
                    let turn = Turn::new(&page, 1, Role::Read);
                    for _ in 0..20_000 {
                        while let Attempt::Busy(held) = turn.try_take() {
                            assert!(turn.wait(held, soon()));
                        }
                        // Two at once would lose one of these.
                        count.store(count.load(Relaxed) + 1, Relaxed);
                        turn.release();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(count.load(Relaxed), 80_000);
        assert_eq!(Turn::new(&page, 0, Role::Read).holder(), 0);
    }

    #[test]
    fn a_dead_holder_gives_way_and_a_torn_message_is_known() {
        let (page, dead) = (Page::new().unwrap(), dead());
        let turn = Turn::new(&page, 0, Role::Write);
        turn.0.holder.store(dead, Relaxed);
        let passed = turn.passed();
        assert_eq!(turn.try_take(), Attempt::Busy(dead));
        while let Attempt::Busy(held) = turn.try_take() {
            assert!(turn.wait(held, soon()));
        }
        assert!(!turn.is_midway() && turn.passed() != passed);
        turn.release();

        turn.0.holder.store(dead, Relaxed);
        turn.set_midway();
        assert!(turn.free_of_the_dead(dead));
        assert!(!turn.free_of_the_dead(dead));
        assert_eq!(turn.try_take(), Attempt::Broken);
        turn.release();
        assert_eq!(turn.try_take(), Attempt::Broken);
    }

    #[test]
    fn a_living_holder_is_waited_for_until_the_deadline() {
        let page = Page::new().unwrap();
        let turn = Turn::new(&page, 0, Role::Write);
        assert_eq!(turn.try_take(), Attempt::Taken);
        assert_eq!(turn.try_take(), Attempt::Busy(me()));
        let deadline = Some(Instant::now() + Duration::from_millis(50));
        let mut slices = 0;
        while turn.wait(turn.holder(), deadline) {
            slices += 1;
        }
        assert!(slices >= 2, "{slices}");
        assert!(!turn.free_of_the_dead(turn.holder()));
        // A later process of the same number is another one.
        assert!(!lives(me() ^ 1 << 40));
    }

    #[test]
    fn who_could_not_learn_when_it_started_lives_all_the_same() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let nameless = name(child.id(), 0);
        let lived = lives(nameless);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(lived && !lives(nameless));
    }
}
