//! How results come from a worker to its owner.
//!
//! Owns the ring's two ends. A result is in the owner's hands as soon as it is in the ring:
//! whatever happens to the worker then, it is not lost. When one side rings for the other
//! (by a frame on its stream) is decided by `procession_protocols::pool::bell`. What does
//! not fit into the ring, or has descriptors beside it, goes over the stream; a mark in the
//! ring keeps its place.

use crate::codec::{Encoded, Packed, whole_frames};
use crate::sys::memory::anonymous;
use crate::sys::outbox::{OutboxMemory, RING, SIZE};
use procession_protocols::pool::bell::{self, Alarm, Which, Words};
use procession_protocols::pool::word;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

impl Words for OutboxMemory {
    type Word = AtomicU64;

    #[inline]
    fn word(&self, which: Which) -> &AtomicU64 {
        OutboxMemory::word(self, which as usize)
    }

    #[inline]
    fn fence(&self) {
        fence(SeqCst);
    }
}

/// Stands in the ring for a result that goes over the stream: no frame is so long.
const SPILLED: [u8; 4] = [0xff; 4];

/// Larger results go over the stream.
pub(super) const LARGEST: usize = RING / 8;

/// A worker rings for its owner in the middle of a task when so much has come together.
const HALF: u64 = RING as u64 / 2;

/// The worker's end.
pub(super) struct Outbox {
    memory: OutboxMemory,
    tail: u64,
    /// As far as is known; the owner may be further.
    head: u64,
    /// Where it was looked last whether the owner sleeps.
    looked: u64,
}

/// The owner's end.
pub(super) struct Tray {
    memory: OutboxMemory,
    head: u64,
    /// What has been taken out of the ring, and how much of it has been handed on.
    pending: Vec<u8>,
    taken: usize,
}

/// What comes next.
pub(super) enum Results {
    /// So many frames.
    Frames(u32, Packed),
    /// One that goes over the stream.
    Spilled,
}

/// The ring's words make no sense.
#[derive(Debug)]
pub(super) struct Damaged;

impl Outbox {
    pub(super) fn map(file: OwnedFd) -> io::Result<Self> {
        let memory = OutboxMemory::map(file.as_fd())?;
        Ok(Self { memory, tail: 0, head: 0, looked: 0 })
    }

    /// Begins an item. False when the owner has taken it back.
    #[inline]
    pub(super) fn begin(&self, number: u32) -> bool {
        word::begin(Words::word(&self.memory, Which::Begun), number)
    }

    /// Puts a frame in. False when there is no room.
    #[inline]
    pub(super) fn put(&mut self, frame: &[u8]) -> bool {
        let end = self.tail + frame.len() as u64;
        if end - self.head > RING as u64 {
            self.head = bell::taken(&self.memory);
            if end.saturating_sub(self.head) > RING as u64 {
                return false;
            }
        }
        self.memory.write(self.tail, frame);
        self.tail = end;
        bell::put(&self.memory, end);
        true
    }

    /// Keeps the place of one that goes over the stream. False when there is no room.
    pub(super) fn put_spilled(&mut self) -> bool {
        self.put(&SPILLED)
    }

    /// Says that this process uses more memory than it may.
    pub(super) fn outgrow(&self) {
        Words::word(&self.memory, Which::Outgrown).store(1, Release);
    }

    /// Whether much has come together since it was looked last whether the owner sleeps.
    #[inline]
    pub(super) fn is_heavy(&self) -> bool {
        self.tail - self.looked > HALF
    }

    /// Whether the owner has to be rung for, at once.
    pub(super) fn must_ring(&mut self) -> bool {
        self.looked = self.tail;
        bell::must_ring(&self.memory, 0, true)
    }

    /// Whether the owner has to be rung for, now that item `done` is.
    pub(super) fn must_ring_after(&self, done: u32) -> bool {
        bell::must_ring(&self.memory, done, false)
    }

    /// Says that the owner is to ring when there is room. False when there is some now.
    pub(super) fn wants_room(&mut self) -> bool {
        let before = std::mem::replace(&mut self.head, bell::wants_room(&self.memory));
        before == self.head
    }
}

impl Tray {
    /// Makes the memory. Gives the file as well, for the worker.
    pub(super) fn make() -> io::Result<(Self, OwnedFd)> {
        let file = anonymous(SIZE)?;
        Ok((Self::map(file.as_fd())?, file))
    }

    fn map(file: BorrowedFd<'_>) -> io::Result<Self> {
        let memory = OutboxMemory::map(file)?;
        Ok(Self { memory, head: 0, pending: Vec::new(), taken: 0 })
    }

    /// Takes back what has not been begun, up to this number. Gives the last that has.
    pub(super) fn take_back(&self, last: u32) -> u32 {
        word::take_back(Words::word(&self.memory, Which::Begun), last)
    }

    /// The last item that has been begun.
    pub(super) fn begun(&self) -> u32 {
        word::begun(Words::word(&self.memory, Which::Begun))
    }

    /// Whether the worker uses more memory than it may.
    pub(super) fn is_outgrown(&self) -> bool {
        Words::word(&self.memory, Which::Outgrown).load(Acquire) != 0
    }

    /// Says that the owner is about to sleep, and for what. False when there is something to
    /// take first.
    pub(super) fn arm(&self, alarm: Alarm) -> bool {
        bell::may_sleep(&self.memory, self.head, alarm)
    }

    /// Says that the owner is awake.
    pub(super) fn wake_up(&self) {
        bell::wake_up(&self.memory);
    }

    /// Takes all that is in the ring. True when the worker waits for the room.
    pub(super) fn collect(&mut self) -> Result<bool, Damaged> {
        let tail = bell::tail(&self.memory);
        let len = tail.wrapping_sub(self.head);
        if len == 0 {
            return Ok(false);
        }
        let len = usize::try_from(len).ok().filter(|len| *len <= RING).ok_or(Damaged)?;
        self.pending.drain(..std::mem::take(&mut self.taken));
        self.memory.read(self.head, len, &mut self.pending);
        self.head = tail;
        // Frames are shown whole. What begins none would be kept for ever, and more behind it.
        if !self.pending.starts_with(&SPILLED) && whole_frames(&self.pending, 1).0 == 0 {
            return Err(Damaged);
        }
        Ok(bell::take(&self.memory, tail))
    }

    /// The next results, at most so many.
    pub(super) fn next(&mut self, most: u32) -> Option<Results> {
        let rest = &self.pending[self.taken..];
        if rest.starts_with(&SPILLED) {
            self.taken += SPILLED.len();
            return Some(Results::Spilled);
        }
        let (count, end) = whole_frames(rest, most);
        if count == 0 {
            return None;
        }
        // Most often it is all that there is, of one task.
        let frames = if self.taken == 0 && end == self.pending.len() {
            Packed::from(Encoded { bytes: std::mem::take(&mut self.pending), fds: Vec::new() })
        } else {
            let frames = Packed::new(&rest[..end]);
            self.taken += end;
            frames
        };
        Some(Results::Frames(count, frames))
    }

    /// Puts back the place of a spilled result that has not come yet.
    pub(super) fn put_back(&mut self) {
        self.taken -= SPILLED.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &[u8]) -> Vec<u8> {
        let len = u32::try_from(text.len()).unwrap();
        [&len.to_le_bytes(), text].concat()
    }

    #[test]
    fn results_keep_their_order_and_a_sleep_is_answered_once() {
        let (mut tray, file) = Tray::make().unwrap();
        let mut outbox = Outbox::map(file).unwrap();
        assert!(!outbox.must_ring(), "the owner is awake");
        assert!(tray.arm(Alarm::Each));
        assert!(outbox.put(&frame(b"one")) && outbox.put(&frame(b"two")));
        assert!(outbox.must_ring() && !outbox.must_ring());
        assert!(!tray.arm(Alarm::Each), "there is something to take");
        assert!(outbox.put_spilled() && outbox.put(&frame(b"four")));
        assert!(!tray.collect().unwrap());
        let Some(Results::Frames(1, bytes)) = tray.next(1) else { panic!("no frame") };
        assert_eq!(bytes.bytes(), frame(b"one"));
        let Some(Results::Frames(1, bytes)) = tray.next(9) else { panic!("no frame") };
        assert_eq!(bytes.bytes(), frame(b"two"));
        assert!(matches!(tray.next(9), Some(Results::Spilled)));
        tray.put_back();
        assert!(matches!(tray.next(9), Some(Results::Spilled)));
        assert!(matches!(tray.next(9), Some(Results::Frames(1, _))));
        assert!(tray.next(9).is_none());
    }

    #[test]
    fn what_begins_no_frame_is_damage() {
        let (mut tray, file) = Tray::make().unwrap();
        let mut outbox = Outbox::map(file).unwrap();
        assert!(outbox.put(&frame(b"whole")) && outbox.put_spilled());
        assert!(tray.collect().is_ok());
        assert!(matches!(tray.next(9), Some(Results::Frames(1, _))));
        assert!(matches!(tray.next(9), Some(Results::Spilled)));
        assert!(outbox.put(&1_000_000u32.to_le_bytes()));
        assert!(tray.collect().is_err());
    }

    #[test]
    fn a_full_ring_is_waited_for() {
        let (mut tray, file) = Tray::make().unwrap();
        let mut outbox = Outbox::map(file).unwrap();
        let long = frame(&[7; LARGEST]);
        let mut put = 0;
        while outbox.put(&long) {
            put += 1;
        }
        assert!(put >= 7 && outbox.is_heavy());
        assert!(outbox.wants_room());
        assert!(tray.collect().unwrap(), "it is to be told");
        assert!(!outbox.wants_room() && outbox.put(&long));
        let Some(Results::Frames(count, _)) = tray.next(99) else { panic!("no frames") };
        assert_eq!(count, put);
    }
}
