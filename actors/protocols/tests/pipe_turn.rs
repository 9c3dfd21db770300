//! The turn of a pipe under loom: every interleaving of a few processes, some of which die.
//!
//! Owns the small stories that bring out each order in which they can meet. A death is known
//! to others by a flag, as it is by the kernel: what the dead wrote before is there.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;
use procession_protocols::pipe::turn::{Attempt, SLEEPERS, Turn, Word};

struct Loom(AtomicU64);

impl Word for Loom {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::AcqRel)
    }

    fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}

struct Page {
    words: [Loom; 3],
    /// How many hold the turn, as an observer sees it.
    holders: AtomicU64,
    first_is_dead: AtomicBool,
}

const FIRST: u64 = 1;

impl Page {
    fn new() -> Arc<Self> {
        let word = || Loom(AtomicU64::new(0));
        Arc::new(Self {
            words: [word(), word(), word()],
            holders: AtomicU64::new(0),
            first_is_dead: AtomicBool::new(false),
        })
    }

    fn turn(&self) -> Turn<'_, Loom> {
        Turn { holder: &self.words[0], state: &self.words[1], passed: &self.words[2] }
    }

    /// One who has the turn does its work.
    fn work(&self) {
        assert_eq!(self.holders.fetch_add(1, Ordering::Relaxed), 0, "two have the turn");
        self.turn().pass();
        self.holders.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes the turn over if the first one died with it.
    fn look_after(&self, held: u64, me: u64) -> bool {
        held & !SLEEPERS == FIRST
            && self.first_is_dead.load(Ordering::Acquire)
            && self.turn().inherit(held, me)
    }
}

#[test]
fn one_has_the_turn_and_a_sleeper_is_woken() {
    loom::model(|| {
        let page = Page::new();
        let others: Vec<_> = [2, 3]
            .map(|me| {
                let page = page.clone();
                thread::spawn(move || match page.turn().try_take(me) {
                    Attempt::Taken => {
                        page.work();
                        // Whether it wakes others, and whether it sleeps.
                        (u64::from(page.turn().give()), 0)
                    }
                    Attempt::Busy(held) => (0, u64::from(page.turn().mark(held).is_some())),
                    Attempt::Broken => unreachable!("nobody has died"),
                })
            })
            .into();
        let [(woke, slept), (woke_too, slept_too)] = <[_; 2]>::try_from(
            others.into_iter().map(|other| other.join().unwrap()).collect::<Vec<_>>(),
        )
        .unwrap();
        assert_eq!(woke + woke_too, slept + slept_too, "who sleeps is woken");
        assert_eq!(page.turn().holder.load(), 0);
    });
}

/// The first one dies after so many steps; two others go on.
fn dies_after(steps: u32, is_torn: bool) {
    loom::model(move || {
        let page = Page::new();
        let first = {
            let page = page.clone();
            thread::spawn(move || {
                if page.turn().try_take(FIRST) == Attempt::Taken {
                    if steps > 0 {
                        page.turn().set_midway();
                    }
                    if steps > 1 {
                        page.turn().settle();
                        page.turn().pass();
                    }
                }
                page.first_is_dead.store(true, Ordering::Release);
            })
        };
        let second = {
            let page = page.clone();
            thread::spawn(move || {
                if let Some(held) = page.turn().mark(FIRST) {
                    page.look_after(held, 2);
                }
            })
        };
        first.join().unwrap();
        second.join().unwrap();
        loop {
            match page.turn().try_take(3) {
                Attempt::Busy(held) => assert!(page.look_after(held, 3)),
                Attempt::Taken => break assert!(!is_torn, "a torn message passes for a whole one"),
                Attempt::Broken => break assert!(is_torn, "nothing was torn"),
            }
        }
        page.work();
        assert!(!page.turn().give());
        // Broken is for ever.
        let after = page.turn().try_take(3);
        assert_eq!(after, if is_torn { Attempt::Broken } else { Attempt::Taken });
    });
}

#[test]
fn a_turn_outlives_a_holder_that_dies_anywhere() {
    dies_after(0, false);
    dies_after(1, true);
    dies_after(2, false);
}

#[test]
fn two_who_find_a_holder_dead_take_its_turn_over_once() {
    loom::model(|| {
        let page = Page::new();
        assert_eq!(page.turn().try_take(FIRST), Attempt::Taken);
        page.first_is_dead.store(true, Ordering::Release);
        let heirs: Vec<_> = [2, 3]
            .map(|me| {
                let page = page.clone();
                thread::spawn(move || {
                    let took = page.look_after(page.turn().holder.load(), me);
                    if page.turn().try_take(me) == Attempt::Taken {
                        page.work();
                        let _ = page.turn().give();
                    }
                    u64::from(took)
                })
            })
            .into();
        let inherited: u64 = heirs.into_iter().map(|heir| heir.join().unwrap()).sum();
        assert_eq!(inherited, 1);
        assert_eq!(page.turn().holder.load(), 0);
    });
}
