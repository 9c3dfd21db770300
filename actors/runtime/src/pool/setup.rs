//! The words between a pool and its user.
//!
//! Owns what is said when a pool is made and when it is asked for calls. It decides nothing.
//! Neighbour: `core` carries it out.

use super::arguments::Arguments;
use super::task::{Initializer, TaskFunction};
use crate::launcher::StartMethod;
use procession_protocols::pool::Terms;
use procession_protocols::supervision::intensity::Intensity;
use std::time::Duration;

/// What a pool is to be.
pub struct Setup {
    /// How many workers.
    pub workers: usize,
    /// How many tasks a worker does before another takes its place.
    pub max_tasks: Option<u32>,
    /// How many workers may end without having begun a task.
    pub budget: Intensity,
    /// What each worker does first.
    pub initializer: Option<Initializer>,
    /// How they are started; `None` is the program's way.
    pub method: Option<StartMethod>,
    /// The time that a worker has for its start and its initializer.
    pub start_timeout: Duration,
    /// Whether they are started when tasks find none idle; forked ones are started at once
    /// all the same. A failing initializer breaks such a pool.
    pub on_demand: bool,
    /// Whether their tasks may start processes.
    pub may_have_children: bool,
    /// Whether their standard error is relayed and its end kept for reports.
    pub relay_stderr: bool,
    /// How many bytes of memory a worker may use before another takes its place.
    pub max_memory: Option<u64>,
    /// How long a worker may have nothing to do before it is let go.
    pub idle_timeout: Option<Duration>,
}

/// Calls of one function.
pub struct Request {
    /// The function.
    pub function: TaskFunction,
    /// Their arguments.
    pub args: Arguments,
    /// On which terms.
    pub terms: Terms,
}
