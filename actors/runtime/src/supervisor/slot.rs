//! A supervised actor by its id: the reference that survives restarts.
//!
//! Owns the place that a supervisor fills with each incarnation, and the [`Remote`] that
//! looks there at each use. A call made while the actor is being restarted waits for the
//! next incarnation; one that was in flight at the death fails with it.

use crate::actor::remote::{RefWire, Remote, Sending, Watching};
use crate::actor::{CallError, MailboxOptions, ReplyPort};
use crate::codec::Encoded;
use crate::down::{DownSink, Tie};
use crate::node::{self, hidden};
use crate::peer::Peer;
use crate::sync::{after, lock};
use crate::wait;
use procession_protocols::id::{ActorId, NodeId};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A call to an actor that is being restarted waits so long for it, unless it has a
/// deadline of its own.
pub const RESTART_PATIENCE: Duration = Duration::from_secs(5);

/// Marks the numbers by which slots are introduced, apart from those of actors.
const SLOT_BIT: u64 = 1 << 63;

/// One place of a supervisor.
pub struct Slot {
    number: u64,
    id: String,
    state: watch::Sender<State>,
}

#[derive(Clone)]
enum State {
    /// No incarnation is ready; there may be one soon.
    Waiting,
    /// This one is.
    Running(Arc<Peer>),
    /// There will be none any more.
    Gone,
}

/// The slots of this process, for introductions.
static SLOTS: LazyLock<Mutex<HashMap<u64, Weak<Slot>>>> = LazyLock::new(Mutex::default);

pub(super) fn hold_for_fork() -> impl Sized {
    lock(&SLOTS)
}

pub(super) fn forget_inherited() {
    std::mem::forget(std::mem::take(&mut *lock(&SLOTS)));
}

impl Slot {
    /// A place for the child `id`.
    pub(crate) fn new(id: &str) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed) | SLOT_BIT;
        let slot =
            Arc::new(Self { number, id: id.to_owned(), state: watch::Sender::new(State::Waiting) });
        lock(&SLOTS).insert(number, Arc::downgrade(&slot));
        slot
    }

    /// The next incarnation is ready.
    pub(crate) fn fill(&self, peer: Arc<Peer>) {
        self.state.send_replace(State::Running(peer));
    }

    /// The incarnation has ended; another may follow.
    pub(crate) fn empty(&self) {
        self.state.send_replace(State::Waiting);
    }

    /// None will follow.
    pub(crate) fn abandon(&self) {
        self.state.send_replace(State::Gone);
    }

    /// The incarnation that runs; waits for one that lives.
    async fn running(&self) -> Result<Arc<Peer>, CallError> {
        let mut state = self.state.subscribe();
        loop {
            let now = state.borrow_and_update().clone();
            match now {
                State::Gone => return Err(CallError::Stopped),
                State::Running(peer) if peer.is_alive() => return Ok(peer),
                // A death that the supervisor has not heard of yet counts as a restart.
                State::Running(_) | State::Waiting => {}
            }
            if state.changed().await.is_err() {
                return Err(CallError::Stopped);
            }
        }
    }

    /// As [`running`](Self::running), until `patience` is over.
    async fn running_within(
        &self,
        patience: io::Result<impl Future<Output = ()>>,
    ) -> Result<Arc<Peer>, CallError> {
        let patience = patience.map_err(|error| CallError::Unreachable(error.to_string()))?;
        tokio::select! {
            peer = self.running() => peer,
            () = patience => Err(CallError::Timeout),
        }
    }

    fn running_until(&self, deadline: Option<Instant>) -> Result<Arc<Peer>, CallError> {
        if let State::Running(peer) = &*self.state.borrow()
            && peer.is_alive()
        {
            return Ok(peer.clone());
        }
        if hidden::is_current() {
            return Err(CallError::WouldDeadlock);
        }
        let patience = after(RESTART_PATIENCE);
        match [patience, deadline].into_iter().flatten().min() {
            Some(until) => wait::block_on_until(self.running(), until).ok_or(CallError::Timeout)?,
            None => wait::block_on(self.running()),
        }
    }

    fn latest(&self) -> Option<Arc<Peer>> {
        match &*self.state.borrow() {
            State::Running(peer) => Some(peer.clone()),
            _ => None,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&SLOTS).remove(&self.number);
    }
}

/// Whether this is the number of a slot; then what runs there, once something does.
pub(crate) fn by_number(number: u64) -> Option<impl Future<Output = Option<Arc<Peer>>> + Send> {
    if number & SLOT_BIT == 0 {
        return None;
    }
    let slot = lock(&SLOTS).get(&number).and_then(Weak::upgrade);
    Some(async move {
        let slot = slot?;
        tokio::time::timeout(RESTART_PATIENCE, slot.running()).await.ok()?.ok()
    })
}

/// What runs in the slot of this number, if it is one and something does.
pub(crate) fn latest(number: u64) -> Option<Arc<Peer>> {
    let slot = lock(&SLOTS).get(&number).and_then(Weak::upgrade);
    slot?.latest()
}

/// Whether a reference with this number survives restarts.
pub(crate) fn survives(number: u64) -> bool {
    number & SLOT_BIT != 0
}

/// The reference that survives restarts.
pub(crate) struct Logical {
    pub(crate) slot: Arc<Slot>,
    pub(crate) options: MailboxOptions,
}

impl Remote for Logical {
    fn id(&self) -> ActorId {
        let nobody = ActorId { node: NodeId(uuid::Uuid::nil()), number: 0 };
        self.slot.latest().map_or(nobody, |peer| peer.id())
    }

    fn name(&self) -> &str {
        &self.slot.id
    }

    fn send(
        &self,
        message: Encoded,
        reply: Option<ReplyPort>,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        self.slot.running_until(deadline)?.send(message, reply, deadline)
    }

    fn send_async(&self, message: Encoded, reply: Option<ReplyPort>) -> Sending<'_> {
        let patience = hidden::run(tokio::time::sleep(RESTART_PATIENCE));
        Box::pin(async move {
            self.slot.running_within(patience).await?.send_async(message, reply).await
        })
    }

    fn wait(&self, ready: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) {
        match self.slot.latest() {
            // When this is not the incarnation that the call went to, that one has died,
            // and its calls have failed or fail in a moment, which ends the wait too.
            Some(peer) => peer.wait(ready, deadline),
            None => match deadline {
                Some(deadline) => drop(wait::block_on_until(ready, deadline)),
                None => wait::block_on(ready),
            },
        }
    }

    fn watch(&self) -> Box<dyn Send> {
        match self.slot.latest() {
            Some(peer) => peer.watch(),
            None => Box::new(()),
        }
    }

    fn is_alive(&self) -> bool {
        !matches!(&*self.slot.state.borrow(), State::Gone)
    }

    fn stop(&self) {
        if let Some(peer) = self.slot.latest() {
            peer.stop();
        }
    }

    fn kill(&self) {
        if let Some(peer) = self.slot.latest() {
            peer.kill();
        }
    }

    fn monitor(&self, sink: DownSink, deadline: Option<Instant>) -> Result<Tie, CallError> {
        self.slot.running_until(deadline)?.monitor(sink, deadline)
    }

    fn monitor_async(&self, sink: DownSink) -> Watching<'_> {
        let patience = hidden::run(tokio::time::sleep(RESTART_PATIENCE));
        Box::pin(async move { self.slot.running_within(patience).await?.monitor(sink, None) })
    }

    fn to_wire(&self) -> Result<RefWire, CallError> {
        let node = node::current();
        Ok(RefWire {
            node: node.id,
            path: node.path.clone(),
            number: self.slot.number,
            name: self.slot.id.clone(),
            options: self.options,
            // Its supervisor keeps it.
            lifeline: None,
        })
    }
}
