//! Actors in other processes: both ends of the link between a caller and an actor.
//!
//! Owns the client's end ([`Peer`], behind a reference, which `way`, `window` and `watch`
//! use) and the actor's end (`serve` and `hosted`).
//! The protocol on the link: each message (`Call`, `Cast`) takes one place of the
//! window; each frame that comes back says in its `target` field how many messages of
//! this link have been handled so far, which gives the places back. Who sends when the
//! window is full does as the actor's mailbox policy says. A thread that waits reads
//! the link itself, whoever's replies come; an async caller has the hidden thread read.
//! No lock is held across a wait. Neighbours: `crate::actor::remote` (the seam),
//! `crate::link` (frames), `crate::node::routes` (introductions).

pub(crate) mod distant;
pub(crate) mod event;
pub(crate) mod hosted;
pub(crate) mod serve;
mod watch;
mod way;
mod window;

use crate::actor::{CallError, MailboxOptions, ReplyPort};
use crate::child::Child;
use crate::codec::{self, Encoded};
use crate::down::{Down, Sinks};
use crate::link::{Link, LinkError};
use crate::node::{routes, writing};
use crate::spin::Spin;
use crate::sync::{after, lock};
use procession_protocols::exit::{ExitReason, RawStatus};
use procession_protocols::id::{ActorId, NodePath};
use procession_protocols::wire::{Header, Kind};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;

/// After the link of an actor has ended, its process gets this long to become reapable
/// before its end is reported without a reason.
const REAP_PATIENCE: Duration = Duration::from_millis(100);

/// A reference's way to an actor in another process.
pub struct Peer {
    id: ActorId,
    name: String,
    path: NodePath,
    options: MailboxOptions,
    link: Arc<Link>,
    process: Process,
    pending: Mutex<Pending>,
    /// Messages sent, and how many of them the actor has handled.
    sent: AtomicU64,
    handled: AtomicU64,
    /// Whether the actor ends with the last reference here.
    released_on_drop: bool,
    /// Whether it has been killed from here: it counts as dead at once.
    killed: AtomicBool,
    /// Async callers that wait; the hidden thread reads the link for them.
    watchers: AtomicUsize,
    watching: AtomicBool,
    watch_again: Arc<Notify>,
    /// How waits for replies have gone.
    spin: Spin,
    this: Weak<Peer>,
}

/// The process that the actor lives in.
pub(crate) enum Process {
    /// A child of ours.
    Child(Arc<Child>),
    /// Another process of the tree, by its pidfd.
    Other(OwnedFd),
}

#[derive(Default)]
struct Pending {
    next_call: u64,
    calls: HashMap<u64, ReplyPort>,
    monitors: Sinks,
    /// Those who wait for room.
    room: Vec<Waker>,
    /// Set once the actor has ended; nothing is added afterwards.
    ended: Option<Down>,
}

impl Peer {
    pub(crate) fn of_child(
        child: &Arc<Child>,
        path: NodePath,
        options: MailboxOptions,
        released_on_drop: bool,
    ) -> Arc<Self> {
        let id = child.id();
        let name = child.name().to_owned();
        let link = child.data().clone();
        let process = Process::Child(child.clone());
        let peer = Self::new(id, name, path, options, link, process, released_on_drop);
        // Calls that nobody is reading for must fail too when the process dies.
        let weak = Arc::downgrade(&peer);
        child.on_down(Box::new(move |down: Down| {
            if let Some(peer) = weak.upgrade() {
                peer.drain();
                peer.end(&down);
                routes::forget(peer.id);
            }
        }));
        routes::know(&peer);
        peer
    }

    pub(crate) fn new(
        id: ActorId,
        name: String,
        path: NodePath,
        options: MailboxOptions,
        link: Arc<Link>,
        process: Process,
        released_on_drop: bool,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            id,
            name,
            path,
            options,
            link,
            process,
            pending: Mutex::default(),
            sent: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            released_on_drop,
            killed: AtomicBool::new(false),
            watchers: AtomicUsize::new(0),
            watching: AtomicBool::new(false),
            watch_again: Arc::default(),
            spin: Spin::default(),
            this: this.clone(),
        })
    }

    /// Where in the tree its process is.
    pub(crate) fn path(&self) -> &NodePath {
        &self.path
    }

    fn pidfd(&self) -> BorrowedFd<'_> {
        match &self.process {
            Process::Child(child) => child.pidfd(),
            Process::Other(pidfd) => pidfd.as_fd(),
        }
    }

    /// Takes what has come on the link.
    fn pump(&self) {
        if self.drain() {
            return;
        }
        // The link has ended, so the actor has; its process follows at once, and then
        // the reason is known.
        if lock(&self.pending).ended.is_some() {
            return;
        }
        let down = match &self.process {
            Process::Child(child) => child.join(after(REAP_PATIENCE)).ok().flatten(),
            Process::Other(pidfd) => {
                let _ = crate::sync::readable(pidfd.as_fd(), after(REAP_PATIENCE));
                None
            }
        };
        let down = down.map_or_else(|| self.down_by_pidfd(), |down| Down::clone(&down));
        self.end(&down);
    }

    /// False when no more will come.
    fn drain(&self) -> bool {
        let mut next = self.link.try_recv();
        loop {
            match next {
                Ok(Some(frame)) => self.heard(frame),
                Ok(None) => return true,
                Err(_) => return false,
            }
            next = self.link.try_recv_more();
        }
    }

    /// Takes what has come, if anything has.
    fn glance(&self) -> Result<Option<()>, LinkError> {
        let Some(frame) = self.link.try_recv()? else { return Ok(None) };
        self.heard(frame);
        // Nobody else is told of what was read along with it. An end is seen by who polls.
        self.drain();
        Ok(Some(()))
    }

    fn heard(&self, frame: crate::link::Frame) {
        let header = frame.header;
        match header.kind {
            Kind::Reply | Kind::Refused | Kind::Credit => {
                self.handled.fetch_max(header.target, Ordering::AcqRel);
                let mut pending = lock(&self.pending);
                let port = pending.calls.remove(&header.call);
                let waiting = std::mem::take(&mut pending.room);
                drop(pending);
                for waker in waiting {
                    waker.wake();
                }
                let Some(port) = port else { return };
                let encoded = Encoded { bytes: frame.payload, fds: frame.fds };
                if header.kind == Kind::Reply {
                    port.complete(Ok(encoded));
                } else {
                    let why = codec::decode(&encoded.bytes, encoded.fds);
                    port.complete(Err(why.unwrap_or(CallError::NoReply)));
                }
            }
            // A child's end is told by the reaper, who knows it whole.
            Kind::Down if matches!(self.process, Process::Other(_)) => {
                if let Ok(down) = codec::decode::<Down>(&frame.payload, frame.fds) {
                    self.end(&down);
                }
            }
            _ => {}
        }
    }

    /// The actor has ended: everybody who waits is told.
    fn end(&self, down: &Down) {
        let mut pending = lock(&self.pending);
        if pending.ended.is_some() {
            return;
        }
        pending.ended = Some(down.clone());
        let calls = std::mem::take(&mut pending.calls);
        let monitors = std::mem::take(&mut pending.monitors);
        let waiting = std::mem::take(&mut pending.room);
        drop(pending);
        let why = died(down);
        for port in calls.into_values() {
            port.complete(Err(why.clone()));
        }
        for waker in waiting {
            waker.wake();
        }
        monitors.tell(down);
    }

    fn down_by_pidfd(&self) -> Down {
        let status = crate::reap::status_of_other(self.pidfd()).unwrap_or(RawStatus::Unknown);
        Down {
            actor: self.id,
            pid: None,
            name: self.name.clone(),
            reason: ExitReason::from_status(status, false),
            status,
            usage: None,
        }
    }

    /// Asks something of the actor that is no message. One that has ended needs no asking.
    fn tell(&self, kind: Kind) {
        if let Ok(mut header) = Header::new(kind, 0) {
            header.target = self.id.number;
            // However much waits: it is said once, and the actor would never end without.
            let _ = self.link.post(header, Encoded::default(), usize::MAX);
        }
    }
}

impl Peer {
    /// The process has ended: what it had written has been taken, the rest is lost.
    fn pump_after_death(&self) {
        let down = match &self.process {
            Process::Child(child) => match child.reap() {
                Some(down) => Down::clone(&down),
                None => return,
            },
            Process::Other(_) => self.down_by_pidfd(),
        };
        self.end(&down);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The task that reads for async callers sees that there is nothing left to read.
        self.watch_again.notify_one();
        if self.released_on_drop {
            self.tell(Kind::Release);
        }
        // What was sent is handled before the actor ends.
        writing::finish(&self.link, |link| link);
    }
}

/// Why a call to an actor that has ended fails.
fn died(down: &Down) -> CallError {
    CallError::ActorDied { name: down.name.clone(), reason: down.reason.clone() }
}

fn unreachable(error: impl std::fmt::Display) -> CallError {
    CallError::Unreachable(error.to_string())
}
