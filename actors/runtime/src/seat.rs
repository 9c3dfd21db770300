//! `Seat`: the place of one who polls among those that are to be woken.
//!
//! Owns the one waker that somebody leaves with what is waited for, whichever tasks poll it one
//! after another: the last of them is woken; and the waking of many. It must never run or drop
//! a task's waker under a lock. Neighbours: `pool::job` and the futures of the package above, which take a waker back
//! when the wait is given up.

use crate::panic::catch;
use crate::sync::lock;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

/// A place that is taken by the first poll.
#[derive(Debug, Default)]
pub struct Seat(Option<(Arc<Relay>, Waker)>);

/// Wakes the task that polled last.
#[derive(Debug, Default)]
struct Relay(Mutex<Option<Waker>>);

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waker = lock(&self.0).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Wakes each, which is user code: one that panics is logged, and keeps no other asleep.
pub fn wake_each(wakers: Vec<Waker>) {
    for waker in wakers {
        if let Err(report) = catch(|| waker.wake()) {
            tracing::error!(target: "procession", message = report.message,
                place = report.location, "a waker panicked");
        }
    }
}

impl Seat {
    /// What to poll with in place of this context's waker, always the same.
    pub fn waker(&mut self, context: &Context<'_>) -> Waker {
        let (relay, waker) = self.0.get_or_insert_with(|| {
            let relay = Arc::<Relay>::default();
            (relay.clone(), relay.into())
        });
        let task = context.waker().clone();
        let before = lock(&relay.0).replace(task);
        drop(before);
        waker.clone()
    }

    /// What was polled with, to be taken back.
    pub fn taken(&self) -> Option<&Waker> {
        self.0.as_ref().map(|(_, waker)| waker)
    }
}
