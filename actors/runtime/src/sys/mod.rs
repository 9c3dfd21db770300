//! The system calls that need `unsafe`, each behind a function with checked types.
//!
//! Owns every `unsafe` block of the library. A module here wraps calls and decides
//! nothing; it must never keep state, log or start a thread. Everything above in this
//! crate may call it; calls that `nix` wraps safely stay outside.

pub(crate) mod process;
