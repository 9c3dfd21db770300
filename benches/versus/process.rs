//! The area `process`: which rows there are, and what they are to reach.
//!
//! Owns the names, the amounts and the targets of the rows about starting,
//! ending, calling and supervising processes. It must never contain the work of
//! a side: ours is in `process/ours.rs`, Python's in `python/process_rows.py`, the
//! raw one in `process/yardstick.rs` and `benches/raw/process_rows.c`. All must
//! agree on the constants here.

mod ours;
mod yardstick;

use crate::harness::{Area, Better, Error, Mode, Row, Share, Sides, Target, Unit};
use crate::python;
use crate::sys::MIB;

pub(crate) const AREA: Area = Area { name: "process", rows: ROWS, open };

/// The children of the rows `start_200_*`.
const GROUP: u64 = 200;

/// What each call and cast adds to a counter that starts at 0.
const ADDEND: u64 = 5;

fn open() -> Result<Sides, Error> {
    Ok(Sides {
        ours: ours::open(),
        python: python::open("benches/versus/python/process_rows.py")?,
        raw: yardstick::open()?,
    })
}

const ROWS: &[Row] = &[
    // Start and join of a process that does nothing, by exec. Raw is
    // `std::process::Command` on this image, which leaves in a constructor.
    Row {
        rounds: 21,
        ours: Share::new(20, 3),
        python: Share::new(1, 1),
        raw: Share::new(20, 3),
        targets: &[Target::TimesRaw(1.15), Target::BeatsPython(50.0)],
        ..row("spawn_noop", each)
    },
    // The same by forkserver. Raw is clone, exit and wait in a small program.
    Row {
        rounds: 21,
        ours: Share::new(40, 3),
        python: Share::new(5, 1),
        raw: Share::new(40, 3),
        targets: &[Target::TimesRaw(1.5), Target::BeatsPython(18.0)],
        ..row("forkserver_noop", each)
    },
    // Start with 1 MiB of arguments, the result of 1 MiB taken, and join.
    Row {
        rounds: 11,
        ours: Share::new(5, 1),
        python: Share::new(1, 1),
        raw: Share::new(5, 1),
        ..row("spawn_1mib", each)
    },
    // 200 children started, all ready, then all joined: the time of the whole.
    // Python's side of these two takes seconds, hence its one round.
    Row {
        rounds: 5,
        ours: Share::new(1, 1),
        python: Share::new(1, 0).every(5),
        raw: Share::new(1, 1),
        ..row("start_200_spawn", group)
    },
    Row {
        rounds: 5,
        ours: Share::new(1, 1),
        python: Share::new(1, 0).every(5),
        raw: Share::new(1, 1),
        ..row("start_200_forkserver", group)
    },
    // Private memory of the second idle child after one call.
    Row {
        unit: Unit::Mib,
        rounds: 3,
        ours: Share::new(1, 1),
        python: Share::new(1, 1),
        raw: Share::new(1, 1),
        targets: &[Target::AtMost(1.5)],
        ..row("idle_private_mib", sum)
    },
    // From SIGKILL to `join` done. Raw is poll on a pidfd and waitid.
    Row {
        rounds: 21,
        ours: Share::new(20, 3),
        python: Share::new(4, 1),
        raw: Share::new(20, 3),
        targets: &[Target::TimesRaw(1.5)],
        ..row("death_to_join", each)
    },
    // A blocking call to a process actor. Raw is a round trip of 64 bytes.
    Row {
        rounds: 15,
        ours: Share::new(2_000, 50),
        python: Share::new(1_000, 50),
        raw: Share::new(2_000, 50),
        targets: &[Target::TimesRaw(1.5)],
        ..row("call_blocking", sum)
    },
    // One message of a one-way stream, up to the reply to the last one.
    Row {
        rounds: 15,
        ours: Share::new(20_000, 500),
        python: Share::new(5_000, 500),
        raw: Share::new(20_000, 500),
        ..row("cast", sum)
    },
    // From SIGKILL of a supervised worker to its successor being ready. Python
    // has no supervisors: its side is the loop that its users write by hand.
    Row {
        rounds: 15,
        ours: Share::new(10, 2),
        python: Share::new(3, 1),
        raw: Share::new(10, 2),
        targets: &[Target::AtMost(5_000.0)],
        ..row("supervisor_restart", each)
    },
];

/// What the rows above have in common; each states the rest.
const fn row(name: &'static str, expected: fn(u64) -> u64) -> Row {
    const NOTHING: Share = Share::new(0, 0);
    Row {
        name,
        unit: Unit::Us,
        better: Better::Lower,
        rounds: 1,
        ours: NOTHING,
        python: NOTHING,
        raw: NOTHING,
        expected,
        targets: &[],
        judged: &Mode::ALL,
    }
}

/// Each operation counts once when it went well.
fn each(operations: u64) -> u64 {
    operations
}

/// Each child of each group counts once when it got ready and ended well.
fn group(operations: u64) -> u64 {
    operations * GROUP
}

/// The counter's last value.
fn sum(operations: u64) -> u64 {
    operations * ADDEND
}

/// The argument of `spawn_1mib`, made at run time.
fn payload() -> Vec<u8> {
    (0..=u8::MAX).map(|byte| byte.wrapping_mul(31).wrapping_add(7)).cycle().take(MIB).collect()
}

/// Whether `result` is the payload as a child gives it back: with its first byte
/// inverted, which shows that the child had it in hand.
fn given_back(payload: &[u8], result: &[u8]) -> bool {
    result.len() == payload.len() && result[0] == !payload[0] && result[1..] == payload[1..]
}
