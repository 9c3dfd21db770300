//! Lines of children on their way to our standard error.
//!
//! Owns a bounded queue and the thread that empties it, so that whoever reads from
//! children (the hidden thread above all) never waits for the reader of our standard
//! error. It must never drop a line: when the queue is full, its feeders stop reading
//! and wait for [`room`]. Its neighbours: `crate::child` and `crate::relay` feed it,
//! `super::line` writes.

use crate::sync::lock;
use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// From this size on the feeders stop reading, in bytes. What is under way when that
/// happens still comes in: at most one socket buffer for each child.
const LIMIT: usize = 1024 * 1024;

/// At exit, a standard error that took nothing for so long is given up.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

static QUEUE: Mutex<Queue> =
    Mutex::new(Queue { writer: 0, lines: VecDeque::new(), bytes: 0, written: 0 });
static CHANGED: Condvar = Condvar::new();
static ROOM: Notify = Notify::const_new();

struct Queue {
    /// The process that the writer thread lives in; a fork does not copy it.
    writer: u32,
    lines: VecDeque<Vec<u8>>,
    /// What is queued or being written.
    bytes: usize,
    /// How many entries have been written.
    written: u64,
}

/// Queues bytes, which are whole lines if it can be helped. Never waits, but where no
/// thread can be had it writes them itself.
pub(crate) fn enqueue(lines: Vec<u8>) {
    if lines.is_empty() {
        return;
    }
    let queue = &mut *lock(&QUEUE);
    let me = std::process::id();
    if queue.writer != me {
        let thread = std::thread::Builder::new().name("procession-log".into());
        if crate::threads::start(thread, write_all).is_err() {
            super::line::write_raw(&lines);
            return;
        }
        // Whatever a fork left here is the parent's to write.
        std::mem::forget(std::mem::take(&mut queue.lines));
        (queue.writer, queue.bytes) = (me, 0);
    }
    queue.bytes += lines.len();
    queue.lines.push_back(lines);
    CHANGED.notify_all();
}

/// Whether feeders should stop reading.
pub(crate) fn is_full() -> bool {
    let queue = lock(&QUEUE);
    queue.bytes >= LIMIT && queue.writer == std::process::id()
}

/// Ends when there may be room again, for those who wait in the order in which they began to.
/// To be made before [`is_full`] is asked.
pub(crate) fn room() -> Notified<'static> {
    ROOM.notified()
}

/// Waits until all that is queued has been written, or nothing moves any more.
pub(crate) fn flush() {
    let mut queue = lock(&QUEUE);
    let mut written = queue.written;
    while queue.bytes > 0 && queue.writer == std::process::id() {
        let waited = CHANGED.wait_timeout(queue, FLUSH_PATIENCE);
        let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        queue = next;
        if timeout.timed_out() && queue.written == written {
            return;
        }
        written = queue.written;
    }
}

/// Keeps the writer idle across a fork: all is written, and it waits for more.
pub(crate) fn hold_for_fork(deadline: Option<Instant>) -> io::Result<impl Sized> {
    let mut queue = lock(&QUEUE);
    while queue.bytes > 0 && queue.writer == std::process::id() {
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        queue = CHANGED
            .wait_timeout(queue, Duration::from_millis(100))
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    Ok(queue)
}

fn write_all() {
    let mut queue = lock(&QUEUE);
    loop {
        let Some(lines) = queue.lines.pop_front() else {
            queue = CHANGED.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(queue);
        super::line::write_raw(&lines);
        queue = lock(&QUEUE);
        queue.bytes -= lines.len();
        queue.written += 1;
        CHANGED.notify_all();
        // One by one, the one who has waited longest first: if all were woken, the first of
        // them would fill the room again, and would be the first the next time too.
        if queue.lines.is_empty() {
            ROOM.notify_waiters();
        } else if queue.bytes < LIMIT {
            ROOM.notify_one();
        }
    }
}
