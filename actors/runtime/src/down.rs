//! The one notice of an actor's end, and who waits for it.
//!
//! Owns `Down` and `Monitor`. It must never find out an end by itself: hosts and the
//! reaper do, and put the notice into the sinks that were registered with them.

use crate::sys::process::Usage;
use crate::wait;
use procession_protocols::exit::{ExitReason, RawStatus};
use procession_protocols::id::ActorId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;

/// An incarnation of an actor has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Down {
    /// Who ended.
    pub actor: ActorId,
    /// The process that ended; `None` when only an actor in it did.
    pub pid: Option<u32>,
    /// The actor's name.
    pub name: String,
    /// Why.
    pub reason: ExitReason,
    /// The raw end of the process; `Unknown` when only an actor in it ended.
    pub status: RawStatus,
    /// What the process used in its life, where the kernel said so.
    pub usage: Option<Usage>,
}

/// Takes the one [`Down`] of an actor.
pub trait Sink: Send {
    /// Takes it. Runs on the thread that saw the end, so it must not block.
    fn tell(self: Box<Self>, down: Down);

    /// Whether somebody still wants to know.
    fn is_wanted(&self) -> bool {
        true
    }
}

impl<F: FnOnce(Down) + Send> Sink for F {
    fn tell(self: Box<Self>, down: Down) {
        self(down);
    }
}

/// A boxed [`Sink`].
pub type DownSink = Box<dyn Sink>;

/// All who want to know of one actor's end.
#[derive(Default)]
pub(crate) struct Sinks {
    all: Vec<DownSink>,
    /// At so many it is looked who still wants to know.
    look_at: usize,
}

impl Sinks {
    /// An actor may live for long, and have been watched for a while by many.
    const FIRST_LOOK: usize = 16;

    pub(crate) fn add(&mut self, sink: DownSink) {
        self.all.push(sink);
        if self.all.len() >= self.look_at.max(Self::FIRST_LOOK) {
            self.all.retain(|sink| sink.is_wanted());
            self.look_at = self.all.len() * 2;
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn tell(self, down: &Down) {
        for sink in self.all {
            sink.tell(down.clone());
        }
    }
}

/// Tells a monitor.
struct Told(oneshot::Sender<Down>);

impl Sink for Told {
    fn tell(self: Box<Self>, down: Down) {
        // Nobody may be waiting any more.
        let _ = self.0.send(down);
    }

    fn is_wanted(&self) -> bool {
        !self.0.is_closed()
    }
}

/// What has to be kept for the [`Down`] of an actor in another process to come.
#[derive(Default)]
pub struct Tie(Option<Box<dyn Send + Sync>>);

impl Tie {
    pub(crate) fn new(kept: impl Send + Sync + 'static) -> Self {
        Self(Some(Box::new(kept)))
    }
}

impl fmt::Debug for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tie").field("is_some", &self.0.is_some()).finish()
    }
}

/// Waits for an actor's end: exactly one [`Down`], also when the actor had ended before
/// the monitor was set. Awaiting it gives the [`Down`] too.
///
/// # Cancel safety
/// Awaiting `&mut monitor` may be dropped and taken up again; nothing is lost.
#[derive(Debug)]
#[must_use = "a monitor that is dropped tells nobody"]
pub struct Monitor {
    actor: ActorId,
    name: String,
    receiver: oneshot::Receiver<Down>,
    tie: Tie,
}

impl Monitor {
    /// A monitor of this actor, and the sink that its host fills.
    pub fn new(actor: ActorId, name: String) -> (Self, DownSink) {
        let (sender, receiver) = oneshot::channel();
        (Self { actor, name, receiver, tie: Tie::default() }, Box::new(Told(sender)))
    }

    /// The same, with what it has to keep.
    pub(crate) fn keeping(self, tie: Tie) -> Self {
        Self { tie, ..self }
    }

    /// Waits for the end.
    pub fn recv(self) -> Down {
        wait::block_on(self)
    }

    /// Waits for the end, at most for `timeout`; `None` when the actor lives, or when
    /// this monitor has given its [`Down`] before.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Down> {
        if self.receiver.is_terminated() {
            return None;
        }
        match wait::deadline(timeout) {
            Some(deadline) => wait::block_on_until(self, deadline),
            None => Some(wait::block_on(self)),
        }
    }

    /// Waits for the end without blocking the thread.
    ///
    /// # Cancel safety
    /// Dropping the future drops the monitor; await `&mut monitor` to keep it.
    pub async fn recv_async(self) -> Down {
        self.await
    }
}

impl Future for Monitor {
    type Output = Down;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Down> {
        let received = ready!(Pin::new(&mut self.receiver).poll(context));
        self.tie = Tie::default();
        // A sink is dropped unfilled only when whoever watched the actor is gone, so
        // how the actor ended cannot be known any more.
        Poll::Ready(received.unwrap_or_else(|_| Down {
            actor: self.actor,
            pid: None,
            name: self.name.clone(),
            reason: ExitReason::Unknown,
            status: RawStatus::Unknown,
            usage: None,
        }))
    }
}
