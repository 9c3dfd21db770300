//! `PoolStats`: how a pool is doing.
//!
//! Owns what a user is shown. Who counts is `super::core`.

/// How a pool is doing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolStats {
    /// The workers that there are now.
    pub workers: Vec<WorkerStats>,
    /// How many workers have taken the places of others so far.
    pub restarts: u64,
    /// How many tasks have been submitted and have not ended.
    pub unfinished: usize,
}

/// How a worker is doing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its name, such as `PoolWorker-1`.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// How many calls it has done, as far as this process has seen their results.
    pub done: u64,
    /// The part of its life in which it had something to do, from 0 to 1.
    pub busy: f64,
    /// Its resident memory in bytes; 0 when it cannot be read.
    pub memory: u64,
    /// How many workers have had its place in the pool before it.
    pub restarts: u64,
}
