//! The threads of a server that read its clients' channels and carry out what is asked.
//!
//! Owns a few threads, each with the channels that fell to it. Who reads a call carries it
//! out at once: a stock object never blocks, and what may block, a user's function, goes to
//! `workers`. The answers to what came in one read go out in one write. It must never wait
//! for a client: one that does not take its answers is not read from, so that what is kept for
//! it is bounded by the calls that it has under way. Neighbours: `channel` is the other end;
//! `share` brings a channel's end, and asks to read it out before a release or a death of its
//! client.

use super::Ask;
use super::asker::Asker;
use super::object::Object;
use super::stored::Stored;
use crate::codec;
use crate::link::{Link, LinkError, OUTBOUND_LIMIT};
use crate::share::era::Eras;
use crate::share::{self, Client, ClientId};
use crate::spin::Spin;
use crate::sync::lock;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::SigSet;
use procession_protocols::manager::{Caller, Fault, Reply};
use procession_protocols::wire::{Header, Kind};
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};
use std::thread;

/// Most threads that read.
const MOST_THREADS: usize = 4;

/// Bytes that one channel may bring before the others get their turn.
const TURN: usize = 64 * 1024;

/// What a frame takes beside its payload, as turns are measured.
const FRAME: usize = 64;

/// More than a socket holds: reading so much reads what was there at the start.
const READ_OUT: usize = 16 * 1024 * 1024;

/// Channels that are ready at a time.
const EVENTS: usize = 64;

#[derive(Default)]
struct Reactors {
    all: Vec<Arc<Reactor>>,
    last_channel: u64,
}

static REACTORS: Eras<Mutex<Reactors>> = Eras::new();

/// One thread's channels.
struct Reactor {
    epoll: Epoll,
    channels: Mutex<HashMap<u64, Arc<Served>>>,
}

/// The server's end of a channel.
pub(super) struct Served {
    number: u64,
    client: Arc<Client>,
    link: Link,
    reactor: Weak<Reactor>,
    /// Held by who reads: the thread above, or who reads it out.
    turn: Mutex<Turn>,
    /// Whether answers wait for room.
    is_full: Mutex<bool>,
}

/// How reading a channel has gone.
#[derive(Default)]
struct Turn {
    has_ended: bool,
    /// What has come is not all carried out. It may have left the socket, which does not tell
    /// of it then.
    has_more: bool,
}

thread_local! {
    /// Channels with answers that this thread writes at the end of its turn, if it has one.
    static ANSWERED: RefCell<Option<Vec<Arc<Served>>>> = const { RefCell::new(None) };
}

/// Serves a client over a channel of which this is the end.
///
/// # Errors
/// No thread or descriptor is to be had.
pub(super) fn serve(client: &Arc<Client>, end: OwnedFd) -> io::Result<()> {
    let (reactor, number) = {
        let reactors = &mut *lock(REACTORS.now());
        reactors.last_channel += 1;
        let cores = thread::available_parallelism().map_or(1, Into::into);
        let threads = (cores / 2).clamp(1, MOST_THREADS);
        if reactors.all.len() < threads {
            reactors.all.push(Reactor::start()?);
        }
        let at = usize::try_from(reactors.last_channel).unwrap_or(0) % reactors.all.len();
        (reactors.all[at].clone(), reactors.last_channel)
    };
    let served = Arc::new(Served {
        number,
        client: client.clone(),
        link: Link::new(end),
        reactor: Arc::downgrade(&reactor),
        turn: Mutex::default(),
        is_full: Mutex::new(false),
    });
    let weak = Arc::downgrade(&served);
    client.also_reads(move || {
        if let Some(served) = weak.upgrade() {
            served.read(READ_OUT);
        }
    });
    lock(&reactor.channels).insert(number, served.clone());
    let added = reactor.epoll.add(&served.link, EpollEvent::new(EpollFlags::EPOLLIN, number));
    added.map_err(|error| {
        lock(&reactor.channels).remove(&number);
        error.into()
    })
}

impl Reactor {
    fn start() -> io::Result<Arc<Self>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let this = Arc::new(Self { epoll, channels: Mutex::default() });
        let reactor = this.clone();
        let thread = thread::Builder::new().name("procession-calls".into());
        thread.spawn(move || {
            // The user's handlers run on the user's threads.
            let _ = SigSet::all().thread_block();
            reactor.run();
        })?;
        Ok(this)
    }

    fn run(&self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        // Those that brought more than their turn.
        let mut more: Vec<Arc<Served>> = Vec::new();
        // A client that has its answer mostly asks again soon.
        let spin = Spin::default();
        loop {
            let ready = if more.is_empty() {
                spin.ready(&self.epoll, &mut events)
            } else {
                self.epoll.wait(&mut events, EpollTimeout::ZERO)
            };
            let ready = match ready {
                Ok(ready) => ready,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    tracing::error!(target: "procession", %error, "the manager reads no more calls");
                    return lock(&self.channels).clear();
                }
            };
            let looks = std::mem::take(&mut more).into_iter().map(|served| (served, false));
            let told = events[..ready].iter().filter_map(|event| {
                let served = lock(&self.channels).get(&event.data()).cloned()?;
                Some((served, event.events().contains(EpollFlags::EPOLLOUT)))
            });
            for (served, has_room) in looks.chain(told) {
                let is_open = if has_room { served.go_on() } else { served.read(TURN) };
                if !is_open {
                    // Its end says so to a client that lives.
                    let _ = self.epoll.delete(&served.link);
                    lock(&self.channels).remove(&served.number);
                } else if served.is_to_be_read()
                    && !more.iter().any(|one| Arc::ptr_eq(one, &served))
                {
                    more.push(served);
                }
            }
        }
    }
}

impl Served {
    pub(super) fn client(&self) -> ClientId {
        self.client.id
    }

    /// Carries out what has come, up to about so many bytes of it. False when the channel
    /// has ended.
    fn read(self: &Arc<Self>, limit: usize) -> bool {
        let outer = ANSWERED.replace(Some(Vec::new()));
        let is_open = {
            let turn = &mut *lock(&self.turn);
            if !turn.has_ended {
                self.take(limit, turn);
            }
            !turn.has_ended
        };
        let answered = ANSWERED.replace(outer);
        for served in answered.into_iter().flatten() {
            served.flush();
        }
        is_open
    }

    /// Whether there is more to carry out, and room for the answers.
    fn is_to_be_read(&self) -> bool {
        let has_more = lock(&self.turn).has_more;
        has_more && !*lock(&self.is_full)
    }

    fn take(self: &Arc<Self>, limit: usize, turn: &mut Turn) {
        let (mut taken, mut last) = (0, None);
        turn.has_more = false;
        let end = self.link.take_each(|header, payload, fds| {
            taken += FRAME + payload.len();
            self.heard(header, payload, fds, &mut last)?;
            // Who reads it out needs all of it, and has few large answers.
            let is_full = limit == TURN && self.link.kept() > OUTBOUND_LIMIT;
            turn.has_more = is_full || taken > limit;
            Ok(if turn.has_more { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        match end {
            Ok(()) => {}
            Err(End::Closed) => turn.has_ended = true,
            Err(End::Damaged) => {
                let client = &*self.client;
                tracing::warn!(target: "procession", ?client, "a client sent what is no message");
                self.link.shut_down();
                turn.has_ended = true;
            }
        }
    }

    /// The object of this number, if this is a client of it. `last` is the one before, which
    /// it often is again.
    fn object(&self, number: u64, last: &mut Option<(u64, Arc<Object>)>) -> Option<Arc<Object>> {
        if let Some((known, object)) = last
            && *known == number
        {
            return Some(object.clone());
        }
        let stock: Arc<dyn Any + Send + Sync> = share::attached(&self.client, number)?;
        let object = stock.downcast::<Object>().ok()?;
        *last = Some((number, object.clone()));
        Some(object)
    }

    fn heard(
        self: &Arc<Self>,
        header: Header,
        payload: &[u8],
        fds: Vec<OwnedFd>,
        last: &mut Option<(u64, Arc<Object>)>,
    ) -> Result<(), End> {
        let object = self.object(header.target, last);
        let asker = match header.kind {
            Kind::Call => Asker::Channel(self.clone(), header.call),
            Kind::Cast => Asker::Nobody,
            Kind::Control => {
                if let Some(object) = object {
                    object.cancel_call(self.client.id, header.call);
                }
                return Ok(());
            }
            Kind::Release => {
                share::released(&self.client, header.target, header.call);
                return Ok(());
            }
            _ => return Err(End::Damaged),
        };
        let ask: Ask = codec::decode(payload, fds).map_err(|_| End::Damaged)?;
        let thread = match &ask {
            Ask::Call { thread, .. } => *thread,
            _ => 0,
        };
        match object {
            Some(object) => object.take(Caller { client: self.client.id, thread }, ask, asker),
            None => asker.answer(Reply::Fault(Fault::NoSuchObject("such object".into()))),
        }
        Ok(())
    }

    /// Answers a call: at the end of this thread's turn, if it has one, or at once.
    pub(super) fn answer(self: &Arc<Self>, call: u64, reply: &Reply<Stored>) {
        let push = |bytes: &[u8], fds: Vec<OwnedFd>| {
            let Ok(mut header) = Header::new(Kind::Reply, bytes.len()) else { return false };
            header.call = call;
            self.link.push(header, bytes, &fds).is_ok()
        };
        let pushed = codec::encode_briefly(reply, push).or_else(|error| {
            let fault = Fault::Failed(error.to_string());
            codec::encode_briefly(&Reply::<Stored>::Fault(fault), push)
        });
        if pushed != Ok(true) {
            // One that has gone needs no answer; one that lives is not to wait for this one for
            // ever.
            self.link.shut_down();
        }
        let is_written_later = ANSWERED.with_borrow_mut(|answered| {
            let Some(answered) = answered else { return false };
            if answered.last().is_none_or(|last| !Arc::ptr_eq(last, self)) {
                answered.push(self.clone());
            }
            true
        });
        if !is_written_later {
            self.flush();
        }
    }

    /// Writes what there is room for. What is left is written when there is room again; until
    /// then the channel is not read.
    fn flush(&self) {
        let is_full = &mut *lock(&self.is_full);
        if !*is_full && matches!(self.link.flush(), Ok(false)) {
            *is_full = true;
            self.watch(EpollFlags::EPOLLOUT);
        }
    }

    /// On the thread above: there is room again. False when the channel has ended.
    fn go_on(&self) -> bool {
        let is_full = &mut *lock(&self.is_full);
        let Ok(is_written) = self.link.flush() else { return false };
        if is_written {
            *is_full = false;
            self.watch(EpollFlags::EPOLLIN);
        }
        true
    }

    fn watch(&self, wanted: EpollFlags) {
        if let Some(reactor) = self.reactor.upgrade() {
            // An error says that the channel is watched no longer.
            let _ = reactor.epoll.modify(&self.link, &mut EpollEvent::new(wanted, self.number));
        }
    }
}

/// Why a channel is not read any more.
enum End {
    /// The stream has ended.
    Closed,
    /// What came is no message.
    Damaged,
}

impl From<LinkError> for End {
    fn from(_: LinkError) -> Self {
        Self::Closed
    }
}
