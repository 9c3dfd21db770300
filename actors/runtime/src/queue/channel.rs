//! The socket pair between a queue's owner and one client: bells, and descriptors.
//!
//! Owns what travels over it. A bell is one byte, which says "look at the page". Items with
//! descriptors have a message each, under the item's number. It must never wait. Neighbour:
//! `page` has everything else that the two share.

use crate::sync::lock;
use crate::sys::socket;
use nix::libc::EMFILE;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

/// One end.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    /// Descriptors that have been read and not asked for.
    inbox: Mutex<VecDeque<(u32, Vec<OwnedFd>)>>,
}

/// What a look at the socket found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Something,
    Nothing,
    /// A message with descriptors, for which none is free here: it stays.
    NoRoom,
    /// The other end is closed.
    End,
}

/// This process has no descriptor free for what comes with an item.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoRoom;

impl From<NoRoom> for io::Error {
    fn from(_: NoRoom) -> Self {
        Self::from_raw_os_error(EMFILE)
    }
}

impl Channel {
    /// Both ends, close-on-exec. Messages keep their bounds.
    pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
    }

    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, inbox: Mutex::default() }
    }

    /// Wakes the other side. When the socket is full there are bells in it already.
    pub(super) fn ring(&self) {
        let _ = socket::send(self.socket.as_fd(), &[IoSlice::new(b"!")], &[] as &[OwnedFd]);
    }

    /// Sends an item's descriptors. False when there is no room now.
    pub(super) fn send_fds(&self, number: u32, fds: &[impl AsRawFd]) -> io::Result<bool> {
        match socket::send(self.socket.as_fd(), &[IoSlice::new(&number.to_le_bytes())], fds) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads one message.
    pub(super) fn hear(&self) -> Heard {
        self.hear_into(&mut lock(&self.inbox))
    }

    fn hear_into(&self, inbox: &mut VecDeque<(u32, Vec<OwnedFd>)>) -> Heard {
        let mut bytes = [0; 4];
        let mut fds = VecDeque::new();
        let mut receive = || socket::receive_whole(self.socket.as_fd(), &mut bytes, &mut fds);
        // An end that was closed with bells unread is reported once, before what it had sent.
        let received = match receive() {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => receive(),
            other => other,
        };
        match received {
            Ok(0) => Heard::End,
            Ok(4) => {
                inbox.push_back((u32::from_le_bytes(bytes), fds.into()));
                Heard::Something
            }
            Ok(_) => Heard::Something,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Heard::Nothing,
            Err(error) if error.raw_os_error() == Some(EMFILE) => Heard::NoRoom,
            Err(_) => Heard::End,
        }
    }

    /// The descriptors of the item with this number, which were sent before it could be
    /// seen. Those of earlier items are dropped: the items were taken back.
    ///
    /// # Errors
    /// This process has none free: they come later.
    pub(super) fn fds(&self, number: u32) -> Result<Vec<OwnedFd>, NoRoom> {
        let inbox = &mut *lock(&self.inbox);
        loop {
            while let Some((found, fds)) = inbox.pop_front() {
                if found == number {
                    return Ok(fds);
                }
                if found.wrapping_sub(number) < u32::MAX / 2 {
                    inbox.push_front((found, fds));
                    return Ok(Vec::new());
                }
            }
            match self.hear_into(inbox) {
                Heard::Something => {}
                Heard::NoRoom => return Err(NoRoom),
                // Whoever put it lied. Decoding will say so.
                Heard::Nothing | Heard::End => return Ok(Vec::new()),
            }
        }
    }

    /// Ends it for both sides, and wakes who waits on it.
    pub(super) fn close(&self) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_under_their_numbers_and_stale_ones_go() {
        let (a, b) = Channel::pair().unwrap();
        let (a, b) = (Channel::new(a), Channel::new(b));
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(a.send_fds(1, &[reader.as_raw_fd()]).unwrap());
        a.ring();
        assert!(a.send_fds(2, &[reader.as_raw_fd(), writer.as_raw_fd()]).unwrap());
        assert_eq!(b.hear(), Heard::Something);
        assert_eq!(b.fds(2).unwrap().len(), 2);
        assert_eq!(b.fds(3).unwrap().len(), 0);
        assert_eq!(b.hear(), Heard::Nothing);
        a.close();
        assert_eq!(b.hear(), Heard::End);
    }

    #[test]
    fn what_was_sent_before_the_end_comes_though_bells_were_unread() {
        let (a, b) = Channel::pair().unwrap();
        let (a, b) = (Channel::new(a), Channel::new(b));
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(a.send_fds(1, &[reader.as_raw_fd()]).unwrap());
        b.ring();
        drop(a);
        assert_eq!(b.fds(1).unwrap().len(), 1);
        assert_eq!(b.hear(), Heard::End);
    }
}
