//! The results of one call, as they come.
//!
//! Owns the place where a call's outcomes wait to be taken, and those who wait for them.
//! It decodes nothing. A job with callbacks is done when they have run, on the pool's
//! callback thread.

use super::error::TaskError;
use crate::codec::Packed;
use crate::seat::wake_each;
use crate::sync::lock;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread::Thread;

/// What came of a task, or of some of its items.
#[derive(Debug)]
pub struct Outcome {
    /// The number of the first of these items among those of their job.
    pub index: u64,
    /// How many items they are.
    pub items: u32,
    /// Whether they are the last of their task.
    pub is_last: bool,
    /// Their results, not decoded.
    pub result: Result<Packed, TaskError>,
}

/// Makes one value of all outcomes of a job: a `Result<T, TaskError>`.
pub type Cook = fn(Vec<Outcome>) -> Box<dyn Any + Send>;

/// A callback: gets what [`Cook`] made.
pub type Then = Box<dyn FnOnce(&(dyn Any + Send)) + Send>;

/// The results of one call.
#[derive(Default)]
pub struct Job {
    state: Mutex<State>,
    /// Held while what has come is decoded and looked at: who asks meanwhile waits for that.
    cooking: Mutex<()>,
}

/// Whatever has a job in it: what else belongs to a call may be in the same piece of memory.
pub trait HasJob: Send + Sync {
    /// The job.
    fn job(&self) -> &Job;
}

impl HasJob for Job {
    fn job(&self) -> &Job {
        self
    }
}

#[derive(Default)]
struct State {
    /// How many tasks there will be; `None` as long as they are being submitted.
    expected: Option<usize>,
    received: usize,
    done: Done,
    /// Whether the callback thread has taken it on.
    is_busy: bool,
    /// Most jobs never have any of it.
    rest: Option<Box<Rest>>,
}

/// What has come and was not taken. Most often, of thousands of jobs, it is one.
#[derive(Default)]
enum Done {
    #[default]
    Nothing,
    One(Outcome),
    Several(VecDeque<Outcome>),
}

#[derive(Default)]
struct Rest {
    cooked: Option<Box<dyn Any + Send>>,
    callbacks: Vec<(Cook, Then)>,
    threads: Vec<Thread>,
    wakers: Vec<Waker>,
}

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Something to take, or the end.
    Any,
    /// Everything, whether or not callbacks have run.
    Come,
    /// Everything, and the callbacks have run.
    All,
}

/// Those to be woken, once no lock is held.
#[derive(Default)]
pub(super) struct Wakes(Vec<Waker>);

impl Job {
    /// A job without results.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One of which a single task is expected.
    pub fn of_one() -> Self {
        let state = State { expected: Some(1), ..State::default() };
        Self { state: Mutex::new(state), cooking: Mutex::default() }
    }

    /// Takes what has come.
    pub fn take(&self) -> VecDeque<Outcome> {
        match std::mem::take(&mut lock(&self.state).done) {
            Done::Nothing => VecDeque::new(),
            Done::One(outcome) => VecDeque::from([outcome]),
            Done::Several(outcomes) => outcomes,
        }
    }

    /// Takes the first that has come.
    pub fn take_one(&self) -> Option<Outcome> {
        let state = &mut *lock(&self.state);
        match &mut state.done {
            Done::Nothing => None,
            Done::Several(outcomes) => outcomes.pop_front(),
            Done::One(_) => match std::mem::take(&mut state.done) {
                Done::One(outcome) => Some(outcome),
                _ => None,
            },
        }
    }

    /// Does something with what `cook` makes of the outcomes, once all have come.
    pub fn with_cooked<T>(
        &self,
        cook: Cook,
        with: impl FnOnce(&mut Box<dyn Any + Send>) -> T,
    ) -> T {
        // Decoding is user code, under no lock that others need for more than its outcome.
        let _turn = lock(&self.cooking);
        let (cooked, done) = {
            let state = &mut *lock(&self.state);
            (state.rest().cooked.take(), std::mem::take(&mut state.done))
        };
        let mut cooked = cooked.unwrap_or_else(|| {
            cook(match done {
                Done::Nothing => Vec::new(),
                Done::One(outcome) => vec![outcome],
                Done::Several(outcomes) => outcomes.into(),
            })
        });
        let value = with(&mut cooked);
        lock(&self.state).rest().cooked = Some(cooked);
        value
    }

    /// Whether all has come, and the callbacks have run.
    pub fn is_done(&self) -> bool {
        self.is_ready(Want::All)
    }

    /// Whether all has come.
    pub fn has_come(&self) -> bool {
        self.is_ready(Want::Come)
    }

    pub(super) fn is_ready(&self, want: Want) -> bool {
        lock(&self.state).is_ready(want)
    }

    pub(super) fn has_callbacks(&self) -> bool {
        let state = lock(&self.state);
        state.is_busy || state.has_callbacks()
    }

    /// Says that there will be so many tasks. True when the callbacks are to be run.
    pub(super) fn expect(&self, count: usize) -> bool {
        let state = &mut *lock(&self.state);
        state.expected = Some(count);
        state.takes_on()
    }

    /// Adds a callback. True when it is to be run.
    pub(super) fn add_callback(&self, cook: Cook, then: Then) -> bool {
        let state = &mut *lock(&self.state);
        state.rest().callbacks.push((cook, then));
        state.takes_on()
    }

    /// An outcome has come. True when the callbacks are to be run.
    pub(super) fn deliver(&self, outcome: Outcome, wakes: &mut Wakes) -> bool {
        let state = &mut *lock(&self.state);
        state.received += usize::from(outcome.is_last);
        state.done = match std::mem::take(&mut state.done) {
            Done::Nothing => Done::One(outcome),
            Done::One(first) => Done::Several(VecDeque::from([first, outcome])),
            Done::Several(mut outcomes) => {
                outcomes.push_back(outcome);
                Done::Several(outcomes)
            }
        };
        state.wake(wakes);
        state.takes_on()
    }

    /// Runs the callbacks, one after another; one that panics is logged.
    pub(super) fn run_callbacks(&self) {
        loop {
            let callbacks = std::mem::take(&mut lock(&self.state).rest().callbacks);
            for (cook, then) in callbacks {
                self.with_cooked(cook, |cooked| {
                    if let Err(report) = crate::panic::catch(|| then(cooked.as_ref())) {
                        tracing::error!(target: "procession", message = report.message,
                            place = report.location, "a pool's callback panicked");
                    }
                });
            }
            let mut wakes = Wakes::default();
            {
                let state = &mut *lock(&self.state);
                if state.has_callbacks() {
                    continue;
                }
                state.is_busy = false;
                state.wake(&mut wakes);
            }
            return wakes.wake();
        }
    }

    /// Has this thread unparked at the next change.
    pub(super) fn register(&self, thread: Thread) {
        lock(&self.state).rest().threads.push(thread);
    }

    /// Undoes [`register`](Self::register).
    pub(super) fn unregister(&self, thread: &Thread) {
        lock(&self.state).rest().threads.retain(|known| known.id() != thread.id());
    }

    /// Has this waker woken at the next change, unless it is ready.
    pub(super) fn poll_ready(&self, want: Want, waker: &Waker) -> bool {
        let state = &mut *lock(&self.state);
        if state.is_ready(want) {
            return true;
        }
        let wakers = &mut state.rest().wakers;
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        false
    }

    /// Undoes what a poll that came to nothing did with this waker, which nobody else
    /// polls with: a wait was given up.
    pub fn forget(&self, waker: &Waker) {
        if let Some(rest) = &mut lock(&self.state).rest {
            rest.wakers.retain(|known| !known.will_wake(waker));
        }
    }
}

impl Done {
    fn is_empty(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::One(_) => false,
            Self::Several(outcomes) => outcomes.is_empty(),
        }
    }
}

impl State {
    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    fn has_callbacks(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| !rest.callbacks.is_empty())
    }

    fn has_all(&self) -> bool {
        self.expected.is_some_and(|expected| self.received >= expected)
    }

    fn is_ready(&self, want: Want) -> bool {
        match want {
            Want::Any => self.has_all() || !self.done.is_empty(),
            Want::Come => self.has_all(),
            Want::All => self.has_all() && !self.is_busy && !self.has_callbacks(),
        }
    }

    fn takes_on(&mut self) -> bool {
        let takes_on = self.has_all() && !self.is_busy && self.has_callbacks();
        self.is_busy |= takes_on;
        takes_on
    }

    fn wake(&mut self, wakes: &mut Wakes) {
        let Some(rest) = &mut self.rest else { return };
        for thread in rest.threads.drain(..) {
            thread.unpark();
        }
        wakes.0.append(&mut rest.wakers);
    }
}

impl Wakes {
    pub(super) fn wake(self) {
        wake_each(self.0);
    }
}
