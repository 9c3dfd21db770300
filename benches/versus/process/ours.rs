//! Our side of the area `process`.
//!
//! Owns the rows as a user of procession writes them, through the public face
//! only. It must never use a way into the library that a user does not have.
//! Until that face exists the side is absent, and its figures are null.

use crate::harness::{Absent, Error, Side};

#[expect(clippy::unnecessary_wraps, reason = "opening the sides may fail, and ours will")]
pub(super) fn open() -> Result<Box<dyn Side>, Error> {
    Ok(Box::new(Absent))
}
