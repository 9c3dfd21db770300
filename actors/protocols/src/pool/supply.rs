//! Workers and what they are given: as much as they can do, and no more.
//!
//! Owns the scheduler's choices: which worker gets which piece, who takes whose, when
//! workers come and go. Neighbour: `scheduler` has the events.

use super::LEAST_BULK;
use super::bell::Alarm;
use super::effect::{Effect, End, Terms};
use super::scheduler::{Phase, Scheduler};
use super::word::is_after;
use super::worker::{Doom, Given, Stage, Worker, WorkerId};

impl<T: Clone> Scheduler<T> {
    /// After what a worker is to ring for its owner, when nobody waits for a result.
    pub fn alarm(&self, worker: WorkerId) -> Alarm {
        let worker = self.known(worker);
        worker.map_or(Alarm::Each, |worker| worker.alarm(!self.queue.is_empty()))
    }

    /// Whether a worker that has begun so much, and for which there is more to do, is to be
    /// supplied by whoever passes.
    pub fn is_low(&self, worker: WorkerId, begun: u32) -> bool {
        let worker = self.known(worker);
        !self.queue.is_empty() && worker.is_some_and(|worker| worker.is_low(begun))
    }

    /// Whether a worker does many tasks between two looks, so that more of them may be sent
    /// together: how many.
    pub fn bulk(&self, worker: WorkerId) -> usize {
        self.known(worker).map_or(1, |worker| worker.pace / 2)
    }

    /// Whether a task on such terms may be left to whoever comes next: no worker has to be
    /// started for it, and those that have room do many tasks between two looks.
    pub fn may_leave(&self, terms: Terms) -> bool {
        let most = self.most();
        let wants_it = |one: &Worker| one.pace < LEAST_BULK * 2 && one.has_room(one.pace, most);
        self.phase == Phase::Running
            && terms.limit_ms.is_none()
            && !(self.is_lazy() && self.places() < self.options.workers)
            && !self.workers.iter().any(wants_it)
    }

    /// Most pieces of one worker.
    pub(super) fn most(&self) -> u32 {
        // What was taken back is counted for a while.
        self.options.max_tasks.unwrap_or(u32::MAX / 2)
    }

    /// Gives queued pieces to workers that have room; lets idle ones take what others have
    /// not begun.
    pub(super) fn dispatch(&mut self, now: u64, out: &mut Vec<Effect<T>>) {
        let most = self.most();
        self.has_left = false;
        // A task waits for a worker of its own as long as there may be another one.
        let is_patient = self.is_lazy() && self.places() < self.options.workers;
        while !self.queue.is_empty() {
            let ahead = |worker: &Worker| if is_patient { 0 } else { worker.pace };
            let room = self.workers.iter_mut().filter(|one| one.has_room(ahead(one), most));
            let load =
                |one: &&mut Worker| (one.current.is_some(), one.reluctance(), one.ahead.len());
            let Some(worker) = room.min_by_key(load) else { return };
            let Some(piece) = self.queue.pop_front() else { return };
            let Some(task) = self.tasks.get(piece.task) else {
                self.ghosts = self.ghosts.saturating_sub(1);
                continue;
            };
            let number = worker.sent.wrapping_add(1);
            let (items, limit) = (piece.items.clone(), task.terms.limit_ms);
            let task = task.payload.clone();
            out.push(Effect::Send { worker: worker.id, task, items, number });
            let given = Given { piece, number };
            worker.sent = given.last();
            worker.given += 1;
            if worker.current.is_none() {
                worker.work(now);
                worker.deadline = worker.deadline_of(limit, now);
                worker.current = Some(given);
            } else {
                worker.ahead.push_back(given);
            }
        }
        self.share_out(now, out);
    }

    /// Has what was given to a worker that does not get on taken back, if another is idle.
    fn share_out(&mut self, now: u64, out: &mut Vec<Effect<T>>) {
        self.revisit = None;
        let most = self.most();
        if !self.workers.iter().any(|worker| worker.is_idle(most)) {
            return;
        }
        let spare = self.workers.iter_mut().filter_map(|one| Some((one.spare_at()?, one)));
        let Some((at, worker)) = spare.min_by_key(|(at, _)| *at) else { return };
        if now < at {
            self.revisit = Some(at);
        } else {
            take_back(worker, out);
        }
    }

    /// Sets the time limit of the item that a worker is at.
    pub(super) fn watch_current(&mut self, at: usize, now: u64, out: &mut Vec<Effect<T>>) {
        let worker = &mut self.workers[at];
        worker.deadline = None;
        let Some(current) = &worker.current else { return };
        let Some(task) = self.tasks.get(current.piece.task) else { return };
        worker.deadline = worker.deadline_of(task.terms.limit_ms, now);
        if task.cancelled {
            condemn(worker, End::Cancelled, out);
        }
    }

    /// Has a worker killed that is at an item, as its word `begun` says, which was cancelled
    /// when it was not known to be.
    pub(super) fn condemn_cancelled(
        &mut self,
        worker: WorkerId,
        begun: u32,
        out: &mut Vec<Effect<T>>,
    ) {
        let Some(worker) = self.workers.iter_mut().find(|known| known.id == worker) else { return };
        let is_at = |given: &&Given| given.begun(begun) > 0 && !is_after(begun, given.last());
        let task = worker.current.as_ref().filter(is_at);
        let task = task.and_then(|given| self.tasks.get(given.piece.task));
        if worker.doom.is_none() && task.is_some_and(|task| task.cancelled) {
            condemn(worker, End::Cancelled, out);
        }
    }

    /// Lets a worker go that has done its share.
    pub(super) fn recycle(&mut self, worker: WorkerId, out: &mut Vec<Effect<T>>) {
        let most = self.most();
        let Some(worker) = self.find(worker) else { return };
        let has_done_all = worker.given >= most || worker.outgrown;
        let is_done = worker.current.is_none() && has_done_all && !worker.asked;
        if is_done && worker.stage == Stage::Ready {
            worker.stage = Stage::Leaving;
            out.push(Effect::Retire(worker.id));
            self.fill(out);
        }
    }

    /// Lets workers go that have had nothing to do for too long.
    pub(super) fn let_idle_go(&mut self, now: u64, out: &mut Vec<Effect<T>>) {
        let Some(idle_ms) = self.options.idle_ms.filter(|_| self.phase == Phase::Running) else {
            return;
        };
        for worker in &mut self.workers {
            if worker.is_overdue_at(idle_ms).is_some_and(|at| at <= now) {
                worker.stage = Stage::Leaving;
                out.push(Effect::Retire(worker.id));
            }
        }
    }

    /// Whether workers are started for tasks only.
    pub(super) fn is_lazy(&self) -> bool {
        self.options.on_demand || self.options.idle_ms.is_some()
    }

    fn count(&self, stage: Stage) -> usize {
        self.workers.iter().filter(|one| one.stage == stage).count()
    }

    /// How many places are taken.
    fn places(&self) -> usize {
        self.workers.iter().filter(|worker| worker.has_place()).count()
    }

    /// A place that is free, and how many have had it before.
    fn free_place(&mut self) -> (usize, u64) {
        let is_taken = |place| self.workers.iter().any(|one| one.has_place() && one.place == place);
        let place = (0..self.workers.len()).find(|place| !is_taken(*place));
        let place = place.unwrap_or(self.workers.len());
        if self.started_in.len() <= place {
            self.started_in.resize(place + 1, 0);
        }
        let before = self.started_in[place];
        self.started_in[place] += 1;
        (place, before)
    }

    /// Starts workers in the places of those that have gone, as far as there is use for them.
    pub(super) fn fill(&mut self, out: &mut Vec<Effect<T>>) {
        loop {
            let starting = self.count(Stage::Starting);
            let wanted = match self.phase {
                Phase::Running if !self.is_lazy() => true,
                // Those that are there do the rest, unless they are doing their last.
                Phase::Running | Phase::Closing => starting < self.queued(),
                Phase::Terminated | Phase::Broken => false,
            };
            if !wanted || self.places() >= self.options.workers {
                return;
            }
            self.next_worker += 1;
            let (place, restarts) = self.free_place();
            let worker = Worker::new(WorkerId(self.next_worker), place, restarts);
            out.push(Effect::Start(worker.id));
            self.workers.push(worker);
        }
    }
}

pub(super) fn take_back<T>(worker: &mut Worker, out: &mut Vec<Effect<T>>) {
    worker.asked = true;
    out.push(Effect::TakeBack { worker: worker.id, last: worker.sent });
}

/// Has a worker killed for the sake of its current item, unless that is done by then; one
/// that is cancelled, for the sake of any item of the same piece.
pub(super) fn condemn<T>(worker: &mut Worker, end: End, out: &mut Vec<Effect<T>>) {
    let Some(current) = &worker.current else { return };
    if worker.stage != Stage::Ready || worker.asked {
        return;
    }
    let first = current.number;
    let last = if end == End::Cancelled { current.last() } else { first };
    worker.doom = Some(Doom { first, last, end });
    take_back(worker, out);
}
