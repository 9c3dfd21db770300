//! Calls under way on one stream, and who reads the answers.
//!
//! Owns the numbers of the calls and the reader's role. Threads of a process call over one
//! stream; one of those that wait reads it, and hands out what is others'. Who has its
//! answer leaves, and the next one that waits reads. For calls that no thread waits for,
//! tasks, somebody *aside* reads while there is nobody else. It must never know what an
//! answer is, nor how anybody is woken: the caller does that with what it is given.
//!
//! As long as a call waits, somebody reads or has been told to look.

use std::collections::BTreeMap;

/// Calls under way. `H` wakes a thread, `T` is where a task's answer goes, `A` an answer.
#[derive(Debug, Clone)]
pub struct Calls<H, T, A> {
    last: u64,
    threads: BTreeMap<u64, Seat<H, A>>,
    tasks: BTreeMap<u64, T>,
    reader: Reader,
    is_over: bool,
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
pub enum Told<H, T, A> {
    /// Nobody.
    Nobody,
    /// This thread is to look for its turn.
    Thread(H),
    /// This task gets its answer.
    Task(T, A),
    /// The reader aside is to look.
    Aside,
}

impl<H: Clone, T, A> Calls<H, T, A> {
    /// No calls; the first one gets the number after this.
    pub fn after(number: u64) -> Self {
        Self {
            last: number,
            threads: BTreeMap::new(),
            tasks: BTreeMap::new(),
            reader: Reader::Nobody,
            is_over: false,
        }
    }

    fn number(&mut self) -> Result<u64, Over> {
        if self.is_over {
            return Err(Over);
        }
        self.last += 1;
        Ok(self.last)
    }

    /// A call that a thread waits for: its number.
    ///
    /// # Errors
    /// [`Over`].
    pub fn begin(&mut self, handle: H) -> Result<u64, Over> {
        let number = self.number()?;
        self.threads.insert(number, Seat { handle, answer: None });
        Ok(number)
    }

    /// A call that a task waits for: its number, and whether the reader aside is to look.
    ///
    /// # Errors
    /// [`Over`].
    pub fn begin_task(&mut self, task: T) -> Result<(u64, bool), Over> {
        let number = self.number()?;
        self.tasks.insert(number, task);
        Ok((number, self.reader == Reader::Nobody))
    }

    /// How many tasks wait.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
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

    /// An answer has come: who is told. It is nobody's when its call was given up.
    pub fn answered(&mut self, number: u64, answer: A) -> Told<H, T, A> {
        if let Some(task) = self.tasks.remove(&number) {
            return Told::Task(task, answer);
        }
        match self.threads.get_mut(&number) {
            Some(seat) => {
                seat.answer = Some(answer);
                Told::Thread(seat.handle.clone())
            }
            None => Told::Nobody,
        }
    }

    /// A thread waits no longer, with its answer or without: who reads next is told.
    pub fn leave(&mut self, number: u64) -> Told<H, T, A> {
        self.threads.remove(&number);
        if self.reader == Reader::Thread(number) {
            self.reader = Reader::Nobody;
        }
        self.next_reader()
    }

    /// A task waits no longer. False when its answer has been given out.
    pub fn leave_task(&mut self, number: u64) -> bool {
        self.tasks.remove(&number).is_some()
    }

    /// Who reads aside asks whether to read, or to read on.
    ///
    /// # Errors
    /// No; and who is told instead.
    pub fn aside(&mut self) -> Result<(), Told<H, T, A>> {
        match self.reader {
            Reader::Thread(_) => Err(Told::Nobody),
            Reader::Nobody | Reader::Aside if !self.tasks.is_empty() && !self.is_over => {
                self.reader = Reader::Aside;
                Ok(())
            }
            Reader::Nobody | Reader::Aside => {
                self.reader = Reader::Nobody;
                Err(self.next_reader())
            }
        }
    }

    fn next_reader(&self) -> Told<H, T, A> {
        if self.reader != Reader::Nobody || self.is_over {
            return Told::Nobody;
        }
        match self.threads.values().find(|seat| seat.answer.is_none()) {
            Some(seat) => Told::Thread(seat.handle.clone()),
            None if self.tasks.is_empty() => Told::Nobody,
            None => Told::Aside,
        }
    }

    /// The stream has ended: these threads are to look, and these tasks get nothing.
    pub fn end(&mut self) -> (Vec<H>, Vec<T>) {
        self.is_over = true;
        self.reader = Reader::Nobody;
        let threads = self.threads.values().map(|seat| seat.handle.clone()).collect();
        (threads, std::mem::take(&mut self.tasks).into_values().collect())
    }

    /// Whether the stream has ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}
