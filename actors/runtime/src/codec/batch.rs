//! Several values in one message, each of them a frame of its own.
//!
//! Owns the frames of a batch: a length (u32, little-endian) and the value. So a batch can
//! be cut between any two values without decoding them, and a value that does not decode
//! takes no other with it. The highest bit of the length is a mark that its user gives a
//! meaning. Descriptors stand beside the batch as a whole. Neighbour: `codec` encodes.

use super::{
    CONFIG, DecodeError, EncodeError, Encoded, Incoming, Outgoing, Packed, Scope, append, head,
    left_over, of_bytes, read, seal,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::type_name;

/// Bytes before each value.
pub const FRAME_HEADER: usize = 4;

const MARK: u32 = 1 << 31;

/// Room for a few small values, so that they do not have it grown one by one.
const FIRST_SPACE: usize = 64;

/// Takes values one after another. Between two of them no transfer is open, so that the
/// next may come from user code.
#[derive(Default)]
pub struct BatchEncoder {
    bytes: Vec<u8>,
    attachments: Vec<Outgoing>,
}

impl BatchEncoder {
    /// Appends a value. One that fails leaves nothing behind.
    ///
    /// # Errors
    /// What its `Serialize` says.
    #[inline]
    pub fn push<T: Serialize + 'static>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.push_marked(value, false)
    }

    /// As [`push`](Self::push), with or without the mark.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    #[inline]
    pub fn push_marked<T: Serialize + 'static>(
        &mut self,
        value: &T,
        is_marked: bool,
    ) -> Result<(), EncodeError> {
        let start = self.bytes.len();
        if start == 0 {
            self.bytes.reserve(FIRST_SPACE);
        }
        self.bytes.extend_from_slice(&[0; FRAME_HEADER]);
        let kept = self.attachments.len();
        let scope = Scope::encode(std::mem::take(&mut self.attachments));
        let written = append(&mut self.bytes, value);
        if let Some(attachments) = scope.outgoing() {
            self.attachments = attachments;
        }
        let len = self.bytes.len() - start - FRAME_HEADER;
        let header = u32::try_from(len).ok().filter(|len| len & MARK == 0);
        match (written, header, self.bytes[start..].first_chunk_mut()) {
            (Ok(()), Some(header), Some(place)) => {
                *place = (header | if is_marked { MARK } else { 0 }).to_le_bytes();
                Ok(())
            }
            (written, ..) => {
                self.bytes.truncate(start);
                self.attachments.truncate(kept);
                Err(written.err().unwrap_or_else(|| too_long(type_name::<T>(), len)))
            }
        }
    }

    /// The frames so far, if no descriptor goes along with them.
    #[inline]
    pub fn plain(&self) -> Option<&[u8]> {
        self.attachments.is_empty().then_some(self.bytes.as_slice())
    }

    /// Begins anew, in the same memory.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.attachments.clear();
    }

    /// The batch; what was appended later is another.
    ///
    /// # Errors
    /// Too many descriptors for one message, or a handle that cannot go along.
    pub fn finish(&mut self) -> Result<Encoded, EncodeError> {
        let bytes = std::mem::take(&mut self.bytes);
        Ok(Encoded { bytes, fds: seal(std::mem::take(&mut self.attachments))? })
    }
}

/// What stands before so many bytes in a batch that has no other value.
///
/// # Errors
/// They are too many for one message.
pub(crate) fn head_of_bytes(count: usize) -> Result<Vec<u8>, EncodeError> {
    let head = head(count)?;
    let len = u32::try_from(head.len() + count).ok().filter(|len| len & MARK == 0);
    let len = len.ok_or_else(|| too_long("bytes", count))?;
    Ok([len.to_le_bytes().as_slice(), &head].concat())
}

/// Gives the values of a batch back, one after another.
pub struct BatchDecoder {
    batch: Packed,
    /// So many bytes have been taken.
    taken: usize,
    attachments: Vec<Incoming>,
}

impl BatchDecoder {
    /// Begins with the first value.
    pub fn new(mut batch: Packed) -> Self {
        let attachments = batch.take_fds().into_iter().map(Incoming::Fd).collect();
        Self { batch, taken: 0, attachments }
    }

    /// Takes the next value, and says whether it is marked: `as_marked` decodes it then.
    /// `None` at the end.
    #[inline]
    pub fn take<T: DeserializeOwned + 'static, M: DeserializeOwned>(
        &mut self,
    ) -> Option<Result<Marked<T, M>, DecodeError>> {
        let bytes = self.batch.bytes();
        let len = bytes.len();
        let Some(frame) = next_frame(&bytes[self.taken..])? else {
            self.taken = len;
            return Some(Err(cut_off(type_name::<T>())));
        };
        self.taken += frame.end;
        if frame.end == len && !frame.is_marked {
            // Bytes that are all that there is need not be copied.
            if let Some(bytes) = self.only_bytes() {
                return Some(Ok(Marked::Plain(bytes)));
            }
        }
        // Readers are faster where they need not look for an end.
        let rest = &self.batch.bytes()[self.taken - frame.end..];
        let (value, len) = (&rest[FRAME_HEADER..], frame.end - FRAME_HEADER);
        let scope = Scope::decode(std::mem::take(&mut self.attachments));
        let decoded = if frame.is_marked {
            first(value, len).map(Marked::Marked)
        } else {
            first(value, len).map(Marked::Plain)
        };
        if let Some(attachments) = scope.incoming() {
            self.attachments = attachments;
        }
        Some(decoded)
    }

    /// The only value, if it is nothing but bytes.
    fn only_bytes<T>(&mut self) -> Option<T> {
        of_bytes::<T>(Vec::new())?;
        let Packed::Long(Encoded { bytes, .. }) = &mut self.batch else { return None };
        let rest = &bytes[FRAME_HEADER..];
        let (count, used): (u64, usize) = bincode::decode_from_slice(rest, CONFIG).ok()?;
        if usize::try_from(count).ok()? != rest.len() - used {
            return None;
        }
        let mut bytes = std::mem::take(bytes);
        self.taken = 0;
        bytes.drain(..FRAME_HEADER + used);
        of_bytes(bytes)
    }
}

/// Decodes the value, without descriptors, that the first `len` of these bytes are: readers
/// are faster where they need not look for an end.
///
/// # Errors
/// As [`decode`](super::decode).
#[inline]
pub(crate) fn decode_first<T: DeserializeOwned>(
    bytes: &[u8],
    len: usize,
) -> Result<T, DecodeError> {
    let _scope = Scope::decode(Vec::new());
    first(bytes, len)
}

/// The value that the first `len` of these bytes are.
#[inline]
fn first<T: DeserializeOwned>(bytes: &[u8], len: usize) -> Result<T, DecodeError> {
    match read(bytes)? {
        (value, used) if used == len => Ok(value),
        (_, used) if used < len => Err(left_over(type_name::<T>(), len - used)),
        _ => Err(cut_off(type_name::<T>())),
    }
}

#[cold]
fn cut_off(type_name: &str) -> DecodeError {
    DecodeError { type_name: type_name.into(), why: "its bytes are cut off".into() }
}

#[cold]
fn too_long(type_name: &str, len: usize) -> EncodeError {
    let why = format!("{len} bytes are more than fit into a message");
    EncodeError { type_name: type_name.into(), why }
}

/// A value, or what is in its place.
pub enum Marked<T, M> {
    /// Without the mark.
    Plain(T),
    /// With the mark.
    Marked(M),
}

/// Where a frame ends, counted from its beginning.
#[derive(Debug, Clone, Copy)]
pub struct FrameEnd {
    /// The place behind its last byte.
    pub end: usize,
    /// Whether it is marked.
    pub is_marked: bool,
}

/// The frame that begins the bytes: `None` when there are none, `Some(None)` when it is
/// not whole.
#[inline]
pub fn next_frame(bytes: &[u8]) -> Option<Option<FrameEnd>> {
    if bytes.is_empty() {
        return None;
    }
    Some(bytes.first_chunk().and_then(|header| {
        let header = u32::from_le_bytes(*header);
        let end = FRAME_HEADER + (header & !MARK) as usize;
        (end <= bytes.len()).then_some(FrameEnd { end, is_marked: header & MARK != 0 })
    }))
}

/// Where the frames of this range lie in a batch; `None` when there are not so many.
pub fn frames(batch: &[u8], range: std::ops::Range<u32>) -> Option<std::ops::Range<usize>> {
    let mut at = 0;
    let mut start = 0;
    for number in 0..range.end {
        if number == range.start {
            start = at;
        }
        at += next_frame(&batch[at..])??.end;
    }
    Some(start..at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Fd;

    fn plain<T: DeserializeOwned + 'static>(decoder: &mut BatchDecoder) -> T {
        match decoder.take::<T, u8>() {
            Some(Ok(Marked::Plain(value))) => value,
            _ => panic!("no value"),
        }
    }

    #[test]
    fn each_value_is_a_frame_of_its_own() {
        let mut batch = BatchEncoder::default();
        batch.push(&1_u64).unwrap();
        batch.push_marked(&7_u8, true).unwrap();
        batch.push(&"text".to_string()).unwrap();
        assert_eq!(frames(batch.plain().unwrap(), 1..2), Some(5..10));
        assert_eq!(frames(batch.plain().unwrap(), 1..4), None);
        let encoded = batch.finish().unwrap();
        let mut decoder = BatchDecoder::new(Packed::Long(encoded));
        // What is read as something else is an error of its own.
        assert!(matches!(decoder.take::<(u8, u8), u8>(), Some(Err(_))));
        assert!(matches!(decoder.take::<u64, u8>(), Some(Ok(Marked::Marked(7)))));
        assert_eq!(plain::<String>(&mut decoder), "text");
        assert!(decoder.take::<u8, u8>().is_none());
    }

    #[test]
    fn bytes_travel_as_they_do_one_by_one() {
        let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        let mut batch = BatchEncoder::default();
        batch.push(&bytes).unwrap();
        batch.push(&(bytes.clone(), 3_u8)).unwrap();
        batch.push(&(bytes.clone(),)).unwrap();
        let encoded = batch.finish().unwrap();
        let mut decoder = BatchDecoder::new(Packed::Long(encoded));
        assert_eq!(plain::<(Vec<u8>,)>(&mut decoder).0, bytes);
        assert_eq!(plain::<(Vec<u8>, u8)>(&mut decoder), (bytes.clone(), 3));
        assert_eq!(plain::<Vec<u8>>(&mut decoder), bytes);
        // Alone they are not copied, and may be written without an encoder.
        let alone = [&head_of_bytes(bytes.len()).unwrap(), bytes.as_slice()].concat();
        batch.push(&bytes).unwrap();
        assert_eq!(batch.plain(), Some(alone.as_slice()));
        let mut decoder = BatchDecoder::new(Packed::new(&alone));
        assert_eq!(plain::<(Vec<u8>,)>(&mut decoder).0, bytes);
        assert!(decoder.take::<u8, u8>().is_none());
    }

    #[test]
    fn descriptors_stay_with_the_values_that_name_them() {
        let pipes: Vec<_> = (0..2).map(|_| std::io::pipe().unwrap()).collect();
        let mut batch = BatchEncoder::default();
        for (reader, _) in &pipes {
            batch.push(&Fd(reader.try_clone().unwrap().into())).unwrap();
        }
        assert!(batch.plain().is_none());
        let encoded = batch.finish().unwrap();
        let mut decoder = BatchDecoder::new(Packed::Long(encoded));
        for (_, mut writer) in pipes {
            let fd: Fd = plain(&mut decoder);
            std::io::Write::write_all(&mut writer, b"x").unwrap();
            drop(writer);
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::fs::File::from(fd.0), &mut text).unwrap();
            assert_eq!(text, "x");
        }
    }
}
