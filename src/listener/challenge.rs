//! Python's handshake by hand, on a connection that exists.
//!
//! Owns the two calls of `multiprocessing.connection`; what is said is decided in
//! `procession_protocols::auth`.

use super::{Digest, ListenerError, PythonPeers};
use crate::error::Result;
use crate::pipe::Connection;
use procession_protocols::auth::python::{self, Challenge, FAILURE, WELCOME};
use procession_protocols::auth::{AuthKey, LONGEST};
use procession_runtime::listener::PATIENCE;
use procession_runtime::pipe::at_most;
use procession_runtime::sync::after;

/// Asks the peer to prove that it knows the key, as Python's `deliver_challenge`; at most 10 s
/// long. The peer answers by [`answer_challenge`], or Python's.
///
/// ```
/// use procession::{Pipe, answer_challenge, deliver_challenge};
///
/// # fn main() -> procession::Result<()> {
/// let (a, b) = Pipe::duplex()?;
/// let peer = std::thread::spawn(move || answer_challenge(&b, b"secret"));
/// deliver_challenge(&a, b"secret")?;
/// peer.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ListenerError::Authentication`] when it has another key, or uses MD5; those of the
/// connection.
pub fn deliver_challenge(connection: &Connection, authkey: impl AsRef<[u8]>) -> Result<()> {
    deliver_challenge_with(connection, authkey, Digest::Sha256)
}

/// As [`deliver_challenge`], by a digest of choice. With [`Digest::Md5`], answers by MD5 are
/// taken.
///
/// # Errors
/// As [`deliver_challenge`].
pub fn deliver_challenge_with(
    connection: &Connection,
    authkey: impl AsRef<[u8]>,
    digest: Digest,
) -> Result<()> {
    let asked = Asked::new(authkey.as_ref(), digest)?;
    connection.send_bytes_timeout(&asked.challenge.message(), PATIENCE)?;
    let (word, judged) = asked.judge(&hear(connection)?);
    connection.send_bytes_timeout(word, PATIENCE)?;
    judged
}

/// As [`deliver_challenge_with`], without blocking the thread, on any executor.
///
/// ```
/// use procession::{Digest, Pipe, answer_challenge_async, deliver_challenge_async};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> procession::Result<()> {
/// let (a, b) = Pipe::duplex()?;
/// let asks = deliver_challenge_async(&a, b"secret", Digest::Sha256);
/// let answers = answer_challenge_async(&b, b"secret");
/// let (asked, answered) = tokio::join!(asks, answers);
/// asked.and(answered)
/// # }
/// ```
///
/// # Errors
/// As [`deliver_challenge`].
///
/// # Cancel safety
/// A handshake that is dropped in its middle is not taken up again: the connection is of no
/// use then but to be closed.
pub async fn deliver_challenge_async(
    connection: &Connection,
    authkey: impl AsRef<[u8]>,
    digest: Digest,
) -> Result<()> {
    let asked = Asked::new(authkey.as_ref(), digest)?;
    let talk = async {
        connection.send_bytes_async(&asked.challenge.message()).await?;
        let answer = connection.end()?.receive_async(LONGEST).await?.bytes;
        let (word, judged) = asked.judge(&answer);
        connection.send_bytes_async(word).await?;
        Ok(judged)
    };
    at_most(PATIENCE, talk).await?
}

/// Proves to the peer that this program knows the key, as Python's `answer_challenge`; at most
/// 10 s long. By whichever digest the peer asks for, MD5 included.
///
/// # Errors
/// [`ListenerError::Authentication`] when the peer has another key, or asks for something
/// else; those of the connection.
pub fn answer_challenge(connection: &Connection, authkey: impl AsRef<[u8]>) -> Result<()> {
    let key = AuthKey::new(authkey.as_ref()).map_err(ListenerError::from)?;
    let answer = answer(&key, &hear(connection)?)?;
    connection.send_bytes_timeout(&answer, PATIENCE)?;
    welcomed(&hear(connection)?)
}

/// As [`answer_challenge`], without blocking the thread, on any executor.
///
/// # Errors
/// As [`answer_challenge`].
///
/// # Cancel safety
/// As [`deliver_challenge_async`].
pub async fn answer_challenge_async(
    connection: &Connection,
    authkey: impl AsRef<[u8]>,
) -> Result<()> {
    let key = AuthKey::new(authkey.as_ref()).map_err(ListenerError::from)?;
    let talk = async {
        let challenge = connection.end()?.receive_async(LONGEST).await?.bytes;
        match answer(&key, &challenge) {
            Ok(answer) => connection.send_bytes_async(&answer).await?,
            Err(error) => return Ok(Err(error)),
        }
        Ok(welcomed(&connection.end()?.receive_async(LONGEST).await?.bytes))
    };
    at_most(PATIENCE, talk).await?
}

/// A challenge, and what is needed to judge its answer.
struct Asked {
    key: AuthKey,
    challenge: Challenge,
    allowed: PythonPeers,
}

impl Asked {
    fn new(authkey: &[u8], digest: Digest) -> Result<Self> {
        let key = AuthKey::new(authkey).map_err(ListenerError::from)?;
        let allowed = if digest == Digest::Md5 { PythonPeers::Md5 } else { PythonPeers::Sha256 };
        let random = procession_runtime::listener::random()?;
        Ok(Self { key, challenge: Challenge::new(digest, &random), allowed })
    }

    /// What the peer is told, and what this side makes of its answer.
    fn judge(&self, answer: &[u8]) -> (&'static [u8], Result<()>) {
        match self.challenge.check(&self.key, answer, self.allowed) {
            Ok(_) => (WELCOME, Ok(())),
            Err(error) => (FAILURE, Err(ListenerError::from(error).into())),
        }
    }
}

fn answer(key: &AuthKey, challenge: &[u8]) -> Result<Vec<u8>> {
    let answered = python::answer(key, challenge, PythonPeers::Md5);
    Ok(answered.map(|(_, answer)| answer).map_err(ListenerError::from)?)
}

fn welcomed(word: &[u8]) -> Result<()> {
    Ok(python::welcomed(word).map_err(ListenerError::from)?)
}

fn hear(connection: &Connection) -> Result<Vec<u8>> {
    Ok(connection.end()?.receive(LONGEST, after(PATIENCE))?.bytes)
}
