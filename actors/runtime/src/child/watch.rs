//! Who looks out for a child's end: the hidden thread, or a thread that joins it.
//!
//! Owns the set of descriptors that the hidden thread watches as one, and each child's
//! place in it. Whoever has a child in hand puts it into the set or takes it out, which
//! wakes nobody: a start and a join cost the hidden thread nothing. While a thread joins a
//! child, the child is out of the set, since two threads that wake at one death would get
//! into each other's way. It must never reap. Neighbours: `super` decides when,
//! `node::reaper` serves the set.

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// How many events one look takes.
const EVENTS: usize = 32;

/// What the set says of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It has ended.
    End,
    /// Something has come on its control link.
    Words,
}

/// The descriptors of children that the hidden thread watches.
#[derive(Debug)]
pub(crate) struct Set(Epoll);

impl Set {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Takes what is new, by the number of the child; empty when nothing is.
    pub(crate) fn look(&self) -> io::Result<Vec<(u32, News)>> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.0.wait(&mut events, EpollTimeout::ZERO)?;
        let read = |event: &EpollEvent| {
            let [number, news] = [event.data() >> 1, event.data() & 1];
            let news = if news == 0 { News::End } else { News::Words };
            Some((u32::try_from(number).ok()?, news))
        };
        Ok(events[..count].iter().filter_map(read).collect())
    }

    /// Watches a spare worker's control link for its end, as the news of number 0.
    pub(crate) fn add_spare(&self, control: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.0.add(control, EpollEvent::new(EpollFlags::EPOLLRDHUP, 0))?)
    }

    /// Watches it no more.
    pub(crate) fn remove_spare(&self, control: BorrowedFd<'_>) {
        self.remove(control);
    }

    fn add(&self, fd: BorrowedFd<'_>, number: u32, news: News) -> io::Result<()> {
        let data = u64::from(number) << 1 | u64::from(news == News::Words);
        Ok(self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, data))?)
    }

    fn remove(&self, fd: BorrowedFd<'_>) {
        // Only what was added is removed, and it is open as long as its child is known.
        let _ = self.0.delete(fd);
    }
}

impl AsFd for Set {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// A child's place in the set. It changes only under the child's lock.
#[derive(Debug, Default)]
pub(super) struct Watch {
    set: Option<Arc<Set>>,
    /// Whether the set has the pidfd, and the control link.
    has: [bool; 2],
    /// The threads that look out themselves.
    joiners: u32,
}

impl Watch {
    /// From now on the hidden thread is to hear of the child.
    pub(super) fn enter(&mut self, set: Arc<Set>) {
        self.set = Some(set);
    }

    /// Whether the hidden thread is to hear of the child.
    pub(super) fn is_entered(&self) -> bool {
        self.set.is_some()
    }

    pub(super) fn begin_join(&mut self) {
        self.joiners += 1;
    }

    pub(super) fn end_join(&mut self) {
        self.joiners -= 1;
    }

    /// Has the set watch these two, pidfd and control link, or not.
    pub(super) fn settle(
        &mut self,
        number: u32,
        [end, words]: [(BorrowedFd<'_>, bool); 2],
    ) -> io::Result<()> {
        let Some(set) = &self.set else { return Ok(()) };
        let mut outcome = Ok(());
        let [has_end, has_words] = &mut self.has;
        for (has, (fd, wanted), news) in
            [(has_end, end, News::End), (has_words, words, News::Words)]
        {
            let wanted = wanted && self.joiners == 0;
            if wanted && !*has {
                match set.add(fd, number, news) {
                    Ok(()) => *has = true,
                    Err(error) => outcome = Err(error),
                }
            } else if !wanted && *has {
                set.remove(fd);
                *has = false;
            }
        }
        outcome
    }
}
