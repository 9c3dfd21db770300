//! Large arguments and results, in files beside their frames.
//!
//! Owns when bytes go into a file, and the frame that says so. A stream takes a large
//! message in pieces, each of which waits for its reader to be woken; a file is written
//! once and read once. The files are those of queues, which are used again when nobody
//! reads them any more. Neighbours: `staff` and `worker`, at both ends of a stream.

use crate::link::Frame;
use crate::queue::file_of;
use crate::sys::chunk;
use procession_protocols::wire::Header;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What a frame with this flag carries is in the file beside it; its payload says how long.
const FILED: u8 = 1 << 7;

/// Shorter ones go over the stream.
pub(super) const SHORTEST: usize = 64 * 1024;

/// The file for the bytes of these parts, if they are to travel in one. Where none is to be
/// had they go over the stream.
pub(super) fn file_for(parts: [&[u8]; 2], fds: &[OwnedFd]) -> Option<File> {
    let is_large = parts[0].len() + parts[1].len() >= SHORTEST;
    (is_large && fds.is_empty()).then(|| file_of(parts).ok()).flatten()
}

/// The frame for bytes that are in a file, and its payload. Its length is that of all.
pub(super) fn filed(mut header: Header) -> (Header, [u8; 4]) {
    let len = header.len.to_le_bytes();
    header.flags |= FILED;
    header.len = 4;
    (header, len)
}

/// Takes what a frame carries out of its file, if it is in one.
///
/// # Errors
/// The file cannot be read, or is shorter than it should be.
pub(super) fn take_out(frame: &mut Frame) -> io::Result<()> {
    if frame.header.flags & FILED == 0 {
        return Ok(());
    }
    let cut_off = || io::Error::other("a large message is not in its file");
    let len = frame.payload.first_chunk().map(|len| u32::from_le_bytes(*len) as usize);
    let (len, file) = len.zip(frame.fds.pop()).ok_or_else(cut_off)?;
    frame.payload.clear();
    chunk::copy(file.as_fd(), 0, len, &mut frame.payload)?;
    if frame.payload.len() == len { Ok(()) } else { Err(cut_off()) }
}
