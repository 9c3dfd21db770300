//! A message that is taken in pieces.
//!
//! Owns what has arrived of it, the descriptors that came along, and the wait for the rest,
//! which looks whether its writer lives. It takes nothing beyond the message's end. Neighbour:
//! `receive`, which keeps one between two attempts.

use super::receive::Message;
use super::turn::{self, SLICE};
use super::{End, PipeError, ready};
use crate::sys::stream::{self, Came, Kind};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::Shutdown;
use procession_protocols::pipe::Incoming;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A writer in the middle of a message that has sent nothing for so long is looked after.
pub(super) const WRITER_PATIENCE: Duration = SLICE.saturating_mul(5);

/// A message that has been taken in part; the turn is this process's meanwhile.
#[derive(Debug)]
pub(super) struct Midway {
    /// The process: a forked copy has no part in it.
    process: u64,
    pub(super) incoming: Incoming,
    fds: VecDeque<OwnedFd>,
    /// The descriptors are there already: those that come along are the same.
    has_fds: bool,
    lost_fds: bool,
}

impl Midway {
    /// With the descriptors, if it is known which come along.
    pub(super) fn new(incoming: Incoming, fds: Option<VecDeque<OwnedFd>>) -> Self {
        let has_fds = fds.is_some();
        let fds = fds.unwrap_or_default();
        Self { process: turn::me(), incoming, fds, has_fds, lost_fds: false }
    }

    /// Whether it is of this process.
    pub(super) fn is_ours(&self) -> bool {
        self.process == turn::me()
    }

    /// Takes what is there, up to the message's end. 0 is the end of the stream.
    pub(super) fn take(&mut self, end: &End) -> Result<usize, PipeError> {
        let room = self.incoming.room()?;
        let count = if end.kind == Kind::Other {
            let now = Some(Instant::now());
            if !ready::poll_until(end.fd(), PollFlags::POLLIN, now)? {
                return Err(io::Error::from(io::ErrorKind::WouldBlock).into());
            }
            stream::read(end.fd(), room.head, room.body, room.most)?
        } else {
            let mut again = VecDeque::new();
            let fds = if self.has_fds { &mut again } else { &mut self.fds };
            match stream::receive(end.fd(), room.head, room.body, room.most, fds) {
                Ok(Came { count, lost_fds }) => {
                    self.lost_fds |= lost_fds && !self.has_fds;
                    count
                }
                // The peer is gone, and with it what it had not read.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error.into()),
            }
        };
        self.incoming.filled(count)?;
        Ok(count)
    }

    pub(super) fn finish(self) -> Result<Message, PipeError> {
        if self.lost_fds {
            // The message is gone, but the next one is whole.
            return Err(io::Error::from(Errno::EMFILE).into());
        }
        let bytes = self.incoming.into_body();
        Ok(Message { bytes, fds: self.fds.into() })
    }
}

impl End {
    /// Waits for more of a message. False when the deadline passed.
    pub(super) fn wait_for_the_rest(&self, deadline: Option<Instant>) -> Result<bool, PipeError> {
        let look = Instant::now() + WRITER_PATIENCE;
        let slice = deadline.map_or(look, |deadline| deadline.min(look));
        if ready::poll_until(self.fd(), PollFlags::POLLIN, Some(slice))? {
            return Ok(true);
        }
        self.look_after_the_writer();
        Ok(deadline.is_none_or(|deadline| Instant::now() < deadline))
    }

    /// Somebody else may hold the sending end open whose writer died in the middle of this
    /// message: then nothing more can come.
    pub(super) fn look_after_the_writer(&self) {
        let turn = self.peers_turn();
        if turn.is_midway() && turn.free_of_the_dead(turn.holder()) {
            self.shut(Shutdown::Read);
        }
    }
}
