//! Messages that prove where they come from, and that none is missing.
//!
//! ```text
//! message | code[16]        HMAC-SHA256 of (number, message), cut in half
//! ```
//!
//! Owns the code behind each message of a connection that has a session key: the key is one
//! for each direction, and the number counts the direction's messages from 0, so that a
//! message cannot be changed, repeated, left out, or sent back. It is no cipher: whoever
//! listens can read.

use super::digest::{CODE, code, is_code};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Length of the code behind a message, in bytes.
pub const SEAL: usize = CODE / 2;

/// The keys of one side of a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    outward: [u8; CODE],
    inward: [u8; CODE],
}

impl Seal {
    pub(super) fn new(outward: [u8; CODE], inward: [u8; CODE]) -> Self {
        Self { outward, inward }
    }

    /// The code of the message that is sent as number `number`.
    pub fn seal(&self, number: u64, message: &[u8]) -> [u8; SEAL] {
        let code = code(&self.outward, &[&number.to_be_bytes(), message]);
        let mut half = [0; SEAL];
        half.copy_from_slice(&code[..SEAL]);
        half
    }

    /// The length of the message in front of its code, if this is what the peer sent as
    /// number `number`.
    pub fn open(&self, number: u64, sealed: &[u8]) -> Option<usize> {
        let (message, code) = sealed.split_at_checked(sealed.len().checked_sub(SEAL)?)?;
        is_code(&self.inward, &[&number.to_be_bytes(), message], code).then_some(message.len())
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}
