//! Calls under way on one stream, and who reads the answers.
//!
//! Owns the numbers of the calls and the reader's role. Threads of a process call over one
//! stream; one of those that wait reads it, and hands out what is others'. Who has its
//! answer leaves, and the next one that waits reads. For calls that no thread waits for,
//! tasks, somebody *aside* reads while there is nobody else. It must never know what an
//! answer is, nor how anybody is woken: the caller does that with what it is given. Nor does
//! it drop what it was given to wake somebody, which may run code of users: that is handed
//! back. Neighbour: `slots`, where tasks' answers are put.
//!
//! As long as a call waits, somebody reads or has been told to look.

use super::slots::{self, Slots};
use std::collections::BTreeMap;

/// Most calls that tasks wait for at a time.
pub const MAX_TASKS: usize = slots::MOST;

/// Calls of tasks have numbers from this on; those of threads are below.
const TASKS: u64 = 1 << 41;

/// So many numbers there are for the calls on a stream.
pub const CALL_NUMBERS: u64 = TASKS + Slots::<()>::NUMBERS;

/// Calls under way. `H` wakes a thread, `T` a task; `A` is an answer.
#[derive(Debug, Clone)]
pub struct Calls<H, T, A> {
    first: u64,
    last: u64,
    threads: BTreeMap<u64, Seat<H, A>>,
    tasks: Slots<Task<T, A>>,
    /// How many tasks have no answer.
    waiting: usize,
    reader: Reader,
    is_over: bool,
}

#[derive(Debug, Clone)]
enum Task<T, A> {
    /// It is woken by this, once it has looked.
    Waits(Option<T>),
    Answered(A),
}

#[derive(Debug, Clone)]
struct Seat<H, A> {
    handle: H,
    answer: Option<A>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Nobody,
    /// The thread that waits for this call.
    Thread(u64),
    Aside,
}

/// The stream has ended: no call is taken any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over;

/// Why a task's call was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBegun {
    /// The stream has ended.
    Over,
    /// [`MAX_TASKS`] are under way.
    Full,
}

/// What a thread does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<A> {
    /// Leave with this answer.
    Leave(A),
    /// Read, until the answer has come; then say [`Calls::leave`].
    Read,
    /// Wait to be woken, and ask again.
    Wait,
    /// The stream has ended: there will be no answer.
    Over,
}

/// Who has to be told something.
#[derive(Debug, PartialEq, Eq)]
pub enum Told<H, T> {
    /// Nobody.
    Nobody,
    /// This thread is to look for its turn.
    Thread(H),
    /// This task is to look for its answer.
    Task(T),
    /// The reader aside is to look.
    Aside,
}

impl<H: Clone, T, A> Calls<H, T, A> {
    /// No calls; they get the [`CALL_NUMBERS`] from this number on.
    pub fn after(number: u64) -> Self {
        Self {
            first: number,
            last: number,
            threads: BTreeMap::new(),
            tasks: Slots::new(),
            waiting: 0,
            reader: Reader::Nobody,
            is_over: false,
        }
    }

    /// A call that a thread waits for: its number.
    ///
    /// # Errors
    /// [`Over`].
    pub fn begin(&mut self, handle: H) -> Result<u64, Over> {
        if self.is_over {
            return Err(Over);
        }
        let number = self.last;
        // They begin again after so many that whoever had the first has long left.
        self.last = self.first + (number + 1 - self.first) % TASKS;
        self.threads.insert(number, Seat { handle, answer: None });
        Ok(number)
    }

    /// A call that a task waits for: its number, and whether the reader aside is to look.
    ///
    /// # Errors
    /// [`NotBegun`].
    pub fn begin_task(&mut self) -> Result<(u64, bool), NotBegun> {
        if self.is_over {
            return Err(NotBegun::Over);
        }
        let number = self.tasks.insert(Task::Waits(None)).ok_or(NotBegun::Full)?;
        self.waiting += 1;
        Ok((self.first + TASKS + number, self.reader == Reader::Nobody))
    }

    /// Which of the tasks has this number, if it is one's.
    fn task(&self, number: u64) -> Option<u64> {
        number.checked_sub(self.first + TASKS)
    }

    /// How many tasks wait for an answer that has not come.
    pub fn tasks(&self) -> usize {
        self.waiting
    }

    /// What the thread does next that waits for this call.
    pub fn turn(&mut self, number: u64) -> Turn<A> {
        let Some(seat) = self.threads.get_mut(&number) else { return Turn::Over };
        if let Some(answer) = seat.answer.take() {
            self.threads.remove(&number);
            return Turn::Leave(answer);
        }
        if self.is_over {
            self.threads.remove(&number);
            return Turn::Over;
        }
        match self.reader {
            Reader::Nobody => {
                self.reader = Reader::Thread(number);
                Turn::Read
            }
            Reader::Thread(reader) if reader == number => Turn::Read,
            Reader::Thread(_) | Reader::Aside => Turn::Wait,
        }
    }

    /// What the task does next whose call this is: leave, or wait. `enter` is given the place
    /// of what wakes it.
    pub fn turn_of_task(&mut self, number: u64, enter: impl FnOnce(&mut Option<T>)) -> Turn<A> {
        let Some(number) = self.task(number) else { return Turn::Over };
        match self.tasks.get_mut(number) {
            Some(Task::Waits(_)) if self.is_over => Turn::Over,
            Some(Task::Waits(place)) => {
                enter(place);
                Turn::Wait
            }
            Some(Task::Answered(_)) | None => match self.tasks.remove(number) {
                Some(Task::Answered(answer)) => Turn::Leave(answer),
                _ => Turn::Over,
            },
        }
    }

    /// An answer has come: who is told.
    ///
    /// # Errors
    /// It is nobody's, whose call was given up; here it is.
    pub fn answered(&mut self, number: u64, answer: A) -> Result<Told<H, T>, A> {
        if let Some(number) = self.task(number) {
            let Some(task @ Task::Waits(_)) = self.tasks.get_mut(number) else {
                return Err(answer);
            };
            self.waiting -= 1;
            return Ok(match std::mem::replace(task, Task::Answered(answer)) {
                Task::Waits(Some(waker)) => Told::Task(waker),
                _ => Told::Nobody,
            });
        }
        match self.threads.get_mut(&number) {
            Some(seat) if seat.answer.is_none() => {
                seat.answer = Some(answer);
                Ok(Told::Thread(seat.handle.clone()))
            }
            _ => Err(answer),
        }
    }

    /// A thread waits no longer, with its answer or without: who reads next is told, and the
    /// answer if that had come and was not taken.
    pub fn leave(&mut self, number: u64) -> (Told<H, T>, Option<A>) {
        let seat = self.threads.remove(&number);
        if self.reader == Reader::Thread(number) {
            self.reader = Reader::Nobody;
        }
        (self.next_reader(), seat.and_then(|seat| seat.answer))
    }

    /// A task waits no longer: what would have woken it, and its answer if that had come.
    pub fn leave_task(&mut self, number: u64) -> (Option<T>, Option<A>) {
        match self.task(number).and_then(|number| self.tasks.remove(number)) {
            Some(Task::Waits(waker)) => {
                self.waiting -= 1;
                (waker, None)
            }
            Some(Task::Answered(answer)) => (None, Some(answer)),
            None => (None, None),
        }
    }

    /// Who reads aside asks whether to read, or to read on.
    ///
    /// # Errors
    /// No; and who is told instead.
    pub fn aside(&mut self) -> Result<(), Told<H, T>> {
        match self.reader {
            Reader::Thread(_) => Err(Told::Nobody),
            Reader::Nobody | Reader::Aside if self.waiting > 0 && !self.is_over => {
                self.reader = Reader::Aside;
                Ok(())
            }
            Reader::Nobody | Reader::Aside => {
                self.reader = Reader::Nobody;
                Err(self.next_reader())
            }
        }
    }

    /// Whoever reads aside may read on although no task waits, to see what else comes: no
    /// thread reads. One that comes to wait is read for, until [`aside`](Self::aside) is asked
    /// again.
    pub fn watch(&mut self) -> bool {
        let may = !self.is_over && !matches!(self.reader, Reader::Thread(_));
        if may {
            self.reader = Reader::Aside;
        }
        may
    }

    fn next_reader(&self) -> Told<H, T> {
        if self.reader != Reader::Nobody || self.is_over {
            return Told::Nobody;
        }
        match self.threads.values().find(|seat| seat.answer.is_none()) {
            Some(seat) => Told::Thread(seat.handle.clone()),
            None if self.waiting == 0 => Told::Nobody,
            None => Told::Aside,
        }
    }

    /// The stream has ended: these threads and these tasks are to look.
    pub fn end(&mut self) -> (Vec<H>, Vec<T>) {
        self.is_over = true;
        self.reader = Reader::Nobody;
        let threads = self.threads.values().map(|seat| seat.handle.clone()).collect();
        let wakers = self.tasks.values_mut().filter_map(|task| match task {
            Task::Waits(waker) => waker.take(),
            Task::Answered(_) => None,
        });
        (threads, wakers.collect())
    }

    /// Whether the stream has ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}
