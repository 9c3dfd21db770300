//! An actor's mailbox.
//!
//! Owns what waits for the actor: messages, notices of ends, and the wish that it end;
//! and who waits for the actor's own end. It never runs a handler and never decodes:
//! `host` above does. Below it is nothing but a queue behind a mutex; no user code runs
//! while that is held.
//!
//! ```text
//! Open --stop: Shutdown, kill: Signal(9), last reference gone and queue empty: Normal-->
//!   poll_next gives End --close(): what is unread comes out--> Closing
//!   --publish(down): monitors are told--> Ended
//! ```
//!
//! Room is a semaphore with a permit for each free place, since it is fair, cancel safe
//! and serves blocking and async senders alike. So messages of one sender stay in order.

use super::error::{CallError, SendError};
use super::message::Message;
use super::remote::{Inlet, Undelivered};
use super::reply::ReplyPort;
use super::{Overflow, current};
use crate::codec::Encoded;
use crate::down::{Down, DownSink, Sinks};
use crate::wait;
use procession_protocols::exit::ExitReason;
use procession_protocols::id::ActorId;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::sync::{Semaphore, TryAcquireError};

/// An actor's mailbox.
pub struct Mailbox<M> {
    id: ActorId,
    name: String,
    overflow: Overflow,
    room: Semaphore,
    state: Mutex<State<M>>,
    /// What the host reads beside this; opened while the mailbox is.
    inlet: OnceLock<Arc<dyn Inlet>>,
}

/// A message in a mailbox.
pub enum Entry<M> {
    /// From this process.
    Here(M),
    /// From another one, to be decoded by the actor.
    Wire(Encoded, Option<ReplyPort>),
}

/// What the actor does next.
pub enum Turn<M> {
    /// Handle a message.
    Message(Entry<M>),
    /// Hear of another actor's end.
    Down(Down),
    /// End.
    End(ExitReason),
}

impl<M: Message> Entry<M> {
    /// Whether somebody waits for the answer.
    pub fn expects_reply(&self) -> bool {
        match self {
            Self::Here(message) => message.expects_reply(),
            Self::Wire(_, reply) => reply.is_some(),
        }
    }
}

struct State<M> {
    queue: VecDeque<Entry<M>>,
    downs: VecDeque<Down>,
    asked: Asked,
    phase: Phase,
    monitors: Sinks,
    /// The host's, while it waits for its next turn.
    waker: Option<Waker>,
}

/// How the actor has been asked to end. A later one outdoes an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    No,
    /// Its last reference has gone: end when all is handled.
    Released,
    Stop,
    Kill,
}

enum Phase {
    Open,
    Closing(ExitReason),
    Ended(Box<Down>),
}

impl<M: Message> Mailbox<M> {
    /// An open mailbox with this many places.
    pub fn new(id: ActorId, name: String, capacity: usize, overflow: Overflow) -> Self {
        let state = State {
            queue: VecDeque::new(),
            downs: VecDeque::new(),
            asked: Asked::No,
            phase: Phase::Open,
            monitors: Sinks::default(),
            waker: None,
        };
        Self {
            id,
            name,
            overflow,
            // More places than a semaphore can count are no bound, and meant so.
            room: Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)),
            state: Mutex::new(state),
            inlet: OnceLock::new(),
        }
    }

    /// The actor's address.
    pub fn id(&self) -> ActorId {
        self.id
    }

    /// The actor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a message in, or does what the policy says when there is no room; waits at
    /// most until `deadline`.
    pub(super) fn send(&self, message: M, deadline: Option<Instant>) -> Result<(), SendError<M>> {
        let why = match self.try_room(&message) {
            Room::Free => return self.admit(message),
            Room::Dropped => return Ok(()),
            Room::None(why) => why,
            Room::Wait(limit) => {
                let own = wait::deadline(limit);
                let until = [own, deadline].into_iter().flatten().min();
                let place = match until {
                    Some(until) => wait::block_on_until(self.take_room(), until),
                    None => Some(wait::block_on(self.take_room())),
                };
                match place {
                    Some(true) => return self.admit(message),
                    Some(false) => self.refusal(),
                    None if until == own => CallError::Full,
                    None => CallError::Timeout,
                }
            }
        };
        Err(SendError::new(message, why))
    }

    /// As `send`, but waits without blocking, for as long as the caller likes.
    pub(super) async fn send_async(&self, message: M) -> Result<(), SendError<M>> {
        match self.try_room(&message) {
            Room::Free => self.admit(message),
            Room::Dropped => Ok(()),
            Room::None(why) => Err(SendError::new(message, why)),
            Room::Wait(_) if self.take_room().await => self.admit(message),
            Room::Wait(_) => Err(SendError::new(message, self.refusal())),
        }
    }

    /// Puts a message from another process in if there is room, whatever the policy.
    pub(super) fn deliver(
        &self,
        message: Encoded,
        reply: Option<ReplyPort>,
    ) -> Result<(), Box<Undelivered>> {
        let entry = Entry::Wire(message, reply);
        let (entry, why) = match self.room.try_acquire() {
            Ok(place) => {
                place.forget();
                match self.push(entry) {
                    Ok(()) => return Ok(()),
                    Err(entry) => (entry, self.refusal()),
                }
            }
            Err(TryAcquireError::NoPermits) => (entry, CallError::Full),
            Err(TryAcquireError::Closed) => (entry, self.refusal()),
        };
        match entry {
            Entry::Wire(message, reply) => Err(Box::new(Undelivered { message, reply, why })),
            Entry::Here(_) => Ok(()),
        }
    }

    /// The inlet, which is made if there is none; `None` when the mailbox has closed.
    pub(super) fn open_inlet(
        &self,
        make: fn() -> io::Result<Arc<dyn Inlet>>,
    ) -> io::Result<Option<Arc<dyn Inlet>>> {
        let state = self.lock();
        if !matches!(state.phase, Phase::Open) {
            return Ok(None);
        }
        if let Some(inlet) = self.inlet.get() {
            return Ok(Some(inlet.clone()));
        }
        let new = make()?;
        let inlet = self.inlet.get_or_init(|| new).clone();
        Self::wake(state);
        Ok(Some(inlet))
    }

    /// Lets the actor hear of another's end. There are no more of these than the actor
    /// has set monitors, so they need no bound of their own.
    pub(super) fn notify(&self, down: Down) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open) {
            state.downs.push_back(down);
            Self::wake(state);
        }
    }

    pub(super) fn release(&self) {
        self.ask(Asked::Released);
    }

    pub(super) fn stop(&self) {
        self.ask(Asked::Stop);
    }

    pub(super) fn kill(&self) {
        self.ask(Asked::Kill);
    }

    pub(super) fn is_alive(&self) -> bool {
        let state = self.lock();
        state.asked < Asked::Kill && matches!(state.phase, Phase::Open)
    }

    pub(super) fn monitor(&self, sink: DownSink) {
        let mut state = self.lock();
        if let Phase::Ended(down) = &state.phase {
            let down = Down::clone(down);
            drop(state);
            sink.tell(down);
        } else {
            state.monitors.add(sink);
        }
    }

    /// What the actor does next. Keeps the waker of its host when that is nothing: it
    /// may unpark a thread, or write to an eventfd on which a host polls with its links.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Turn<M>> {
        let mut state = self.lock();
        if state.asked == Asked::Kill {
            return Poll::Ready(Turn::End(KILLED));
        }
        if state.asked == Asked::Stop {
            return Poll::Ready(Turn::End(ExitReason::Shutdown));
        }
        if let Some(down) = state.downs.pop_front() {
            return Poll::Ready(Turn::Down(down));
        }
        if let Some(entry) = state.queue.pop_front() {
            drop(state);
            self.room.add_permits(1);
            return Poll::Ready(Turn::Message(entry));
        }
        if state.asked == Asked::Released {
            return Poll::Ready(Turn::End(ExitReason::Normal));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// What the host reads beside the mailbox.
    pub(super) fn inlet(&self) -> Option<&Arc<dyn Inlet>> {
        self.inlet.get()
    }

    /// Refuses all further messages, and gives back those that nobody read.
    pub(super) fn close(&self, reason: ExitReason) -> VecDeque<Entry<M>> {
        let mut state = self.lock();
        state.phase = Phase::Closing(reason);
        state.waker = None;
        let unread = std::mem::take(&mut state.queue);
        drop(state);
        self.room.close();
        unread
    }

    /// Tells the monitors, those of now and those to come.
    pub(super) fn publish(&self, down: &Down) {
        let mut state = self.lock();
        state.phase = Phase::Ended(Box::new(down.clone()));
        let monitors = std::mem::take(&mut state.monitors);
        drop(state);
        monitors.tell(down);
    }

    fn try_room(&self, message: &M) -> Room {
        match self.room.try_acquire() {
            Ok(place) => {
                place.forget();
                Room::Free
            }
            Err(TryAcquireError::Closed) => Room::None(self.refusal()),
            Err(TryAcquireError::NoPermits) => match self.overflow {
                Overflow::Block(_) if !self.is_open() => Room::None(self.refusal()),
                // What would make room is this thread.
                Overflow::Block(_) if current::is(self.id) => Room::None(CallError::WouldDeadlock),
                Overflow::Block(limit) => Room::Wait(limit),
                Overflow::DropNew if !message.expects_reply() => {
                    let variant = message.variant_name();
                    tracing::debug!(actor = %self.name, variant, "mailbox full, message dropped");
                    Room::Dropped
                }
                Overflow::DropNew | Overflow::Fail => Room::None(CallError::Full),
            },
        }
    }

    /// Waits for a place; false when the mailbox has closed.
    async fn take_room(&self) -> bool {
        self.room.acquire().await.map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    fn admit(&self, message: M) -> Result<(), SendError<M>> {
        match self.push(Entry::Here(message)) {
            Err(Entry::Here(message)) => Err(SendError::new(message, self.refusal())),
            _ => Ok(()),
        }
    }

    /// Puts an entry into a place that has been taken for it, unless the mailbox closed.
    fn push(&self, entry: Entry<M>) -> Result<(), Entry<M>> {
        let mut state = self.lock();
        if !state.is_open() {
            return Err(entry);
        }
        state.queue.push_back(entry);
        Self::wake(state);
        Ok(())
    }

    fn ask(&self, asked: Asked) {
        let mut state = self.lock();
        if asked <= state.asked || !matches!(state.phase, Phase::Open) {
            return;
        }
        state.asked = asked;
        Self::wake(state);
        if asked >= Asked::Stop {
            // Senders that wait for room are refused now, not when the handler returns.
            self.room.close();
        }
    }

    fn wake(mut state: MutexGuard<'_, State<M>>) {
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_open(&self) -> bool {
        self.lock().is_open()
    }

    /// Why a message is refused.
    fn refusal(&self) -> CallError {
        let state = self.lock();
        let reason = match &state.phase {
            Phase::Open if state.asked == Asked::Kill => &KILLED,
            Phase::Open => return CallError::Stopped,
            Phase::Closing(reason) => reason,
            Phase::Ended(down) => &down.reason,
        };
        if reason.is_clean() {
            CallError::Stopped
        } else {
            CallError::ActorDied { name: self.name.clone(), reason: reason.clone() }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        // No code that panics runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a killed actor's end is called: as a killed process's is.
const KILLED: ExitReason = ExitReason::Signal(9);

enum Room {
    Free,
    Dropped,
    None(CallError),
    Wait(std::time::Duration),
}

impl<M> State<M> {
    fn is_open(&self) -> bool {
        self.asked < Asked::Stop && matches!(self.phase, Phase::Open)
    }
}
