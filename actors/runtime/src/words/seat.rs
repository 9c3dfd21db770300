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
    /// Of a thread that uses locks while it ends, when `ALL` has gone: it goes after that.
    static LAST_ONES: RefCell<Seats> = const { RefCell::new(Seats(Vec::new())) };
}

struct Seats(Vec<(Weak<Page>, u64, Seat)>);

impl Seats {
    /// The one in this page, which is taken if there is none.
    fn find(&mut self, page: &Arc<Page>) -> io::Result<Seat> {
        let Self(all) = self;
        if let Some((_, _, seat)) = all.iter().find(|(_, known, _)| *known == page.key()) {
            return Ok(*seat);
        }
        all.retain(|(page, ..)| page.strong_count() > 0);
        let seat = page.sit(thread_number(), &name())?;
        all.push((Arc::downgrade(page), page.key(), seat));
        Ok(seat)
    }
}

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
    let among = |seats: &RefCell<Seats>| seats.borrow_mut().find(page);
    let found = ALL.try_with(among).or_else(|_| LAST_ONES.try_with(among));
    // At the very end it sits down for good.
    let seat = found.unwrap_or_else(|_| page.sit(thread_number(), &name()))?;
    LAST.set((page.key(), seat));
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

#[cfg(test)]
mod tests {
    use super::super::Lock;
    use super::*;
    use procession_protocols::word::condition::Bells;
    use std::sync::OnceLock;

    /// Uses the lock when its thread's seats have gone back.
    struct Late;

    static LOCK: OnceLock<Lock> = OnceLock::new();

    thread_local! {
        static LATE: Late = const { Late };
    }

    impl Drop for Late {
        fn drop(&mut self) {
            let lock = LOCK.get().unwrap();
            lock.release_held(lock.acquire().unwrap());
        }
    }

    #[test]
    fn a_thread_that_locks_while_it_ends_keeps_no_seat() {
        let lock = LOCK.get_or_init(|| Lock::new(false).unwrap());
        let ends = || {
            // Dropped after what is used first later.
            LATE.with(|_| ());
            lock.release_held(lock.acquire().unwrap());
        };
        thread::scope(|scope| drop(scope.spawn(ends).join()));
        let before = Page::own().unwrap().highest();
        for _ in 0..300 {
            thread::scope(|scope| scope.spawn(ends).join().unwrap());
        }
        // Other tests of this program have threads as well.
        let more = Page::own().unwrap().highest() - before;
        assert!(more < 200, "{more}");
    }
}
