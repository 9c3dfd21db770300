//! The area `manager`: which rows there are, and what they are to reach.
//!
//! Owns the names, the amounts and the targets of the rows about managers. A name says
//! what is called, `tcp` where the manager is another program's over TCP, and 4 where four
//! processes call at a time. It must never contain the work of a side: ours is in
//! `manager/ours.rs`, Python's in `python/manager_rows.py`, the raw one, which only echoes,
//! in `benches/raw/manager_rows.c`.

mod ours;

use crate::harness::{Answer, Area, Better, Error, Mode, Row, Share, Side, Sides, Target, Unit};
use crate::helper::Helper;
use crate::{python, raw};

pub(crate) const AREA: Area = Area { name: "manager", rows: ROWS, open };

fn open() -> Result<Sides, Error> {
    Ok(Sides {
        ours: Box::new(ours::Ours),
        python: python::open("benches/versus/python/manager_rows.py")?,
        raw: Box::new(Raw(raw::open("benches/raw/manager_rows.c")?)),
    })
}

/// The C program, where there is a compiler.
struct Raw(Option<Helper>);

impl Side for Raw {
    fn round(&mut self, row: &str, operations: u64) -> Result<Option<Answer>, Error> {
        self.0.as_mut().map(|helper| helper.round(row, operations)).transpose()
    }
}

const ROWS: &[Row] = &[
    // One call at a time, in a process tree.
    Row { python: Share::new(1_000, 100), ..alone("manager_dict_set") },
    alone("manager_dict_get"),
    alone("manager_list_append"),
    // A put and a get are one operation.
    Row { python: Share::new(1_000, 100), ..alone("manager_queue") },
    alone("manager_value_set"),
    Row { targets: &[Target::RateOfRaw(0.6)], ..alone("manager_own_call") },
    // The same from four processes.
    Row { python: Share::new(1_500, 100), ..of_four("manager_dict_set_4") },
    of_four("manager_dict_get_4"),
    of_four("manager_list_append_4"),
    of_four("manager_queue_4"),
    of_four("manager_value_set_4"),
    Row { targets: &[Target::RateOfRaw(0.6)], ..of_four("manager_own_call_4") },
    // From four threads of one process.
    of_four("manager_dict_set_threads_4"),
    // The same of a manager that is another program's, over TCP on this machine.
    Row { python: Share::new(1_000, 100), ..alone("manager_tcp_dict_set") },
    alone("manager_tcp_dict_get"),
    alone("manager_tcp_list_append"),
    alone("manager_tcp_queue"),
    alone("manager_tcp_value_set"),
    Row { targets: &[Target::RateOfRaw(0.6)], ..alone("manager_tcp_own_call") },
    of_four("manager_tcp_dict_set_4"),
    of_four("manager_tcp_dict_get_4"),
    of_four("manager_tcp_list_append_4"),
    of_four("manager_tcp_queue_4"),
    of_four("manager_tcp_value_set_4"),
    Row { targets: &[Target::RateOfRaw(0.6)], ..of_four("manager_tcp_own_call_4") },
    // Many calls under way, from one process; raw are 64 messages in a write.
    Row {
        ours: Share::new(60_000, 500),
        raw: Share::new(200_000, 500),
        targets: &[Target::AtLeast(600.0)],
        ..rate("manager_pipelined")
    },
    Row {
        ours: Share::new(30_000, 500),
        raw: Share::new(200_000, 500),
        ..rate("manager_tcp_pipelined")
    },
    // From nothing to the first answer and the end of the connection. Over a socket file,
    // and over TCP. Raw has no handshake.
    Row {
        ours: Share::new(60, 3),
        python: Share::new(20, 3),
        raw: Share::new(100, 3),
        ..cost("manager_connect")
    },
    Row {
        ours: Share::new(60, 3),
        python: Share::new(20, 3),
        raw: Share::new(100, 3),
        ..cost("manager_tcp_connect")
    },
    // Until a manager is ready. Raw is a fork and an echo.
    Row {
        ours: Share::new(20, 2),
        python: Share::new(2, 1),
        raw: Share::new(50, 2),
        targets: &[Target::AtMost(3_000.0)],
        ..cost("manager_start")
    },
];

const fn alone(name: &'static str) -> Row {
    Row {
        ours: Share::new(6_000, 100),
        python: Share::new(1_000, 0),
        raw: Share::new(6_000, 100),
        targets: &[Target::RateOfRaw(0.85)],
        ..rate(name)
    }
}

const fn of_four(name: &'static str) -> Row {
    Row {
        ours: Share::new(12_000, 100),
        python: Share::new(1_500, 0),
        raw: Share::new(12_000, 100),
        targets: &[Target::RateOfRaw(0.75)],
        ..rate(name)
    }
}

const fn rate(name: &'static str) -> Row {
    row(name, Unit::KPerS, Better::Higher)
}

const fn cost(name: &'static str) -> Row {
    row(name, Unit::Us, Better::Lower)
}

/// What the rows above have in common; each states the rest.
const fn row(name: &'static str, unit: Unit, better: Better) -> Row {
    const NOTHING: Share = Share::new(0, 0);
    Row {
        name,
        unit,
        better,
        rounds: 9,
        ours: NOTHING,
        python: NOTHING,
        raw: NOTHING,
        expected: |operations| operations,
        targets: &[],
        // Server and client take turns on one CPU there.
        judged: &[Mode::Free],
    }
}
