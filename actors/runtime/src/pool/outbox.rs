//! How results come from a worker to its owner.
//!
//! Owns what the words of the shared memory mean, and both sides' order of reading and
//! writing them. A result is in the owner's hands as soon as it is in the ring: whatever
//! happens to the worker then, it is not lost. Neither side makes a system call for it,
//! unless the other one sleeps:
//!
//! - An owner that is about to sleep says so in `ASLEEP`, and looks at the ring once more.
//!   A worker that has put something in looks at `ASLEEP`, and rings (by a frame on its
//!   stream) if it could clear it. Both look after a full fence, so one of them sees the
//!   other.
//! - In the same way a worker that finds no room says so in `HUNGRY`, and the owner that
//!   makes room rings.
//!
//! What does not fit into the ring, or has descriptors beside it, goes over the stream; a
//! mark in the ring keeps its place.

use crate::codec::next_frame;
use crate::sys::memory::anonymous;
use crate::sys::outbox::{OutboxMemory, RING, SIZE};
use procession_protocols::pool::word;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

const BEGUN: usize = 0;
const TAIL: usize = 1;
const HEAD: usize = 2;
const ASLEEP: usize = 3;
const HUNGRY: usize = 4;
const OUTGROWN: usize = 5;

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
    Frames(u32, Vec<u8>),
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
        word::begin(self.memory.word(BEGUN), number)
    }

    /// Puts a frame in. False when there is no room.
    #[inline]
    pub(super) fn put(&mut self, frame: &[u8]) -> bool {
        let end = self.tail + frame.len() as u64;
        if end - self.head > RING as u64 {
            self.head = self.memory.word(HEAD).load(Acquire);
            if end.saturating_sub(self.head) > RING as u64 {
                return false;
            }
        }
        self.memory.write(self.tail, frame);
        self.tail = end;
        self.memory.word(TAIL).store(end, Release);
        true
    }

    /// Keeps the place of one that goes over the stream. False when there is no room.
    pub(super) fn put_spilled(&mut self) -> bool {
        self.put(&SPILLED)
    }

    /// Says that this process uses more memory than it may.
    pub(super) fn outgrow(&self) {
        self.memory.word(OUTGROWN).store(1, Release);
    }

    /// Whether much has come together since it was looked last whether the owner sleeps.
    #[inline]
    pub(super) fn is_heavy(&self) -> bool {
        self.tail - self.looked > HALF
    }

    /// Whether the owner has to be rung for. Each sleep is answered once.
    pub(super) fn must_ring(&mut self) -> bool {
        self.looked = self.tail;
        fence(SeqCst);
        let asleep = self.memory.word(ASLEEP);
        asleep.load(Relaxed) != 0 && asleep.swap(0, SeqCst) != 0
    }

    /// Says that the owner is to ring when there is room. False when there is some now.
    pub(super) fn wants_room(&mut self) -> bool {
        self.memory.word(HUNGRY).store(1, Relaxed);
        fence(SeqCst);
        let before = std::mem::replace(&mut self.head, self.memory.word(HEAD).load(Acquire));
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
        word::take_back(self.memory.word(BEGUN), last)
    }

    /// The last item that has been begun.
    pub(super) fn begun(&self) -> u32 {
        word::begun(self.memory.word(BEGUN))
    }

    /// Whether the worker uses more memory than it may.
    pub(super) fn is_outgrown(&self) -> bool {
        self.memory.word(OUTGROWN).load(Acquire) != 0
    }

    /// Says that the owner is about to sleep. False when there is something to take first.
    pub(super) fn may_sleep(&self) -> bool {
        self.memory.word(ASLEEP).store(1, Relaxed);
        fence(SeqCst);
        self.memory.word(TAIL).load(Acquire) == self.head
    }

    /// Says that the owner is awake.
    pub(super) fn wake_up(&self) {
        self.memory.word(ASLEEP).store(0, Relaxed);
    }

    /// Takes all that is in the ring. True when the worker waits for the room.
    pub(super) fn collect(&mut self) -> Result<bool, Damaged> {
        let tail = self.memory.word(TAIL).load(Acquire);
        let len = tail.wrapping_sub(self.head);
        if len == 0 {
            return Ok(false);
        }
        let len = usize::try_from(len).ok().filter(|len| *len <= RING).ok_or(Damaged)?;
        self.pending.drain(..std::mem::take(&mut self.taken));
        self.memory.read(self.head, len, &mut self.pending);
        self.head = tail;
        self.memory.word(HEAD).store(tail, Release);
        fence(SeqCst);
        let hungry = self.memory.word(HUNGRY);
        Ok(hungry.load(Relaxed) != 0 && hungry.swap(0, SeqCst) != 0)
    }

    /// The next results, at most so many.
    pub(super) fn next(&mut self, most: u32) -> Option<Results> {
        let rest = &self.pending[self.taken..];
        if rest.starts_with(&SPILLED) {
            self.taken += SPILLED.len();
            return Some(Results::Spilled);
        }
        let (mut count, mut end) = (0, 0);
        while count < most
            && let Some(Some(frame)) = next_frame(&rest[end..])
        {
            end += frame.end;
            count += 1;
        }
        if count == 0 {
            return None;
        }
        // Most often it is all that there is, of one task.
        let frames = if self.taken == 0 && end == self.pending.len() {
            std::mem::take(&mut self.pending)
        } else {
            let frames = rest[..end].to_vec();
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
        assert!(tray.may_sleep());
        assert!(outbox.put(&frame(b"one")) && outbox.put(&frame(b"two")));
        assert!(outbox.must_ring() && !outbox.must_ring());
        assert!(!tray.may_sleep(), "there is something to take");
        assert!(outbox.put_spilled() && outbox.put(&frame(b"four")));
        assert!(!tray.collect().unwrap());
        let Some(Results::Frames(1, bytes)) = tray.next(1) else { panic!("no frame") };
        assert_eq!(bytes, frame(b"one"));
        let Some(Results::Frames(1, bytes)) = tray.next(9) else { panic!("no frame") };
        assert_eq!(bytes, frame(b"two"));
        assert!(matches!(tray.next(9), Some(Results::Spilled)));
        tray.put_back();
        assert!(matches!(tray.next(9), Some(Results::Spilled)));
        assert!(matches!(tray.next(9), Some(Results::Frames(1, _))));
        assert!(tray.next(9).is_none());
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
