//! The actor's end of its links: frames in, turns out.
//!
//! Owns what an actor that is a process waits for: its mailbox, its links and, while
//! there is no hidden thread, its parent's control messages, all in one `poll(2)`. It
//! reads a link only when that has taken the replies before, so a client that does not
//! read stops itself and nobody else. It never runs a handler: `actor::host` does.

use super::event::EventWaker;
use super::hosted::GLANCE_PERIOD;
use crate::actor::remote::LocalActor;
use crate::actor::{CallError, Entry, Local, Mailbox, Message, ReplyPort, ReplySink, Turn};
use crate::codec::{self, Encoded};
use crate::down::Down;
use crate::link::{Frame, Link};
use crate::node::control;
use crate::spin::Spin;
use crate::sync::{after, lock, poll};
use nix::poll::{PollFd, PollFlags};
use procession_protocols::wire::{Header, Kind};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Places of a link's window that are given back at once, when no reply does it.
const CREDIT_BATCH: u64 = 128;

/// An ending actor gives its clients this long to take what it still has to say.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// The links of the actor that is this process, as others add to them.
#[derive(Debug)]
pub(crate) struct Entrance {
    event: Arc<EventWaker>,
    arrived: Mutex<Vec<Arc<Link>>>,
}

impl Entrance {
    /// Lets a caller in.
    pub(crate) fn admit(&self, link: Link) {
        lock(&self.arrived).push(Arc::new(link));
        self.wake();
    }

    /// Makes the actor look again.
    pub(crate) fn wake(&self) {
        self.event.wake_by_ref();
    }
}

/// Everything that the actor which is this process waits for.
pub(crate) struct Door<M: Message> {
    entrance: Arc<Entrance>,
    /// Keeps the actor alive while there are links, or a supervisor.
    keep: Option<Arc<Local<M>>>,
    supervised: bool,
    links: Vec<Served>,
    /// The link whose turn it is.
    turn: usize,
    /// When the parent's control messages were last looked for.
    looked: Instant,
    /// How waits for messages have gone.
    spin: Spin,
}

/// One link, and how far it has got.
struct Served {
    link: Arc<Link>,
    meter: Arc<Meter>,
    socket: Socket,
}

/// What is known of a link's socket since the last wait.
#[derive(PartialEq, Eq)]
enum Socket {
    /// Something may be in it.
    Ready,
    /// It has been looked into, and the link knows whether there is more.
    Seen,
    /// Nothing is in it until the next wait says so.
    Empty,
}

/// How many messages of a link have been taken, and how many of them it knows of.
#[derive(Debug, Default)]
pub(super) struct Meter {
    taken: AtomicU64,
    told: AtomicU64,
}

impl<M: Message> Door<M> {
    /// A door with one link: the parent's.
    pub(crate) fn new(
        keep: Arc<Local<M>>,
        parent: Arc<Link>,
        supervised: bool,
    ) -> io::Result<Self> {
        let entrance = Arc::new(Entrance { event: EventWaker::new()?, arrived: Mutex::default() });
        let mut door = Self {
            entrance,
            keep: Some(keep),
            supervised,
            links: Vec::new(),
            turn: 0,
            looked: Instant::now(),
            spin: Spin::default(),
        };
        door.add(parent);
        Ok(door)
    }

    /// Where others let callers in.
    pub(crate) fn entrance(&self) -> Arc<Entrance> {
        self.entrance.clone()
    }

    /// Waits for the actor's next turn.
    pub(crate) fn next(&mut self, mailbox: &Mailbox<M>) -> Turn<M> {
        let waker = Waker::from(self.entrance.event.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            self.let_in();
            if let Poll::Ready(turn) = mailbox.poll_next(&mut context) {
                return turn;
            }
            // As long as there are messages nothing is waited for, and they may be many.
            if self.looked.elapsed() >= GLANCE_PERIOD {
                self.looked = Instant::now();
                if control::unattended().is_some() {
                    control::drain();
                }
            }
            if control::take_shutdown()
                && let Some(local) = &self.keep
            {
                local.stop();
                continue;
            }
            if let Some(entry) = self.take() {
                return Turn::Message(entry);
            }
            if self.links.is_empty() && !self.supervised && self.keep.take().is_some() {
                continue;
            }
            // What this thread itself has just caused rings no bell.
            if !self.entrance.event.take() {
                self.wait();
            }
        }
    }

    /// Tells every caller that the actor has ended: those with unread calls why, all of
    /// them how.
    pub(crate) fn close(mut self, down: &Down) {
        self.let_in();
        let why = CallError::ActorDied { name: down.name.clone(), reason: down.reason.clone() };
        let deadline = after(FAREWELL);
        for served in &self.links {
            while let Ok(Some(frame)) = served.link.try_recv() {
                if frame.header.kind == Kind::Call {
                    served.meter.refuse(&served.link, frame.header.call, &why);
                }
            }
            farewell(&served.link, down, deadline);
        }
    }

    fn let_in(&mut self) {
        let arrived = std::mem::take(&mut *lock(&self.entrance.arrived));
        for link in arrived {
            self.add(link);
        }
    }

    fn add(&mut self, link: Arc<Link>) {
        self.links.push(Served { link, meter: Arc::default(), socket: Socket::Ready });
    }

    /// The next message of the links, each in its turn.
    fn take(&mut self) -> Option<Entry<M>> {
        let mut without_news = 0;
        while without_news < self.links.len() {
            let at = self.turn % self.links.len();
            self.turn = at + 1;
            without_news += 1;
            match self.links[at].take() {
                Taken::Nothing => {}
                Taken::Frame(frame) => {
                    without_news = 0;
                    if let Some(entry) = self.enter(at, frame) {
                        return Some(entry);
                    }
                }
                Taken::End => {
                    without_news = 0;
                    self.links.swap_remove(at);
                }
            }
        }
        None
    }

    fn enter(&mut self, at: usize, frame: Frame) -> Option<Entry<M>> {
        let served = &self.links[at];
        let reply = match frame.header.kind {
            Kind::Call => {
                let waker = Waker::from(self.entrance.event.clone());
                let reply = LinkReply::new(&served.link, &served.meter, frame.header.call, waker);
                Some(Box::new(reply) as ReplyPort)
            }
            Kind::Cast => None,
            Kind::Release => {
                self.links.swap_remove(at);
                return None;
            }
            _ => return None,
        };
        served.meter.took(&served.link);
        Some(Entry::Wire(Encoded { bytes: frame.payload, fds: frame.fds }, reply))
    }

    fn wait(&mut self) {
        let parent = control::unattended();
        let mut fds = Vec::with_capacity(self.links.len() + 2);
        fds.push(PollFd::new(self.entrance.event.as_fd(), PollFlags::POLLIN));
        for served in &self.links {
            let blocked = served.link.wants_write();
            let wanted = if blocked { PollFlags::POLLOUT } else { PollFlags::POLLIN };
            fds.push(PollFd::new(served.link.as_fd(), wanted));
        }
        if let Some(parent) = &parent {
            fds.push(PollFd::new(parent.as_fd(), PollFlags::POLLIN));
        }
        let look = || poll(&mut fds, Some(Instant::now())).map(|is_ready| is_ready.then_some(()));
        // The only error left is a lack of memory; the next round tries again.
        if let Ok(None) = self.spin.until(look) {
            let _ = poll(&mut fds, None);
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(fds);
        if ready.first() == Some(&true) {
            self.entrance.event.silence();
        }
        for (served, ready) in self.links.iter_mut().zip(&ready[1..]) {
            if *ready {
                let _ = served.link.flush();
                served.socket = Socket::Ready;
            }
        }
        if parent.is_some() && ready.last() == Some(&true) {
            control::drain();
        }
    }
}

/// Tells a caller how the actor ended; waits until it takes that, or until the deadline.
pub(super) fn farewell(link: &Link, down: &Down, deadline: Option<Instant>) {
    if let Ok(encoded) = codec::encode(down)
        && let Ok(header) = Header::new(Kind::Down, encoded.bytes.len())
    {
        // A caller that does not read learns it from the end of the link.
        let _ = link.send(header, &encoded, deadline);
    }
}

enum Taken {
    Frame(Frame),
    Nothing,
    End,
}

impl Served {
    fn take(&mut self) -> Taken {
        if self.link.wants_write() {
            return Taken::Nothing;
        }
        let frame = match self.socket {
            Socket::Ready => self.link.try_recv(),
            Socket::Seen => self.link.try_recv_more(),
            Socket::Empty => self.link.buffered(),
        };
        match frame {
            Ok(Some(frame)) => {
                if self.socket == Socket::Ready {
                    self.socket = Socket::Seen;
                }
                Taken::Frame(frame)
            }
            Ok(None) => {
                self.socket = Socket::Empty;
                Taken::Nothing
            }
            Err(_) => Taken::End,
        }
    }
}

impl Meter {
    /// Counts a message, and gives back places now and then.
    pub(super) fn took(&self, link: &Link) {
        let taken = self.taken.fetch_add(1, Ordering::AcqRel) + 1;
        if taken - self.told.load(Ordering::Acquire) >= CREDIT_BATCH {
            self.post(link, Kind::Credit, 0, Encoded::default());
        }
    }

    /// Posts a frame that also says how many messages have been taken.
    pub(super) fn post(&self, link: &Link, kind: Kind, call: u64, message: Encoded) {
        let Ok(mut header) = Header::new(kind, message.bytes.len()) else {
            let error = CallError::Unreachable("the reply does not fit into a frame".into());
            return self.refuse(link, call, &error);
        };
        let taken = self.taken.load(Ordering::Acquire);
        self.told.fetch_max(taken, Ordering::AcqRel);
        header.call = call;
        header.target = taken;
        // Whatever waits there: each is owed to a call, which would wait for ever without, and a
        // client that takes none is not listened to. One that has gone loses them.
        let _ = link.post(header, message, usize::MAX);
    }

    fn refuse(&self, link: &Link, call: u64, error: &CallError) {
        if let Ok(encoded) = codec::encode(error) {
            self.post(link, Kind::Refused, call, encoded);
        }
    }
}

/// Sends the reply of one call; dropped before, it says that there will be none.
pub(super) struct LinkReply {
    link: Arc<Link>,
    meter: Arc<Meter>,
    /// Whoever polls the link, and has to look for room when the reply found none.
    waker: Waker,
    call: Option<u64>,
}

impl LinkReply {
    pub(super) fn new(link: &Arc<Link>, meter: &Arc<Meter>, call: u64, waker: Waker) -> Self {
        Self { link: link.clone(), meter: meter.clone(), waker, call: Some(call) }
    }

    fn send(&mut self, result: Result<Encoded, CallError>) {
        let Some(call) = self.call.take() else { return };
        match result {
            Ok(message) => self.meter.post(&self.link, Kind::Reply, call, message),
            Err(error) => self.meter.refuse(&self.link, call, &error),
        }
        if self.link.wants_write() {
            self.waker.wake_by_ref();
        }
    }
}

impl ReplySink for LinkReply {
    fn complete(mut self: Box<Self>, result: Result<Encoded, CallError>) {
        self.send(result);
    }
}

impl Drop for LinkReply {
    fn drop(&mut self) {
        self.send(Err(CallError::NoReply));
    }
}
