//! Arithmetic on integers in shared memory, each operation one step.
//!
//! Owns which types are such integers. Neighbour: `cells`, whose cells these work on.

use super::cells::{Plain, SharedCell};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

/// An integer on which shared arithmetic works without a lock: `i8` to `i64`, `u8` to
/// `u64`, `isize`, `usize`.
pub trait Integer: Plain + PartialEq + sealed::Sealed {
    #[doc(hidden)]
    fn fetch_add(cell: SharedCell<'_, Self>, value: Self) -> Self;
    #[doc(hidden)]
    fn fetch_sub(cell: SharedCell<'_, Self>, value: Self) -> Self;
    #[doc(hidden)]
    fn fetch_or(cell: SharedCell<'_, Self>, value: Self) -> Self;
    #[doc(hidden)]
    fn fetch_and(cell: SharedCell<'_, Self>, value: Self) -> Self;
    #[doc(hidden)]
    fn fetch_max(cell: SharedCell<'_, Self>, value: Self) -> Self;
    #[doc(hidden)]
    fn fetch_min(cell: SharedCell<'_, Self>, value: Self) -> Self;
    #[doc(hidden)]
    fn swap(cell: SharedCell<'_, Self>, value: Self) -> Self;
    #[doc(hidden)]
    fn compare_exchange(cell: SharedCell<'_, Self>, current: Self, new: Self)
    -> Result<Self, Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! integers {
    ($($integer:ty, $atomic:ty;)*) => {$(
        impl sealed::Sealed for $integer {}

        impl Integer for $integer {
            integers!($integer, $atomic: fetch_add, fetch_sub, fetch_or, fetch_and, fetch_max,
                fetch_min, swap);

            fn compare_exchange(cell: SharedCell<'_, Self>, current: Self, new: Self) -> Result<Self, Self> {
                // SAFETY: as for the others.
                unsafe { <$atomic>::from_ptr(cell.place()) }
                    .compare_exchange(current, new, SeqCst, SeqCst)
            }
        }
    )*};
    ($integer:ty, $atomic:ty: $($operation:ident),*) => {$(
        #[inline]
        fn $operation(cell: SharedCell<'_, Self>, value: Self) -> Self {
            // SAFETY: the cell is mapped and aligned, and this process accesses it by atomic
            // operations, or by a slice whose holder promised to be alone.
            unsafe { <$atomic>::from_ptr(cell.place()) }.$operation(value, SeqCst)
        }
    )*};
}

integers! {
    i8, AtomicI8;
    i16, AtomicI16;
    i32, AtomicI32;
    i64, AtomicI64;
    isize, AtomicIsize;
    u8, AtomicU8;
    u16, AtomicU16;
    u32, AtomicU32;
    u64, AtomicU64;
    usize, AtomicUsize;
}
