//! The tree of processes below one: who is there, killing all of it, adopted orphans.
//!
//! Owns the walk through /proc and its three users: [`descendants`], [`kill_tree`] and
//! [`AdoptionWatch`]. It must never act on a bare process number: a process is named by
//! number and start time, signalled through a pidfd, and that the pidfd leads to the
//! process that was seen is checked. Above it stand `Process::kill_tree` and
//! `Process::contain`; below it `sys::process`, `reap` and /proc.

mod adoption;
mod kill;
mod snapshot;

pub use adoption::AdoptionWatch;
pub use kill::{TreeKill, kill_tree};
pub use snapshot::{Entry, ProcId, Snapshot, descendants, entry, open_verified, start_time};
