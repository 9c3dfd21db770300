//! The cells of permits: who holds which count of a semaphore.
//!
//! Owns the word of one cell. A cell belongs to a process; it says what that process is
//! doing with one permit of one semaphore, so that after its death the count is put right
//! to the last one. Before the semaphore's word is changed the cell says what is about to
//! happen, with a tag of its own; the change writes cell and tag into the word; then the
//! cell says that it is done. Whoever changes the word next first writes into the cell
//! that the change took effect, by a compare-and-swap that fails when the cell has gone
//! on by itself.
//!
//! ```text
//!   FREE ---> TAKING ---> HELD ---> GIVING ---> FREE        each turn has its tag
//! ```

use super::semaphore::{Give, SemaphoreWords, TooMany};
use super::{Atomic, Effect, Memory, Told};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// The cells of a page. What stands there is untrusted: a number that leads nowhere is
/// nobody.
pub trait Cells<M: Memory> {
    /// The word of a cell.
    fn cell(&self, number: u16) -> Option<&M::U64>;
}

/// One cell in one turn: what the process that owns it works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    number: u16,
    /// Which semaphore: the number of its record.
    record: u32,
    tag: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Taking,
    Held,
    Giving,
}

/// Tags wrap at this: they must differ within the life of one half-done change.
const TAGS: u32 = 1 << 17;
/// A record's number fits below this.
const RECORDS: u32 = 1 << 24;

const fn word(state: State, record: u32, tag: u32) -> u64 {
    (state as u64) | (tag as u64) << 8 | (record as u64) << 32
}

#[expect(clippy::cast_possible_truncation, reason = "masked to its width")]
const fn parts(word: u64) -> (State, u32, u32) {
    let state = match word & 3 {
        0 => State::Free,
        1 => State::Taking,
        2 => State::Held,
        _ => State::Giving,
    };
    (state, (word >> 32) as u32, (word >> 8 & (TAGS as u64 - 1)) as u32)
}

impl Cell {
    /// The next turn of a free cell, for a permit of the semaphore in `record`. `None`
    /// when there is no such cell.
    pub fn open<M: Memory>(cells: &impl Cells<M>, number: u16, record: u32) -> Option<Self> {
        debug_assert!(record < RECORDS, "a record's number: {record}");
        let (_, _, tag) = parts(cells.cell(number)?.load(Acquire));
        Some(Self { number, record, tag: (tag + 1) % TAGS })
    }

    /// The same cell in its next turn: to give what it holds.
    #[must_use]
    pub fn next(self) -> Self {
        Self { tag: (self.tag + 1) % TAGS, ..self }
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self.number
    }

    /// What a change writes into the semaphore's word.
    pub(super) fn mark(self) -> (u16, u32) {
        (self.number, self.tag)
    }

    pub(super) fn taking<M: Memory>(self, cells: &impl Cells<M>) {
        self.write(cells, State::Taking);
    }

    /// Says that the permit is held. The owner says so for a process that it waits for.
    pub fn held<M: Memory>(self, cells: &impl Cells<M>) {
        self.write(cells, State::Held);
    }

    pub(super) fn giving<M: Memory>(self, cells: &impl Cells<M>) {
        self.write(cells, State::Giving);
    }

    pub(super) fn free<M: Memory>(self, cells: &impl Cells<M>) {
        self.write(cells, State::Free);
    }

    fn write<M: Memory>(self, cells: &impl Cells<M>, state: State) {
        if let Some(cell) = cells.cell(self.number) {
            cell.store(word(state, self.record, self.tag), Release);
        }
    }

    /// Writes into another's cell that its turn `tag` took effect, unless it has gone on.
    pub(super) fn settle<M: Memory>(cells: &impl Cells<M>, number: u16, tag: u32) {
        let Some(cell) = cells.cell(number) else { return };
        let now = cell.load(Acquire);
        let (state, record, turn) = parts(now);
        let done = match state {
            State::Taking => State::Held,
            State::Giving => State::Free,
            State::Held | State::Free => return,
        };
        if turn == tag {
            // Failing means that the cell has gone on by itself.
            let _ = cell.exchange(now, word(done, record, turn), AcqRel, Acquire);
        }
    }
}

/// The semaphore's record that a cell is about; `None` when the cell is free.
pub fn subject<M: Memory>(cells: &impl Cells<M>, number: u16) -> Option<u32> {
    let (state, record, _) = parts(cells.cell(number)?.load(Acquire));
    (state != State::Free).then_some(record)
}

/// Frees a cell of a dead process, and says whether it held a permit, half-done changes
/// included: the count is then to be given back, by [`give_back`].
pub fn repair<M: Memory>(words: &SemaphoreWords<M>, cells: &impl Cells<M>, number: u16) -> bool {
    let Some(cell) = cells.cell(number) else { return false };
    let (before, record, tag) = parts(cell.load(Acquire));
    // The word first, then the cell once more: whoever replaced the mark in the word had
    // settled the cell before.
    let marked = words.look().last() == (number, tag);
    let (after, _, _) = parts(cell.load(Acquire));
    let held = match before {
        State::Free => false,
        State::Held => true,
        State::Taking => marked || after == State::Held,
        State::Giving => !(marked || after == State::Free),
    };
    cell.store(word(State::Free, record, tag), Release);
    held
}

/// Gives back one count of a dead process, without waking anybody: the repair wakes all
/// at its end. The count never rises above what the semaphore began with.
///
/// # Errors
///
/// When plain releases have filled the semaphore up meanwhile.
pub fn give_back<M: Memory>(
    words: &SemaphoreWords<M>,
    cells: &impl Cells<M>,
) -> Result<(), TooMany> {
    let mut give = Give::new(1, None);
    loop {
        match give.step(words, cells, Told::Go) {
            Effect::Done(result) => return result,
            // The first effect after the change: all that is left are wakes.
            Effect::Wake { .. } | Effect::Ring => return Ok(()),
            _ => {}
        }
    }
}
