//! Which process a zygote has made last, noted where its node can read it.
//!
//! Owns two words in memory that a zygote and its node share: a request's number, and the
//! id of its worker, which the kernel writes in the act of making it. Zygote and worker can
//! both be killed before either has said that there is a worker; the node would never reap
//! it then. Neighbours: `zygote` makes, `forkserver::worker` reads. (Where there is no
//! `clone3`, nothing is noted.)

use crate::codec::Fd;
use crate::sys::memory::Mapping;
use crate::sys::page::{self, View};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

/// The request's number, then its worker's id.
type Note = [AtomicU32; 2];

/// The note of one zygote.
#[derive(Debug, Clone)]
pub(super) struct Birth(View<Note>);

impl Birth {
    /// An empty note, and the file that it lies in.
    pub(super) fn new() -> io::Result<(Self, Fd)> {
        let file = page::sparse(size_of::<Note>())?;
        page::reserve(file.as_fd(), 0..size_of::<Note>())?;
        let file = Fd(file);
        Ok((Self::open(&file)?, file))
    }

    /// The note that lies in a file.
    pub(super) fn open(file: &Fd) -> io::Result<Self> {
        let mapping = Arc::new(Mapping::new(file.as_fd(), size_of::<Note>())?);
        let note = View::new(&mapping, 0).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self(note))
    }

    /// Where the id of the worker for a request is to be written.
    pub(super) fn expect(&self, request: u32) -> &AtomicU32 {
        let [number, pid] = &*self.0;
        // In this order, or a kill in between would give a request the worker before its own.
        pid.store(0, SeqCst);
        number.store(request, SeqCst);
        pid
    }

    /// The last request that the zygote has taken up.
    pub(super) fn last(&self) -> u32 {
        self.0[0].load(SeqCst)
    }

    /// The id of the worker for a request, if it is the last that was made.
    pub(super) fn of(&self, request: u32) -> Option<i32> {
        let [number, pid] = &*self.0;
        let is_last = || number.load(SeqCst) == request;
        // It may be at the next one in between: then the number has changed first.
        let made = is_last().then(|| pid.load(SeqCst).cast_signed())?;
        (is_last() && made != 0).then_some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_of_the_last_request_alone() {
        let (ours, file) = Birth::new().unwrap();
        let theirs = Birth::open(&file).unwrap();
        assert_eq!(ours.of(1), None);
        theirs.expect(1).store(71, SeqCst);
        assert_eq!(ours.of(1), Some(71));
        let second = theirs.expect(2);
        assert_eq!((ours.of(1), ours.of(2), ours.last()), (None, None, 2));
        second.store(72, SeqCst);
        assert_eq!((ours.of(1), ours.of(2)), (None, Some(72)));
    }
}
