//! How a client waits for what the owner of its queue will do.
//!
//! Owns the looks before a wait, the bells on both sides of it, and who listens to the
//! socket. It must never touch a ring: whoever waits looks again for itself. Neighbours:
//! `away` puts and gets; `waits` has the threads and futures of this process.

use super::away::{ANSWER_WITHIN, Away, Inner};
use super::channel::Heard;
use super::page::{Page, waits};
use super::waits::Patience;
use crate::node::hidden;
use crate::share::ShareError;
use crate::sync::{after, readable};
use crate::sys::watch::{Held, Watched};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// So long after a want of descriptors one is looked for again.
pub(super) const NAP: Duration = Duration::from_millis(5);

impl Away {
    /// Has the owner do what it can at once, and waits until it has, or until it is enough.
    /// False when the owner gave no answer.
    pub(super) async fn ask(
        &self,
        (asked, answered): (&AtomicU64, &AtomicU64),
        enough: impl Fn() -> bool,
        patience: Patience,
    ) -> Result<bool, ShareError> {
        let number = asked.fetch_add(1, Ordering::AcqRel) + 1;
        let done = || enough() || answered.load(Ordering::Acquire) >= number;
        let bits = waits::ANSWER | waits::ITEM | waits::PLACE;
        self.wait(bits, answer_within(patience), done).await
    }

    /// Asks as [`ask`](Self::ask), and leaves the answer to the next call: the time may have
    /// been too short for the owner to see that somebody waited, and would be so each time.
    pub(super) fn ask_for_later(&self, asked: &AtomicU64) {
        asked.fetch_add(1, Ordering::AcqRel);
        self.inner.ring_owner();
    }

    /// Waits for what the owner will do. False when the time is up.
    pub(super) async fn wait(
        &self,
        bits: u64,
        patience: Patience,
        ready: impl Fn() -> bool,
    ) -> Result<bool, ShareError> {
        let inner = &*self.inner;
        let ready = || ready() || inner.page.is_shut() && bits & waits::ANSWER == 0;
        if let Patience::Until(_) = patience {
            if hidden::is_current() {
                return Err(ShareError::WouldDeadlock);
            }
            if inner.linger(bits, ready) {
                return Ok(true);
            }
        }
        loop {
            let round = inner.waits.round();
            inner.page.client_bell().arm(bits);
            if ready() {
                return Ok(true);
            }
            if inner.is_gone() {
                return Err(self.gone());
            }
            inner.ring_for(bits);
            match patience {
                Patience::Never => return Ok(false),
                Patience::Until(deadline) => {
                    let listen = |deadline| {
                        if !inner.listen(deadline) {
                            std::thread::sleep(NAP);
                        }
                    };
                    if !inner.waits.block(round, deadline, listen) {
                        return Ok(ready());
                    }
                }
                Patience::Async => {
                    inner.waits.wait(round, || Inner::lead(&self.inner)).await;
                }
            }
        }
    }
}

impl Inner {
    /// Has the owner look, unless it knows all there is to know.
    fn ring_for(&self, bits: u64) {
        if bits != waits::ITEM || self.page.hungry().must_ring() {
            self.ring_owner();
        }
    }

    /// Looks a few times whether a wait is over before it has begun: no bell is needed then.
    fn linger(&self, bits: u64, is_over: impl Fn() -> bool) -> bool {
        if is_over() {
            return true;
        }
        self.ring_for(bits);
        self.looks.find(is_over)
    }

    /// Waits until there is something to hear. False when it cannot be heard now, for want of
    /// a descriptor.
    fn listen(&self, deadline: Option<Instant>) -> bool {
        if !readable(self.channel.as_fd(), deadline).unwrap_or(true) {
            return true;
        }
        let heard = self.channel.hear();
        if heard == Heard::End {
            self.is_gone.store(true, Ordering::Release);
        }
        heard != Heard::NoRoom
    }

    /// Has the hidden thread listen once.
    fn lead(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        let socket = self.channel.as_fd().try_clone_to_owned();
        let listen = async move {
            Watched::new(socket.map(Held::own), Interest::READABLE).readable().await;
            let Some(inner) = weak.upgrade() else { return };
            if !inner.listen(Some(Instant::now())) {
                tokio::time::sleep(NAP).await;
            }
            inner.waits.end_round();
        };
        match hidden::handle() {
            Ok(handle) => drop(handle.spawn(listen)),
            // No thread to be had: the future looks again at once.
            Err(_) => self.is_gone.store(true, Ordering::Release),
        }
    }
}

/// How an answer is waited for that the owner gives at once.
pub(super) fn answer_within(patience: Patience) -> Patience {
    let latest = after(ANSWER_WITHIN);
    match patience {
        Patience::Async => Patience::Async,
        Patience::Never | Patience::Until(None) => Patience::Until(latest),
        Patience::Until(at) => Patience::Until(at.min(latest)),
    }
}

/// A thread of this process waits for a place, as the owner sees it, until this is dropped.
pub(super) struct Short<'a>(&'a AtomicU64);

impl<'a> Short<'a> {
    pub(super) fn new(word: &'a AtomicU64) -> Self {
        word.fetch_add(1, Ordering::AcqRel);
        Self(word)
    }
}

impl Drop for Short<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The same, for an item.
pub(super) struct Hungry<'a>(&'a Page);

impl<'a> Hungry<'a> {
    pub(super) fn new(page: &'a Page) -> Self {
        page.hungry().enter();
        Self(page)
    }
}

impl Drop for Hungry<'_> {
    fn drop(&mut self) {
        self.0.hungry().leave();
    }
}
