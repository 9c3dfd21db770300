//! The words by which a pool's worker and owner wake each other, under loom: the code that
//! runs in the shared memory, in every order in which both may see each other's writes.
//!
//! Owns small stories of one worker. The ring's bytes are numbers here, its bell is a flag
//! with a condition variable; loom finds the order in which somebody sleeps for ever.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use procession_protocols::pool::bell::{self, Alarm, Which, Words};
use procession_protocols::pool::word;
use procession_protocols::word::Atomic;

struct Word(AtomicU64);

impl Atomic<u64> for Word {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    fn exchange(&self, old: u64, new: u64, ok: Ordering, err: Ordering) -> Result<u64, u64> {
        self.0.compare_exchange(old, new, ok, err)
    }

    fn add(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_add(value, order)
    }
}

/// A frame on the stream that only wakes.
struct Bell {
    has_rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    fn new() -> Self {
        Self { has_rung: Mutex::new(false), rings: Condvar::new() }
    }

    fn ring(&self) {
        *self.has_rung.lock().unwrap() = true;
        self.rings.notify_one();
    }

    fn wait(&self) {
        let mut has_rung = self.has_rung.lock().unwrap();
        while !std::mem::take(&mut *has_rung) {
            has_rung = self.rings.wait(has_rung).unwrap();
        }
    }
}

struct Outbox {
    words: [Word; 5],
    to_owner: Bell,
    to_worker: Bell,
}

impl Words for Outbox {
    type Word = Word;

    fn word(&self, which: Which) -> &Word {
        &self.words[which as usize]
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

impl Outbox {
    fn new() -> Arc<Self> {
        let words = std::array::from_fn(|_| Word(AtomicU64::new(0)));
        Arc::new(Self { words, to_owner: Bell::new(), to_worker: Bell::new() })
    }

    /// Does so many items, from the first on: each is one byte in the ring.
    fn work(&self, items: u32) {
        for item in 1..=items {
            assert!(word::begin(self.word(Which::Begun), item));
            bell::put(self, u64::from(item));
            if bell::must_ring(self, item, false) {
                self.to_owner.ring();
            }
        }
    }

    /// Takes all that there is. Gives how much there has been, and rings for who needs room.
    fn take(&self) -> u64 {
        let tail = bell::tail(self);
        if bell::take(self, tail) {
            self.to_worker.ring();
        }
        tail
    }

    /// Until so much has come; sleeps for what is said, as the owner does.
    fn await_results(&self, most: u64, alarm: Alarm) {
        let mut head = self.take();
        while head < most {
            if bell::may_sleep(self, head, alarm) {
                self.to_owner.wait();
            }
            head = self.take();
        }
    }
}

/// Loom visits every order within so many switches of threads at any time.
fn model(switches: usize, story: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(story);
}

#[test]
fn an_owner_that_sleeps_for_each_result_gets_each() {
    model(3, || {
        let outbox = Outbox::new();
        let worker = {
            let outbox = outbox.clone();
            thread::spawn(move || outbox.work(2))
        };
        outbox.await_results(1, Alarm::Each);
        outbox.await_results(2, Alarm::Each);
        worker.join().unwrap();
    });
}

#[test]
fn an_owner_that_sleeps_for_an_item_is_woken_when_that_is_done() {
    model(3, || {
        let outbox = Outbox::new();
        let worker = {
            let outbox = outbox.clone();
            thread::spawn(move || outbox.work(2))
        };
        outbox.await_results(2, Alarm::Done(2));
        worker.join().unwrap();
    });
}

#[test]
fn who_passes_may_take_results_and_have_the_sleeper_woken_later() {
    model(3, || {
        let outbox = Outbox::new();
        let worker = {
            let outbox = outbox.clone();
            thread::spawn(move || outbox.work(2))
        };
        // The sleeper has armed the bell for the first item, and the owner's lock is free.
        let sleeps = bell::may_sleep(&*outbox, 0, Alarm::Done(1));
        let head = outbox.take();
        if !bell::may_sleep(&*outbox, head, Alarm::Done(2)) {
            bell::may_sleep(&*outbox, head, Alarm::Each);
            outbox.take();
        }
        if sleeps && bell::tail(&*outbox) < 2 {
            outbox.to_owner.wait();
        }
        outbox.await_results(2, Alarm::Done(2));
        worker.join().unwrap();
    });
}

#[test]
fn a_worker_without_room_is_told_of_it() {
    model(2, || {
        let outbox = Outbox::new();
        let worker = {
            let outbox = outbox.clone();
            thread::spawn(move || {
                // The ring has room for one.
                assert!(word::begin(outbox.word(Which::Begun), 1));
                bell::put(&*outbox, 1);
                assert!(word::begin(outbox.word(Which::Begun), 2));
                let mut taken = bell::taken(&*outbox);
                while taken < 1 {
                    taken = bell::wants_room(&*outbox);
                    if taken < 1 {
                        if bell::must_ring(&*outbox, 0, true) {
                            outbox.to_owner.ring();
                        }
                        outbox.to_worker.wait();
                    }
                }
                bell::put(&*outbox, 2);
                if bell::must_ring(&*outbox, 2, false) {
                    outbox.to_owner.ring();
                }
            })
        };
        outbox.await_results(2, Alarm::Done(2));
        worker.join().unwrap();
    });
}
