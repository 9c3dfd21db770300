//! Memory that processes share, as things with an owner and an end.
//!
//! Owns segments, by name and without. It must never hand out a reference to bytes that
//! another process may write: `SharedCells` copies. Below it stands `sys::memory`; `launcher`
//! keeps the names that must not outlive this process.

pub mod segment;

pub use crate::sys::cells::{Integer, OutOfRange, Plain, SharedCell, SharedCells};
