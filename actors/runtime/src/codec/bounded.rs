//! Decoding of what programs have made that are no relatives.
//!
//! Owns the bound on what a length in such bytes may claim: the usual decoder makes room for a
//! text or a string of bytes before it looks how many of them have come. It must never refuse
//! what is whole. Neighbour: `codec`, which asks whether a decode is bounded.

use super::{CONFIG, DecodeError, undecodable};
use serde::de::DeserializeOwned;
use std::any::type_name;
use std::cell::Cell;

thread_local! {
    static IS_BOUNDED: Cell<bool> = const { Cell::new(false) };
}

/// What this thread decodes while `act` runs is bounded.
pub(crate) fn bounded<T>(act: impl FnOnce() -> T) -> T {
    /// Restores it also when a `Deserialize` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            IS_BOUNDED.set(self.0);
        }
    }
    let _restore = Restore(IS_BOUNDED.replace(true));
    act()
}

#[inline]
pub(super) fn is_bounded() -> bool {
    IS_BOUNDED.get()
}

/// The value that these bytes begin with, and how many of them it takes. No claim is for more
/// than some times of what there is: a number that takes one byte counts as 16 at most.
#[cold]
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    use bincode::serde::decode_from_slice;
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    /// A manager takes no message of 16 MiB; what is longer than this is a relative's.
    const LONGEST: usize = 32 * MIB;
    let read = match bytes.len() {
        0..KIB => decode_from_slice(bytes, CONFIG.with_limit::<{ 32 * KIB }>()),
        KIB..MIB => decode_from_slice(bytes, CONFIG.with_limit::<{ 32 * MIB }>()),
        MIB..LONGEST => decode_from_slice(bytes, CONFIG.with_limit::<{ 32 * LONGEST }>()),
        _ => decode_from_slice(bytes, CONFIG),
    };
    read.map_err(|why| undecodable(type_name::<T>(), &why))
}
