//! Bytes in a file that nobody can change any more.
//!
//! Owns the one way in which bytes that another process wrote may be looked at where they
//! are: the file is sealed against writing and shrinking, which cannot be undone, so they
//! are as constant as the program itself. Neighbour: `memory` maps what may change.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// What must be sealed before a reference may be made.
const CONSTANT: SealFlag = SealFlag::F_SEAL_WRITE.union(SealFlag::F_SEAL_SHRINK);

/// Makes a sealed file of these parts, without a name.
///
/// # Errors
/// No memory or descriptor for it.
pub(crate) fn make(parts: [&[u8]; 2]) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"procession-item", flags)?);
    file.write_all(parts[0])?;
    file.write_all(parts[1])?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(CONSTANT | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL))?;
    Ok(file)
}

/// A sealed file's bytes, mapped.
#[derive(Debug)]
pub(crate) struct Sealed {
    at: NonNull<u8>,
    len: usize,
}

impl Sealed {
    /// Maps the first `len` bytes; `None` when the file is not sealed or has fewer, or the
    /// system refuses.
    pub(crate) fn map(file: BorrowedFd<'_>, len: usize) -> Option<Self> {
        let length = NonZeroUsize::new(len)?;
        let seals = SealFlag::from_bits_retain(fcntl(file, FcntlArg::F_GET_SEALS).ok()?);
        let size = usize::try_from(fstat(file).ok()?.st_size).ok()?;
        if !seals.contains(CONSTANT) || size < len {
            return None;
        }
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
        // SAFETY: the kernel chooses the place, so nothing that is mapped is replaced.
        let at = unsafe { mmap(None, length, ProtFlags::PROT_READ, flags, file, 0).ok()? };
        Some(Self { at: at.cast(), len })
    }
}

impl Deref for Sealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped with this length while `self` lives. The seals, which were there
        // before and stay for ever, keep everybody from writing the file or cutting it off.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.at.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn only_what_cannot_change_is_shown() {
        let mut file = make([b"const", b"ant"]).unwrap();
        assert_eq!(&*Sealed::map(file.as_fd(), 8).unwrap(), b"constant");
        assert!(Sealed::map(file.as_fd(), 9).is_none());
        assert!(Sealed::map(file.as_fd(), 0).is_none());
        assert!(file.write_all(b"x").is_err() && file.set_len(1).is_err());
        let open = File::from(memfd_create(c"open", MFdFlags::MFD_CLOEXEC).unwrap());
        open.set_len(8).unwrap();
        assert!(Sealed::map(open.as_fd(), 8).is_none());
    }
}
