//! Actors on threads of this process, served to callers in other processes.
//!
//! Owns the links to one such actor, which its own thread reads while it waits for its next
//! message: so no other thread stands between a call and its answer. Frames become entries
//! of the actor's mailbox, undecoded, and replies go straight from the actor's thread to the
//! link. A link is not read while the mailbox is full, or while its client does not take its
//! replies, so its window and socket hold back the caller. It must never run a handler:
//! `actor::host` does.

use super::event::EventWaker;
use super::serve::{FAREWELL, LinkReply, Meter, farewell};
use crate::actor::remote::{Inlet, LocalActor};
use crate::actor::{CallError, ReplyPort};
use crate::codec::{self, Encoded, Fd};
use crate::down::Down;
use crate::link::{Frame, Link, LinkError, OUTBOUND_LIMIT};
use crate::spin::Spin;
use crate::sync::{after, lock};
use crate::sys::process::pidfd_open;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use procession_protocols::wire::{Header, Kind};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

/// While messages wait, what brings others is looked at this often: who sends from another
/// process has its turn, and a stop comes in time.
pub(super) const GLANCE_PERIOD: Duration = Duration::from_millis(1);

/// Links that are ready at a time.
const EVENTS: usize = 64;

/// The eventfd among the links, which are numbered from 1.
const BELL: u64 = 0;

/// Sends a client the greeting of this process.
pub(crate) fn greet_here(link: &Link) -> io::Result<()> {
    greet(link, pidfd_open(std::process::id().cast_signed())?.as_fd())
}

/// Sends a client the greeting of a process that has an actor for it: a pidfd.
pub(crate) fn greet(link: &Link, pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let greeting = codec::encode(&Fd(pidfd.try_clone_to_owned()?)).map_err(io::Error::other)?;
    let header = Header::new(Kind::Control, greeting.bytes.len()).map_err(io::Error::other)?;
    link.post(header, greeting, OUTBOUND_LIMIT).map_err(io::Error::other)
}

/// Serves `actor` to the caller at the other end of `link`.
pub(crate) fn serve(link: Link, actor: Arc<dyn LocalActor>) -> io::Result<()> {
    if let Some(inlet) = actor.inlet(Porch::open)? {
        inlet.admit(link, actor);
    } else {
        // It has ended, or is about to: the caller hears how.
        actor.monitor(Box::new(move |down: Down| farewell(&link, &down, Some(Instant::now()))));
    }
    Ok(())
}

/// Where an actor's callers in other processes come in.
struct Porch {
    bell: Arc<Bell>,
    waker: Waker,
    arrivals: Mutex<Arrivals>,
    /// The actor's thread's alone, which holds the lock also while it waits.
    links: Mutex<Links>,
}

#[derive(Default)]
struct Arrivals {
    links: Vec<(Link, Arc<dyn LocalActor>)>,
    /// How the actor has ended.
    down: Option<Down>,
}

/// Wakes the actor's thread to look at its links anew.
struct Bell {
    event: Arc<EventWaker>,
    is_rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_rung.store(true, Ordering::Release);
        self.event.wake_by_ref();
    }
}

struct Links {
    epoll: Epoll,
    all: BTreeMap<u64, Served>,
    last: u64,
    /// Those with a message that found the mailbox full.
    held: Vec<u64>,
    looked: Instant,
    /// How waits for messages have gone.
    spin: Spin,
}

impl Porch {
    fn open() -> io::Result<Arc<dyn Inlet>> {
        let event = EventWaker::unclaimed()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*event, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        Ok(Arc::new(Self {
            waker: Waker::from(event.clone()),
            bell: Arc::new(Bell { event, is_rung: AtomicBool::new(false) }),
            arrivals: Mutex::default(),
            links: Mutex::new(Links {
                epoll,
                all: BTreeMap::new(),
                last: BELL,
                held: Vec::new(),
                looked: Instant::now(),
                spin: Spin::default(),
            }),
        }))
    }

    /// Lets in who has come, and looks who waits for room.
    fn answer_bell(&self, links: &mut Links) {
        if !self.bell.is_rung.swap(false, Ordering::AcqRel) {
            return;
        }
        for (link, actor) in std::mem::take(&mut lock(&self.arrivals).links) {
            links.last += 1;
            // Without memory for one more there is no serving it; it sees the end.
            let event = EpollEvent::new(EpollFlags::EPOLLIN, links.last);
            if links.epoll.add(&link, event).is_ok() {
                links.all.insert(links.last, Served::new(link, actor, self.bell.clone()));
            }
        }
        for (number, served) in &mut links.all {
            served.set_interest(&links.epoll, *number);
        }
    }
}

impl Inlet for Porch {
    fn admit(&self, link: Link, actor: Arc<dyn LocalActor>) {
        let arrivals = &mut *lock(&self.arrivals);
        match &arrivals.down {
            None => arrivals.links.push((link, actor)),
            Some(down) => farewell(&link, down, Some(Instant::now())),
        }
        self.bell.wake_by_ref();
    }

    fn waker(&self) -> &Waker {
        &self.waker
    }

    fn glance(&self) {
        let links = &mut *lock(&self.links);
        if links.looked.elapsed() >= GLANCE_PERIOD {
            self.answer_bell(links);
            links.look(&self.bell, false);
        }
    }

    fn wait(&self) {
        self.bell.event.claim();
        let links = &mut *lock(&self.links);
        self.answer_bell(links);
        // What this thread itself has just caused rings no bell.
        if self.bell.event.take() || links.resume() {
            return;
        }
        links.look(&self.bell, true);
        // The mark of what has just been put in; the caller looks into the mailbox next.
        self.bell.event.take();
    }

    fn close(&self, down: &Down) {
        let arrived = {
            let arrivals = &mut *lock(&self.arrivals);
            arrivals.down = Some(down.clone());
            std::mem::take(&mut arrivals.links)
        };
        let deadline = after(FAREWELL);
        for (link, _) in arrived {
            farewell(&link, down, deadline);
        }
        for served in std::mem::take(&mut lock(&self.links).all).into_values() {
            farewell(&served.link, down, deadline);
        }
    }
}

impl Links {
    /// Takes what has come, or what comes.
    fn look(&mut self, bell: &Bell, waits: bool) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let ready = if waits {
            self.spin.ready(&self.epoll, &mut events)
        } else {
            self.epoll.wait(&mut events, EpollTimeout::ZERO)
        };
        // An error is an interruption, or a lack of memory; the next round tries again.
        for event in &events[..ready.unwrap_or(0)] {
            let number = event.data();
            if number == BELL {
                bell.event.silence();
                continue;
            }
            if event.events().contains(EpollFlags::EPOLLOUT)
                && let Some(served) = self.all.get(&number)
            {
                // An error is seen by who reads.
                let _ = served.link.flush();
            }
            self.take(number);
        }
        self.looked = Instant::now();
    }

    /// Goes on with links whose messages found the mailbox full. False when there are none.
    fn resume(&mut self) -> bool {
        let held = std::mem::take(&mut self.held);
        for number in &held {
            self.take(*number);
        }
        !held.is_empty()
    }

    fn take(&mut self, number: u64) {
        let Some(served) = self.all.get_mut(&number) else { return };
        if served.take().is_ok() {
            served.set_interest(&self.epoll, number);
            if served.held.is_some() {
                self.held.push(number);
            }
        } else {
            let _ = self.epoll.delete(&*served.link);
            self.all.remove(&number);
        }
    }
}

/// One link.
struct Served {
    link: Arc<Link>,
    actor: Arc<dyn LocalActor>,
    meter: Arc<Meter>,
    /// Whom a reply tells that found no room.
    room: Waker,
    /// A message that found the mailbox full.
    held: Option<(Encoded, Option<ReplyPort>)>,
    interest: EpollFlags,
}

impl Served {
    fn new(link: Link, actor: Arc<dyn LocalActor>, bell: Arc<Bell>) -> Self {
        Self {
            link: Arc::new(link),
            actor,
            meter: Arc::default(),
            room: Waker::from(bell),
            held: None,
            interest: EpollFlags::EPOLLIN,
        }
    }

    /// A link whose client takes no replies is not read, nor is one with a message in hand.
    fn set_interest(&mut self, epoll: &Epoll, number: u64) {
        let wanted = if self.link.wants_write() {
            EpollFlags::EPOLLOUT
        } else if self.held.is_some() {
            EpollFlags::empty()
        } else {
            EpollFlags::EPOLLIN
        };
        if wanted != self.interest
            && epoll.modify(&*self.link, &mut EpollEvent::new(wanted, number)).is_ok()
        {
            self.interest = wanted;
        }
    }

    /// Puts what has come into the mailbox, as far as there is room.
    fn take(&mut self) -> Result<(), LinkError> {
        if let Some((message, reply)) = self.held.take() {
            self.deliver(message, reply);
        }
        let mut is_first = true;
        while self.held.is_none() && !self.link.wants_write() {
            let next = if is_first { self.link.try_recv() } else { self.link.try_recv_more() };
            let Some(frame) = next? else { break };
            is_first = false;
            self.heard(frame);
        }
        Ok(())
    }

    fn heard(&mut self, frame: Frame) {
        let reply = match frame.header.kind {
            Kind::Call => Some(self.reply(frame.header.call)),
            Kind::Cast => None,
            _ => return,
        };
        self.deliver(Encoded { bytes: frame.payload, fds: frame.fds }, reply);
    }

    fn deliver(&mut self, message: Encoded, reply: Option<ReplyPort>) {
        if let Err(back) = self.actor.deliver(message, reply) {
            if matches!(back.why, CallError::Full) {
                self.held = Some((back.message, back.reply));
                return;
            }
            if let Some(reply) = back.reply {
                reply.complete(Err(back.why));
            }
        }
        self.meter.took(&self.link);
    }

    fn reply(&self, call: u64) -> ReplyPort {
        Box::new(LinkReply::new(&self.link, &self.meter, call, self.room.clone()))
    }
}
