//! A child's relayed output: copied line by line to our standard error, its end kept.
//!
//! Owns the reading ends of relayed streams and the tail that error reports quote. It
//! never waits: `pump` takes what is there. Lines are written whole.

use crate::sync::lock;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

/// How much of a child's output is kept for error reports, in bytes.
pub const TAIL_BYTES: usize = 4096;

/// A line longer than this is written in pieces, in bytes.
const LINE_LIMIT: usize = 64 * 1024;

/// The relayed streams of one child.
#[derive(Debug)]
pub(crate) struct Relay {
    streams: Vec<Stream>,
    tail: Mutex<VecDeque<u8>>,
}

#[derive(Debug)]
struct Stream {
    fd: OwnedFd,
    /// The line under way; `None` when the stream has ended.
    line: Mutex<Option<Vec<u8>>>,
}

impl Relay {
    pub(crate) fn new(fds: Vec<OwnedFd>) -> Self {
        let stream = |fd| {
            // Our end alone: the child's end is another file description.
            let _ = fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
            Stream { fd, line: Mutex::new(Some(Vec::new())) }
        };
        Self { streams: fds.into_iter().map(stream).collect(), tail: Mutex::default() }
    }

    /// How many streams there are.
    pub(crate) fn count(&self) -> usize {
        self.streams.len()
    }

    /// The descriptor of one stream, to watch for more.
    pub(crate) fn descriptor(&self, at: usize) -> BorrowedFd<'_> {
        self.streams[at].fd.as_fd()
    }

    /// Copies what is there. False when every stream has ended.
    pub(crate) fn pump(&self) -> bool {
        let mut open = false;
        for stream in &self.streams {
            open |= self.pump_one(stream);
        }
        open
    }

    /// The end of what the child has written.
    pub(crate) fn tail(&self) -> String {
        let tail: Vec<u8> = lock(&self.tail).iter().copied().collect();
        String::from_utf8_lossy(&tail).into_owned()
    }

    fn pump_one(&self, stream: &Stream) -> bool {
        let slot = &mut *lock(&stream.line);
        let Some(line) = slot else { return false };
        let mut buffer = [0; 8192];
        loop {
            match nix::unistd::read(&stream.fd, &mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    self.keep_tail(&buffer[..count]);
                    line.extend_from_slice(&buffer[..count]);
                    let whole = line.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
                    let whole =
                        whole.unwrap_or(if line.len() > LINE_LIMIT { line.len() } else { 0 });
                    write_whole(&line[..whole]);
                    line.drain(..whole);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return true,
                Err(_) => break,
            }
        }
        write_whole(line);
        *slot = None;
        false
    }

    fn keep_tail(&self, bytes: &[u8]) {
        let tail = &mut *lock(&self.tail);
        tail.extend(bytes);
        let excess = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..excess);
    }
}

/// Writes to our standard error while nobody else of this process does.
pub(crate) fn write_whole(bytes: &[u8]) {
    if !bytes.is_empty() {
        // A standard error that is closed or full loses the lines, not the program.
        let _ = std::io::stderr().lock().write_all(bytes);
    }
}
