//! A handshake on a socket.
//!
//! Owns the socket, the machine that says what to say, and what has come of the peer's next
//! message: at most [`LONGEST`] bytes. It never waits. Neighbours:
//! `procession_protocols::auth` (the machines), and those who wait: `mod.rs`, `client`.

use super::ListenerError;
use crate::sys::{socket, stream};
use procession_protocols::auth::{Acceptor, Connector, LONGEST, Session, Step};
use procession_protocols::pipe::{Head, Incoming};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Which side this is.
#[derive(Debug)]
pub(super) enum Side {
    Acceptor(Acceptor),
    Connector(Connector),
}

/// A connection that is not authenticated yet.
#[derive(Debug)]
pub(super) struct Talk {
    socket: OwnedFd,
    side: Side,
    incoming: Incoming,
}

impl Talk {
    /// Begins, with the first message if it is this side's.
    pub(super) fn new(
        socket: OwnedFd,
        side: Side,
        first: Option<&[u8]>,
    ) -> Result<Self, ListenerError> {
        if let Some(first) = first {
            say(socket.as_fd(), first)?;
        }
        Ok(Self { socket, side, incoming: Incoming::new(LONGEST) })
    }

    /// Goes on with what has arrived; `None` when the rest has not.
    pub(super) fn go_on(&mut self) -> Result<Option<Session>, ListenerError> {
        loop {
            if !self.hear()? {
                return Ok(None);
            }
            let message = std::mem::replace(&mut self.incoming, Incoming::new(LONGEST)).into_body();
            let Step { send, end } = match &mut self.side {
                Side::Acceptor(side) => side.hear(&message),
                Side::Connector(side) => side.hear(&message),
            };
            if send.is_none() {
                // Python's connections send what follows only when the peer is known to have
                // this (Nagle's algorithm); the kernel would wait 40 ms for an answer that
                // could tell it.
                socket::acknowledge(self.socket.as_fd());
            }
            if let Some(words) = send {
                let said = say(self.socket.as_fd(), &words);
                // That it failed is the better news than that the peer is gone already.
                if !matches!(end, Some(Err(_))) {
                    said?;
                }
            }
            if let Some(end) = end {
                return Ok(Some(end?));
            }
        }
    }

    /// Takes what has arrived of the next message, and nothing behind it. False when the
    /// rest has not.
    fn hear(&mut self) -> Result<bool, ListenerError> {
        while !self.incoming.is_whole() {
            let room = self.incoming.room()?;
            // Whoever is not known yet has nothing to pass over: it is closed here.
            let mut fds = VecDeque::new();
            match stream::receive(self.socket.as_fd(), room.head, room.body, room.most, &mut fds) {
                Ok(came) if came.count == 0 => return Err(ListenerError::EndOfFile),
                Ok(came) => self.incoming.filled(came.count)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(ListenerError::EndOfFile);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl AsFd for Talk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends one message. It is small, and the socket fresh: where there is no room for it, the
/// peer does not listen.
pub(super) fn say(socket: BorrowedFd<'_>, words: &[u8]) -> Result<(), ListenerError> {
    let head = Head::new(words.len())?;
    let parts = [IoSlice::new(head.bytes()), IoSlice::new(words)];
    match stream::send(socket, &parts, &[], false) {
        Ok(count) if count == head.whole() => Ok(()),
        Ok(_) => Err(io::Error::from(io::ErrorKind::WouldBlock).into()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            Err(ListenerError::EndOfFile)
        }
        Err(error) => Err(error.into()),
    }
}
