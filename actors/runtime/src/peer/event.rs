//! A waker that ends a `poll(2)`.
//!
//! Owns an eventfd for each thread that waits for links and for replies at once. A wake
//! by the waiting thread itself only leaves a mark: it is about to look anyway.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Wake;
use std::thread::{self, ThreadId};

/// An eventfd as a waker.
#[derive(Debug)]
pub(crate) struct EventWaker {
    event: EventFd,
    /// The thread that waits; until one says so, none.
    owner: OnceLock<ThreadId>,
    woken: AtomicBool,
}

impl EventWaker {
    /// A waker of the calling thread.
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let waker = Self::unclaimed()?;
        waker.claim();
        Ok(waker)
    }

    /// A waker of the thread that will [`claim`](Self::claim) it.
    pub(super) fn unclaimed() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            owner: OnceLock::new(),
            woken: AtomicBool::new(false),
        }))
    }

    /// It is the calling thread that waits, and always will be.
    pub(super) fn claim(&self) {
        self.owner.get_or_init(|| thread::current().id());
    }

    /// The calling thread's own waker.
    pub(crate) fn of_this_thread() -> io::Result<Arc<Self>> {
        thread_local! {
            static OWN: OnceCell<Arc<EventWaker>> = const { OnceCell::new() };
        }
        let own = OWN.try_with(|own| {
            if let Some(waker) = own.get() {
                return Ok(waker.clone());
            }
            let waker = Self::new()?;
            Ok(own.get_or_init(|| waker).clone())
        });
        // A thread that is ending has let go of its own, and has other locals that wait.
        own.unwrap_or_else(|_| Self::new())
    }

    /// Takes the mark; true when there was one. It leaves the eventfd alone: whoever
    /// waits for that is told, and calls [`silence`](Self::silence).
    pub(crate) fn take(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Empties the eventfd, and takes the mark. To be called when a `poll(2)` said that
    /// there is something to read, and before looking at what the wake was for.
    pub(crate) fn silence(&self) {
        let _ = self.event.read();
        self.take();
    }
}

impl AsFd for EventWaker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Wake for EventWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel)
            && self.owner.get() != Some(&thread::current().id())
        {
            // It can only fail when the counter is full, and then the poll ends anyway.
            let _ = self.event.write(1);
        }
    }
}
