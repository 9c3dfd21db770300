//! What a client has taken out of its ring, on its way to whoever called.
//!
//! Owns the way from the cursor to the decoded item: a call opens a hand, takes, copies out,
//! decodes, and closes the hand as the last thing that it does. Dies the process before, all
//! that the call took goes back to the owner. What a call took and cannot return (behind an
//! item that cannot be decoded, or without a free descriptor) stays in its hand, and comes
//! next. It must never hold a lock of the queue while an item is decoded. Neighbours: `away`
//! waits; `many` returns several.

use super::away::{Away, Inner, damaged};
use super::page::{HEADER, Header, Page, flags, waits};
use super::parcel::{Bytes, Parcel};
use super::points::{self, Point};
use super::run::whole;
use super::{NoItem, open};
use crate::codec;
use crate::share::ShareError;
use crate::sync::lock;
use crate::sys::rings::{RING, Ring};
use procession_protocols::queue::hands::Held;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

/// Where the ring to this process stands.
#[derive(Debug, Default)]
pub(super) struct Rx {
    /// Where the next item stands.
    head: u64,
    /// What was taken and not returned to anybody; comes before all that is lent.
    left: VecDeque<Batch>,
}

/// Items that were taken together.
#[derive(Debug, Default)]
struct Batch {
    /// The hand that holds them. `None` when more calls were under way than there are hands:
    /// then they go with the process.
    hand: Option<usize>,
    held: Held,
    /// Their headers and bytes, from `at` on.
    run: Vec<u8>,
    at: usize,
    /// Whether any has descriptors.
    has_fds: bool,
    /// The descriptors of those that have any, as far as they have been received.
    fds: VecDeque<Vec<OwnedFd>>,
}

/// What a call has taken. The call returns when this is dropped; what is left in it then is
/// what comes next.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    inner: &'a Inner,
    batch: Batch,
}

impl Away {
    /// Takes items that were lent, up to `most`, which is not 0; `None` when there are none.
    pub(super) fn take(&self, most: u32) -> Result<Option<Taken<'_>>, NoItem> {
        let inner = &*self.inner;
        let rx = &mut *lock(&inner.rx);
        if rx.left.is_empty() {
            let Some(batch) = inner.take_lent(rx, most)? else {
                return if inner.is_gone() { Err(self.gone().into()) } else { Ok(None) };
            };
            rx.left.push_back(batch);
        }
        inner.take_left(rx, most)
    }
}

impl Inner {
    /// Takes what was lent, up to `most`, out of the ring.
    fn take_lent(&self, rx: &mut Rx, most: u32) -> Result<Option<Batch>, NoItem> {
        let page = &self.page;
        let lent = page.items().look();
        let mut held = Held { first: lent.taken, count: lent.left().min(most) };
        if held.count == 0 {
            return Ok(None);
        }
        let hand = page.hands().open(held);
        points::reach(Point::Reached);
        let taken = page.items().take_many(held.count).map_or(0, |(_, count)| count);
        points::reach(Point::Taken);
        if taken < held.count {
            // Others were given the rest meanwhile.
            hand.inspect(|hand| page.hands().narrow(*hand, held, taken));
            if taken == 0 {
                return Ok(None);
            }
            held.count = taken;
        }
        let (mut len, mut has_fds) = (0, false);
        for _ in 0..held.count {
            let header = page.header(Ring::Down, rx.head + len as u64);
            has_fds |= header.fds > 0;
            len += header.span().ok_or_else(damaged)?;
            if len > RING {
                return Err(damaged().into());
            }
        }
        let run = page.run(Ring::Down, rx.head, len);
        rx.head += len as u64;
        page.down_head().store(rx.head, Ordering::Release);
        points::reach(Point::Copied);
        if page.rings_now(held.first.wrapping_add(held.count)) {
            self.ring_owner();
        }
        Ok(Some(Batch { hand, held, run, at: 0, has_fds, fds: VecDeque::new() }))
    }

    /// Whether something was taken and not returned to anybody.
    pub(super) fn has_left(&self) -> bool {
        !lock(&self.rx).left.is_empty()
    }

    /// Wakes those of this process who wait for items: by way of the owner, since they may
    /// sleep on the socket.
    fn ring_here(&self) {
        self.page.client_bell().arm(waits::ANSWER);
        self.page.asked().fetch_add(1, Ordering::AcqRel);
        self.ring_owner();
    }

    /// Takes from what was taken before.
    ///
    /// # Errors
    /// This process has no descriptor free for those that come with the first one: it stays.
    fn take_left(&self, rx: &mut Rx, most: u32) -> Result<Option<Taken<'_>>, NoItem> {
        let Some(mut batch) = rx.left.pop_front() else { return Ok(None) };
        let count = self.receive_fds(&mut batch, most);
        let batch = match count {
            Ok(count) if count == batch.held.count => batch,
            Ok(count) => {
                let first = batch.split(&self.page, count);
                rx.left.push_front(batch);
                first
            }
            Err(error) => {
                rx.left.push_front(batch);
                return Err(error);
            }
        };
        Ok(Some(Taken { inner: self, batch }))
    }

    /// Receives the descriptors of items up to `most`. Gives how many items have theirs: at
    /// least one.
    fn receive_fds(&self, batch: &mut Batch, most: u32) -> Result<u32, NoItem> {
        let most = most.min(batch.held.count);
        if !batch.has_fds {
            return Ok(most);
        }
        let mut received = batch.fds.len();
        let mut at = batch.at;
        for count in 0..most {
            let Some(header) = batch.header(at) else { return Ok(most) };
            at += HEADER + header.inline();
            if header.fds == 0 {
                continue;
            }
            if let Some(before) = received.checked_sub(1) {
                received = before;
                continue;
            }
            match self.channel.fds(header.number) {
                Ok(fds) => batch.fds.push_back(fds),
                Err(_) if count > 0 => return Ok(count),
                Err(none) => return Err(ShareError::Io(none.into()).into()),
            }
        }
        Ok(most)
    }
}

impl Batch {
    fn header(&self, at: usize) -> Option<Header> {
        Header::first_of(self.run.get(at..)?)
    }

    /// Takes the first `count` items off, with the descriptors that have been received.
    fn split(&mut self, page: &Page, count: u32) -> Self {
        let (start, mut fds) = (self.at, 0);
        for _ in 0..count {
            let Some(header) = self.header(self.at) else { break };
            self.at += HEADER + header.inline();
            fds += usize::from(header.fds > 0);
        }
        let rest = self.fds.split_off(fds.min(self.fds.len()));
        let first = Self {
            hand: self.hand.and_then(|hand| page.hands().part(hand, self.held, count)),
            held: Held { count, ..self.held },
            run: self.run[start..self.at].to_vec(),
            at: 0,
            has_fds: self.has_fds,
            fds: std::mem::replace(&mut self.fds, rest),
        };
        self.pass(count);
        first
    }

    /// The first `count` are not of it any more.
    #[inline]
    fn pass(&mut self, count: u32) {
        self.held.first = self.held.first.wrapping_add(count);
        self.held.count -= count;
    }
}

impl Taken<'_> {
    /// How many items are left in it.
    pub(super) fn len(&self) -> usize {
        self.batch.held.count as usize
    }

    /// Decodes the next item. Gives whether a consumer had it before. After an error it is
    /// gone. `None` when none is left.
    pub(super) fn next<T: DeserializeOwned>(
        &mut self,
        tag: u32,
    ) -> Option<Result<(T, bool), NoItem>> {
        let batch = &mut self.batch;
        if batch.held.count == 0 {
            return None;
        }
        // Should decoding panic, it is over with this one.
        batch.pass(1);
        let Some(header) = batch.header(batch.at) else { return Some(Err(damaged().into())) };
        let start = batch.at + HEADER;
        batch.at = start + header.inline();
        let fds = match header.fds {
            0 => Vec::new(),
            _ => batch.fds.pop_front().unwrap_or_default(),
        };
        let item = if header.tag == tag && header.flags & flags::FILE == 0 {
            codec::decode(batch.run.get(start..batch.at).unwrap_or_default(), fds)
                .map_err(NoItem::from)
        } else {
            let len = (header.flags & flags::FILE != 0).then_some(header.len);
            open(&mut Parcel::received(header.tag, Bytes::Here(Vec::new()), fds, len, false), tag)
        };
        Some(item.map(|item| (item, header.flags & flags::REDELIVERED != 0)))
    }

    /// Decodes items one after another, up to one that has a descriptor or cannot be decoded.
    pub(super) fn decode_onto<T: DeserializeOwned>(&mut self, items: &mut Vec<T>, tag: u32) {
        let batch = &mut self.batch;
        while batch.held.count > 0
            && let Some((header, end)) = whole(&batch.run, batch.at)
            && header.tag == tag
            && header.fds == 0
        {
            let (held, at) = (batch.held, batch.at);
            // As in `next`.
            batch.pass(1);
            batch.at = end;
            let bytes = batch.run.get(at + HEADER..).unwrap_or_default();
            let Ok(item) = codec::decode_first(bytes, end - at - HEADER) else {
                (batch.held, batch.at) = (held, at);
                return;
            };
            items.push(item);
        }
    }

    /// As [`next`](Self::next), but one that cannot be decoded is the next one again.
    pub(super) fn next_decoded<T: DeserializeOwned>(&mut self, tag: u32) -> Option<T> {
        let header = self.batch.header(self.batch.at).filter(|header| header.tag == tag)?;
        let (held, at) = (self.batch.held, self.batch.at);
        if let Ok((item, _)) = self.next(tag)? {
            return Some(item);
        }
        (self.batch.held, self.batch.at) = (held, at);
        if header.fds > 0 {
            // Decoding has used them up.
            self.batch.fds.push_front(Vec::new());
        }
        None
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let (inner, batch) = (self.inner, &mut self.batch);
        points::reach(Point::Decoded);
        if batch.held.count > 0 {
            let rx = &mut *lock(&inner.rx);
            if let Some(hand) = batch.hand {
                inner.page.hands().set(hand, batch.held);
            }
            rx.left.push_front(std::mem::take(batch));
            inner.ring_here();
        } else if let Some(hand) = batch.hand {
            inner.page.hands().close(hand);
        }
        points::reach(Point::Returned);
    }
}
