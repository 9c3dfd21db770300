//! The calls under way on a road, and who reads their answers.
//!
//! Owns the reading. A thread that waits reads the stream itself, whoever's the answers are, so
//! that no other thread stands between a call and its answer; one at a time does. A thread of
//! the road's own, *aside*, reads while none does: at once for async calls, and otherwise when
//! none has for a while, since ends are to be noticed, and answers that nobody waits for are
//! to be taken, while nobody calls. It must never hold a lock while it writes or wakes.
//! Neighbours: `procession_protocols::manager` says who reads (`Calls`); `far_road` has the
//! stream, and the words that are said on it.

mod waits;

use super::far::{Sole, hear_answer};
use super::far_actor;
use super::far_road::Road;
use super::far_watch::{Monitors, Notice};
use super::proxy::Proxy;
use super::stored::Stored;
use crate::actor::ReplyPort;
use crate::down::DownSink;
use crate::sync::lock;
use procession_protocols::id::ActorId;
use procession_protocols::manager::{Calls, Reply, Told};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::task::Waker;
use std::thread::Thread;
use std::time::Duration;

/// Words that no caller waits for have numbers from this on.
const BESIDE: u64 = 1 << 63;

/// Threads that have not read for so long are not about to read again.
const LINGER: Duration = Duration::from_millis(5);

/// What a road has under way.
pub(super) struct Traffic {
    state: Mutex<State>,
    /// The thread aside waits here for its turn.
    aside: Condvar,
}

struct State {
    calls: Calls<Thread, Waker, Reply<Stored>>,
    beside: HashMap<u64, Beside>,
    last_beside: u64,
    monitors: Monitors,
    /// Changes with each answer that a thread gets.
    threads_had: u64,
    /// What it was when the thread aside looked last.
    seen: u64,
    /// The thread aside waits for a thread that reads for long.
    dozes: bool,
}

/// What is answered beside the calls.
pub(super) enum Beside {
    /// A message to an actor: its caller, if it is no cast, and the references in it, which the
    /// server must have until the actor's thread has read it.
    Actors(Option<ReplyPort>, Vec<Proxy>),
    /// The monitors of the actor with this number.
    Monitors(u64),
}

/// What is to be done about an answer while no lock is held.
enum Due {
    Told(Told<Thread, Waker>),
    Actor(Reply<Stored>, Option<ReplyPort>, Vec<Proxy>),
    Notice(Notice),
    /// Nobody waits for it: what it brought is dropped.
    Nobodys(Reply<Stored>),
}

impl Traffic {
    pub(super) fn new() -> Self {
        let state = State {
            // 0 is the number of what is asked without waiting.
            calls: Calls::after(1),
            beside: HashMap::new(),
            last_beside: BESIDE,
            monitors: Monitors::default(),
            threads_had: 0,
            seen: 0,
            dozes: false,
        };
        Self { state: Mutex::new(state), aside: Condvar::new() }
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.state).calls.is_over()
    }

    /// Enters what is answered beside the calls: its number. Given back when the road has
    /// ended.
    pub(super) fn enter(&self, beside: Beside) -> Result<u64, Beside> {
        lock(&self.state).enter(beside)
    }

    pub(super) fn forget(&self, number: u64) {
        let forgotten = lock(&self.state).beside.remove(&number);
        drop(forgotten);
    }

    /// Has `sink` told of an actor's end: the number of the question, if it is to be asked.
    pub(super) fn watch(
        &self,
        actor: ActorId,
        name: &str,
        sink: DownSink,
    ) -> Result<Option<u64>, DownSink> {
        let state = &mut *lock(&self.state);
        if state.calls.is_over() {
            return Err(sink);
        }
        if !state.monitors.add(actor, name, sink) {
            return Ok(None);
        }
        Ok(state.enter(Beside::Monitors(actor.number)).ok())
    }

    /// What says whether an actor has ended, and the number of the question, if it is to be
    /// asked; `None` when the road has ended.
    pub(super) fn look(
        &self,
        actor: ActorId,
        name: &str,
    ) -> Option<(Arc<AtomicBool>, Option<u64>)> {
        let state = &mut *lock(&self.state);
        if state.calls.is_over() {
            return None;
        }
        let (has_ended, is_asked) = state.monitors.look(actor, name);
        let asked = is_asked.then(|| state.enter(Beside::Monitors(actor.number)).ok());
        Some((has_ended, asked.flatten()))
    }

    /// Nobody answers any more: what was under way beside the calls, and whom to tell.
    pub(super) fn end(&self) -> (Vec<Beside>, Vec<Notice>) {
        let (threads, wakers, beside, notices) = {
            let state = &mut *lock(&self.state);
            let (threads, wakers) = state.calls.end();
            self.aside.notify_one();
            (threads, wakers, std::mem::take(&mut state.beside), state.monitors.end())
        };
        wakers.into_iter().for_each(Waker::wake);
        threads.iter().for_each(Thread::unpark);
        (beside.into_values().collect(), notices)
    }

    fn tell(&self, told: Told<Thread, Waker>) {
        match told {
            Told::Nobody => {}
            Told::Thread(thread) => thread.unpark(),
            Told::Task(waker) => waker.wake(),
            Told::Aside => self.aside.notify_one(),
        }
    }

    /// On the thread aside: waits until it is to read. False when the road has ended.
    fn turn_aside(&self) -> bool {
        let mut state = lock(&self.state);
        loop {
            match state.calls.aside() {
                Ok(()) => return true,
                Err(_) if state.calls.is_over() => return false,
                Err(told) => self.tell(told),
            }
            let is_quiet = state.threads_had == state.seen;
            if is_quiet && state.calls.watch() {
                return true;
            }
            state.seen = state.threads_had;
            state.dozes = is_quiet;
            state = if is_quiet {
                self.aside.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.aside.wait_timeout(state, LINGER);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

impl State {
    fn enter(&mut self, beside: Beside) -> Result<u64, Beside> {
        if self.calls.is_over() {
            return Err(beside);
        }
        self.last_beside += 1;
        self.beside.insert(self.last_beside, beside);
        Ok(self.last_beside)
    }

    fn answered(&mut self, number: u64, reply: Reply<Stored>) -> Due {
        if number < BESIDE {
            return match self.calls.answered(number, reply) {
                Ok(told) => {
                    self.threads_had += u64::from(matches!(told, Told::Thread(_)));
                    Due::Told(told)
                }
                Err(reply) => Due::Nobodys(reply),
            };
        }
        match self.beside.remove(&number) {
            Some(Beside::Actors(port, lent)) => {
                self.threads_had += u64::from(port.is_some());
                Due::Actor(reply, port, lent)
            }
            Some(Beside::Monitors(actor)) => match self.monitors.answered(actor, reply) {
                Some(notice) => Due::Notice(notice),
                None => Due::Told(Told::Nobody),
            },
            None => Due::Nobodys(reply),
        }
    }
}

impl Road {
    fn read(self: &Arc<Self>, message: &[u8]) -> io::Result<(u64, Reply<Stored>)> {
        hear_answer(self, message)
    }

    /// Reads this message, and all that have come together with it.
    fn take(self: &Arc<Self>, first: Vec<u8>) -> io::Result<()> {
        let mut answers = Vec::new();
        let mut next = Ok(Some(first));
        let end = loop {
            match next.and_then(|message| message.map(|message| self.read(&message)).transpose()) {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            next = self.stream.come();
        };
        self.hand_out(answers);
        end
    }

    /// Gives answers to those who wait for them. Whoever waits for several is woken once.
    fn hand_out(self: &Arc<Self>, answers: Vec<(u64, Reply<Stored>)>) {
        let due: Vec<_> = {
            let state = &mut *lock(&self.traffic.state);
            answers.into_iter().map(|(number, reply)| state.answered(number, reply)).collect()
        };
        let mut last: Option<Waker> = None;
        for due in due {
            match due {
                Due::Told(Told::Task(waker)) => {
                    if last.as_ref().is_none_or(|last| !last.will_wake(&waker)) {
                        waker.wake_by_ref();
                        last = Some(waker);
                    }
                }
                Due::Told(told) => self.traffic.tell(told),
                Due::Actor(reply, Some(port), _lent) => far_actor::answered(self, reply, port),
                Due::Notice(notice) => notice.give(),
                Due::Actor(reply, None, _) | Due::Nobodys(reply) => drop(reply),
            }
        }
    }
}

/// Reads aside until the road has ended, or nobody has it any more.
pub(super) fn attend(road: &Weak<Road>, traffic: &Traffic, stream: &dyn Sole) {
    /// Nobody waits for ever for a thread that has panicked.
    struct Ends<'a>(&'a Weak<Road>);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            if let Some(road) = self.0.upgrade() {
                road.end();
            }
        }
    }
    let _ends = Ends(road);
    while traffic.turn_aside() {
        let Ok(first) = stream.recv() else { return };
        let Some(road) = road.upgrade() else { return };
        if road.take(first).is_err() {
            return;
        }
    }
}
