//! A reference to an actor that this process has no link to yet.
//!
//! Owns the introduction: made at the first use, on the hidden thread, within a time that has
//! an end. Who blocks waits for it in its own thread, with its own deadline; who does not
//! awaits it. Everything else is the [`Peer`]'s that it becomes.

use super::{Peer, Process};
use crate::actor::remote::{RefWire, Remote, Sending, Watching};
use crate::actor::{CallError, ReplyPort};
use crate::codec::{self, Encoded, Fd};
use crate::down::{DownSink, Tie};
use crate::link::{Frame, Link, LinkError};
use crate::node::{hidden, routes};
use crate::supervisor::slot;
use crate::sync::lock;
use crate::sys::watch::{Held, Watched};
use crate::wait;
use procession_protocols::id::ActorId;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::time::timeout;

/// An introduction may take this long.
pub(crate) const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(5);

const LATE: &str = "no introduction in time";

/// A reference that came from another process.
pub(crate) struct Distant(Arc<Meeting>);

/// What an introduction knows and finds.
struct Meeting {
    wire: RefWire,
    peer: Mutex<Option<Arc<Peer>>>,
    /// Held while an introduction is under way, so that there is one link only.
    introducing: tokio::sync::Mutex<()>,
    /// Whether the last introduction came to nothing.
    has_failed: AtomicBool,
}

impl Meeting {
    /// The way that there is already. A reference to a supervisor's place looks for the
    /// next incarnation when its last one has ended.
    fn met(&self) -> Option<Arc<Peer>> {
        let peer = lock(&self.peer).clone()?;
        let is_over = slot::survives(self.wire.number) && !peer.is_alive();
        (!is_over).then_some(peer)
    }

    /// The way, made now if there is none.
    async fn made(&self) -> Result<Arc<Peer>, CallError> {
        let made = timeout(INTRODUCTION_TIMEOUT, self.introduce()).await;
        let made = made.unwrap_or_else(|_| Err(lost(LATE)));
        self.has_failed.store(made.is_err(), Ordering::Release);
        made
    }

    async fn introduce(&self) -> Result<Arc<Peer>, CallError> {
        let _one = self.introducing.lock().await;
        if let Some(peer) = self.met() {
            return Ok(peer);
        }
        let answer = routes::introduce(&self.wire).map_err(lost)?;
        let end = answer.await.map_err(|_| lost("the introduction was lost"))?.map_err(lost)?;
        let link = Arc::new(Link::new(end));
        let greeting = greeting(&link).await.map_err(lost)?;
        let peer = meet(&self.wire, link, greeting)?;
        *lock(&self.peer) = Some(peer.clone());
        Ok(peer)
    }
}

/// Waits for the target's greeting.
async fn greeting(link: &Arc<Link>) -> Result<Frame, LinkError> {
    let watched = Watched::new(Ok(Held::new(link, Link::as_fd)), Interest::READABLE);
    loop {
        if let Some(greeting) = link.try_recv()? {
            return Ok(greeting);
        }
        watched.readable().await;
    }
}

impl Distant {
    pub(crate) fn new(wire: RefWire) -> Self {
        Self(Arc::new(Meeting {
            wire,
            peer: Mutex::new(None),
            introducing: tokio::sync::Mutex::new(()),
            has_failed: AtomicBool::new(false),
        }))
    }

    /// An introduction on the hidden thread; dropping it gives it up.
    fn meeting(
        &self,
    ) -> Result<impl Future<Output = Result<Arc<Peer>, CallError>> + Send + use<>, CallError> {
        let meeting = self.0.clone();
        hidden::run(async move { meeting.made().await }).map_err(lost)
    }

    /// The way, made now if there is none; within `deadline`, if that comes before an
    /// introduction has to be done.
    fn peer(&self, deadline: Option<Instant>) -> Result<Arc<Peer>, CallError> {
        if let Some(peer) = self.0.met() {
            return Ok(peer);
        }
        if hidden::is_current() {
            return Err(CallError::WouldDeadlock);
        }
        let latest = Instant::now() + INTRODUCTION_TIMEOUT;
        let until = deadline.map_or(latest, |deadline| deadline.min(latest));
        match wait::block_on_until(self.meeting()?, until) {
            Some(made) => made,
            None if until < latest => Err(CallError::Timeout),
            None => Err(lost(LATE)),
        }
    }

    async fn peer_async(&self) -> Result<Arc<Peer>, CallError> {
        match self.0.met() {
            Some(peer) => Ok(peer),
            None => self.meeting()?.await,
        }
    }

    fn latest(&self) -> Option<Arc<Peer>> {
        lock(&self.0.peer).clone()
    }
}

/// Takes the target's greeting: a pidfd of it.
fn meet(wire: &RefWire, link: Arc<Link>, greeting: Frame) -> Result<Arc<Peer>, CallError> {
    let Fd(pidfd) = codec::decode(&greeting.payload, greeting.fds)?;
    Ok(Peer::new(
        ActorId { node: wire.node, number: wire.number },
        wire.name.clone(),
        wire.path.clone(),
        wire.options,
        link,
        Process::Other(pidfd),
        false,
    ))
}

fn lost(why: impl std::fmt::Display) -> CallError {
    CallError::Unreachable(why.to_string())
}

impl Remote for Distant {
    fn id(&self) -> ActorId {
        ActorId { node: self.0.wire.node, number: self.0.wire.number }
    }

    fn name(&self) -> &str {
        &self.0.wire.name
    }

    fn send(
        &self,
        message: Encoded,
        reply: Option<ReplyPort>,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        self.peer(deadline)?.send(message, reply, deadline)
    }

    fn send_async(&self, message: Encoded, reply: Option<ReplyPort>) -> Sending<'_> {
        Box::pin(async move { self.peer_async().await?.send_async(message, reply).await })
    }

    fn wait(&self, ready: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) {
        if let Some(peer) = self.latest() {
            peer.wait(ready, deadline);
        }
    }

    fn watch(&self) -> Box<dyn Send> {
        // Who has not been met owes no replies yet, and an async call watches for its own.
        match self.latest() {
            Some(peer) => peer.watch(),
            None => Box::new(()),
        }
    }

    fn is_alive(&self) -> bool {
        if let Some(peer) = self.0.met() {
            return peer.is_alive();
        }
        // The next question has what comes of it.
        if self.0.introducing.try_lock().is_ok()
            && let Ok(handle) = hidden::handle()
        {
            let meeting = self.0.clone();
            handle.spawn(async move { meeting.made().await.map(drop) });
        }
        !self.0.has_failed.load(Ordering::Acquire)
    }

    fn stop(&self) {
        match self.latest() {
            Some(peer) => peer.stop(),
            None => routes::end(&self.0.wire.path, self.id(), false),
        }
    }

    fn kill(&self) {
        match self.latest() {
            Some(peer) => peer.kill(),
            None => routes::end(&self.0.wire.path, self.id(), true),
        }
    }

    fn monitor(&self, sink: DownSink, deadline: Option<Instant>) -> Result<Tie, CallError> {
        self.peer(deadline)?.monitor(sink, deadline)
    }

    fn monitor_async(&self, sink: DownSink) -> Watching<'_> {
        Box::pin(async move { self.peer_async().await?.monitor(sink, None) })
    }

    fn to_wire(&self) -> Result<RefWire, CallError> {
        Ok(self.0.wire.clone())
    }
}
