//! The launcher thread: the one thread that makes processes.
//!
//! Owns a plain, permanent thread. PR_SET_PDEATHSIG follows the *thread* that made a
//! child, so no thread that may end can be its maker; and an exec may block, so the
//! hidden thread may not do it either. It must never wait for a child.

use crate::sync::lock;
use nix::sys::signal::SigSet;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The thread's inbox, and the process that it lives in: after a fork there is none.
static INBOX: Mutex<Option<(u32, Sender<Job>)>> = Mutex::new(None);

/// Runs `job` on the launcher thread and waits for what it gives.
pub(crate) fn run<T, E>(job: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    crate::wait::block_on(submit(job)?).map_err(|_| stopped())?
}

/// Runs `job` on the launcher thread.
pub(crate) async fn run_async<T, E>(
    job: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    submit(job)?.await.map_err(|_| stopped())?
}

fn submit<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    let job: Job = Box::new(move || drop(sender.send(job())));
    let inbox = &mut *lock(&INBOX);
    let me = std::process::id();
    let sender = match inbox {
        Some((pid, sender)) if *pid == me => sender,
        _ => {
            let (sender, jobs) = channel::<Job>();
            std::thread::Builder::new().name("procession-launcher".into()).spawn(move || {
                // The user's signal handlers run on the user's threads.
                let _ = SigSet::all().thread_block();
                while let Ok(job) = jobs.recv() {
                    job();
                }
            })?;
            // An inherited inbox belongs to a thread that a fork did not copy.
            std::mem::forget(inbox.take());
            &inbox.insert((me, sender)).1
        }
    };
    sender.send(job).map_err(|_| stopped())?;
    Ok(receiver)
}

fn stopped() -> io::Error {
    io::Error::other("the launcher thread has ended")
}
