//! Receiving by one process alone, which may read ahead.
//!
//! Owns an end's bytes that have come and belong to no message that was returned yet. One
//! `recv` brings as many messages as are there, where an [`End`] looks at each and then takes
//! it, for the sake of others who receive at the same one. It must never be made of an end
//! that somebody else may hold. Neighbours: `sealed`, whose codes it checks; sending stays the
//! end's.

use super::error::{of_read, would_block};
use super::sealed::log_refusal;
use super::{End, PipeError, ready};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, Shutdown, recv};
use procession_protocols::auth::SEAL;
use procession_protocols::pipe::Head;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Instant;

/// So much is asked of the system at once, and kept while nothing is there. In bytes.
const AT_ONCE: usize = 16 * 1024;

/// The receiving side of an end that nobody else receives at.
#[derive(Debug)]
pub struct Ahead {
    end: Arc<End>,
    /// What has come is in the middle.
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    is_refused: bool,
}

impl Ahead {
    /// Of an end of which this process has the only one, and that has received only whole
    /// messages so far.
    pub fn new(end: Arc<End>) -> Self {
        end.lay_open();
        Self { end, buffer: Vec::new(), from: 0, to: 0, is_refused: false }
    }

    /// Waits for the next message until the deadline; `None` when that passed. What has come of
    /// a message stays for the next time.
    ///
    /// # Errors
    /// As [`End::receive`].
    pub fn receive(&mut self, deadline: Option<Instant>) -> Result<Option<Vec<u8>>, PipeError> {
        ready::may_block()?;
        loop {
            match self.come()? {
                Some(message) => return Ok(Some(message)),
                None if self.fill(deadline)? => {}
                None => return Ok(None),
            }
        }
    }

    /// The next message, if it was there when the system was last asked.
    ///
    /// # Errors
    /// As [`End::receive`].
    pub fn come(&mut self) -> Result<Option<Vec<u8>>, PipeError> {
        if self.is_refused {
            return Err(PipeError::Refused);
        }
        self.next().inspect_err(|error| {
            // Nothing that comes behind it can be trusted.
            self.end.shut(Shutdown::Both);
            self.is_refused = true;
            log_refusal(error);
        })
    }

    /// The message at the front, if it is there as a whole.
    fn next(&mut self) -> Result<Option<Vec<u8>>, PipeError> {
        let come = &self.buffer[self.from..self.to];
        let (max, _) = self.end.bounds(u64::MAX, 0);
        let Some(head) = Head::read(come, max)? else { return Ok(None) };
        let Some(message) = come.get(head.bytes().len()..head.whole()) else { return Ok(None) };
        let turn = self.end.read_turn();
        let len = match &self.end.guard.seal {
            Some(seal) => seal.open(turn.passed(), message).ok_or(PipeError::Forged)?,
            None => message.len(),
        };
        let message = message[..len].to_vec();
        turn.pass();
        self.from += head.whole();
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
            self.buffer.truncate(AT_ONCE);
            self.buffer.shrink_to(AT_ONCE);
        }
        Ok(Some(message))
    }

    #[cfg(test)]
    pub(super) fn is_small(&self) -> bool {
        self.buffer.capacity() <= AT_ONCE
    }

    /// Waits for more. False when the deadline passed.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<bool, PipeError> {
        if self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        if self.to + SEAL >= self.buffer.len() {
            // A long message has as much memory as twice what has come of it.
            self.buffer.resize((self.buffer.len() * 2).max(AT_ONCE), 0);
        }
        let flags = deadline.map_or(MsgFlags::empty(), |_| MsgFlags::MSG_DONTWAIT);
        loop {
            match recv(self.end.fd.as_raw_fd(), &mut self.buffer[self.to..], flags) {
                Ok(0) | Err(Errno::ECONNRESET) => {
                    let is_between = self.from == self.to;
                    return Err(if is_between {
                        PipeError::EndOfFile
                    } else {
                        PipeError::Truncated
                    });
                }
                Ok(count) => {
                    self.to += count;
                    return Ok(true);
                }
                Err(Errno::EINTR) => {}
                Err(error) if would_block(&error.into()) => {
                    if !ready::poll_until(self.end.as_fd(), PollFlags::POLLIN, deadline)? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(of_read(error.into())),
            }
        }
    }
}
