//! The words of a pool's scheduler: what it is told and what it says.
//!
//! Owns the types of its options, events and effects. It decides nothing.

use super::worker::WorkerId;
use crate::supervision::intensity::Intensity;
use std::ops::Range;

/// A task. Numbers are not used twice; the place is where the scheduler keeps it, and is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    pub(super) number: u64,
    pub(super) place: usize,
}

/// What a pool is to be.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many workers there are.
    pub workers: usize,
    /// How many tasks a worker does before another takes its place; a part of a task that
    /// it is given counts as one.
    pub max_tasks: Option<u32>,
    /// How many workers may end without having begun anything, within which time; and how many
    /// starts may fail in a row.
    pub budget: Intensity,
    /// Whether a worker is started only when a task finds none that is idle.
    pub on_demand: bool,
    /// How long a worker may have nothing to do before it is let go, in milliseconds. The
    /// next one is started on demand then.
    pub idle_ms: Option<u64>,
}

/// What one worker has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Who.
    pub worker: WorkerId,
    /// How many items it has done.
    pub done: u64,
    /// For how long it has had something to do, in milliseconds.
    pub busy_ms: u64,
    /// For how long it has been ready, in milliseconds.
    pub ready_ms: u64,
    /// How many workers have had its place before it.
    pub restarts: u64,
}

/// On which terms a task runs. Each of its items has these for itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// How long an item may take, in milliseconds, once a worker has begun it.
    pub limit_ms: Option<u64>,
    /// How often an item is given again after its worker ended in it, or its time was up.
    pub retries: u32,
}

/// How an item ended that its worker did not finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its worker ended in it.
    Died,
    /// Its time was up, and its worker was killed.
    TimedOut,
    /// It was cancelled, or the pool was terminated.
    Cancelled,
    /// The pool has no workers any more: its budget was used up.
    Broken,
}

/// What the caller is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Start a worker; then say [`ready`](super::Scheduler::ready) or
    /// [`died`](super::Scheduler::died).
    Start(WorkerId),
    /// Send it items of a task, the first of them under this number, the next ones under
    /// the numbers that follow.
    Send {
        /// To whom.
        worker: WorkerId,
        /// Of which task.
        task: T,
        /// Which items.
        items: Range<u32>,
        /// The number by which both know the first one.
        number: u32,
    },
    /// Tell it to end: nothing more is sent to it.
    Retire(WorkerId),
    /// Take back, by its word, all that it has not begun, up to `last`; then say
    /// [`taken_back`](super::Scheduler::taken_back).
    TakeBack {
        /// From whom.
        worker: WorkerId,
        /// The last number that was sent to it.
        last: u32,
    },
    /// Kill it, now: for the sake of an item; or because the pool is over and it is only
    /// starting, or has just started. A start that is cut off has [`died`](super::Scheduler::died).
    Kill(WorkerId),
    /// Have it end, by force after a while: the pool is over.
    Stop(WorkerId),
    /// Items have ended without a result.
    Deliver {
        /// Of which task.
        task: T,
        /// Which.
        items: Range<u32>,
        /// How.
        end: End,
        /// Whether it was the last of its task.
        is_last: bool,
    },
    /// No worker is left, and none will come.
    Ended,
}
