//! Listeners and clients: streams to processes that are no relatives.
//!
//! Owns a [`Listener`] with the connections that have not proved themselves yet, and the
//! [`Options`] of both sides. Who is accepted is a [`Peer`]: an end of a pipe over the socket,
//! which takes messages up to a limit and, over TCP, only authenticated ones. It must never
//! decode what comes after the handshake. Neighbours: `procession_protocols::auth` (who
//! says what), `crate::pipe` (what a connection is from then on).
//!
//! # Many who say nothing
//!
//! Handshakes go on beside each other, in whichever thread accepts. At most
//! [`Options::pending`] are kept, each at most [`Options::patience`] long; one more sends the
//! oldest away. So somebody who opens connections and is silent costs others nothing but that
//! they have to be done before so many more have come.

mod address;
mod client;
mod error;
mod place;
mod socket;
mod talk;

pub use address::{Address, AddressError, IntoAddress};
pub use client::{dial, dial_async};
pub use error::ListenerError;
pub use socket::{Credentials, SILENCE};

use crate::node::hidden;
use crate::pipe::{self, End, Guard};
use crate::sync::{lock, readable};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::geteuid;
use place::Place;
use procession_protocols::auth::{Acceptor, AuthKey, Digest, Python, Session, Terms};
use socket::Listening;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use talk::{Side, Talk};

/// How long a handshake, or a connect, may take if nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How many handshakes go on beside each other if nothing else is said.
pub const PENDING: usize = 128;

/// The longest message of an authenticated peer if nothing else is said, in bytes: 16 MiB.
pub const LONGEST: u64 = 16 * 1024 * 1024;

/// How many connections the kernel keeps that nobody has accepted, if nothing else is said.
pub const BACKLOG: u16 = 128;

/// Only this user can use a Unix socket, if nothing else is said.
pub const MODE: u32 = 0o600;

/// What two sides ask of each other.
#[derive(Debug, Clone)]
pub struct Options {
    /// The key that the peer must know; without one, everybody is let in, unknown.
    pub key: Option<AuthKey>,
    /// Whether, and how, a peer may speak Python's protocol.
    pub python: Python,
    /// What is served; see [`Terms::fingerprint`].
    pub fingerprint: u64,
    /// The longest message that is taken, in bytes.
    pub longest: u64,
    /// How long a handshake may take; for a client, with the connect.
    pub patience: Duration,
    /// How many handshakes a listener keeps; at least 1.
    pub pending: usize,
    /// How many connections the kernel keeps that were not accepted.
    pub backlog: u16,
    /// The mode of the file of a Unix socket.
    pub mode: u32,
    /// Whether other users' processes may come over a Unix socket.
    pub other_users: bool,
    /// Whether accepting ends with the error of each client that fails.
    pub reports: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            key: None,
            python: Python::default(),
            fingerprint: 0,
            longest: LONGEST,
            patience: PATIENCE,
            pending: PENDING,
            backlog: BACKLOG,
            mode: MODE,
            other_users: false,
            reports: false,
        }
    }
}

impl Options {
    /// What the handshake at this address is made of; `None` without a key.
    fn terms(&self, address: &Address) -> Option<Terms> {
        Some(Terms {
            key: self.key.clone()?,
            python: self.python,
            seals: matches!(address, Address::Tcp { .. }),
            fingerprint: self.fingerprint,
        })
    }

    /// What has come of a socket.
    fn peer(
        &self,
        socket: OwnedFd,
        session: Option<Session>,
        address: Option<Address>,
    ) -> Result<Peer, ListenerError> {
        let credentials = socket::credentials(socket.as_fd());
        let (protocol, seal) = match session {
            None => (Protocol::Open, None),
            Some(Session::Python(digest)) => (Protocol::Python(digest), None),
            Some(Session::Native { minor, fingerprint, seal }) => {
                (Protocol::Native { minor, fingerprint }, seal)
            }
        };
        let guard = Guard { longest: self.longest, seal };
        Ok(Peer { end: End::guarded(socket, guard)?, protocol, address, credentials })
    }
}

/// How the peer of a connection proved itself, and what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// It did not have to; it may be anybody.
    Open,
    /// As a program of this library.
    Native {
        /// The lower of both sides' minor versions.
        minor: u8,
        /// The client's fingerprint; 0 is none.
        fingerprint: u64,
    },
    /// As Python does, by this digest.
    Python(Digest),
}

/// A connection that has been accepted, or made.
#[derive(Debug)]
pub struct Peer {
    /// Where messages go and come.
    pub end: End,
    /// What the peer speaks.
    pub protocol: Protocol,
    /// Where it is; clients at Unix sockets have no address.
    pub address: Option<Address>,
    /// Whose process it is, at Unix sockets.
    pub credentials: Option<Credentials>,
}

/// Accepts connections at an address.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    options: Options,
    terms: Option<Terms>,
    door: Mutex<Door>,
    /// What may have something for [`Listener::step`]: the socket, the pending, the bell.
    ready: Epoll,
    /// Rung when it is closed.
    bell: EventFd,
    /// The process that made it.
    process: u32,
}

#[derive(Debug)]
struct Door {
    /// `None` when it is closed.
    open: Option<(Listening, Option<Place>)>,
    /// By number, so that the oldest is first.
    pending: BTreeMap<u64, Pending>,
    next: u64,
}

#[derive(Debug)]
struct Pending {
    talk: Talk,
    since: Instant,
    address: Option<Address>,
}

/// Numbers in the set of descriptors that are not one of the pending.
const SOCKET: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;

/// So many events are taken at once.
const EVENTS: usize = 16;

impl Listener {
    /// Listens at the address; without one, at a Unix socket in a folder of its own.
    ///
    /// # Errors
    /// Somebody listens there already; the address is none, or none of this machine's.
    pub fn open(address: Option<&Address>, options: Options) -> Result<Self, ListenerError> {
        if let Some(address) = address {
            address.check()?;
        }
        let (socket, address, place) = socket::open(address, options.backlog, options.mode)?;
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        ready.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, SOCKET))?;
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        ready.add(&bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        let open = Some((socket, place));
        Ok(Self {
            terms: options.terms(&address),
            address,
            options,
            door: Mutex::new(Door { open, pending: BTreeMap::new(), next: 0 }),
            ready,
            bell,
            process: std::process::id(),
        })
    }

    /// Where it listens: with the port that it got.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits until a client has proved itself, at most until the deadline. Clients that fail
    /// are told so and logged, and the wait goes on; see [`Options::reports`]. Several
    /// threads may accept at once.
    ///
    /// # Errors
    /// [`ListenerError::Closed`], also when it is closed meanwhile; [`ListenerError::Timeout`].
    pub fn accept(&self, deadline: Option<Instant>) -> Result<Peer, ListenerError> {
        if hidden::is_current() {
            return Err(ListenerError::WouldDeadlock);
        }
        loop {
            let expiry = match self.step()? {
                Ok(peer) => return Ok(peer),
                Err(expiry) => expiry,
            };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(ListenerError::Timeout);
            }
            let until = deadline.into_iter().chain(expiry).min();
            readable(self.ready.0.as_fd(), until)?;
        }
    }

    /// As [`accept`](Self::accept), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: handshakes go on with the next accept.
    pub async fn accept_async(&self) -> Result<Peer, ListenerError> {
        loop {
            let expiry = match self.step()? {
                Ok(peer) => return Ok(peer),
                Err(expiry) => expiry,
            };
            let left = expiry.map(|at| at.saturating_duration_since(Instant::now()));
            pipe::wait_async(&[self.ready.0.as_fd()], left).await?;
        }
    }

    /// Goes on with what there is. Without a peer it says when the next of the pending has
    /// been silent for too long.
    fn step(&self) -> Result<Result<Peer, Option<Instant>>, ListenerError> {
        if std::process::id() != self.process {
            return Err(ListenerError::Forked);
        }
        let door = &mut *lock(&self.door);
        self.send_the_late_away(door)?;
        loop {
            if door.open.is_none() {
                return Err(ListenerError::Closed);
            }
            let mut events = [EpollEvent::empty(); EVENTS];
            let count = match self.ready.wait(&mut events, EpollTimeout::ZERO) {
                Err(nix::Error::EINTR) => continue,
                other => other?,
            };
            for event in &events[..count] {
                let done = match event.data() {
                    BELL => None,
                    SOCKET => self.greet(door)?,
                    number => self.go_on(door, number)?,
                };
                // What else there is shows at the next look.
                if let Some(peer) = done {
                    return Ok(Ok(peer));
                }
            }
            if count < EVENTS {
                let oldest = door.pending.first_key_value();
                return Ok(Err(oldest.and_then(|(_, pending)| self.late_at(pending))));
            }
        }
    }

    /// Takes the next connection in.
    fn greet(&self, door: &mut Door) -> Result<Option<Peer>, ListenerError> {
        let accepted = loop {
            let Some((socket, _)) = &door.open else { return Ok(None) };
            match socket.accept() {
                // Those who are not known have to make room for those who may be.
                Err(error) if is_full(&error) && self.send_oldest_away(door)? => {}
                other => break other,
            }
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_full(&error) => return Err(error.into()),
            // There is none, or it has gone again.
            Err(_) => return Ok(None),
        };
        if let Some(peer) = socket::credentials(socket.as_fd())
            && !self.options.other_users
            && peer.uid != geteuid().as_raw()
            && peer.uid != 0
        {
            if self.terms.is_some() {
                // That it has gone already is no news.
                let _ = talk::say(socket.as_fd(), &Acceptor::not_this_user());
            }
            return self.refused(address.as_ref(), ListenerError::OtherUser(peer.uid));
        }
        let Some(terms) = self.terms.clone() else {
            return self.options.peer(socket, None, address).map(Some);
        };
        let (acceptor, first) = Acceptor::new(terms, &random()?);
        let talk = match Talk::new(socket, Side::Acceptor(acceptor), Some(&first)) {
            Ok(talk) => talk,
            Err(error) => return self.refused(address.as_ref(), error),
        };
        while door.pending.len() >= self.options.pending.max(1) {
            self.send_oldest_away(door)?;
        }
        let number = door.next;
        door.next += 1;
        self.ready.add(&talk, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        door.pending.insert(number, Pending { talk, since: Instant::now(), address });
        Ok(None)
    }

    /// One of the pending has said something.
    fn go_on(&self, door: &mut Door, number: u64) -> Result<Option<Peer>, ListenerError> {
        let Some(pending) = door.pending.get_mut(&number) else { return Ok(None) };
        let came = pending.talk.go_on();
        if matches!(came, Ok(None)) {
            return Ok(None);
        }
        let Some(Pending { talk, address, .. }) = door.pending.remove(&number) else {
            return Ok(None);
        };
        // A copy of the descriptor that somebody holds must not keep it in the set.
        self.ready.delete(&talk)?;
        match came {
            Ok(Some(session)) => {
                self.make_room(door, talk.as_fd())?;
                self.options.peer(talk.into_socket(), Some(session), address).map(Some)
            }
            Ok(None) => Ok(None),
            Err(error) => self.refused(address.as_ref(), error),
        }
    }

    /// Sees to it that there is a descriptor more for a connection that is to be used, as long as
    /// those who are not known can make room for it.
    fn make_room(&self, door: &mut Door, socket: BorrowedFd<'_>) -> Result<(), ListenerError> {
        loop {
            match socket.try_clone_to_owned() {
                Err(error) if is_full(&error) && self.send_oldest_away(door)? => {}
                _ => return Ok(()),
            }
        }
    }

    fn send_the_late_away(&self, door: &mut Door) -> Result<(), ListenerError> {
        let now = Instant::now();
        while let Some((_, oldest)) = door.pending.first_key_value()
            && self.late_at(oldest).is_some_and(|at| at <= now)
        {
            self.send_oldest_away(door)?;
        }
        Ok(())
    }

    /// When its time is up; `None` is never.
    fn late_at(&self, pending: &Pending) -> Option<Instant> {
        pending.since.checked_add(self.options.patience)
    }

    /// False when there is none.
    fn send_oldest_away(&self, door: &mut Door) -> Result<bool, ListenerError> {
        let Some((_, Pending { talk, address, .. })) = door.pending.pop_first() else {
            return Ok(false);
        };
        self.ready.delete(&talk)?;
        self.refused(address.as_ref(), ListenerError::Timeout).map(|_| true)
    }

    /// Somebody was not let in.
    fn refused(
        &self,
        address: Option<&Address>,
        error: ListenerError,
    ) -> Result<Option<Peer>, ListenerError> {
        let address = address.map_or_else(|| "a Unix socket".into(), Address::to_string);
        let here = &self.address;
        tracing::warn!(target: "procession", %error, "refused a connection from {address} at {here}");
        match error {
            ListenerError::Authentication(_) | ListenerError::OtherUser(_)
                if self.options.reports =>
            {
                Err(error)
            }
            _ => Ok(None),
        }
    }

    /// Stops listening. Who waits in an accept gets [`ListenerError::Closed`]; connections
    /// that were accepted stay. Closing twice is no error.
    pub fn close(&self) {
        let door = &mut *lock(&self.door);
        door.pending.clear();
        if door.open.take().is_some() {
            // An error says that it is rung already.
            let _ = self.bell.write(1);
        }
    }

    /// Whether it has been closed.
    pub fn is_closed(&self) -> bool {
        lock(&self.door).open.is_none()
    }
}

/// Random bytes of one handshake.
///
/// # Errors
/// The system has none to give.
pub fn random() -> io::Result<[u8; 40]> {
    let mut bytes = [0; 40];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Whether there is no room for one more connection, in descriptors or in memory. It waits
/// outside then, and an accept that came back at once would find it there again and again.
fn is_full(error: &io::Error) -> bool {
    let full = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|error| full.contains(&error))
}
