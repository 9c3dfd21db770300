//! The words of locks and their kin, explored in every interleaving of small worlds, with
//! deaths, time-outs and the owner's repair at every step.
//!
//! Owns the worlds; `explorer` has the search. Two properties hold in each: what must
//! never be (two holders, a permit lost or doubled, a party let go early) is in no state,
//! and from every state everybody can still finish.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::cast_possible_truncation, reason = "the worlds are small")]

mod barrier;
mod condition;
mod event;
pub(crate) mod explorer;
mod lock;
mod plain;
mod semaphore;
mod stage;
