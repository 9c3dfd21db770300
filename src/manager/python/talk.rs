//! What is said on a connection to a manager of a Python program.
//!
//! Owns a thread's connection: requests and their answers; and words that nobody waits for, which
//! are said without a wait, in their order, and whose answers are taken later. Python reads no
//! further when an answer finds nobody: so a connection ends when all is answered, whose thread
//! has ended, and this process waits for that at its end, for a while. It must never wait in the
//! thread that drops something. Neighbour: `line`, which thread has which connection.

use super::{PythonError, Result};
use crate::listener::Address;
use crate::pipe::{Connection, PipeError};
use procession_protocols::dynamic::Dynamic;
use procession_protocols::manager::python::{Answer, Request, read_fault};
use procession_runtime::farewell::Farewell;
use procession_runtime::sync::{after, lock};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// What a manager does by itself takes no longer, the connect with it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Who waits for another to take answers looks so often.
const NAP: Duration = Duration::from_millis(1);

/// Words that wait for room on a connection. One more is given up, and the connection with it.
const MOST_UNSAID: usize = 65_536;

/// Who waits for room on a connection takes the answers that have come so often.
const SLICE: Duration = Duration::from_millis(10);

/// Arguments by place, and by name.
pub(super) type Args = (Vec<Dynamic>, Vec<(Dynamic, Dynamic)>);

/// A thread's connection.
pub(super) struct Line {
    /// The manager's.
    address: Address,
    connection: Connection,
    /// So many answers come first that nobody waits for.
    owed: AtomicU32,
    /// What was to be said without a wait and found no room. While there is some, a thread of
    /// its own has the connection.
    unsaid: Mutex<VecDeque<Dynamic>>,
    said: Condvar,
    /// Held by who takes answers that nobody waits for.
    taking: Mutex<()>,
}

/// All connections of threads, with their processes: when one ends, all is to be answered.
static LINES: Mutex<Vec<(u32, Weak<Line>)>> = Mutex::new(Vec::new());

impl Line {
    pub(super) fn of(address: Address, connection: Connection) -> Self {
        let (owed, unsaid, said) = (AtomicU32::new(0), Mutex::default(), Condvar::new());
        Self { address, connection, owed, unsaid, said, taking: Mutex::default() }
    }

    /// From now on this process ends behind what is said here.
    pub(super) fn is_to_be_answered(self: &Arc<Self>) {
        let all = &mut *lock(&LINES);
        all.retain(|(_, line)| line.strong_count() > 0);
        all.push((std::process::id(), Arc::downgrade(self)));
    }

    /// One request, and its answer.
    pub(super) fn talk(
        &self,
        object: Option<&str>,
        method: &str,
        (args, named): Args,
        deadline: Option<Instant>,
    ) -> Result<Dynamic> {
        let request = Request::write(object, method, args, named);
        let answer = match left(deadline) {
            None => {
                self.connection.send(&request)?;
                self.connection.recv()?
            }
            Some(limit) => {
                self.connection.send_timeout(&request, limit)?;
                self.connection.recv_timeout(left(deadline).unwrap_or_default())?
            }
        };
        match Answer::read(answer).ok_or(PythonError::NoPython)? {
            Answer::Return(value) => Ok(value),
            Answer::Error(exception) => Err(match read_fault(&exception) {
                Some(fault) => fault.into(),
                None => PythonError::Raised(exception),
            }),
            Answer::Traceback(text) => Err(PythonError::Remote(text)),
            Answer::Unserializable(text) => {
                Err(PythonError::Remote(format!("Unserializable message: {text}")))
            }
            // Not one that is read: the class of Python's iterators is not in the table.
            Answer::Iterator(items) => Ok(Dynamic::List(items)),
            Answer::Proxy(_, token) => Ok(Dynamic::Token(token)),
        }
    }

    /// Says something without a wait, behind what was said before.
    pub(super) fn say(self: &Arc<Self>, request: Dynamic) -> Result<()> {
        let unsaid = &mut *lock(&self.unsaid);
        if unsaid.is_empty() {
            match self.connection.send_timeout(&request, Duration::ZERO) {
                Ok(()) => {
                    self.owed.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(PipeError::Timeout) => {}
                Err(error) => return Err(error.into()),
            }
            let this = self.clone();
            let thread = thread::Builder::new().name("procession-release".into());
            thread.spawn(move || this.say_the_rest()).map_err(PipeError::from)?;
        }
        if unsaid.len() >= MOST_UNSAID {
            return Err(PipeError::Timeout.into());
        }
        unsaid.push_back(request);
        Ok(())
    }

    /// On a thread of its own: says what found no room, and takes the answers that are there,
    /// since a manager that cannot answer does not read.
    fn say_the_rest(&self) {
        let mut deadline = after(PATIENCE);
        loop {
            let Some(next) = lock(&self.unsaid).front().cloned() else { return };
            while self.owed.load(Ordering::Relaxed) > 0 && self.connection.poll().unwrap_or(false) {
                if self.connection.recv_bytes().is_err() {
                    break;
                }
                self.owed.fetch_sub(1, Ordering::Relaxed);
            }
            let sent = self.connection.send_timeout(&next, SLICE);
            let unsaid = &mut *lock(&self.unsaid);
            match sent {
                Ok(()) => {
                    deadline = after(PATIENCE);
                    self.owed.fetch_add(1, Ordering::Relaxed);
                    unsaid.pop_front();
                }
                Err(PipeError::Timeout) if left(deadline).is_none_or(|left| !left.is_zero()) => {}
                // Nobody reads there.
                Err(_) => unsaid.clear(),
            }
            if unsaid.is_empty() {
                self.said.notify_all();
                return;
            }
        }
    }

    /// Waits until all is said, and takes the answers that nobody waits for out of the way.
    pub(super) fn settle(&self, deadline: Option<Instant>) -> Result<()> {
        let late = || Err(PipeError::Timeout.into());
        let unsaid = lock(&self.unsaid);
        let limit = left(deadline).unwrap_or(Duration::MAX);
        let waited = self.said.wait_timeout_while(unsaid, limit, |unsaid| !unsaid.is_empty());
        if !waited.unwrap_or_else(PoisonError::into_inner).0.is_empty() {
            return late();
        }
        while self.owed.load(Ordering::Relaxed) > 0 {
            // Mostly nobody but the line's thread asks or takes answers.
            let Ok(_turn) = self.taking.try_lock() else {
                if left(deadline).is_some_and(|left| left.is_zero()) {
                    return late();
                }
                thread::sleep(NAP);
                continue;
            };
            self.take_answers(deadline).inspect_err(|why| {
                // After its time an answer may still come.
                if !matches!(why, PythonError::Pipe(PipeError::Timeout)) {
                    self.owed.store(0, Ordering::Relaxed);
                }
            })?;
        }
        Ok(())
    }

    fn take_answers(&self, deadline: Option<Instant>) -> Result<()> {
        while self.owed.load(Ordering::Relaxed) > 0 {
            match left(deadline) {
                None => self.connection.recv_bytes()?,
                Some(limit) => self.connection.recv_bytes_timeout(limit)?,
            };
            self.owed.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Its thread has no use for it any more: it ends when all is answered.
    pub(super) fn part(self: Arc<Self>) {
        if self.owed.load(Ordering::Relaxed) == 0 && lock(&self.unsaid).is_empty() {
            return;
        }
        let thread = thread::Builder::new().name("procession-release".into());
        let farewell = Farewell::begin();
        let settle = move || {
            // A manager that is gone, or does not answer, is not waited for any longer.
            let _ = self.settle(after(PATIENCE));
            drop((self, farewell));
        };
        // Without one it ends now.
        let _ = thread.spawn(settle);
    }
}

/// Sees to it that this process ends behind the answers that are owed.
pub(super) fn prepare_to_leave() {
    static PREPARED: AtomicU32 = AtomicU32::new(0);
    let me = std::process::id();
    if PREPARED.swap(me, Ordering::Relaxed) != me {
        Farewell::before(|| our_lines().into_iter().for_each(Line::part));
    }
}

/// Waits until all is answered that threads of this process have said to a manager so far.
/// Where nobody answers it has no more to say to anybody.
pub(super) fn settle_all(address: &Address, deadline: Option<Instant>) {
    for line in our_lines().iter().filter(|line| line.address == *address) {
        let _ = line.settle(deadline);
    }
}

fn our_lines() -> Vec<Arc<Line>> {
    let me = std::process::id();
    lock(&LINES).iter().filter(|(of, _)| *of == me).filter_map(|(_, line)| line.upgrade()).collect()
}

pub(super) fn left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}
