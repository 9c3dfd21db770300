//! The threads on which users' functions run in a server.
//!
//! Owns a bounded number of threads, made when they are needed and kept for a while. A
//! function that blocks keeps its thread and nobody else; more than [`MAX_FUNCTIONS`] at a
//! time are refused. The answers of those that waited without a thread are computed also then.

use crate::share::era::Eras;
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Most functions of users that run in a server at a time.
pub const MAX_FUNCTIONS: usize = 64;

/// So many threads there are beyond those, for what does not take long.
const SPARE: usize = 4;

/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Workers {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static WORKERS: Eras<Workers> = Eras::new();

/// All threads are taken.
#[derive(Debug)]
pub(super) struct Busy;

/// Runs a job on one of the threads. Never waits.
pub(super) fn run(job: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
    let workers = WORKERS.now();
    let state = &mut *lock(&workers.state);
    if state.idle > state.jobs.len() {
        state.jobs.push_back(Box::new(job));
        workers.wake.notify_one();
        return Ok(());
    }
    if state.threads >= MAX_FUNCTIONS {
        return Err(Busy);
    }
    workers.start(state, Box::new(job))
}

/// Runs a job that does not take long, when a thread is free. Never waits.
pub(super) fn run_soon(job: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
    let workers = WORKERS.now();
    let state = &mut *lock(&workers.state);
    if state.idle <= state.jobs.len() && state.threads < MAX_FUNCTIONS + SPARE {
        return workers.start(state, Box::new(job));
    }
    state.jobs.push_back(Box::new(job));
    workers.wake.notify_one();
    Ok(())
}

impl Workers {
    fn start(&'static self, state: &mut State, first: Job) -> Result<(), Busy> {
        let thread = std::thread::Builder::new().name("procession-manager".into());
        thread.spawn(move || self.work(first)).map_err(|_| Busy)?;
        state.threads += 1;
        Ok(())
    }

    fn work(&self, first: Job) {
        first();
        let mut state = lock(&self.state);
        loop {
            state.idle += 1;
            let wait = self.wake.wait_timeout_while(state, IDLE, |state| state.jobs.is_empty());
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            let Some(job) = state.jobs.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            job();
            state = lock(&self.state);
        }
    }
}
