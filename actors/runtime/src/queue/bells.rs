//! How the owner hears its clients: one set of descriptors for a queue, and who waits on it.
//!
//! Owns two epoll sets. The inner one has the clients' sockets and a bell of the owner's
//! own; a thread of the owner that waits in `get` or `put` waits on it itself, so that an
//! item takes no way over another thread. The outer one, the *gate*, has the inner one in
//! it, and is what the hidden thread watches: it is shut while such a thread waits. It must
//! never look into a page.
//!
//! The hidden thread learns of a bell as an edge. Opening the gate makes none for bells that
//! were rung before: whoever opens it hears those itself, after that.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Most clients that are heard in one turn.
pub(super) const TURN: usize = 32;

/// The number of the owner's own bell among the clients'.
const OWN: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Bells {
    clients: Epoll,
    gate: Epoll,
    own: EventFd,
}

impl Bells {
    pub(super) fn new() -> io::Result<Self> {
        let make = || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
        let own = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let bells = Self { clients: make()?, gate: make()?, own };
        bells.clients.add(&bells.own, EpollEvent::new(EpollFlags::EPOLLIN, OWN))?;
        bells.gate.add(&bells.clients.0, Self::open())?;
        Ok(bells)
    }

    /// What the hidden thread watches.
    pub(super) fn gate(&self) -> BorrowedFd<'_> {
        self.gate.0.as_fd()
    }

    /// Has the hidden thread hear the bells that are rung from now on.
    pub(super) fn open_gate(&self) {
        let _ = self.gate.modify(&self.clients.0, &mut Self::open());
    }

    /// Has it hear none.
    pub(super) fn shut_gate(&self) {
        let _ = self.gate.modify(&self.clients.0, &mut EpollEvent::empty());
    }

    pub(super) fn add(&self, socket: BorrowedFd<'_>, client: u16) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(client));
        Ok(self.clients.add(socket, event)?)
    }

    /// A socket that has ended is heard for ever unless it is removed.
    pub(super) fn remove(&self, socket: BorrowedFd<'_>) {
        let _ = self.clients.delete(socket);
    }

    /// Wakes whoever waits on the clients.
    pub(super) fn ring(&self) {
        let _ = self.own.write(1);
    }

    /// Waits until somebody rings, or until the deadline (at once: `Some` of the past).
    /// Gives who did; the owner's own bell is none of them.
    pub(super) fn listen(&self, deadline: Option<Instant>) -> Vec<u16> {
        let mut events = [EpollEvent::empty(); TURN];
        let count = loop {
            match self.clients.wait(&mut events, timeout(deadline)) {
                Err(Errno::EINTR) => {}
                done => break done.unwrap_or(0),
            }
        };
        let mut clients = Vec::with_capacity(count);
        for event in &events[..count] {
            match u16::try_from(event.data()) {
                Ok(client) => clients.push(client),
                Err(_) => drop(self.own.read()),
            }
        }
        clients
    }

    fn open() -> EpollEvent {
        EpollEvent::new(EpollFlags::EPOLLIN, 0)
    }
}

/// In whole milliseconds, rounded up, so that a wait never ends before its deadline.
fn timeout(deadline: Option<Instant>) -> EpollTimeout {
    let Some(deadline) = deadline else { return EpollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    let millis = left.as_nanos().div_ceil(1_000_000);
    let longest = Duration::from_hours(1).as_millis();
    EpollTimeout::try_from(i32::try_from(millis.min(longest)).unwrap_or(i32::MAX))
        .unwrap_or(EpollTimeout::NONE)
}
