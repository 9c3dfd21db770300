//! What carries messages and runs actors: codec, links, launcher, reaper, node.
//!
//! Owns everything that touches the machine; system calls that need `unsafe` live in
//! `sys` alone. It must never decide what a protocol decides: that is
//! `procession-protocols` below. Above it stands `procession`, the face that users
//! see; nothing here is meant to be used directly.

pub mod codec;
pub mod finalizer;
pub mod log;
pub mod prctl;
pub mod proc_tree;
pub mod reap;
#[allow(unsafe_code)]
pub(crate) mod sys;
