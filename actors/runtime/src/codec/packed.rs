//! Encoded values that are kept for a while.
//!
//! Owns where their bytes are: those of short values in place, so that a call with a few
//! numbers needs no memory of its own for them.

use super::Encoded;
use std::fmt;
use std::os::fd::OwnedFd;

/// Most bytes that are kept in place: as many as make a [`Packed`] no larger than what it is
/// for longer ones.
const MOST: usize = 39;

/// Encoded values.
#[derive(Debug)]
pub enum Packed {
    /// A few bytes.
    Short(Short),
    /// What is longer, or has descriptors beside it.
    Long(Encoded),
    /// A single value that is nothing but these bytes, which no frame surrounds.
    Bare(Vec<u8>),
}

/// A few bytes.
#[derive(Clone, Copy)]
pub struct Short {
    len: u8,
    bytes: [u8; MOST],
}

impl Short {
    /// A copy of these bytes, if they are so few.
    #[inline]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let len = u8::try_from(bytes.len()).ok()?;
        let mut short = Self { len, bytes: [0; MOST] };
        short.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(short)
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

impl Packed {
    /// A copy of these bytes.
    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        Short::new(bytes).map_or_else(
            || Self::Long(Encoded { bytes: bytes.to_vec(), fds: Vec::new() }),
            Self::Short,
        )
    }

    /// The frames.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(short) => short.bytes(),
            Self::Long(long) => &long.bytes,
            Self::Bare(_) => &[],
        }
    }

    /// The bytes that no frame surrounds; none are left.
    pub(super) fn take_bare(&mut self) -> Option<Vec<u8>> {
        match std::mem::take(self) {
            Self::Bare(bytes) => Some(bytes),
            framed => {
                *self = framed;
                None
            }
        }
    }

    /// The descriptors beside them; none are left.
    pub(super) fn take_fds(&mut self) -> Vec<OwnedFd> {
        match self {
            Self::Short(_) | Self::Bare(_) => Vec::new(),
            Self::Long(long) => std::mem::take(&mut long.fds),
        }
    }
}

impl Default for Packed {
    fn default() -> Self {
        Self::Short(Short { len: 0, bytes: [0; MOST] })
    }
}

impl From<Encoded> for Packed {
    fn from(encoded: Encoded) -> Self {
        let short = if encoded.fds.is_empty() { Short::new(&encoded.bytes) } else { None };
        short.map_or(Self::Long(encoded), Self::Short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_bytes_are_in_place_and_long_ones_beside() {
        assert!(size_of::<Packed>() <= size_of::<Encoded>());
        for len in 0..=2 * MOST {
            let bytes = vec![7; len];
            let packed = Packed::new(&bytes);
            assert_eq!(packed.bytes(), bytes);
            assert_eq!(matches!(packed, Packed::Short(_)), len <= MOST);
            let encoded = Encoded { bytes: bytes.clone(), fds: Vec::new() };
            assert_eq!(Packed::from(encoded).bytes(), bytes);
        }
        let fds = vec![std::io::pipe().unwrap().0.into()];
        let mut beside = Packed::from(Encoded { bytes: vec![1], fds });
        assert_eq!((beside.take_fds().len(), beside.take_fds().len()), (1, 0));
        assert_eq!(beside.bytes(), [1]);
    }
}
