//! The heap of this process's shared values: blocks out of arenas.
//!
//! Owns who has which bytes. An arena is one memory file, so that a thousand values cost
//! one descriptor and one mapping; each arena is twice as large as the one before, up to
//! 4 MiB, and a larger block gets one of its own, as in Python's
//! `multiprocessing/heap.py`. A block is zeroed when it is given out, and given back only
//! when no process has a handle to it any more. It must never call a user's code. A copy
//! of this process has a heap of its own: no block is given out twice.

use crate::share::era::{self, Eras};
use crate::sync::lock;
use crate::sys::cells::SharedCells;
use crate::sys::memory::{self, Mapping};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

/// Blocks begin at multiples of this, in bytes, and so do all plain numbers.
const GRAIN: usize = 8;

/// Blocks that fill it begin at a multiple of it, in bytes: what processors move at once.
const LINE: usize = 64;

/// The strictest alignment that a type may have, in bytes: a page's.
const MAX_ALIGN: usize = 4096;

/// No block has more bytes: so much can be added to any place without passing the last number.
const MOST: usize = isize::MAX.cast_unsigned();

/// The size of the first arena, in bytes.
const FIRST_ARENA: usize = 64 * 1024;

/// Arenas grow up to this, in bytes. Larger ones hold one block each.
const LARGEST_ARENA: usize = 4 * 1024 * 1024;

/// The heap of blocks for everybody, and that of private ones, whose arenas copies of this
/// process do not touch.
static HEAPS: [Eras<Shop>; 2] = [const { Eras::new() }; 2];

#[derive(Debug, Default)]
struct Shop {
    heap: Mutex<Heap>,
    /// Blocks that came back while the heap was busy: perhaps in this very thread.
    returned: Mutex<Vec<Place>>,
}

static LAST_ARENA: AtomicU64 = AtomicU64::new(0);

/// One memory file.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) number: u64,
    pub(super) mapping: Arc<Mapping>,
    pub(super) file: OwnedFd,
}

/// Bytes that belong to whoever holds this, and come back when it is dropped.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) arena: Arc<Arena>,
    pub(super) offset: usize,
    /// How many bytes were asked for.
    pub(super) len: usize,
    generation: u32,
    is_private: bool,
}

/// Where a block was.
#[derive(Debug)]
struct Place {
    arena: u64,
    offset: usize,
    /// Rounded up.
    len: usize,
}

#[derive(Debug, Default)]
struct Heap {
    arenas: Vec<Room>,
    /// The size of the next arena; 0 before the first.
    next: usize,
}

/// An arena and what of it is free: offset and length, no two of them side by side.
#[derive(Debug)]
struct Room {
    arena: Arc<Arena>,
    free: BTreeMap<usize, usize>,
    /// Bytes from here on have never been given out.
    fresh: usize,
}

/// Takes `len` bytes, zeroed, at a multiple of `align`.
///
/// # Errors
/// `ENOMEM`, and what making a memory file may say.
pub(super) fn take(len: usize, align: usize, is_private: bool) -> io::Result<Block> {
    let bytes = round_up(len.max(1)).filter(|bytes| *bytes <= MOST);
    let bytes = bytes.ok_or(io::ErrorKind::OutOfMemory)?;
    let align = align.max(if bytes >= LINE { LINE } else { GRAIN });
    if align > MAX_ALIGN {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "aligned to more than a page"));
    }
    let shop = HEAPS[usize::from(is_private)].now();
    let mut heap = lock(&shop.heap);
    heap.give_back_all(&shop.returned);
    let (arena, offset) = heap.take(bytes, align)?;
    drop(heap);
    Ok(Block { arena, offset, len, generation: era::generation(), is_private })
}

/// Rounded to grains; to lines from a line on, so that the next block begins at one.
fn round_up(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(if len >= LINE { LINE } else { GRAIN })
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.generation != era::generation() {
            // It is the business of the process that this one is a copy of.
            return;
        }
        let len = round_up(self.len.max(1)).unwrap_or(self.len);
        let place = Place { arena: self.arena.number, offset: self.offset, len };
        let shop = HEAPS[usize::from(self.is_private)].now();
        match shop.heap.try_lock() {
            Ok(mut heap) => {
                heap.give_back_all(&shop.returned);
                heap.give_back(place);
            }
            Err(TryLockError::Poisoned(heap)) => heap.into_inner().give_back(place),
            Err(TryLockError::WouldBlock) => lock(&shop.returned).push(place),
        }
    }
}

impl Heap {
    fn take(&mut self, len: usize, align: usize) -> io::Result<(Arc<Arena>, usize)> {
        for room in &mut self.arenas {
            if let Some(offset) = room.take(len, align) {
                return Ok((room.arena.clone(), offset));
            }
        }
        let size = len.next_multiple_of(MAX_ALIGN).max(self.next).max(FIRST_ARENA);
        let mut room = Room::new(size)?;
        self.next = (size * 2).min(LARGEST_ARENA);
        let arena = room.arena.clone();
        let offset = room.take(len, align).ok_or(io::ErrorKind::OutOfMemory)?;
        self.arenas.push(room);
        Ok((arena, offset))
    }

    fn give_back_all(&mut self, returned: &Mutex<Vec<Place>>) {
        for place in std::mem::take(&mut *lock(returned)) {
            self.give_back(place);
        }
    }

    fn give_back(&mut self, place: Place) {
        let mut arenas = self.arenas.iter_mut();
        let Some(at) = arenas.position(|room| room.arena.number == place.arena) else { return };
        let room = &mut self.arenas[at];
        room.give_back(place.offset, place.len);
        // One is kept for the next value.
        let is_single = room.arena.mapping.len() > LARGEST_ARENA;
        if room.is_empty() && (is_single || self.arenas.len() > 1) {
            self.arenas.swap_remove(at);
        }
        if self.arenas.is_empty() {
            self.next = 0;
        }
    }
}

impl Room {
    fn new(size: usize) -> io::Result<Self> {
        let file = memory::anonymous(size)?;
        let mapping = Arc::new(Mapping::new(file.as_fd(), size)?);
        let number = LAST_ARENA.fetch_add(1, Ordering::Relaxed) + 1;
        let arena = Arc::new(Arena { number, mapping, file });
        Ok(Self { arena, free: BTreeMap::from([(0, size)]), fresh: 0 })
    }

    fn is_empty(&self) -> bool {
        self.free.first_key_value() == Some((&0, &self.arena.mapping.len()))
    }

    /// Takes the first bytes that fit, and zeroes what was used before.
    fn take(&mut self, len: usize, align: usize) -> Option<usize> {
        let (start, room, offset) = self.free.iter().find_map(|(start, room)| {
            let offset = start.next_multiple_of(align);
            (offset + len <= start + room).then_some((*start, *room, offset))
        })?;
        self.free.remove(&start);
        if offset > start {
            self.free.insert(start, offset - start);
        }
        let (end, room_end) = (offset + len, start + room);
        if end < room_end {
            self.free.insert(end, room_end - end);
        }
        if let Some(used) = self.fresh.min(end).checked_sub(offset)
            && let Some(cells) = SharedCells::<u64>::new(&self.arena.mapping, offset, used / GRAIN)
        {
            cells.fill(0);
        }
        self.fresh = self.fresh.max(end);
        Some(offset)
    }

    fn give_back(&mut self, mut start: usize, len: usize) {
        let mut end = start + len;
        if let Some(after) = self.free.remove(&end) {
            end += after;
        }
        if let Some((&before, &room)) = self.free.range(..start).next_back()
            && before + room == start
        {
            start = before;
        }
        self.free.insert(start, end - start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets, in a heap of the test's own.
    fn heap() -> Heap {
        Heap::default()
    }

    #[test]
    fn blocks_are_apart_aligned_and_come_back_whole() {
        let mut heap = heap();
        let seed = std::env::var("PROCESSION_SEED").ok().and_then(|seed| seed.parse().ok());
        let mut state: u64 = seed.unwrap_or_else(|| std::process::id().into());
        println!("PROCESSION_SEED={state}");
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut held: Vec<(Arc<Arena>, usize, usize)> = Vec::new();
        for _ in 0..3_000 {
            if held.len() > 40 || random(3) == 0 && !held.is_empty() {
                let (arena, offset, len) = held.swap_remove(random(held.len()));
                let cells = SharedCells::<u8>::new(&arena.mapping, offset, len).unwrap();
                cells.fill(0xff);
                heap.give_back(Place { arena: arena.number, offset, len });
            } else {
                let most = if random(20) == 0 { 100_000 } else { 200 };
                let len = round_up(1 + random(most)).unwrap();
                let align = if len >= LINE { LINE } else { GRAIN };
                let (arena, offset) = heap.take(len, align).unwrap();
                assert_eq!(offset % align, 0);
                let cells = SharedCells::<u8>::new(&arena.mapping, offset, len).unwrap();
                assert!(cells.iter().all(|byte| byte == 0), "it is zeroed");
                for (other, at, size) in &held {
                    let is_apart =
                        other.number != arena.number || at + size <= offset || offset + len <= *at;
                    assert!(is_apart, "no byte is given out twice");
                }
                held.push((arena, offset, len));
            }
        }
        for (arena, offset, len) in held {
            heap.give_back(Place { arena: arena.number, offset, len });
        }
        assert_eq!(heap.arenas.len(), 1);
        assert!(heap.arenas[0].is_empty());
    }

    #[test]
    fn arenas_grow_and_large_blocks_have_their_own() {
        let mut heap = heap();
        let mut sizes = Vec::new();
        for _ in 0..10 {
            let (arena, _) = heap.take(60 * 1024, LINE).unwrap();
            sizes.push(arena.mapping.len());
        }
        sizes.dedup();
        assert_eq!(sizes[..3], [FIRST_ARENA, 2 * FIRST_ARENA, 4 * FIRST_ARENA]);
        let (large, offset) = heap.take(LARGEST_ARENA + LINE, LINE).unwrap();
        assert_eq!((large.mapping.len(), offset), (LARGEST_ARENA + MAX_ALIGN, 0));
        let count = heap.arenas.len();
        let len = LARGEST_ARENA + LINE;
        heap.give_back(Place { arena: large.number, offset, len });
        assert_eq!(heap.arenas.len(), count - 1, "and it is not kept");
    }

    /// heap-02.
    #[test]
    fn a_block_comes_back_also_while_the_heap_is_busy() {
        let block = take(100, 8, false).unwrap();
        let number = block.arena.number;
        let shop = HEAPS[0].now();
        let busy = lock(&shop.heap);
        drop(block);
        let is_waiting = |place: &Place| place.arena == number && place.len == 2 * LINE;
        assert!(lock(&shop.returned).iter().any(is_waiting));
        drop(busy);
        drop(take(1, 1, false).unwrap());
        assert!(!lock(&shop.returned).iter().any(is_waiting));
    }
}
