//! The words of locks and their kin under the memory model.
//!
//! Owns small worlds for loom, which tries the orders in which threads may see each
//! other's writes. The machines are those of the library, on loom's atomics; sleeping is
//! a condition variable's. Deaths and time-outs are in `word_model`.
#![allow(clippy::unwrap_used, reason = "a test")]

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use procession_protocols::word::barrier::{self, Arrived, BarrierWords};
use procession_protocols::word::condition::{self, Bell, Bells, ConditionWords, Notify, Rings};
use procession_protocols::word::event::{self, EventWords, Set};
use procession_protocols::word::lock::{Acquire, LockWords, Release, Taken};
use procession_protocols::word::permit::{Cell, Cells};
use procession_protocols::word::semaphore::{Give, SemaphoreWords, Take};
use procession_protocols::word::{Advice, Atomic, Effect, Memory, Seat, Slept, Told};

#[derive(Debug, Default)]
struct Loom;

#[derive(Debug)]
struct Word<T>(T);

macro_rules! word {
    ($atomic:ty, $value:ty) => {
        impl Default for Word<$atomic> {
            fn default() -> Self {
                Self(<$atomic>::new(0))
            }
        }
        impl Atomic<$value> for Word<$atomic> {
            fn load(&self, order: Ordering) -> $value {
                // Loom takes a sequentially consistent read for an acquiring one, and may
                // have it see what is old. What reads and writes sees the newest.
                if order == Ordering::SeqCst {
                    return self.0.fetch_add(0, order);
                }
                self.0.load(order)
            }
            fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, order);
            }
            fn exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(current, new, success, failure)
            }
            fn add(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_add(value, order)
            }
        }
    };
}

word!(AtomicU32, u32);
word!(AtomicU64, u64);

impl Memory for Loom {
    type U32 = Word<AtomicU32>;
    type U64 = Word<AtomicU64>;
}

/// A futex: the kernel looks at the word and goes to sleep in one.
#[derive(Default)]
struct Futex {
    sleepers: Mutex<u32>,
    wake: Condvar,
}

impl Futex {
    fn sleep(&self, word: &Word<AtomicU32>, while_is: u32) {
        let mut sleepers = self.sleepers.lock().unwrap();
        if word.load(Ordering::SeqCst) != while_is {
            return;
        }
        *sleepers += 1;
        drop(self.wake.wait(sleepers).unwrap());
    }

    fn wake(&self, count: u32) -> u32 {
        let mut sleepers = self.sleepers.lock().unwrap();
        let woken = count.min(*sleepers);
        *sleepers -= woken;
        if woken == 1 {
            self.wake.notify_one();
        } else if woken > 1 {
            self.wake.notify_all();
        }
        woken
    }
}

/// Steps a machine to its end. A spinner looks once, and then sleeps.
fn run<T>(futex: &Futex, word: &Word<AtomicU32>, mut step: impl FnMut(Told) -> Effect<T>) -> T {
    let mut told = Told::Go;
    let mut looked = false;
    loop {
        told = match step(told) {
            Effect::Again | Effect::Ring => Told::Go,
            Effect::Spin => {
                looked = !looked;
                Told::Advice(if looked { Advice::Take } else { Advice::Sleep })
            }
            Effect::Sleep { while_is, .. } => {
                futex.sleep(word, while_is);
                Told::Slept(Slept::Woken)
            }
            Effect::Wake { count, .. } => Told::Woke(futex.wake(count)),
            Effect::Done(value) => return value,
        };
    }
}

fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

/// A number that is no more atomic than its readers and writers make it: one adds by a
/// read and a write.
#[derive(Default)]
struct Number(Word<AtomicU32>);

impl Number {
    fn add_one(&self) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now + 1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Locked {
    words: LockWords<Loom>,
    futex: Futex,
    number: Number,
}

impl Locked {
    fn take(&self, seat: Seat) {
        if !self.words.take_fast(seat) {
            let mut acquire = Acquire::new(seat);
            let step = |told| acquire.step(&self.words, told);
            assert_eq!(run(&self.futex, &self.words.seq, step), Taken::Clean);
        }
    }

    fn give(&self, seat: Seat) {
        if !self.words.free_fast(seat) {
            let mut release = Release::new(Some(seat));
            let step = |told| release.step(&self.words, told);
            run(&self.futex, &self.words.seq, step).unwrap();
        }
    }
}

#[test]
fn what_a_holder_wrote_the_next_one_sees() {
    fn enter(lock: &Locked, seat: Seat) {
        lock.take(seat);
        lock.number.add_one();
        lock.give(seat);
    }
    model(2, || {
        let shared = Arc::new(Locked::default());
        let other = shared.clone();
        let thread = loom::thread::spawn(move || enter(&other, 2));
        enter(&shared, 1);
        thread.join().unwrap();
        assert_eq!(shared.number.0.load(Ordering::Relaxed), 2);
        assert_eq!(shared.words.look().0 & 0xffff_ffff, 0, "free, and nobody is next");
    });
}

#[derive(Default)]
struct Places {
    words: SemaphoreWords<Loom>,
    cells: [Word<AtomicU64>; 3],
    futex: Futex,
    number: Number,
}

impl Cells<Loom> for Places {
    fn cell(&self, number: u16) -> Option<&Word<AtomicU64>> {
        self.cells.get(usize::from(number)).filter(|_| number != 0)
    }
}

#[test]
fn a_permit_that_is_given_wakes_who_waits_for_it() {
    fn pass(places: &Places, number: u16) {
        let cell = Cell::open(places, number, 1).unwrap();
        let mut take = Take::new(Some(cell), true);
        let step = |told| take.step(&places.words, places, told);
        assert!(run(&places.futex, &places.words.seq, step));
        places.number.add_one();
        let mut give = Give::new(1, Some(cell.next()));
        let step = |told| give.step(&places.words, places, told);
        run(&places.futex, &places.words.seq, step).unwrap();
    }
    model(2, || {
        let places = Arc::new(Places::default());
        places.words.prepare(1, 1);
        let other = places.clone();
        let thread = loom::thread::spawn(move || pass(&other, 2));
        pass(&places, 1);
        thread.join().unwrap();
        assert_eq!(places.number.0.load(Ordering::Relaxed), 2);
        assert_eq!(places.words.look().value(), 1);
    });
}

#[test]
fn what_was_written_before_a_set_is_seen_after_a_wait() {
    #[derive(Default)]
    struct Shared {
        words: EventWords<Loom>,
        futex: Futex,
        number: Number,
    }
    model(3, || {
        let shared = Arc::new(Shared::default());
        let other = shared.clone();
        let thread = loom::thread::spawn(move || {
            other.number.add_one();
            let mut set = Set::new();
            run(&other.futex, &other.words.word, |_| set.step(&other.words));
        });
        let mut wait = event::Wait::new();
        assert!(run(&shared.futex, &shared.words.word, |told| wait.step(&shared.words, told)));
        assert_eq!(shared.number.0.load(Ordering::Relaxed), 1);
        thread.join().unwrap();
    });
}

/// A condition, its lock, and a bell for each of two threads.
#[derive(Default)]
struct Room {
    lock: Locked,
    words: ConditionWords<Loom>,
    bells: [(Bell<Loom>, Futex); 3],
}

impl Bells<Loom> for Room {
    fn bell(&self, seat: Seat) -> Option<&Bell<Loom>> {
        self.bells.get(usize::from(seat)).map(|(bell, _)| bell)
    }
    fn highest(&self) -> Seat {
        2
    }
}

#[test]
fn what_was_written_before_a_notification_is_seen_after_the_wait() {
    const RECORD: u32 = 1;
    fn waits(room: &Room, seat: Seat) {
        let (bell, futex) = &room.bells[usize::from(seat)];
        room.lock.take(seat);
        while room.lock.number.0.load(Ordering::Relaxed) == 0 {
            condition::enter(&room.words, bell, RECORD, false);
            room.lock.give(seat);
            let mut wait = condition::Wait;
            assert!(run(futex, &bell.word, |told| wait.step(bell, told)), "it has no deadline");
            room.lock.take(seat);
            condition::leave(bell);
        }
        room.lock.give(seat);
    }
    fn notifies(room: &Room, seat: Seat) {
        room.lock.take(seat);
        room.lock.number.add_one();
        let mut notify = Notify::new(RECORD, 1);
        let mut notified = None;
        loop {
            match notify.step(&room.words, room) {
                Rings::Again => {}
                Rings::Wake(seat) => notified = Some(seat),
                Rings::Ring => unreachable!("both have a thread"),
                Rings::Done(_) => break,
            }
        }
        room.lock.give(seat);
        if let Some(seat) = notified {
            room.bells[usize::from(seat)].1.wake(1);
        }
    }
    model(2, || {
        let room = Arc::new(Room::default());
        let other = room.clone();
        let thread = loom::thread::spawn(move || notifies(&other, 2));
        waits(&room, 1);
        thread.join().unwrap();
        assert_eq!(room.bells[1].0.word.load(Ordering::Relaxed), 0, "it is spent");
    });
}

#[test]
fn what_was_written_before_a_meeting_is_seen_after_it() {
    #[derive(Default)]
    struct Shared {
        words: BarrierWords<Loom>,
        futex: Futex,
        numbers: [Number; 2],
    }
    fn meets(shared: &Shared, me: usize, acts: bool) {
        for round in 1..=2 {
            shared.numbers[me].add_one();
            let mut wait = barrier::Wait::new(2, acts, false);
            loop {
                match run(&shared.futex, &shared.words.seq, |told| wait.step(&shared.words, told)) {
                    Arrived::Passed(_) => break,
                    Arrived::Last => wait.finish(),
                    other => unreachable!("nothing breaks it: {other:?}"),
                }
            }
            assert!(shared.numbers[1 - me].0.load(Ordering::Relaxed) >= round);
        }
    }
    for acts in [false, true] {
        model(2, move || {
            let shared = Arc::new(Shared::default());
            let other = shared.clone();
            let thread = loom::thread::spawn(move || meets(&other, 1, acts));
            meets(&shared, 0, acts);
            thread.join().unwrap();
        });
    }
}
