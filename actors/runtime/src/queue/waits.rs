//! How the threads and futures of one process wait on one descriptor, and what they do before.
//!
//! Owns the rule that one of them, the leader, polls it, and that whoever reads from it
//! wakes all the others: a byte read by one would else be missed by another that polls for
//! it. It knows nothing of what they wait for: each looks again when a round ends. It must
//! never hold its lock across a wait.

use crate::sync::{after, lock};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How long a caller waits.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// Not at all.
    Never,
    /// Blocking its thread, until the deadline if there is one.
    Until(Option<Instant>),
    /// As a future.
    Async,
}

impl Patience {
    /// So long, blocking; when that is nothing, not at all. For whoever looks once must be
    /// told what there is: the owner takes a moment to see that somebody waits.
    pub fn within(timeout: Duration) -> Self {
        if timeout.is_zero() { Self::Never } else { Self::Until(after(timeout)) }
    }
}

/// So often a thread looks whether its wait is over before it has begun.
const LOOKS: usize = 10;

/// When the looks have taken so long, the processor is wanted by others, who are not those
/// that are waited for. A yield takes less than a microsecond otherwise.
const TOO_LONG: Duration = Duration::from_micros(200);

/// Then nobody looks before a wait for so long.
const REST: Duration = Duration::from_millis(50);

/// The looks before a wait. A wake costs more than all else, and whoever is waited for is
/// often about to come.
#[derive(Debug, Default)]
pub(super) struct Looks {
    rests_until: Mutex<Option<Instant>>,
}

impl Looks {
    /// Looks a few times, and lets others run before each. True when a look said so.
    pub(super) fn find(&self, mut look: impl FnMut() -> bool) -> bool {
        let began = Instant::now();
        if lock(&self.rests_until).is_some_and(|until| began < until) {
            return false;
        }
        for _ in 0..LOOKS {
            std::thread::yield_now();
            if look() {
                return true;
            }
            let now = Instant::now();
            if now.duration_since(began) > TOO_LONG {
                *lock(&self.rests_until) = now.checked_add(REST);
                return false;
            }
        }
        false
    }
}

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Counts what the leader has heard.
    round: u64,
    has_leader: bool,
    /// Of futures, by their numbers.
    wakers: BTreeMap<u64, Waker>,
    last_number: u64,
}

/// The place of a future among those who wait, which it leaves when it is dropped.
struct Place<'a> {
    waits: &'a Waits,
    number: Option<u64>,
}

impl Place<'_> {
    fn number(&mut self, state: &mut State) -> u64 {
        *self.number.get_or_insert_with(|| {
            state.last_number += 1;
            state.last_number
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = lock(&self.waits.state).wakers.remove(&number);
            drop(waker);
        }
    }
}

/// A wait without a deadline is made of these.
const LONGEST: Duration = Duration::from_hours(1);

impl Waits {
    /// The round to wait for the end of. To be asked before looking whether to wait.
    pub(super) fn round(&self) -> u64 {
        lock(&self.state).round
    }

    /// Waits, blocking, until the round ends; false when the deadline passed first.
    /// `listen` waits on the descriptor and reads it; the leader calls it.
    pub(super) fn block(
        &self,
        round: u64,
        deadline: Option<Instant>,
        listen: impl FnOnce(Option<Instant>),
    ) -> bool {
        let mut state = lock(&self.state);
        loop {
            if state.round != round {
                return true;
            }
            let left = deadline.map_or(LONGEST, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            if !state.has_leader {
                state.has_leader = true;
                drop(state);
                listen(deadline);
                self.end_round();
                return true;
            }
            let slice = left.min(LONGEST);
            state = self.ended.wait_timeout(state, slice).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits as a future. `lead` starts somebody who listens and then ends the round.
    pub(super) fn wait<'a>(&'a self, round: u64, lead: impl Fn() + 'a) -> impl Future + 'a {
        let mut place = Place { waits: self, number: None };
        std::future::poll_fn(move |context: &mut Context<'_>| {
            let state = &mut *lock(&self.state);
            if state.round != round {
                return Poll::Ready(());
            }
            let number = place.number(state);
            let waker = state.wakers.entry(number).or_insert_with(|| context.waker().clone());
            waker.clone_from(context.waker());
            if !std::mem::replace(&mut state.has_leader, true) {
                lead();
            }
            Poll::Pending
        })
    }

    /// The leader has heard something, or waits no longer.
    pub(super) fn end_round(&self) {
        let wakers = {
            let state = &mut *lock(&self.state);
            state.has_leader = false;
            state.round += 1;
            std::mem::take(&mut state.wakers)
        };
        self.ended.notify_all();
        for waker in wakers.into_values() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[test]
    fn a_future_that_is_dropped_leaves_nothing() {
        let waits = Waits::default();
        let poll = |count: usize| {
            for _ in 0..count {
                // Each in a task of its own.
                let waker = crate::wait::waker();
                let mut wait = pin!(waits.wait(0, || ()));
                assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
        };
        poll(100);
        assert!(lock(&waits.state).wakers.is_empty());
        let mut wait = pin!(waits.wait(0, || ()));
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        poll(100);
        waits.end_round();
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}
