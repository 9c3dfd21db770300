//! A pool of workers: which of them gets which task, and what a death costs.
//!
//! Owns the two halves of it. The [`Scheduler`] is the owner's: tasks and workers as
//! numbers, events in, effects out. The [`word`] is what owner and worker share: through
//! it a worker *begins* a task, so that at every instant both agree on which tasks have
//! been begun. It must never see a payload, a descriptor or a clock. Its neighbour above
//! is the runtime's `pool`, which carries out the effects.
//!
//! One task is sent ahead to a worker that is busy, to hide the trip. A death, a time
//! limit or a cancellation costs only the task that had been begun: one that was only
//! sent ahead is given to another worker.

mod scheduler;
pub mod word;
mod worker;

pub use scheduler::{Effect, End, Options, Scheduler, TaskId, Terms};
pub use worker::WorkerId;

/// How many tasks are sent to a worker beyond the one that it works on.
pub const AHEAD: usize = 1;
