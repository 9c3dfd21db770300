//! Messages that have been received and still stand in the socket: the words and their changes.
//!
//! Owns how several small messages are taken off a stream by one system call. A reader looks
//! at what is there without taking it, and what it hands out of that it *owes*: these bytes
//! stay at the front of the stream until somebody *pays*, that is, takes them off. The words
//! are shared by all who read there and belong to whoever has the turn at reading, so a debt
//! is anybody's: the next reader begins behind it, or pays it. It must never read a
//! descriptor: the runtime's `pipe::receive` does. Generic over the word, as `turn` is.
//!
//! ```text
//!             a message is received
//!   nothing ─────────────────────────> owed, unpaid <┐ another one
//!   owed  <──────────┐                     │     └───┘
//!                    │                     │ one system call takes all of it, and writes
//!                    └── owed, paid <──────┘ over the witness
//! ```
//!
//! # Why a death at any instant neither loses a message nor gives one twice
//!
//! A message is received with the one store that raises what is owed: before it, it is still
//! to be received by another; after it, it is gone with the dead. A payment is one system
//! call, which the kernel begins and ends whole though its caller be killed, and one store
//! that says so. A death between the two would have the next one pay again, with messages
//! that nobody has received; but the same call has put the first bytes of what it took over
//! the *witness*, where no message begins as [`UNPAID`] does.

use super::turn::{Turn, Word};

/// What the witness is until a payment: no message that may be owed has a head of such bytes.
pub const UNPAID: u64 = u64::MAX;

/// So many messages are owed at most: the room that they take in the socket is their writer's.
pub const MOST_OWED: u64 = 32;

/// One message, in the upper half of the word; bytes are in the lower one.
const ONE: u64 = 1 << 32;

/// What is owed at the front of one direction.
#[derive(Debug)]
pub struct Debt<'a, W> {
    /// How many messages, and how many bytes.
    pub owed: &'a W,
    /// Where a payment is seen.
    pub witness: &'a W,
    /// Others look at the stream who know nothing of debts: nothing may be owed any more.
    pub is_open: &'a W,
}

impl<W> Clone for Debt<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Debt<'_, W> {}

impl<W: Word> Debt<'_, W> {
    /// How many bytes at the front have been received. Without the turn it is a hint.
    pub fn bytes(self) -> u64 {
        self.owed.load() % ONE
    }

    /// Whether another message may be owed.
    pub fn may_grow(self) -> bool {
        !self.is_forbidden() && self.owed.load() / ONE < MOST_OWED
    }

    /// Receives the message of so many bytes that follows what is owed. Only for who has the
    /// turn.
    pub fn owe(self, bytes: u32) {
        let owed = self.owed.load();
        if owed == 0 {
            self.witness.store(UNPAID);
        }
        self.owed.store(owed + ONE + u64::from(bytes));
    }

    /// Takes what is owed off the stream; says by how many bytes the front has moved. `take`
    /// takes so many, over the witness, by one system call. Only for who has the turn.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn pay<E>(
        self,
        turn: Turn<'_, W>,
        take: impl FnOnce(u64, &W) -> Result<(), E>,
    ) -> Result<u64, E> {
        let bytes = self.bytes();
        if bytes > 0 {
            // Another one may have died right behind its payment.
            if self.witness.load() == UNPAID {
                take(bytes, self.witness)?;
            }
            self.owed.store(0);
            turn.pass();
        }
        Ok(bytes)
    }

    /// From now on nothing may be owed. What is, is to be paid.
    pub fn forbid(self) {
        self.is_open.store(1);
    }

    /// Whether nothing may be owed.
    pub fn is_forbidden(self) -> bool {
        self.is_open.load() != 0
    }
}
