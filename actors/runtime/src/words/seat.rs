//! The seats of a thread: one in each page that it uses.
//!
//! Owns the thread's memory of them. The last one is found by a compare, for a thread
//! mostly uses the locks of one owner. A seat goes back when its thread ends.

use super::page::Page;
use crate::node;
use procession_protocols::word::Seat;
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::{Arc, Weak};
use std::thread;

thread_local! {
    static LAST: Cell<(u64, Seat)> = const { Cell::new((0, 0)) };
    static ALL: RefCell<Seats> = const { RefCell::new(Seats(Vec::new())) };
}

struct Seats(Vec<(Weak<Page>, u64, Seat)>);

impl Drop for Seats {
    fn drop(&mut self) {
        LAST.set((0, 0));
        for (page, _, seat) in self.0.drain(..) {
            if let Some(page) = page.upgrade() {
                page.stand_up(seat);
            }
        }
    }
}

/// The calling thread's seat in a page.
#[inline]
pub(super) fn seat(page: &Arc<Page>) -> io::Result<Seat> {
    last(page.key()).map_or_else(|| find(page), Ok)
}

/// The calling thread's seat in the page of this key, if that is the last one it used.
#[inline]
pub(super) fn last(key: u64) -> Option<Seat> {
    let (last, seat) = LAST.get();
    (last == key).then_some(seat)
}

#[cold]
fn find(page: &Arc<Page>) -> io::Result<Seat> {
    let key = page.key();
    let found = ALL.try_with(|all| {
        let all = &mut all.borrow_mut().0;
        if let Some((_, _, seat)) = all.iter().find(|(_, known, _)| *known == key) {
            return Ok(*seat);
        }
        all.retain(|(page, ..)| page.strong_count() > 0);
        let seat = page.sit(thread_number(), &name())?;
        all.push((Arc::downgrade(page), key, seat));
        Ok(seat)
    });
    // A thread that is ending has given its seats back: it sits down for good.
    let seat = found.unwrap_or_else(|_| page.sit(thread_number(), &name()))?;
    LAST.set((key, seat));
    Ok(seat)
}

fn thread_number() -> u32 {
    nix::unistd::gettid().as_raw().cast_unsigned()
}

/// The process's name and, on other threads than the main one, the thread's.
fn name() -> String {
    let process = node::current().name();
    if thread_number() == std::process::id() {
        return process;
    }
    match thread::current().name() {
        Some(thread) => format!("{process}|{thread}"),
        None => format!("{process}|Thread-{}", thread_number()),
    }
}
