//! Pages of shared words, and sleeping on them.
//!
//! Owns the making of a page's file (an anonymous one, which takes memory only where it is
//! reserved), references into a mapped page, and the futex calls. What lies where is
//! decided above, in `crate::words`; what a word means, in the protocols.

use super::memory::{Mapping, set_size};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::time::{ClockId, clock_gettime};
use procession_protocols::word::Native;
use procession_protocols::word::barrier::BarrierWords;
use procession_protocols::word::condition::{Bell, ConditionWords};
use procession_protocols::word::event::EventWords;
use procession_protocols::word::lock::LockWords;
use procession_protocols::word::semaphore::SemaphoreWords;
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

/// Makes a page's file of so many bytes, none of which takes memory yet.
pub(crate) fn sparse(len: usize) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = memfd_create(c"procession-words", flags)?;
    set_size(file.as_fd(), len)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// Reserves memory for a part of a page's file, so that using it cannot fail any more.
pub(crate) fn reserve(file: BorrowedFd<'_>, part: Range<usize>) -> io::Result<()> {
    let at = i64::try_from(part.start).map_err(|_| Errno::EFBIG)?;
    let len = i64::try_from(part.len()).map_err(|_| Errno::EFBIG)?;
    loop {
        match fallocate(file.as_fd(), FallocateFlags::empty(), at, len) {
            Err(Errno::EINTR) => {}
            done => return Ok(done?),
        }
    }
}

/// What may lie in a page.
///
/// # Safety
///
/// It consists of atomic words only: any bytes are a value of it, and other processes may
/// change them at any time.
pub(crate) unsafe trait Words {}

// SAFETY: an atomic word.
unsafe impl Words for AtomicU32 {}
// SAFETY: an atomic word.
unsafe impl Words for AtomicU64 {}
// SAFETY: so many atomic words.
unsafe impl<T: Words, const N: usize> Words for [T; N] {}
// SAFETY: a C struct of atomic words, as are those below.
unsafe impl Words for LockWords<Native> {}
// SAFETY: as above.
unsafe impl Words for SemaphoreWords<Native> {}
// SAFETY: as above.
unsafe impl Words for EventWords<Native> {}
// SAFETY: as above.
unsafe impl Words for ConditionWords<Native> {}
// SAFETY: as above.
unsafe impl Words for Bell<Native> {}
// SAFETY: as above.
unsafe impl Words for BarrierWords<Native> {}

/// What stands at the beginning of a page.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Header {
    /// The highest seat that was ever taken.
    pub(crate) highest: AtomicU32,
    /// How many records were ever given out.
    pub(crate) records: AtomicU32,
    /// The last number that a watched wait got.
    pub(crate) turns: AtomicU32,
}

/// A seat: a thread that uses the page.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct SeatWords {
    /// The client whose thread it is; 0 is nobody.
    pub(crate) client: AtomicU32,
    /// The thread's number in its process.
    pub(crate) thread: AtomicU32,
    /// On which it waits for a condition.
    pub(crate) bell: Bell<Native>,
    /// The lock that it waits for and the number of that wait, when the wait is watched.
    pub(crate) waits: AtomicU64,
    /// Its name, for people.
    pub(crate) name: [AtomicU64; 5],
}

/// A lock's record.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct LockRecord {
    pub(crate) words: LockWords<Native>,
    /// Who held it last and died with it.
    pub(crate) dead_pid: AtomicU32,
    /// Which seat took it last, and in which turn.
    pub(crate) last: AtomicU32,
    pub(crate) dead_name: [AtomicU64; 4],
}

// SAFETY: a C struct of atomic words.
unsafe impl Words for Header {}
// SAFETY: as above.
unsafe impl Words for SeatWords {}
// SAFETY: as above.
unsafe impl Words for LockRecord {}

/// Words in a mapped page, which stays mapped as long as this exists.
#[derive(Debug)]
pub(crate) struct View<T> {
    at: NonNull<T>,
    mapping: Arc<Mapping>,
}

// SAFETY: it gives shared references to atomic words only.
unsafe impl<T: Words> Send for View<T> {}
// SAFETY: as above.
unsafe impl<T: Words> Sync for View<T> {}

impl<T: Words> View<T> {
    /// The words at an offset. `None` when they don't lie whole and aligned in the page.
    pub(crate) fn new(mapping: &Arc<Mapping>, offset: usize) -> Option<Self> {
        let end = offset.checked_add(size_of::<T>())?;
        if end > mapping.len() || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: the offset lies in the mapping, which begins at a page.
        let at = unsafe { mapping.at().add(offset) }.cast();
        Some(Self { at, mapping: mapping.clone() })
    }
}

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        Self { at: self.at, mapping: self.mapping.clone() }
    }
}

impl<T: Words> Deref for View<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `new` saw that it lies in the mapping, which `self` keeps; any bytes are a
        // value of `T`, and all who change them do so by atomic operations.
        unsafe { self.at.as_ref() }
    }
}

/// A row of words in a mapped page.
#[derive(Debug)]
pub(crate) struct Table<T> {
    first: View<T>,
    len: usize,
}

impl<T: Words> Table<T> {
    /// `len` of them from an offset on. `None` when they don't lie in the page.
    pub(crate) fn new(mapping: &Arc<Mapping>, offset: usize, len: usize) -> Option<Self> {
        let size = size_of::<T>().checked_mul(len)?;
        let fits = offset.checked_add(size)? <= mapping.len();
        fits.then(|| View::new(mapping, offset)).flatten().map(|first| Self { first, len })
    }

    /// One of them.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        if at >= self.len {
            return None;
        }
        // SAFETY: `new` saw that all of them lie in the mapping; see `View::deref`.
        Some(unsafe { self.first.at.add(at).as_ref() })
    }

    /// One of them, to keep.
    pub(crate) fn view(&self, at: usize) -> Option<View<T>> {
        self.get(at).map(|one| View { at: NonNull::from(one), mapping: self.first.mapping.clone() })
    }
}

/// How a sleep on a word ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// By a wake, because the word was another already, or for no reason.
    Woken,
    /// At its end.
    Over,
}

/// Sleeps while the word is `while_is`, at most so long, until a wake by one of these bits.
pub(crate) fn sleep(word: &AtomicU32, while_is: u32, bits: u32, at_most: Duration) -> Sleep {
    let until = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(Duration::ZERO, Duration::from)
        .saturating_add(at_most);
    let until = libc::timespec {
        tv_sec: until.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: until.subsec_nanos().into(),
    };
    // SAFETY: the word outlives the call, as does the time, and the kernel writes to
    // neither. The bitset form takes the moment, not the duration.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            while_is,
            &raw const until,
            std::ptr::null::<u32>(),
            bits,
        )
    };
    let timed_out = result != 0 && Errno::last() == Errno::ETIMEDOUT;
    if timed_out { Sleep::Over } else { Sleep::Woken }
}

/// Wakes at most `count` sleepers on the word by these bits; gives how many there were.
pub(crate) fn wake(word: &AtomicU32, count: u32, bits: u32) -> u32 {
    // SAFETY: the word outlives the call, in which the kernel only looks for its sleepers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE_BITSET,
            count.min(i32::MAX.cast_unsigned()),
            std::ptr::null::<libc::timespec>(),
            std::ptr::null::<u32>(),
            bits,
        )
    };
    u32::try_from(result).unwrap_or(0)
}

/// On how many processors this process may run.
pub(crate) fn processors() -> usize {
    let all = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
    all.map_or(1, |set| {
        (0..nix::sched::CpuSet::count()).filter(|at| set.is_set(*at).unwrap_or(false)).count()
    })
}
