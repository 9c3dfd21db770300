//! Tasks that are taken back, the end of a pool, and pools that outlive their handles.
//!
//! Owns what is asked of a pool beyond submitting and waiting. A pool that lingers lives
//! until its last task has ended, and the process waits for that before it ends. A copy of
//! this process has the handles too, and must never do anything to the workers: they are
//! not its own.

use super::core::Core;
use super::error::TaskError;
use super::job::Want;
use crate::child::Child;
use crate::finalizer::{BEFORE_THE_END, Finalizer};
use crate::node::hidden;
use crate::node::leave::LEAVER_PERIOD;
use crate::sync::lock;
use nix::sys::signal::Signal;
use procession_protocols::pool::{TaskId, word};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After SIGTERM a terminated pool's workers get this long before SIGKILL.
const TERMINATE_GRACE: Duration = Duration::from_secs(1);

impl Core {
    /// Keeps this pool until it has been closed and all is done, whoever lets go of it. A
    /// process that ends in good order closes it and waits for that.
    ///
    /// # Errors
    /// The library's thread could not be started.
    pub fn linger(self: &Arc<Self>) -> io::Result<()> {
        let hidden = hidden::handle()?;
        let core = self.clone();
        let at_exit = Finalizer::new(Some(BEFORE_THE_END), move || {
            core.close();
            if let Err(error) = core.join_at_exit() {
                tracing::warn!(target: "procession", %error, "tasks are not waited for");
            }
        });
        let core = self.clone();
        hidden.spawn(async move {
            core.join_async().await;
            at_exit.cancel();
        });
        Ok(())
    }

    /// Waits as [`join`](Self::join) does, but not for a callback that ends the program, which
    /// waits for this.
    fn join_at_exit(&self) -> Result<(), TaskError> {
        if self.is_calling_back() {
            return Err(TaskError::WouldDeadlock);
        }
        self.wait(&self.end, Want::All, None)?;
        let mut flushed = pin!(self.callbacks.flushed());
        while !self.callbacks.end_the_program() {
            let look = Instant::now() + LEAVER_PERIOD;
            if crate::wait::block_on_until(flushed.as_mut(), look).is_some() {
                self.callbacks.end();
                break;
            }
        }
        Ok(())
    }

    /// Takes back tasks that no worker has begun yet.
    pub fn withdraw(&self, tasks: &[TaskId]) {
        if self.is_copy() {
            return;
        }
        self.change(|state, _, out| state.scheduler.withdraw(tasks, out));
    }

    /// Cancels tasks; those that run end with their workers.
    pub fn cancel(&self, tasks: &[TaskId]) {
        if self.is_copy() {
            return;
        }
        self.change(|state, now, out| state.scheduler.cancel(tasks, now, out));
    }

    /// Takes no more tasks.
    pub fn close(&self) {
        if self.is_copy() {
            return;
        }
        self.change(|state, _, out| {
            state.scheduler.close(out);
            state.wants_attendant(&self.attend);
        });
    }

    /// Ends everything at once, and does not wait.
    pub fn terminate(&self) {
        if self.is_copy() {
            return;
        }
        self.change(|state, _, out| state.scheduler.terminate(out));
    }

    /// Whether a worker has begun a task that has not ended.
    pub fn has_begun(&self, task: TaskId) -> bool {
        let state = &mut *lock(&self.state);
        let Some((worker, number)) = state.scheduler.sent_to(task) else { return false };
        state.worker(worker).is_some_and(|worker| !word::is_after(number, worker.tray.begun()))
    }

    /// Takes no more tasks, and takes back those that no worker has begun.
    pub fn close_and_withdraw(&self) {
        if self.is_copy() {
            return;
        }
        self.change(|state, _, out| {
            let tasks: Vec<_> = state.scheduler.tasks().collect();
            state.scheduler.withdraw(&tasks, out);
            state.scheduler.close(out);
            state.wants_attendant(&self.attend);
        });
    }

    /// As [`close_and_withdraw`](Self::close_and_withdraw); then sends each worker SIGTERM,
    /// or SIGKILL: what it had begun ends in its death.
    pub fn end_workers(&self, by_force: bool) {
        if self.is_copy() {
            return;
        }
        self.close_and_withdraw();
        let signal = if by_force { Signal::SIGKILL } else { Signal::SIGTERM };
        for worker in &lock(&self.state).staff {
            let _ = worker.child.signal(signal);
        }
    }
}

/// Asks a worker to end, and has it killed if it does not.
pub(super) fn stop(child: &Arc<Child>) {
    let _ = child.terminate();
    let child = child.clone();
    let kill = async move {
        tokio::time::sleep(TERMINATE_GRACE).await;
        if child.reap().is_none() {
            let _ = child.signal(Signal::SIGKILL);
        }
    };
    match hidden::handle() {
        Ok(handle) => drop(handle.spawn(kill)),
        Err(error) => tracing::warn!(target: "procession", %error, "a worker may live on"),
    }
}
