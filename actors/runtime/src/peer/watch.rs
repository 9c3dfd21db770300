//! The hidden thread reading links for async callers and for monitors.
//!
//! Owns one task for each link that somebody waits on without a thread. It reads while
//! there is such a one and sleeps otherwise, so that blocking callers are not raced for
//! their replies. It completes ports; it decodes nothing.

use super::{Peer, REAP_PATIENCE};
use crate::actor::{CallError, ReplyPort, ReplySink};
use crate::codec::Encoded;
use crate::link::LinkCopy;
use crate::node::hidden;
use crate::sync::readable;
use crate::sys::socket::duplicate;
use crate::sys::watch::{Held, Watched as WatchedFd};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Somebody waits; while this lives the hidden thread reads.
pub(super) struct Watch(Arc<Peer>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::AcqRel);
        self.0.watch_again.notify_one();
    }
}

/// A reply port that keeps the hidden thread reading until it is completed.
pub(super) struct Watched {
    port: ReplyPort,
    _watch: Option<Watch>,
}

impl Watched {
    pub(super) fn new(port: ReplyPort, watch: Option<Watch>) -> Self {
        Self { port, _watch: watch }
    }
}

impl ReplySink for Watched {
    fn complete(self: Box<Self>, result: Result<Encoded, CallError>) {
        self.port.complete(result);
    }
}

impl Peer {
    /// Has the hidden thread read the link.
    pub(super) fn watch_link(&self) -> Option<Watch> {
        let this = self.this.upgrade()?;
        self.watchers.fetch_add(1, Ordering::AcqRel);
        self.watch_again.notify_one();
        if !self.watching.swap(true, Ordering::AcqRel) {
            match hidden::handle() {
                Ok(handle) => drop(handle.spawn(read(self.this.clone(), this.watch_again.clone()))),
                Err(error) => {
                    self.watching.store(false, Ordering::Release);
                    tracing::error!(target: "procession", %error, "no thread reads for async calls");
                }
            }
        }
        Some(Watch(this))
    }
}

async fn read(peer: Weak<Peer>, again: Arc<Notify>) {
    let Some((link, pidfd)) = peer.upgrade().map(|peer| register(&peer)) else { return };
    loop {
        let Some(peer) = peer.upgrade() else { return };
        if peer.watchers.load(Ordering::Acquire) == 0 {
            drop(peer);
            again.notified().await;
            continue;
        }
        // What came between two looks is not told again.
        let mut open = peer.drain();
        let mut dead = false;
        if open {
            tokio::select! {
                () = link.readable() => open = peer.drain(),
                () = pidfd.readable() => dead = is_dead(&peer),
                () = again.notified() => {}
            }
        }
        if !open || dead {
            // The process ends right after its link, and then the reason is known.
            let end = async {
                while !is_dead(&peer) {
                    pidfd.readable().await;
                }
            };
            let _ = timeout(REAP_PATIENCE, end).await;
            peer.drain();
            peer.pump_after_death();
            peer.end(&peer.down_by_pidfd());
            return;
        }
    }
}

fn is_dead(peer: &Peer) -> bool {
    readable(peer.pidfd(), Some(Instant::now())).unwrap_or(false)
}

/// Link and pidfd, by descriptors of their own: they may be watched elsewhere too. Where there
/// are none, they are looked at again and again.
fn register(peer: &Peer) -> (WatchedFd, WatchedFd) {
    let link = peer.link.copy().map(|copy| Held::new(&Arc::new(copy), LinkCopy::as_fd));
    let pidfd = duplicate(&peer.pidfd()).map(Held::own);
    let watched = |held| WatchedFd::new(held, Interest::READABLE);
    (watched(link), watched(pidfd))
}
