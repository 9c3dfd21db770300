//! Python's pickles, as plain data.
//!
//! Owns reading (`read`), writing (`write`) and the handful of classes that may stand in one
//! (`classes`). A pickle is a program for a small machine with a stack; the reader here runs
//! it, but has no way to call anything: a class that is not in the table is an error, and so
//! is everything that asks for code. What a reader may use of depth and memory is bounded by
//! [`Limits`], whatever the bytes say. Source: the opcodes of `pickletools.py` in `CPython`.
//! Neighbour: `dynamic` (the data).

mod classes;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::read;
pub use write::{write, write_iterator};

/// What a pickle may cost its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deeply values may be nested.
    pub depth: usize,
    /// About how much memory values may take, in bytes.
    pub memory: usize,
}

impl Default for Limits {
    /// 128 deep, as JSON's; 64 MiB.
    fn default() -> Self {
        Self { depth: 128, memory: 64 * 1024 * 1024 }
    }
}

/// Longest integer that is read, in bytes. Longer ones are nobody's number.
pub const LONGEST_INT: usize = 4096;

/// Bytes are no pickle that is read here, or a value cannot be pickled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The bytes end too early.
    #[error("the pickle ends in the middle")]
    Truncated,
    /// Something follows behind the end.
    #[error("{0} bytes left over behind the pickle")]
    LeftOver(usize),
    /// An operation that is none, or that asks for more than plain data.
    #[error("the pickle has the operation {0:#04x}, which is none of plain data")]
    Opcode(u8),
    /// A class that is not known, which would be code.
    #[error("the pickle names {0}, and only plain data is read")]
    Class(String),
    /// The operations do not fit together.
    #[error("the pickle is damaged: {0}")]
    Damaged(&'static str),
    /// It is nested too deeply, or holds itself.
    #[error("the pickle is nested more than {0} deep, or holds itself")]
    TooDeep(usize),
    /// It takes too much memory.
    #[error("the pickle takes more than {0} bytes of memory")]
    TooLarge(usize),
}
