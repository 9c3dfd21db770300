//! Where a waiter of the owner's own process finds what came of its wait.
//!
//! Owns one outcome, given once. It must never be waited on with the queue's lock held.

use super::parcel::Parcel;
use crate::sync::lock;
use procession_protocols::queue::{Entry, Waiter};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// What came of a wait.
#[derive(Debug)]
pub(super) enum Outcome {
    Item(Entry<Parcel>),
    /// The item was put.
    Admitted,
    Joined,
    /// The queue was shut down.
    Ended,
}

/// A waiter's place.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) waiter: Waiter,
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug)]
struct State {
    outcome: Option<Outcome>,
    /// The item that is to be put.
    parcel: Option<Parcel>,
    waker: Option<Waker>,
}

/// A wait without a deadline is made of these.
const LONGEST: Duration = Duration::from_hours(1);

impl Cell {
    pub(super) fn new(waiter: Waiter, parcel: Option<Parcel>) -> Arc<Self> {
        let state = State { outcome: None, parcel, waker: None };
        Arc::new(Self { waiter, state: Mutex::new(state), filled: Condvar::new() })
    }

    /// Takes the outcome, if it is there.
    pub(super) fn take(&self) -> Option<Outcome> {
        lock(&self.state).outcome.take()
    }

    /// Whether the outcome is there.
    pub(super) fn is_filled(&self) -> bool {
        lock(&self.state).outcome.is_some()
    }

    /// Takes the item that is to be put.
    pub(super) fn take_parcel(&self) -> Option<Parcel> {
        lock(&self.state).parcel.take()
    }

    pub(super) fn fill(&self, outcome: Outcome) {
        let waker = {
            let state = &mut *lock(&self.state);
            state.outcome = Some(outcome);
            state.waker.take()
        };
        self.filled.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits, blocking; `None` when the deadline passed first.
    pub(super) fn block(&self, deadline: Option<Instant>) -> Option<Outcome> {
        let mut state = lock(&self.state);
        loop {
            if let Some(outcome) = state.outcome.take() {
                return Some(outcome);
            }
            let left = deadline.map_or(LONGEST, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            let slice = left.min(LONGEST);
            state =
                self.filled.wait_timeout(state, slice).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits as a future.
    pub(super) fn outcome(&self) -> impl Future<Output = Outcome> + '_ {
        std::future::poll_fn(|context| {
            let state = &mut *lock(&self.state);
            if let Some(outcome) = state.outcome.take() {
                return Poll::Ready(outcome);
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
    }
}
