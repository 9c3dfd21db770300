//! The Python side: one long-lived `python3` for a whole session.
//!
//! Owns how Python is found and started; the rows themselves are in the scripts
//! of `benches/versus/python/`. It must never make a run fail because Python is
//! missing: the side is then absent, its figures null. It is long-lived so that
//! the interpreter's own start is not counted. Neighbours: `helper` below.

use std::process::Command;

use crate::harness::{Absent, Answer, Error, Side};
use crate::helper::Helper;

/// Starts the script of an area, named by its path in the repository.
pub(crate) fn open(script: &str) -> Result<Box<dyn Side>, Error> {
    let path = format!("{}/{script}", env!("CARGO_MANIFEST_DIR"));
    // -B: leave no bytecode behind in the repository.
    match Helper::start(Command::new("python3").arg("-B").arg(path)) {
        Ok(helper) => Ok(Box::new(Python(helper))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("versus: python3 is not installed, its figures are left out");
            Ok(Box::new(Absent))
        }
        Err(error) => Err(format!("python3: {error}").into()),
    }
}

struct Python(Helper);

impl Side for Python {
    fn round(&mut self, row: &str, operations: u64) -> Result<Option<Answer>, Error> {
        self.0.round(row, operations).map(Some)
    }
}
