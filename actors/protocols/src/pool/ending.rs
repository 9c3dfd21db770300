//! How tasks end without a result, and the pool with them.
//!
//! Owns what becomes of the items of a worker that ended, of those that are not wanted any
//! more, and of all when the pool ends. Neighbour: `scheduler` has the events.

use super::effect::{Effect, End, TaskId};
use super::scheduler::{Phase, Scheduler};
use super::word::is_after;
use super::worker::{Doom, Given, Piece, Stage};
use std::collections::HashSet;
use std::ops::Range;

impl<T: Clone> Scheduler<T> {
    /// A worker ended that had been given this. What it had begun of it, and not finished,
    /// has ended with it; the rest is queued again.
    pub(super) fn bury(
        &mut self,
        given: &Given,
        begun: u32,
        doom: Option<Doom>,
        out: &mut Vec<Effect<T>>,
    ) {
        let Piece { task: id, items, spent, .. } = &given.piece;
        let lost = given.begun(begun);
        let middle = items.start + lost;
        if lost == 0 {
            self.put_back(given.piece.clone(), out);
            return;
        }
        let Some(task) = self.tasks.get(*id) else { return };
        let is_doomed = |doom: &Doom| !is_after(given.number, doom.last);
        let end = doom.filter(is_doomed).map_or(End::Died, |doom| doom.end);
        let may_retry = *spent < task.terms.retries && !task.cancelled && end != End::Cancelled;
        if may_retry {
            self.put_back(Piece { spent: spent + 1, ..given.piece.clone() }, out);
            return;
        }
        if middle < items.end {
            let items = middle..items.end;
            self.put_back(Piece { items, spent: 0, ..given.piece.clone() }, out);
        }
        self.deliver(*id, items.start..middle, end, out);
    }

    /// Queues a piece again before all others, or ends it when it is not wanted any more: who
    /// withdrew it is told at once, whether or not a worker has room.
    pub(super) fn put_back(&mut self, piece: Piece, out: &mut Vec<Effect<T>>) {
        let task = self.tasks.get(piece.task);
        if task.is_some_and(|task| !task.cancelled && !task.withdrawn) {
            self.queue.push_front(piece);
        } else {
            self.deliver(piece.task, piece.items, End::Cancelled, out);
        }
    }

    /// How many pieces are queued that are still to be done.
    pub(super) fn queued(&self) -> usize {
        self.queue.len().saturating_sub(self.ghosts)
    }

    /// Ends a single call that is queued, and leaves its piece where it is: whoever cancels
    /// thousands one by one has the queue gone through a few times only. False when it is for
    /// the queue to say what there is.
    fn drop_single(&mut self, tasks: &HashSet<TaskId>, out: &mut Vec<Effect<T>>) -> bool {
        let mut tasks = tasks.iter().copied();
        let Some(id) = tasks.next() else { return true };
        if tasks.next().is_some() {
            return false;
        }
        match self.tasks.get(id) {
            Some(task) if !task.is_single => return false,
            // Nothing of it is queued.
            None => return true,
            Some(_) if self.sent_to(id).is_some() => return true,
            Some(_) => {}
        }
        self.deliver(id, 0..1, End::Cancelled, out);
        self.ghosts += 1;
        if self.ghosts > self.queue.len() / 2 {
            let known = &self.tasks;
            self.queue.retain(|piece| {
                #[cfg(test)]
                tests::LOOKS.set(tests::LOOKS.get() + 1);
                known.get(piece.task).is_some()
            });
            self.ghosts = 0;
        }
        true
    }

    /// Ends what is queued of some tasks.
    pub(super) fn drop_queued(&mut self, tasks: &HashSet<TaskId>, out: &mut Vec<Effect<T>>) {
        if self.drop_single(tasks, out) {
            return;
        }
        let mut dropped = Vec::new();
        self.queue.retain(|piece| {
            #[cfg(test)]
            tests::LOOKS.set(tests::LOOKS.get() + 1);
            let is_one = tasks.contains(&piece.task);
            dropped.extend(is_one.then(|| (piece.task, piece.items.clone())));
            !is_one
        });
        for (task, items) in dropped {
            self.deliver(task, items, End::Cancelled, out);
        }
    }

    pub(super) fn deliver(
        &mut self,
        id: TaskId,
        items: Range<u32>,
        end: End,
        out: &mut Vec<Effect<T>>,
    ) {
        let Some(task) = self.tasks.get(id).map(|task| task.payload.clone()) else { return };
        let is_last = self.let_go(id, items.end - items.start);
        out.push(Effect::Deliver { task, items, end, is_last });
    }

    /// So many items of a task have ended. Whether it was the last of them.
    pub(super) fn let_go(&mut self, id: TaskId, count: u32) -> bool {
        let Some(task) = self.tasks.get_mut(id) else { return false };
        task.left = task.left.saturating_sub(count);
        let is_last = task.left == 0;
        if is_last {
            self.tasks.remove(id);
        }
        is_last
    }

    /// A closed pool lets its workers go when nothing is left to do.
    pub(super) fn retire_if_done(&mut self, out: &mut Vec<Effect<T>>) {
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

    pub(super) fn end_all(&mut self, end: End, out: &mut Vec<Effect<T>>) {
        let mut pieces: Vec<_> = self.queue.drain(..).collect();
        for worker in &mut self.workers {
            let given = worker.current.take().into_iter().chain(worker.ahead.drain(..));
            pieces.extend(given.map(|given| given.piece));
            worker.deadline = None;
            let is_starting = worker.stage == Stage::Starting;
            worker.stage = Stage::Dying;
            let end = if is_starting { Effect::Kill } else { Effect::Stop };
            out.push(end(worker.id));
        }
        self.revisit = None;
        self.ghosts = 0;
        pieces.sort_unstable_by_key(|piece| (piece.task, piece.items.start));
        for Piece { task, items, .. } in pieces {
            self.deliver(task, items, end, out);
        }
        self.say_if_ended(out);
    }

    pub(super) fn say_if_ended(&mut self, out: &mut Vec<Effect<T>>) {
        if self.has_ended() && !std::mem::replace(&mut self.has_said_so, true) {
            out.push(Effect::Ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::effect::{Options, Terms};
    use super::*;
    use crate::supervision::intensity::Intensity;
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        /// How many pieces were looked at.
        pub(super) static LOOKS: Cell<usize> = const { Cell::new(0) };
    }

    /// A scheduler that has begun, and what it has said.
    fn of_one_worker<T: Clone>() -> (Scheduler<T>, Vec<Effect<T>>) {
        let budget = Intensity { max_restarts: 0, period: Duration::from_secs(1) };
        let (max_tasks, idle_ms) = (None, None);
        let options = Options { workers: 1, max_tasks, budget, on_demand: false, idle_ms };
        let (mut scheduler, mut out) = (Scheduler::new(options), Vec::new());
        scheduler.begin(&mut out);
        (scheduler, out)
    }

    /// Each takes longer than the period of the budget.
    #[test]
    fn starts_that_fail_slowly_and_in_a_row_use_the_budget_up() {
        let budget = Intensity { max_restarts: 3, period: Duration::from_secs(1) };
        let options =
            Options { workers: 1, max_tasks: None, budget, on_demand: false, idle_ms: None };
        let (mut scheduler, mut out) = (Scheduler::new(options), Vec::new());
        scheduler.begin(&mut out);
        let given = scheduler.submit((), 1, Terms::default(), 0, &mut out);
        assert!(given.is_ok());
        for failure in 1..=8_u64 {
            assert!(!scheduler.is_broken(), "at the {failure}th");
            let worker = scheduler.workers().next().unwrap();
            if failure == 4 {
                // One that is ready ends the row; it is killed before it begins anything.
                scheduler.ready(worker, failure * 60_000, &mut out);
            }
            scheduler.died(worker, 0, failure * 60_000, &mut out);
        }
        assert!(scheduler.is_broken());
        let is_end = |it: &Effect<()>| matches!(it, Effect::Deliver { end: End::Broken, .. });
        assert!(out.iter().any(is_end));
    }

    /// Each is looked at once, however many are not wanted any more.
    #[test]
    fn many_tasks_that_are_not_wanted_are_dropped_in_one_go() {
        const MANY: usize = 1_000;
        for withdraws in [false, true] {
            let (mut scheduler, mut out) = of_one_worker();
            let mut submit = || scheduler.submit((), 1, Terms::default(), 0, &mut out);
            let tasks: Vec<_> = (0..MANY).map_while(|_| submit().ok()).collect();
            out.clear();
            LOOKS.set(0);
            let (wanted, others) = (tasks[MANY / 2], [&tasks[..MANY / 2], &tasks[MANY / 2 + 1..]]);
            if withdraws {
                scheduler.withdraw(&others.concat(), &mut out);
            } else {
                scheduler.cancel(&others.concat(), 0, &mut out);
            }
            assert_eq!(LOOKS.get(), MANY);
            let is_end =
                |it: &Effect<()>| matches!(it, Effect::Deliver { end: End::Cancelled, .. });
            assert_eq!(out.iter().filter(|it| is_end(it)).count(), MANY - 1);
            assert_eq!(scheduler.tasks().collect::<Vec<_>>(), [wanted]);
        }
    }

    /// Nor are many looks taken when they are dropped one after another, and what is wanted
    /// from among them is done.
    #[test]
    fn many_calls_that_are_dropped_one_by_one_take_few_looks() {
        const MANY: usize = 1_000;
        for withdraws in [false, true] {
            let (mut scheduler, mut out) = of_one_worker();
            let mut submit = |at| scheduler.submit(at, 1, Terms::default(), 0, &mut out);
            let tasks: Vec<_> = (0..MANY).map_while(|at| submit(at).ok()).collect();
            LOOKS.set(0);
            for (at, task) in tasks.iter().enumerate().filter(|(at, _)| at % 10 != 3) {
                out.clear();
                if withdraws {
                    scheduler.withdraw(&[*task], &mut out);
                } else {
                    scheduler.cancel(&[*task], 0, &mut out);
                }
                let [Effect::Deliver { task, end: End::Cancelled, is_last: true, .. }] = out[..]
                else {
                    panic!("{out:?}")
                };
                assert_eq!(task, at);
            }
            assert!(LOOKS.get() <= 3 * MANY, "{} looks", LOOKS.get());
            assert_eq!(scheduler.queued(), MANY / 10);
            let worker = scheduler.workers().next().unwrap();
            scheduler.ready(worker, 0, &mut out);
            let mut done = Vec::new();
            while let Some((task, _)) = scheduler.current(worker) {
                done.push(*task);
                scheduler.advance(worker, 1, 0, &mut out);
            }
            assert!(done.into_iter().eq((0..MANY).filter(|at| at % 10 == 3)));
            assert_eq!((scheduler.unfinished(), scheduler.queued()), (0, 0));
        }
    }
}
