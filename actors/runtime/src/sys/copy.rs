//! Bytes that go into and out of memory which others may write at the same time.
//!
//! Owns how they go: by atomic operations, as large as the places allow, so that what is
//! moved as one piece does not tear. It must never make a reference to that memory.
//! Neighbour: `cells`, which knows what lies where.

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence};

/// Copies bytes out of shared memory. `unit` is the alignment of what lies there: a power
/// of two that place and length are multiples of. No piece of that size (at most 8) tears.
///
/// # Safety
/// Both places are valid for `len` bytes, and do not overlap; `from` is a multiple of `unit`.
#[inline]
pub(super) unsafe fn copy_out(from: NonNull<u8>, to: *mut u8, len: usize, unit: usize) {
    let from = from.as_ptr();
    // SAFETY: each step below stays within `len`, and is aligned: a single value of 2, 4 or
    // 8 bytes has that alignment, `unit` is one of both, and words are taken at words only.
    unsafe {
        match (len, unit) {
            (1, _) => to.write(AtomicU8::from_ptr(from).load(Acquire)),
            (2, 2..) => {
                to.cast::<u16>().write_unaligned(AtomicU16::from_ptr(from.cast()).load(Acquire));
            }
            (4, 4..) => {
                to.cast::<u32>().write_unaligned(AtomicU32::from_ptr(from.cast()).load(Acquire));
            }
            (8, 8..) => {
                to.cast::<u64>().write_unaligned(AtomicU64::from_ptr(from.cast()).load(Acquire));
            }
            _ => {
                let one = |at: usize| match unit {
                    1 => to.add(at).write(AtomicU8::from_ptr(from.add(at)).load(Relaxed)),
                    2 => {
                        let one = AtomicU16::from_ptr(from.add(at).cast()).load(Relaxed);
                        to.add(at).cast::<u16>().write_unaligned(one);
                    }
                    _ => {
                        let one = AtomicU32::from_ptr(from.add(at).cast()).load(Relaxed);
                        to.add(at).cast::<u32>().write_unaligned(one);
                    }
                };
                let (head, tail) = split(from, len);
                (0..head).step_by(unit).for_each(one);
                for at in (head..tail).step_by(8) {
                    let word = AtomicU64::from_ptr(from.add(at).cast()).load(Relaxed);
                    to.add(at).cast::<u64>().write_unaligned(word);
                }
                (tail..len).step_by(unit).for_each(one);
                fence(Acquire);
            }
        }
    }
}

/// Copies bytes into shared memory; as [`copy_out`].
///
/// # Safety
/// As [`copy_out`], with the places exchanged.
#[inline]
pub(super) unsafe fn copy_in(from: *const u8, to: NonNull<u8>, len: usize, unit: usize) {
    let to = to.as_ptr();
    // SAFETY: as in `copy_out`.
    unsafe {
        match (len, unit) {
            (1, _) => AtomicU8::from_ptr(to).store(from.read(), Release),
            (2, 2..) => {
                AtomicU16::from_ptr(to.cast()).store(from.cast::<u16>().read_unaligned(), Release);
            }
            (4, 4..) => {
                AtomicU32::from_ptr(to.cast()).store(from.cast::<u32>().read_unaligned(), Release);
            }
            (8, 8..) => {
                AtomicU64::from_ptr(to.cast()).store(from.cast::<u64>().read_unaligned(), Release);
            }
            _ => {
                fence(Release);
                let one = |at: usize| match unit {
                    1 => AtomicU8::from_ptr(to.add(at)).store(from.add(at).read(), Relaxed),
                    2 => {
                        let one = from.add(at).cast::<u16>().read_unaligned();
                        AtomicU16::from_ptr(to.add(at).cast()).store(one, Relaxed);
                    }
                    _ => {
                        let one = from.add(at).cast::<u32>().read_unaligned();
                        AtomicU32::from_ptr(to.add(at).cast()).store(one, Relaxed);
                    }
                };
                let (head, tail) = split(to, len);
                (0..head).step_by(unit).for_each(one);
                for at in (head..tail).step_by(8) {
                    let word = from.add(at).cast::<u64>().read_unaligned();
                    AtomicU64::from_ptr(to.add(at).cast()).store(word, Relaxed);
                }
                (tail..len).step_by(unit).for_each(one);
            }
        }
    }
}

/// Where the whole words begin and where they end, in bytes from `at`.
fn split(at: *const u8, len: usize) -> (usize, usize) {
    let head = at.align_offset(8).min(len);
    (head, len - (len - head) % 8)
}
