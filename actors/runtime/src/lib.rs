//! What carries messages and runs actors: codec, links, launcher, reaper, node.
//!
//! Owns everything that touches the machine; system calls that need `unsafe` live in
//! `sys` alone. It must never decide what a protocol decides: that is
//! `procession-protocols` below. Above it stands `procession`, the face that users
//! see; nothing here is meant to be used directly.

pub mod actor;
pub mod codec;
pub mod down;
pub mod panic;
pub mod wait;
