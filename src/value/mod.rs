//! Values and arrays in memory that processes share.
//!
//! | file | what |
//! |---|---|
//! | `raw` | `RawValue`: one value, no lock |
//! | `raw_array` | `RawArray`: several, no lock |
//!
//! Owns the handles. No safe call hands out a reference to memory that another process, or
//! another handle here, may write. Where the memory is, and how handles to it travel, is
//! the runtime's.

mod raw;
mod raw_array;

pub use procession_runtime::memory::Integer;
pub use raw::RawValue;
pub use raw_array::RawArray;

use procession_runtime::memory::OutOfRange;
use procession_runtime::share::ShareError;

/// Why a shared value could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The memory is not to be had: its owner has ended, or the system refused.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The array has not so many values.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

impl From<std::io::Error> for ValueError {
    fn from(error: std::io::Error) -> Self {
        Self::Share(error.into())
    }
}
