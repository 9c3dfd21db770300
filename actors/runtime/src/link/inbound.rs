//! What comes in over a link.
//!
//! Owns the bytes that have been read and are no whole frame yet, the descriptors that came
//! with them, and the reading. It must never lock anything: the link does. Neighbour:
//! `sys::socket` below.

use super::{Frame, LinkError};
use crate::sys::socket;
use procession_protocols::wire::{FrameBuffer, Header};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

#[derive(Debug, Default)]
pub(super) struct Rx {
    buffer: FrameBuffer,
    /// Those of a frame that did not all find a number are none, and stand here as one.
    pub(super) fds: VecDeque<Option<OwnedFd>>,
    /// Whether the last look at the socket left nothing in it.
    pub(super) emptied: bool,
}

/// How a socket is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Now,
    Wait,
    OrLeave,
}

/// A frame whose payload is where it has arrived.
pub(super) type Slice<'a> = (Header, &'a [u8], Vec<OwnedFd>);

impl Rx {
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, LinkError> {
        let frame = self.next_slice()?;
        Ok(frame.map(|(header, payload, fds)| Frame { header, payload: payload.to_vec(), fds }))
    }

    pub(super) fn next_slice(&mut self) -> Result<Option<Slice<'_>>, LinkError> {
        let next = self.buffer.next_slice().map_err(|_| LinkError::Damaged)?;
        let Some((header, payload)) = next else { return Ok(None) };
        // Descriptors arrive with the first byte of their frame at the latest.
        let mut count = usize::from(header.fds);
        if count > 0 && matches!(self.fds.front(), Some(None)) {
            // This process was at its limit. The frame comes without any, which is an error of
            // whoever decodes it; the link goes on.
            count = 1;
        }
        if count > self.fds.len() {
            return Err(LinkError::Damaged);
        }
        Ok(Some((header, payload, self.fds.drain(..count).flatten().collect())))
    }

    /// Reads once. False when there is nothing, and that is not waited for.
    pub(super) fn fill(&mut self, fd: BorrowedFd<'_>, how: How) -> Result<bool, LinkError> {
        let space = self.buffer.space();
        let room = space.len();
        let mut fds = VecDeque::new();
        self.emptied = false;
        let got = match how {
            How::OrLeave => {
                socket::receive_or_leave(fd, space, &mut fds).map(|count| (count, false))
            }
            _ => socket::receive_what_fits(fd, space, &mut fds, how == How::Wait),
        };
        match got {
            Ok((0, _)) if self.buffer.is_partial() => Err(LinkError::Truncated),
            Ok((0, _)) => Err(LinkError::Closed),
            Ok((count, has_lost)) => {
                self.buffer.filled(count);
                // A short read that brought descriptors may have more behind it; any other
                // short read has emptied the socket.
                self.emptied = count < room && fds.is_empty() && !has_lost;
                if has_lost {
                    // A write brings those of one frame, and a read ends behind them.
                    self.fds.push_back(None);
                } else {
                    self.fds.extend(fds.into_iter().map(Some));
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(LinkError::Closed),
            Err(error) => Err(error.into()),
        }
    }
}
