//! The handshake between two programs of this library.
//!
//! ```text
//! listener                                         client
//!   #CHALLENGE#{sha256} hello random[32]  ──>          reads as Python's, but for the hello
//!             <──  #PROCESSION# hello fingerprint random[32] proof[32]
//!   #WELCOME# proof[32]  ──>                           or #FAILURE# why
//! ```
//!
//! A hello is eight bytes: `PRC`, major, minor, flags, 0, 0. The listener's stands where
//! Python's challenge has random bytes, so that one port serves both. A proof is
//! HMAC-SHA256 under a key that is derived from the shared one, over the role of who gives it
//! and everything that both have said. So a proof is of no use in another handshake, in the
//! other direction, or for Python's; and whoever passes the messages on does not learn the
//! session's keys, which come from the same words.
//!
//! Owns layout, proofs and session keys. Neighbour: `handshake` (whose turn it is).

use super::digest::{CODE, Keyed, code};
use super::python::{CHALLENGE, FAILURE, RANDOM, WELCOME};
use super::{AuthError, AuthKey};

/// In front of what a client of this library answers.
pub(super) const ANSWER: &[u8] = b"#PROCESSION#";

/// What must be the same on both sides.
pub const MAJOR: u8 = 1;
/// What may differ: both go by the lower one.
pub const MINOR: u8 = 1;

/// In the flags: this side wants each message on the connection authenticated.
const SEALS: u8 = 1;

const MAGIC: &[u8] = b"PRC";
const HELLO: usize = 8;
const NAME: &[u8] = b"{sha256}";

/// Why a listener turns a client away, as one byte behind `#FAILURE#`. It is not
/// authenticated, and serves to word an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Key = b'k' as isize,
    Version = b'v' as isize,
    Fingerprint = b'f' as isize,
    User = b'u' as isize,
}

/// What one side says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) major: u8,
    pub(super) minor: u8,
    pub(super) seals: bool,
}

impl Hello {
    pub(super) fn ours(seals: bool) -> Self {
        Self { major: MAJOR, minor: MINOR, seals }
    }

    fn bytes(self) -> [u8; HELLO] {
        let [p, r, c] = *b"PRC";
        [p, r, c, self.major, self.minor, u8::from(self.seals) * SEALS, 0, 0]
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let &[major, minor, flags, ..] = bytes.strip_prefix(MAGIC)? else { return None };
        Some(Self { major, minor, seals: flags & SEALS != 0 })
    }
}

/// The random bytes of a listener's challenge, with its hello in front.
pub(super) fn marked(hello: Hello, random: &[u8; RANDOM]) -> [u8; RANDOM] {
    let mut bytes = *random;
    bytes[..HELLO].copy_from_slice(&hello.bytes());
    bytes
}

/// The hello in a challenge; `None` when it is not from this library.
pub(super) fn hello_in(challenge: &[u8]) -> Option<Hello> {
    let bytes = challenge.strip_prefix(CHALLENGE)?.strip_prefix(NAME)?;
    (bytes.len() == RANDOM).then(|| Hello::read(bytes))?
}

/// What a client answers, without its proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) hello: Hello,
    pub(super) fingerprint: u64,
    pub(super) random: [u8; 32],
}

const ANSWER_LEN: usize = ANSWER.len() + HELLO + 8 + 32;

impl Answer {
    pub(super) fn bytes(&self) -> Vec<u8> {
        [ANSWER, &self.hello.bytes(), &self.fingerprint.to_be_bytes(), &self.random].concat()
    }

    /// Splits an answer into what is proved and the proof. Of a later major version only the
    /// hello is read, since the rest may look otherwise.
    pub(super) fn read(message: &[u8]) -> Result<(Self, &[u8], &[u8]), AuthError> {
        const TORN: AuthError = AuthError::Protocol("the client's answer is not whole");
        let rest = message.strip_prefix(ANSWER).ok_or(TORN)?;
        let hello = Hello::read(rest).ok_or(TORN)?;
        if hello.major != MAJOR {
            return Err(AuthError::Version { ours: MAJOR, theirs: hello.major });
        }
        if message.len() != ANSWER_LEN + CODE {
            return Err(TORN);
        }
        let (proved, proof) = message.split_at(ANSWER_LEN);
        let fields = &proved[ANSWER.len() + HELLO..];
        let Some((fingerprint, random)) = fields.split_first_chunk::<8>() else { return Err(TORN) };
        let random = random.try_into().map_err(|_| TORN)?;
        let fingerprint = u64::from_be_bytes(*fingerprint);
        Ok((Self { hello, fingerprint, random }, proved, proof))
    }
}

/// Everything that both have said before the last proof.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) challenge: &'a [u8],
    pub(super) answer: &'a [u8],
}

impl Said<'_> {
    fn key(key: &AuthKey) -> Keyed {
        code(key.bytes(), &[b"procession handshake 1"]).into()
    }

    /// Lengths stand in front, so that the same bytes cannot be cut otherwise.
    fn prove(&self, key: &Keyed, role: &[u8]) -> [u8; CODE] {
        key.code(&self.parts(role, &self.lengths()))
    }

    fn lengths(&self) -> [u8; 2] {
        #[expect(clippy::cast_possible_truncation, reason = "messages have at most 256 bytes")]
        [self.challenge.len() as u8, self.answer.len() as u8]
    }

    fn parts<'b>(&'b self, role: &'b [u8], lengths: &'b [u8; 2]) -> [&'b [u8]; 4] {
        [role, lengths, self.challenge, self.answer]
    }

    pub(super) fn client_proof(&self, key: &AuthKey) -> [u8; CODE] {
        self.prove(&Self::key(key), b"client")
    }

    pub(super) fn is_client_proof(&self, key: &AuthKey, proof: &[u8]) -> bool {
        proof.len() == CODE
            && Self::key(key).is_code(&self.parts(b"client", &self.lengths()), proof)
    }

    /// What the listener says to a client that has proved itself.
    pub(super) fn welcome(&self, key: &AuthKey) -> Vec<u8> {
        [WELCOME, &self.prove(&Self::key(key), b"listener")].concat()
    }

    pub(super) fn is_welcome(&self, key: &AuthKey, message: &[u8]) -> bool {
        message.strip_prefix(WELCOME).is_some_and(|proof| {
            proof.len() == CODE
                && Self::key(key).is_code(&self.parts(b"listener", &self.lengths()), proof)
        })
    }

    /// The keys of the session: for what the client sends, for what the listener sends.
    pub(super) fn session(&self, key: &AuthKey) -> [[u8; CODE]; 2] {
        let key = Self::key(key);
        [self.prove(&key, b"session, from client"), self.prove(&key, b"session, from listener")]
    }
}

/// What a client is told that is turned away.
pub(super) fn failure(why: Why) -> Vec<u8> {
    [FAILURE, &[why as u8]].concat()
}

/// Why a client was turned away; `None` when it was not.
pub(super) fn why_rejected(message: &[u8]) -> Option<AuthError> {
    Some(match message.strip_prefix(FAILURE)? {
        [why] if *why == Why::Version as u8 => AuthError::OtherVersion,
        [why] if *why == Why::Fingerprint as u8 => AuthError::Fingerprint,
        [why] if *why == Why::User as u8 => AuthError::OtherUser,
        _ => AuthError::Rejected,
    })
}
