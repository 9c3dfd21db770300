//! What carries messages and runs actors: codec, links, launcher, reaper, node.
//!
//! Owns everything that touches the machine; system calls that need `unsafe` live in
//! `sys` alone. It must never decide what a protocol decides: that is
//! `procession-protocols` below. Above it stands `procession`, the face that users
//! see; nothing here is meant to be used directly.

pub mod actor;
pub mod child;
pub mod codec;
pub mod down;
pub mod farewell;
pub mod finalizer;
pub mod function;
pub mod launcher;
pub mod link;
pub mod listener;
pub mod log;
pub mod mail;
pub mod manager;
pub mod memory;
pub mod node;
#[doc(hidden)]
pub mod panic;
pub mod peer;
pub mod pipe;
pub mod pool;
pub mod prctl;
pub mod proc_tree;
pub mod queue;
pub mod reap;
mod relay;
#[doc(hidden)]
pub mod seat;
pub mod share;
mod spin;
pub mod supervisor;
#[doc(hidden)]
pub mod sync;
#[allow(unsafe_code, reason = "the one room for it")]
mod sys;
mod threads;
pub mod wait;
pub mod words;

pub use sys::process::Usage;
