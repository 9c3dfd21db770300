//! The owner's side: tasks, workers, and what becomes of both.
//!
//! Owns every decision of a pool. Events are methods; what is to be done about them is
//! added to a list of effects, which the caller carries out in order before the next
//! event. Time comes in as milliseconds of any steady clock. It must never wait. Neighbours:
//! `supply` gives to workers, `ending` ends tasks.

use super::by_id::ById;
use super::effect::{Effect, End, Options, Record, TaskId, Terms};
use super::supply::{condemn, take_back};
use super::word::is_after;
use super::worker::{Doom, Given, Piece, Stage, Worker, WorkerId};
use crate::supervision::intensity::RestartWindow;
use std::collections::{HashSet, VecDeque};
use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// What has been submitted is still done.
    Closing,
    /// Nothing is done any more.
    Terminated,
    Broken,
}

#[derive(Debug)]
pub(super) struct Task<T> {
    pub(super) payload: T,
    pub(super) terms: Terms,
    /// How many of its items have not ended.
    pub(super) left: u32,
    /// Whether it has one item only.
    pub(super) is_single: bool,
    pub(super) cancelled: bool,
    /// It is not wanted any more, unless a worker has begun it.
    pub(super) withdrawn: bool,
}

/// The scheduler of one pool; `T` is what the caller keeps with each task.
#[derive(Debug)]
pub struct Scheduler<T> {
    pub(super) options: Options,
    pub(super) phase: Phase,
    pub(super) tasks: ById<Task<T>>,
    pub(super) queue: VecDeque<Piece>,
    /// How many of those are of tasks that have ended; nothing is done about them.
    pub(super) ghosts: usize,
    pub(super) workers: Vec<Worker>,
    window: RestartWindow,
    /// How many starts have failed since a worker was last ready.
    failed_starts: u32,
    pub(super) next_worker: u64,
    /// How many workers have been started in each place.
    pub(super) started_in: Vec<u64>,
    /// When idle workers may take what others have not begun.
    pub(super) revisit: Option<u64>,
    /// Whether tasks were left in the queue.
    pub(super) has_left: bool,
    /// Whether its end has been told.
    pub(super) has_said_so: bool,
}

impl<T: Clone> Scheduler<T> {
    /// A pool without workers; [`begin`](Self::begin) starts them.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            phase: Phase::Running,
            tasks: ById::default(),
            queue: VecDeque::new(),
            ghosts: 0,
            workers: Vec::new(),
            window: RestartWindow::new(options.budget),
            failed_starts: 0,
            next_worker: 0,
            started_in: Vec::new(),
            revisit: None,
            has_left: false,
            has_said_so: false,
        }
    }

    /// Starts the workers.
    pub fn begin(&mut self, out: &mut Vec<Effect<T>>) {
        let idle_ms = self.options.idle_ms.take();
        self.fill(out);
        self.options.idle_ms = idle_ms;
    }

    /// A task of so many items, at least one, is to be done. `Err` gives it back: the pool
    /// takes no more.
    ///
    /// # Errors
    /// The task, when the pool has been closed, terminated, or is broken.
    pub fn submit(
        &mut self,
        payload: T,
        items: u32,
        terms: Terms,
        now: u64,
        out: &mut Vec<Effect<T>>,
    ) -> Result<TaskId, T> {
        let id = self.queue_up(payload, items, terms)?;
        self.dispatch(now, out);
        if self.is_lazy() {
            self.fill(out);
        }
        Ok(id)
    }

    /// As [`submit`](Self::submit), of a task that [`may_leave`](Self::may_leave) says may wait:
    /// the next event gives it to a worker, a [`tick`](Self::tick) at the latest. Nobody may
    /// sleep for long before that.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn leave(&mut self, payload: T, items: u32, terms: Terms) -> Result<TaskId, T> {
        let id = self.queue_up(payload, items, terms)?;
        self.has_left = true;
        Ok(id)
    }

    fn queue_up(&mut self, payload: T, items: u32, terms: Terms) -> Result<TaskId, T> {
        if self.phase != Phase::Running {
            return Err(payload);
        }
        let left = items.max(1);
        let is_single = left == 1;
        let task = Task { payload, terms, left, is_single, cancelled: false, withdrawn: false };
        let id = self.tasks.insert(task);
        let is_watched = terms.limit_ms.is_some();
        self.queue.push_back(Piece { task: id, items: 0..left, spent: 0, is_watched });
        Ok(id)
    }

    /// A worker has started. One that does so after the end is killed: nothing was given to
    /// it, and it may not listen to anything milder.
    pub fn ready(&mut self, worker: WorkerId, now: u64, out: &mut Vec<Effect<T>>) {
        let is_over = matches!(self.phase, Phase::Terminated | Phase::Broken);
        let Some(worker) = self.find(worker) else { return };
        if is_over {
            worker.stage = Stage::Dying;
            out.push(Effect::Kill(worker.id));
            return;
        }
        worker.stage = Stage::Ready;
        (worker.moved, worker.ready_at) = (now, now);
        self.failed_starts = 0;
        self.dispatch(now, out);
        self.retire_if_done(out);
    }

    /// The items whose results come next from a worker: of which task, and which.
    pub fn current(&self, worker: WorkerId) -> Option<(&T, Range<u32>)> {
        let piece = &self.known(worker)?.current.as_ref()?.piece;
        Some((&self.tasks.get(piece.task)?.payload, piece.items.clone()))
    }

    /// A worker has done the next `count` of its [`current`](Self::current) items. Says
    /// whether they were the last of their task.
    pub fn advance(
        &mut self,
        worker: WorkerId,
        count: u32,
        now: u64,
        out: &mut Vec<Effect<T>>,
    ) -> bool {
        let Some(at) = self.workers.iter().position(|known| known.id == worker) else {
            return false;
        };
        let found = &mut self.workers[at];
        let Some(current) = &mut found.current else { return false };
        let count = count.min(current.len());
        let task = current.piece.task;
        current.number = current.number.wrapping_add(count);
        current.piece.items.start += count;
        current.piece.spent = 0;
        let (done, is_over) = (current.number.wrapping_sub(1), current.len() == 0);
        found.note_begun(done);
        found.moved = now;
        found.done += u64::from(count);
        let is_last = self.let_go(task, count);
        if is_over {
            self.workers[at].current = self.workers[at].ahead.pop_front();
            if self.workers[at].current.is_none() {
                self.workers[at].rest(now);
            }
        }
        self.watch_current(at, now, out);
        if is_over {
            self.recycle(worker, out);
            self.dispatch(now, out);
            self.retire_if_done(out);
        }
        is_last
    }

    /// So many tasks came back from a worker at one look.
    pub fn looked(&mut self, worker: WorkerId, done: usize) {
        if let Some(worker) = self.find(worker) {
            worker.keep_pace(done);
        }
    }

    /// A worker uses more memory than it may. Another takes its place when it has done what
    /// it has begun.
    pub fn outgrown(&mut self, worker: WorkerId, out: &mut Vec<Effect<T>>) {
        let Some(found) = self.find(worker) else { return };
        if found.stage == Stage::Ready && !found.outgrown {
            found.outgrown = true;
            if !found.asked {
                take_back(found, out);
            }
        }
    }

    /// What the workers have done so far.
    pub fn records(&self, now: u64) -> impl Iterator<Item = Record> + '_ {
        self.workers.iter().map(move |worker| worker.record(now))
    }

    /// How many workers have been started, those of the beginning included.
    pub fn started(&self) -> u64 {
        self.next_worker
    }

    /// A worker has ended, or could not be started. `begun` is what its word says; all
    /// results that it had given have been told before.
    pub fn died(&mut self, worker: WorkerId, begun: u32, now: u64, out: &mut Vec<Effect<T>>) {
        let Some(at) = self.workers.iter().position(|known| known.id == worker) else { return };
        let worker = self.workers.swap_remove(at);
        let is_failure = match worker.stage {
            Stage::Starting => {
                self.failed_starts = self.failed_starts.saturating_add(1);
                true
            }
            Stage::Ready => begun == 0 && !worker.has_begun,
            Stage::Leaving | Stage::Dying => false,
        };
        // What was given last is put back first, so that the order stays.
        for given in worker.all_given().rev() {
            self.bury(given, begun, worker.doom, out);
        }
        // Starts may take so long to fail that no period has many of them.
        let is_used_up = is_failure
            && (!self.window.record(now) || self.failed_starts > self.options.budget.max_restarts);
        if is_used_up && self.phase != Phase::Terminated {
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
        let id = worker.id;
        worker.asked = false;
        if let Some(Doom { first, last, end }) = worker.doom {
            worker.deadline = None;
            let is_begun = !is_after(first, begun);
            let is_stuck = end == End::TimedOut && worker.is_stuck(now);
            if is_after(begun, last) || !(is_begun || is_stuck) {
                // It was done in time, and its result is on its way; or nothing was begun.
                worker.doom = None;
                worker.stalls += u32::from(!is_begun && end == End::TimedOut);
            } else {
                worker.stage = Stage::Dying;
                out.push(Effect::Kill(worker.id));
            }
        } else {
            worker.note_unbegun(begun, now);
        }
        let was_busy = worker.current.is_some();
        let pieces = worker.take_back(begun);
        if was_busy && worker.current.is_none() {
            worker.rest(now);
        }
        let kept: Vec<_> = worker.all_given().map(|given| given.piece.task).collect();
        for task in kept {
            // Of a task of several items the others are still not wanted.
            if let Some(task) = self.tasks.get_mut(task).filter(|task| task.left == 1) {
                task.withdrawn = false;
            }
        }
        let most = self.most();
        let is_shared = self.workers.iter().any(|worker| worker.is_idle(most));
        for mut piece in pieces {
            let middle = piece.items.start + (piece.items.end - piece.items.start).div_ceil(2);
            if is_shared && middle < piece.items.end {
                let items = middle..piece.items.end;
                self.put_back(Piece { items, spent: 0, ..piece }, out);
                piece.items.end = middle;
            }
            self.put_back(piece, out);
        }
        self.recycle(id, out);
        self.condemn_cancelled(id, begun, out);
        self.dispatch(now, out);
        self.fill(out);
        self.retire_if_done(out);
    }

    /// Tasks are not wanted any more; those that have ended are let be. However many they
    /// are, the queue is gone through once; not at all for a single call.
    pub fn cancel(&mut self, tasks: &[TaskId], now: u64, out: &mut Vec<Effect<T>>) {
        let tasks: HashSet<_> = tasks.iter().copied().collect();
        for task in &tasks {
            if let Some(known) = self.tasks.get_mut(*task) {
                known.cancelled = true;
            }
        }
        self.drop_queued(&tasks, out);
        for worker in &mut self.workers {
            let is_one = |given: &Given| tasks.contains(&given.piece.task);
            if worker.current.as_ref().is_some_and(is_one) {
                condemn(worker, End::Cancelled, out);
            } else if worker.ahead.iter().any(is_one) && !worker.asked {
                take_back(worker, out);
            }
        }
        self.dispatch(now, out);
        self.retire_if_done(out);
    }

    /// Tasks are not wanted any more, and what no worker has begun of them ends; the rest is
    /// let be. The queue is gone through as for [`cancel`](Self::cancel).
    pub fn withdraw(&mut self, tasks: &[TaskId], out: &mut Vec<Effect<T>>) {
        let tasks: HashSet<_> = tasks.iter().copied().collect();
        self.drop_queued(&tasks, out);
        for worker in self.workers.iter_mut().filter(|worker| worker.stage == Stage::Ready) {
            let mut holds_one = false;
            for given in worker.all_given().filter(|given| tasks.contains(&given.piece.task)) {
                holds_one = true;
                if let Some(known) = self.tasks.get_mut(given.piece.task) {
                    known.withdrawn = true;
                }
            }
            if holds_one && !worker.asked {
                take_back(worker, out);
            }
        }
        self.retire_if_done(out);
    }

    /// Looks at the time: items that have used theirs up are ended with their workers.
    pub fn tick(&mut self, now: u64, out: &mut Vec<Effect<T>>) {
        for worker in &mut self.workers {
            if worker.deadline.is_some_and(|deadline| deadline <= now) {
                condemn(worker, End::TimedOut, out);
            }
        }
        if self.has_left || self.revisit.is_some_and(|at| at <= now) {
            self.dispatch(now, out);
        }
        self.let_idle_go(now, out);
    }

    /// When [`tick`](Self::tick) is to be called at the latest.
    pub fn next_deadline(&self) -> Option<u64> {
        let waits = |worker: &&Worker| worker.stage == Stage::Ready && !worker.asked;
        let deadlines = self.workers.iter().filter(waits).filter_map(|worker| worker.deadline);
        let idle = self.options.idle_ms.filter(|_| self.phase == Phase::Running);
        let overdue = |worker: &Worker| worker.is_overdue_at(idle?);
        deadlines.chain(self.revisit).chain(self.workers.iter().filter_map(overdue)).min()
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
        self.tasks.get(task).map(|task| &task.payload)
    }

    /// The tasks that have not ended, in no order.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.tasks.ids()
    }

    /// To which worker a task has been sent, and under which number.
    pub fn sent_to(&self, task: TaskId) -> Option<(WorkerId, u32)> {
        self.workers.iter().find_map(|worker| Some((worker.id, worker.number_of(task)?)))
    }

    /// Whether tasks were left that may have to be given to a worker.
    pub fn has_left(&self) -> bool {
        self.has_left
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

    pub(super) fn known(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.iter().find(|known| known.id == worker)
    }

    pub(super) fn find(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|known| known.id == worker)
    }
}
