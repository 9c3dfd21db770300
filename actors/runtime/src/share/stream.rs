//! The owner's ends of tickets and connections, read by the hidden thread.
//!
//! Owns the task of each socket: frames in their order, a bounded turn at a time, then the
//! end. The end of a ticket's socket is the ticket's end. The end of a client's connection
//! is not the client's death, which its pidfd tells; what it had written by then is read
//! first. It must never interpret a frame: `host` does.

use super::client::Client;
use super::host::{self, Damaged};
use super::message::{check_room, lacks_room};
use crate::link::{Frame, Link, LinkError};
use crate::node::hidden;
use crate::sync::{lock, readable};
use crate::sys::socket::duplicate;
use crate::sys::watch::{Held, LOOK_PERIOD, Watched};
use procession_protocols::wire::Kind as FrameKind;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::Interest;
use tokio::sync::Notify;

/// Bytes that one socket may bring before others get their turn.
const TURN: usize = 64 * 1024;

/// More than a socket holds, so that reading so much reads what was there at the start.
const READ_OUT: usize = 16 * 1024 * 1024;

/// A socket that the owner reads.
#[derive(Debug)]
pub(super) struct Stream {
    number: u64,
    role: Role,
    link: Arc<Link>,
    /// Woken when something is to be written that found no room.
    wake: Arc<Notify>,
    has_ended: AtomicBool,
    /// Whether it was not read for want of descriptors.
    waits_for_room: AtomicBool,
    /// What was read and waits for room.
    held_up: Mutex<Option<Frame>>,
    /// The client has ended: what it asked for needs no room.
    is_over: AtomicBool,
}

/// What a socket is for.
#[derive(Debug)]
pub(super) enum Role {
    /// A ticket of this number.
    Ticket(u64),
    /// A client's connection.
    Client(Arc<Client>),
}

impl Stream {
    pub(super) fn new(number: u64, role: Role, link: Arc<Link>) -> Self {
        let wake = match &role {
            Role::Ticket(_) => Arc::default(),
            Role::Client(client) => client.wake.clone(),
        };
        let (has_ended, waits_for_room, held_up, is_over) = Default::default();
        Self { number, role, link, wake, has_ended, waits_for_room, held_up, is_over }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Has the hidden thread read it to its end.
    pub(super) fn attend(self: Arc<Self>) -> io::Result<()> {
        hidden::handle()?.spawn(async move {
            self.run().await;
            host::close(self.number);
            match &self.role {
                Role::Ticket(ticket) => host::end_ticket(*ticket),
                Role::Client(client) => host::bury(client),
            }
        });
        Ok(())
    }

    /// Takes all that has come. False when there was no room for descriptors.
    pub(super) fn read_out(&self) -> bool {
        self.read(READ_OUT);
        let waits = self.waits_for_room.load(Ordering::Relaxed);
        if waits || self.has_ended.load(Ordering::Relaxed) {
            // What is to follow is the attendant's, whom the socket, now empty, does not wake.
            self.wake.notify_one();
        }
        !waits
    }

    /// Takes what has come, up to about so many bytes. True when there may be more.
    fn read(&self, limit: usize) -> bool {
        let mut taken = 0;
        self.waits_for_room.store(false, Ordering::Relaxed);
        while !self.has_ended.load(Ordering::Relaxed) {
            match self.next() {
                Ok(Some(frame)) => {
                    taken += size_of_val(&frame) + frame.payload.len();
                    let heard = match &self.role {
                        Role::Ticket(_) => host::heard_on_ticket(frame),
                        Role::Client(client) => host::heard(client, frame),
                    };
                    if let Err(Damaged) = heard {
                        tracing::warn!(target: "procession", role = ?self.role, "a client sent what is no message");
                        self.has_ended.store(true, Ordering::Relaxed);
                    }
                    if taken > limit {
                        return true;
                    }
                }
                Ok(None) => return false,
                Err(error) if lacks_room(&error) => {
                    self.waits_for_room.store(true, Ordering::Relaxed);
                    return false;
                }
                Err(_) => self.has_ended.store(true, Ordering::Relaxed),
            }
        }
        false
    }

    /// The next frame. One that connects or attaches needs descriptors here, and waits for
    /// room with all that is behind it; the others are taken without any.
    fn next(&self) -> Result<Option<Frame>, LinkError> {
        let held_up = &mut *lock(&self.held_up);
        if held_up.is_none() {
            *held_up = self.link.try_recv_or_leave()?;
        }
        let is_call = |frame: &Frame| match self.role {
            Role::Ticket(_) => true,
            Role::Client(_) => frame.header.kind == FrameKind::Control && frame.header.call > 0,
        };
        let needs_room = held_up.as_ref().is_some_and(is_call);
        if needs_room && !self.is_over.load(Ordering::Relaxed) {
            check_room(&self.link)?;
        }
        Ok(held_up.take())
    }

    async fn run(&self) {
        let both = Interest::READABLE | Interest::WRITABLE;
        let socket = Watched::new(Ok(Held::new(&self.link, AsFd::as_fd)), both);
        let death = match &self.role {
            Role::Ticket(_) => None,
            Role::Client(client) => Some(Death::of(client)),
        };
        loop {
            if self.read(TURN) {
                tokio::task::yield_now().await;
                continue;
            }
            let has_ended = self.has_ended.load(Ordering::Relaxed);
            if has_ended && death.is_none() {
                return;
            }
            if has_ended {
                // A client that lives sees that nobody listens any more.
                self.link.shut_down();
            }
            let died = async {
                match &death {
                    Some(death) => death.comes().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = socket.readable(), if !has_ended => {}
                () = socket.writable(), if !has_ended && self.link.wants_write() => {
                    let _ = self.link.flush();
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK_PERIOD), if self.waits_for_room.load(Ordering::Relaxed) => {}
                () = died => {
                    self.is_over.store(true, Ordering::Relaxed);
                    while !self.read_out() {
                        tokio::time::sleep(LOOK_PERIOD).await;
                    }
                    return;
                }
            }
        }
    }
}

/// The end of a client's process.
struct Death<'a> {
    client: &'a Client,
    pidfd: Watched,
}

impl<'a> Death<'a> {
    fn of(client: &'a Client) -> Self {
        let pidfd = duplicate(&client.pidfd).map(Held::own);
        Self { client, pidfd: Watched::new(pidfd, Interest::READABLE) }
    }

    async fn comes(&self) {
        loop {
            self.pidfd.readable().await;
            // The kernel has to say so itself: the descriptor came from the client.
            if readable(self.client.pidfd.as_fd(), Some(Instant::now())).unwrap_or(true) {
                return;
            }
        }
    }
}
