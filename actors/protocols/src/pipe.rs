//! The framing of a pipe: how a stream of bytes is cut into messages.
//!
//! ```text
//! i32 BE length | body                     up to 0x7fff_ffff bytes
//! i32 BE -1 | u64 BE length | body         more; a reader takes it for any length
//! ```
//!
//! This is what `multiprocessing.connection` of Python speaks on pipes and sockets
//! (`Connection._send_bytes` and `_recv_bytes` in its `connection.py`), so that a Python
//! process can hold the other end. Owns the layout and the assembly of one message. An
//! [`Incoming`] asks for the bytes of its own message and never for one more, since what
//! follows may be another reader's. It must never read a descriptor: the runtime's `pipe`
//! does, and puts the bytes where [`Incoming::room`] says.

pub mod debt;
pub mod turn;

/// Longest message that is sent or taken, in bytes: 4 GiB.
pub const LONGEST_MESSAGE: u64 = 1 << 32;

/// Longest head of a message, in bytes.
pub const LONGEST_HEAD: usize = 12;

/// A message's body up to this length gets its memory at once; a longer one gets it as its
/// bytes arrive, so that a length alone costs nobody memory. Memory that was never written
/// is no more than a range of addresses.
pub const RESERVE_AT_ONCE: usize = 16 * 1024 * 1024;

/// Length of the usual head, in bytes.
const SHORT_HEAD: usize = 4;

/// What stands in the short head when the length follows in a longer one.
const LONG_FOLLOWS: i32 = -1;

/// A length that no message can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A negative length: the bytes are no message.
    #[error("a message says that it is {0} bytes long; what arrives here are no messages")]
    Negative(i32),
    /// Longer than this reader takes, or than anything may be.
    #[error("a message of {len} bytes, at most {max} are taken")]
    TooLong {
        /// What the message says of itself.
        len: u64,
        /// What was allowed.
        max: u64,
    },
    /// There is no memory for it.
    #[error("no memory for a message of {0} bytes")]
    NoMemory(u64),
}

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; LONGEST_HEAD],
    len: usize,
    body: u64,
}

impl Head {
    /// The head of a message of `body` bytes.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] above [`LONGEST_MESSAGE`].
    pub fn new(body: usize) -> Result<Self, FrameError> {
        let body = body as u64;
        if body > LONGEST_MESSAGE {
            return Err(FrameError::TooLong { len: body, max: LONGEST_MESSAGE });
        }
        let mut bytes = [0; LONGEST_HEAD];
        let len = if let Ok(short) = i32::try_from(body) {
            bytes[..SHORT_HEAD].copy_from_slice(&short.to_be_bytes());
            SHORT_HEAD
        } else {
            bytes[..SHORT_HEAD].copy_from_slice(&LONG_FOLLOWS.to_be_bytes());
            bytes[SHORT_HEAD..].copy_from_slice(&body.to_be_bytes());
            LONGEST_HEAD
        };
        Ok(Self { bytes, len, body })
    }

    /// Reads the head at the front of `bytes`; `None` when it is not all there.
    ///
    /// # Errors
    /// [`FrameError::Negative`], and [`FrameError::TooLong`] above `max`.
    pub fn read(bytes: &[u8], max: u64) -> Result<Option<Self>, FrameError> {
        let Some(short) = bytes.first_chunk::<SHORT_HEAD>() else { return Ok(None) };
        let (len, body) = match i32::from_be_bytes(*short) {
            LONG_FOLLOWS => {
                let Some(long) = bytes[SHORT_HEAD..].first_chunk::<8>() else { return Ok(None) };
                (LONGEST_HEAD, u64::from_be_bytes(*long))
            }
            short => match u64::try_from(short) {
                Ok(body) => (SHORT_HEAD, body),
                Err(_) => return Err(FrameError::Negative(short)),
            },
        };
        let max = max.min(LONGEST_MESSAGE);
        if body > max {
            return Err(FrameError::TooLong { len: body, max });
        }
        let mut head = Self { bytes: [0; LONGEST_HEAD], len, body };
        head.bytes[..len].copy_from_slice(&bytes[..len]);
        Ok(Some(head))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Length of the body, in bytes.
    pub fn body(&self) -> usize {
        usize::try_from(self.body).unwrap_or(usize::MAX)
    }

    /// Length of the whole message, in bytes.
    pub fn whole(&self) -> usize {
        self.body().saturating_add(self.len)
    }
}

/// One message on its way in.
///
/// ```text
///   new ──> the head, piece by piece ──> the body, piece by piece ──> whole
///   announced ─────────────────────────────^ (the head is known, but not taken)
/// ```
#[derive(Debug)]
pub struct Incoming {
    /// Bytes of the head that have been taken.
    head: [u8; LONGEST_HEAD],
    taken: usize,
    /// Known once the head has been read, or seen before.
    known: Option<Head>,
    body: Vec<u8>,
    max: u64,
}

/// Where the next bytes of a message go: the rest of the head, then at most `most` bytes
/// behind what the body has, for which there is room.
#[derive(Debug)]
pub struct Room<'a> {
    /// To be filled first.
    pub head: &'a mut [u8],
    /// To be appended to then.
    pub body: &'a mut Vec<u8>,
    /// How many bytes may be appended at most.
    pub most: usize,
}

impl Incoming {
    /// A message of which nothing is known; longer than `max` it will be an error.
    pub fn new(max: u64) -> Self {
        Self { head: [0; LONGEST_HEAD], taken: 0, known: None, body: Vec::new(), max }
    }

    /// A message whose head has been seen, but not taken off the stream.
    pub fn announced(head: Head) -> Self {
        Self { known: Some(head), ..Self::new(head.body) }
    }

    /// Where its next bytes go. There is room for at least one byte as long as it is not
    /// whole.
    ///
    /// # Errors
    /// [`FrameError::NoMemory`].
    pub fn room(&mut self) -> Result<Room<'_>, FrameError> {
        let Some(head) = self.known else {
            let wanted = if self.taken < SHORT_HEAD { SHORT_HEAD } else { LONGEST_HEAD };
            return Ok(Room {
                head: &mut self.head[self.taken..wanted],
                body: &mut self.body,
                most: 0,
            });
        };
        let left = head.body() - self.body.len();
        if self.body.capacity() == self.body.len() {
            // Beyond what is reserved at once it doubles.
            let more = RESERVE_AT_ONCE.max(self.body.len()).min(left);
            self.body.try_reserve_exact(more).map_err(|_| FrameError::NoMemory(head.body))?;
        }
        let most = left.min(self.body.capacity() - self.body.len());
        Ok(Room { head: &mut self.head[self.taken..head.len], body: &mut self.body, most })
    }

    /// So many bytes were put where [`room`](Self::room) said, of which the first belong to
    /// the head; those behind it have been appended to the body.
    ///
    /// # Errors
    /// What the head says is no length, or too long. The stream is of no more use then.
    pub fn filled(&mut self, count: usize) -> Result<(), FrameError> {
        let wanted = match &self.known {
            Some(head) => head.len,
            None if self.taken < SHORT_HEAD => SHORT_HEAD,
            None => LONGEST_HEAD,
        };
        self.taken = wanted.min(self.taken + count);
        if self.known.is_none() {
            self.known = Head::read(&self.head[..self.taken], self.max)?;
        }
        Ok(())
    }

    /// Whether any of it has been taken.
    pub fn is_begun(&self) -> bool {
        self.taken > 0
    }

    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        self.known.is_some_and(|head| self.taken == head.len && self.body.len() == head.body())
    }

    /// Its body.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}

#[cfg(test)]
mod tests;
