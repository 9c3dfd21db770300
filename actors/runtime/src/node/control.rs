//! What a child hears from its parent on the control link.
//!
//! Owns the reading of it, by the hidden thread or, while there is none, by the main
//! thread of an actor between messages. It acts on what needs no user code, and leaves
//! the rest (a Shutdown) for the actor to take.

use super::{hidden, routes};
use crate::launcher::hello::{self, Pong, ToChild, ToParent};
use crate::link::{Link, LinkCopy, OUTBOUND_LIMIT};
use crate::peer::serve::Entrance;
use crate::sync::lock;
use crate::sys::watch::{Held, Watched};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::Interest;
use tokio::sync::Notify;

static SHUTDOWN: AtomicBool = AtomicBool::new(false);
static ASKED: Notify = Notify::const_new();
/// Messages begun and ended, and calls of `keepalive`: what a watchdog sees move.
static PROGRESS: AtomicU64 = AtomicU64::new(0);
/// Whether an actor waits for its next message. A function is always at work.
static IDLE: AtomicBool = AtomicBool::new(false);

/// Tells a watchdog that this process gets on with its work.
pub fn keepalive() {
    PROGRESS.fetch_add(1, Ordering::Relaxed);
}

/// Notes whether the actor waits for its next message.
pub(crate) fn note_idle(idle: bool) {
    IDLE.store(idle, Ordering::Relaxed);
    keepalive();
}
/// Whether the hidden thread reads the control link.
static ATTENDED: AtomicBool = AtomicBool::new(false);
static ENTRANCE: Mutex<Option<Arc<Entrance>>> = Mutex::new(None);

/// Sets where callers of the actor that is this process are let in.
pub(crate) fn set_entrance(entrance: Arc<Entrance>) {
    *lock(&ENTRANCE) = Some(entrance);
}

/// Whether this process is an actor.
pub(crate) fn is_actor() -> bool {
    lock(&ENTRANCE).is_some()
}

/// Lets a caller in to the actor that is this process; false when there is none.
pub(crate) fn admit(link: Link) -> bool {
    match &*lock(&ENTRANCE) {
        Some(entrance) => {
            entrance.admit(link);
            true
        }
        None => false,
    }
}

/// Forgets, in a forked child, what its parent heard from a parent of its own.
pub(super) fn forget_inherited() {
    for flag in [&SHUTDOWN, &IDLE, &ATTENDED] {
        flag.store(false, Ordering::Release);
    }
    PROGRESS.store(0, Ordering::Relaxed);
    std::mem::forget(lock(&ENTRANCE).take());
}

/// Has the hidden thread read the control link from now on, if there is one.
pub(crate) fn attend() -> io::Result<()> {
    let node = super::current();
    if node.parent().is_none() || ATTENDED.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let attended = hidden::handle().map(|handle| {
        handle.spawn(async move {
            // A descriptor of its own, in case the link is watched elsewhere too.
            let Some(copy) = node.parent().map(|parent| parent.control.copy()) else { return };
            let held = copy.map(|copy| Held::new(&Arc::new(copy), LinkCopy::as_fd));
            let link = Watched::new(held, Interest::READABLE);
            while drain() {
                link.readable().await;
            }
        })
    });
    if attended.is_err() {
        ATTENDED.store(false, Ordering::Release);
    }
    // An actor's main thread, which may be in its poll, leaves the link alone now.
    if let Some(entrance) = &*lock(&ENTRANCE) {
        entrance.wake();
    }
    attended.map(drop)
}

/// Whether the parent has asked this process to end; true once.
pub(crate) fn take_shutdown() -> bool {
    SHUTDOWN.swap(false, Ordering::AcqRel)
}

/// Completes when the parent asks this process to end.
pub(crate) async fn shutdown_asked() {
    while !take_shutdown() {
        ASKED.notified().await;
    }
}

/// The control link, while no hidden thread reads it.
pub(crate) fn unattended() -> Option<Control> {
    if ATTENDED.load(Ordering::Acquire) {
        return None;
    }
    let node = super::current();
    node.parent().filter(|parent| !parent.ended.load(Ordering::Acquire))?;
    Some(Control(node))
}

/// The control link of a node that has a parent.
pub(crate) struct Control(Arc<super::Node>);

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.0.parent() {
            Some(parent) => parent.control.as_fd(),
            None => unreachable!("made for a node with a parent"),
        }
    }
}

/// Reads what has come. False when no more will come: the parent has ended.
pub(crate) fn drain() -> bool {
    let node = super::current();
    let Some(parent) = node.parent() else { return false };
    loop {
        match parent.control.try_recv() {
            Ok(Some(frame)) => match hello::read(frame) {
                Ok(message) => heard(&parent.control, message),
                Err(error) => {
                    tracing::warn!(target: "procession", %error, "the parent sent what cannot be read");
                }
            },
            Ok(None) => return true,
            Err(_) => {
                parent.ended.store(true, Ordering::Release);
                return false;
            }
        }
    }
}

/// Asks the actor that is this process to end after the message that it handles; false when
/// there is none.
pub(super) fn shut_down() -> bool {
    SHUTDOWN.store(true, Ordering::Release);
    ASKED.notify_one();
    let entrance = &*lock(&ENTRANCE);
    if let Some(entrance) = entrance {
        entrance.wake();
    }
    entrance.is_some()
}

fn heard(control: &Link, message: ToChild) {
    match message {
        ToChild::Shutdown => {
            shut_down();
        }
        ToChild::Ping(number) => {
            let busy = !IDLE.load(Ordering::Relaxed);
            let pong = Pong { number, progress: PROGRESS.load(Ordering::Relaxed), busy };
            let _ = hello::post(control, &ToParent::Pong(pong), OUTBOUND_LIMIT);
        }
        ToChild::Routed(message) => routes::pass_on(message),
        ToChild::Hello(_) => {}
    }
}
