//! A pool of workers: which of them gets which task, and what a death costs.
//!
//! Owns the parts of it. The [`Scheduler`] is the owner's: tasks and workers as numbers,
//! events in, effects out. The [`word`] is what owner and worker share: through it a worker
//! *begins* an item, so that at every instant both agree on which items have been begun. The
//! [`bell`] is how each of both learns that the other one sleeps.
//! [`Readers`] are the owner's threads: which of them reads what the workers have done, and
//! who sleeps. It must never see a payload, a descriptor or a clock. Its neighbour above
//! is the runtime's `pool`, which carries out the effects.
//!
//! A task is a row of *items*, calls of one function, sent to a worker together. A death,
//! a time limit or a cancellation costs only the item that had been begun: the items
//! before it have their results, those behind it are given to another worker. Workers that
//! have nothing to do take what others have not begun.

pub mod bell;
mod by_id;
mod effect;
mod ending;
mod readers;
mod scheduler;
mod supply;
pub mod word;
mod worker;

pub use effect::{Effect, End, Options, Record, TaskId, Terms};
pub use readers::{Change, Duty, Readers, Successor};
pub use scheduler::Scheduler;
pub use worker::WorkerId;

/// How many tasks are sent to a worker beyond the one that it works on, at least: one, to
/// hide the trip.
pub const AHEAD: usize = 1;

/// How many at most, to a worker that does its tasks faster than it is looked at.
pub const MOST_AHEAD: usize = 128;

/// A worker that does fewer tasks between two looks gets each of them at once.
pub const LEAST_BULK: usize = 4;
