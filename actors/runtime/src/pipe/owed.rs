//! Receiving many small messages by few system calls.
//!
//! Owns what an end hands out of what it has seen and leaves in the socket, and when that is
//! taken off: before anything else is asked of the descriptor here, when enough has come
//! together, and before anybody gets the descriptor who knows nothing of it; from then on each
//! message is taken as it is received. So nothing is ever read ahead: what nobody has received
//! is in the socket. Neighbours: `receive`; `procession_protocols::pipe::debt` has the words,
//! and says why a death does no harm.

use super::error::{of_read, would_block};
use super::receive::{LOOK, Message, Reading};
use super::turn::{self, Attempt, Turn};
use super::{End, PipeError, ready};
use crate::sync::lock;
use crate::sys::stream::{self, Kind};
use nix::sys::socket::Shutdown;
use procession_protocols::pipe::Head;
use procession_protocols::pipe::debt::Debt;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// So often an end that is opened to others tries to get the turn, which is held for a few
/// system calls. Who has it for longer owes nothing, or will see that it is to pay.
const TRIES: u32 = 100;

impl End {
    /// What the readers of this end owe.
    pub(super) fn debt(&self) -> Debt<'_, AtomicU64> {
        turn::debt(&self.page, self.inward)
    }

    /// Whether a message that has been seen may be received and left where it is. Each of a
    /// sealed connection is counted as it is taken.
    pub(super) fn may_owe(&self) -> bool {
        self.kind == Kind::UnixSocket && self.guard.seal.is_none() && self.debt().may_grow()
    }

    /// Receives the message at the front of what was seen; it is our turn.
    pub(super) fn owe(&self, ahead: &[u8], head: &Head) -> Message {
        let bytes = ahead[head.bytes().len()..head.whole()].to_vec();
        // Looks are short, and so is what they show.
        self.debt().owe(u32::try_from(head.whole()).unwrap_or(u32::MAX));
        Message { bytes, fds: Vec::new() }
    }

    /// Takes off the stream what is owed; it is our turn.
    pub(super) fn pay(&self, turn: Turn<'_>, reading: &mut Reading) -> Result<(), PipeError> {
        let take = |bytes: u64, witness: &AtomicU64| {
            // All of it has been seen at once. A word that says more is nobody's debt.
            let owed = usize::try_from(bytes).ok().filter(|bytes| *bytes <= LOOK);
            let took = owed.map(|owed| {
                stream::discard(self.fd(), witness, &mut reading.scratch, owed)
                    .map(|count| count == owed)
            });
            match took {
                Some(Ok(true)) => Ok(()),
                // Somebody who knows nothing of turns has taken it, or some of it.
                Some(Err(error)) if would_block(&error) => Ok(()),
                Some(Err(error)) => Err(of_read(error)),
                Some(Ok(false)) | None => {
                    turn.break_off();
                    self.shut(Shutdown::Read);
                    Err(PipeError::Damaged)
                }
            }
        };
        let was_valid = reading.at == turn.passed();
        let paid = self.debt().pay(turn.words(), take)?;
        if was_valid {
            reading.advance(usize::try_from(paid).unwrap_or(usize::MAX), turn);
        }
        Ok(())
    }

    /// Pays if something is owed and nobody else is at it.
    pub(super) fn settle(&self, reading: &mut Reading) {
        if self.debt().bytes() == 0 {
            return;
        }
        let turn = self.read_turn();
        match turn.try_take() {
            Attempt::Busy(_) => return,
            // Whoever receives next gets to know of an error.
            Attempt::Taken => drop(self.pay(turn, reading)),
            Attempt::Broken => {}
        }
        turn.release();
    }

    /// Somebody gets the descriptor who knows nothing of debts: from now on what it shows is
    /// what has not been received.
    pub(super) fn lay_open(&self) {
        let debt = self.debt();
        if !self.rights.read || debt.is_forbidden() {
            return;
        }
        debt.forbid();
        for _ in 0..TRIES {
            self.settle(&mut lock(&self.reading));
            let turn = self.read_turn();
            if debt.bytes() == 0 && (turn.holder() == 0 || turn.is_midway()) {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Whether there is something to receive, or the end. Waits for it until the deadline.
    ///
    /// # Errors
    /// [`PipeError::NotReadable`], [`PipeError::WouldDeadlock`] and the system's.
    pub fn poll(&self, deadline: Option<Instant>) -> Result<bool, PipeError> {
        self.readable()?;
        ready::may_block()?;
        Ok(self.shows_more() || !ready::wait(&[self.fd()], deadline)?.is_empty())
    }

    /// As [`poll`](Self::poll), without blocking the thread.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait.
    pub async fn poll_async(&self, timeout: Duration) -> Result<bool, PipeError> {
        self.readable()?;
        if self.shows_more() {
            return Ok(true);
        }
        let fds: [BorrowedFd<'_>; 1] = [self.fd()];
        Ok(!ready::wait_async(&fds, Some(timeout)).await?.is_empty())
    }

    /// Whether more has been seen than has been received. Otherwise nothing is owed, so that
    /// the descriptor says what there is.
    fn shows_more(&self) -> bool {
        let reading = &mut *lock(&self.reading);
        let shows = !reading.ahead(self.read_turn(), self.debt()).is_empty();
        if !shows {
            self.settle(reading);
        }
        shows
    }
}
