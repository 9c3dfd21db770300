//! Waits for locks that are watched: those that would never end are found.
//!
//! Owns what a seat says it waits for, while it does, and the words of a cycle. It must never
//! end a wait itself: `drive` asks. Neighbour: `lock`, whose waits these are.

use super::handle::At;
use super::host::Form;
use super::lock::LockForm;
use super::page::waiting;
use procession_protocols::word::Seat;
use procession_protocols::word::deadlock::{self, Graph};
use std::sync::atomic::Ordering::Release;

/// The calling thread's seat says what it waits for.
pub(super) struct Published<'a, const K: u8>(&'a At<'a, LockForm<K>>, Seat);

impl<'a, const K: u8> Published<'a, K> {
    pub(super) fn new(at: &'a At<'a, LockForm<K>>, seat: Seat) -> Option<Self> {
        let page = &at.spot.page;
        let word = waiting(at.spot.record, page.turn());
        page.seat(seat)?.waits.store(word, Release);
        Some(Self(at, seat))
    }
}

impl<const K: u8> Drop for Published<'_, K> {
    fn drop(&mut self) {
        if let Some(words) = self.0.spot.page.seat(self.1) {
            words.waits.store(0, Release);
        }
    }
}

/// The cycle that the wait of a seat closes, in words.
pub(super) fn cycle<const K: u8>(at: &At<'_, LockForm<K>>, seat: Seat) -> Option<String> {
    let page = &*at.spot.page;
    let edges = deadlock::cycle(page, seat)?;
    let kind = LockForm::<K>::NAME;
    let edge = |edge: &deadlock::Edge| {
        let holder = page.name(page.holder(edge.record));
        format!("{} waits for {kind} {}, held by {holder}", page.name(edge.seat), edge.record)
    };
    Some(edges.iter().map(edge).collect::<Vec<_>>().join("; "))
}
