//! What goes out over a link.
//!
//! Owns the frames that wait for room in the socket, and the writing, of whole frames and of
//! what is left of one. It must never wait, nor lock anything: the link does. Neighbour:
//! `sys::socket` below.

use super::LinkError;
use crate::sys::socket;
use procession_protocols::wire::{HEADER_LEN, Header};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Frames up to this size are gathered into one write.
pub(super) const GATHERED: usize = 16 * 1024;

/// A payload up to this size is copied behind its header, to be written as one piece: the
/// system takes longer to put two together.
const JOINED: usize = 4 * 1024;

/// Buffers up to this size are used again.
const SPARED: usize = 2 * GATHERED;

#[derive(Debug, Default)]
pub(super) struct Tx {
    queue: VecDeque<Outbound>,
    queued_bytes: usize,
    /// Whether somebody sees to it that what waits goes out.
    pub(super) has_writer: bool,
    /// An empty buffer.
    spare: Vec<u8>,
}

/// A frame, or what is left of one, that the socket had no room for; or several, of which one
/// at most brings descriptors: so does a write, and who reads can tell whose were lost.
#[derive(Debug)]
struct Outbound {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

/// How much of a frame the socket took.
#[derive(PartialEq, Eq)]
pub(super) enum Offered {
    Whole,
    Part,
    Nothing,
}

impl Tx {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many bytes wait.
    pub(super) fn kept(&self) -> usize {
        self.queued_bytes
    }

    /// Writes what is kept, as far as the socket has room.
    pub(super) fn flush(&mut self, fd: BorrowedFd<'_>) -> Result<(), LinkError> {
        while let Some(front) = self.queue.front_mut() {
            let count = match send_part(fd, &front.bytes[front.sent..], &front.fds) {
                Ok(Some(count)) => count,
                Ok(None) => break,
                Err(LinkError::Closed) => {
                    // Nobody takes it any more, and nobody is to wait for that: whoever reads
                    // on sees what had come, and then the end.
                    self.queue.clear();
                    self.queued_bytes = 0;
                    return Err(LinkError::Closed);
                }
                Err(error) => return Err(error),
            };
            front.sent += count;
            front.fds.clear();
            self.queued_bytes -= count;
            if front.sent == front.bytes.len()
                && let Some(Outbound { bytes, .. }) = self.queue.pop_front()
            {
                self.spare(bytes);
            }
        }
        Ok(())
    }

    /// Offers a fresh frame to the socket; the rest of one that went out in part is kept. Its
    /// header knows how many descriptors there are.
    pub(super) fn offer(
        &mut self,
        fd: BorrowedFd<'_>,
        header: Header,
        bytes: &[u8],
        fds: &[OwnedFd],
    ) -> Result<Offered, LinkError> {
        let head = header.to_bytes();
        let sent = if bytes.len() <= JOINED {
            let mut frame = std::mem::take(&mut self.spare);
            frame.extend_from_slice(&head);
            frame.extend_from_slice(bytes);
            let sent = send_part(fd, &frame, fds);
            self.spare(frame);
            sent
        } else {
            taken(socket::send(fd, &[IoSlice::new(&head), IoSlice::new(bytes)], fds))
        };
        let Some(count) = sent? else { return Ok(Offered::Nothing) };
        if count == HEADER_LEN + bytes.len() {
            return Ok(Offered::Whole);
        }
        let rest = match count.checked_sub(HEADER_LEN) {
            Some(sent) => bytes[sent..].to_vec(),
            None => [&head[count..], bytes].concat(),
        };
        self.keep(rest, Vec::new());
        Ok(Offered::Part)
    }

    /// Keeps a frame together with those kept before, if it brings no descriptors.
    pub(super) fn gather(&mut self, parts: &[&[u8]], fds: Vec<OwnedFd>) {
        let joins = |last: &Outbound| last.bytes.len() < GATHERED;
        if !(fds.is_empty() && self.queue.back().is_some_and(joins)) {
            let bytes = std::mem::take(&mut self.spare);
            self.keep(bytes, fds);
        }
        let Some(last) = self.queue.back_mut() else { return };
        for part in parts {
            last.bytes.extend_from_slice(part);
            self.queued_bytes += part.len();
        }
    }

    /// Keeps a frame.
    pub(super) fn keep(&mut self, bytes: Vec<u8>, fds: Vec<OwnedFd>) {
        self.queued_bytes += bytes.len();
        self.queue.push_back(Outbound { bytes, sent: 0, fds });
    }

    fn spare(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= SPARED {
            bytes.clear();
            self.spare = bytes;
        }
    }
}

/// `None` when the socket has no room.
fn send_part(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[OwnedFd],
) -> Result<Option<usize>, LinkError> {
    taken(match fds {
        [] => socket::send_bytes(fd, bytes),
        fds => socket::send(fd, &[IoSlice::new(bytes)], fds),
    })
}

fn taken(sent: io::Result<usize>) -> Result<Option<usize>, LinkError> {
    match sent {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            Err(LinkError::Closed)
        }
        Err(error) => Err(error.into()),
    }
}
