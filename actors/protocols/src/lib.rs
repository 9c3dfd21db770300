//! What the actors of procession say and decide: messages and pure state machines.
//!
//! Owns every decision that can be made without touching the machine: how a wait
//! status reads as an exit reason, what a supervisor does when a child dies, how a
//! frame is laid out. It must never do I/O, read a clock, start a thread or use
//! `unsafe`: each machine is a function of (state, event) to effects, so that its
//! states can be explored in microseconds. Its neighbour above is
//! `procession-runtime`, which feeds it events and carries out its effects.

pub mod auth;
pub mod custody;
pub mod dynamic;
pub mod exit;
pub mod id;
pub mod manager;
pub mod pickle;
pub mod pipe;
pub mod pool;
pub mod queue;
pub mod supervision;
pub mod wire;
pub mod word;
