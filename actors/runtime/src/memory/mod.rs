//! Memory that processes share, as things with an owner and an end.
//!
//! Owns segments, by name and without, and blocks of memory for values and arrays, which
//! have an owner and handles that travel. It must never hand out a reference to bytes that
//! another process may write: `SharedCells` copies. Below it stands `sys::memory`; `launcher`
//! keeps the names that must not outlive this process.

mod block;
mod heap;
pub mod segment;

pub use block::Memory;

pub use crate::sys::cells::{OutOfRange, Plain, SharedCell, SharedCells};
pub use crate::sys::integer::Integer;
