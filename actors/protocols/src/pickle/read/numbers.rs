//! The numbers of an `array.array`.
//!
//! Owns its machine formats, and the type codes that stand for one. Source:
//! `Modules/arraymodule.c` of `CPython`, the table of `_array_reconstructor`; and
//! `Lib/multiprocessing/managers.py`, `reduce_array`, by which a manager sends the code alone.
//! Arrays of text are not read.

use crate::dynamic::Dynamic;

/// How the numbers of an array are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    size: usize,
    kind: Kind,
    is_big_endian: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Unsigned,
    Signed,
    Float,
}

impl Format {
    /// The format of this number, if it is one of numbers.
    pub(super) fn of(number: i64) -> Option<Self> {
        let (size, kind) = match number {
            0 => (1, Kind::Unsigned),
            1 => (1, Kind::Signed),
            2 | 3 => (2, Kind::Unsigned),
            4 | 5 => (2, Kind::Signed),
            6 | 7 => (4, Kind::Unsigned),
            8 | 9 => (4, Kind::Signed),
            10 | 11 => (8, Kind::Unsigned),
            12 | 13 => (8, Kind::Signed),
            14 | 15 => (4, Kind::Float),
            16 | 17 => (8, Kind::Float),
            _ => return None,
        };
        Some(Self { size, kind, is_big_endian: number > 1 && number % 2 == 1 })
    }

    /// The format that a type code has on 64-bit Linux with the lowest byte first: a manager
    /// sends the numbers as they lie in its memory, and does not say how that is.
    pub(super) fn of_code(code: &str) -> Option<Self> {
        let number = match code {
            "B" => 0,
            "b" => 1,
            "H" => 2,
            "h" => 4,
            "I" => 6,
            "i" => 8,
            "L" | "Q" => 10,
            "l" | "q" => 12,
            "f" => 14,
            "d" => 16,
            _ => return None,
        };
        Self::of(number)
    }

    /// How many numbers these bytes are; `None` when they end inside of one.
    pub(super) fn count(self, bytes: &[u8]) -> Option<usize> {
        bytes.len().is_multiple_of(self.size).then(|| bytes.len() / self.size)
    }

    /// The numbers.
    pub(super) fn read(self, bytes: &[u8]) -> Vec<Dynamic> {
        bytes.chunks_exact(self.size).map(|number| self.read_one(number)).collect()
    }

    fn read_one(self, number: &[u8]) -> Dynamic {
        // The lowest byte first, and one more for an integer without a sign.
        let mut bytes = [0; 9];
        bytes[..self.size].copy_from_slice(number);
        if self.is_big_endian {
            bytes[..self.size].reverse();
        }
        let (&[low @ .., _], [half @ .., _, _, _, _, _]) = (&bytes, bytes);
        match (self.kind, self.size) {
            (Kind::Unsigned, size) => Dynamic::integer(&bytes[..=size]),
            (Kind::Signed, size) => Dynamic::integer(&bytes[..size]),
            (Kind::Float, 4) => f64::from(f32::from_le_bytes(half)).into(),
            (Kind::Float, _) => f64::from_le_bytes(low).into(),
        }
    }
}
