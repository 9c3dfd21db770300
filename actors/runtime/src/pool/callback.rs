//! The thread on which a pool's callbacks run.
//!
//! Owns that thread, which exists from the first call that has a callback until the pool
//! has been joined, and again if another call is given one after that. Callbacks run one
//! after another; one that fails is logged, and a slow one delays only other callbacks. It
//! must never hold the pool.

use crate::node::leave::{is_leaver, this_thread};
use crate::sync::lock;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use tokio::sync::oneshot;

pub(super) type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(super) struct Callbacks(Mutex<Option<Thread>>);

struct Thread {
    inbox: Sender<Work>,
    id: ThreadId,
    /// The system's number of it, once it runs.
    number: Arc<AtomicI32>,
}

impl Callbacks {
    /// Makes sure that there is a thread.
    pub(super) fn get_ready(&self) -> io::Result<()> {
        Thread::of(&mut lock(&self.0)).map(drop)
    }

    /// Has something run after all that was given before. The thread may have gone since
    /// it was [got ready](Self::get_ready): somebody has joined the pool. So another comes; when
    /// none is to be had it is given back. Not run at all, it would keep those who wait for it
    /// for ever.
    pub(super) fn run(&self, work: Work) -> Option<Work> {
        let inbox = Thread::of(&mut lock(&self.0)).map(|thread| thread.inbox.clone());
        match inbox {
            Ok(inbox) => inbox.send(work).err().map(|unsent| unsent.0),
            Err(error) => {
                tracing::warn!(target: "procession", %error, "a callback runs where it can");
                Some(work)
            }
        }
    }

    /// Whether the calling thread is the one that runs callbacks.
    pub(super) fn is_current(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|thread| thread.id == thread::current().id())
    }

    /// Whether a callback ends the program, and so will not return.
    pub(super) fn end_the_program(&self) -> bool {
        let number = lock(&self.0).as_ref().map(|thread| thread.number.load(Ordering::Acquire));
        number.is_some_and(is_leaver)
    }

    /// Completes when all that was given before has run.
    pub(super) fn flushed(&self) -> impl Future<Output = ()> + Send + use<> {
        let (done, flushed) = oneshot::channel();
        if let Some(thread) = &*lock(&self.0) {
            let _ = thread.inbox.send(Box::new(move || {
                let _ = done.send(());
            }));
        }
        async {
            // Without a thread the sender is gone, and nothing has to run.
            let _ = flushed.await;
        }
    }

    /// Lets the thread go when it has run all that it was given.
    pub(super) fn end(&self) {
        lock(&self.0).take();
    }
}

impl Thread {
    /// The one that there is, or a new one.
    fn of(slot: &mut Option<Self>) -> io::Result<&Self> {
        let thread = match slot.take() {
            Some(thread) => thread,
            None => Self::start()?,
        };
        Ok(slot.insert(thread))
    }

    fn start() -> io::Result<Self> {
        let (inbox, work) = channel::<Work>();
        let number = Arc::<AtomicI32>::default();
        let its_number = number.clone();
        let thread = thread::Builder::new().name("procession-pool".into()).spawn(move || {
            let _ = nix::sys::signal::SigSet::all().thread_block();
            its_number.store(this_thread(), Ordering::Release);
            while let Ok(work) = work.recv() {
                run_caught(work);
            }
        })?;
        Ok(Self { inbox, id: thread.thread().id(), number })
    }
}

/// Callbacks are caught one by one; what is left is decoding.
pub(super) fn run_caught(work: Work) {
    if let Err(report) = crate::panic::catch(work) {
        tracing::error!(target: "procession", message = report.message,
            "a pool's result could not be read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A join ends the thread between the two steps by which a callback is added.
    #[test]
    fn what_is_given_after_the_end_runs_as_well() {
        let callbacks = Callbacks::default();
        callbacks.get_ready().unwrap();
        callbacks.end();
        let (told, hears) = channel();
        assert!(callbacks.run(Box::new(move || told.send(()).unwrap())).is_none());
        hears.recv_timeout(Duration::from_secs(30)).unwrap();
    }
}
