//! Lines of children on their way to our standard error.
//!
//! Owns a queue and the thread that empties it, so that whoever reads from children (the
//! hidden thread above all) never waits for the reader of our standard error. It must never
//! drop a line: where a [`Source`] has as much in the queue as it may, its lines are read no
//! further until there is room. Each has a bound of its own, so that none waits for the room
//! of another and who has much to say keeps nobody from speaking. Its neighbours:
//! `crate::child` and `crate::relay` have the sources, `super::line` writes.

use crate::sync::lock;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// With so much in the queue a source is full, in bytes. What is under way when that happens
/// may still come in: at most a line, or at the source's end what its socket holds.
const LIMIT: usize = 256 * 1024;

/// A source that was full has room again below this, in bytes: a few lines for one wake.
const ROOM: usize = LIMIT / 2;

/// So many words or pieces of one source are read before others have their turn: one that
/// speaks as fast as it is read would keep them waiting for as long as it likes.
pub(crate) const TURN: usize = 16;

/// At exit, a standard error that took nothing for so long is given up.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

static QUEUE: Mutex<Queue> =
    Mutex::new(Queue { writer: 0, lines: VecDeque::new(), bytes: 0, written: 0 });
static CHANGED: Condvar = Condvar::new();

struct Queue {
    /// The process that the writer thread lives in; a fork does not copy it.
    writer: u32,
    lines: VecDeque<(Vec<u8>, Arc<Queued>)>,
    /// What is queued or being written.
    bytes: usize,
    /// How many entries have been written.
    written: u64,
}

/// Where lines come from: the control link of one child, or its relayed streams.
#[derive(Debug, Default)]
pub(crate) struct Source(Arc<Queued>);

/// What one source has in the queue.
#[derive(Debug, Default)]
struct Queued {
    bytes: AtomicUsize,
    room: Notify,
}

impl Source {
    /// Queues bytes, which are whole lines if it can be helped. Never waits, but where no
    /// thread can be had it writes them itself.
    pub(crate) fn enqueue(&self, lines: Vec<u8>) {
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
        self.0.bytes.fetch_add(lines.len(), Ordering::Relaxed);
        queue.lines.push_back((lines, self.0.clone()));
        CHANGED.notify_all();
    }

    /// Whether it is to be read no further.
    pub(crate) fn is_full(&self) -> bool {
        self.0.bytes.load(Ordering::Relaxed) >= LIMIT
    }

    /// Ends when it is to be read again: others have had their turn, and there is room.
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait.
    pub(crate) async fn turn(&self) {
        // Made before the look: what is written in between counts.
        let room = self.0.room.notified();
        if self.is_full() {
            room.await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

impl Queued {
    /// So many bytes have been written.
    fn written(&self, count: usize) {
        let before = self.bytes.fetch_sub(count, Ordering::Relaxed);
        if before >= ROOM && before - count < ROOM {
            self.room.notify_waiters();
        }
    }
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
        let Some((lines, source)) = queue.lines.pop_front() else {
            queue = CHANGED.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(queue);
        super::line::write_raw(&lines);
        source.written(lines.len());
        queue = lock(&QUEUE);
        queue.bytes -= lines.len();
        queue.written += 1;
        CHANGED.notify_all();
    }
}
