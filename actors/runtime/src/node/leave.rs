//! What happens when a process ends in good order.
//!
//! Owns the order: pools that are to be done first; no new starts; exit hooks of priority 0 and above; daemon children
//! are stopped; the others are joined while hosting goes on; the remaining hooks. Detached
//! children are let be. It runs once: at the end of a child's body, or in an exit handler
//! when `main` returns or somebody calls `exit`. The handler itself only wakes the
//! hidden thread and waits: thread-locals of the main thread are gone by then.

use super::{Node, hidden};
use crate::child::Child;
use crate::finalizer::{BEFORE_THE_END, run_finalizers};
use crate::launcher::StartMethod;
use crate::sync::{after, lock};
use crate::sys::watch::{Held, Watched};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// A daemon child has this long to end after SIGTERM when its parent ends.
pub const DAEMON_GRACE: Duration = Duration::from_secs(5);

/// Owners that do not read have this long to take what this process still has to say.
const FAREWELL: Duration = Duration::from_secs(1);

/// Joining at exit names the children that it waits for this often.
const JOIN_LOG_PERIOD: Duration = Duration::from_secs(10);

/// While the winding down waits for threads that run a user's code it looks this often whether
/// one of them is a [leaver](is_leaver).
pub const LEAVER_PERIOD: Duration = Duration::from_millis(20);

/// The process that the exit handler is prepared in: a copy made by the user's own fork
/// must not end its parent's children.
static PREPARED: AtomicU32 = AtomicU32::new(0);

/// The process whose own thread winds it down, whatever comes: a fork server, which cannot be
/// copied when it has another thread.
static ALONE: AtomicU32 = AtomicU32::new(0);

/// Whether the C library knows our handler.
static REGISTERED: Once = Once::new();

/// Wakes the hidden thread for the winding down.
static WAKE: Mutex<Option<EventFd>> = Mutex::new(None);

/// How far the winding down is.
static PROGRESS: (Mutex<Progress>, Condvar) = (Mutex::new(Progress::new(0)), Condvar::new());

struct Progress {
    /// The process that this is about: after a fork it begins anew.
    pid: u32,
    /// The thread that winds down; 0 is none.
    winder: i32,
    done: bool,
    /// The threads that wait for it in order to end the process, and so will not end before.
    leavers: Vec<i32>,
}

impl Progress {
    const fn new(pid: u32) -> Self {
        Self { pid, winder: 0, done: false, leavers: Vec::new() }
    }

    fn of_this_process() -> MutexGuard<'static, Self> {
        let mut progress = lock(&PROGRESS.0);
        let me = std::process::id();
        if progress.pid != me {
            *progress = Self::new(me);
        }
        progress
    }
}

/// Waits as a thread that ends the process until it has been wound down.
fn await_winder(mut progress: MutexGuard<'_, Progress>) {
    progress.leavers.push(this_thread());
    while !progress.done {
        progress = PROGRESS.1.wait(progress).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Has this process wind down on the thread that ends it, and on no other.
pub(crate) fn stay_alone() {
    ALONE.store(std::process::id(), Ordering::Release);
}

/// Makes sure that this process winds down before it exits. Cheap after the first call.
pub fn prepare() {
    let me = std::process::id();
    if ALONE.load(Ordering::Acquire) == me || PREPARED.swap(me, Ordering::AcqRel) == me {
        return;
    }
    if let Err(error) = arm() {
        tracing::warn!(target: "procession", %error, "children will not be joined at exit");
        // Tried again at the next occasion.
        let _ = PREPARED.compare_exchange(me, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

fn arm() -> std::io::Result<()> {
    let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let watched = crate::sys::socket::duplicate(&wake)?;
    *lock(&WAKE) = Some(wake);
    hidden::handle()?.spawn(async move {
        let bell = Watched::new(Ok(Held::own(watched)), Interest::READABLE);
        while lock(&WAKE).as_ref().is_none_or(|wake| wake.read().is_err()) {
            bell.readable().await;
        }
        // User code (exit hooks) never runs on the hidden thread.
        let exit = std::thread::Builder::new().name("procession-exit".into());
        if exit.spawn(wind_down).is_err() {
            finished();
        }
    });
    // Handlers are inherited by forks; once in the C library's list is enough.
    REGISTERED.call_once(|| {
        crate::sys::exit::at_exit(at_exit);
    });
    Ok(())
}

extern "C" fn at_exit() {
    let me = std::process::id();
    if PREPARED.load(Ordering::Acquire) != me || !is_to_do() {
        return;
    }
    let woken = lock(&WAKE).as_ref().is_some_and(|wake| wake.write(1).is_ok());
    if woken {
        await_winder(Progress::of_this_process());
    }
}

/// The system's number of the calling thread, by which [`is_leaver`] knows it.
pub fn this_thread() -> i32 {
    nix::unistd::gettid().as_raw()
}

/// Whether a thread waits for the winding down, which must not wait for its end.
pub fn is_leaver(thread: i32) -> bool {
    thread != 0 && Progress::of_this_process().leavers.contains(&thread)
}

/// Whether another thread has to wind down, or is at it.
fn is_to_do() -> bool {
    let progress = Progress::of_this_process();
    !(progress.done || progress.winder == this_thread())
}

/// Takes the turn (true), or waits for the thread that has it, unless that is this one.
fn take_turn() -> bool {
    let mut progress = Progress::of_this_process();
    let is_first = progress.winder == 0 && !progress.done;
    if is_first {
        progress.winder = this_thread();
    } else if progress.winder != this_thread() {
        await_winder(progress);
    }
    is_first
}

fn finished() {
    let mut progress = Progress::of_this_process();
    (progress.winder, progress.done) = (0, true);
    drop(progress);
    PROGRESS.1.notify_all();
}

/// Winds this node down; returns when that is done, whoever does it. Does nothing the
/// second time. True when it was done here: then the process ends as the caller says.
pub fn wind_down() -> bool {
    /// Says so also when something here panics: nobody may wait for ever.
    struct Finish;
    impl Drop for Finish {
        fn drop(&mut self) {
            finished();
        }
    }
    if !take_turn() {
        return false;
    }
    let _finish = Finish;
    let node = super::current();
    tracing::info!(target: "procession", "process shutting down");
    run_finalizers(Some(BEFORE_THE_END));
    node.ending.store(true, Ordering::Release);
    run_finalizers(Some(0));
    crate::supervisor::stop_all();
    stop_daemons(&node);
    join_others(&node);
    run_finalizers(None);
    crate::share::roads::flush(after(FAREWELL));
    // What is still under way to standard error is older than our end.
    crate::log::relayed::flush();
    crate::launcher::end_zygote();
    true
}

/// Ends this process in good order. From an exit hook it ends it at once: the order is
/// under way, and the C library's exit waits for nobody who is part of it.
pub fn exit(code: i32) -> ! {
    let is_winder = Progress::of_this_process().winder == this_thread();
    if is_winder {
        let _ = std::io::Write::flush(&mut std::io::stdout());
        crate::sys::exit::now(code);
    }
    crate::launcher::child::leave(super::current().method.unwrap_or(StartMethod::Spawn), code)
}

fn stop_daemons(node: &Node) {
    let daemons: Vec<Arc<Child>> = bound(node).filter(|child| is_stopped(child)).collect();
    for child in &daemons {
        tracing::info!(target: "procession", "calling terminate() for daemon {}", child.name());
        let _ = child.ask_to_end();
    }
    let deadline = after(DAEMON_GRACE);
    for child in &daemons {
        if !matches!(child.join(deadline), Ok(Some(_))) {
            child.kill_and_reap();
        }
    }
}

/// Daemons are stopped, and so are actors, which would never end by themselves.
fn is_stopped(child: &Child) -> bool {
    child.is_daemon() || child.ends_by_message()
}

fn join_others(node: &Node) {
    while let Some(child) = bound(node).next() {
        tracing::info!(target: "procession", "calling join() for process {}", child.name());
        let begun = Instant::now();
        while !matches!(child.join(after(JOIN_LOG_PERIOD)), Ok(Some(_))) {
            tracing::warn!(target: "procession", name = child.name(), pid = child.pid(),
                waited_s = begun.elapsed().as_secs(), "waiting for a child before exit");
        }
    }
}

/// The living children that end before this process does: not the detached ones.
fn bound(node: &Node) -> impl Iterator<Item = Arc<Child>> {
    node.children().into_iter().filter(|child| !child.is_detached())
}
