//! A child's relayed output: copied line by line to our standard error, its end kept.
//!
//! Owns the reading ends of relayed streams and the tail that error reports quote. It
//! never waits: `pump` takes what is there, turn by turn and as long as there is room for its
//! lines on their way out (`crate::log::relayed`), and `drain` once what a child that has ended
//! left. Lines are written whole.

use crate::log::relayed::{Source, TURN};
use crate::sync::lock;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

/// How much of a child's output is kept for error reports, in bytes.
const TAIL_BYTES: usize = 4096;

/// So much is read at a time, in bytes.
const PIECE: usize = 8192;

/// A line longer than this is written in pieces, in bytes.
const LINE_LIMIT: usize = 64 * 1024;

/// The relayed streams of one child.
#[derive(Debug)]
pub(crate) struct Relay {
    streams: Vec<Stream>,
    lines: Source,
    tail: Mutex<VecDeque<u8>>,
}

#[derive(Debug)]
struct Stream {
    fd: OwnedFd,
    /// The line under way; `None` when the stream has ended.
    line: Mutex<Option<Vec<u8>>>,
}

/// What a look at the streams gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// Every stream has ended.
    Ended,
    /// All that was there has been taken.
    All,
    /// Something is left for another turn.
    More,
}

impl Relay {
    pub(crate) fn new(fds: Vec<OwnedFd>) -> Self {
        let stream = |fd| {
            // Our end alone: the child's end is another file description.
            let _ = fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
            Stream { fd, line: Mutex::new(Some(Vec::new())) }
        };
        Self {
            streams: fds.into_iter().map(stream).collect(),
            lines: Source::default(),
            tail: Mutex::default(),
        }
    }

    /// How many streams there are.
    pub(crate) fn count(&self) -> usize {
        self.streams.len()
    }

    /// Where its lines are on their way from.
    pub(crate) fn lines(&self) -> &Source {
        &self.lines
    }

    /// The descriptor of one stream, to watch for more.
    pub(crate) fn descriptor(&self, at: usize) -> BorrowedFd<'_> {
        self.streams[at].fd.as_fd()
    }

    /// Copies what is there, one turn's worth as long as there is room.
    pub(crate) fn pump(&self) -> Pumped {
        let mut seen = Pumped::Ended;
        for stream in &self.streams {
            match self.pump_one(stream, TURN * PIECE, false) {
                Pumped::Ended => {}
                Pumped::All if seen == Pumped::More => {}
                other => seen = other,
            }
        }
        seen
    }

    /// Copies what was there when this was called, whatever the room: no more than the streams
    /// hold. What others go on to write who have the child's streams is not waited for.
    pub(crate) fn drain(&self) {
        for stream in &self.streams {
            // One more, so that the end of the stream is seen.
            let there = crate::sys::stream::waiting(stream.fd.as_fd()).unwrap_or(LINE_LIMIT) + 1;
            self.pump_one(stream, there, true);
        }
    }

    /// The end of what the child has written.
    pub(crate) fn tail(&self) -> String {
        let tail: Vec<u8> = lock(&self.tail).iter().copied().collect();
        String::from_utf8_lossy(&tail).into_owned()
    }

    /// Takes about so many bytes.
    fn pump_one(&self, stream: &Stream, mut left: usize, whatever_the_room: bool) -> Pumped {
        let slot = &mut *lock(&stream.line);
        let Some(line) = slot else { return Pumped::Ended };
        let mut buffer = [0; PIECE];
        loop {
            if left == 0 || !whatever_the_room && self.lines.is_full() {
                return Pumped::More;
            }
            match nix::unistd::read(&stream.fd, &mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    left = left.saturating_sub(count);
                    self.keep_tail(&buffer[..count]);
                    line.extend_from_slice(&buffer[..count]);
                    let whole = line.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
                    let whole =
                        whole.unwrap_or(if line.len() > LINE_LIMIT { line.len() } else { 0 });
                    self.lines.enqueue(line.drain(..whole).collect());
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Pumped::All,
                Err(_) => break,
            }
        }
        self.lines.enqueue(std::mem::take(line));
        *slot = None;
        Pumped::Ended
    }

    fn keep_tail(&self, bytes: &[u8]) {
        let tail = &mut *lock(&self.tail);
        tail.extend(bytes);
        let excess = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..excess);
    }
}
