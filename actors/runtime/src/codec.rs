//! The one codec of a process tree: serde values to bytes and back, with the
//! descriptors and handles that travel beside the bytes.
//!
//! Owns the choice of bincode and the *transfer*: while a value is being encoded for
//! (or decoded from) another process, a thread-local table holds its attachments, and
//! handles register in it. Outside a transfer a handle refuses to serialise. This
//! module must never send anything: links do, with what it returns.

mod batch;
mod bounded;
mod brief;
mod packed;
#[cfg(test)]
mod tests;

pub use batch::{BatchDecoder, BatchEncoder, FRAME_HEADER, FrameEnd, Marked, frames, next_frame};
pub(crate) use batch::{decode_first, head_of_bytes};
pub(crate) use bounded::bounded;
pub(crate) use brief::encode_briefly;
pub use packed::{Packed, Short};

use castaway::cast;
use procession_protocols::dynamic::Dynamic;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::{Any, type_name};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

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

pub use crate::sys::socket::MAX_FDS;

/// Says why a handle could not be serialised.
pub const OUTSIDE_TRANSFER: &str = "OutsideTransfer: a handle travels only as an argument, in a \
     message, on a queue or in a pipe of this process tree; share it through a Manager elsewhere";

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

/// Makes descriptors of what goes along with a message.
#[inline]
fn seal(attachments: Vec<Outgoing>) -> Result<Vec<OwnedFd>, EncodeError> {
    if attachments.is_empty() { Ok(Vec::new()) } else { seal_some(attachments) }
}

fn seal_some(attachments: Vec<Outgoing>) -> Result<Vec<OwnedFd>, EncodeError> {
    let failed = |why| EncodeError { type_name: "message".into(), why };
    if attachments.len() > MAX_FDS {
        return Err(failed(format!("{} descriptors, at most {MAX_FDS} fit", attachments.len())));
    }
    let seal = |attachment| match attachment {
        Outgoing::Fd(fd) => Ok(fd),
        Outgoing::Parcel(_, parcel) => parcel.seal(),
    };
    // The error drops those that were sealed before.
    let fds: Result<_, _> = attachments.into_iter().map(seal).collect();
    fds.map_err(|error: io::Error| failed(format!("a handle cannot go along: {error}")))
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
    let count = usize::try_from(count).ok().filter(|count| used + *count == len)?;
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

/// A descriptor that travels: as an argument, in a message, on a link.
///
/// Encoding duplicates it, so the sender keeps its own.
#[derive(Debug)]
pub struct Fd(pub OwnedFd);

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Fd> for OwnedFd {
    fn from(fd: Fd) -> Self {
        fd.0
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Serialize for Fd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Lent(self.0.as_fd()).serialize(serializer)
    }
}

/// A descriptor of a handle that travels: what arrives is an [`Fd`].
pub(crate) struct Lent<'a>(pub(crate) BorrowedFd<'a>);

impl Serialize for Lent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let copy = self.0.try_clone_to_owned().map_err(serde::ser::Error::custom)?;
        attach(copy)
            .ok_or_else(|| serde::ser::Error::custom(OUTSIDE_TRANSFER))?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u16::deserialize(deserializer)?;
        detach(index)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("no such descriptor in this transfer"))
    }
}

/// Whether this thread is encoding or decoding for another process right now. Handles
/// ask before they serialise.
pub fn in_transfer() -> bool {
    OPEN.get() != Open::Nothing
}

const CONFIG: bincode::config::Configuration = bincode::config::standard();

/// Something that several parts of one value have in common, and that takes one
/// descriptor beside it. Dropped when the value cannot be encoded.
pub(crate) trait Parcel: Any {
    /// The value is encoded: makes the descriptor. Runs outside the transfer.
    fn seal(self: Box<Self>) -> io::Result<OwnedFd>;
}

/// Adds to the parcel of this transfer that has this key, or begins it. Gives its index
/// among the descriptors; `None` outside an encoding.
pub(crate) fn pack<P: Parcel>(
    key: u128,
    begin: impl FnOnce() -> P,
    add: impl FnOnce(&mut P),
) -> Option<u16> {
    in_current(|transfer| {
        let Transfer::Encoding(attachments) = transfer else { return None };
        let known = |one: &Outgoing| matches!(one, Outgoing::Parcel(known, _) if *known == key);
        let at = attachments.iter().position(known).unwrap_or_else(|| {
            attachments.push(Outgoing::Parcel(key, Box::new(begin())));
            attachments.len() - 1
        });
        if let Some(Outgoing::Parcel(_, parcel)) = attachments.get_mut(at) {
            let parcel: &mut dyn Any = parcel.as_mut();
            add(parcel.downcast_mut()?);
        }
        u16::try_from(at).ok()
    })
}

/// What the descriptor of this index was opened as; the first who asks opens it, for all
/// parts of the value. `None` outside a decoding, and when there is no such descriptor.
pub(crate) fn unpack<P: Any + Send + Sync>(
    index: u16,
    open: impl FnOnce(OwnedFd) -> P,
) -> Option<Arc<P>> {
    in_current(|transfer| {
        let Transfer::Decoding(attachments) = transfer else { return None };
        let place = attachments.get_mut(usize::from(index))?;
        let opened: Arc<dyn Any + Send + Sync> = match std::mem::replace(place, Incoming::Taken) {
            Incoming::Fd(fd) => Arc::new(open(fd)),
            Incoming::Opened(opened) => opened,
            Incoming::Taken => return None,
        };
        *place = Incoming::Opened(opened.clone());
        opened.downcast().ok()
    })
}

enum Transfer {
    Encoding(Vec<Outgoing>),
    Decoding(Vec<Incoming>),
}

enum Outgoing {
    Fd(OwnedFd),
    Parcel(u128, Box<dyn Parcel>),
}

enum Incoming {
    Fd(OwnedFd),
    Opened(Arc<dyn Any + Send + Sync>),
    Taken,
}

/// The transfer that is open on a thread. Most have no attachment, and are no more than
/// this word; the first that is asked for puts them on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Encoding,
    Decoding,
    /// The uppermost of the stack.
    Stacked,
}

thread_local! {
    static OPEN: Cell<Open> = const { Cell::new(Open::Nothing) };
    /// A stack, since a `Serialize` may itself encode something for another process.
    static STACK: RefCell<Vec<Transfer>> = const { RefCell::new(Vec::new()) };
}

/// Does something with the attachments of the transfer that is open, if there is one.
fn in_current<T>(with: impl FnOnce(&mut Transfer) -> Option<T>) -> Option<T> {
    STACK.with_borrow_mut(|stack| {
        match OPEN.get() {
            Open::Nothing => return None,
            Open::Encoding => stack.push(Transfer::Encoding(Vec::new())),
            Open::Decoding => stack.push(Transfer::Decoding(Vec::new())),
            Open::Stacked => {}
        }
        OPEN.set(Open::Stacked);
        with(stack.last_mut()?)
    })
}

fn attach(fd: OwnedFd) -> Option<u16> {
    in_current(|transfer| match transfer {
        Transfer::Encoding(attachments) => {
            attachments.push(Outgoing::Fd(fd));
            u16::try_from(attachments.len() - 1).ok()
        }
        Transfer::Decoding(_) => None,
    })
}

fn detach(index: u16) -> Option<OwnedFd> {
    in_current(|transfer| {
        let Transfer::Decoding(attachments) = transfer else { return None };
        let place = attachments.get_mut(usize::from(index))?;
        match std::mem::replace(place, Incoming::Taken) {
            Incoming::Fd(fd) => Some(fd),
            other => {
                *place = other;
                None
            }
        }
    })
}

/// A transfer that is open. It is left when this is dropped, also when a `Serialize` panics.
struct Scope {
    /// What was open before.
    outer: Open,
}

impl Scope {
    #[inline]
    fn encode(attachments: Vec<Outgoing>) -> Self {
        if attachments.is_empty() {
            return Self { outer: OPEN.replace(Open::Encoding) };
        }
        Self::stack(Transfer::Encoding(attachments))
    }

    #[inline]
    fn decode(attachments: Vec<Incoming>) -> Self {
        if attachments.is_empty() {
            return Self { outer: OPEN.replace(Open::Decoding) };
        }
        Self::stack(Transfer::Decoding(attachments))
    }

    #[cold]
    fn stack(transfer: Transfer) -> Self {
        STACK.with_borrow_mut(|stack| stack.push(transfer));
        Self { outer: OPEN.replace(Open::Stacked) }
    }

    /// Leaves it. Gives its attachments, if it has any.
    #[inline]
    fn leave(self) -> Option<Transfer> {
        let taken = (OPEN.get() == Open::Stacked).then(|| STACK.with_borrow_mut(Vec::pop));
        OPEN.set(self.outer);
        std::mem::forget(self);
        taken.flatten()
    }

    /// As [`leave`](Self::leave), of an encoding.
    #[inline]
    fn outgoing(self) -> Option<Vec<Outgoing>> {
        match self.leave() {
            Some(Transfer::Encoding(attachments)) => Some(attachments),
            _ => None,
        }
    }

    /// As [`leave`](Self::leave), of a decoding.
    #[inline]
    fn incoming(self) -> Option<Vec<Incoming>> {
        match self.leave() {
            Some(Transfer::Decoding(attachments)) => Some(attachments),
            _ => None,
        }
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        if OPEN.replace(self.outer) == Open::Stacked {
            STACK.with_borrow_mut(Vec::pop);
        }
    }
}
