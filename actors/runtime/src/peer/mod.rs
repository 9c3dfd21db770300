//! Actors in other processes: both ends of the link between a caller and an actor.
//!
//! Owns the client's end ([`Peer`], behind a reference) and the actor's end (`serve`).
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

use crate::actor::remote::{RefWire, Remote, Sending};
use crate::actor::{CallError, MailboxOptions, Overflow, ReplyPort};
use crate::child::Child;
use crate::codec::{self, Encoded};
use crate::down::{Down, DownSink};
use crate::link::{Link, LinkError, OUTBOUND_LIMIT};
use crate::node::routes;
use crate::spin::Spin;
use crate::sync::{after, lock, poll};
use event::EventWaker;
use nix::poll::{PollFd, PollFlags};
use procession_protocols::exit::{ExitReason, RawStatus};
use procession_protocols::id::{ActorId, NodePath};
use procession_protocols::wire::{Header, Kind};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
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
    monitors: Vec<DownSink>,
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
        child.on_down(Box::new(move |down| {
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
        for sink in monitors {
            sink(down.clone());
        }
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

    fn is_full(&self) -> bool {
        let sent = self.sent.load(Ordering::Acquire);
        sent - self.handled.load(Ordering::Acquire) >= self.options.capacity as u64
    }

    fn refusal(&self) -> Option<CallError> {
        lock(&self.pending).ended.as_ref().map(died)
    }

    /// Waits for a place in the window. `Ok(false)`: the policy drops the message.
    fn make_room(&self, is_call: bool, deadline: Option<Instant>) -> Result<bool, CallError> {
        if !self.is_full() {
            return Ok(true);
        }
        self.pump();
        let own = match self.options.overflow {
            Overflow::Block(limit) => after(limit),
            Overflow::DropNew if !is_call => return Ok(!self.is_full()),
            Overflow::DropNew | Overflow::Fail if self.is_full() => return Err(CallError::Full),
            Overflow::DropNew | Overflow::Fail => return Ok(true),
        };
        let until = [own, deadline].into_iter().flatten().min();
        while self.is_full() {
            if let Some(why) = self.refusal() {
                return Err(why);
            }
            let mut fds = [
                PollFd::new(self.link.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.pidfd(), PollFlags::POLLIN),
            ];
            // Another thread may read the credit that we wait for, so no wait is long.
            let slice = after(Duration::from_millis(10));
            let ready = poll(&mut fds, [until, slice].into_iter().flatten().min());
            if ready.map_err(|error| CallError::Unreachable(error.to_string()))? {
                self.pump();
            }
            if until.is_some_and(|until| Instant::now() >= until) && self.is_full() {
                return Err(if until == own { CallError::Full } else { CallError::Timeout });
            }
        }
        Ok(true)
    }

    /// Enters the call and gives the frame's header.
    fn register(&self, message: &Encoded, reply: Option<ReplyPort>) -> Result<Header, CallError> {
        let kind = if reply.is_some() { Kind::Call } else { Kind::Cast };
        let mut header = Header::new(kind, message.bytes.len()).map_err(unreachable)?;
        header.target = self.id.number;
        let mut pending = lock(&self.pending);
        if let Some(down) = &pending.ended {
            return Err(died(down));
        }
        if let Some(reply) = reply {
            pending.next_call += 1;
            header.call = pending.next_call;
            pending.calls.insert(header.call, reply);
        }
        self.sent.fetch_add(1, Ordering::AcqRel);
        Ok(header)
    }

    /// Undoes `register` for a message that did not go out.
    fn unregister(&self, header: Header, error: LinkError) -> CallError {
        self.sent.fetch_sub(1, Ordering::AcqRel);
        lock(&self.pending).calls.remove(&header.call);
        match error {
            LinkError::Timeout => CallError::Timeout,
            LinkError::Full => CallError::Full,
            LinkError::Closed => {
                self.pump();
                self.refusal().unwrap_or(CallError::Stopped)
            }
            other => unreachable(other),
        }
    }

    /// Asks something of the actor that is no message. One that has ended needs no asking.
    fn tell(&self, kind: Kind) {
        if let Ok(mut header) = Header::new(kind, 0) {
            header.target = self.id.number;
            let _ = self.link.post(header, Encoded::default(), OUTBOUND_LIMIT);
        }
    }
}

impl Remote for Peer {
    fn id(&self) -> ActorId {
        self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn send(
        &self,
        message: Encoded,
        reply: Option<ReplyPort>,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        if !self.make_room(reply.is_some(), deadline)? {
            return Ok(());
        }
        let own = match self.options.overflow {
            Overflow::Block(limit) => after(limit),
            Overflow::Fail | Overflow::DropNew => Some(Instant::now()),
        };
        let header = self.register(&message, reply)?;
        let until = [own, deadline].into_iter().flatten().min();
        self.link.send(header, &message, until).map_err(|error| {
            let full = matches!(error, LinkError::Timeout) && until == own;
            let error = self.unregister(header, error);
            if full { CallError::Full } else { error }
        })
    }

    fn send_async(&self, message: Encoded, reply: Option<ReplyPort>) -> Sending<'_> {
        Box::pin(async move {
            // The hidden thread reads until the reply has come: the caller's own watch may
            // be of an earlier incarnation.
            let watch = self.watch_link();
            std::future::poll_fn(|context| self.poll_room(context)).await?;
            let reply = reply.map(|reply| Box::new(watch::Watched::new(reply, watch)) as ReplyPort);
            let header = self.register(&message, reply)?;
            let sent = self.link.post(header, message, OUTBOUND_LIMIT);
            sent.map_err(|error| self.unregister(header, error))
        })
    }

    fn wait(&self, ready: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) {
        // In a task of a tokio runtime whose budget is used up, each poll would be pending
        // although the reply has come, and nothing would end the wait for it.
        let mut ready = pin!(tokio::task::unconstrained(ready));
        let Ok(event) = EventWaker::of_this_thread() else {
            // No descriptor is free for an eventfd: look again and again.
            let mut context = Context::from_waker(Waker::noop());
            while ready.as_mut().poll(&mut context).is_pending()
                && deadline.is_none_or(|deadline| Instant::now() < deadline)
            {
                self.pump();
                std::thread::sleep(Duration::from_millis(1));
            }
            return;
        };
        let waker = Waker::from(event.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            if ready.as_mut().poll(&mut context).is_ready() {
                event.take();
                return;
            }
            if let Ok(Some(())) = self.spin.until(|| self.glance()) {
                event.take();
                continue;
            }
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, self.link.wants_write());
            let mut fds = [
                PollFd::new(self.link.as_fd(), wanted),
                PollFd::new(event.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.pidfd(), PollFlags::POLLIN),
            ];
            if !matches!(poll(&mut fds, deadline), Ok(true)) {
                return;
            }
            let writable = fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLOUT));
            let (called, dead) = (fds[1].any() == Some(true), fds[2].any() == Some(true));
            if writable {
                let _ = self.link.flush();
            }
            if called {
                event.silence();
            } else {
                event.take();
            }
            self.pump();
            if dead {
                self.pump_after_death();
            }
        }
    }

    fn watch(&self) -> Box<dyn Send> {
        Box::new(self.watch_link())
    }

    fn is_alive(&self) -> bool {
        if self.killed.load(Ordering::Acquire) || lock(&self.pending).ended.is_some() {
            return false;
        }
        match &self.process {
            Process::Child(child) => child.reap().is_none(),
            Process::Other(pidfd) => {
                !crate::sync::readable(pidfd.as_fd(), Some(Instant::now())).unwrap_or(false)
            }
        }
    }

    fn stop(&self) {
        match &self.process {
            Process::Child(child) => drop(child.shutdown()),
            Process::Other(_) => self.tell(Kind::Stop),
        }
    }

    fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        match &self.process {
            Process::Child(child) => drop(child.signal(nix::sys::signal::Signal::SIGKILL)),
            Process::Other(pidfd) if self.id.number == 0 => {
                let _ = crate::sys::process::pidfd_send_signal(
                    pidfd.as_fd(),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            Process::Other(_) => self.tell(Kind::Kill),
        }
    }

    fn monitor(&self, sink: DownSink) -> Result<(), CallError> {
        if let Process::Child(child) = &self.process {
            child.on_down(sink);
            return Ok(());
        }
        let mut pending = lock(&self.pending);
        if let Some(down) = pending.ended.clone() {
            drop(pending);
            sink(down);
            return Ok(());
        }
        pending.monitors.push(sink);
        drop(pending);
        if let Process::Other(_) = self.process {
            // The reading task lets go of this peer at the actor's end.
            std::mem::forget(self.watch_link());
        }
        Ok(())
    }

    fn to_wire(&self) -> Result<RefWire, CallError> {
        let lifeline = self.this.upgrade().map(routes::keep).transpose()?;
        Ok(RefWire {
            node: self.id.node,
            path: self.path.clone(),
            number: self.id.number,
            name: self.name.clone(),
            options: self.options,
            lifeline,
        })
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

    fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let mut pending = lock(&self.pending);
        if let Some(down) = &pending.ended {
            return Poll::Ready(Err(died(down)));
        }
        if !self.is_full() {
            return Poll::Ready(Ok(()));
        }
        if !matches!(self.options.overflow, Overflow::Block(_)) {
            return Poll::Ready(Err(CallError::Full));
        }
        pending.room.push(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The task that reads for async callers sees that there is nothing left to read.
        self.watch_again.notify_one();
        if self.released_on_drop {
            self.tell(Kind::Release);
        }
    }
}

/// Why a call to an actor that has ended fails.
fn died(down: &Down) -> CallError {
    CallError::ActorDied { name: down.name.clone(), reason: down.reason.clone() }
}

fn unreachable(error: impl std::fmt::Display) -> CallError {
    CallError::Unreachable(error.to_string())
}
