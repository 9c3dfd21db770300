//! The owner's side: tasks, workers, and what becomes of both.
//!
//! Owns every decision of a pool. Events are methods; what is to be done about them is
//! added to a list of effects, which the caller carries out in order before the next
//! event. Time comes in as milliseconds of any steady clock. It must never wait.

use super::AHEAD;
use super::worker::{Given, Stage, Worker, WorkerId};
use crate::supervision::intensity::{Intensity, RestartWindow};
use std::collections::{HashMap, VecDeque};

/// A task. Numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u64);

/// What a pool is to be.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many workers there are.
    pub workers: usize,
    /// How many tasks a worker does before another takes its place.
    pub max_tasks: Option<u32>,
    /// How many workers may end without having begun a task, within which time.
    pub budget: Intensity,
    /// Whether a worker is started only when a task finds none that is idle.
    pub on_demand: bool,
}

/// On which terms one task runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// How long it may take, in milliseconds, once a worker has begun it.
    pub limit_ms: Option<u64>,
    /// How often it is given again after its worker ended in it, or its time was up.
    pub retries: u32,
}

/// How a task ended that its worker did not finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its worker ended in it.
    Died,
    /// Its time was up, and its worker was killed.
    TimedOut,
    /// It was cancelled, or the pool was terminated.
    Cancelled,
    /// The pool has no workers any more: its budget was used up.
    Broken,
}

/// What the caller is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Start a worker; then say [`ready`](Scheduler::ready) or [`died`](Scheduler::died).
    Start(WorkerId),
    /// Send it a task, under this number.
    Send {
        /// To whom.
        worker: WorkerId,
        /// Which.
        task: TaskId,
        /// The number by which both know it.
        number: u32,
    },
    /// Tell it to end: nothing more is sent to it.
    Retire(WorkerId),
    /// Take back, by its word, all that it has not begun, up to `last`; then say
    /// [`taken_back`](Scheduler::taken_back).
    TakeBack {
        /// From whom.
        worker: WorkerId,
        /// The last number that was sent to it.
        last: u32,
    },
    /// As `TakeBack`; and if it has begun nothing beyond `number`, kill it.
    Condemn {
        /// Whom.
        worker: WorkerId,
        /// For which task.
        number: u32,
        /// The last number that was sent to it.
        last: u32,
    },
    /// Kill it.
    Kill(WorkerId),
    /// A task has ended without a result.
    Deliver {
        /// The task.
        task: T,
        /// How.
        end: End,
    },
    /// No worker is left, and none will come.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// What has been submitted is still done.
    Closing,
    /// Nothing is done any more.
    Terminated,
    Broken,
}

#[derive(Debug)]
struct Task<T> {
    payload: T,
    terms: Terms,
    cancelled: bool,
    /// It is not wanted any more, unless a worker has begun it.
    withdrawn: bool,
}

/// The scheduler of one pool; `T` is what the caller keeps with each task.
#[derive(Debug)]
pub struct Scheduler<T> {
    options: Options,
    phase: Phase,
    tasks: HashMap<TaskId, Task<T>>,
    queue: VecDeque<TaskId>,
    workers: Vec<Worker>,
    window: RestartWindow,
    next_task: u64,
    next_worker: u64,
    /// Whether it has been told that no worker is left.
    has_said_so: bool,
}

impl<T> Scheduler<T> {
    /// A pool without workers; [`begin`](Self::begin) starts them.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            phase: Phase::Running,
            tasks: HashMap::new(),
            queue: VecDeque::new(),
            workers: Vec::new(),
            window: RestartWindow::new(options.budget),
            next_task: 0,
            next_worker: 0,
            has_said_so: false,
        }
    }

    /// Starts the workers.
    pub fn begin(&mut self, out: &mut Vec<Effect<T>>) {
        self.fill(out);
    }

    /// A task is to be done. `Err` gives it back: the pool takes no more.
    ///
    /// # Errors
    /// The task, when the pool has been closed, terminated, or is broken.
    pub fn submit(
        &mut self,
        payload: T,
        terms: Terms,
        now: u64,
        out: &mut Vec<Effect<T>>,
    ) -> Result<TaskId, T> {
        if self.phase != Phase::Running {
            return Err(payload);
        }
        self.next_task += 1;
        let id = TaskId(self.next_task);
        self.tasks.insert(id, Task { payload, terms, cancelled: false, withdrawn: false });
        self.queue.push_back(id);
        self.dispatch(now, out);
        if self.options.on_demand {
            self.fill(out);
        }
        Ok(id)
    }

    /// A worker has started.
    pub fn ready(&mut self, worker: WorkerId, now: u64, out: &mut Vec<Effect<T>>) {
        let is_over = matches!(self.phase, Phase::Terminated | Phase::Broken);
        let Some(worker) = self.find(worker) else { return };
        if is_over {
            worker.stage = Stage::Dying;
            out.push(Effect::Kill(worker.id));
            return;
        }
        worker.stage = Stage::Ready;
        self.dispatch(now, out);
        self.retire_if_done(out);
    }

    /// A worker has finished a task. Gives the task, unless nobody waits for it.
    pub fn finished(
        &mut self,
        worker: WorkerId,
        number: u32,
        now: u64,
        out: &mut Vec<Effect<T>>,
    ) -> Option<T> {
        let found = self.find(worker)?;
        let current = found.current.take_if(|current| current.number == number)?;
        found.begun = found.begun.max(number);
        let task = self.tasks.remove(&current.task);
        self.promote(worker, now, out);
        self.recycle(worker, out);
        self.dispatch(now, out);
        self.retire_if_done(out);
        task.map(|task| task.payload)
    }

    /// A worker has ended, or could not be started. `begun` is what its word says; all
    /// results that it had sent have been told before.
    pub fn died(&mut self, worker: WorkerId, begun: u32, now: u64, out: &mut Vec<Effect<T>>) {
        let Some(at) = self.workers.iter().position(|known| known.id == worker) else { return };
        let worker = self.workers.swap_remove(at);
        let is_failure = match worker.stage {
            Stage::Starting => true,
            Stage::Ready => begun == 0,
            Stage::Leaving | Stage::Dying => false,
        };
        // What was given last is put back first, so that the order stays.
        for given in worker.current.into_iter().chain(worker.ahead).rev() {
            if given.number > begun {
                self.queue.push_front(given.task);
                continue;
            }
            let end = match worker.doomed {
                Some((number, end)) if number == given.number => end,
                _ => End::Died,
            };
            self.ended_in(given.task, end, out);
        }
        if is_failure && !self.window.record(now) && self.phase != Phase::Terminated {
            self.break_down(out);
            return;
        }
        self.dispatch(now, out);
        self.fill(out);
        self.retire_if_done(out);
        self.say_if_ended(out);
    }

    /// The answer to [`Effect::TakeBack`]: what the word said.
    pub fn taken_back(&mut self, worker: WorkerId, begun: u32, now: u64, out: &mut Vec<Effect<T>>) {
        let Some(at) = self.workers.iter().position(|known| known.id == worker) else { return };
        let worker = &mut self.workers[at];
        worker.asked = false;
        for task in worker.take_back(begun) {
            self.queue.push_front(task);
        }
        for kept in worker.current.iter().chain(&worker.ahead) {
            if let Some(task) = self.tasks.get_mut(&kept.task) {
                task.withdrawn = false;
            }
        }
        self.dispatch(now, out);
        self.fill(out);
        self.retire_if_done(out);
    }

    /// The answer to [`Effect::Condemn`]: what the word said.
    pub fn condemned(
        &mut self,
        worker: WorkerId,
        number: u32,
        begun: u32,
        now: u64,
        out: &mut Vec<Effect<T>>,
    ) {
        let Some(at) = self.workers.iter().position(|known| known.id == worker) else { return };
        let worker = &mut self.workers[at];
        worker.asked = false;
        worker.deadline = None;
        if begun > number {
            // It was done in time, and its result is on its way.
            worker.doomed = None;
        } else {
            worker.stage = Stage::Dying;
        }
        for task in worker.take_back(begun) {
            self.queue.push_front(task);
        }
        self.dispatch(now, out);
    }

    /// A task is not wanted any more. Nothing, when it has ended.
    pub fn cancel(&mut self, task: TaskId, now: u64, out: &mut Vec<Effect<T>>) {
        match self.tasks.get_mut(&task) {
            Some(known) => known.cancelled = true,
            None => return,
        }
        if let Some(at) = self.queue.iter().position(|queued| *queued == task) {
            self.queue.remove(at);
            self.deliver(task, End::Cancelled, out);
            self.retire_if_done(out);
            return;
        }
        let is_it = |given: &Given| given.task == task;
        for worker in &mut self.workers {
            if worker.current.as_ref().is_some_and(is_it) {
                condemn(worker, End::Cancelled, out);
            } else if worker.ahead.iter().any(is_it) && !worker.asked {
                take_back(worker, out);
            }
        }
        self.dispatch(now, out);
    }

    /// A task is not wanted any more, and ends if no worker has begun it; else it is let be.
    pub fn withdraw(&mut self, task: TaskId, out: &mut Vec<Effect<T>>) {
        if let Some(at) = self.queue.iter().position(|queued| *queued == task) {
            self.queue.remove(at);
            self.deliver(task, End::Cancelled, out);
            self.retire_if_done(out);
            return;
        }
        let holder = self.workers.iter_mut().find(|worker| worker.number_of(task).is_some());
        if let (Some(worker), Some(task)) = (holder, self.tasks.get_mut(&task))
            && worker.stage == Stage::Ready
        {
            task.withdrawn = true;
            if !worker.asked {
                take_back(worker, out);
            }
        }
    }

    /// Looks at the time: tasks that have used theirs up are ended with their workers.
    pub fn tick(&mut self, now: u64, out: &mut Vec<Effect<T>>) {
        for worker in &mut self.workers {
            if worker.deadline.is_some_and(|deadline| deadline <= now) {
                condemn(worker, End::TimedOut, out);
            }
        }
    }

    /// When [`tick`](Self::tick) is to be called at the latest.
    pub fn next_deadline(&self) -> Option<u64> {
        let waits = |worker: &&Worker| worker.stage == Stage::Ready && !worker.asked;
        self.workers.iter().filter(waits).filter_map(|worker| worker.deadline).min()
    }

    /// Takes no more tasks; workers end when all is done.
    pub fn close(&mut self, out: &mut Vec<Effect<T>>) {
        if self.phase == Phase::Running {
            self.phase = Phase::Closing;
            self.retire_if_done(out);
            self.say_if_ended(out);
        }
    }

    /// Ends everything at once: what is not done ends as cancelled.
    pub fn terminate(&mut self, out: &mut Vec<Effect<T>>) {
        if matches!(self.phase, Phase::Running | Phase::Closing) {
            self.phase = Phase::Terminated;
            self.end_all(End::Cancelled, out);
        }
    }

    /// Ends everything at once, because workers cannot be had.
    pub fn break_down(&mut self, out: &mut Vec<Effect<T>>) {
        if matches!(self.phase, Phase::Running | Phase::Closing) {
            self.phase = Phase::Broken;
            self.end_all(End::Broken, out);
        } else {
            self.say_if_ended(out);
        }
    }

    /// What is kept with a task that has not ended.
    pub fn task(&self, task: TaskId) -> Option<&T> {
        self.tasks.get(&task).map(|task| &task.payload)
    }

    /// The tasks that have not ended, in no order.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.tasks.keys().copied()
    }

    /// To which worker a task has been sent, and under which number.
    pub fn sent_to(&self, task: TaskId) -> Option<(WorkerId, u32)> {
        self.workers.iter().find_map(|worker| Some((worker.id, worker.number_of(task)?)))
    }

    /// How many tasks have not ended.
    pub fn unfinished(&self) -> usize {
        self.tasks.len()
    }

    /// Whether tasks are taken.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether it has no workers any more because its budget was used up.
    pub fn is_broken(&self) -> bool {
        self.phase == Phase::Broken
    }

    /// Whether no worker is left and none will come.
    pub fn has_ended(&self) -> bool {
        self.phase != Phase::Running && self.workers.is_empty()
    }

    /// The workers that there are, starting or ending ones too.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.workers.iter().map(|worker| worker.id)
    }

    fn find(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|known| known.id == worker)
    }

    /// Most tasks of one worker; their numbers have 32 bits.
    fn most(&self) -> u32 {
        // Numbers that were taken back count as well, so that half of them are left for those.
        self.options.max_tasks.unwrap_or(u32::MAX / 2)
    }

    /// Gives queued tasks to workers that have room; lets idle ones take what others were
    /// sent ahead.
    fn dispatch(&mut self, now: u64, out: &mut Vec<Effect<T>>) {
        let most = self.most();
        // A task waits for a worker of its own as long as there may be another one.
        let ahead =
            if self.options.on_demand && self.places() < self.options.workers { 0 } else { AHEAD };
        while let Some(task) = self.queue.front().copied() {
            if self.tasks.get(&task).is_none_or(|task| task.cancelled || task.withdrawn) {
                self.queue.pop_front();
                self.deliver(task, End::Cancelled, out);
                continue;
            }
            let room = self.workers.iter_mut().filter(|worker| worker.has_room(ahead, most));
            let load = |worker: &&mut Worker| (worker.current.is_some(), worker.ahead.len());
            let Some(worker) = room.min_by_key(load) else { return };
            self.queue.pop_front();
            worker.sent += 1;
            worker.given += 1;
            let given = Given { task, number: worker.sent };
            out.push(Effect::Send { worker: worker.id, task, number: given.number });
            if worker.current.is_none() {
                worker.current = Some(given);
                let limit = self.tasks.get(&task).and_then(|task| task.terms.limit_ms);
                worker.deadline = limit.map(|limit| now.saturating_add(limit));
            } else {
                worker.ahead.push_back(given);
            }
        }
        if self.workers.iter().any(|worker| worker.is_idle(most)) {
            let has_spare = |worker: &&mut Worker| {
                let last = worker.ahead.back();
                !worker.asked && last.is_some_and(|last| last.number > worker.begun)
            };
            if let Some(worker) = self.workers.iter_mut().find(has_spare) {
                take_back(worker, out);
            }
        }
    }

    /// The next of a worker's tasks is its current one now.
    fn promote(&mut self, worker: WorkerId, now: u64, out: &mut Vec<Effect<T>>) {
        let Some(at) = self.workers.iter().position(|known| known.id == worker) else { return };
        let worker = &mut self.workers[at];
        worker.deadline = None;
        worker.current = worker.ahead.pop_front();
        let Some(current) = worker.current else { return };
        let Some(task) = self.tasks.get(&current.task) else { return };
        worker.deadline = task.terms.limit_ms.map(|limit| now.saturating_add(limit));
        if task.cancelled {
            condemn(worker, End::Cancelled, out);
        }
    }

    /// Lets a worker go that has done its share.
    fn recycle(&mut self, worker: WorkerId, out: &mut Vec<Effect<T>>) {
        let most = self.most();
        let Some(worker) = self.find(worker) else { return };
        let is_done = worker.current.is_none() && worker.given >= most && !worker.asked;
        if is_done && worker.stage == Stage::Ready {
            worker.stage = Stage::Leaving;
            out.push(Effect::Retire(worker.id));
            self.fill(out);
        }
    }

    fn count(&self, stage: Stage) -> usize {
        self.workers.iter().filter(|one| one.stage == stage).count()
    }

    /// How many places are taken: one that leaves has given its own up.
    fn places(&self) -> usize {
        self.count(Stage::Starting) + self.count(Stage::Ready) + self.count(Stage::Dying)
    }

    /// Starts workers in the places of those that have gone, as far as there is use for them.
    fn fill(&mut self, out: &mut Vec<Effect<T>>) {
        loop {
            let starting = self.count(Stage::Starting);
            let wanted = match self.phase {
                Phase::Running if !self.options.on_demand => true,
                // Those that are there do the rest, unless they are doing their last.
                Phase::Running | Phase::Closing => starting < self.queue.len(),
                Phase::Terminated | Phase::Broken => false,
            };
            if !wanted || self.places() >= self.options.workers {
                return;
            }
            self.next_worker += 1;
            let worker = Worker::new(WorkerId(self.next_worker));
            out.push(Effect::Start(worker.id));
            self.workers.push(worker);
        }
    }

    /// A worker ended in a task.
    fn ended_in(&mut self, id: TaskId, end: End, out: &mut Vec<Effect<T>>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if task.terms.retries > 0 && !task.cancelled && end != End::Cancelled {
            task.terms.retries -= 1;
            self.queue.push_front(id);
        } else {
            self.deliver(id, end, out);
        }
    }

    fn deliver(&mut self, task: TaskId, end: End, out: &mut Vec<Effect<T>>) {
        if let Some(task) = self.tasks.remove(&task) {
            out.push(Effect::Deliver { task: task.payload, end });
        }
    }

    /// A closed pool lets its workers go when nothing is left to do.
    fn retire_if_done(&mut self, out: &mut Vec<Effect<T>>) {
        if self.phase != Phase::Closing || !self.tasks.is_empty() {
            return;
        }
        for worker in &mut self.workers {
            if worker.stage == Stage::Ready {
                worker.stage = Stage::Leaving;
                out.push(Effect::Retire(worker.id));
            }
        }
    }

    fn end_all(&mut self, end: End, out: &mut Vec<Effect<T>>) {
        self.queue.clear();
        let mut tasks: Vec<_> = self.tasks.drain().collect();
        tasks.sort_unstable_by_key(|(id, _)| *id);
        out.extend(tasks.into_iter().map(|(_, task)| Effect::Deliver { task: task.payload, end }));
        for worker in &mut self.workers {
            worker.current = None;
            worker.ahead.clear();
            worker.deadline = None;
            if worker.stage != Stage::Starting {
                worker.stage = Stage::Dying;
                out.push(Effect::Kill(worker.id));
            }
        }
        self.say_if_ended(out);
    }

    fn say_if_ended(&mut self, out: &mut Vec<Effect<T>>) {
        if self.has_ended() && !std::mem::replace(&mut self.has_said_so, true) {
            out.push(Effect::Ended);
        }
    }
}

fn take_back<T>(worker: &mut Worker, out: &mut Vec<Effect<T>>) {
    worker.asked = true;
    out.push(Effect::TakeBack { worker: worker.id, last: worker.sent });
}

/// Has a worker killed for the sake of its current task, unless that is done by then.
fn condemn<T>(worker: &mut Worker, end: End, out: &mut Vec<Effect<T>>) {
    let Some(current) = worker.current else { return };
    if worker.stage != Stage::Ready || worker.asked {
        return;
    }
    worker.asked = true;
    worker.doomed = Some((current.number, end));
    out.push(Effect::Condemn { worker: worker.id, number: current.number, last: worker.sent });
}
