//! The launcher thread: the one that makes processes for all others.
//!
//! Owns a plain, permanent thread. `PR_SET_PDEATHSIG` follows the *thread* that made a
//! child, so no thread that may end can be its maker: only this one, and for a spawn the
//! main thread, which saves it two changes of thread. An exec may block, so the hidden
//! thread may not do it either. It must never wait for a child.

use crate::sync::lock;
use std::cell::Cell;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The thread's inbox, and the process that it lives in: after a fork there is none.
static INBOX: Mutex<Option<(u32, Sender<Job>)>> = Mutex::new(None);

/// A forked child's code runs on this thread's stack, so it has the size of a main thread's.
const STACK: usize = 8 * 1024 * 1024;

thread_local! {
    static IS_LAUNCHER: Cell<bool> = const { Cell::new(false) };
}

/// Runs `job` on the launcher thread and waits for what it gives. On that thread itself it
/// is run at once.
pub(crate) fn run<T, E>(job: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    run_by(None, job).unwrap_or_else(|| unreachable!("a wait without a deadline"))
}

/// As [`run`], but waits at most until the deadline; `None` then, and what the job gives is
/// dropped there.
pub(super) fn run_by<T, E>(
    deadline: Option<Instant>,
    job: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Option<Result<T, E>>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    crate::wait::block_on_by(run_async(job), deadline)
}

/// Runs `job` on the launcher thread. On that thread itself it is run at once.
pub(crate) async fn run_async<T, E>(
    job: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    if IS_LAUNCHER.get() {
        return job();
    }
    let (sender, receiver) = oneshot::channel();
    submit(Box::new(move || drop(sender.send(job()))))?;
    receiver.await.map_err(|_| stopped())?
}

/// Whether the calling thread lives as long as the process: this one, and the main thread,
/// with whose end a Rust program ends.
pub(super) fn is_permanent() -> bool {
    let thread = nix::unistd::gettid().as_raw();
    IS_LAUNCHER.get() || thread.cast_unsigned() == std::process::id()
}

/// Waits until whoever has just given this thread its job has let go of the inbox, so
/// that it is free in a forked child.
pub(super) fn hold_for_fork() -> impl Sized {
    lock(&INBOX)
}

/// Waits until what was submitted before has been done, if anything was.
pub(super) fn settle() {
    let has_some = matches!(&*lock(&INBOX), Some((pid, _)) if *pid == std::process::id());
    if has_some {
        // An error says that the thread has ended, and everything with it.
        let _ = run(|| io::Result::Ok(()));
    }
}

/// Runs `job` on the launcher thread, some time after this returns.
pub(super) fn submit(job: Job) -> io::Result<()> {
    let inbox = &mut *lock(&INBOX);
    let me = std::process::id();
    let sender = match inbox {
        Some((pid, sender)) if *pid == me => sender,
        _ => {
            let (sender, jobs) = channel::<Job>();
            let thread = std::thread::Builder::new().name("procession-launcher".into());
            crate::threads::start(thread.stack_size(STACK), move || {
                IS_LAUNCHER.set(true);
                while let Ok(job) = jobs.recv() {
                    job();
                }
            })?;
            // An inherited inbox belongs to a thread that a fork did not copy.
            std::mem::forget(inbox.take());
            &inbox.insert((me, sender)).1
        }
    };
    sender.send(job).map_err(|_| stopped())
}

fn stopped() -> io::Error {
    io::Error::other("the launcher thread has ended")
}
