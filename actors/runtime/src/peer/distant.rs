//! A reference to an actor that this process has no link to yet.
//!
//! Owns the introduction: made at the first use, with a deadline, by the thread that
//! needs it (the hidden thread only carries the messages). Everything else is the
//! [`Peer`]'s that it becomes.

use super::{Peer, Process};
use crate::actor::remote::{RefWire, Remote, Sending};
use crate::actor::{CallError, ReplyPort};
use crate::codec::{self, Encoded, Fd};
use crate::down::DownSink;
use crate::link::{Frame, Link};
use crate::node::{hidden, routes};
use crate::supervisor::slot;
use crate::sync::lock;
use crate::wait;
use procession_protocols::id::ActorId;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An introduction may take this long.
pub(crate) const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(5);

/// A reference that came from another process.
pub(crate) struct Distant {
    wire: RefWire,
    peer: Mutex<Option<Arc<Peer>>>,
    /// Held while an introduction is under way, so that there is one link only.
    introducing: tokio::sync::Mutex<()>,
}

impl Distant {
    pub(crate) fn new(wire: RefWire) -> Self {
        Self { wire, peer: Mutex::new(None), introducing: tokio::sync::Mutex::new(()) }
    }

    /// The way that there is already. A reference to a supervisor's place looks for the
    /// next incarnation when its last one has ended.
    fn met(&self) -> Option<Arc<Peer>> {
        let peer = lock(&self.peer).clone()?;
        let is_over = slot::survives(self.wire.number) && !peer.is_alive();
        (!is_over).then_some(peer)
    }

    /// The way, made now if there is none; within `deadline`, if that comes before an
    /// introduction has to be done.
    fn peer(&self, deadline: Option<Instant>) -> Result<Arc<Peer>, CallError> {
        if let Some(peer) = self.met() {
            return Ok(peer);
        }
        if hidden::is_current() {
            return Err(CallError::WouldDeadlock);
        }
        let latest = Instant::now() + INTRODUCTION_TIMEOUT;
        let until = deadline.map_or(latest, |deadline| deadline.min(latest));
        let late = |what| if until < latest { CallError::Timeout } else { lost(what) };
        let _one = wait::block_on_until(self.introducing.lock(), until)
            .ok_or_else(|| late("another introduction takes too long"))?;
        if let Some(peer) = self.met() {
            return Ok(peer);
        }
        let answer = routes::introduce(&self.wire).map_err(lost)?;
        let end = wait::block_on_until(answer, until)
            .ok_or_else(|| late("no introduction in time"))?
            .map_err(|_| lost("the introduction was lost"))?
            .map_err(lost)?;
        let link = Link::new(end);
        let greeting = link.recv(Some(until)).map_err(lost)?;
        let peer = meet(&self.wire, link, greeting.ok_or_else(|| late("no greeting in time"))?)?;
        *lock(&self.peer) = Some(peer.clone());
        Ok(peer)
    }

    fn latest(&self) -> Option<Arc<Peer>> {
        lock(&self.peer).clone()
    }
}

/// Takes the target's greeting: a pidfd of it.
fn meet(wire: &RefWire, link: Link, greeting: Frame) -> Result<Arc<Peer>, CallError> {
    let Fd(pidfd) = codec::decode(&greeting.payload, greeting.fds)?;
    Ok(Peer::new(
        ActorId { node: wire.node, number: wire.number },
        wire.name.clone(),
        wire.path.clone(),
        wire.options,
        Arc::new(link),
        Process::Other(pidfd),
        false,
    ))
}

fn lost(why: impl std::fmt::Display) -> CallError {
    CallError::Unreachable(why.to_string())
}

impl Remote for Distant {
    fn id(&self) -> ActorId {
        ActorId { node: self.wire.node, number: self.wire.number }
    }

    fn name(&self) -> &str {
        &self.wire.name
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
        // The greeting follows the answer at once, so the introduction itself is short;
        // it is made by this thread, as the blocking form does.
        Box::pin(async move { self.peer(None)?.send_async(message, reply).await })
    }

    fn wait(&self, ready: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) {
        if let Some(peer) = self.latest() {
            peer.wait(ready, deadline);
        }
    }

    fn watch(&self) -> Box<dyn Send> {
        match self.peer(None) {
            Ok(peer) => peer.watch(),
            Err(_) => Box::new(()),
        }
    }

    fn is_alive(&self) -> bool {
        self.peer(None).is_ok_and(|peer| peer.is_alive())
    }

    fn stop(&self) {
        match self.latest() {
            Some(peer) => peer.stop(),
            None => routes::end(&self.wire.path, self.id(), false),
        }
    }

    fn kill(&self) {
        match self.latest() {
            Some(peer) => peer.kill(),
            None => routes::end(&self.wire.path, self.id(), true),
        }
    }

    fn monitor(&self, sink: DownSink) -> Result<(), CallError> {
        self.peer(None)?.monitor(sink)
    }

    fn to_wire(&self) -> Result<RefWire, CallError> {
        Ok(self.wire.clone())
    }
}
