//! The unsafe room: the only place where `unsafe` occurs.
//!
//! Owns system calls and language edges that have no safe form: entry before `main`,
//! functions as addresses in an image, descriptors beside bytes. Each function here
//! is safe to call; each block says what upholds it. It must never decide anything.

pub(crate) mod cells;
pub(crate) mod chunk;
pub(crate) mod clone;
pub(crate) mod copy;
pub(crate) mod desk;
pub(crate) mod entry;
pub(crate) mod environment;
pub(crate) mod exclusive;
pub(crate) mod exit;
pub(crate) mod function;
pub(crate) mod image;
pub(crate) mod integer;
pub(crate) mod interrupt;
pub(crate) mod memory;
pub(crate) mod outbox;
pub(crate) mod page;
pub(crate) mod process;
pub(crate) mod rings;
pub(crate) mod sealed;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod watch;
