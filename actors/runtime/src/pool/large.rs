//! Large arguments and results, in files beside their frames.
//!
//! Owns when bytes go into a file, and the frame that says so. A stream takes a large
//! message in pieces, each of which waits for its reader to be woken; a file is written
//! once and read once. Bytes that are the only value need no frame of their own there, so
//! they are read to where they stay. The files are those of queues, which are used again
//! when nobody reads them any more. Neighbours: `staff` and `worker`, at both ends of a
//! stream.

use super::error::TaskError;
use crate::codec::{BatchEncoder, Encoded, Packed};
use crate::link::{Frame, LinkError};
use crate::queue::file_of;
use crate::sys::chunk;
use procession_protocols::wire::Header;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What a frame with this flag carries is in the file beside it; its payload says how long.
const FILED: u8 = 1 << 7;

/// In the file is a single value that is nothing but bytes, and no batch.
const BARE: u8 = 1 << 6;

/// Shorter ones go over the stream.
pub(super) const SHORTEST: usize = 64 * 1024;

/// Whether it is only for now that descriptors cannot be sent: so many of this user's are under
/// way, from and to whomever.
pub(super) fn is_crowded(sent: &Result<(), LinkError>) -> bool {
    matches!(sent, Err(LinkError::Io(error)) if error.raw_os_error() == Some(libc::ETOOMANYREFS))
}

/// What travels in a file.
pub(super) struct Filed {
    file: File,
    len: u32,
    flags: u8,
}

impl Filed {
    /// A batch, if it is to travel in a file. Where none is to be had it goes over the stream.
    pub(super) fn batch(bytes: &[u8], fds: &[OwnedFd]) -> Option<Self> {
        if fds.is_empty() { Self::new(bytes, FILED) } else { None }
    }

    /// As [`batch`](Self::batch), of a single value that is nothing but these bytes.
    pub(super) fn bare(bytes: &[u8]) -> Option<Self> {
        Self::new(bytes, FILED | BARE)
    }

    fn new(bytes: &[u8], flags: u8) -> Option<Self> {
        if bytes.len() < SHORTEST {
            return None;
        }
        let len = u32::try_from(bytes.len()).ok()?;
        Some(Self { file: file_of([bytes, &[]]).ok()?, len, flags })
    }

    /// The frame of this header: its header, payload and descriptor.
    pub(super) fn frame(self, mut header: Header) -> (Header, [u8; 4], OwnedFd) {
        let payload = self.len.to_le_bytes();
        header.flags |= self.flags;
        header.len = 4;
        (header, payload, self.file.into())
    }
}

/// Whether descriptors of a frame are lost: no number was free for them.
pub(super) fn is_cut(frame: &Frame) -> bool {
    frame.fds.len() < usize::from(frame.header.fds)
}

/// What a frame carries, out of its file if it is in one.
///
/// # Errors
/// The file cannot be read, or is shorter than it should be; no number was free for the
/// frame's descriptors (`EMFILE`).
pub(super) fn take_out(mut frame: Frame) -> io::Result<Packed> {
    if is_cut(&frame) {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    let flags = frame.header.flags;
    if flags & FILED == 0 {
        return Ok(Packed::Long(Encoded { bytes: frame.payload, fds: frame.fds }));
    }
    let cut_off = || io::Error::other("a large message is not in its file");
    let len = frame.payload.first_chunk().map(|len| u32::from_le_bytes(*len) as usize);
    let (len, file) = len.zip(frame.fds.pop()).ok_or_else(cut_off)?;
    let mut bytes = Vec::new();
    chunk::copy(file.as_fd(), 0, len, &mut bytes)?;
    if bytes.len() != len {
        return Err(cut_off());
    }
    Ok(if flags & BARE != 0 {
        Packed::Bare(bytes)
    } else {
        Packed::Long(Encoded { bytes, fds: frame.fds })
    })
}

/// What stands in place of a result that was not to be had.
pub(super) fn lost(error: &io::Error) -> Packed {
    let mut batch = BatchEncoder::default();
    let why = TaskError::Io(format!("a result is lost: {error}"));
    let encoded = batch.push_marked(&why).and_then(|()| batch.finish());
    // Whoever decodes nothing finds no result either.
    encoded.map_or_else(|_| Packed::default(), Packed::from)
}
