//! The area `ipc`: what processes share, compared row by row.
//!
//! Owns how the three sides of the area are opened, and the amounts on which they must
//! agree. It must never contain the work of a side: ours is below `ipc/`, Python's in
//! `python/ipc_rows.py`, the raw one in `benches/raw/ipc_rows.c`.
//! Neighbours: `ipc/rows.rs` has the names, the amounts and the targets.

mod kin;
mod locks;
mod ours;
mod pipes;
mod queues;
mod rows;
mod values;
pub(crate) mod workers;

use crate::harness::{Answer, Area, Error, Side, Sides};
use crate::helper::Helper;
use crate::{python, raw};

pub(crate) const AREA: Area = Area { name: "ipc", rows: rows::ROWS, open };

fn open() -> Result<Sides, Error> {
    Ok(Sides {
        ours: Box::new(ours::Ours),
        python: python::open("benches/versus/python/ipc_rows.py")?,
        raw: Box::new(Raw(raw::open("benches/raw/ipc_rows.c")?)),
    })
}

/// The C program, where there is a compiler.
struct Raw(Option<Helper>);

impl Side for Raw {
    fn round(&mut self, row: &str, operations: u64) -> Result<Option<Answer>, Error> {
        self.0.as_mut().map(|helper| helper.round(row, operations)).transpose()
    }
}
