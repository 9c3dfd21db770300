//! The coming and going of a pool's workers.
//!
//! Owns their starts, which the hidden thread awaits, and what is done at their ends. The
//! scheduler says when there is to be another. Neighbours: `staff` prepares a start.

use super::core::Core;
use super::error::WorkerDeath;
use super::staff::{Hired, Opening, Worker};
use crate::down::Down;
use crate::launcher::{self, StartError, StartMethod};
use crate::node::hidden;
use crate::panic::catch;
use crate::sync::lock;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use procession_protocols::exit::PanicReport;
use procession_protocols::pool::{Effect, WorkerId};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::sync::oneshot;

/// Where the system has no descriptor, process or memory to give, a start is tried again after
/// so long, and then after twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// So often, within about half a second. What lasts longer counts as a start that failed.
const MOST_TRIES: u32 = 6;

impl Core {
    /// Starts the first workers, and waits until all are ready.
    pub(super) fn start_first(
        &self,
        built: &Receiver<Result<(), StartError>>,
    ) -> Result<(), StartError> {
        let handle = hidden::handle()?;
        let mut effects = Vec::new();
        lock(&self.state).scheduler.begin(&mut effects);
        let mut wanted = 0;
        for effect in effects {
            let Effect::Start(id) = effect else { continue };
            let Some(core) = self.this.upgrade() else { continue };
            match self.recipe.prepare(None) {
                Ok(opening) => drop(handle.spawn(core.follow(id, opening.start()))),
                Err(error) => self.hired(id, Err(error)),
            }
            wanted += 1;
        }
        for _ in 0..wanted {
            built.recv().map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// Starts a worker, on the hidden thread.
    pub(super) fn hire(&self, id: WorkerId) {
        let Some(core) = self.this.upgrade() else { return };
        let another = core.clone();
        let start = core.follow(id, async move { another.start_another().await });
        match hidden::handle() {
            Ok(handle) => drop(handle.spawn(start)),
            // There has been a hidden thread since the first worker.
            Err(error) => tracing::error!(target: "procession", %error, "no worker is started"),
        }
    }

    /// Waits for a start, and cuts it off at the end of the pool: dropped, it leaves nothing.
    async fn follow(
        self: Arc<Self>,
        id: WorkerId,
        start: impl Future<Output = Result<Hired, StartError>>,
    ) {
        let mut end = self.is_over.subscribe();
        let started = tokio::select! {
            started = start => Some(started),
            _ = end.wait_for(|is_over| *is_over) => None,
        };
        match started {
            Some(started) => self.hired(id, started),
            None => self.change(|state, now, out| state.scheduler.died(id, 0, now, out)),
        }
    }

    async fn start_another(self: &Arc<Self>) -> Result<Hired, StartError> {
        // The hidden thread is not the only one of this process, which can not be copied then.
        let method = self.recipe.method.unwrap_or_else(launcher::default_method);
        let method = (method == StartMethod::Fork).then_some(StartMethod::Spawn);
        let mut pause = FIRST_PAUSE;
        for _ in 0..MOST_TRIES {
            match self.start_one(method).await {
                Err(StartError::Io(error)) if is_for_want(&error) => {
                    tracing::debug!(target: "procession", %error, "a worker's start is put off");
                }
                started => return started,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.start_one(method).await
    }

    async fn start_one(self: &Arc<Self>, method: Option<StartMethod>) -> Result<Hired, StartError> {
        self.prepare_aside(method).await?.start().await
    }

    /// Prepares a start; where user code has a part in that, on a thread of its own.
    async fn prepare_aside(
        self: &Arc<Self>,
        method: Option<StartMethod>,
    ) -> Result<Opening, StartError> {
        if self.recipe.initializer.is_none() {
            return self.recipe.prepare(method);
        }
        let core = self.clone();
        let (done, prepared) = oneshot::channel();
        std::thread::Builder::new().name("procession-pool".into()).spawn(move || {
            let failed = |report: PanicReport| {
                let why = format!("the initializer's arguments panicked: {}", report.message);
                Err(io::Error::other(why).into())
            };
            let prepared = catch(|| core.recipe.prepare(method));
            drop(done.send(prepared.unwrap_or_else(failed)));
        })?;
        prepared.await.map_err(io::Error::other)?
    }

    /// A worker has started, or not.
    fn hired(&self, id: WorkerId, started: Result<Hired, StartError>) {
        let added = started.and_then(|hired| {
            let child = hired.child.clone();
            let worker = Worker::new(id, hired, &self.epoll).inspect_err(|_| {
                let _ = child.signal(Signal::SIGKILL);
            });
            Ok((child, worker?))
        });
        match added {
            Ok((child, worker)) => {
                self.change(|state, now, out| {
                    state.staff.push(worker);
                    state.scheduler.ready(id, now, out);
                    state.tell_builder(Ok(()));
                });
                let core = self.this.clone();
                child.on_down(Box::new(move |down: Down| {
                    if let Some(core) = core.upgrade() {
                        core.buried(id, &down);
                    }
                }));
            }
            Err(error) => self.change(|state, now, out| {
                state.why_broken = error.to_string();
                if state.builder.is_some() {
                    // There will be no pool, and so no other worker in this one's place.
                    state.scheduler.terminate(out);
                }
                // A process that is ending, or a daemon, will not get another either. Whoever
                // has workers on demand has not seen one that the initializer let start.
                let is_final = matches!(error, StartError::Ending | StartError::Daemon)
                    || self.on_demand && matches!(error, StartError::Refused(_));
                if is_final {
                    tracing::error!(target: "procession", %error, "a pool breaks down");
                    state.scheduler.break_down(out);
                } else {
                    tracing::warn!(target: "procession", %error, "a pool's worker did not start");
                }
                state.scheduler.died(id, 0, now, out);
                state.tell_builder(Err(error));
            }),
        }
    }

    /// A worker has ended. What it had sent is taken first.
    fn buried(&self, id: WorkerId, down: &Down) {
        self.change(|state, now, out| {
            let Some(at) = state.staff.iter().position(|one| one.id == id) else { return };
            state.staff[at].read(&self.epoll);
            state.collect(at, now, out);
            let mut worker = state.staff.swap_remove(at);
            worker.forget(&self.epoll);
            state.why_broken = format!("worker {} ended: {}", down.name, down.reason);
            let is_killed = down.status.exitcode() == Some(-9);
            let out_of_memory = is_killed && worker.was_short_of_memory();
            state.death = Some(WorkerDeath {
                worker: down.name.clone(),
                pid: worker.child.pid(),
                reason: down.reason.clone(),
                exitcode: down.status.exitcode(),
                function: String::new(),
                index: 0,
                out_of_memory,
                stderr: worker.child.stderr_tail(),
            });
            state.scheduler.died(id, worker.tray.begun(), now, out);
        });
    }
}

/// Whether the system lacked something that it may have again in a moment.
fn is_for_want(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::EMFILE | Errno::ENFILE | Errno::EAGAIN | Errno::ENOMEM))
}
