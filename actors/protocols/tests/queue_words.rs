//! The words of a queue under loom: every interleaving of a few steps, on the code that
//! runs in the pages.
//!
//! Owns the small stories that bring out each order in which owner and client can meet.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use procession_protocols::queue::cursor::{Bell, Cursor, Hunger, Word};
use procession_protocols::queue::hands::{Hands, Held, Places};

/// Loom's word.
struct Loom(AtomicU64);

impl Word for Loom {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    fn add(&self, value: u64) -> u64 {
        self.0.fetch_add(value, Ordering::AcqRel)
    }

    fn set(&self, bits: u64) -> u64 {
        self.0.fetch_or(bits, Ordering::AcqRel)
    }

    fn clear(&self, bits: u64) -> u64 {
        self.0.fetch_and(!bits, Ordering::AcqRel)
    }

    fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}

fn word() -> Loom {
    Loom(AtomicU64::new(0))
}

#[test]
fn each_item_is_taken_or_recalled_and_never_both() {
    loom::model(|| {
        let page = Arc::new(word());
        Cursor(&*page).lend(2);
        let client = {
            let page = page.clone();
            thread::spawn(move || {
                u32::from(Cursor(&*page).take().is_some())
                    + u32::from(Cursor(&*page).take().is_some())
            })
        };
        let now = Cursor(&*page).recall(0);
        // What is left beyond the recall may be lent again.
        let recalled = 2 - now.taken;
        assert_eq!(now.limit, now.taken);
        let taken = client.join().unwrap();
        assert_eq!(taken + recalled, 2);
        assert!(Cursor(&*page).take().is_none());
    });
}

#[test]
fn of_items_taken_together_none_is_recalled() {
    loom::model(|| {
        let page = Arc::new(word());
        Cursor(&*page).lend(3);
        let takes = |page: Arc<Loom>, most| {
            thread::spawn(move || Cursor(&*page).take_many(most).map_or(0, |(_, count)| count))
        };
        let (one, other) = (takes(page.clone(), 2), takes(page.clone(), 2));
        let now = Cursor(&*page).recall(0);
        let recalled = 3 - now.taken;
        assert_eq!(one.join().unwrap() + other.join().unwrap() + recalled, 3);
    });
}

#[test]
fn an_item_is_whole_when_it_can_be_taken_and_its_place_may_change_when_recalled() {
    loom::model(|| {
        let page = Arc::new((word(), AtomicU64::new(0)));
        let client = {
            let page = page.clone();
            thread::spawn(move || {
                if Cursor(&page.0).take().is_some() {
                    assert_ne!(page.1.load(Ordering::Relaxed), 0, "taken and not written");
                }
            })
        };
        page.1.store(1, Ordering::Relaxed);
        Cursor(&page.0).lend(1);
        if Cursor(&page.0).recall(0).taken == 0 {
            // Nobody reads here now; what is written next is lent next.
            page.1.store(0, Ordering::Relaxed);
            page.1.store(2, Ordering::Relaxed);
            Cursor(&page.0).lend(1);
        }
        client.join().unwrap();
    });
}

/// Every interleaving with up to three switches where none need be.
fn mostly(story: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(story);
}

/// A cursor, two hands and their sign, and what has been returned.
struct Taking {
    cursor: Loom,
    hands: [Loom; 2],
    sign: Loom,
    returned: AtomicU64,
}

impl Places for Taking {
    type Word = Loom;
    const COUNT: usize = 2;

    fn hand(&self, number: usize) -> &Loom {
        &self.hands[number]
    }

    fn sign(&self) -> &Loom {
        &self.sign
    }
}

impl Taking {
    fn new() -> Arc<Self> {
        let returned = AtomicU64::new(0);
        Arc::new(Self { cursor: word(), hands: [word(), word()], sign: word(), returned })
    }

    /// What the owner, which has seen so many taken, must not forget: all that was not
    /// returned. It may keep more.
    fn keeps_what_is_not_returned(&self, taken: u32) {
        let held = Hands(self).held();
        let returned = self.returned.load(Ordering::Relaxed);
        for number in 0..taken {
            let kept = held.as_ref().is_none_or(|all| all.iter().any(|one| one.has(number)));
            assert!(kept || returned & 1 << number != 0, "{number} is taken, and nowhere");
        }
    }

    /// A call ends: these are returned.
    fn returns(&self, hand: usize, items: u64) {
        self.returned.fetch_or(items, Ordering::Relaxed);
        Hands(self).close(hand);
    }
}

#[test]
fn what_is_taken_is_in_a_hand_or_returned() {
    mostly(|| {
        let page = Taking::new();
        Cursor(&page.cursor).lend(2);
        let client = {
            let page = page.clone();
            thread::spawn(move || {
                let held = Held { first: 0, count: 2 };
                let hand = Hands(&*page).open(held).unwrap();
                let (_, count) = Cursor(&page.cursor).take_many(2).unwrap_or_default();
                Hands(&*page).narrow(hand, held, count);
                page.returns(hand, (1 << count) - 1);
            })
        };
        // Some may be recalled before they are taken.
        let taken = Cursor(&page.cursor).recall(1).taken;
        page.keeps_what_is_not_returned(taken);
        client.join().unwrap();
    });
}

#[test]
fn what_changes_hands_is_in_one_of_them() {
    mostly(|| {
        let page = Taking::new();
        Cursor(&page.cursor).lend(2);
        let held = Held { first: 0, count: 2 };
        let client = {
            let page = page.clone();
            thread::spawn(move || {
                let hand = Hands(&*page).open(held).unwrap();
                Cursor(&page.cursor).take_many(2);
                let parted = Hands(&*page).part(hand, held, 1).unwrap();
                page.returns(hand, 2);
                page.returns(parted, 1);
            })
        };
        page.keeps_what_is_not_returned(Cursor(&page.cursor).settle().taken);
        client.join().unwrap();
    });
}

#[test]
fn a_sleeper_sees_the_change_or_is_woken() {
    loom::model(|| {
        let bell = Arc::new(word());
        let change = Arc::new(AtomicU64::new(0));
        let sleeper = {
            let (bell, change) = (bell.clone(), change.clone());
            thread::spawn(move || {
                Bell(&*bell).arm(1);
                change.load(Ordering::Acquire) == 1
            })
        };
        change.store(1, Ordering::Release);
        let woke = Bell(&*bell).ring(1);
        let saw = sleeper.join().unwrap();
        assert!(saw || woke, "it sleeps on");
    });
}

#[test]
fn a_consumer_rings_or_the_owner_sees_what_it_took() {
    loom::model(|| {
        let cursor = Arc::new(word());
        let rings_at = Arc::new(AtomicU64::new(0));
        Cursor(&*cursor).lend(1);
        let client = {
            let (cursor, rings_at) = (cursor.clone(), rings_at.clone());
            thread::spawn(move || {
                Cursor(&*cursor).take();
                rings_at.load(Ordering::Acquire) == 1
            })
        };
        rings_at.store(1, Ordering::Release);
        let saw = Cursor(&*cursor).settle().taken == 1;
        assert!(client.join().unwrap() || saw);
    });
}

#[test]
fn who_does_not_tell_that_it_waits_is_asked() {
    loom::model(|| {
        let page = Arc::new((word(), word()));
        Hunger(&page.0).calm();
        let client = {
            let page = page.clone();
            thread::spawn(move || {
                Hunger(&page.0).enter();
                let has = Cursor(&page.1).take().is_some();
                (has, Hunger(&page.0).must_ring())
            })
        };
        // An item has come, and went elsewhere than to this client.
        let asked = Hunger(&page.0).stir();
        let (has, rings) = client.join().unwrap();
        assert!(!has && (rings || asked == 1), "it waits, and the owner does not know");
    });
}

#[test]
fn who_is_lent_an_item_while_it_does_not_tell_takes_it_or_is_woken() {
    loom::model(|| {
        let page = Arc::new((word(), word(), word()));
        Hunger(&page.0).calm();
        let client = {
            let page = page.clone();
            thread::spawn(move || {
                Hunger(&page.0).enter();
                Bell(&page.2).arm(1);
                Cursor(&page.1).take().is_some()
            })
        };
        Cursor(&page.1).lend(1);
        let woke = Bell(&page.2).ring(1);
        assert!(client.join().unwrap() || woke, "it sleeps on");
    });
}
