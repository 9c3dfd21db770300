//! The one codec of a process tree: serde values to bytes and back, with the
//! descriptors and handles that travel beside the bytes.
//!
//! Owns the choice of bincode. Each value is encoded or decoded within a *transfer*
//! (`transfer`), outside of which a handle refuses to serialise. This module must never send
//! anything: links do, with what it returns.

mod batch;
mod bounded;
mod brief;
mod flat;
mod packed;
#[cfg(test)]
mod tests;
mod transfer;

pub use batch::{BatchDecoder, BatchEncoder, FRAME_HEADER, Marked, frames, whole_frames};
pub(crate) use batch::{decode_first, head_of_bytes};
pub(crate) use bounded::bounded;
pub(crate) use brief::encode_briefly;
pub(crate) use flat::with_frame;
pub use packed::{Packed, Short};
pub use transfer::{Fd, MAX_FDS, OUTSIDE_TRANSFER, in_transfer};
pub(crate) use transfer::{Lent, Parcel, pack, unpack};

use castaway::cast;
use procession_protocols::dynamic::Dynamic;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::type_name;
use std::os::fd::OwnedFd;
use transfer::{Incoming, Outgoing, Scope, seal};

/// A value ready to travel: its bytes, and the descriptors that go with them.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The encoded value.
    pub bytes: Vec<u8>,
    /// Descriptors in the order in which the value names them.
    pub fds: Vec<OwnedFd>,
}

/// A value could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("cannot encode {type_name}: {why}")]
pub struct EncodeError {
    /// The value's type.
    pub type_name: String,
    /// What its `Serialize` said.
    pub why: String,
}

/// Bytes did not decode to the type that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("cannot decode {type_name}: {why}")]
pub struct DecodeError {
    /// The type that was asked for.
    pub type_name: String,
    /// What its `Deserialize` said, or what is wrong with the bytes.
    pub why: String,
}

/// Encodes one value for another process.
///
/// # Errors
/// [`EncodeError`] when the value's `Serialize` fails, or when it names more than
/// [`MAX_FDS`] descriptors.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, EncodeError> {
    encode_with(|encoder| encoder.value(value))
}

/// As [`encode`], behind what is in a buffer; gives the descriptors. A value that cannot be
/// encoded leaves nothing there.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_onto<T: Serialize + ?Sized>(
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<Vec<OwnedFd>, EncodeError> {
    let start = buffer.len();
    let scope = Scope::encode(Vec::new());
    let written = append(buffer, value);
    let fds = written.and_then(|()| seal(scope.outgoing().unwrap_or_default()));
    if fds.is_err() {
        buffer.truncate(start);
    }
    fds
}

/// Encodes what `write` puts into the encoder, as one transfer.
///
/// # Errors
/// What `write` returns, and too many descriptors.
pub fn encode_with(
    write: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
) -> Result<Encoded, EncodeError> {
    let scope = Scope::encode(Vec::new());
    let mut encoder = Encoder { bytes: Vec::new() };
    write(&mut encoder)?;
    Ok(Encoded { bytes: encoder.bytes, fds: seal(scope.outgoing().unwrap_or_default())? })
}

/// Decodes one value that makes up all of `bytes`.
///
/// # Errors
/// [`DecodeError`] when `Deserialize` fails, or when bytes are left over (which is
/// how a type that skips fields while serialising is found out).
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone is not general over the decoder's lifetime"
)]
pub fn decode<T: DeserializeOwned>(bytes: &[u8], fds: Vec<OwnedFd>) -> Result<T, DecodeError> {
    decode_with(bytes, fds, |decoder| decoder.value())
}

/// Decodes what `read` takes out of the decoder; all bytes must be taken.
///
/// # Errors
/// What `read` returns, and bytes that are left over.
pub fn decode_with<T>(
    bytes: &[u8],
    fds: Vec<OwnedFd>,
    read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let _scope = Scope::decode(fds.into_iter().map(Incoming::Fd).collect());
    let mut decoder = Decoder::new(bytes);
    let value = read(&mut decoder)?;
    decoder.end(value)
}

/// Takes values that came as plain data; all must be taken.
///
/// # Errors
/// What `read` returns, and values that are left over.
pub(crate) fn decode_plain<T>(
    values: Vec<Dynamic>,
    read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut decoder = Decoder { bytes: &[], plain: Some(values.into_iter()) };
    let value = read(&mut decoder)?;
    match decoder.plain.map_or(0, |left| left.len()) {
        0 => Ok(value),
        left => Err(DecodeError {
            type_name: type_name::<T>().into(),
            why: format!("{left} arguments too many"),
        }),
    }
}

/// Decodes a value of which these are the first bytes; more may follow.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    Decoder::new(bytes).value()
}

/// Encodes a part of a value as bytes of its own, within the transfer under way.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_within<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    append(&mut bytes, value)?;
    Ok(bytes)
}

/// Takes values one after another.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
}

/// Appends what bincode writes. Its own way to a `std::io::Write` costs a call for each
/// byte of a `Vec<u8>`, which serde hands over one by one.
struct Append<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Append<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl Encoder {
    /// Appends a value.
    ///
    /// # Errors
    /// What its `Serialize` says.
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        append(&mut self.bytes, value)
    }
}

#[inline]
fn append<T: Serialize + ?Sized>(buffer: &mut Vec<u8>, value: &T) -> Result<(), EncodeError> {
    // serde hands over the bytes of a `Vec<u8>` one by one.
    let bytes = match cast!(value, &Vec<u8>) {
        Ok(bytes) => Some(bytes),
        Err(value) => cast!(value, &(Vec<u8>,)).ok().map(|(bytes,)| bytes),
    };
    let written = match bytes {
        Some(bytes) => bincode::encode_into_writer(bytes.as_slice(), Append(buffer), CONFIG),
        None => bincode::serde::encode_into_writer(value, Append(buffer), CONFIG),
    };
    written.map_err(|why| unencodable(type_name::<T>(), &why))
}

#[cold]
fn unencodable(type_name: &str, why: &bincode::error::EncodeError) -> EncodeError {
    EncodeError { type_name: type_name.into(), why: why.to_string() }
}

/// A value that is nothing but bytes, which [`Encoder::value`] writes as such; `None` if `T` is
/// something else.
fn of_bytes<T>(bytes: Vec<u8>) -> Option<T> {
    let mut place = None;
    if let Ok(alone) = cast!(&mut place, &mut Option<Vec<u8>>) {
        *alone = Some(bytes);
    } else if let Ok(one) = cast!(&mut place, &mut Option<(Vec<u8>,)>) {
        *one = Some((bytes,));
    }
    place
}

/// What a value that is nothing but bytes is made of, for those who write it without copying:
/// its encoding is a [`head`] and then these. `None` for others.
pub(crate) fn as_bytes<T: ?Sized>(value: &T) -> Option<&[u8]> {
    cast!(value, &Vec<u8>).ok().map(Vec::as_slice)
}

/// What stands before so many bytes.
///
/// # Errors
/// None: a number always encodes.
pub(crate) fn head(count: usize) -> Result<Vec<u8>, EncodeError> {
    bincode::encode_to_vec(count as u64, CONFIG).map_err(|why| unencodable("bytes", &why))
}

/// Most bytes of a number before others.
const LONGEST_HEAD: usize = 9;

/// A value that is nothing but bytes, out of an encoding of so many bytes which `copy` copies
/// from, so many from a place on. `None` for others, and for what is no such encoding.
pub(crate) fn decode_as_bytes<T>(len: usize, copy: impl Fn(usize, usize) -> Vec<u8>) -> Option<T> {
    of_bytes::<T>(Vec::new())?;
    let head = copy(0, len.min(LONGEST_HEAD));
    let (count, used): (u64, usize) = bincode::decode_from_slice(&head, CONFIG).ok()?;
    let count =
        usize::try_from(count).ok().filter(|count| used.checked_add(*count) == Some(len))?;
    let bytes = copy(used, count);
    (bytes.len() == count).then(|| of_bytes(bytes)).flatten()
}

/// Gives values back in the order in which they were appended.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    /// The values themselves, where they came as plain data.
    plain: Option<std::vec::IntoIter<Dynamic>>,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, plain: None }
    }
}

impl Decoder<'_> {
    /// Takes the next value.
    ///
    /// # Errors
    /// What its `Deserialize` says.
    pub fn value<T: DeserializeOwned>(&mut self) -> Result<T, DecodeError> {
        let fail = |why| DecodeError { type_name: type_name::<T>().into(), why };
        if let Some(plain) = &mut self.plain {
            let value = plain.next().ok_or_else(|| fail("an argument is missing".into()))?;
            return value.to().map_err(|why| fail(why.to_string()));
        }
        let (value, used) = read(self.bytes)?;
        self.bytes = &self.bytes[used..];
        Ok(value)
    }

    /// Gives the value, if nothing is left behind it.
    fn end<T>(&self, value: T) -> Result<T, DecodeError> {
        if self.bytes.is_empty() {
            return Ok(value);
        }
        Err(left_over(type_name::<T>(), self.bytes.len()))
    }
}

/// The value that these bytes begin with, and how many of them it takes.
#[inline]
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    if of_bytes::<T>(Vec::new()).is_none() {
        if bounded::is_bounded() {
            return bounded::read(bytes);
        }
        return bincode::serde::decode_from_slice(bytes, CONFIG)
            .map_err(|why| undecodable(type_name::<T>(), &why));
    }
    let (bytes, used): (&[u8], usize) = bincode::borrow_decode_from_slice(bytes, CONFIG)
        .map_err(|why| undecodable(type_name::<T>(), &why))?;
    let value = of_bytes(bytes.to_vec());
    Ok((value.ok_or_else(|| left_over(type_name::<T>(), used))?, used))
}

#[cold]
fn undecodable(type_name: &str, why: &bincode::error::DecodeError) -> DecodeError {
    DecodeError { type_name: type_name.into(), why: why.to_string() }
}

#[cold]
fn left_over(type_name: &str, count: usize) -> DecodeError {
    DecodeError {
        type_name: type_name.into(),
        why: format!(
            "{count} bytes left over; a type that skips fields, flattens or is untagged needs \
             the Json or MsgPack wrapper"
        ),
    }
}

const CONFIG: bincode::config::Configuration = bincode::config::standard();
