//! Memory that processes share: files without a disk, and mappings of them.
//!
//! Owns the making of such files (anonymous: memfd; named: in `/dev/shm`, where the C
//! library's `shm_open` has them too) and their mapping. Space is reserved when a file is
//! made, so that a full file system is an error then and not a SIGBUS later. It must never
//! touch a mapped byte: `cells` does. Above it stands `crate::memory`.

use crate::sync::lock;
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, FallocateFlags, FcntlArg, OFlag, SealFlag, fallocate, fcntl, open,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mprotect, munmap};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{ftruncate, linkat};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// Where named memory is, on every Linux: `shm_open` of glibc and musl say the same.
const FOLDER: &str = "/dev/shm/";

/// Makes a file without a name, of so many bytes, zeroed, which can neither shrink nor grow.
///
/// # Errors
/// `ENOMEM` when this machine has less memory than that, and what `memfd_create` says.
pub(crate) fn anonymous(size: usize) -> io::Result<OwnedFd> {
    // Such files have no file system with a limit of its own: the kernel would go on handing
    // out pages until it had to kill for them.
    if !machine_could_hold(size) {
        return Err(Errno::ENOMEM.into());
    }
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = memfd_create(c"procession-memory", flags)?;
    reserve(file.as_fd(), size)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// Whether a file that came from another process can never get smaller than it is.
pub(crate) fn cannot_shrink(file: BorrowedFd<'_>) -> bool {
    fcntl(file, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK))
}

/// Makes a file where named memory is, of so many bytes, zeroed, for its owner only. It has
/// no name yet: [`give_name`] gives it one, complete as it is.
///
/// # Errors
/// `ENOSPC` when there is no room for it.
pub(crate) fn unnamed(size: usize) -> io::Result<OwnedFd> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let file = open(FOLDER, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    reserve(file.as_fd(), size)?;
    Ok(file)
}

/// Gives a file of [`unnamed`] its name.
///
/// # Errors
/// `EEXIST` when another has that name.
pub(crate) fn give_name(file: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    // Without this detour a file's name can be given only by those who may read any file.
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, from.as_str(), AT_FDCWD, path(name).as_str(), AtFlags::AT_SYMLINK_FOLLOW)?;
    Ok(())
}

/// Opens a file by its name.
pub(crate) fn open_name(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(open(path(name).as_str(), flags, Mode::empty())?)
}

/// Removes a name; the file stays for those who have it open.
pub(crate) fn unlink(name: &str) -> io::Result<()> {
    Ok(nix::unistd::unlink(path(name).as_str())?)
}

/// Device and number of an open file.
pub(crate) fn id(file: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = fstat(file)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Device and number of the file that has a name.
pub(crate) fn id_of_name(name: &str) -> io::Result<(u64, u64)> {
    let stat = nix::sys::stat::lstat(path(name).as_str())?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The size of an open file, in bytes.
pub(crate) fn size(file: BorrowedFd<'_>) -> io::Result<usize> {
    usize::try_from(fstat(file)?.st_size).map_err(io::Error::other)
}

fn path(name: &str) -> String {
    format!("{FOLDER}{name}")
}

/// Makes a file so long. Beyond what this process may write (`RLIMIT_FSIZE`) the system would
/// not only refuse it, but end the process by SIGXFSZ.
pub(super) fn set_size(file: BorrowedFd<'_>, size: usize) -> io::Result<i64> {
    let (most, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
    if size as u64 > most {
        return Err(Errno::EFBIG.into());
    }
    let size = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
    ftruncate(file, size)?;
    Ok(size)
}

fn reserve(file: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    let size = set_size(file, size)?;
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Err(Errno::EINTR) => {}
            done => return Ok(done?),
        }
    }
}

fn machine_could_hold(size: usize) -> bool {
    // SAFETY: all zeroes is a valid sysinfo, and the call writes only to it.
    let info = unsafe {
        let mut info: libc::sysinfo = std::mem::zeroed();
        if libc::sysinfo(&raw mut info) != 0 {
            return true;
        }
        info
    };
    let units = u128::from(info.totalram) + u128::from(info.totalswap);
    u128::try_from(size).is_ok_and(|size| size <= units * u128::from(info.mem_unit))
}

/// What a process holds that removes the names which another one leaves: a file of a name
/// that its descriptors show. Copies of the process are to drop theirs.
#[derive(Debug)]
pub(crate) struct Cleaner(#[expect(dead_code, reason = "it is held")] OwnedFd);

const CLEANER: &str = "procession-cleaner";

impl Cleaner {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(memfd_create(CLEANER, MFdFlags::MFD_CLOEXEC)?))
    }
}

/// Whether a process of ours holds a [`Cleaner`].
pub(crate) fn is_cleaner(pid: i32) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let wanted = format!("/memfd:{CLEANER}");
    descriptors.flatten().any(|descriptor| {
        let target = std::fs::read_link(descriptor.path());
        target.is_ok_and(|target| target.to_string_lossy().starts_with(&wanted))
    })
}

/// Mappings that a copy of this process must not touch.
#[derive(Debug)]
pub(crate) struct Kept(Vec<Weak<Mapping>>);

static KEPT: Mutex<Kept> = Mutex::new(Kept(Vec::new()));

/// Copies of this process are not to touch this one: a slice of it may be this process's
/// alone.
pub(crate) fn keep_from_copies(mapping: &Arc<Mapping>) {
    let Kept(kept) = &mut *lock(&KEPT);
    if kept.iter().any(|known| known.as_ptr() == Arc::as_ptr(mapping)) {
        return;
    }
    kept.retain(|known| known.strong_count() > 0);
    kept.push(Arc::downgrade(mapping));
}

/// What copies must not touch. Held across a fork.
pub(crate) fn kept_from_copies() -> MutexGuard<'static, Kept> {
    lock(&KEPT)
}

impl Kept {
    /// In a copy of a process: what the original keeps for itself is out of reach from now on.
    /// Handles map it anew.
    pub(crate) fn leave(&mut self) {
        for mapping in std::mem::take(&mut self.0).iter().filter_map(Weak::upgrade) {
            // SAFETY: the range is mapped while `mapping` lives, by this process. Who has a
            // reference to it from before the copy was made is stopped, as is meant.
            let _ = unsafe { mprotect(mapping.at.cast(), mapping.len, ProtFlags::PROT_NONE) };
        }
    }
}

/// A file's bytes in this process's memory, readable and writable, until it is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and gives no access to its
// bytes: what does (`cells`) does so atomically, or has its caller answer for it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a file.
    ///
    /// # Errors
    /// `EINVAL` when `len` is 0 or the file is smaller: pages behind its end would be SIGBUS.
    pub(crate) fn new(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(len).ok_or(Errno::EINVAL)?;
        if size(file)? < len {
            return Err(Errno::EINVAL.into());
        }
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses the place, so nothing that is mapped is replaced.
        let at = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0)? };
        Ok(Self { at: at.cast(), len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where it begins: at a page.
    pub(super) fn at(&self) -> NonNull<u8> {
        self.at
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.at.cast(), self.len) };
    }
}
