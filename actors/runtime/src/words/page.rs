//! The page of an owner: where the words of its locks and their kin lie.
//!
//! Owns the layout, the seats and cells that a process takes in it, and the records that
//! the owner gives to its objects. One page serves all objects of an owner; a client maps
//! it once. What other processes write is untrusted: numbers that lead out of a table lead
//! nowhere. Memory is reserved before it is touched, so a full machine is an error and no
//! signal. It must never wait.
//!
//! | part | what |
//! |---|---|
//! | header | counters |
//! | batches | which client has which 64 cells |
//! | cells | permits that are held, or about to be |
//! | seats | threads: whose, their names, what they wait for |
//! | records | one cache line for each object |

use crate::share::era::Eras;
use crate::sync::lock;
use crate::sys::memory::Mapping;
use crate::sys::page::{self, Header, LockRecord, SeatWords, Table, View, Words};
use procession_protocols::word::condition::{Bell, Bells};
use procession_protocols::word::deadlock::Graph;
use procession_protocols::word::permit::Cells;
use procession_protocols::word::{MAX_SEAT, Native, Seat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};

/// The client number of the owner itself.
pub(super) const OWNER: u16 = 1;

/// The most objects of this kind that one process can own.
pub const MAX_RECORDS: u32 = 1 << 19;

const PAGE: usize = 4096;
const BATCH: usize = 64;
const BATCHES: usize = 1024;
const SEATS: usize = 1 << 16;
const RECORD: usize = 64;
/// Records are reserved by so many bytes.
const STRIDE: usize = 1 << 16;

const BATCHES_AT: usize = PAGE;
const CELLS_AT: usize = BATCHES_AT + PAGE;
const SEATS_AT: usize = CELLS_AT + BATCHES * BATCH * size_of::<u64>();
const RECORDS_AT: usize = (SEATS_AT + SEATS * size_of::<SeatWords>()).next_multiple_of(STRIDE);
const LEN: usize = RECORDS_AT + MAX_RECORDS as usize * RECORD;

/// A page, mapped.
#[derive(Debug)]
pub(super) struct Page {
    /// Differs from that of every page that this process, or one it was copied from, has
    /// had: a thread finds its seat by it.
    key: u64,
    client: u16,
    is_gone: Arc<AtomicBool>,
    file: OwnedFd,
    mapping: Arc<Mapping>,
    header: View<Header>,
    batches: Table<AtomicU32>,
    cells: Table<AtomicU64>,
    seats: Table<SeatWords>,
    locks: Table<LockRecord>,
    mine: Mutex<Mine>,
}

/// What this process has in a page.
#[derive(Debug, Default)]
struct Mine {
    /// Seats of threads that have ended.
    retired: Vec<Seat>,
    /// The seat of waits without a thread.
    common: Option<Seat>,
    /// Cells that are free.
    cells: Vec<u16>,
    /// Records that were given back, and how many were ever given (the owner's).
    records: Vec<u32>,
    given: u32,
    /// How far records are reserved, in bytes from the page's beginning.
    reserved: usize,
}

impl Page {
    /// The page of this process's own objects.
    pub(super) fn own() -> io::Result<Arc<Self>> {
        static OWN: Eras<Mutex<Option<Arc<Page>>>> = Eras::new();
        let own = &mut *lock(OWN.now());
        if let Some(page) = own {
            return Ok(page.clone());
        }
        let file = page::sparse(LEN)?;
        page::reserve(file.as_fd(), 0..PAGE)?;
        let page = Arc::new(Self::map(file, OWNER)?);
        *own = Some(page.clone());
        Ok(page)
    }

    /// Maps the page that an owner sent.
    pub(super) fn map(file: OwnedFd, client: u16) -> io::Result<Self> {
        static KEYS: AtomicU64 = AtomicU64::new(1);
        let odd = || io::Error::new(io::ErrorKind::InvalidData, "no page of shared words");
        if !crate::sys::memory::cannot_shrink(file.as_fd()) {
            return Err(odd());
        }
        let mapping = Arc::new(Mapping::new(file.as_fd(), LEN)?);
        Ok(Self {
            key: KEYS.fetch_add(1, Relaxed),
            client,
            is_gone: Arc::default(),
            header: View::new(&mapping, 0).ok_or_else(odd)?,
            batches: Table::new(&mapping, BATCHES_AT, BATCHES).ok_or_else(odd)?,
            cells: Table::new(&mapping, CELLS_AT, BATCHES * BATCH).ok_or_else(odd)?,
            seats: Table::new(&mapping, SEATS_AT, SEATS).ok_or_else(odd)?,
            locks: Table::new(&mapping, RECORDS_AT, MAX_RECORDS as usize).ok_or_else(odd)?,
            mine: Mutex::default(),
            file,
            mapping,
        })
    }

    #[inline]
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether the owner has ended, as far as this process is concerned.
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Acquire)
    }

    /// The same, to keep.
    pub(super) fn is_gone_flag(&self) -> Arc<AtomicBool> {
        self.is_gone.clone()
    }

    /// Says to this process's sleepers, once they are awake, that the owner has ended. Each
    /// process sees that for itself: one that only the owner has cut off must not speak for
    /// the others.
    pub(super) fn set_gone(&self) {
        self.is_gone.store(true, Release);
    }

    /// The number of the next watched wait.
    pub(super) fn turn(&self) -> u32 {
        self.header.turns.fetch_add(1, AcqRel)
    }

    pub(super) fn seat(&self, seat: Seat) -> Option<&SeatWords> {
        self.seats.get(usize::from(seat)).filter(|_| seat != 0)
    }

    /// What a seat is called: its process and, unless it is the main one, its thread.
    pub(super) fn name(&self, seat: Seat) -> String {
        let Some(words) = self.seat(seat) else { return String::new() };
        read_text(&words.name)
    }

    /// The client whose thread sits there; 0 is nobody.
    pub(super) fn client_of(&self, seat: Seat) -> u16 {
        let client = self.seat(seat).map_or(0, |words| words.client.load(Acquire));
        u16::try_from(client).unwrap_or(0)
    }

    /// Whether somebody of this process sits there.
    pub(super) fn is_ours(&self, seat: Seat) -> bool {
        seat != 0 && self.client_of(seat) == self.client
    }

    /// Whether it is the seat of this process's waits without a thread.
    pub(super) fn is_common(&self, seat: Seat) -> bool {
        lock(&self.mine).common == Some(seat)
    }

    /// Takes a seat for a thread of this process.
    pub(super) fn sit(&self, thread: u32, name: &str) -> io::Result<Seat> {
        let mine = &mut *lock(&self.mine);
        // A seat whose thread ended with a lock is not free: the lock would seem to be the
        // next thread's.
        let idle = mine.retired.iter().position(|seat| !self.holds_a_lock(*seat));
        let seat = match idle {
            Some(at) => mine.retired.swap_remove(at),
            None => self.take_seat()?,
        };
        let words = self.seat(seat).ok_or(io::ErrorKind::InvalidData)?;
        words.thread.store(thread, Relaxed);
        words.bell.word.store(0, Relaxed);
        words.waits.store(0, Relaxed);
        write_text(&words.name, name);
        Ok(seat)
    }

    /// The seat of this process for waits without a thread.
    pub(super) fn common_seat(&self, name: &str) -> io::Result<Seat> {
        let known = lock(&self.mine).common;
        if let Some(seat) = known {
            return Ok(seat);
        }
        let seat = self.sit(0, name)?;
        // Two at once make two: the first stays, the other waits for a thread.
        let mine = &mut *lock(&self.mine);
        if let Some(first) = mine.common {
            mine.retired.push(seat);
            return Ok(first);
        }
        mine.common = Some(seat);
        Ok(seat)
    }

    /// Gives back the seat of a thread that ends.
    pub(super) fn stand_up(&self, seat: Seat) {
        lock(&self.mine).retired.push(seat);
    }

    fn take_seat(&self) -> io::Result<Seat> {
        for seat in 1..=MAX_SEAT {
            if u32::from(seat) > self.header.highest.load(Acquire) {
                let at = SEATS_AT + usize::from(seat) * size_of::<SeatWords>();
                let at = at - at % PAGE;
                page::reserve(self.file.as_fd(), at..at + PAGE)?;
            }
            let Some(words) = self.seat(seat) else { break };
            let me = u32::from(self.client);
            if words.client.compare_exchange(0, me, AcqRel, Acquire).is_ok() {
                self.header.highest.fetch_max(seat.into(), AcqRel);
                return Ok(seat);
            }
        }
        Err(full("threads use the locks of one process"))
    }

    fn holds_a_lock(&self, seat: Seat) -> bool {
        let given = self.reserved_records();
        (0..given).any(|record| self.holder(record) == seat)
    }

    /// How many records may be in use.
    fn reserved_records(&self) -> u32 {
        // Holes of the file read as zeroes, but reading them would fill them.
        self.header.records.load(Acquire).min(MAX_RECORDS)
    }

    /// Frees all seats of a client that has gone.
    pub(super) fn clear_seats(&self, client: u16) {
        for seat in 1..=self.highest() {
            if self.client_of(seat) == client
                && let Some(words) = self.seat(seat)
            {
                words.waits.store(0, Relaxed);
                words.bell.word.store(0, Relaxed);
                words.client.store(0, Release);
            }
        }
        for batch in 0..BATCHES {
            let Some(owner) = self.batches.get(batch) else { break };
            if owner.load(Acquire) == u32::from(client) {
                owner.store(0, Release);
            }
        }
    }

    /// Takes a free cell.
    pub(super) fn take_cell(&self) -> io::Result<u16> {
        let mine = &mut *lock(&self.mine);
        if let Some(cell) = mine.cells.pop() {
            return Ok(cell);
        }
        page::reserve(self.file.as_fd(), BATCHES_AT..BATCHES_AT + PAGE)?;
        for batch in 0..BATCHES {
            let Some(owner) = self.batches.get(batch) else { break };
            let me = u32::from(self.client);
            if owner.compare_exchange(0, me, AcqRel, Acquire).is_err() {
                continue;
            }
            let at = CELLS_AT + batch * BATCH * size_of::<u64>();
            let at = at - at % PAGE;
            page::reserve(self.file.as_fd(), at..at + PAGE)?;
            let cells = (batch * BATCH..(batch + 1) * BATCH).filter(|cell| *cell != 0);
            mine.cells.extend(cells.filter_map(|cell| u16::try_from(cell).ok()));
            return mine.cells.pop().ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
        Err(full(
            "permits of one process's semaphores: there is room for 64 in each of 1,024 processes, \
             or for more in fewer. Take some by `acquire`, or of another process's semaphores",
        ))
    }

    /// Gives a free cell back.
    pub(super) fn put_cell(&self, cell: u16) {
        lock(&self.mine).cells.push(cell);
    }

    /// The cells of a client.
    pub(super) fn cells_of(&self, client: u16) -> impl Iterator<Item = u16> {
        let of = move |batch: &usize| {
            self.batches.get(*batch).is_some_and(|one| one.load(Acquire) == u32::from(client))
        };
        let cells = |batch| (batch * BATCH..(batch + 1) * BATCH).filter(|cell| *cell != 0);
        (0..BATCHES).filter(of).flat_map(cells).filter_map(|cell| u16::try_from(cell).ok())
    }

    /// Gives a record, zeroed, to an object of this process.
    pub(super) fn give_record(&self) -> io::Result<u32> {
        let mine = &mut *lock(&self.mine);
        let record = match mine.records.pop() {
            Some(record) => record,
            None if mine.given == MAX_RECORDS => return Err(full("objects are shared")),
            None => {
                let end = RECORDS_AT + (mine.given as usize + 1) * RECORD;
                let reserved = mine.reserved.max(RECORDS_AT);
                if end > reserved {
                    page::reserve(self.file.as_fd(), reserved..reserved + STRIDE)?;
                    mine.reserved = reserved + STRIDE;
                }
                mine.given += 1;
                self.header.records.store(mine.given, Release);
                mine.given - 1
            }
        };
        self.zero(record);
        Ok(record)
    }

    /// Takes back the record of an object that nobody has any more.
    pub(super) fn take_record(&self, record: u32) {
        self.zero(record);
        lock(&self.mine).records.push(record);
    }

    fn zero(&self, record: u32) {
        let words: Option<View<[AtomicU64; RECORD / 8]>> = self.words(record);
        for word in words.iter().flat_map(|words| words.iter()) {
            word.store(0, Relaxed);
        }
    }

    /// The words in a record.
    pub(super) fn words<T: Words>(&self, record: u32) -> Option<View<T>> {
        const { assert!(size_of::<T>() <= RECORD) };
        let offset = RECORDS_AT + record as usize * RECORD;
        (record < MAX_RECORDS).then(|| View::new(&self.mapping, offset)).flatten()
    }

    /// A seat's words, to keep.
    pub(super) fn seat_view(&self, seat: Seat) -> Option<View<SeatWords>> {
        self.seats.view(usize::from(seat)).filter(|_| seat != 0)
    }
}

impl Cells<Native> for Page {
    fn cell(&self, number: u16) -> Option<&AtomicU64> {
        self.cells.get(usize::from(number)).filter(|_| number != 0)
    }
}

impl Bells<Native> for Page {
    fn bell(&self, seat: Seat) -> Option<&Bell<Native>> {
        self.seat(seat).map(|words| &words.bell)
    }

    fn highest(&self) -> Seat {
        let highest = self.header.highest.load(Acquire).min(MAX_SEAT.into());
        Seat::try_from(highest).unwrap_or(MAX_SEAT)
    }
}

impl Graph for Page {
    fn waits(&self, seat: Seat) -> Option<(u32, u32)> {
        waits_for(self.seat(seat)?.waits.load(Acquire))
    }

    fn holder(&self, record: u32) -> Seat {
        self.locks.get(record as usize).map_or(0, |lock| lock.words.look().holder())
    }
}

/// What a seat says when it waits for the lock in `record`.
pub(super) fn waiting(record: u32, turn: u32) -> u64 {
    u64::from(record + 1) << 32 | u64::from(turn)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn waits_for(word: u64) -> Option<(u32, u32)> {
    let record = ((word >> 32) as u32).checked_sub(1)?;
    Some((record, word as u32))
}

fn full(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, format!("too many {what}"))
}

/// Writes as much of a text as fits, whole characters.
pub(super) fn write_text(words: &[AtomicU64], text: &str) {
    let mut end = text.len().min(words.len() * 8);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = text.as_bytes()[..end].chunks(8);
    for word in words {
        let mut eight = [0; 8];
        if let Some(part) = bytes.next() {
            eight[..part.len()].copy_from_slice(part);
        }
        word.store(u64::from_le_bytes(eight), Relaxed);
    }
}

pub(super) fn read_text(words: &[AtomicU64]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_have_room_in_so_many_processes_until_one_dies() {
        let file = page::sparse(LEN).unwrap();
        page::reserve(file.as_fd(), 0..PAGE).unwrap();
        let process = |client| Page::map(file.try_clone().unwrap(), client).unwrap();
        let first = OWNER + 1;
        for client in (first..).take(BATCHES) {
            process(client).take_cell().unwrap();
        }
        let late = process(u16::MAX);
        let error = late.take_cell().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert!(error.to_string().contains("1,024 processes"), "{error}");
        late.clear_seats(first);
        assert!((1..BATCH).all(|_| late.take_cell().is_ok()));
    }
}
