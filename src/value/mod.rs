//! Values and arrays in memory that processes share.
//!
//! | file | what |
//! |---|---|
//! | `raw`, `locked` | `RawValue`: one value, no lock; `Value`: with a lock |
//! | `raw_array`, `array` | `RawArray`: several, no lock; `Array`: with a lock |
//! | `exclusive` | `ExclusiveArray`: whose guard is a slice |
//! | `lock` | what these ask of a lock |
//! | `sharedctypes` | Python's names |
//!
//! Owns the handles. No safe call hands out a reference to memory that another process, or
//! another handle here, may write. Where the memory is, and how handles to it travel, is
//! the runtime's.

mod array;
mod exclusive;
mod lock;
mod locked;
mod raw;
mod raw_array;
pub mod sharedctypes;

pub use array::{Array, ArrayGuard};
pub use exclusive::{ExclusiveArray, ExclusiveGuard};
pub use lock::ValueLock;
pub use locked::{Value, ValueGuard};
pub use procession_runtime::memory::Integer;
pub use raw::RawValue;
pub use raw_array::RawArray;

use crate::sync::SyncError;
use procession_runtime::memory::OutOfRange;
use procession_runtime::share::ShareError;

/// Why a shared value could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The memory is not to be had: its owner has ended, or the system refused.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The lock is not to be had.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The array has not so many values.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

impl From<std::io::Error> for ValueError {
    fn from(error: std::io::Error) -> Self {
        Self::Share(error.into())
    }
}
