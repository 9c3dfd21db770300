//! Files for bytes on their way, written anew when nobody reads them any more.
//!
//! Owns the question whether anybody does, which only the kernel can answer: whoever gets the
//! bytes gets a descriptor that was opened for reading, and the kernel counts those, also on
//! their way and in processes that die. A write lease (`F_SETLEASE`, fcntl(2)) is granted
//! when there are none; it is given back at once. It must never map: a reader copies, for
//! the file may change when it has closed it. Neighbour: `sealed` has files that stay.

use super::memory;
use super::socket::retry_interrupted;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// A file of this process's own.
#[derive(Debug)]
pub(crate) struct Chunk(File);

impl Chunk {
    /// Makes one, empty.
    ///
    /// # Errors
    /// No memory or descriptor for it, or no `/proc`.
    pub(crate) fn make() -> io::Result<Self> {
        let file = memfd_create(c"procession-chunk", MFdFlags::MFD_CLOEXEC)?;
        // Its first descriptor was not opened, so the kernel does not count it as a writer.
        OpenOptions::new().read(true).write(true).open(path(&file)).map(Self)
    }

    /// Writes these parts from its beginning on, and gives the descriptor for their readers.
    /// The caller knows that it is free.
    ///
    /// # Errors
    /// No memory or descriptor for it.
    pub(crate) fn fill(&mut self, parts: [&[u8]; 2]) -> io::Result<File> {
        self.0.write_all_at(parts[0], 0)?;
        self.0.write_all_at(parts[1], parts[0].len() as u64)?;
        File::open(path(&self.0))
    }

    /// Whether nobody can read it: no reader's descriptor is left anywhere. Copies of this
    /// process share the file with it, and are not seen.
    pub(crate) fn is_free(&self) -> bool {
        let lease = |kind: libc::c_int| {
            // SAFETY: fcntl takes integers, and the descriptor is open while `self` lives.
            unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETLEASE, kind) == 0 }
        };
        lease(libc::F_WRLCK) && lease(libc::F_UNLCK)
    }
}

fn path(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Copies `len` bytes of a file, from a place on, behind what is in `into`: fewer, when it has
/// fewer.
///
/// # Errors
/// What the system says.
pub(crate) fn copy(
    file: BorrowedFd<'_>,
    from: usize,
    len: usize,
    into: &mut Vec<u8>,
) -> io::Result<()> {
    // Whoever says how much there is may have lied: only what there is takes memory.
    let len = len.min(memory::size(file)?.saturating_sub(from));
    into.reserve(len);
    let mut done = 0;
    while done < len {
        let space = into.spare_capacity_mut().as_mut_ptr().cast();
        let at = libc::off_t::try_from(from + done).map_err(io::Error::other)?;
        // SAFETY: so much was reserved, and `done` of it is behind the length by now.
        let got = unsafe { libc::pread(file.as_raw_fd(), space, len - done, at) };
        match usize::try_from(got) {
            Ok(0) => break,
            Ok(count) => {
                done += count;
                // SAFETY: the kernel has written so many bytes there.
                unsafe { into.set_len(into.len() + count) };
            }
            Err(_) => retry_interrupted()?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn it_is_free_when_its_last_reader_is_gone() {
        let mut chunk = Chunk::make().unwrap();
        assert!(chunk.is_free());
        let reader = chunk.fill([b"fi", b"rst"]).unwrap();
        let copy_of_it = reader.try_clone().unwrap();
        drop(reader);
        assert!(!chunk.is_free());
        // Also on its way.
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        let parts = [io::IoSlice::new(b"x")];
        super::super::socket::send(a.as_fd(), &parts, &[copy_of_it]).unwrap();
        assert!(!chunk.is_free());
        drop(b);
        assert!(chunk.is_free());

        let reader = chunk.fill([b"", b"2nd"]).unwrap();
        let mut bytes = b">".to_vec();
        copy(reader.as_fd(), 0, 3, &mut bytes).unwrap();
        assert_eq!(bytes, b">2nd");
        copy(reader.as_fd(), 1, 9, &mut bytes).unwrap();
        assert_eq!(bytes, b">2ndndst");
        assert!(reader.write_at(b"x", 0).is_err());
    }

    #[test]
    fn a_length_beyond_the_file_takes_no_memory() {
        let mut chunk = Chunk::make().unwrap();
        let reader = chunk.fill([b"sh", b"ort"]).unwrap();
        let mut bytes = Vec::new();
        copy(reader.as_fd(), 1, u32::MAX as usize, &mut bytes).unwrap();
        assert_eq!(bytes, b"hort");
        copy(reader.as_fd(), 9, u32::MAX as usize, &mut bytes).unwrap();
        assert_eq!(bytes, b"hort");
        assert!(bytes.capacity() < 1024, "{}", bytes.capacity());
    }
}
