//! Those for which an owner waits, since they have no thread to block.
//!
//! Owns their queue, first come, first served, and the words by which clients ask for it.

use crate::codec::Encoded;
use crate::share::ReplyTo;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Instant;
use tokio::sync::oneshot;

/// What a client says to the owner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Those for which you wait may have their turn.
    Ring,
    /// I am a party of the barrier: miss me if I die.
    Party,
    /// I panicked, and let go: take me for dead.
    Forsaken,
    /// I end in good order, and do not wait there: do not miss me.
    NoParty,
    /// A call: wait for me. The answer is one byte.
    Wait(Claim),
    /// Nobody awaits that any more. A call: with the answer its cell, if it has one, is
    /// the client's again.
    Abandon(Claim),
}

/// What is waited for, and on whose behalf.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Claim {
    /// The client's own number for it.
    pub(super) token: u64,
    /// The seat that is to hold the lock, or whose bell is to ring.
    pub(super) seat: u16,
    /// The cell of a permit; 0 for a plain count.
    pub(super) cell: u16,
    /// The generation of an event, or the round of a barrier, that is waited out.
    pub(super) round: u32,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The owner itself.
    Owner,
    /// A client.
    Client(u16),
}

/// One for which the owner waits.
pub(super) struct Waiting {
    pub(super) from: From,
    pub(super) claim: Claim,
    pub(super) began: Instant,
    pub(super) answer: Answer,
}

/// Where the answer goes.
pub(super) enum Answer {
    Remote(ReplyTo),
    Local(oneshot::Sender<u8>),
    Nobody,
}

impl Answer {
    pub(super) fn send(self, value: u8) {
        match self {
            Self::Remote(reply) => reply.send(Encoded { bytes: vec![value], fds: Vec::new() }),
            // Who has dropped its end abandons the claim itself.
            Self::Local(sender) => drop(sender.send(value)),
            Self::Nobody => {}
        }
    }
}

/// The queue.
#[derive(Default)]
pub(super) struct Waiters(VecDeque<Waiting>);

impl Waiters {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.0.push_back(waiting);
    }

    pub(super) fn first(&self) -> Option<&Waiting> {
        self.0.front()
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.0.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes one out. False when it is not there.
    pub(super) fn remove(&mut self, from: From, token: u64) -> bool {
        let is_it = |one: &Waiting| one.from == from && one.claim.token == token;
        let at = self.0.iter().position(is_it);
        at.and_then(|at| self.0.remove(at)).is_some()
    }

    /// Takes all of a client out.
    pub(super) fn forget(&mut self, from: From) {
        self.0.retain(|one| one.from != from);
    }

    /// Takes all out, and puts those back that `is_served` says nothing of; the others get
    /// the answer.
    pub(super) fn serve_each(&mut self, mut answer: impl FnMut(&Waiting) -> Option<u8>) {
        for waiting in std::mem::take(&mut self.0) {
            match answer(&waiting) {
                Some(value) => waiting.answer.send(value),
                None => self.0.push_back(waiting),
            }
        }
    }
}
