//! The window of a link: how many messages the actor has not handled yet.
//!
//! Owns the places that messages take, the wait for one, and the entry of a call. It must
//! never write to the link. Neighbours: `way` sends, `Peer::heard` gives places back.

use super::{Peer, died, unreachable};
use crate::actor::{CallError, Overflow, ReplyPort};
use crate::codec::Encoded;
use crate::link::LinkError;
use crate::sync::{after, lock, poll};
use nix::poll::{PollFd, PollFlags};
use procession_protocols::wire::{Header, Kind};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

impl Peer {
    fn is_full(&self) -> bool {
        let sent = self.sent.load(Ordering::Acquire);
        // Between the two looks other threads may have sent more, and that has been handled.
        let waiting = sent.saturating_sub(self.handled.load(Ordering::Acquire));
        waiting >= self.options.capacity as u64
    }

    pub(super) fn refusal(&self) -> Option<CallError> {
        lock(&self.pending).ended.as_ref().map(died)
    }

    /// Waits for a place in the window. `Ok(false)`: the policy drops the message.
    pub(super) fn make_room(
        &self,
        is_call: bool,
        deadline: Option<Instant>,
    ) -> Result<bool, CallError> {
        if !self.is_full() {
            return Ok(true);
        }
        self.pump();
        let own = match self.options.overflow {
            Overflow::Block(limit) => after(limit),
            Overflow::DropNew if !is_call => return Ok(!self.is_full()),
            Overflow::DropNew | Overflow::Fail if self.is_full() => return Err(CallError::Full),
            Overflow::DropNew | Overflow::Fail => return Ok(true),
        };
        let until = [own, deadline].into_iter().flatten().min();
        while self.is_full() {
            if let Some(why) = self.refusal() {
                return Err(why);
            }
            let mut fds = [
                PollFd::new(self.link.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.pidfd(), PollFlags::POLLIN),
            ];
            // Another thread may read the credit that we wait for, so no wait is long.
            let slice = after(Duration::from_millis(10));
            let ready = poll(&mut fds, [until, slice].into_iter().flatten().min());
            if ready.map_err(|error| CallError::Unreachable(error.to_string()))? {
                self.pump();
            }
            if until.is_some_and(|until| Instant::now() >= until) && self.is_full() {
                return Err(if until == own { CallError::Full } else { CallError::Timeout });
            }
        }
        Ok(true)
    }

    /// Enters the call and gives the frame's header.
    pub(super) fn register(
        &self,
        message: &Encoded,
        reply: Option<ReplyPort>,
    ) -> Result<Header, CallError> {
        let kind = if reply.is_some() { Kind::Call } else { Kind::Cast };
        let mut header = Header::new(kind, message.bytes.len()).map_err(unreachable)?;
        header.target = self.id.number;
        let mut pending = lock(&self.pending);
        if let Some(down) = &pending.ended {
            return Err(died(down));
        }
        if let Some(reply) = reply {
            pending.next_call += 1;
            header.call = pending.next_call;
            pending.calls.insert(header.call, reply);
        }
        self.sent.fetch_add(1, Ordering::AcqRel);
        Ok(header)
    }

    /// Undoes `register` for a message that did not go out.
    pub(super) fn unregister(&self, header: Header, error: LinkError) -> CallError {
        self.sent.fetch_sub(1, Ordering::AcqRel);
        lock(&self.pending).calls.remove(&header.call);
        match error {
            LinkError::Timeout => CallError::Timeout,
            LinkError::Full => CallError::Full,
            LinkError::Closed => {
                self.pump();
                self.refusal().unwrap_or(CallError::Stopped)
            }
            other => unreachable(other),
        }
    }

    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let mut pending = lock(&self.pending);
        if let Some(down) = &pending.ended {
            return Poll::Ready(Err(died(down)));
        }
        if !self.is_full() {
            return Poll::Ready(Ok(()));
        }
        if !matches!(self.options.overflow, Overflow::Block(_)) {
            return Poll::Ready(Err(CallError::Full));
        }
        pending.room.push(context.waker().clone());
        Poll::Pending
    }
}
