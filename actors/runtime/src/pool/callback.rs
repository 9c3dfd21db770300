//! The thread on which a pool's callbacks run.
//!
//! Owns that thread, which exists from the first call that has a callback to the end of
//! its pool. Callbacks run one after another; one that fails is logged, and a slow one
//! delays only other callbacks. It must never hold the pool.

use crate::sync::lock;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, ThreadId};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(super) struct Callbacks(Mutex<Option<Thread>>);

struct Thread {
    inbox: Sender<Work>,
    id: ThreadId,
}

impl Callbacks {
    /// Makes sure that there is a thread.
    pub(super) fn get_ready(&self) -> io::Result<()> {
        let slot = &mut *lock(&self.0);
        if slot.is_none() {
            let (inbox, work) = channel::<Work>();
            let thread =
                thread::Builder::new().name("procession-pool".into()).spawn(move || {
                    let _ = nix::sys::signal::SigSet::all().thread_block();
                    while let Ok(work) = work.recv() {
                        // Callbacks are caught one by one; what is left is decoding.
                        if let Err(report) = crate::panic::catch(work) {
                            tracing::error!(target: "procession", message = report.message,
                            "a pool's result could not be read");
                        }
                    }
                })?;
            *slot = Some(Thread { inbox, id: thread.thread().id() });
        }
        Ok(())
    }

    /// Has something run after all that was given before.
    pub(super) fn run(&self, work: Work) {
        if let Some(thread) = &*lock(&self.0) {
            let _ = thread.inbox.send(work);
        }
    }

    /// Whether the calling thread is the one that runs callbacks.
    pub(super) fn is_current(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|thread| thread.id == thread::current().id())
    }

    /// Completes when all that was given before has run.
    pub(super) fn flushed(&self) -> impl Future<Output = ()> + Send + use<> {
        let (done, flushed) = oneshot::channel();
        self.run(Box::new(move || {
            let _ = done.send(());
        }));
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
