//! A pool as its owner has it: the scheduler, and the carrying out of its effects.
//!
//! Owns the workers' streams and the one lock around them. Nothing waits under that lock:
//! sends are offers, and those who are to be woken are woken when it is free. Who reads the
//! streams is `wait`'s.

use super::callback::{self, Callbacks, Work};
use super::error::TaskError;
use super::job::{Cook, HasJob, Job, Outcome, Then, Want};
use super::memory;
use super::setup::Setup;
use super::staff::Recipe;
use super::state::{Reader, State, Task};
use super::stats::{PoolStats, WorkerStats};
use crate::codec::Packed;
use crate::launcher::{self, StartError, StartMethod};
use crate::node::hidden;
use crate::share::era;
use crate::sync::{after, lock};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::Signal;
use procession_protocols::pool::{Change, Effect, Options, Record};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// So long the workers of a pool that could not be made are waited for, which are killed
/// within a second.
const ROLL_BACK: Duration = Duration::from_secs(10);

/// What the pool's own event is called among the workers' numbers, which begin at 1.
pub(super) const EVENT: u64 = 0;

/// A pool's owner.
pub struct Core {
    /// That of the process that made it: a copy has no workers.
    pub(super) generation: u32,
    epoch: Instant,
    workers: usize,
    may_group: bool,
    pub(super) on_demand: bool,
    pub(super) recipe: Recipe,
    pub(super) state: Mutex<State>,
    pub(super) epoll: Epoll,
    /// Among what `epoll` watches: ends the wait of who reads the streams.
    event: EventFd,
    pub(super) attend: Arc<Notify>,
    pub(super) callbacks: Callbacks,
    /// Done when no worker is left.
    pub(super) end: Arc<Job>,
    /// Ends the starts that are under way.
    pub(super) is_over: watch::Sender<bool>,
    pub(super) this: Weak<Core>,
}

impl Core {
    /// Starts the workers, and returns when all are ready.
    ///
    /// # Errors
    /// What the start of the first that failed says, a failing initializer included;
    /// nothing is left then.
    pub fn build(setup: Setup) -> Result<Arc<Self>, StartError> {
        if hidden::is_current() {
            let why = "the library's own thread would wait for its workers";
            return Err(io::Error::new(io::ErrorKind::Deadlock, why).into());
        }
        era::arm();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(io::Error::from)?;
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(io::Error::from)?;
        let watched = EpollEvent::new(EpollFlags::EPOLLIN, EVENT);
        epoll.add(&event, watched).map_err(io::Error::from)?;
        let Setup { workers, max_tasks, budget, .. } = setup;
        // Forks are made where the caller is, and before there are threads.
        let method = setup.method.unwrap_or_else(launcher::default_method);
        let on_demand = setup.on_demand && method != StartMethod::Fork;
        let idle_ms =
            setup.idle_timeout.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
        let options = Options { workers, max_tasks, budget, on_demand, idle_ms };
        let (builder, built) = std::sync::mpsc::channel();
        let state = State::new(options, builder);
        let recipe = Recipe {
            method: setup.method,
            initializer: setup.initializer,
            start_timeout: setup.start_timeout,
            may_have_children: setup.may_have_children,
            relay_stderr: setup.relay_stderr,
            max_memory: setup.max_memory,
        };
        let core = Arc::new_cyclic(|this| Self {
            generation: era::generation(),
            epoch: Instant::now(),
            workers,
            may_group: max_tasks.is_none() && idle_ms.is_none() && !on_demand,
            on_demand,
            recipe,
            state: Mutex::new(state),
            epoll,
            event,
            attend: Arc::default(),
            callbacks: Callbacks::default(),
            end: Job::new(),
            is_over: watch::Sender::new(false),
            this: this.clone(),
        });
        core.end.expect(1);
        super::wait::attend(&core)?;
        let started = core.start_first(&built);
        lock(&core.state).builder = None;
        if let Err(error) = started {
            core.terminate();
            // On the library's own thread nobody can wait; there they end a little later.
            let _ = core.join(Some(ROLL_BACK));
            return Err(error);
        }
        // Workers may be let go though there never is a task.
        lock(&core.state).wants_attendant(&core.attend);
        Ok(core)
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Whether items of one task are as good as tasks of one item: all workers are there to
    /// share them, and nothing counts tasks.
    pub fn may_group(&self) -> bool {
        self.may_group
    }

    /// The process ids of the workers that are ready.
    pub fn pids(&self) -> Vec<u32> {
        lock(&self.state).staff.iter().map(|worker| worker.child.pid()).collect()
    }

    /// How it is doing.
    pub fn stats(&self) -> PoolStats {
        let mut stats = self.counts();
        // However long the system takes to say so, results do not wait for it.
        for worker in &mut stats.workers {
            worker.memory = memory::of(worker.pid);
        }
        stats
    }

    /// The same without what the system has to say.
    fn counts(&self) -> PoolStats {
        let now = self.now();
        let state = lock(&self.state);
        let of_worker = |record: Record| {
            let worker = state.staff.iter().find(|worker| worker.id == record.worker)?;
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of a life")]
            let busy = record.busy_ms as f64 / record.ready_ms.max(1) as f64;
            let (name, pid) = (worker.child.name().to_owned(), worker.child.pid());
            let Record { done, restarts, .. } = record;
            Some(WorkerStats { name, pid, done, busy, memory: 0, restarts })
        };
        PoolStats {
            workers: state.scheduler.records(now).filter_map(of_worker).collect(),
            restarts: self.restarts_of(&state),
            unfinished: state.scheduler.unfinished(),
        }
    }

    /// How many workers have taken the places of others.
    pub fn restarts(&self) -> u64 {
        self.restarts_of(&lock(&self.state))
    }

    fn restarts_of(&self, state: &State) -> u64 {
        state.scheduler.started().saturating_sub(self.workers as u64)
    }

    /// Says that a job has so many tasks.
    pub fn expect(&self, job: &Arc<Job>, count: usize) {
        if job.expect(count) {
            self.call_back(job.clone());
        }
    }

    /// Has something called, on the pool's own thread, when a job has all its outcomes.
    ///
    /// # Errors
    /// No thread was to be had.
    pub fn add_callback(
        &self,
        job: Arc<dyn HasJob>,
        cook: Cook,
        then: Then,
    ) -> Result<(), TaskError> {
        self.callbacks.get_ready()?;
        if job.job().add_callback(cook, then) {
            self.call_back(job);
        } else {
            self.expect_results(&mut lock(&self.state));
        }
        Ok(())
    }

    /// Whether this process is a copy of the one that has the workers.
    pub(super) fn is_copy(&self) -> bool {
        self.generation != era::generation()
    }

    /// Whether tasks are taken.
    pub fn is_running(&self) -> bool {
        lock(&self.state).scheduler.is_running()
    }

    /// How many tasks have not ended.
    pub fn unfinished(&self) -> usize {
        lock(&self.state).scheduler.unfinished()
    }

    /// Waits until no worker is left and all callbacks have run. False when the time was up.
    ///
    /// # Errors
    /// [`TaskError::WouldDeadlock`].
    pub fn join(&self, timeout: Option<Duration>) -> Result<bool, TaskError> {
        let deadline = timeout.and_then(after);
        if self.callbacks.is_current() {
            return Err(TaskError::WouldDeadlock);
        }
        if !self.wait(&self.end, Want::All, deadline)? {
            return Ok(false);
        }
        let flushed = self.callbacks.flushed();
        match deadline {
            None => crate::wait::block_on(flushed),
            Some(deadline) if crate::wait::block_on_until(flushed, deadline).is_none() => {
                return Ok(false);
            }
            Some(_) => {}
        }
        self.callbacks.end();
        Ok(true)
    }

    /// Whether the calling thread is the one that runs callbacks.
    pub fn is_calling_back(&self) -> bool {
        self.callbacks.is_current()
    }

    /// As [`join`](Self::join), without a time limit and without blocking the thread. A copy of
    /// the process has nothing to wait for.
    pub async fn join_async(&self) {
        if self.wait_async(&self.end, Want::All).await.is_ok() {
            self.callbacks.flushed().await;
            self.callbacks.end();
        }
    }

    /// Changes the state, carries out what follows, and wakes those who wait for it.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut State, u64, &mut Vec<Effect<Task>>) -> T,
    ) -> T {
        let now = self.now();
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let mut effects = std::mem::take(&mut state.effects);
        let value = change(state, now, &mut effects);
        // Carrying one out may add others behind it.
        let mut at = 0;
        while at < effects.len() {
            let effect = std::mem::replace(&mut effects[at], Effect::Ended);
            self.carry_out(state, now, effect, &mut effects);
            at += 1;
        }
        effects.clear();
        state.effects = effects;
        state.flush(&self.epoll);
        state.death = None;
        let after = std::mem::take(&mut state.after);
        let change = Change {
            is_read: std::mem::take(&mut state.is_served),
            has_news: after.has_news,
            has_moment: after.wakes_reader,
            is_idle: state.scheduler.unfinished() == 0,
        };
        let matters = change.has_news || change.has_moment || change.is_idle;
        if matters && state.readers.rings_own_bell(&Reader::me(), change) {
            let _ = self.event.write(1);
        }
        // They are queued by now when anybody learns that the pool has ended.
        let callbacks = after.called_back.into_iter().filter_map(|job| self.queue_callbacks(job));
        let without_thread: Vec<_> = callbacks.collect();
        drop(guard);
        after.wakes.wake();
        without_thread.into_iter().for_each(callback::run_caught);
        value
    }

    /// Empties the event. To be called by who reads the streams.
    pub(super) fn silence(&self) {
        let _ = self.event.read();
    }

    /// The descriptor that becomes readable when there is something to do.
    pub(super) fn readiness(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When the scheduler wants to look at the time.
    pub(super) fn moment(&self, ms: u64) -> Option<Instant> {
        self.epoch.checked_add(Duration::from_millis(ms))
    }

    fn call_back(&self, job: Arc<dyn HasJob>) {
        let without_thread = self.queue_callbacks(job);
        without_thread.into_iter().for_each(callback::run_caught);
    }

    /// Has a job's callbacks run by their thread. Gives them back when none is to be had.
    fn queue_callbacks(&self, job: Arc<dyn HasJob>) -> Option<Work> {
        let core = self.this.clone();
        self.callbacks.run(Box::new(move || {
            job.job().run_callbacks();
            // Who waits for them may be the one who reads the streams.
            if let Some(core) = core.upgrade() {
                core.change(|state, _, _| state.after.has_news = true);
            }
        }))
    }

    fn carry_out(
        &self,
        state: &mut State,
        now: u64,
        effect: Effect<Task>,
        more: &mut Vec<Effect<Task>>,
    ) {
        match effect {
            Effect::Start(id) => self.hire(id),
            Effect::Send { worker, task, items, number } => {
                // Its time runs: whoever reads the streams may sleep for longer than that.
                state.after.wakes_reader |= task.limit_ms.is_some();
                let function = &state.definitions[task.function as usize].0;
                if let Some(worker) = state.staff.iter_mut().find(|one| one.id == worker) {
                    worker.note_kills(now);
                    worker.send(&task, function, items, number);
                }
            }
            Effect::Retire(id) => {
                if let Some(worker) = state.worker(id) {
                    worker.retire();
                }
            }
            Effect::TakeBack { worker, last } => {
                let begun = state.take_back(worker, last);
                // What it did before that is told before.
                if let Some(at) = state.staff.iter().position(|one| one.id == worker) {
                    state.collect(at, now, more);
                }
                state.scheduler.taken_back(worker, begun, now, more);
            }
            Effect::Kill(id) => match state.worker(id) {
                Some(worker) => drop(worker.child.signal(Signal::SIGKILL)),
                // It is starting, and so the pool is over: with it end all starts.
                None => drop(self.is_over.send_replace(true)),
            },
            Effect::Stop(id) => {
                if let Some(worker) = state.worker(id) {
                    super::lifetime::stop(&worker.child);
                }
            }
            Effect::Deliver { task, items, end, is_last } => {
                let result = Err(state.error(&task, items.start, end));
                let index = task.index + u64::from(items.start);
                let items = items.end - items.start;
                state.after.deliver(&task.job, Outcome { index, items, is_last, result });
            }
            Effect::Ended if !self.end.is_done() => {
                let result = Ok(Packed::default());
                let end: Arc<dyn HasJob> = self.end.clone();
                let outcome = Outcome { index: 0, items: 0, is_last: true, result };
                state.after.deliver(&end, outcome);
            }
            Effect::Ended => {}
        }
    }

    /// Reads the streams that are ready, and what all workers have done.
    pub(super) fn serve(&self, events: &[EpollEvent]) {
        self.change(|state, now, out| {
            state.is_served = true;
            for event in events {
                let id = event.data();
                if id == EVENT {
                    if state.readers.empties_own_bell(&Reader::me()) {
                        self.silence();
                    }
                    continue;
                }
                let Some(worker) = state.staff.iter_mut().find(|one| one.id.0 == id) else {
                    continue;
                };
                if event.events() != EpollFlags::EPOLLOUT {
                    worker.read(&self.epoll);
                }
            }
            state.collect_all(now, out);
            state.scheduler.tick(now, out);
        });
    }

    /// Somebody wants a result, and no thread waits for it.
    pub(super) fn expect_results(&self, state: &mut State) {
        if state.readers.expect_results() {
            let _ = self.event.write(1);
        }
    }

    /// Lets who reads sleep until a stream is ready, if no worker has done anything since it
    /// looked, and no task was left. The workers will ring, for as long as anybody sleeps.
    pub(super) fn may_sleep(&self) -> Option<Asleep<'_>> {
        let state = &mut *lock(&self.state);
        if state.scheduler.has_left() {
            return None;
        }
        state.flush(&self.epoll);
        // All of them are to be told, so no short cut.
        let busy = (0..state.staff.len()).filter(|at| !state.arm(*at)).count();
        (busy == 0).then(|| {
            state.readers.fall_asleep();
            Asleep(self)
        })
    }
}

/// One who sleeps until a worker rings: a thread, or the hidden thread's part.
pub(super) struct Asleep<'a>(&'a Core);

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).readers.wake_up();
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // The hidden thread's part finds it gone.
        self.attend.notify_one();
    }
}
