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

use super::digest::{CODE, Keyed};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Length of the code behind a message, in bytes.
pub const SEAL: usize = CODE / 2;

/// The keys of one side of a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    outward: Box<Keyed>,
    inward: Box<Keyed>,
}

impl Seal {
    pub(super) fn new(outward: [u8; CODE], inward: [u8; CODE]) -> Self {
        Self { outward: Box::new(outward.into()), inward: Box::new(inward.into()) }
    }

    /// The code of the message that is sent as number `number`.
    pub fn seal(&self, number: u64, message: &[u8]) -> [u8; SEAL] {
        let code = self.outward.code(&[&number.to_be_bytes(), message]);
        let mut half = [0; SEAL];
        half.copy_from_slice(&code[..SEAL]);
        half
    }

    /// The length of the message in front of its code, if this is what the peer sent as
    /// number `number`.
    pub fn open(&self, number: u64, sealed: &[u8]) -> Option<usize> {
        let (message, code) = sealed.split_at_checked(sealed.len().checked_sub(SEAL)?)?;
        self.inward.is_code(&[&number.to_be_bytes(), message], code).then_some(message.len())
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}
