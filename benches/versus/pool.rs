//! The area `pool`: which rows there are, and what they are to reach.
//!
//! Owns the names, the amounts and the targets of the rows about pools and executors. It
//! must never contain the work of a side: ours is in `pool/ours.rs`, Python's in
//! `python/pool_rows.py`, the raw one in `benches/raw/pool_rows.c`, but for the row whose
//! limit is what threads reach: that one is `pool/threads.rs`.

mod ours;
mod threads;

use crate::harness::{Answer, Area, Better, Error, Mode, Row, Share, Side, Sides, Target, Unit};
use crate::helper::Helper;
use crate::{python, raw};

pub(crate) const AREA: Area = Area { name: "pool", rows: ROWS, open };

fn open() -> Result<Sides, Error> {
    Ok(Sides {
        ours: Box::new(ours::Ours),
        python: python::open("benches/versus/python/pool_rows.py")?,
        raw: Box::new(Raw(raw::open("benches/raw/pool_rows.c")?)),
    })
}

/// The C program, where there is a compiler; and threads.
struct Raw(Option<Helper>);

impl Side for Raw {
    fn round(&mut self, row: &str, operations: u64) -> Result<Option<Answer>, Error> {
        match row {
            "pool_cpu" => threads::cpu(operations).map(Some),
            _ => self.0.as_mut().map(|helper| helper.round(row, operations)).transpose(),
        }
    }
}

const ROWS: &[Row] = &[
    // A million trivial calls, inputs from memory, results checked: the whole map. Raw are
    // chunks over sockets.
    Row {
        rounds: 9,
        ours: Share::new(2, 1),
        python: Share::new(1, 1),
        raw: Share::new(2, 1),
        targets: &[Target::TimesRaw(2.5)],
        ..cost("pool_map_1m")
    },
    // Trivial tasks one by one, as they are done.
    Row {
        ours: Share::new(100_000, 500),
        python: Share::new(5_000, 500),
        raw: Share::new(100_000, 500),
        targets: &[Target::RateOfRaw(0.6)],
        ..rate("pool_imap_2")
    },
    Row {
        ours: Share::new(100_000, 500),
        python: Share::new(5_000, 500),
        raw: Share::new(100_000, 500),
        targets: &[Target::RateOfRaw(0.6)],
        ..rate("pool_imap_4")
    },
    // One task there and back.
    Row {
        ours: Share::new(3_000, 50),
        python: Share::new(1_000, 50),
        raw: Share::new(3_000, 50),
        targets: &[Target::TimesRaw(1.5)],
        ..cost("pool_apply")
    },
    // The same with 1 MiB there and back.
    Row {
        ours: Share::new(40, 2),
        python: Share::new(20, 2),
        raw: Share::new(40, 2),
        targets: &[Target::AtMost(600.0)],
        ..cost("pool_apply_1mib")
    },
    // From nothing to the first result of a pool of two. Raw are two forks of a small
    // program.
    Row {
        ours: Share::new(5, 1),
        python: Share::new(3, 1),
        raw: Share::new(5, 1),
        targets: &[Target::AtMost(2_000.0)],
        ..cost("pool_first_result")
    },
    // Tasks of about 10 ms that compute. Raw are two threads of rayon in this process.
    Row {
        rounds: 7,
        ours: Share::new(40, 4),
        python: Share::new(20, 4),
        raw: Share::new(40, 4),
        targets: &[Target::TimesRaw(1.03)],
        judged: &[Mode::Free],
        ..cost("pool_cpu")
    },
    // From the SIGKILL of the only worker to the next result. Python's pool never gives one.
    Row {
        ours: Share::new(10, 2),
        raw: Share::new(10, 2),
        targets: &[Target::AtMost(5_000.0)],
        ..cost("pool_heal")
    },
    // An executor: submit and wait, one by one; then many submitted before the first wait.
    Row {
        ours: Share::new(3_000, 50),
        python: Share::new(1_000, 50),
        raw: Share::new(3_000, 50),
        targets: &[Target::TimesRaw(1.6)],
        ..cost("executor_round_trip")
    },
    Row {
        ours: Share::new(50_000, 500),
        python: Share::new(3_000, 500),
        raw: Share::new(50_000, 500),
        targets: &[Target::RateOfRaw(0.6)],
        ..rate("executor_throughput")
    },
];

const fn cost(name: &'static str) -> Row {
    row(name, Unit::Us, Better::Lower)
}

const fn rate(name: &'static str) -> Row {
    row(name, Unit::KPerS, Better::Higher)
}

/// What the rows above have in common; each states the rest.
const fn row(name: &'static str, unit: Unit, better: Better) -> Row {
    const NOTHING: Share = Share::new(0, 0);
    Row {
        name,
        unit,
        better,
        rounds: 15,
        ours: NOTHING,
        python: NOTHING,
        raw: NOTHING,
        expected: |operations| operations,
        targets: &[],
        judged: &Mode::ALL,
    }
}
