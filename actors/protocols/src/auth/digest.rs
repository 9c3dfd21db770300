//! Keys, and the codes that prove them.
//!
//! Owns the only use of hash functions: HMAC over named digests, compared in constant time.
//! What is put under a code is for `python` and `native` to say.

use super::AuthError;
use hmac::{Hmac, KeyInit, Mac, SimpleHmac};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A secret that both sides know. It has at least one byte, and its text does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthKey(Vec<u8>);

impl AuthKey {
    /// A key of these bytes.
    ///
    /// # Errors
    /// [`AuthError::EmptyKey`]: a key that everybody knows is none.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, AuthError> {
        let bytes = bytes.into();
        if bytes.is_empty() { Err(AuthError::EmptyKey) } else { Ok(Self(bytes)) }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthKey({} bytes)", self.0.len())
    }
}

/// A digest by which Python's handshake can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Digest {
    /// The only one before Python 3.12.
    Md5,
    /// What Python uses since then.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
}

impl Digest {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Md5, Self::Sha256, Self::Sha384, Self::Sha3_256, Self::Sha3_384];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha3_256 => "sha3_256",
            Self::Sha3_384 => "sha3_384",
        }
    }

    /// The digest of this name.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|digest| digest.name().as_bytes() == name)
    }

    /// HMAC of `message`.
    pub fn mac(self, key: &AuthKey, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Md5 => mac::<Hmac<md5::Md5>>(key.bytes(), &[message]),
            Self::Sha256 => mac::<Hmac<sha2::Sha256>>(key.bytes(), &[message]),
            Self::Sha384 => mac::<Hmac<sha2::Sha384>>(key.bytes(), &[message]),
            Self::Sha3_256 => mac::<SimpleHmac<sha3::Sha3_256>>(key.bytes(), &[message]),
            Self::Sha3_384 => mac::<SimpleHmac<sha3::Sha3_384>>(key.bytes(), &[message]),
        }
    }

    /// Whether `code` is the HMAC of `message`, whole. It takes as long for every wrong code.
    pub fn is_mac(self, key: &AuthKey, message: &[u8], code: &[u8]) -> bool {
        match self {
            Self::Md5 => is_mac::<Hmac<md5::Md5>>(key.bytes(), &[message], code),
            Self::Sha256 => is_mac::<Hmac<sha2::Sha256>>(key.bytes(), &[message], code),
            Self::Sha384 => is_mac::<Hmac<sha2::Sha384>>(key.bytes(), &[message], code),
            Self::Sha3_256 => is_mac::<SimpleHmac<sha3::Sha3_256>>(key.bytes(), &[message], code),
            Self::Sha3_384 => is_mac::<SimpleHmac<sha3::Sha3_384>>(key.bytes(), &[message], code),
        }
    }
}

/// A code under HMAC-SHA256, in bytes.
pub(super) const CODE: usize = 32;

/// HMAC-SHA256 of the parts, one behind the other.
pub(super) fn code(key: &[u8], parts: &[&[u8]]) -> [u8; CODE] {
    with::<Hmac<sha2::Sha256>>(key, parts).finalize().into_bytes().into()
}

/// A key for many codes: what HMAC makes of the key alone is made once.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "[u8; CODE]", into = "[u8; CODE]")]
pub(super) struct Keyed {
    key: [u8; CODE],
    begun: Hmac<sha2::Sha256>,
}

impl Keyed {
    /// HMAC-SHA256 of the parts, one behind the other.
    pub(super) fn code(&self, parts: &[&[u8]]) -> [u8; CODE] {
        self.with(parts).finalize().into_bytes().into()
    }

    /// Whether `given` starts the HMAC-SHA256 of the parts; at least half of it must be there.
    pub(super) fn is_code(&self, parts: &[&[u8]], given: &[u8]) -> bool {
        given.len() >= CODE / 2 && self.with(parts).verify_truncated_left(given).is_ok()
    }

    fn with(&self, parts: &[&[u8]]) -> Hmac<sha2::Sha256> {
        let mut mac = self.begun.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

impl From<[u8; CODE]> for Keyed {
    fn from(key: [u8; CODE]) -> Self {
        Self { key, begun: with(&key, &[]) }
    }
}

impl From<Keyed> for [u8; CODE] {
    fn from(keyed: Keyed) -> Self {
        keyed.key
    }
}

impl PartialEq for Keyed {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Keyed {}

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    with::<M>(key, parts).finalize().into_bytes().to_vec()
}

fn is_mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]], code: &[u8]) -> bool {
    with::<M>(key, parts).verify_slice(code).is_ok()
}

fn with<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> M {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of every length")
    };
    for part in parts {
        mac.update(part);
    }
    mac
}
