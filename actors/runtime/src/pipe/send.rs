//! Sending: whole messages, on a descriptor that others write to as well.
//!
//! Owns the rest of a message whose writer would not wait for it: the hidden thread sends
//! it. A deadline or a cancellation ends a send before its first byte only; after that the
//! message is on its way and will arrive, or break the pipe. Neighbours: `turn`, `ready`.

use super::error::{of_write, would_block};
use super::ready::{self, Until};
use super::turn::{self, Attempt};
use super::{End, PipeError};
use crate::node::hidden;
use crate::sync::poll;
use crate::sys::stream::{self, Kind};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::Shutdown;
use procession_protocols::pipe::Head;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// A message up to this length, head included, goes over a Unix socket by one system call as
/// a whole or not at all: Linux puts so much into one buffer of its queue
/// (`unix_stream_sendmsg` in `net/unix/af_unix.c`). In bytes.
pub const FITS: usize = 32 * 1024;

/// The kernel's pipes take so much at once, or say that there is no room (`PIPE_BUF`).
const PIPE_PIECE: usize = 4096;

/// A message on its way out.
#[derive(Debug)]
pub struct Outgoing<'a> {
    head: Head,
    body: &'a [u8],
    fds: &'a [OwnedFd],
}

/// How much of a message went.
enum Offered {
    Whole,
    Nothing,
    /// So many bytes; it stays our turn.
    Part(usize),
    Busy(u64),
}

impl<'a> Outgoing<'a> {
    /// A message of these bytes, with these descriptors beside it.
    ///
    /// # Errors
    /// [`PipeError::BadLength`] when it is too long for anybody.
    pub fn new(body: &'a [u8], fds: &'a [OwnedFd]) -> Result<Self, PipeError> {
        Ok(Self { head: Head::new(body.len())?, body, fds })
    }

    fn len(&self) -> usize {
        self.head.whole()
    }

    /// Its bytes, if they are all of it.
    fn bare(&self) -> Result<&'a [u8], PipeError> {
        if self.fds.is_empty() { Ok(self.body) } else { Err(PipeError::CannotCarry) }
    }

    /// What follows the first `sent` bytes.
    fn rest(&self, sent: usize) -> [&[u8]; 2] {
        let head = self.head.bytes();
        [&head[sent.min(head.len())..], &self.body[sent.saturating_sub(head.len())..]]
    }
}

impl End {
    /// Sends a message, waiting for room until the deadline.
    ///
    /// # Errors
    /// [`PipeError::Timeout`] when its first byte found no room in time;
    /// [`PipeError::BrokenPipe`], [`PipeError::CannotCarry`] and others.
    pub fn send(
        self: &Arc<Self>,
        message: &Outgoing<'_>,
        deadline: Option<Instant>,
    ) -> Result<(), PipeError> {
        ready::may_block()?;
        if self.guard.seal.is_some() {
            return self.send_sealed(&[message.bare()?], deadline);
        }
        loop {
            let in_time = match self.offer(message)? {
                Offered::Whole => return Ok(()),
                Offered::Nothing => ready::poll_until(self.fd(), PollFlags::POLLOUT, deadline)?,
                Offered::Part(sent) => return self.finish(message, sent, deadline),
                Offered::Busy(held) => self.write_turn().wait(held, deadline),
            };
            if !in_time {
                return Err(PipeError::Timeout);
            }
        }
    }

    /// Sends a message if there is room for its first byte, without a wait: the hidden thread
    /// sends what is left. False when there is none.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn try_send(self: &Arc<Self>, message: &Outgoing<'_>) -> Result<bool, PipeError> {
        if self.guard.seal.is_some() {
            return self.try_send_sealed(message.bare()?);
        }
        match self.offer(message)? {
            Offered::Whole => {}
            Offered::Part(sent) => {
                Rest::new(self, message, sent).carry_on(oneshot::channel().0);
            }
            Offered::Nothing | Offered::Busy(_) => return Ok(false),
        }
        Ok(true)
    }

    /// As [`send`](Self::send), without blocking the thread.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// Dropping the future before the message's first byte is out takes it back; after that
    /// the message goes out nevertheless.
    pub async fn send_async(self: &Arc<Self>, message: &Outgoing<'_>) -> Result<(), PipeError> {
        if self.guard.seal.is_some() {
            return self.send_sealed_async(&[message.bare()?]).await;
        }
        loop {
            match self.offer(message)? {
                Offered::Whole => return Ok(()),
                Offered::Nothing => ready::ready(self.fd(), Until::Writable).await?,
                Offered::Part(sent) => {
                    let (done, ended) = oneshot::channel();
                    Rest::new(self, message, sent).carry_on(done);
                    return ended.await.unwrap_or(Err(PipeError::BrokenPipe));
                }
                Offered::Busy(held) => {
                    ready::nap(|| self.write_turn().free_of_the_dead(held)).await?;
                }
            }
        }
    }

    /// Sends as much as there is room for.
    fn offer(&self, message: &Outgoing<'_>) -> Result<Offered, PipeError> {
        self.writable()?;
        if !message.fds.is_empty() && self.kind != Kind::UnixSocket {
            return Err(PipeError::CannotCarry);
        }
        let turn = self.write_turn();
        match turn.try_take() {
            Attempt::Taken => {}
            Attempt::Busy(held) => return Ok(Offered::Busy(held)),
            Attempt::Broken => {
                // Whoever receives gets to the end of the stream inside of the message.
                self.shut(Shutdown::Write);
                turn.release();
                return Err(PipeError::BrokenPipe);
            }
        }
        if self.kind != Kind::UnixSocket || message.len() > FITS {
            turn.set_midway();
        }
        let offered = match self.write(message.rest(0), message.fds, false) {
            Ok(count) if count == message.len() => Ok(Offered::Whole),
            Ok(count) => {
                turn.set_midway();
                return Ok(Offered::Part(count));
            }
            Err(error) if would_block(&error) => Ok(Offered::Nothing),
            Err(error) => Err(of_write(error)),
        };
        turn.settle();
        turn.release();
        offered
    }

    /// Sends the rest of a message whose first bytes are out. It is our turn.
    fn finish(
        self: &Arc<Self>,
        message: &Outgoing<'_>,
        mut sent: usize,
        deadline: Option<Instant>,
    ) -> Result<(), PipeError> {
        let mut in_time = true;
        while sent < message.len() {
            if !in_time {
                Rest::new(self, message, sent).carry_on(oneshot::channel().0);
                return Ok(());
            }
            in_time = match self.write(message.rest(sent), &[], deadline.is_none()) {
                Ok(count) => {
                    sent += count;
                    true
                }
                // Where nobody can wait for room here, the hidden thread does.
                Err(error) if would_block(&error) => {
                    ready::poll_until(self.fd(), PollFlags::POLLOUT, deadline).unwrap_or(false)
                }
                Err(error) => {
                    self.tear();
                    return Err(of_write(error));
                }
            };
        }
        self.through();
        Ok(())
    }

    /// Writes what there is room for; `WouldBlock` when there is none. With `wait` it waits
    /// for room, where the descriptor has a way to.
    pub(super) fn write(
        &self,
        parts: [&[u8]; 2],
        fds: &[OwnedFd],
        wait: bool,
    ) -> io::Result<usize> {
        if self.kind != Kind::Other {
            return stream::send(self.fd(), &parts.map(IoSlice::new), fds, wait);
        }
        let now = Some(Instant::now());
        if !poll(&mut [PollFd::new(self.fd(), PollFlags::POLLOUT)], now)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let [head, body] = parts;
        let body = &body[..body.len().min(PIPE_PIECE - head.len())];
        loop {
            match nix::sys::uio::writev(self.fd(), &[IoSlice::new(head), IoSlice::new(body)]) {
                Err(Errno::EINTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// All of a message is out that went in pieces.
    fn through(&self) {
        let turn = self.write_turn();
        turn.settle();
        turn.release();
    }

    /// The rest of a message will never go out: nothing can follow it.
    fn tear(&self) {
        let turn = self.write_turn();
        turn.break_off();
        self.shut(Shutdown::Write);
        turn.release();
    }
}

/// What is left of a message whose first bytes are out; it has the turn.
pub(super) struct Rest {
    end: Arc<End>,
    bytes: Vec<u8>,
    sent: usize,
    /// The process: a forked copy has no part in it.
    process: u64,
}

impl Rest {
    fn new(end: &Arc<End>, message: &Outgoing<'_>, sent: usize) -> Self {
        Self::of(end, message.rest(sent).concat())
    }

    pub(super) fn of(end: &Arc<End>, bytes: Vec<u8>) -> Self {
        Self { end: end.clone(), bytes, sent: 0, process: turn::me() }
    }

    /// Has the hidden thread send it, and say how that ended.
    pub(super) fn carry_on(mut self, done: oneshot::Sender<Result<(), PipeError>>) {
        match hidden::handle() {
            Ok(handle) => drop(handle.spawn(async move {
                let result = self.send().await;
                let _ = done.send(result);
            })),
            // Without that thread there is no other way than to wait here.
            Err(_) => drop(done.send(crate::wait::block_on(self.send()))),
        }
    }

    async fn send(&mut self) -> Result<(), PipeError> {
        while self.sent < self.bytes.len() {
            match self.end.write([&[], &self.bytes[self.sent..]], &[], false) {
                Ok(count) => self.sent += count,
                Err(error) if would_block(&error) => {
                    ready::ready(self.end.fd(), Until::Writable).await?;
                }
                Err(error) => return Err(of_write(error)),
            }
        }
        Ok(())
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if self.process != turn::me() {
            return;
        }
        if self.sent == self.bytes.len() {
            self.end.through();
        } else {
            self.end.tear();
        }
    }
}
