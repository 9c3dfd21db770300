//! Several values in one message, each of them a frame of its own.
//!
//! Owns the frames of a batch: a length (u32, little-endian) and the value. So a batch can
//! be cut between any two values without decoding them, and a value that does not decode
//! takes no other with it. The highest bit of the length is a mark that its user gives a
//! meaning. Descriptors stand beside the batch as a whole. Who takes a value has to name the
//! very type that it was appended as. Neighbours: `codec` encodes, `flat` does numbers.

use super::{
    DecodeError, EncodeError, Encoded, Incoming, Outgoing, Packed, Scope, append, flat, head,
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

/// Most bytes of room that are made for values which have not come.
const MOST_SPACE: usize = 256 * 1024;

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
        match flat::with_frame(value, |frame| self.bytes.extend_from_slice(frame)) {
            Some(()) => Ok(()),
            None => self.push_encoded(value, 0),
        }
    }

    /// Makes room for so many values more that are as long as those so far.
    pub fn expect(&mut self, count: usize) {
        let more = self.bytes.len().saturating_mul(count).min(MOST_SPACE);
        self.bytes.reserve(more);
    }

    /// Keeps the first so many values only.
    pub fn keep(&mut self, count: u32) {
        let end = frames(&self.bytes, 0..count).map_or(0, |whole| whole.end);
        self.bytes.truncate(end);
    }

    /// As [`push`](Self::push), with the mark.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_marked<T: Serialize>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.push_encoded(value, MARK)
    }

    #[inline]
    fn push_encoded<T: Serialize>(&mut self, value: &T, mark: u32) -> Result<(), EncodeError> {
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
                *place = (header | mark).to_le_bytes();
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

    /// Takes the next value if it is flat, without a mark, and whole: a short way for many
    /// numbers. Otherwise it is left to [`take`](Self::take).
    #[inline]
    pub fn take_flat<T: 'static>(&mut self) -> Option<T> {
        let rest = &self.batch.bytes()[self.taken..];
        let frame = next_frame(rest)??;
        let mut place = None;
        if !frame.is_marked && flat::get(&rest[FRAME_HEADER..frame.end], &mut place) {
            self.taken += if place.is_some() { frame.end } else { 0 };
        }
        place
    }

    /// Takes the next value, and says whether it is marked: `as_marked` decodes it then.
    /// `None` at the end.
    #[inline]
    pub fn take<T: DeserializeOwned + 'static, M: DeserializeOwned>(
        &mut self,
    ) -> Option<Result<Marked<T, M>, DecodeError>> {
        let rest = &self.batch.bytes()[self.taken..];
        let Some(frame) = next_frame(rest) else { return self.take_bare() };
        let Some(frame) = frame else {
            self.taken += rest.len();
            return Some(Err(cut_off(type_name::<T>())));
        };
        self.taken += frame.end;
        // Readers are faster where they need not look for an end.
        let (value, len) = (&rest[FRAME_HEADER..], frame.end - FRAME_HEADER);
        let mut place = None;
        if !frame.is_marked && flat::get(&value[..len], &mut place) {
            let value = place.map(Marked::Plain);
            return Some(value.ok_or_else(|| no_such_value(type_name::<T>())));
        }
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

    /// The value that no frame surrounds, if there is one.
    #[cold]
    fn take_bare<T, M>(&mut self) -> Option<Result<Marked<T, M>, DecodeError>> {
        let value = of_bytes(self.batch.take_bare()?).map(Marked::Plain);
        Some(value.ok_or_else(|| no_such_value(type_name::<T>())))
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
fn no_such_value(type_name: &str) -> DecodeError {
    DecodeError { type_name: type_name.into(), why: "its bytes are those of another type".into() }
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
struct FrameEnd {
    /// The place behind its last byte.
    pub end: usize,
    /// Whether it is marked.
    pub is_marked: bool,
}

/// The frame that begins the bytes: `None` when there are none, `Some(None)` when it is
/// not whole.
#[inline]
#[expect(clippy::option_option, reason = "there may be none, a part of one, or one")]
fn next_frame(bytes: &[u8]) -> Option<Option<FrameEnd>> {
    if bytes.is_empty() {
        return None;
    }
    Some(bytes.first_chunk().and_then(|header| {
        let header = u32::from_le_bytes(*header);
        let end = FRAME_HEADER + (header & !MARK) as usize;
        (end <= bytes.len()).then_some(FrameEnd { end, is_marked: header & MARK != 0 })
    }))
}

/// How many whole frames begin these bytes, at most so many, and where the last of them ends.
pub fn whole_frames(bytes: &[u8], most: u32) -> (u32, usize) {
    let (mut count, mut end) = (0, 0);
    while count < most
        && let Some(Some(frame)) = next_frame(&bytes[end..])
    {
        // Numbers make frames that are all alike: where the next one begins need not be
        // read out of the one before it, which has a processor wait for each.
        let rest = bytes[end..].chunks_exact(frame.end).take((most - count) as usize);
        let header = &bytes[end..end + FRAME_HEADER];
        let alike = rest.take_while(|next| next[..FRAME_HEADER] == *header).count();
        end += alike * frame.end;
        count += u32::try_from(alike).unwrap_or(most);
    }
    (count, end)
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
        batch.push_marked(&7_u8).unwrap();
        batch.push(&"text".to_string()).unwrap();
        assert_eq!(frames(batch.plain().unwrap(), 1..2), Some(12..17));
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
        // Alone they may be written without an encoder.
        let alone = [&head_of_bytes(bytes.len()).unwrap(), bytes.as_slice()].concat();
        batch.push(&bytes).unwrap();
        assert_eq!(batch.plain(), Some(alone.as_slice()));
    }

    #[test]
    fn bare_bytes_are_not_copied() {
        let bytes = vec![7; 70_000];
        let at = bytes.as_ptr();
        let mut decoder = BatchDecoder::new(Packed::Bare(bytes));
        let (bytes,) = plain::<(Vec<u8>,)>(&mut decoder);
        assert_eq!((bytes.as_ptr(), bytes.len()), (at, 70_000));
        assert!(decoder.take::<Vec<u8>, u8>().is_none());
        let mut decoder = BatchDecoder::new(Packed::Bare(bytes));
        assert!(matches!(decoder.take::<u64, u8>(), Some(Err(_))));
        assert!(decoder.take::<u64, u8>().is_none());
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
