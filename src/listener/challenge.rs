//! Python's handshake by hand, on a connection that exists.
//!
//! Owns the two calls of `multiprocessing.connection`; what is said is decided in
//! `procession_protocols::auth`.

use super::{AuthError, Digest, ListenerError, PythonPeers};
use crate::error::Result;
use crate::pipe::Connection;
use procession_protocols::auth::python::{self, Challenge, FAILURE, WELCOME};
use procession_protocols::auth::{AuthKey, LONGEST};
use procession_runtime::listener::PATIENCE;
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
    let key = AuthKey::new(authkey.as_ref()).map_err(ListenerError::from)?;
    let allowed = if digest == Digest::Md5 { PythonPeers::Md5 } else { PythonPeers::Sha256 };
    let random = procession_runtime::listener::random()?;
    let challenge = Challenge::new(digest, &random);
    connection.send_bytes_timeout(&challenge.message(), PATIENCE)?;
    let answer = hear(connection)?;
    match challenge.check(&key, &answer, allowed) {
        Ok(_) => Ok(connection.send_bytes_timeout(WELCOME, PATIENCE)?),
        Err(error) => {
            connection.send_bytes_timeout(FAILURE, PATIENCE)?;
            Err(ListenerError::from(error).into())
        }
    }
}

/// Proves to the peer that this program knows the key, as Python's `answer_challenge`; at most
/// 10 s long. By whichever digest the peer asks for, MD5 included.
///
/// # Errors
/// [`ListenerError::Authentication`] when the peer has another key, or asks for something
/// else; those of the connection.
pub fn answer_challenge(connection: &Connection, authkey: impl AsRef<[u8]>) -> Result<()> {
    let failed = |error: AuthError| ListenerError::from(error);
    let key = AuthKey::new(authkey.as_ref()).map_err(failed)?;
    let challenge = hear(connection)?;
    let (_, answer) = python::answer(&key, &challenge, PythonPeers::Md5).map_err(failed)?;
    connection.send_bytes_timeout(&answer, PATIENCE)?;
    Ok(python::welcomed(&hear(connection)?).map_err(failed)?)
}

fn hear(connection: &Connection) -> Result<Vec<u8>> {
    Ok(connection.end()?.receive(LONGEST, after(PATIENCE))?.bytes)
}
