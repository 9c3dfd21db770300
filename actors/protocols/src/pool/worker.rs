//! One worker as the scheduler sees it.
//!
//! Owns what has been given to it, in order. It decides nothing.

use super::scheduler::{End, TaskId};
use std::collections::VecDeque;

/// One life of one worker. Numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

/// How far a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Ready,
    /// It has been told to end, and has nothing more to do.
    Leaving,
    /// It is being killed, for the sake of one of its tasks or of the pool.
    Dying,
}

/// A task that has been sent to a worker, under this number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    pub(super) task: TaskId,
    pub(super) number: u32,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) stage: Stage,
    /// What it works on, as far as its owner knows: it may be further already.
    pub(super) current: Option<Given>,
    pub(super) ahead: VecDeque<Given>,
    /// The number of the last task that was sent.
    pub(super) sent: u32,
    /// How many tasks it has been given for good.
    pub(super) given: u32,
    /// The last task that it is known to have begun.
    pub(super) begun: u32,
    /// When the current task has used up its time, in milliseconds.
    pub(super) deadline: Option<u64>,
    /// An effect is under way that asks its word: nothing is sent to it meanwhile.
    pub(super) asked: bool,
    /// For which task it is being killed, and how that task is to end.
    pub(super) doomed: Option<(u32, End)>,
}

impl Worker {
    pub(super) fn new(id: WorkerId) -> Self {
        Self {
            id,
            stage: Stage::Starting,
            current: None,
            ahead: VecDeque::new(),
            sent: 0,
            given: 0,
            begun: 0,
            deadline: None,
            asked: false,
            doomed: None,
        }
    }

    /// Whether more may be sent to it.
    pub(super) fn has_room(&self, ahead: usize, most: u32) -> bool {
        self.stage == Stage::Ready
            && !self.asked
            && self.given < most
            && self.ahead.len() < if self.current.is_some() { ahead } else { 1 }
    }

    /// Under which number a task has been sent to it.
    pub(super) fn number_of(&self, task: TaskId) -> Option<u32> {
        let mut given = self.current.iter().chain(&self.ahead);
        given.find(|given| given.task == task).map(|given| given.number)
    }

    pub(super) fn is_idle(&self, most: u32) -> bool {
        self.current.is_none() && self.has_room(0, most)
    }

    /// Takes back what it has not begun, the last one first.
    pub(super) fn take_back(&mut self, begun: u32) -> impl Iterator<Item = TaskId> + '_ {
        self.begun = begun;
        std::iter::from_fn(move || {
            let is_open = |given: &mut Given| given.number > begun;
            let given = match self.ahead.back() {
                Some(_) => self.ahead.pop_back_if(is_open),
                None => self.current.take_if(is_open),
            }?;
            self.given -= 1;
            if self.current.is_none() {
                self.deadline = None;
            }
            Some(given.task)
        })
    }
}
