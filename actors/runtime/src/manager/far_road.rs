//! A server outside the process tree, as its client has it.
//!
//! Owns the *road*: what is said on it, its end, and the references to objects at its other
//! end. It must never hold a lock while it writes. Neighbours: `far` has the messages,
//! `far_traffic` the calls and who waits for their answers, `far_session` is the other end.

use super::Ask;
use super::far::{End, Hello, Sole, ToServer, VERSION, Values, decode, encode};
use super::far_actor::Packed;
use super::far_out::{Ended, Outbox};
use super::far_traffic::{Beside, Traffic, attend};
use super::far_watch::lost;
use super::proxy::{ManagerError, Proxy};
use crate::actor::{CallError, ReplyPort};
use crate::codec;
use crate::down::DownSink;
use crate::farewell::Farewell;
use crate::listener::PATIENCE;
use crate::share::ShareError;
use crate::share::era::{self, generation};
use crate::sync::{after, lock};
use nix::sys::signal::SigSet;
use procession_protocols::exit::ExitReason;
use procession_protocols::id::{ActorId, NodeId};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

/// A reference to an object of a server outside the tree.
pub(super) struct Far {
    pub(super) object: u64,
    pub(super) road: Arc<Road>,
}

impl Far {
    pub(super) fn object(&self) -> u64 {
        self.object
    }

    pub(super) fn road(&self) -> &Arc<Road> {
        &self.road
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.road.say(&ToServer::Release { object: self.object });
    }
}

/// The way from this process to such a server.
pub(super) struct Road {
    this: Weak<Road>,
    pub(super) stream: Arc<dyn Sole>,
    pub(super) out: Arc<Outbox>,
    server: NodeId,
    name: String,
    values: Values,
    pub(super) traffic: Arc<Traffic>,
    /// When it was made: a copy of this process is another client's, and says nothing on it.
    generation: u32,
}

/// Meets the server at the other end of a stream, to which values go as said: its door.
///
/// # Errors
/// [`ManagerError::Values`] when it writes values in another way; what is there is no server
/// of this version.
pub fn meet(stream: Arc<dyn Sole>, values: Values) -> Result<Proxy, ManagerError> {
    let first = stream.recv_until(after(PATIENCE))?.ok_or(ShareError::Timeout)?;
    let version: u32 = codec::decode_prefix(&first).map_err(io::Error::other)?;
    if version != VERSION {
        let text = format!("the manager speaks version {version}, not {VERSION}");
        return Err(io::Error::other(text).into());
    }
    // Who the server is stands in the hello itself, so it is read twice.
    let (_, theirs, server, name): (u32, Values, NodeId, String) =
        codec::bounded(|| codec::decode_prefix(&first)).map_err(io::Error::other)?;
    if theirs != values {
        return Err(ManagerError::Values { ours: values, theirs });
    }
    era::arm();
    let road = Arc::new_cyclic(|this| Road {
        this: this.clone(),
        stream: stream.clone(),
        out: Outbox::new(stream.clone()),
        server,
        name,
        values,
        traffic: Arc::new(Traffic::new()),
        generation: generation(),
    });
    let hello: Hello = decode(End::Client(road.clone()), &first)?;
    road.is_to_be_ended();
    let (weak, traffic) = (Arc::downgrade(&road), road.traffic.clone());
    let farewell = Farewell::begin();
    let thread = thread::Builder::new().name("procession-remote".into());
    thread.spawn(move || {
        // The user's handlers run on the user's threads.
        let _ = SigSet::all().thread_block();
        attend(&weak, &traffic, &*stream);
        see_out(&*stream);
        drop((stream, farewell));
    })?;
    Ok(hello.door)
}

/// All roads of this process, and of those that it is a copy of.
static ROADS: Mutex<Vec<Weak<Road>>> = Mutex::new(Vec::new());

/// Waits until the server has read what was said last, and hangs up. An end with answers that
/// nobody has taken would be a reset, which takes along what has not left.
fn see_out(stream: &dyn Sole) {
    let deadline = after(PATIENCE);
    while let Ok(Some(_)) = stream.recv_until(deadline) {}
}

impl Road {
    /// Has this process end it behind what was said.
    fn is_to_be_ended(self: &Arc<Self>) {
        static PREPARED: AtomicU32 = AtomicU32::new(0);
        let me = std::process::id();
        if PREPARED.swap(me, Ordering::AcqRel) != me {
            Farewell::before(|| {
                let roads: Vec<_> = lock(&ROADS).iter().filter_map(Weak::upgrade).collect();
                roads.iter().filter(|road| road.check().is_ok()).for_each(|road| road.leave());
            });
        }
        let roads = &mut *lock(&ROADS);
        roads.retain(|road| road.strong_count() > 0);
        roads.push(self.this.clone());
    }

    /// Says goodbye: the server hangs up.
    fn leave(&self) {
        let bye = codec::encode(&ToServer::Bye);
        if let Ok(bye) = bye {
            let _ = self.out.say(bye.bytes);
        }
        self.end();
    }

    pub(super) fn server(&self) -> NodeId {
        self.server
    }

    pub(super) fn values(&self) -> Values {
        self.values
    }

    pub(super) fn is_gone(&self) -> bool {
        self.check().is_err() || self.traffic.is_over()
    }

    /// Whether it is this process's. In a copy of that, its locks may be held for ever, and its
    /// answers are the other's.
    ///
    /// # Errors
    /// [`ShareError::Forked`].
    pub(super) fn check(&self) -> Result<(), ShareError> {
        if self.generation == generation() { Ok(()) } else { Err(ShareError::Forked) }
    }

    /// Nobody answers any more.
    pub(super) fn end(&self) {
        let (beside, notices) = self.traffic.end();
        for beside in beside {
            if let Beside::Actors(Some(port), _) = beside {
                port.complete(Err(self.actor_gone()));
            }
        }
        for notice in notices {
            notice.give();
        }
    }

    fn actor_gone(&self) -> CallError {
        CallError::ActorDied { name: self.name.clone(), reason: ExitReason::Unknown }
    }

    pub(super) fn gone(&self) -> ManagerError {
        ManagerError::OwnerGone { name: self.name.clone() }
    }

    pub(super) fn say(&self, message: &ToServer) {
        if self.check().is_err() {
            return;
        }
        // A road that is being dropped has no references to speak of.
        let Some(this) = self.this.upgrade() else { return };
        if let Ok(message) = encode(End::Client(this), message) {
            // The reader tells of the end.
            let _ = self.out.say(message);
        }
    }

    pub(super) fn tell(&self, object: u64, ask: Ask) {
        // Its answer finds nobody.
        self.say(&ToServer::Ask { number: 0, object, ask });
    }

    /// Sends a message to an actor, once there is room for it; the answer completes `reply`.
    ///
    /// # Cancel safety
    /// Dropped before it has completed, it sends nothing.
    pub(super) async fn send_message(
        self: &Arc<Self>,
        object: u64,
        message: Packed,
        reply: Option<ReplyPort>,
        lent: Vec<Proxy>,
    ) -> Result<(), CallError> {
        /// Nobody answers what was not sent.
        struct Unsent<'a>(&'a Traffic, Option<u64>);
        impl Drop for Unsent<'_> {
            fn drop(&mut self) {
                if let Some(number) = self.1 {
                    self.0.forget(number);
                }
            }
        }
        self.check().map_err(|forked| CallError::Unreachable(forked.to_string()))?;
        let entered = self.traffic.enter(Beside::Actors(reply, lent));
        let number = entered.map_err(|_| self.actor_gone())?;
        let mut unsent = Unsent(&self.traffic, Some(number));
        let message = ToServer::Message { number, object, message };
        let message = encode(End::Client(self.clone()), &message);
        let message = message.map_err(CallError::Unreachable)?;
        self.out.message(message).await.map_err(|Ended| self.actor_gone())?;
        unsent.1 = None;
        Ok(())
    }

    /// Has `sink` told of an actor's end, or that this road has ended.
    pub(super) fn watch(&self, object: u64, actor: ActorId, name: &str, sink: DownSink) {
        if self.check().is_err() {
            return sink.tell(lost(actor, name));
        }
        match self.traffic.watch(actor, name, sink) {
            Ok(Some(number)) => self.say(&ToServer::Watch { number, object }),
            Ok(None) => {}
            Err(sink) => sink.tell(lost(actor, name)),
        }
    }

    /// What says whether an actor has ended, from when the server knows that it is asked;
    /// `None` when this road has ended.
    pub(super) fn look(&self, object: u64, actor: ActorId, name: &str) -> Option<Arc<AtomicBool>> {
        self.check().ok()?;
        let (has_ended, asked) = self.traffic.look(actor, name)?;
        if let Some(number) = asked {
            self.say(&ToServer::Watch { number, object });
        }
        Some(has_ended)
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        if self.check().is_err() {
            return;
        }
        // Monitors alone do not keep the connection.
        self.leave();
    }
}

impl fmt::Debug for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Road").field("name", &self.name).finish_non_exhaustive()
    }
}
