//! What a future and whoever fulfils it share.
//!
//! Owns the one place where it is decided how a future ends, and those who wait for that.
//! A task's result is decoded by whoever asks first. No lock is held while a callback, a
//! waker or a `Deserialize` runs.

use super::future::Future;
use procession_runtime::panic::catch;
use procession_runtime::pool::{Core, HasJob, Job, Outcome, TaskError, TaskId, Want};
use procession_runtime::seat::wake_each;
use procession_runtime::sync::lock;
use std::any::Any;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker, ready};

pub(super) type Callback<R> = Box<dyn FnOnce(&Future<R>) + Send>;

/// How far it is.
pub(super) enum Stage<R> {
    Pending,
    Running,
    Cancelled,
    Failed(TaskError),
    /// The value, until it has been taken.
    Returned(Option<R>),
}

impl<R> Stage<R> {
    pub(super) fn is_done(&self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// A task of a pool as the source of a future. The pool keeps this until the task has ended,
/// and so itself; an executor's does as much in any case.
pub(super) struct Source<R> {
    pub(super) core: Arc<Core>,
    /// Known when it has been submitted, before anybody has the future.
    pub(super) task: OnceLock<TaskId>,
    decode: fn(Option<Outcome>) -> Result<R, TaskError>,
}

/// All that belongs to a call, in one piece of memory, but for what few calls have.
pub(super) struct Shared<R> {
    state: Mutex<State<R>>,
    /// Where the pool delivers the outcome of the source.
    pub(super) job: Job,
    /// `None` when a promise is to fulfil it.
    pub(super) source: Option<Source<R>>,
}

impl<R> Source<R> {
    pub(super) fn new(
        core: Arc<Core>,
        decode: fn(Option<Outcome>) -> Result<R, TaskError>,
    ) -> Self {
        Self { core, task: OnceLock::new(), decode }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.task.get().is_some_and(|task| self.core.has_begun(*task))
    }
}

impl<R: Send> HasJob for Shared<R> {
    fn job(&self) -> &Job {
        &self.job
    }
}

struct State<R> {
    stage: Stage<R>,
    callbacks: Vec<Callback<R>>,
    /// Whether the pool has been asked to call back.
    is_asked: bool,
    wakers: Vec<Waker>,
}

impl<R> Shared<R> {
    pub(super) fn new(source: Option<Source<R>>) -> Arc<Self> {
        let state = State {
            stage: Stage::Pending,
            callbacks: Vec::new(),
            is_asked: false,
            wakers: Vec::new(),
        };
        Arc::new(Self { state: Mutex::new(state), job: Job::of_one(), source })
    }

    pub(super) fn with_stage<T>(&self, with: impl FnOnce(&mut Stage<R>) -> T) -> T {
        with(&mut lock(&self.state).stage)
    }

    pub(super) fn is_decided(&self) -> bool {
        self.with_stage(|stage| stage.is_done())
    }

    /// Decides how it ends, if `is_so` says that it is open. Gives back what was not used.
    pub(super) fn decide(
        &self,
        end: Stage<R>,
        is_open: impl FnOnce(&Stage<R>) -> bool,
    ) -> Result<(), Stage<R>> {
        let wakers = {
            let state = &mut *lock(&self.state);
            if !is_open(&state.stage) {
                return Err(end);
            }
            state.stage = end;
            std::mem::take(&mut state.wakers)
        };
        wake_each(wakers);
        Ok(())
    }

    /// Ready when it is decided.
    pub(super) fn poll_decided(&self, context: &Context<'_>) -> Poll<()> {
        let state = &mut *lock(&self.state);
        if state.stage.is_done() {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|known| known.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Whoever polled with this waker waits no more. For wakers that nobody else polls with.
    pub(super) fn forget(&self, waker: &Waker) {
        lock(&self.state).wakers.retain(|known| !known.will_wake(waker));
        self.job.forget(waker);
    }

    /// Keeps a callback for later, or gives it back: it is decided already. True when the
    /// pool is to be asked to call back.
    pub(super) fn keep(&self, callback: Callback<R>) -> Result<bool, Callback<R>> {
        let state = &mut *lock(&self.state);
        if state.stage.is_done() {
            return Err(callback);
        }
        state.callbacks.push(callback);
        Ok(self.source.is_some() && !std::mem::replace(&mut state.is_asked, true))
    }

    /// Whether there are callbacks to be run. None are added to a decided one.
    pub(super) fn has_callbacks(&self) -> bool {
        !lock(&self.state).callbacks.is_empty()
    }

    pub(super) fn take_callbacks(&self) -> Vec<Callback<R>> {
        std::mem::take(&mut lock(&self.state).callbacks)
    }
}

impl<R: Send + 'static> Shared<R> {
    /// Decodes what the pool has delivered, if it has and nobody else is at it.
    pub(super) fn settle(&self) {
        if let Some(source) = &self.source
            && let Some(outcome) = self.job.take_one()
        {
            self.decode(source, Some(outcome));
        }
    }

    /// As [`settle`](Self::settle), by the pool's callback thread, which holds what was kept.
    pub(super) fn settle_by(&self, kept: &(dyn Any + Send)) {
        if let Some(source) = &self.source {
            self.decode(source, take(kept));
        }
    }

    /// Ready when it is decided, also if that takes the reading of a stream.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(Source { core, .. }) = &self.source {
            match ready!(core.poll_wait(&self.job, Want::Come, context)) {
                Ok(()) => self.settle(),
                // It will never come here.
                Err(error) => drop(self.decide(Stage::Failed(error), |stage| !stage.is_done())),
            }
        }
        self.poll_decided(context)
    }

    /// Has the pool's callback thread run the callbacks when the result has come.
    pub(super) fn ask_to_call_back(self: &Arc<Self>) -> Result<(), TaskError> {
        let Some(Source { core, .. }) = &self.source else { return Ok(()) };
        let shared = self.clone();
        let then = move |kept: &(dyn Any + Send)| {
            shared.settle_by(kept);
            // Another thread may be decoding it.
            procession_runtime::wait::block_on(std::future::poll_fn(|context| {
                shared.poll_decided(context)
            }));
            Future::of(shared).call_back();
        };
        // The next one asks again.
        let not_asked = |_: &TaskError| lock(&self.state).is_asked = false;
        core.add_callback(self.clone(), keep, Box::new(then)).inspect_err(not_asked)
    }

    fn decode(&self, source: &Source<R>, outcome: Option<Outcome>) {
        if outcome.is_none() {
            return;
        }
        let end = match catch(|| (source.decode)(outcome)) {
            Ok(Ok(value)) => Stage::Returned(Some(value)),
            Ok(Err(TaskError::Cancelled)) => Stage::Cancelled,
            Ok(Err(error)) => Stage::Failed(error),
            Err(report) => Stage::Failed(report.into()),
        };
        let _ = self.decide(end, |stage| !stage.is_done());
    }
}

/// What the job keeps until it is decoded.
type Kept = Mutex<Option<Outcome>>;

fn keep(outcomes: Vec<Outcome>) -> Box<dyn Any + Send> {
    let kept: Kept = Mutex::new(outcomes.into_iter().next());
    Box::new(kept)
}

fn take(kept: &(dyn Any + Send)) -> Option<Outcome> {
    lock(kept.downcast_ref::<Kept>()?).take()
}
