//! The owner's ends of its clients' pages.
//!
//! Owns the positions in the rings and what was written there, and makes the machine's
//! changes to the shared words. What a client wrote is believed only where it can be: a
//! client whose words cannot be is cut off. It must never wait. Neighbours: `own` hosts the
//! machine; `away` is the other end.

use super::channel::{Channel, NoRoom};
use super::chunks;
use super::ends::Ends;
use super::page::{HEADER, Header, OWNER_SLEEPS, Page, flags, state, waits};
use super::parcel::{Bytes, Parcel, fds_of, header_of, span};
use super::run::{Run, whole};
use crate::sys::rings::{RING, Ring};
use procession_protocols::queue::hands::Held;
use procession_protocols::queue::{Client, Entry, Item, Streams};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most bytes that are read from one client's ring in a turn.
const TURN: u64 = 64 * 1024;

/// Most bytes that are copied out of a ring together. All items in such a piece keep it.
const PIECE: usize = 16 * 1024;

/// What the owner has of one client.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) page: Page,
    pub(super) channel: Arc<Channel>,
    /// Up to where the client's ring has been read.
    up_head: u64,
    /// Where the next item for the client goes.
    down_tail: u64,
    /// How many it has taken, as far as known here, modulo 2^32.
    taken: u32,
    /// Where the others end.
    ends: Ends,
    number: u32,
    is_broken: bool,
    /// Descriptors come with the next item to read, and this process has none free.
    pub(super) is_stuck: bool,
    /// A look at it follows when there may be one.
    pub(super) is_napping: bool,
}

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Clients(pub(super) BTreeMap<Client, Stream>);

/// What the owner finds in a client's page.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// How many items have been read.
    pub(super) count: usize,
    /// There may be more.
    pub(super) more: bool,
    pub(super) is_hungry: bool,
    pub(super) is_short: bool,
    pub(super) asks: Option<u64>,
    pub(super) asks_place: Option<u64>,
}

/// Why reading ends before the end of what was put.
enum Stop {
    /// What stands there is no item.
    Damaged,
    /// Descriptors come with the next one, and none is free.
    NoRoom,
}

impl From<NoRoom> for Stop {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
    }
}

fn received(header: Header, bytes: Bytes, fds: Vec<OwnedFd>) -> Parcel {
    let len = (header.flags & flags::FILE != 0).then_some(header.len);
    Parcel::received(header.tag, bytes, fds, len, true)
}

impl Stream {
    pub(super) fn new(page: Page, channel: Arc<Channel>) -> Self {
        page.owner_bell().arm(OWNER_SLEEPS);
        Self {
            page,
            channel,
            up_head: 0,
            down_tail: 0,
            taken: 0,
            ends: Ends::default(),
            number: 0,
            is_broken: false,
            is_stuck: false,
            is_napping: false,
        }
    }

    /// Whether the client has put something that has not been read.
    pub(super) fn has_news(&self) -> bool {
        self.page.up_tail().load(Ordering::Acquire) != self.up_head && !self.is_broken
    }

    /// Reads what the client has put, into the hands of `put`, and what it asks. Without
    /// `reads`, only what it asks.
    pub(super) fn look(&mut self, reads: bool, put: impl FnMut(Parcel)) -> Found {
        // What the client had put before it asked is read before the question is answered.
        let asked = self.page.asked().load(Ordering::Acquire);
        let asked_place = self.page.asked_place().load(Ordering::Acquire);
        let mut found = Found {
            is_hungry: self.page.hungry().count() > 0,
            is_short: self.page.short().load(Ordering::Acquire) > 0,
            ..Found::default()
        };
        if reads {
            self.read(&mut found, put);
        }
        if !found.more && !self.is_stuck {
            let answered = |word: &std::sync::atomic::AtomicU64| word.load(Ordering::Relaxed);
            found.asks = (asked > answered(self.page.answered())).then_some(asked);
            found.asks_place =
                (asked_place > answered(self.page.answered_place())).then_some(asked_place);
        }
        found
    }

    fn read(&mut self, found: &mut Found, mut put: impl FnMut(Parcel)) {
        let tail = self.page.up_tail().load(Ordering::Acquire);
        if tail == self.up_head || self.is_broken {
            return;
        }
        self.is_stuck = false;
        let start = self.up_head;
        while self.up_head != tail {
            if self.up_head - start > TURN {
                found.more = true;
                break;
            }
            match self.read_run(tail.wrapping_sub(self.up_head), found, &mut put) {
                Ok(()) => {}
                Err(Stop::NoRoom) => {
                    self.is_stuck = true;
                    break;
                }
                Err(Stop::Damaged) => return self.cut_off("wrote what is no item"),
            }
        }
        self.page.up_head().store(self.up_head, Ordering::Release);
        self.wake(waits::ROOM);
    }

    /// Nothing that it writes is believed any more, and it is given nothing.
    fn cut_off(&mut self, why: &str) {
        tracing::warn!(target: "procession", "a client of a queue {why}");
        self.is_broken = true;
        self.channel.close();
    }

    /// Reads an item, or several in one piece, of those that fill so many bytes.
    fn read_run(
        &mut self,
        filled: u64,
        found: &mut Found,
        mut put: impl FnMut(Parcel),
    ) -> Result<(), Stop> {
        let header = self.page.header(Ring::Up, self.up_head);
        let span = header.span().filter(|span| filled <= RING as u64 && *span as u64 <= filled);
        let span = span.ok_or(Stop::Damaged)?;
        if span as u64 == filled || span > PIECE {
            let fds = self.fds(header)?;
            let bytes = self.page.bytes(Ring::Up, self.up_head, header);
            put(received(header, Bytes::Here(bytes), fds));
            self.up_head += span as u64;
            found.count += 1;
            return Ok(());
        }
        let len = usize::try_from(filled).map_or(PIECE, |filled| filled.min(PIECE));
        let piece = Arc::new(self.page.run(Ring::Up, self.up_head, len));
        let mut at = 0;
        loop {
            let (parcel, span) = if let Some(run) = Run::of(&piece, at) {
                let span = run.bytes().len();
                (Parcel::run(run), span)
            } else if let Some((header, end)) = whole(&piece, at) {
                let fds = self.fds(header)?;
                let bytes = piece[at + HEADER..end].to_vec();
                (received(header, Bytes::Here(bytes), fds), end - at)
            } else {
                return Ok(());
            };
            found.count += parcel.count() as usize;
            put(parcel);
            at += span;
            self.up_head += span as u64;
        }
    }

    fn fds(&self, header: Header) -> Result<Vec<OwnedFd>, NoRoom> {
        if header.fds == 0 { Ok(Vec::new()) } else { self.channel.fds(header.number) }
    }

    /// Wakes the client if it waits for one of these.
    pub(super) fn wake(&self, bits: u64) {
        if self.page.client_bell().ring(bits) {
            self.channel.ring();
        }
    }

    /// Says that the queue has been shut down, or is heavy, or no longer.
    pub(super) fn set_state(&self, is_shut: bool, is_heavy: bool) {
        let mut bits = 0;
        if is_shut {
            bits |= state::SHUT;
        }
        if is_heavy {
            bits |= state::HEAVY;
        }
        if self.page.state().swap(bits, Ordering::AcqRel) != bits {
            self.wake(waits::ALL);
        }
    }

    fn write(&mut self, entry: &Entry<Parcel>) -> bool {
        let parcel = &entry.item;
        let head = self.page.down_head().load(Ordering::Acquire);
        let filled = self.down_tail.wrapping_sub(head);
        if filled > RING as u64 && !self.is_broken {
            self.cut_off("has read what was not written");
        }
        if self.is_broken || filled + span(parcel) as u64 > RING as u64 {
            return false;
        }
        if let Bytes::Run(run) = parcel.bytes() {
            self.down_tail = if entry.redelivered {
                self.page.write_run(Ring::Down, self.down_tail, &run.marked())
            } else {
                self.page.write_run(Ring::Down, self.down_tail, run.bytes())
            };
            self.ends.push(parcel, self.down_tail);
            return true;
        }
        let number = self.number.wrapping_add(1);
        let (header, bytes) = header_of(parcel, number, entry.redelivered);
        let mut fds = if header.fds == 0 { Vec::new() } else { fds_of(parcel) };
        // A large item that was put here while nobody was attached has no file yet.
        let file;
        if header.flags & flags::FILE != 0
            && let Some(large) = parcel.bytes().here()
        {
            match chunks::file_of([large, &[]]) {
                Ok(made) => file = made,
                Err(_) => return false,
            }
            fds.push(file.as_raw_fd());
        }
        if !fds.is_empty() && !self.channel.send_fds(number, &fds).unwrap_or(false) {
            return false;
        }
        self.number = number;
        self.down_tail = self.page.write(Ring::Down, self.down_tail, header, bytes);
        self.ends.push(parcel, self.down_tail);
        true
    }

    fn learn(&mut self, taken: u32) -> u32 {
        // A count beyond what was lent is damage, and moves nothing.
        if self.ends.pass(taken.wrapping_sub(self.taken)) {
            self.taken = taken;
        }
        self.taken
    }
}

impl Clients {
    /// Reads what all have put that has not been read.
    pub(super) fn read_news(&mut self, mut put: impl FnMut(Client, Parcel)) {
        for (client, stream) in self.0.iter_mut().filter(|(_, stream)| stream.has_news()) {
            stream.read(&mut Found::default(), |parcel| put(*client, parcel));
        }
    }

    fn stream(&mut self, client: Client) -> Option<&mut Stream> {
        self.0.get_mut(&client)
    }
}

impl Streams<Parcel> for Clients {
    fn write(&mut self, to: Client, entry: &Entry<Parcel>) -> bool {
        self.stream(to).is_some_and(|stream| stream.write(entry))
    }

    fn lend(&mut self, to: Client, count: u32) {
        if let Some(stream) = self.stream(to) {
            stream.page.items().lend(count);
            stream.wake(waits::ITEM);
        }
    }

    fn ring_at(&mut self, client: Client, taken: Option<u32>) -> u32 {
        let Some(stream) = self.stream(client) else { return 0 };
        stream.page.ring_at(taken);
        let taken = stream.page.items().settle().taken;
        stream.learn(taken)
    }

    fn taken(&mut self, client: Client) -> u32 {
        let Some(stream) = self.stream(client) else { return 0 };
        let taken = stream.page.items().settle().taken;
        stream.learn(taken)
    }

    fn held(&mut self, client: Client) -> Option<Vec<Held>> {
        self.stream(client).map_or(Some(Vec::new()), |stream| stream.page.hands().held())
    }

    fn recall(&mut self, from: Client, keep: u32) -> u32 {
        let Some(stream) = self.stream(from) else { return 0 };
        let lent = stream.page.items().recall(keep);
        let taken = stream.learn(lent.taken);
        stream.down_tail = stream.ends.keep(keep);
        taken
    }

    fn hungry(&mut self, client: Client) -> u32 {
        // Others wait behind it in line: one that is given nothing must not stand there.
        let whole = self.stream(client).filter(|stream| !stream.is_broken);
        whole.map_or(0, |stream| stream.page.hungry().count())
    }

    fn calm(&mut self, client: Client) {
        if let Some(stream) = self.stream(client) {
            stream.page.hungry().calm();
        }
    }

    fn stir(&mut self, client: Client) -> u32 {
        self.stream(client).map_or(0, |stream| stream.page.hungry().stir())
    }

    fn allow(&mut self, to: Client, count: u32) {
        if let Some(stream) = self.stream(to) {
            stream.page.places().lend(count);
            stream.wake(waits::PLACE);
        }
    }

    fn disallow(&mut self, from: Client, keep: u32) -> u32 {
        self.stream(from).map_or(0, |stream| stream.page.places().recall(keep).taken)
    }
}
