//! The threads on which users' functions run in a server.
//!
//! Owns a bounded number of threads, made when they are needed and kept for a while, and those
//! who wait for one. A function that blocks keeps its thread and nobody else. While
//! [`MAX_FUNCTIONS`] run, further ones wait for their turn: [`MAX_WAITING_FUNCTIONS`] at most,
//! and each at most [`FUNCTION_PATIENCE`]; then they are refused. The answers of those that
//! waited without a thread are computed also then, on threads that no function gets. It must
//! never run anything on the thread that asks for it.

use super::asker::Asker;
use crate::node::hidden;
use crate::share::era::Eras;
use crate::sync::lock;
use procession_protocols::manager::{Fault, Reply};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most functions of users that run in a server at a time.
pub const MAX_FUNCTIONS: usize = 64;

/// Most functions that wait in a server until others have ended.
pub const MAX_WAITING_FUNCTIONS: usize = 4096;

/// How long a function waits at most until others have ended.
pub const FUNCTION_PATIENCE: Duration = Duration::from_secs(10);

/// So many threads there are beyond those of functions, for what does not take long.
const SPARE: usize = 4;

/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Workers {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// What does not take long.
    short: VecDeque<Job>,
    /// Functions of users, in the order in which they were asked for.
    functions: VecDeque<Job>,
    /// How many functions run.
    running: usize,
    threads: usize,
    /// Threads that have nothing to do, or have not looked yet.
    idle: usize,
    /// Whether somebody sends those away who have waited for too long.
    is_watched: bool,
}

/// Something to be done for somebody.
struct Job {
    asker: Asker,
    body: Box<dyn FnOnce(Asker) + Send>,
    since: Instant,
}

static WORKERS: Eras<Workers> = Eras::new();

/// Runs a function of a user's for somebody, on one of the threads and when it is its turn; or
/// says that there are too many. Never waits.
pub(super) fn run(asker: Asker, body: impl FnOnce(Asker) + Send + 'static) {
    let workers = WORKERS.now();
    let refused = {
        let state = &mut *lock(&workers.state);
        state.functions.push_back(Job::new(asker, body));
        let is_too_many =
            state.running + state.functions.len() > MAX_FUNCTIONS + MAX_WAITING_FUNCTIONS;
        let is_taken = !is_too_many
            && workers.have_thread(state)
            && (state.idle >= state.ready() && state.is_one_to_run() || workers.watch(state));
        if is_taken { None } else { state.functions.pop_back() }
    };
    if let Some(job) = refused {
        job.refuse();
    }
}

/// Runs a job that does not take long, when a thread is free. Never waits.
pub(super) fn run_soon(asker: Asker, body: impl FnOnce(Asker) + Send + 'static) {
    let workers = WORKERS.now();
    let refused = {
        let state = &mut *lock(&workers.state);
        state.short.push_back(Job::new(asker, body));
        if workers.have_thread(state) { None } else { state.short.pop_back() }
    };
    if let Some(job) = refused {
        job.refuse();
    }
}

impl Job {
    fn new(asker: Asker, body: impl FnOnce(Asker) + Send + 'static) -> Self {
        Self { asker, body: Box::new(body), since: Instant::now() }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.since + FUNCTION_PATIENCE <= now
    }

    fn run(self) {
        (self.body)(self.asker);
    }

    fn refuse(self) {
        self.asker.answer(Reply::Fault(Fault::Busy));
    }
}

impl State {
    /// Whether all functions that there are may run.
    fn is_one_to_run(&self) -> bool {
        self.running + self.functions.len() <= MAX_FUNCTIONS
    }

    /// How many jobs could begin, if there were threads for them.
    fn ready(&self) -> usize {
        self.short.len() + self.functions.len().min(MAX_FUNCTIONS - self.running)
    }

    fn next(&mut self) -> Option<(Job, bool)> {
        if let Some(job) = self.short.pop_front() {
            return Some((job, false));
        }
        if self.running == MAX_FUNCTIONS {
            return None;
        }
        self.functions.pop_front().map(|job| (job, true))
    }
}

impl Workers {
    /// Sees to it that somebody does what has come. False when there is no thread at all.
    fn have_thread(&'static self, state: &mut State) -> bool {
        if state.idle < state.ready() && state.threads < MAX_FUNCTIONS + SPARE {
            let thread = std::thread::Builder::new().name("procession-manager".into());
            if thread.spawn(move || self.work()).is_ok() {
                state.threads += 1;
                state.idle += 1;
            }
        }
        self.wake.notify_one();
        state.threads > 0
    }

    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            let wait = self.wake.wait_timeout_while(state, IDLE, |state| state.ready() == 0);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            let Some((job, is_function)) = state.next() else {
                state.threads -= 1;
                return;
            };
            state.running += usize::from(is_function);
            drop(state);
            job.run();
            state = lock(&self.state);
            state.running -= usize::from(is_function);
            state.idle += 1;
        }
    }

    /// Has the hidden thread send those away who wait for too long. False when there is no such
    /// thread.
    fn watch(&'static self, state: &mut State) -> bool {
        if !state.is_watched {
            let Ok(handle) = hidden::handle() else { return false };
            handle.spawn(self.send_the_late_away());
            state.is_watched = true;
        }
        true
    }

    async fn send_the_late_away(&self) {
        loop {
            let (late, next) = {
                let state = &mut *lock(&self.state);
                let now = Instant::now();
                let mut late = Vec::new();
                while let Some(job) = state.functions.pop_front_if(|one| one.is_late(now)) {
                    late.push(job);
                }
                let next = state.functions.front().map(|one| one.since + FUNCTION_PATIENCE);
                state.is_watched = next.is_some();
                (late, next)
            };
            late.into_iter().for_each(Job::refuse);
            let Some(next) = next else { return };
            tokio::time::sleep_until(next.into()).await;
        }
    }
}
