//! Python's challenge and response, as `multiprocessing.connection` speaks it.
//!
//! ```text
//! deliver                                    answer
//!   #CHALLENGE#{sha256}<40 random bytes> ──>
//!   <── {sha256}<HMAC-SHA256 of all behind #CHALLENGE#>
//!   #WELCOME#, or #FAILURE# ──>
//! ```
//!
//! The older form has no `{name}`: a challenge of 20 bytes, a response of 16, HMAC-MD5.
//! Source: `deliver_challenge` and `answer_challenge` of `CPython` 3.11 and 3.12 to 3.14. Owns
//! both sides of one such exchange. Each side proves that it knows the key, and nothing
//! else: whoever stands between two honest sides can pass their messages on, and then has
//! the connection. The handshake of `native` has not that weakness.

use super::{AuthError, AuthKey, Digest, Python};

/// In front of a challenge.
pub const CHALLENGE: &[u8] = b"#CHALLENGE#";
/// What a right response gets.
pub const WELCOME: &[u8] = b"#WELCOME#";
/// What a wrong response gets.
pub const FAILURE: &[u8] = b"#FAILURE#";

/// Random bytes of a challenge that names its digest.
pub const RANDOM: usize = 40;
/// A challenge of the older form has so many, and nothing else.
const OLD_CHALLENGE: usize = 20;
/// No challenge may be shorter.
const SHORTEST: usize = 20;
/// A response of the older form.
const OLD_RESPONSE: usize = 16;

/// A challenge that was sent, and waits for its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge(Vec<u8>);

impl Challenge {
    /// A challenge by these random bytes, in the form that names its digest. A peer that
    /// knows only the older form answers it by HMAC-MD5.
    pub fn new(digest: Digest, random: &[u8; RANDOM]) -> Self {
        Self([b"{", digest.name().as_bytes(), b"}", random].concat())
    }

    /// What is sent.
    pub fn message(&self) -> Vec<u8> {
        [CHALLENGE, &self.0].concat()
    }

    /// Which digest the peer used, if its response is right and the digest is allowed.
    ///
    /// # Errors
    /// [`AuthError::WrongDigest`] for a wrong one, [`AuthError::NotAllowed`].
    pub fn check(
        &self,
        key: &AuthKey,
        response: &[u8],
        allowed: Python,
    ) -> Result<Digest, AuthError> {
        let (digest, code) = if response.len() == OLD_RESPONSE {
            (Digest::Md5, response)
        } else {
            named(response).ok_or(AuthError::WrongDigest)?
        };
        allowed.permit(digest)?;
        if digest.is_mac(key, &self.0, code) { Ok(digest) } else { Err(AuthError::WrongDigest) }
    }
}

/// The response to a challenge, and by which digest it is.
///
/// # Errors
/// [`AuthError::Protocol`] when it is no challenge, or one that asks for too little;
/// [`AuthError::NotAllowed`].
pub fn answer(
    key: &AuthKey,
    message: &[u8],
    allowed: Python,
) -> Result<(Digest, Vec<u8>), AuthError> {
    let challenge = message.strip_prefix(CHALLENGE).ok_or(AuthError::Protocol("no challenge"))?;
    if challenge.len() < SHORTEST {
        return Err(AuthError::Protocol("the challenge is too short"));
    }
    if challenge.len() == OLD_CHALLENGE {
        allowed.permit(Digest::Md5)?;
        return Ok((Digest::Md5, Digest::Md5.mac(key, challenge)));
    }
    let (digest, _) = named(challenge)
        .ok_or(AuthError::Protocol("the challenge asks for a digest that is not known"))?;
    allowed.permit(digest)?;
    let code = digest.mac(key, challenge);
    Ok((digest, [b"{", digest.name().as_bytes(), b"}", &code[..]].concat()))
}

/// What a response got.
///
/// # Errors
/// [`AuthError::Rejected`] for everything but a welcome.
pub fn welcomed(message: &[u8]) -> Result<(), AuthError> {
    if message == WELCOME { Ok(()) } else { Err(AuthError::Rejected) }
}

/// Splits `{name}rest`.
fn named(message: &[u8]) -> Option<(Digest, &[u8])> {
    let rest = message.strip_prefix(b"{")?;
    let end = rest.iter().position(|byte| *byte == b'}')?;
    Some((Digest::of_name(&rest[..end])?, &rest[end + 1..]))
}
