//! The hidden thread reading links for async callers and for monitors.
//!
//! Owns one task for each link that somebody waits on without a thread. It reads while
//! there is such a one and sleeps otherwise, so that blocking callers are not raced for
//! their replies. It completes ports; it decodes nothing.

use super::{Peer, Process, REAP_PATIENCE};
use crate::actor::{CallError, ReplyPort, ReplySink};
use crate::codec::Encoded;
use crate::link::LinkCopy;
use crate::node::hidden;
use crate::sys::watch::{Held, watch};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
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
    let Some(both) = peer.upgrade().and_then(|peer| register(&peer).ok()) else { return };
    let (link, pidfd) = both;
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
                ready = link.readable() => if let Ok(mut ready) = ready {
                    open = peer.drain();
                    ready.clear_ready();
                },
                ready = link.writable(), if peer.link.wants_write() => if let Ok(mut ready) = ready {
                    let _ = peer.link.flush();
                    ready.clear_ready();
                },
                _ = pidfd.readable() => dead = true,
                () = again.notified() => {}
            }
        }
        if !open || dead {
            // The process ends right after its link, and then the reason is known.
            let _ = timeout(REAP_PATIENCE, pidfd.readable()).await;
            peer.drain();
            peer.pump_after_death();
            peer.end(&peer.down_by_pidfd());
            return;
        }
    }
}

fn register(peer: &Arc<Peer>) -> io::Result<(AsyncFd<Held>, AsyncFd<Held>)> {
    fn pidfd(process: &Process) -> BorrowedFd<'_> {
        match process {
            Process::Child(child) => child.pidfd(),
            Process::Other(pidfd) => pidfd.as_fd(),
        }
    }
    // Descriptors of their own: the link and the pidfd may be watched elsewhere too.
    let link = Held::new(&Arc::new(peer.link.copy()?), LinkCopy::as_fd);
    let pidfd = crate::sys::socket::duplicate(&pidfd(&peer.process))?;
    let both = Interest::READABLE | Interest::WRITABLE;
    Ok((watch(link, both)?, watch(Held::own(pidfd), Interest::READABLE)?))
}
