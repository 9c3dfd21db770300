//! A page that the holders of one pipe share, and sleep on.
//!
//! Owns the file, its mapping, and the futex calls. What the words mean is for `crate::pipe`
//! to say. The file is sealed, so that nobody can shrink it under those who have it mapped;
//! of a file that came from elsewhere that is checked before it is mapped.

use super::memory;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Size of the page, in bytes.
const SIZE: usize = 4096;

/// How many words it has.
pub(crate) const WORDS: usize = SIZE / size_of::<AtomicU64>();

/// The page, mapped. It is unmapped when this is dropped.
#[derive(Debug)]
pub(crate) struct Page {
    file: OwnedFd,
    at: NonNull<[AtomicU64; WORDS]>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is accessed by atomics.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// Makes one; all words are 0.
    ///
    /// # Errors
    /// EMFILE and its like.
    pub(crate) fn new() -> io::Result<Self> {
        Self::map(memory::anonymous(SIZE)?)
    }

    /// Maps one that another process made.
    ///
    /// # Errors
    /// `EINVAL` when it is none; ENOMEM.
    pub(crate) fn from_file(file: OwnedFd) -> io::Result<Self> {
        if !memory::cannot_shrink(file.as_fd()) || memory::size(file.as_fd())? != SIZE {
            return Err(Errno::EINVAL.into());
        }
        Self::map(file)
    }

    fn map(file: OwnedFd) -> io::Result<Self> {
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let length = NonZeroUsize::new(SIZE).ok_or(Errno::EINVAL)?;
        // SAFETY: the kernel chooses the place, so nothing that is mapped is replaced.
        let at = unsafe { mmap(None, length, both, MapFlags::MAP_SHARED, &file, 0)? };
        Ok(Self { file, at: at.cast() })
    }

    /// Its words.
    pub(crate) fn words(&self) -> &[AtomicU64; WORDS] {
        // SAFETY: the page is mapped as long as this lives, aligned, and as large as the
        // array; the file cannot shrink. Others access it by atomics too, or break only
        // what they share with us: any value is valid.
        unsafe { self.at.as_ref() }
    }
}

impl AsFd for Page {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.at.cast(), SIZE) };
    }
}

/// The half of a word that sleepers compare.
fn low_half(word: &AtomicU64) -> *const u32 {
    let first = std::ptr::from_ref(word).cast::<u32>();
    // SAFETY: a word has two halves.
    unsafe { first.add(usize::from(cfg!(target_endian = "big"))) }
}

/// Sleeps while the low half of `word` is `value`, at most so long. It may wake early.
pub(crate) fn sleep(word: &AtomicU64, value: u32, at_most: Duration) {
    let time = libc::timespec {
        tv_sec: at_most.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    };
    // SAFETY: the word and the time are alive for the call, which writes neither. Any error
    // says that it is time to look again.
    unsafe {
        libc::syscall(libc::SYS_futex, low_half(word), libc::FUTEX_WAIT, value, &raw const time);
    }
}

/// Wakes all that sleep on `word`.
pub(crate) fn wake_all(word: &AtomicU64) {
    // SAFETY: the word is alive for the call, which only looks its address up.
    unsafe { libc::syscall(libc::SYS_futex, low_half(word), libc::FUTEX_WAKE, i32::MAX) };
}

/// What `compute` says, which is remembered in this process only: a copy of the process,
/// however it is made, asks anew.
pub(crate) fn of_this_process(compute: impl FnOnce() -> u64) -> u64 {
    struct Wiped(NonNull<AtomicU64>);
    // SAFETY: the page is never unmapped, and is accessed by atomics.
    unsafe impl Send for Wiped {}
    // SAFETY: as above.
    unsafe impl Sync for Wiped {}
    static PLACE: OnceLock<Option<Wiped>> = OnceLock::new();

    fn make() -> Option<Wiped> {
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let length = NonZeroUsize::new(SIZE)?;
        // SAFETY: a fresh mapping at a place of the kernel's choice, of which the kernel
        // gives a copy of this process a zeroed one.
        unsafe {
            let at = mmap_anonymous(None, length, both, MapFlags::MAP_PRIVATE).ok()?;
            if madvise(at, SIZE, MmapAdvise::MADV_WIPEONFORK).is_err() {
                let _ = munmap(at, SIZE);
                return None;
            }
            Some(Wiped(at.cast()))
        }
    }

    let Some(Wiped(place)) = PLACE.get_or_init(make) else { return compute() };
    // SAFETY: the page stays mapped, is zeroed or was written here, and aligned.
    let place = unsafe { place.as_ref() };
    match place.load(Ordering::Relaxed) {
        0 => {
            let value = compute();
            place.store(value, Ordering::Relaxed);
            value
        }
        value => value,
    }
}
