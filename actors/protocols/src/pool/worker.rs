//! One worker as the scheduler sees it.
//!
//! Owns what has been given to it, in order, and how far ahead it is supplied. It decides
//! nothing about tasks.

use super::bell::Alarm;
use super::effect::{End, Record, TaskId};
use super::word::is_after;
use super::{AHEAD, MOST_AHEAD};
use std::collections::VecDeque;
use std::ops::Range;

/// One life of one worker. Numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

/// A worker rings when a part of this size is left of what it was sent.
const RESERVE: usize = 4;

/// A worker that has begun nothing of what it was given for so long, in milliseconds, is as
/// stuck as one whose item takes too long.
const STUCK_MS: u64 = 1_000;

/// Milliseconds after which what a worker has beside the item that it is at, and has not begun,
/// is given to one that is idle.
const PATIENCE_MS: u64 = 1;

/// Milliseconds after which that is done with its only item: it is stopped, perhaps, or kept
/// from its processor. Longer than it takes to wake where there is much to do.
const UNBEGUN_MS: u64 = 100;

/// So often that time is doubled.
const MOST_PATIENT: u32 = 5;

/// How far a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Ready,
    /// It has been told to end, and has nothing more to do.
    Leaving,
    /// It is being killed, for the sake of one of its items or of the pool.
    Dying,
}

/// Items of a task, in a row, that nobody has begun.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) task: TaskId,
    pub(super) items: Range<u32>,
    /// How often the first of them has been given in vain.
    pub(super) spent: u32,
    /// Whether each of them has a time limit, so that its end must be known at once.
    pub(super) is_watched: bool,
}

/// A piece that has been sent to a worker; its first item has this number.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) piece: Piece,
    pub(super) number: u32,
}

impl Given {
    pub(super) fn len(&self) -> u32 {
        self.piece.items.end - self.piece.items.start
    }

    /// The number of its last item.
    pub(super) fn last(&self) -> u32 {
        self.number.wrapping_add(self.len()).wrapping_sub(1)
    }

    /// How many of its items have been begun, if this one was the last.
    pub(super) fn begun(&self, begun: u32) -> u32 {
        if is_after(self.number, begun) {
            0
        } else {
            (begun.wrapping_sub(self.number) + 1).min(self.len())
        }
    }
}

/// For the sake of which item a worker is to be killed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doom {
    /// From the first to the last number for which it holds.
    pub(super) first: u32,
    pub(super) last: u32,
    /// How that item is to end.
    pub(super) end: End,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    /// Which of the pool's places it has, and how many have had that before it.
    pub(super) place: usize,
    pub(super) restarts: u64,
    pub(super) stage: Stage,
    /// What it works on, as far as its owner knows: it may be further already.
    pub(super) current: Option<Given>,
    pub(super) ahead: VecDeque<Given>,
    /// The number of the last item that was sent.
    pub(super) sent: u32,
    /// How many pieces it has been given for good.
    pub(super) given: u32,
    /// The last item that it is known to have begun, and whether there was one.
    pub(super) begun: u32,
    pub(super) has_begun: bool,
    /// How many pieces are sent beyond the current one.
    pub(super) pace: usize,
    /// When it last got on with its work, in milliseconds.
    pub(super) moved: u64,
    /// When the current item has used up its time, in milliseconds.
    pub(super) deadline: Option<u64>,
    /// How often in a row that time was up before the item had been begun.
    pub(super) stalls: u32,
    /// How often in a row what it had not begun in time was given to others.
    passed_over: u32,
    /// An effect is under way that asks its word: nothing is sent to it meanwhile.
    pub(super) asked: bool,
    /// It uses more memory than it may: it is to do no more than it has begun.
    pub(super) outgrown: bool,
    /// How many items it has done, and since when it is ready, in milliseconds.
    pub(super) done: u64,
    pub(super) ready_at: u64,
    /// For how long it had something to do before, and since when it has now.
    pub(super) busy_ms: u64,
    pub(super) busy_since: u64,
    pub(super) doom: Option<Doom>,
}

impl Worker {
    pub(super) fn new(id: WorkerId, place: usize, restarts: u64) -> Self {
        Self {
            id,
            place,
            restarts,
            stage: Stage::Starting,
            current: None,
            ahead: VecDeque::new(),
            sent: 0,
            given: 0,
            begun: 0,
            has_begun: false,
            pace: AHEAD,
            moved: 0,
            deadline: None,
            stalls: 0,
            passed_over: 0,
            asked: false,
            outgrown: false,
            done: 0,
            ready_at: 0,
            busy_ms: 0,
            busy_since: 0,
            doom: None,
        }
    }

    /// Whether more may be sent to it, so many pieces ahead.
    pub(super) fn has_room(&self, ahead: usize, most: u32) -> bool {
        self.stage == Stage::Ready
            && !self.asked
            && !self.outgrown
            && self.given < most
            && self.ahead.len() < if self.current.is_some() { ahead } else { 1 }
    }

    /// After what it is to ring, if nobody waits for a result: as long as there is more for it
    /// to do, before it has done all that it was sent.
    pub(super) fn alarm(&self, is_more: bool) -> Alarm {
        let count = self.ahead.len() + usize::from(self.current.is_some());
        let reserve = if is_more { (count / RESERVE).max(1) } else { 0 };
        let last = self.all_given().nth(count.saturating_sub(1 + reserve));
        match last {
            Some(last) if !self.outgrown && !self.all_given().any(|one| one.piece.is_watched) => {
                Alarm::Done(last.last())
            }
            _ => Alarm::Each,
        }
    }

    /// Whether it has begun more than half of what it was sent.
    pub(super) fn is_low(&self, begun: u32) -> bool {
        let last = self.all_given().nth(self.ahead.len() / 2);
        self.stage == Stage::Ready && last.is_some_and(|last| is_after(begun, last.last()))
    }

    /// Whether its place is taken: one that leaves has given it up.
    pub(super) fn has_place(&self) -> bool {
        self.stage != Stage::Leaving
    }

    pub(super) fn is_idle(&self, most: u32) -> bool {
        self.current.is_none() && self.has_room(0, most)
    }

    /// What has been given to it, the oldest first.
    pub(super) fn all_given(&self) -> impl DoubleEndedIterator<Item = &Given> {
        self.current.iter().chain(&self.ahead)
    }

    /// Under which number a task has been sent to it.
    pub(super) fn number_of(&self, task: TaskId) -> Option<u32> {
        self.all_given().find(|given| given.piece.task == task).map(|given| given.number)
    }

    /// From when on it may be asked for what it has not begun, as far as is known.
    pub(super) fn spare_at(&self) -> Option<u64> {
        let is_open = self.stage == Stage::Ready && !self.asked;
        let current = self.current.as_ref().filter(|_| is_open)?;
        // One that is idle is about to begin its next item, which is left to it for a while.
        let next = if is_after(self.begun, current.number) { self.begun } else { current.number };
        let patience = if is_after(self.ahead.back().unwrap_or(current).last(), next) {
            PATIENCE_MS
        } else if is_after(current.number, self.begun) {
            self.patience_to_begin()
        } else {
            return None;
        };
        Some(self.stands_since().saturating_add(patience))
    }

    /// It turns out, late, that it has not begun what it was given first.
    pub(super) fn note_unbegun(&mut self, begun: u32, now: u64) {
        let is_unbegun = |current: &Given| is_after(current.number, begun);
        let is_late = now.saturating_sub(self.stands_since()) >= self.patience_to_begin();
        self.passed_over += u32::from(is_late && self.current.as_ref().is_some_and(is_unbegun));
    }

    /// Those get work first who begin it.
    pub(super) fn reluctance(&self) -> u32 {
        self.stalls.saturating_add(self.passed_over)
    }

    /// Longer each time that it was not enough: where all are slow, an item that goes from one
    /// to the other would be begun by none.
    fn patience_to_begin(&self) -> u64 {
        UNBEGUN_MS << self.passed_over.min(MOST_PATIENT)
    }

    /// Since when it is given what it has, or since it got on last.
    fn stands_since(&self) -> u64 {
        self.moved.max(self.busy_since)
    }

    /// Takes back what it has not begun, the last piece first.
    pub(super) fn take_back(&mut self, begun: u32) -> Vec<Piece> {
        self.note_begun(begun);
        let mut pieces = Vec::new();
        while let Some(mut given) = self.ahead.pop_back().or_else(|| self.current.take()) {
            let kept = given.begun(begun);
            if kept == 0 {
                self.given -= 1;
                pieces.push(given.piece);
                continue;
            }
            if kept < given.len() {
                let middle = given.piece.items.start + kept;
                let items = middle..given.piece.items.end;
                pieces.push(Piece { items, spent: 0, ..given.piece });
                given.piece.items.end = middle;
            }
            if self.current.is_some() {
                self.ahead.push_back(given);
            } else {
                self.current = Some(given);
            }
            break;
        }
        if self.current.is_none() {
            self.deadline = None;
        }
        pieces
    }

    /// Its work has ended for now.
    pub(super) fn rest(&mut self, now: u64) {
        self.busy_ms += now.saturating_sub(self.busy_since);
    }

    /// What it has done so far.
    pub(super) fn record(&self, now: u64) -> Record {
        let current = self.current.as_ref().map_or(0, |_| now.saturating_sub(self.busy_since));
        Record {
            worker: self.id,
            done: self.done,
            busy_ms: self.busy_ms + current,
            ready_ms: now.saturating_sub(self.ready_at),
            restarts: self.restarts,
        }
    }

    /// When it has had nothing to do for so long.
    pub(super) fn is_overdue_at(&self, idle_ms: u64) -> Option<u64> {
        let is_idle = self.stage == Stage::Ready && self.current.is_none() && !self.asked;
        is_idle.then(|| self.moved.saturating_add(idle_ms))
    }

    pub(super) fn note_begun(&mut self, begun: u32) {
        if is_after(begun, self.begun) {
            self.begun = begun;
            self.has_begun = true;
            (self.stalls, self.passed_over) = (0, 0);
        }
    }

    /// It has something to do now, and had nothing.
    pub(super) fn work(&mut self, now: u64) {
        self.busy_since = now;
        // Once it has stalled it counts from then on, unless that was long ago.
        if self.stalls == 0 || now.saturating_sub(self.moved) >= 2 * STUCK_MS {
            (self.moved, self.stalls) = (now, 0);
        }
    }

    /// When an item that it is given now has used up its time. It has to be begun first, for
    /// which there is more time each time that it was not.
    pub(super) fn deadline_of(&self, limit: Option<u64>, now: u64) -> Option<u64> {
        let grace = (1 << self.stalls.min(STUCK_MS.ilog2())) - 1;
        limit.map(|limit| now.saturating_add(limit).saturating_add(grace))
    }

    /// Whether it has not got on for so long that it never will.
    pub(super) fn is_stuck(&self, now: u64) -> bool {
        now.saturating_sub(self.moved) >= STUCK_MS
    }

    /// So many pieces were done since the last look. A worker that did most of what it had
    /// is supplied further ahead.
    pub(super) fn keep_pace(&mut self, done: usize) {
        if done > (self.pace / 2).max(1) {
            self.pace = (self.pace * 2).min(MOST_AHEAD);
        } else if done * 3 < self.pace {
            self.pace = (self.pace / 2).max(AHEAD);
        }
    }
}
