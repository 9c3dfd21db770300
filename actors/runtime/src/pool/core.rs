//! A pool as its owner has it: the scheduler, and the carrying out of its effects.
//!
//! Owns the workers' streams and the one lock around them. Nothing waits under that lock:
//! sends are offers, and those who are to be woken are woken when it is free. Who reads the
//! streams is `wait`'s.

use super::callback::Callbacks;
use super::error::{TaskError, WorkerDeath};
use super::job::{Cook, Job, Outcome, Then, Wakes, Want};
use super::staff::{Hired, Opening, Recipe, Worker};
use super::task::{Initializer, TaskFunction};
use super::worker::FAILED;
use crate::codec::{self, Encoded};
use crate::down::Down;
use crate::function::FunctionRef;
use crate::launcher::{StartError, StartMethod};
use crate::link::Frame;
use crate::node::hidden;
use crate::sync::{after, lock};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::Signal;
use procession_protocols::pool::{Effect, End, Options, Scheduler, TaskId, Terms, WorkerId, word};
use procession_protocols::supervision::intensity::Intensity;
use procession_protocols::wire::Kind;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{Thread, ThreadId};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// After SIGTERM a terminated pool's workers get this long before SIGKILL.
const TERMINATE_GRACE: Duration = Duration::from_secs(1);

/// What the pool's own event is called among the workers' numbers, which begin at 1.
pub(super) const EVENT: u64 = 0;

/// What a pool is to be.
pub struct Setup {
    /// How many workers.
    pub workers: usize,
    /// How many tasks a worker does before another takes its place.
    pub max_tasks: Option<u32>,
    /// How many workers may end without having begun a task.
    pub budget: Intensity,
    /// What each worker does first.
    pub initializer: Option<Initializer>,
    /// How they are started; `None` is the program's way.
    pub method: Option<StartMethod>,
    /// The time that a worker has for its start and its initializer.
    pub start_timeout: Duration,
    /// Whether their standard error is relayed and its end kept for reports.
    pub relay_stderr: bool,
}

/// Calls of one function, to be done by one worker.
pub struct Request {
    /// The function.
    pub function: TaskFunction,
    /// How many calls.
    pub items: u32,
    /// Their arguments.
    pub args: Encoded,
    /// On which terms.
    pub terms: Terms,
}

/// A task as the pool keeps it until it has ended.
pub(super) struct Task {
    pub(super) function: u32,
    pub(super) items: u32,
    pub(super) args: Encoded,
    limit_ms: Option<u64>,
    job: Arc<Job>,
    index: u64,
}

/// A pool's owner.
pub struct Core {
    /// The process that made it: a copy has no workers.
    owner: u32,
    epoch: Instant,
    workers: usize,
    recipe: Recipe,
    pub(super) state: Mutex<State>,
    pub(super) epoll: Epoll,
    /// Among what `epoll` watches: ends the wait of who reads the streams.
    event: EventFd,
    pub(super) attend: Arc<Notify>,
    pub(super) callbacks: Callbacks,
    /// Done when no worker is left.
    pub(super) end: Arc<Job>,
    this: Weak<Core>,
}

pub(super) struct State {
    pub(super) scheduler: Scheduler<Task>,
    staff: Vec<Worker>,
    functions: HashMap<usize, u32>,
    references: Vec<(FunctionRef, &'static str)>,
    /// The thread that reads the streams, and those that wait beside it.
    pub(super) leader: Option<ThreadId>,
    pub(super) followers: VecDeque<Thread>,
    /// How often the reader's role has been taken.
    pub(super) led: u64,
    /// Whether the hidden thread's part is awake.
    pub(super) is_attended: bool,
    /// Whether the change under way is what the streams brought.
    is_served: bool,
    /// Whether it is to read at once: somebody waits without a thread.
    pub(super) is_urgent: bool,
    /// Who made the pool waits for the starts of its first workers.
    builder: Option<std::sync::mpsc::Sender<Result<(), StartError>>>,
    /// The death that is being dealt with.
    death: Option<WorkerDeath>,
    why_broken: String,
    effects: Vec<Effect<Task>>,
    after: After,
}

/// What is to be done when the lock is free.
#[derive(Default)]
struct After {
    wakes: Wakes,
    called_back: Vec<Arc<Job>>,
    /// Something has come that the reader may wait for.
    has_news: bool,
    /// The reader has to look at the time.
    wakes_reader: bool,
}

impl Core {
    /// Starts the workers, and returns when all are ready.
    ///
    /// # Errors
    /// What the start of the first that failed says, a failing initializer included;
    /// nothing is left then.
    pub fn build(setup: Setup) -> Result<Arc<Self>, StartError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(io::Error::from)?;
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(io::Error::from)?;
        let watched = EpollEvent::new(EpollFlags::EPOLLIN, EVENT);
        epoll.add(&event, watched).map_err(io::Error::from)?;
        let options =
            Options { workers: setup.workers, max_tasks: setup.max_tasks, budget: setup.budget };
        let (builder, built) = std::sync::mpsc::channel();
        let state = State {
            scheduler: Scheduler::new(options),
            staff: Vec::new(),
            functions: HashMap::new(),
            references: Vec::new(),
            leader: None,
            followers: VecDeque::new(),
            led: 0,
            is_attended: false,
            is_served: false,
            is_urgent: false,
            builder: Some(builder),
            death: None,
            why_broken: String::new(),
            effects: Vec::new(),
            after: After::default(),
        };
        let recipe = Recipe {
            method: setup.method,
            initializer: setup.initializer,
            start_timeout: setup.start_timeout,
            relay_stderr: setup.relay_stderr,
        };
        let core = Arc::new_cyclic(|this| Self {
            owner: std::process::id(),
            epoch: Instant::now(),
            workers: setup.workers,
            recipe,
            state: Mutex::new(state),
            epoll,
            event,
            attend: Arc::default(),
            callbacks: Callbacks::default(),
            end: Job::new(),
            this: this.clone(),
        });
        core.end.expect(1);
        super::wait::attend(&core)?;
        let started = core.start_first(&built);
        lock(&core.state).builder = None;
        if let Err(error) = started {
            core.terminate();
            return Err(error);
        }
        Ok(core)
    }

    fn start_first(
        &self,
        built: &std::sync::mpsc::Receiver<Result<(), StartError>>,
    ) -> Result<(), StartError> {
        let mut effects = Vec::new();
        lock(&self.state).scheduler.begin(&mut effects);
        let handle = hidden::handle()?;
        let mut wanted = 0;
        for effect in effects {
            let Effect::Start(id) = effect else { continue };
            let starting = self.recipe.prepare(None)?.start();
            let Some(core) = self.this.upgrade() else { continue };
            handle.spawn(async move { core.hired(id, starting.await) });
            wanted += 1;
        }
        for _ in 0..wanted {
            built.recv().map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The process ids of the workers that are ready.
    pub fn pids(&self) -> Vec<u32> {
        lock(&self.state).staff.iter().map(|worker| worker.child.pid()).collect()
    }

    /// Submits one task, whose outcome goes to the job under an index. `is_alone` says that
    /// its caller is not about to wait for it.
    ///
    /// # Errors
    /// [`TaskError::NotRunning`], [`TaskError::Broken`], [`TaskError::NotInImage`].
    pub fn submit(
        &self,
        request: Request,
        job: &Arc<Job>,
        index: u64,
        is_alone: bool,
    ) -> Result<TaskId, TaskError> {
        let Request { function, items, args, terms } = request;
        if self.owner != std::process::id() {
            return Err(TaskError::NotRunning);
        }
        self.change(|state, now, out| {
            let function = state.function(function)?;
            let (job, limit_ms) = (job.clone(), terms.limit_ms);
            let task = Task { function, items, args, limit_ms, job, index };
            let given = state.scheduler.submit(task, terms, now, out);
            let task = given.map_err(|_| state.refusal())?;
            if is_alone {
                state.wants_attendant(&self.attend);
            }
            // Whoever reads the streams has to look at the time sooner, perhaps.
            state.after.wakes_reader |= terms.limit_ms.is_some();
            Ok(task)
        })
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
    pub fn add_callback(&self, job: &Arc<Job>, cook: Cook, then: Then) -> Result<(), TaskError> {
        self.callbacks.get_ready()?;
        if job.add_callback(cook, then) {
            self.call_back(job.clone());
        }
        Ok(())
    }

    /// Takes back tasks that no worker has been sent yet.
    pub fn withdraw(&self, tasks: &[TaskId]) {
        self.change(|state, _, out| {
            for task in tasks {
                state.scheduler.withdraw(*task, out);
            }
        });
    }

    /// Cancels tasks; those that run end with their workers.
    pub fn cancel(&self, tasks: &[TaskId]) {
        self.change(|state, now, out| {
            for task in tasks {
                state.scheduler.cancel(*task, now, out);
            }
        });
    }

    /// Takes no more tasks.
    pub fn close(&self) {
        self.change(|state, _, out| {
            state.scheduler.close(out);
            state.wants_attendant(&self.attend);
        });
    }

    /// Ends everything at once, and does not wait.
    pub fn terminate(&self) {
        let staff: Vec<_> = self.change(|state, _, out| {
            state.scheduler.terminate(out);
            state.staff.iter().map(|worker| worker.child.clone()).collect()
        });
        if staff.is_empty() {
            return;
        }
        let kill = async move {
            tokio::time::sleep(TERMINATE_GRACE).await;
            for child in staff {
                if child.reap().is_none() {
                    let _ = child.signal(Signal::SIGKILL);
                }
            }
        };
        match hidden::handle() {
            Ok(handle) => drop(handle.spawn(kill)),
            Err(error) => tracing::warn!(target: "procession", %error, "workers may live on"),
        }
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

    /// As [`join`](Self::join), without a time limit and without blocking the thread.
    pub async fn join_async(&self) {
        std::future::poll_fn(|context| self.poll_wait(&self.end, Want::All, context)).await;
        self.callbacks.flushed().await;
        self.callbacks.end();
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
        state.death = None;
        let after = std::mem::take(&mut state.after);
        let wakes = if let Some(leader) = state.leader {
            (after.wakes_reader || after.has_news) && leader != std::thread::current().id()
        } else {
            // The hidden thread waits for nothing itself; but it has to know when to stop.
            let is_idle = state.scheduler.unfinished() == 0;
            state.is_attended && !state.is_served && (after.wakes_reader || is_idle)
        };
        state.is_served = false;
        if wakes {
            let _ = self.event.write(1);
        }
        drop(guard);
        after.wakes.wake();
        for job in after.called_back {
            self.call_back(job);
        }
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

    fn call_back(&self, job: Arc<Job>) {
        let core = self.this.clone();
        self.callbacks.run(Box::new(move || {
            job.run_callbacks();
            // Who waits for them may be the one who reads the streams.
            if let Some(core) = core.upgrade() {
                core.change(|state, _, _| state.after.has_news = true);
            }
        }));
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
            Effect::Send { worker, task, number } => {
                let Some(task) = state.scheduler.task(task) else { return };
                let Some(worker) = state.staff.iter_mut().find(|one| one.id == worker) else {
                    return;
                };
                let reference = &state.references[task.function as usize].0;
                if let Err(error) = worker.send(task, reference, number, &self.epoll) {
                    // It is as if the worker had answered so.
                    let id = worker.id;
                    if let Some(task) = state.scheduler.finished(id, number, now, more) {
                        state.after.deliver(task, Err(error));
                    }
                }
            }
            Effect::Retire(id) => {
                if let Some(worker) = state.worker(id) {
                    worker.retire(&self.epoll);
                }
            }
            Effect::TakeBack { worker, last } => {
                let begun = state.take_back(worker, last);
                state.scheduler.taken_back(worker, begun, now, more);
            }
            Effect::Condemn { worker, number, last } => {
                let begun = state.take_back(worker, last);
                if begun <= number
                    && let Some(worker) = state.worker(worker)
                {
                    let _ = worker.child.signal(Signal::SIGKILL);
                }
                state.scheduler.condemned(worker, number, begun, now, more);
            }
            Effect::Kill(id) => {
                if let Some(worker) = state.worker(id) {
                    let _ = worker.child.terminate();
                }
            }
            Effect::Deliver { task, end } => {
                let error = state.error(&task, end);
                state.after.deliver(task, Err(error));
            }
            Effect::Ended if !self.end.is_done() => {
                let result = Ok(Encoded::default());
                let outcome = Outcome { index: 0, items: 0, result };
                state.after.deliver_to(&self.end, outcome);
            }
            Effect::Ended => {}
        }
    }

    /// Starts a worker, on the hidden thread.
    fn hire(&self, id: WorkerId) {
        let Some(core) = self.this.upgrade() else { return };
        let start = async move {
            let started = core.start_another().await;
            core.hired(id, started);
        };
        match hidden::handle() {
            Ok(handle) => drop(handle.spawn(start)),
            // There has been a hidden thread since the first worker.
            Err(error) => tracing::error!(target: "procession", %error, "no worker is started"),
        }
    }

    async fn start_another(self: &Arc<Self>) -> Result<Hired, StartError> {
        match self.prepare_aside(None).await?.start().await {
            // Threads that came since the first workers, the caller's own among them, do not
            // let this process be copied.
            Err(StartError::ForeignThreads { .. }) => {
                self.prepare_aside(Some(StartMethod::Spawn)).await?.start().await
            }
            other => other,
        }
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
            drop(done.send(core.recipe.prepare(method)));
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
                child.on_down(Box::new(move |down| {
                    if let Some(core) = core.upgrade() {
                        core.buried(id, &down);
                    }
                }));
            }
            Err(error) => self.change(|state, now, out| {
                state.why_broken = error.to_string();
                // A process that is ending, or a daemon, will not get another either.
                let is_final = matches!(error, StartError::Ending | StartError::Daemon);
                tracing::warn!(target: "procession", %error, "a pool's worker did not start");
                if is_final {
                    state.scheduler.break_down(out);
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
            state.read(at, now, out, &self.epoll);
            let mut worker = state.staff.swap_remove(at);
            worker.forget(&self.epoll);
            state.why_broken = format!("worker {} ended: {}", down.name, down.reason);
            state.death = Some(WorkerDeath {
                worker: down.name.clone(),
                pid: worker.child.pid(),
                reason: down.reason.clone(),
                exitcode: down.status.exitcode(),
                function: String::new(),
                index: 0,
                stderr: worker.child.stderr_tail(),
            });
            state.scheduler.died(id, word::begun(&worker.beginnings), now, out);
        });
    }

    /// Reads the streams that are ready.
    pub(super) fn serve(&self, events: &[EpollEvent]) {
        self.change(|state, now, out| {
            state.is_served = true;
            for event in events {
                let id = event.data();
                if id == EVENT {
                    self.silence();
                    continue;
                }
                let Some(at) = state.staff.iter().position(|one| one.id.0 == id) else { continue };
                if event.events().contains(EpollFlags::EPOLLOUT) {
                    state.staff[at].flush(&self.epoll);
                }
                state.read(at, now, out, &self.epoll);
            }
            state.scheduler.tick(now, out);
        });
    }
}

impl State {
    fn worker(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.staff.iter_mut().find(|one| one.id == id)
    }

    fn take_back(&mut self, id: WorkerId, last: u32) -> u32 {
        self.worker(id).map_or(0, |worker| word::take_back(&worker.beginnings, last))
    }

    fn refusal(&self) -> TaskError {
        if self.scheduler.is_broken() {
            TaskError::Broken(self.why_broken.clone())
        } else {
            TaskError::NotRunning
        }
    }

    /// The number of a function.
    fn function(&mut self, function: TaskFunction) -> Result<u32, TaskError> {
        if let Some(number) = self.functions.get(&function.key()) {
            return Ok(*number);
        }
        let reference = function.reference().map_err(|_| TaskError::NotInImage)?;
        let number = u32::try_from(self.references.len()).map_err(io::Error::other)?;
        self.references.push((reference, function.name()));
        self.functions.insert(function.key(), number);
        Ok(number)
    }

    /// Takes what a worker has sent.
    fn read(&mut self, at: usize, now: u64, out: &mut Vec<Effect<Task>>, epoll: &Epoll) {
        let mut first = true;
        while let Some(frame) = self.staff[at].reply(first, epoll) {
            first = false;
            if frame.header.kind == Kind::Reply {
                let id = self.staff[at].id;
                self.answered(id, frame, now, out);
            }
        }
    }

    fn answered(&mut self, worker: WorkerId, frame: Frame, now: u64, out: &mut Vec<Effect<Task>>) {
        let Ok(number) = u32::try_from(frame.header.call) else { return };
        let Some(task) = self.scheduler.finished(worker, number, now, out) else { return };
        let outcome = if frame.header.flags & FAILED == 0 {
            Ok(Encoded { bytes: frame.payload, fds: frame.fds })
        } else {
            let error = codec::decode::<TaskError>(&frame.payload, frame.fds);
            Err(error.unwrap_or_else(TaskError::Decode))
        };
        self.after.deliver(task, outcome);
    }

    fn error(&self, task: &Task, end: End) -> TaskError {
        match (end, &self.death) {
            (End::TimedOut, _) => {
                TaskError::TimedOut(Duration::from_millis(task.limit_ms.unwrap_or_default()))
            }
            (End::Died, Some(death)) => {
                let function = self.references.get(task.function as usize);
                TaskError::Died(Box::new(WorkerDeath {
                    function: function.map(|(_, name)| (*name).to_owned()).unwrap_or_default(),
                    index: task.index,
                    ..death.clone()
                }))
            }
            (End::Cancelled, _) => TaskError::Cancelled,
            (End::Broken | End::Died, _) => TaskError::Broken(self.why_broken.clone()),
        }
    }

    fn tell_builder(&mut self, started: Result<(), StartError>) {
        if let Some(builder) = &self.builder {
            let _ = builder.send(started);
        }
    }

    /// Wakes the hidden thread's part, if there is something for it to watch.
    pub(super) fn wants_attendant(&mut self, attend: &Notify) {
        if self.scheduler.unfinished() > 0 && !std::mem::replace(&mut self.is_attended, true) {
            attend.notify_one();
        }
    }
}

impl After {
    fn deliver(&mut self, task: Task, result: Result<Encoded, TaskError>) {
        let Task { index, items, job, .. } = task;
        self.deliver_to(&job, Outcome { index, items, result });
    }

    fn deliver_to(&mut self, job: &Arc<Job>, outcome: Outcome) {
        self.has_news = true;
        if job.deliver(outcome, &mut self.wakes) {
            self.called_back.push(job.clone());
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // The hidden thread's part finds it gone.
        self.attend.notify_one();
    }
}
