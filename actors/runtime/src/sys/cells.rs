//! Values in memory that other processes read and write.
//!
//! Owns every access to mapped bytes. Another process, or another thread by another handle,
//! may write them at any time; so no safe function here makes a reference to them: values
//! are copied in and out by atomic operations, whole when they are 1, 2, 4 or 8 bytes,
//! else word by word. Who needs a slice says, by `unsafe`, that nobody else is there.
//! Neighbours: `memory` maps; `copy` moves the bytes; `crate::memory` decides what lies where.
//!
//! Threads of one process that access the same bytes as values of different sizes race by
//! Rust's letter; LLVM, which defines such a race byte by byte, gives them old or new bytes.

use super::copy::{copy_in, copy_out};
use super::integer::Integer;
use super::memory::Mapping;
use bytemuck::{AnyBitPattern, NoUninit};
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Bound, RangeBounds};
use std::ptr::NonNull;
use std::sync::Arc;

/// A type that may lie in memory which other processes write: any bytes are a value of it,
/// it has no padding, and no pointer into the process that wrote it.
///
/// Numbers and arrays of them are; a `#[repr(C)]` struct of such fields becomes one by
/// `#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]`.
pub trait Plain: AnyBitPattern + NoUninit + Send + Sync {}

impl<T: AnyBitPattern + NoUninit + Send + Sync> Plain for T {}

/// One value in shared memory, without a lock.
///
/// A value of 1, 2, 4 or 8 bytes is read and written as a whole; of a larger one a reader
/// may see a part that is older than another, unless a lock is held by both.
pub struct SharedCell<'a, T> {
    at: NonNull<T>,
    memory: PhantomData<&'a Mapping>,
}

/// Several values of one type in shared memory, without a lock; as with [`SharedCell`] for each.
pub struct SharedCells<'a, T> {
    at: NonNull<T>,
    len: usize,
    memory: PhantomData<&'a Mapping>,
}

/// The values that were asked for are not all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("values {start}..{end} of {len}")]
pub struct OutOfRange {
    /// The first that was asked for.
    pub start: usize,
    /// The one after the last.
    pub end: usize,
    /// How many there are.
    pub len: usize,
}

impl<T> Clone for SharedCell<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SharedCell<'_, T> {}

impl<T> Clone for SharedCells<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SharedCells<'_, T> {}

// SAFETY: a cell borrows a mapping, which belongs to the process; access through it is
// atomic. The values are `Plain` wherever there is access, so they may change threads.
unsafe impl<T> Send for SharedCell<'_, T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SharedCell<'_, T> {}
// SAFETY: as above.
unsafe impl<T> Send for SharedCells<'_, T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SharedCells<'_, T> {}

impl<T: Plain + fmt::Debug> fmt::Debug for SharedCell<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedCell").field(&self.get()).finish()
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for SharedCells<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Plain> SharedCell<'_, T> {
    /// Reads it.
    #[inline]
    pub fn get(self) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the cell is aligned and mapped, as its maker checked, and the target is a
        // local of the same size. Any bytes are a value.
        unsafe {
            copy_out(self.at.cast(), value.as_mut_ptr().cast(), size_of::<T>(), align_of::<T>());
            value.assume_init()
        }
    }

    /// Where it is.
    #[inline]
    pub(super) fn place(self) -> *mut T {
        self.at.as_ptr()
    }

    /// Writes it.
    #[inline]
    pub fn set(self, value: T) {
        // SAFETY: as for `get`; all bytes of the source are initialised.
        unsafe {
            copy_in((&raw const value).cast(), self.at.cast(), size_of::<T>(), align_of::<T>());
        }
    }
}

impl<T: Integer> SharedCell<'_, T> {
    /// Adds as one step that no other change can come between, wrapping around at the ends
    /// of the type. Gives what was there before.
    #[inline]
    pub fn fetch_add(self, value: T) -> T {
        T::fetch_add(self, value)
    }

    /// Subtracts as one step, wrapping around. Gives what was there before.
    #[inline]
    pub fn fetch_sub(self, value: T) -> T {
        T::fetch_sub(self, value)
    }

    /// The bits of both, as one step. Gives what was there before.
    pub fn fetch_or(self, value: T) -> T {
        T::fetch_or(self, value)
    }

    /// The bits that both have, as one step. Gives what was there before.
    pub fn fetch_and(self, value: T) -> T {
        T::fetch_and(self, value)
    }

    /// The greater of both, as one step. Gives what was there before.
    pub fn fetch_max(self, value: T) -> T {
        T::fetch_max(self, value)
    }

    /// The smaller of both, as one step. Gives what was there before.
    pub fn fetch_min(self, value: T) -> T {
        T::fetch_min(self, value)
    }

    /// Writes as one step with reading. Gives what was there before.
    pub fn swap(self, value: T) -> T {
        T::swap(self, value)
    }

    /// Writes `new` if `current` is there, as one step.
    ///
    /// # Errors
    /// What was there instead.
    pub fn compare_exchange(self, current: T, new: T) -> Result<T, T> {
        T::compare_exchange(self, current, new)
    }
}

impl<'a, T: Plain> SharedCells<'a, T> {
    /// The `len` values at `offset` bytes; `None` when they are not all in the mapping, or
    /// not aligned for their type.
    pub(crate) fn new(memory: &'a Mapping, offset: usize, len: usize) -> Option<Self> {
        let bytes = len.checked_mul(size_of::<T>())?;
        if offset.checked_add(bytes)? > memory.len() {
            return None;
        }
        // SAFETY: the place is in the mapping, or at its end when there are no bytes.
        let at = unsafe { memory.at().add(offset) }.cast::<T>();
        at.is_aligned().then_some(Self { at, len, memory: PhantomData })
    }

    /// How many there are.
    #[inline]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// One of them; `None` when there are not so many.
    #[inline]
    pub fn at(self, index: usize) -> Option<SharedCell<'a, T>> {
        // SAFETY: it is one of ours, so the place is in the mapping.
        (index < self.len)
            .then(|| SharedCell { at: unsafe { self.at.add(index) }, memory: PhantomData })
    }

    /// The first.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub fn first(self) -> SharedCell<'a, T> {
        assert!(self.len > 0, "there is no first of none");
        SharedCell { at: self.at, memory: PhantomData }
    }

    /// Reads one; `None` when there are not so many.
    #[inline]
    pub fn get(self, index: usize) -> Option<T> {
        self.at(index).map(SharedCell::get)
    }

    /// Writes one.
    ///
    /// # Errors
    /// [`OutOfRange`] when there are not so many.
    #[inline]
    pub fn set(self, index: usize, value: T) -> Result<(), OutOfRange> {
        let out = OutOfRange { start: index, end: index.saturating_add(1), len: self.len };
        self.at(index).ok_or(out).map(|cell| cell.set(value))
    }

    /// Reads all, one after the other.
    pub fn iter(self) -> impl ExactSizeIterator<Item = T> + DoubleEndedIterator + 'a {
        // SAFETY: the indices are below the length.
        let cell =
            move |index| SharedCell { at: unsafe { self.at.add(index) }, memory: self.memory };
        (0..self.len).map(move |index| cell(index).get())
    }

    /// A part of them.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn part(self, range: impl RangeBounds<usize>) -> Result<Self, OutOfRange> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.len,
        };
        if start > end || end > self.len {
            return Err(OutOfRange { start, end, len: self.len });
        }
        // SAFETY: it begins among ours, or at their end.
        Ok(Self { at: unsafe { self.at.add(start) }, len: end - start, memory: PhantomData })
    }

    /// A copy of all.
    pub fn to_vec(self) -> Vec<T> {
        let mut values = vec![T::zeroed(); self.len];
        self.copy_out_of(&mut values);
        values
    }

    /// Copies as many as there are into `values`.
    ///
    /// # Errors
    /// [`OutOfRange`] when there are more or fewer places; none is copied then.
    pub fn read(self, values: &mut [T]) -> Result<(), OutOfRange> {
        self.same_len(values.len())?;
        self.copy_out_of(values);
        Ok(())
    }

    /// Copies all of `values` here.
    ///
    /// # Errors
    /// [`OutOfRange`] when there are more or fewer; none is copied then.
    pub fn write(self, values: &[T]) -> Result<(), OutOfRange> {
        self.same_len(values.len())?;
        // SAFETY: there is room for just so many, aligned; all their bytes are initialised.
        unsafe {
            copy_in(values.as_ptr().cast(), self.at.cast(), size_of_val(values), align_of::<T>());
        }
        Ok(())
    }

    /// Writes the same everywhere.
    pub fn fill(self, value: T) {
        for index in 0..self.len {
            // SAFETY: the index is below the length.
            SharedCell { at: unsafe { self.at.add(index) }, memory: self.memory }.set(value);
        }
    }

    fn same_len(self, len: usize) -> Result<(), OutOfRange> {
        let out = OutOfRange { start: 0, end: len, len: self.len };
        if len == self.len { Ok(()) } else { Err(out) }
    }

    fn copy_out_of(self, values: &mut [T]) {
        debug_assert_eq!(values.len(), self.len);
        // SAFETY: there are just so many, aligned, and any bytes are a value.
        unsafe {
            copy_out(
                self.at.cast(),
                values.as_mut_ptr().cast(),
                size_of_val(values),
                align_of::<T>(),
            );
        }
    }

    /// The values themselves, as a slice.
    ///
    /// # Safety
    /// While the slice lives nobody writes them: no process, and no thread of this one.
    pub unsafe fn as_slice(self) -> &'a [T] {
        // SAFETY: they are mapped, aligned, and values whatever their bytes; that they do
        // not change is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }

    /// The values themselves, as a slice to write.
    ///
    /// # Safety
    /// While the slice lives nobody else reads or writes them: no process, and no thread of
    /// this one, by whatever handle.
    pub unsafe fn as_mut_slice(self) -> &'a mut [T] {
        // SAFETY: as for `as_slice`; that nobody else is there is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

/// Cells that have been found once, with what keeps their memory mapped.
#[derive(Debug)]
pub(crate) struct Pinned<T> {
    at: NonNull<T>,
    len: usize,
    memory: Arc<Mapping>,
}

// SAFETY: as for `SharedCells`, of which this is the owning form.
unsafe impl<T> Send for Pinned<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Pinned<T> {}

impl<T: Plain> Pinned<T> {
    /// As [`SharedCells::new`].
    pub(crate) fn new(memory: Arc<Mapping>, offset: usize, len: usize) -> Option<Self> {
        let SharedCells { at, len, .. } = SharedCells::new(&memory, offset, len)?;
        Some(Self { at, len, memory })
    }

    /// The cells.
    #[inline]
    pub(crate) fn cells(&self) -> SharedCells<'_, T> {
        debug_assert!(self.memory.len() >= self.len * size_of::<T>());
        SharedCells { at: self.at, len: self.len, memory: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::anonymous;
    use std::os::fd::AsFd;

    fn mapping(len: usize) -> Mapping {
        Mapping::new(anonymous(len).unwrap().as_fd(), len).unwrap()
    }

    #[test]
    fn values_of_all_shapes_come_back() {
        let memory = mapping(4096);
        let bytes: SharedCells<'_, u8> = SharedCells::new(&memory, 0, 4096).unwrap();
        for start in 0..17 {
            for len in 0..40usize {
                let values: Vec<u8> = (1..=u8::try_from(len).unwrap()).collect();
                bytes.fill(0);
                let part = bytes.part(start..start + len).unwrap();
                part.write(&values).unwrap();
                assert_eq!(part.to_vec(), values);
                assert_eq!(bytes.iter().filter(|byte| *byte != 0).count(), len);
            }
        }
        let cell: SharedCell<'_, [u16; 5]> =
            SharedCells::new(&memory, 6, 1).unwrap().at(0).unwrap();
        cell.set([1, 2, 3, 4, 5]);
        assert_eq!(cell.get(), [1, 2, 3, 4, 5]);
        let float: SharedCell<'_, f64> = SharedCells::new(&memory, 64, 1).unwrap().at(0).unwrap();
        float.set(-4.25);
        assert_eq!(float.get().to_bits(), (-4.25f64).to_bits());
    }

    #[test]
    fn only_what_lies_in_the_mapping_and_is_aligned_is_given() {
        let memory = mapping(64);
        assert!(SharedCells::<u64>::new(&memory, 0, 8).is_some());
        assert!(SharedCells::<u64>::new(&memory, 0, 9).is_none());
        assert!(SharedCells::<u64>::new(&memory, 4, 1).is_none());
        assert!(SharedCells::<u64>::new(&memory, 64, 0).is_some());
        assert!(SharedCells::<u64>::new(&memory, usize::MAX, 1).is_none());
        assert!(SharedCells::<u64>::new(&memory, 8, usize::MAX).is_none());
        let cells = SharedCells::<u32>::new(&memory, 0, 16).unwrap();
        assert_eq!(cells.set(16, 1), Err(OutOfRange { start: 16, end: 17, len: 16 }));
        assert!(cells.get(16).is_none() && cells.at(15).is_some());
        assert!(cells.part(..=15).is_ok() && cells.part(..=16).is_err());
        assert!(cells.write(&[0; 15]).is_err() && cells.read(&mut [0; 17]).is_err());
    }

    #[test]
    fn integers_are_added_to_as_one_step() {
        const TURNS: i32 = 10_000;
        let memory = mapping(64);
        let cell = SharedCells::<i32>::new(&memory, 4, 1).unwrap().at(0).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..TURNS).for_each(|_| _ = cell.fetch_add(1)));
            }
        });
        assert_eq!(cell.swap(7), 2 * TURNS);
        assert_eq!(cell.compare_exchange(7, i32::MIN), Ok(7));
        assert_eq!(cell.fetch_sub(1), i32::MIN);
        assert_eq!(cell.get(), i32::MAX);
    }
}
