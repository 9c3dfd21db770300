//! The rows of the area `ipc`: names, amounts, targets.
//!
//! Owns what is compared and what is to be reached. It must never contain work.
//! The figures to reach were found on two CPUs, so they are judged where all CPUs are
//! free; pinned to one CPU the rows show what a sleep and a switch cost. A row that is
//! named after a number of workers is a window, in which each takes as many turns as
//! it can. Neighbours: `ipc.rs` opens the sides.

use crate::harness::{Better, Mode, Row, Share, Target, Unit};

pub(super) const ROWS: &[Row] = &[
    // 64 bytes there and back on one duplex pipe. Raw is a socket pair.
    Row {
        ours: Share::new(5_000, 50),
        python: Share::new(2_000, 50),
        raw: Share::new(5_000, 50),
        targets: &[Target::TimesRaw(1.15)],
        ..cost("pipe_round_trip", Unit::Us)
    },
    // Frames of 64 bytes, one write and one read each: on a socket pair of one direction, of two.
    Row {
        ours: Share::new(100_000, 500),
        python: Share::new(30_000, 500),
        raw: Share::new(100_000, 500),
        targets: &[Target::RateOfRaw(0.85)],
        ..rate("pipe_64b_one_way", Unit::MPerS)
    },
    Row {
        ours: Share::new(100_000, 500),
        python: Share::new(30_000, 500),
        raw: Share::new(100_000, 500),
        targets: &[Target::RateOfRaw(0.85)],
        ..rate("pipe_64b_duplex", Unit::MPerS)
    },
    // Large frames on a stream.
    Row {
        ours: Share::new(5_000, 20),
        python: Share::new(3_000, 20),
        raw: Share::new(5_000, 20),
        targets: &[Target::RateOfRaw(0.85)],
        ..rate("pipe_64kib", Unit::GibPerS(KIB64))
    },
    Row {
        ours: Share::new(200, 4),
        python: Share::new(100, 4),
        raw: Share::new(200, 4),
        targets: &[Target::RateOfRaw(0.85)],
        ..rate("pipe_1mib", Unit::GibPerS(MIB))
    },
    // Records of 64 bytes through a queue that a third process owns, one at a time.
    // Raw is a shared pair of sockets, one datagram each.
    Row {
        ours: Share::new(100_000, 200),
        python: Share::new(20_000, 200),
        raw: Share::new(100_000, 200),
        targets: &[Target::RateOfRaw(1.1)],
        ..rate("queue_1_1", Unit::MPerS)
    },
    Row {
        ours: Share::new(100_000, 200),
        python: Share::new(20_000, 200),
        raw: Share::new(100_000, 200),
        targets: &[Target::RateOfRaw(1.1)],
        ..rate("queue_4_4", Unit::MPerS)
    },
    // The same by 64 at a time, which Python has not.
    Row {
        ours: Share::new(1_000_000, 1_000),
        raw: Share::new(1_000_000, 1_000),
        targets: &[Target::AtLeast(4.0)],
        ..rate("queue_many_1_1", Unit::MPerS)
    },
    Row {
        ours: Share::new(1_000_000, 1_000),
        raw: Share::new(1_000_000, 1_000),
        targets: &[Target::AtLeast(4.0)],
        ..rate("queue_many_4_4", Unit::MPerS)
    },
    // A record to a child and back over two queues.
    Row {
        ours: Share::new(3_000, 30),
        python: Share::new(1_000, 30),
        raw: Share::new(3_000, 30),
        targets: &[Target::AtMost(35.0)],
        ..cost("queue_round_trip", Unit::Us)
    },
    // Raw is a stream.
    Row {
        ours: Share::new(200, 4),
        python: Share::new(100, 4),
        raw: Share::new(200, 4),
        targets: &[Target::RateOfRaw(0.5)],
        ..rate("queue_1mib", Unit::GibPerS(MIB))
    },
    // Acquire and release in a child. Raw is a compare-and-swap on a word.
    Row {
        ours: Share::new(1_000_000, 1_000),
        python: Share::new(200_000, 1_000),
        raw: Share::new(1_000_000, 1_000),
        targets: &[Target::TimesRaw(1.15)],
        ..cost("lock_uncontended", Unit::Ns)
    },
    // Raw is a word with sleepers on a futex. Fairness is what the slowest process
    // got in parts of what the fastest got.
    Row { targets: &[Target::RateOfRaw(1.05)], ..window("lock_2_empty") },
    Row { targets: &[Target::AtLeast(0.8)], ..fairness("lock_2_empty_fair") },
    Row { targets: &[Target::RateOfRaw(1.05)], ..window("lock_4_empty") },
    Row { targets: &[Target::AtLeast(0.6)], ..fairness("lock_4_empty_fair") },
    Row { targets: &[Target::RateOfRaw(1.05)], ..window("lock_2_2us") },
    Row { targets: &[Target::AtLeast(0.9)], ..fairness("lock_2_2us_fair") },
    Row { targets: &[Target::RateOfRaw(1.05)], ..window("lock_4_2us") },
    Row { targets: &[Target::AtLeast(0.8)], ..fairness("lock_4_2us_fair") },
    // As long outside the section as in it.
    Row { targets: &[Target::RateOfRaw(0.9)], ..window("lock_2_think") },
    // A permit there and one back. Raw sleeps on a futex at once.
    Row {
        ours: Share::new(5_000, 50),
        python: Share::new(3_000, 50),
        raw: Share::new(5_000, 50),
        targets: &[Target::TimesRaw(0.15)],
        ..cost("semaphore_1_pair", Unit::Us)
    },
    Row {
        ours: Share::new(5_000, 50),
        python: Share::new(3_000, 50),
        raw: Share::new(5_000, 50),
        targets: &[Target::TimesRaw(1.0)],
        ..cost("semaphore_2_pairs", Unit::Us)
    },
    // From the waker's call until the sleeper runs: with the lock in its hands, where
    // it is a condition's. Raw is a futex wake.
    Row {
        ours: Share::new(300, 20),
        python: Share::new(300, 20),
        raw: Share::new(300, 20),
        targets: &[Target::TimesRaw(1.15)],
        ..cost("event_wake", Unit::Us)
    },
    Row {
        ours: Share::new(300, 20),
        python: Share::new(300, 20),
        raw: Share::new(300, 20),
        targets: &[Target::TimesRaw(1.2)],
        ..cost("condition_wake", Unit::Us)
    },
    // Rounds. Raw is a generation word, a short spin, a futex.
    Row {
        ours: Share::new(100_000, 200),
        python: Share::new(2_000, 20),
        raw: Share::new(100_000, 200),
        targets: &[Target::RateOfRaw(1.0)],
        ..rate("barrier_2", Unit::KPerS)
    },
    Row {
        ours: Share::new(10_000, 100),
        python: Share::new(1_000, 20),
        raw: Share::new(10_000, 100),
        targets: &[Target::RateOfRaw(2.0)],
        ..rate("barrier_4", Unit::KPerS)
    },
    // One more under the value's lock, or by an atomic instruction, which Python has
    // not. Raw is a counter beside a word with sleepers, and the instruction.
    Row { targets: &[Target::BeatsPython(25.0)], ..window("value_add_1") },
    Row { targets: &[Target::BeatsPython(25.0)], ..window("value_add_2") },
    Row { python: NOTHING, targets: &[Target::RateOfRaw(0.9)], ..window("value_fetch_add_1") },
    Row { python: NOTHING, targets: &[Target::RateOfRaw(0.9)], ..window("value_fetch_add_2") },
    // The sum of a million doubles. Raw is a slice.
    Row {
        ours: Share::new(50, 2),
        python: Share::new(1, 0).every(5),
        raw: Share::new(50, 2),
        targets: &[Target::TimesRaw(1.1)],
        ..cost("array_sum", Unit::Us)
    },
];

const KIB64: u64 = 1 << 16;
const MIB: u64 = 1 << 20;
const NOTHING: Share = Share::new(0, 0);

/// Time per operation; a side that is not stated takes no part.
const fn cost(name: &'static str, unit: Unit) -> Row {
    Row {
        name,
        unit,
        better: Better::Lower,
        rounds: 9,
        ours: NOTHING,
        python: NOTHING,
        raw: NOTHING,
        expected: each,
        targets: &[],
        judged: &[Mode::Free],
    }
}

/// Operations per time.
const fn rate(name: &'static str, unit: Unit) -> Row {
    Row { better: Better::Higher, ..cost(name, unit) }
}

/// Turns in a window of so many milliseconds.
const fn window(name: &'static str) -> Row {
    const WINDOW: Share = Share::new(200, 10);
    Row {
        ours: WINDOW,
        python: WINDOW,
        raw: WINDOW,
        expected: counted,
        ..rate(name, Unit::TurnsMPerS)
    }
}

/// Shares of CPU vary, so it takes half a second to tell who is served worse.
const fn fairness(name: &'static str) -> Row {
    const WINDOW: Share = Share::new(500, 10);
    Row { unit: Unit::Part, rounds: 5, ours: WINDOW, python: WINDOW, raw: WINDOW, ..window(name) }
}

/// Each operation counts once when it went well.
fn each(operations: u64) -> u64 {
    operations
}

/// Once, when the workers' own counts add up to the count that they share.
fn counted(_window_ms: u64) -> u64 {
    1
}
