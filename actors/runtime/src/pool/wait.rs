//! Who reads the workers' streams.
//!
//! Owns the waiting itself. Who reads, who follows, and who has to be woken is decided by
//! `procession_protocols::pool::Readers`; the attendant of those is a part of the hidden
//! thread. It must never hold the pool's lock across a wait.

use super::core::Core;
use super::error::TaskError;
use super::job::{Job, Want};
use super::state::Reader;
use crate::node::hidden;
use crate::seat::Seat;
use crate::sync::lock;
use crate::sys::watch::{Held, watch};
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use procession_protocols::pool::{Duty, Successor};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// Most streams that one look takes.
const LOOK: usize = 32;

/// A wait without a deadline is made of these.
const LONGEST: Duration = Duration::from_mins(1);

/// The hidden thread looks so soon whether the thread that has begun to read still does.
const PERIOD: Duration = Duration::from_millis(1);

impl Core {
    /// Waits for a job. False when the deadline passed.
    ///
    /// # Errors
    /// [`TaskError::WouldDeadlock`] on the library's own threads, [`TaskError::NotRunning`] in
    /// a copy of the process, which has no workers.
    pub fn wait(
        &self,
        job: &Job,
        want: Want,
        deadline: Option<Instant>,
    ) -> Result<bool, TaskError> {
        if job.is_ready(want) {
            return Ok(true);
        }
        let waits_for_itself =
            want == Want::All && job.has_callbacks() && self.callbacks.is_current();
        if hidden::is_current() || waits_for_itself {
            return Err(TaskError::WouldDeadlock);
        }
        if self.is_copy() {
            return Err(TaskError::NotRunning);
        }
        let me = Reader::me();
        loop {
            if lock(&self.state).readers.take_lead(&me) {
                let ready = self.lead(job, want, deadline);
                self.give_up_lead();
                return ready;
            }
            job.register(me.0.clone());
            if !job.is_ready(want) {
                match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                    None => thread::park(),
                    Some(Duration::ZERO) => {}
                    Some(left) => thread::park_timeout(left),
                }
            }
            job.unregister(&me.0);
            let is_over =
                job.is_ready(want) || deadline.is_some_and(|deadline| Instant::now() >= deadline);
            self.stop_following(&me, is_over);
            if is_over {
                return Ok(job.is_ready(want));
            }
        }
    }

    /// Completes when the job is ready.
    ///
    /// # Errors
    /// [`TaskError::NotRunning`] in a copy of the process.
    pub fn poll_wait(
        &self,
        job: &Job,
        want: Want,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), TaskError>> {
        if job.poll_ready(want, context.waker()) {
            return Poll::Ready(Ok(()));
        }
        if self.is_copy() {
            return Poll::Ready(Err(TaskError::NotRunning));
        }
        let state = &mut *lock(&self.state);
        state.readers.hurry();
        // The end of the pool is no result.
        if !std::ptr::eq(job, &raw const *self.end) {
            self.expect_results(state);
        }
        state.wants_attendant(&self.attend);
        Poll::Pending
    }

    /// As [`poll_wait`](Self::poll_wait). Given up, it leaves nothing with the job.
    pub fn wait_async<'a>(&'a self, job: &'a Job, want: Want) -> Waiting<'a> {
        Waiting { core: self, job, want, seat: Seat::default() }
    }

    /// Takes what has come, without waiting, unless another thread is at it.
    ///
    /// # Errors
    /// What the system says: out of memory.
    pub fn look(&self) -> Result<(), TaskError> {
        if self.is_copy() {
            return Ok(());
        }
        loop {
            let is_led = lock(&self.state).readers.has_reader_beside(&Reader::me());
            if is_led || !self.serve_ready(EpollTimeout::ZERO)? {
                return Ok(());
            }
        }
    }

    fn give_up_lead(&self) {
        let state = &mut *lock(&self.state);
        let has_business = state.has_business();
        let successor = state.readers.give_up_lead(has_business);
        self.call(successor);
    }

    fn stop_following(&self, me: &Reader, for_good: bool) {
        let state = &mut *lock(&self.state);
        let has_business = state.has_business();
        let successor = state.readers.stop_following(me, for_good, has_business);
        self.call(successor);
    }

    fn call(&self, successor: Successor<Reader>) {
        match successor {
            Successor::Follower(next) => next.0.unpark(),
            Successor::Attendant => self.attend.notify_one(),
            Successor::Nobody => {}
        }
    }

    fn lead(&self, job: &Job, want: Want, deadline: Option<Instant>) -> Result<bool, TaskError> {
        loop {
            if job.is_ready(want) {
                return Ok(true);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                // What is there already still counts.
                self.look()?;
                return Ok(job.is_ready(want));
            }
            let next = lock(&self.state).scheduler.next_deadline().and_then(|ms| self.moment(ms));
            let until = [deadline, next].into_iter().flatten().min();
            self.serve_ready(until.map_or(EpollTimeout::NONE, |until| millis(until - now)))?;
        }
    }

    /// Waits for something to do, and does it. False when there was nothing to read.
    fn serve_ready(&self, timeout: EpollTimeout) -> Result<bool, TaskError> {
        let asleep = if timeout == EpollTimeout::ZERO { None } else { self.may_sleep() };
        let timeout = if asleep.is_some() { timeout } else { EpollTimeout::ZERO };
        let mut events = [EpollEvent::empty(); LOOK];
        let waited = self.epoll.wait(&mut events, timeout);
        drop(asleep);
        let count = match waited {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(io::Error::from(error).into()),
        };
        self.serve(&events[..count]);
        // Room alone may be there again and again, for what the system does not take.
        Ok(events[..count].iter().any(|event| event.events() != EpollFlags::EPOLLOUT))
    }
}

/// A wait for a job, on any executor; see [`Core::wait_async`].
pub struct Waiting<'a> {
    core: &'a Core,
    job: &'a Job,
    want: Want,
    seat: Seat,
}

impl Future for Waiting<'_> {
    type Output = Result<(), TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = self.seat.waker(context);
        self.core.poll_wait(self.job, self.want, &mut Context::from_waker(&waker))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(waker) = self.seat.taken() {
            self.job.forget(waker);
        }
    }
}

/// A time for `epoll_wait`, rounded up.
fn millis(time: Duration) -> EpollTimeout {
    let up = time.min(LONGEST).as_nanos().div_ceil(1_000_000);
    i32::try_from(up).ok().and_then(|ms| ms.try_into().ok()).unwrap_or(EpollTimeout::ZERO)
}

/// Has the hidden thread read the streams of a pool whenever nobody else does.
pub(super) fn attend(core: &Arc<Core>) -> io::Result<()> {
    let (wake, core) = (core.attend.clone(), Arc::downgrade(core));
    hidden::handle()?.spawn(async move {
        loop {
            wake.notified().await;
            if !attend_while_busy(&core).await {
                return;
            }
        }
    });
    Ok(())
}

/// False when the pool is gone.
async fn attend_while_busy(pool: &Weak<Core>) -> bool {
    let mut seen = None;
    loop {
        let Some(core) = pool.upgrade() else { return false };
        let duty = {
            let state = &mut *lock(&core.state);
            let has_business = state.has_business();
            state.readers.duty(has_business, &mut seen)
        };
        match duty {
            Duty::Rest => return true,
            Duty::StandBy => {
                drop(core);
                tokio::time::sleep(PERIOD).await;
            }
            Duty::Read => read_while_alone(&core).await,
        }
    }
}

async fn read_while_alone(core: &Arc<Core>) {
    let Ok(streams) = watch(Held::new(core, Core::readiness), Interest::READABLE) else {
        // No room in tokio's own epoll: look again and again.
        let _ = core.look();
        return tokio::time::sleep(PERIOD).await;
    };
    loop {
        if core.look().is_err() {
            return;
        }
        let (next, stands_by) = {
            let state = &mut *lock(&core.state);
            if !state.readers.attendant_reads_on(state.has_business()) {
                return;
            }
            let next = state.scheduler.next_deadline().and_then(|ms| core.moment(ms));
            (next, state.readers.stands_by())
        };
        let asleep = if stands_by { None } else { core.may_sleep() };
        if asleep.is_none() && !stands_by {
            continue;
        }
        let moment = stands_by.then(|| Instant::now() + PERIOD);
        let next = [next, moment]
            .into_iter()
            .flatten()
            .min()
            .or_else(|| Instant::now().checked_add(LONGEST));
        let until = next.map_or_else(tokio::time::Instant::now, tokio::time::Instant::from_std);
        tokio::select! {
            ready = streams.readable() => match ready {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return,
            },
            () = tokio::time::sleep_until(until) => {}
        }
        drop(asleep);
    }
}
