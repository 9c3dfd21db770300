//! How tasks come in.
//!
//! Owns how much is done at once about a task that is submitted. Whoever submits one after
//! another, while the hidden thread's part comes back after a moment, leaves most of them in
//! the queue: a few together go to a worker with one decision and one write. When that may be
//! is decided by `procession_protocols::pool`.

use super::core::Core;
use super::error::TaskError;
use super::job::{HasJob, Job};
use super::setup::Request;
use crate::share::era;
use crate::sync::lock;
use procession_protocols::pool::TaskId;
use std::sync::Arc;

impl Core {
    /// Submits one task, whose outcomes go to the job; `index` is the number of its first
    /// item there. `is_alone` says that its caller is not about to wait for it.
    ///
    /// # Errors
    /// [`TaskError::NotRunning`], [`TaskError::Broken`], [`TaskError::NotInImage`].
    pub fn submit(
        &self,
        request: Request,
        job: Arc<dyn HasJob>,
        index: u64,
        is_alone: bool,
    ) -> Result<TaskId, TaskError> {
        self.check_generation()?;
        if !is_alone {
            return self.change(|state, now, out| state.take_on(request, job, index, now, out));
        }
        {
            let state = &mut *lock(&self.state);
            if state.leaves(request.terms) {
                return state.leave(request, job, index);
            }
        }
        self.change(|state, now, out| {
            let given = state.take_on(request, job, index, now, out);
            state.wants_attendant(&self.attend);
            state.supply_in_passing(now, out);
            given
        })
    }

    /// As [`submit`](Self::submit), of several tasks at once.
    pub fn submit_all(
        &self,
        requests: impl IntoIterator<Item = (u64, Request)>,
        job: &Arc<Job>,
        is_alone: bool,
    ) -> Vec<Result<TaskId, TaskError>> {
        self.change(|state, now, out| {
            let mut take = |(index, request)| {
                self.check_generation()?;
                state.take_on(request, job.clone(), index, now, out)
            };
            let given = requests.into_iter().map(&mut take).collect();
            if is_alone {
                state.wants_attendant(&self.attend);
            }
            given
        })
    }

    fn check_generation(&self) -> Result<(), TaskError> {
        if self.generation == era::generation() { Ok(()) } else { Err(TaskError::NotRunning) }
    }
}
