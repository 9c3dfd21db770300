//! What lies where in the memory that a queue's owner shares with one client.
//!
//! Owns the layout: which word means what and who writes it, and how an item stands in a
//! ring. It must never wait or decide. Neighbours: `sys::rings` has the memory, the
//! protocol's `cursor` the algorithms of the words.
//!
//! ```text
//! u32 LE length | u32 LE tag of the type | u16 LE descriptors | u16 LE flags | u32 LE number | bytes
//! ```
//!
//! An item of more than [`INLINE`] bytes stands in a file of its own, which is the last of
//! its descriptors. Descriptors go over the client's socket, under the item's number,
//! before the item can be seen.

use crate::sys::rings::{RING, Ring, Rings, WORDS};
use procession_protocols::queue::cursor::{Bell, Cursor, Hunger};
use procession_protocols::queue::hands::{Hands, Places};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Length of an item's header, in bytes.
pub(super) const HEADER: usize = 16;

/// Most bytes of an item in a ring; a ring has room for several.
pub(super) const INLINE: usize = RING / 4;

/// The bit of the owner's bell: it does not look at this client.
pub(super) const OWNER_SLEEPS: u64 = 1;

/// Bits of the client's bell: what its threads wait for.
pub(super) mod waits {
    /// An item.
    pub(crate) const ITEM: u64 = 1;
    /// Room in the ring to the owner.
    pub(crate) const ROOM: u64 = 2;
    /// A place of a bounded queue.
    pub(crate) const PLACE: u64 = 4;
    /// An answer.
    pub(crate) const ANSWER: u64 = 8;
    /// All of these.
    pub(crate) const ALL: u64 = 15;
}

/// Bits of the state.
pub(super) mod state {
    /// The queue has been shut down.
    pub(crate) const SHUT: u64 = 1;
    /// It holds as many bytes as it may, so the owner reads no more for now.
    pub(crate) const HEAVY: u64 = 2;
}

/// Bits of an item's flags.
pub(super) mod flags {
    /// The bytes stand in a file.
    pub(crate) const FILE: u16 = 1;
    /// A consumer had it before and did not finish it.
    pub(crate) const REDELIVERED: u16 = 2;
}

/// Set in `rings_at` beside the count.
const ARMED: u64 = 1 << 32;

/// An item's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: u32,
    pub(super) tag: u32,
    pub(super) fds: u16,
    pub(super) flags: u16,
    pub(super) number: u32,
}

impl Header {
    /// How many bytes of a ring the item takes; `None` when that can't be.
    #[inline]
    pub(super) fn span(&self) -> Option<usize> {
        let len = self.inline();
        (len <= INLINE).then_some(HEADER + len)
    }

    /// Whether all there is to the item stands behind it, and nothing is said of it.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.fds == 0 && self.flags == 0
    }

    /// How many bytes stand behind it.
    #[inline]
    pub(super) fn inline(&self) -> usize {
        if self.flags & flags::FILE != 0 { 0 } else { self.len as usize }
    }

    #[inline]
    pub(super) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.tag.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.fds.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    /// What stands at the beginning of these bytes.
    #[inline]
    pub(super) fn first_of(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied().map(Self::from_bytes)
    }

    #[inline]
    fn from_bytes(bytes: [u8; HEADER]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            len: word(0),
            tag: word(4),
            fds: u16::from_le_bytes([bytes[8], bytes[9]]),
            flags: u16::from_le_bytes([bytes[10], bytes[11]]),
            number: word(12),
        }
    }
}

/// The shared memory of one client.
#[derive(Debug)]
pub(super) struct Page(Rings);

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {$(
        $(#[$doc])*
        pub(super) fn $name(&self) -> &AtomicU64 {
            self.0.word($number)
        }
    )*};
}

impl Page {
    /// Makes one, and gives the file that the client maps.
    pub(super) fn make() -> io::Result<(Self, OwnedFd)> {
        let (rings, file) = Rings::make()?;
        Ok((Self(rings), file))
    }

    /// Maps one that the owner made.
    pub(super) fn map(file: BorrowedFd<'_>) -> io::Result<Self> {
        Rings::map(file).map(Self)
    }

    words! {
        /// Of the ring to the owner: where the next item goes. The client writes it.
        up_tail = 0;
        /// Up to where the owner has read it.
        up_head = 1;
        /// Of the ring to the client: up to where it has copied out.
        down_head = 2;
        hungry_word = 3;
        /// How many wait for a place.
        short = 4;
        /// The number of the client's last question for an item, and of the owner's last
        /// answer.
        asked = 5;
        answered = 6;
        /// The same for places.
        asked_place = 7;
        answered_place = 8;
        /// How many items may be taken before the client must ring. The owner writes it.
        rings_at_word = 9;
        /// See [`state`]. The owner writes it.
        state = 10;
        items_word = 11;
        places_word = 12;
        owner_bell_word = 13;
        client_bell_word = 14;
        hands_sign = 15;
    }

    /// The items lent to the client.
    pub(super) fn items(&self) -> Cursor<'_, AtomicU64> {
        Cursor(self.items_word())
    }

    /// The places lent to it.
    pub(super) fn places(&self) -> Cursor<'_, AtomicU64> {
        Cursor(self.places_word())
    }

    /// What the client's calls have taken and not returned.
    pub(super) fn hands(&self) -> Hands<'_, Self> {
        Hands(self)
    }

    /// How many of the client's threads wait for an item.
    pub(super) fn hungry(&self) -> Hunger<'_, AtomicU64> {
        Hunger(self.hungry_word())
    }

    /// Whether the owner must be woken.
    pub(super) fn owner_bell(&self) -> Bell<'_, AtomicU64> {
        Bell(self.owner_bell_word())
    }

    /// What the client must be woken for.
    pub(super) fn client_bell(&self) -> Bell<'_, AtomicU64> {
        Bell(self.client_bell_word())
    }

    /// Whether the queue has been shut down.
    pub(super) fn is_shut(&self) -> bool {
        self.state().load(Ordering::Acquire) & state::SHUT != 0
    }

    /// Owner: asks the client to ring when it has taken so many.
    pub(super) fn ring_at(&self, taken: Option<u32>) {
        let word = taken.map_or(0, |taken| ARMED | u64::from(taken));
        self.rings_at_word().store(word, Ordering::Release);
    }

    /// Client, after its take: whether it is to ring now.
    pub(super) fn rings_now(&self, taken: u32) -> bool {
        let word = self.rings_at_word();
        let now = word.load(Ordering::Acquire);
        #[expect(clippy::cast_possible_truncation, reason = "the count is the lower half")]
        let at = now as u32;
        now & ARMED != 0
            && taken.wrapping_sub(at) <= u32::MAX / 2
            && word.compare_exchange(now, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Writes an item; the caller knows that there is room. Gives where it ends.
    pub(super) fn write(&self, ring: Ring, at: u64, header: Header, bytes: &[u8]) -> u64 {
        debug_assert_eq!(header.span(), Some(HEADER + bytes.len()));
        self.0.write(ring, at, &header.to_bytes());
        self.0.write(ring, at + HEADER as u64, bytes);
        at + (HEADER + bytes.len()) as u64
    }

    /// Writes items with their headers; the caller knows that there is room. Gives where the
    /// last one ends.
    pub(super) fn write_run(&self, ring: Ring, at: u64, run: &[u8]) -> u64 {
        self.0.write(ring, at, run);
        at + run.len() as u64
    }

    /// Reads so many bytes, which the caller knows to be in the ring: items with their
    /// headers.
    pub(super) fn run(&self, ring: Ring, at: u64, len: usize) -> Vec<u8> {
        self.0.copy(ring, at, len)
    }

    /// Reads the header of the item that stands here.
    pub(super) fn header(&self, ring: Ring, at: u64) -> Header {
        let mut bytes = [0; HEADER];
        self.0.read(ring, at, &mut bytes);
        Header::from_bytes(bytes)
    }

    /// Reads the bytes behind a header whose span has been checked.
    pub(super) fn bytes(&self, ring: Ring, at: u64, header: Header) -> Vec<u8> {
        self.0.copy(ring, at + HEADER as u64, header.inline())
    }
}

/// The words from here on are the client's hands.
const HANDS_AT: usize = 16;

impl Places for Page {
    type Word = AtomicU64;
    const COUNT: usize = WORDS - HANDS_AT;

    fn hand(&self, number: usize) -> &AtomicU64 {
        self.0.word(HANDS_AT + number)
    }

    fn sign(&self) -> &AtomicU64 {
        self.hands_sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back() {
        let (page, _file) = Page::make().unwrap();
        let header = Header { len: 3, tag: 0xdead_beef, fds: 2, flags: 2, number: 77 };
        let end = page.write(Ring::Down, RING as u64 - 5, header, b"abc");
        assert_eq!(end, RING as u64 - 5 + 19);
        assert_eq!(page.header(Ring::Down, RING as u64 - 5), header);
        assert_eq!(page.bytes(Ring::Down, RING as u64 - 5, header), b"abc");
    }

    #[test]
    fn a_length_that_cannot_be_has_no_span() {
        let header = Header { len: u32::MAX, tag: 0, fds: 0, flags: 0, number: 0 };
        assert_eq!(header.span(), None);
        assert_eq!(Header { flags: flags::FILE, ..header }.span(), Some(HEADER));
    }

    #[test]
    fn a_client_rings_once_when_it_has_taken_enough() {
        let (page, _file) = Page::make().unwrap();
        assert!(!page.rings_now(5));
        page.ring_at(Some(5));
        assert!(!page.rings_now(4));
        assert!(page.rings_now(6));
        assert!(!page.rings_now(7));
    }
}
