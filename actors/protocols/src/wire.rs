//! The native frame of a link, and how a stream of bytes becomes frames again.
//!
//! ```text
//! u32 LE payload length | u8 kind | u8 flags | u16 LE descriptors | u64 LE target | u64 LE call id | payload
//! ```
//!
//! Owns the layout and the reassembly buffer. It never reads or writes a descriptor;
//! links in `procession-runtime` do, and they count the descriptors that came beside
//! the bytes. Both ends of a link are the same build (build ids are compared when a
//! child starts), so the frame has no version.

/// Length of a frame's header in bytes.
pub const HEADER_LEN: usize = 24;

/// Largest payload of one frame inside a process tree, in bytes.
pub const MAX_PAYLOAD: usize = u32::MAX as usize;

/// A reassembly buffer reads at most this far ahead of what has arrived, in bytes.
pub const READ_AHEAD: usize = 64 * 1024;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A message of the library between two nodes (control links).
    Control = 1,
    /// A message to an actor that wants a reply; the call id names it.
    Call = 2,
    /// A message to an actor, one way.
    Cast = 3,
    /// The reply to a call.
    Reply = 4,
    /// A call that will get no reply: the payload says why.
    Refused = 5,
    /// A message to a process's own mailbox; the target is its type's tag.
    Mail = 6,
    /// The receiver has handled this many messages (the call id field counts them).
    Credit = 7,
    /// The bytes that belong to the control message before: arguments, a result.
    Payload = 8,
    /// To a pool's worker: end after the task in progress.
    Stop = 9,
    /// The actor has ended; the payload is its Down.
    Down = 11,
    /// The sender holds no reference any more.
    Release = 12,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Control,
            2 => Self::Call,
            3 => Self::Cast,
            4 => Self::Reply,
            5 => Self::Refused,
            6 => Self::Mail,
            7 => Self::Credit,
            8 => Self::Payload,
            9 => Self::Stop,
            11 => Self::Down,
            12 => Self::Release,
            _ => return None,
        })
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Payload length in bytes.
    pub len: u32,
    /// What the frame carries.
    pub kind: Kind,
    /// Bits whose meaning belongs to the kind.
    pub flags: u8,
    /// How many descriptors came beside the frame.
    pub fds: u16,
    /// The actor's number, or what the kind says.
    pub target: u64,
    /// The call's number, or what the kind says.
    pub call: u64,
}

impl Header {
    /// A header with only its kind and payload length set.
    ///
    /// # Errors
    /// [`TooLong`] above [`MAX_PAYLOAD`].
    pub fn new(kind: Kind, payload_len: usize) -> Result<Self, TooLong> {
        let len = u32::try_from(payload_len).map_err(|_| TooLong { len: payload_len })?;
        Ok(Self { len, kind, flags: 0, fds: 0, target: 0, call: 0 })
    }

    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.flags;
        bytes[6..8].copy_from_slice(&self.fds.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.target.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.call.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` for an unknown kind.
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        Some(Self {
            len: u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            kind: Kind::from_byte(bytes[4])?,
            flags: bytes[5],
            fds: u16::from_le_bytes([bytes[6], bytes[7]]),
            target: number(8),
            call: number(16),
        })
    }
}

/// A payload does not fit into one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {len} bytes does not fit into a frame of at most {MAX_PAYLOAD}")]
pub struct TooLong {
    /// The payload's length in bytes.
    pub len: usize,
}

/// The bytes on a stream are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream carries bytes that are no frame")]
pub struct BadFrame;

/// Bytes as they arrive, cut into frames.
///
/// The reader asks for [`space`](Self::space), reads into it, says how much came with
/// [`filled`](Self::filled), and takes frames until there are none.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// `bytes[start..end]` has arrived and is not taken yet.
    start: usize,
    end: usize,
    /// Whether the last read took all the room that there was: more may be behind it.
    is_short: bool,
}

/// Where a fresh buffer starts: enough for a burst of small messages.
const FIRST_SPACE: usize = 4 * 1024;

impl FrameBuffer {
    /// Room to read into: what the frame under way still needs, at least `FIRST_SPACE`, or
    /// [`READ_AHEAD`] after a read that took all the room, at most [`READ_AHEAD`] bytes or as
    /// much as has arrived already.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let missing = match self.header() {
            Ok(Some(header)) => (HEADER_LEN + header.len as usize).saturating_sub(self.end),
            _ => 0,
        };
        let least = if self.is_short { READ_AHEAD } else { FIRST_SPACE };
        let room = missing.min(READ_AHEAD.max(self.end)).max(least);
        if self.bytes.len() < self.end + room {
            self.bytes.resize(self.end + room, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `count` bytes of the space have been filled.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
        self.is_short = self.end == self.bytes.len();
    }

    /// Takes the next whole frame.
    ///
    /// # Errors
    /// [`BadFrame`]; the stream is lost then.
    pub fn next_frame(&mut self) -> Result<Option<(Header, Vec<u8>)>, BadFrame> {
        let frame = self.next_slice()?.map(|(header, payload)| (header, payload.to_vec()));
        self.recycle();
        Ok(frame)
    }

    /// As [`next_frame`](Self::next_frame), with the payload where it has arrived.
    ///
    /// # Errors
    /// As [`next_frame`](Self::next_frame).
    pub fn next_slice(&mut self) -> Result<Option<(Header, &[u8])>, BadFrame> {
        self.recycle();
        let Some(header) = self.header()? else { return Ok(None) };
        let payload = self.start + HEADER_LEN;
        let end = payload + header.len as usize;
        if end > self.end {
            return Ok(None);
        }
        self.start = end;
        Ok(Some((header, &self.bytes[payload..end])))
    }

    /// Begins at the front again, if all that has arrived is taken.
    fn recycle(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            // A buffer that grew for one large frame does not keep its size.
            if self.bytes.len() > 4 * READ_AHEAD {
                self.bytes = Vec::new();
            }
        }
    }

    /// Whether the stream stopped in the middle of a frame.
    pub fn is_partial(&self) -> bool {
        self.end > self.start
    }

    fn header(&self) -> Result<Option<Header>, BadFrame> {
        let Some(bytes) = self.bytes[self.start..self.end].first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        Header::from_bytes(bytes).map(Some).ok_or(BadFrame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: Kind, call: u64, payload: &[u8]) -> Vec<u8> {
        let mut header = Header::new(kind, payload.len()).unwrap();
        header.call = call;
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            cuts in prop::collection::vec(1usize..97, 1..50),
        ) {
            let mut stream = Vec::new();
            for (i, payload) in payloads.iter().enumerate() {
                stream.extend(frame(Kind::Call, i as u64, payload));
            }
            let mut buffer = FrameBuffer::default();
            let mut seen = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                let space = buffer.space();
                let count = (*cut).min(rest.len()).min(space.len());
                space[..count].copy_from_slice(&rest[..count]);
                buffer.filled(count);
                rest = &rest[count..];
                while let Some((header, payload)) = buffer.next_frame().unwrap() {
                    prop_assert_eq!(header.call, seen.len() as u64);
                    seen.push(payload);
                }
                if rest.is_empty() { break }
            }
            prop_assert_eq!(seen, payloads);
            prop_assert!(!buffer.is_partial());
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let mut buffer = FrameBuffer::default();
            for chunk in bytes.chunks(61) {
                let space = buffer.space();
                prop_assert!(space.len() <= 4 * READ_AHEAD);
                let count = chunk.len().min(space.len());
                space[..count].copy_from_slice(&chunk[..count]);
                buffer.filled(count);
                loop {
                    match buffer.next_frame() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(BadFrame) => return Ok(()),
                    }
                }
            }
        }
    }

    #[test]
    fn a_length_alone_reserves_little() {
        let mut header = Header::new(Kind::Cast, 0).unwrap();
        header.len = u32::MAX;
        let mut buffer = FrameBuffer::default();
        buffer.space()[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        buffer.filled(HEADER_LEN);
        assert!(buffer.next_frame().unwrap().is_none());
        assert!(buffer.space().len() <= READ_AHEAD + FIRST_SPACE);
    }
}
