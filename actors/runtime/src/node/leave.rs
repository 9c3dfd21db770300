//! What happens when a process ends in good order.
//!
//! Owns the order: no new starts; exit hooks of priority 0 and above; daemon children
//! are stopped; the others are joined while hosting goes on; the remaining hooks. It
//! runs once: at the end of a child's body, or in an exit handler when `main` returns
//! or somebody calls `exit`. The handler itself only wakes the hidden thread and waits:
//! thread-locals of the main thread are gone by then.

use super::{Node, hidden};
use crate::child::Child;
use crate::launcher::StartMethod;
use crate::sync::{after, lock};
use crate::sys::watch::{Held, watch};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// A daemon child has this long to end after SIGTERM when its parent ends.
pub const DAEMON_GRACE: Duration = Duration::from_secs(5);

/// Joining at exit names the children that it waits for this often.
const JOIN_LOG_PERIOD: Duration = Duration::from_secs(10);

/// The process that the exit handler is prepared in: a copy made by the user's own fork
/// must not end its parent's children.
static PREPARED: AtomicU32 = AtomicU32::new(0);

/// Wakes the hidden thread for the winding down.
static WAKE: Mutex<Option<EventFd>> = Mutex::new(None);

static DONE: (Mutex<u32>, Condvar) = (Mutex::new(0), Condvar::new());

/// Makes sure that this process winds down before it exits. Cheap after the first call.
pub fn prepare() {
    let me = std::process::id();
    if PREPARED.swap(me, Ordering::AcqRel) == me {
        return;
    }
    if let Err(error) = arm() {
        tracing::warn!(target: "procession", %error, "children will not be joined at exit");
    }
}

fn arm() -> std::io::Result<()> {
    let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let watched = crate::sys::socket::duplicate(&wake)?;
    *lock(&WAKE) = Some(wake);
    hidden::handle()?.spawn(async move {
        let Ok(woken) = watch(Held::own(watched), Interest::READABLE) else { return };
        if woken.readable().await.is_ok() {
            // User code (exit hooks) never runs on the hidden thread.
            let exit = std::thread::Builder::new().name("procession-exit".into());
            if exit.spawn(wind_down).is_err() {
                finished();
            }
        }
    });
    // Handlers are inherited by forks; once in the C library's list is enough.
    static REGISTERED: std::sync::Once = std::sync::Once::new();
    REGISTERED.call_once(|| {
        crate::sys::exit::at_exit(at_exit);
    });
    Ok(())
}

extern "C" fn at_exit() {
    let me = std::process::id();
    if PREPARED.load(Ordering::Acquire) != me || *lock(&DONE.0) == me {
        return;
    }
    let woken = lock(&WAKE).as_ref().is_some_and(|wake| wake.write(1).is_ok());
    let mut done = lock(&DONE.0);
    while woken && *done != me {
        done = DONE.1.wait(done).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

fn finished() {
    *lock(&DONE.0) = std::process::id();
    DONE.1.notify_all();
}

/// Winds this node down. Does nothing the second time.
pub fn wind_down() {
    if *lock(&DONE.0) == std::process::id() {
        return;
    }
    let node = super::current();
    node.ending.store(true, Ordering::Release);
    crate::supervisor::stop_all();
    stop_daemons(&node);
    join_others(&node);
    finished();
}

/// Ends this process in good order.
pub fn exit(code: i32) -> ! {
    crate::launcher::child::leave(super::current().method.unwrap_or(StartMethod::Spawn), code)
}

fn stop_daemons(node: &Node) {
    let daemons: Vec<Arc<Child>> =
        node.children().into_iter().filter(|child| is_stopped(child)).collect();
    for child in &daemons {
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
    let mut begun = Instant::now();
    while let Some(child) = node.children().into_iter().next() {
        if matches!(child.join(after(JOIN_LOG_PERIOD)), Ok(Some(_))) {
            begun = Instant::now();
        } else {
            tracing::warn!(target: "procession", name = child.name(), pid = child.pid(),
                waited_s = begun.elapsed().as_secs(), "waiting for a child before exit");
        }
    }
}
