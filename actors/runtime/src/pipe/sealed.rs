//! Messages of a connection whose peers share keys: each goes out with a code behind it, and
//! is taken only with the right one.
//!
//! Owns when a code is made and checked: within the turn, whose count is the message's
//! number. So all processes that hold the end number their messages in the order in which
//! they are sent. A process that dies with the turn in its hand leaves a number that nobody
//! knows, and the connection broken. What a code is, is `procession_protocols::auth`'s.

use super::error::{of_write, would_block};
use super::ready::{self, Until};
use super::receive::{Message, Reading};
use super::send::{Outgoing, Rest};
use super::turn::{Attempt, Turn};
use super::{End, PipeError};
use crate::wait::block_on;
use nix::poll::PollFlags;
use nix::sys::socket::Shutdown;
use procession_protocols::auth::{SEAL, Seal};
use procession_protocols::pipe::{Head, LONGEST_HEAD};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// How much of a message went.
enum Offered {
    Whole,
    Nothing,
    /// This is left of it; it stays our turn.
    Part(Vec<u8>),
    Busy(u64),
}

impl End {
    /// Sends messages, each whole and all together as far as there is room: with codes they
    /// go out in one write. Waits for room.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_all(self: &Arc<Self>, messages: &[Vec<u8>]) -> Result<(), PipeError> {
        if self.guard.seal.is_some() {
            ready::may_block()?;
            return self.send_sealed(messages, None);
        }
        messages.iter().try_for_each(|message| self.send(&Outgoing::new(message, &[])?, None))
    }

    /// As [`send_all`](Self::send_all), without blocking the thread.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// Dropped, it may have sent some of them. None goes out in part only.
    pub async fn send_all_async(self: &Arc<Self>, messages: &[&[u8]]) -> Result<(), PipeError> {
        if self.guard.seal.is_some() {
            return self.send_sealed_async(messages).await;
        }
        for message in messages {
            self.send_async(&Outgoing::new(message, &[])?).await?;
        }
        Ok(())
    }

    /// [`End::send`] of several, each with a code. The deadline is for the first byte, and the
    /// rest is never waited for longer.
    pub(super) fn send_sealed<M: AsRef<[u8]>>(
        self: &Arc<Self>,
        messages: &[M],
        deadline: Option<Instant>,
    ) -> Result<(), PipeError> {
        loop {
            let in_time = match self.offer_sealed(messages)? {
                Offered::Whole => return Ok(()),
                Offered::Nothing => ready::poll_until(self.fd(), PollFlags::POLLOUT, deadline)?,
                Offered::Part(rest) => {
                    let (done, ended) = oneshot::channel();
                    Rest::of(self, rest).carry_on(done);
                    if deadline.is_some() {
                        return Ok(());
                    }
                    return block_on(ended).unwrap_or(Err(PipeError::BrokenPipe));
                }
                Offered::Busy(held) => self.write_turn().wait(held, deadline),
            };
            if !in_time {
                return Err(PipeError::Timeout);
            }
        }
    }

    /// [`End::try_send`], with a code.
    pub(super) fn try_send_sealed(self: &Arc<Self>, message: &[u8]) -> Result<bool, PipeError> {
        match self.offer_sealed(&[message])? {
            Offered::Whole => {}
            Offered::Part(rest) => Rest::of(self, rest).carry_on(oneshot::channel().0),
            Offered::Nothing | Offered::Busy(_) => return Ok(false),
        }
        Ok(true)
    }

    /// [`End::send_async`] of several, each with a code.
    pub(super) async fn send_sealed_async(
        self: &Arc<Self>,
        messages: &[&[u8]],
    ) -> Result<(), PipeError> {
        loop {
            match self.offer_sealed(messages)? {
                Offered::Whole => return Ok(()),
                Offered::Nothing => ready::ready(self.fd(), Until::Writable).await?,
                Offered::Part(rest) => {
                    let (done, ended) = oneshot::channel();
                    Rest::of(self, rest).carry_on(done);
                    return ended.await.unwrap_or(Err(PipeError::BrokenPipe));
                }
                Offered::Busy(held) => {
                    ready::nap(|| self.write_turn().free_of_the_dead(held)).await?;
                }
            }
        }
    }

    fn offer_sealed<M: AsRef<[u8]>>(&self, messages: &[M]) -> Result<Offered, PipeError> {
        self.writable()?;
        let Some(seal) = &self.guard.seal else { return Err(PipeError::Closed) };
        let turn = self.write_turn();
        match turn.try_take() {
            Attempt::Taken => {}
            Attempt::Busy(held) => return Ok(Offered::Busy(held)),
            Attempt::Broken => {
                self.shut(Shutdown::Write);
                turn.release();
                return Err(PipeError::BrokenPipe);
            }
        }
        turn.set_midway();
        let offered = self.write_sealed(seal, turn, messages);
        if !matches!(offered, Ok(Offered::Part(_))) {
            turn.settle();
            turn.release();
        }
        offered
    }

    /// Writes what there is room for; it is our turn. All numbers are used up with the first
    /// byte: what is left goes out before anything else.
    fn write_sealed<M: AsRef<[u8]>>(
        &self,
        seal: &Seal,
        turn: Turn<'_>,
        messages: &[M],
    ) -> Result<Offered, PipeError> {
        let len = |message: &M| LONGEST_HEAD + message.as_ref().len() + SEAL;
        let mut frames = Vec::with_capacity(messages.iter().map(len).sum());
        let mut number = turn.passed();
        for message in messages.iter().map(M::as_ref) {
            frames.extend_from_slice(Head::new(message.len() + SEAL)?.bytes());
            frames.extend_from_slice(message);
            frames.extend_from_slice(&seal.seal(number, message));
            number = number.wrapping_add(1);
        }
        match self.write([&frames, &[]], &[], false) {
            Ok(count) => {
                for _ in messages {
                    turn.pass();
                }
                let is_whole = count == frames.len();
                Ok(if is_whole { Offered::Whole } else { Offered::Part(frames.split_off(count)) })
            }
            Err(error) if would_block(&error) => Ok(Offered::Nothing),
            Err(error) => Err(of_write(error)),
        }
    }

    /// What is asked of the next message: its greatest length on the wire, and how much of
    /// it may go straight into a caller's buffer.
    pub(super) fn bounds(&self, max: u64, room: usize) -> (u64, usize) {
        let max = max.min(self.guard.longest);
        match self.guard.seal {
            Some(_) => (max + SEAL as u64, 0),
            None => (max, room),
        }
    }

    /// Takes the code off a message that has been counted already; it is our turn.
    pub(super) fn open(
        &self,
        turn: Turn<'_>,
        reading: &mut Reading,
        mut message: Message,
    ) -> Result<Message, PipeError> {
        let Some(seal) = &self.guard.seal else { return Ok(message) };
        if let Some(len) = seal.open(turn.passed().wrapping_sub(1), &message.bytes) {
            message.bytes.truncate(len);
            return Ok(message);
        }
        // Whoever sent it has not the keys: nothing that comes behind it can be trusted.
        turn.break_off();
        self.shut(Shutdown::Both);
        Err(refuse(reading, PipeError::Forged))
    }
}

/// From now on nothing is received. Where that is the peer's doing, it is logged, once.
pub(super) fn refuse(reading: &mut Reading, error: PipeError) -> PipeError {
    reading.refused = true;
    log_refusal(&error);
    error
}

pub(super) fn log_refusal(error: &PipeError) {
    if matches!(error, PipeError::Forged | PipeError::BadLength(_)) {
        tracing::warn!(target: "procession", %error, "a connection receives no more");
    }
}
