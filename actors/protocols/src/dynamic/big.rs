//! Integers of any size, kept exactly.
//!
//! Owns their one form: two's complement, lowest byte first, no byte more than it takes,
//! which is what pickles have. There is no arithmetic here.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};

/// An integer of any size.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BigInt(#[serde(with = "super::bytes")] Vec<u8>);

impl BigInt {
    /// From two's complement, lowest byte first.
    pub fn from_le_bytes(bytes: &[u8]) -> Self {
        let mut len = bytes.len();
        // A byte is one too many when it only repeats the sign of the one before.
        while len > 0 {
            let sign = if len > 1 { bytes[len - 2] >> 7 } else { 0 };
            if bytes[len - 1] != sign * 0xff {
                break;
            }
            len -= 1;
        }
        Self(bytes[..len].to_vec())
    }

    /// In two's complement, lowest byte first; no bytes are 0.
    pub fn to_le_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The exact value of a float that is a whole number.
    pub(super) fn from_whole(value: f64) -> Option<Self> {
        const FRACTION: u64 = 52;
        if !value.is_finite() || value.fract() != 0.0 {
            return None;
        }
        let bits = value.abs().to_bits();
        let exponent = bits >> FRACTION;
        let fraction = bits & ((1 << FRACTION) - 1) | 1 << FRACTION;
        let shift = exponent.checked_sub(1023 + FRACTION)?;
        let mut bytes = vec![0; usize::try_from(shift / 8).ok()?];
        bytes.extend_from_slice(&(u128::from(fraction) << (shift % 8)).to_le_bytes());
        if value < 0.0 {
            negate(&mut bytes);
        }
        Some(Self::from_le_bytes(&bytes))
    }

    /// The value, if it is an `i64`.
    pub fn to_i64(&self) -> Option<i64> {
        i64::try_from(self.to_i128()?).ok()
    }

    /// The value, if it is an `i128`.
    pub fn to_i128(&self) -> Option<i128> {
        let mut bytes = [self.sign_byte(); 16];
        bytes.get_mut(..self.0.len())?.copy_from_slice(&self.0);
        Some(i128::from_le_bytes(bytes))
    }

    /// Whether it is less than 0.
    pub fn is_negative(&self) -> bool {
        self.sign_byte() != 0
    }

    fn sign_byte(&self) -> u8 {
        self.0.last().map_or(0, |last| (last >> 7) * 0xff)
    }
}

fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes {
        (*byte, carry) = (!*byte).overflowing_add(carry.into());
    }
}

/// In decimal. It takes the square of the length, so it is for numbers of a size that
/// somebody reads.
impl fmt::Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GROUP: u64 = 1_000_000_000;
        let mut magnitude = self.0.clone();
        let is_negative = self.is_negative();
        if is_negative {
            magnitude.push(0xff);
            negate(&mut magnitude);
        }
        let mut groups = Vec::new();
        while magnitude.iter().any(|byte| *byte != 0) {
            let mut rest = 0;
            for byte in magnitude.iter_mut().rev() {
                let value = rest * 256 + u64::from(*byte);
                *byte = u8::try_from(value / GROUP).unwrap_or(u8::MAX);
                rest = value % GROUP;
            }
            groups.push(rest);
        }
        let mut text = groups.pop().unwrap_or(0).to_string();
        for group in groups.iter().rev() {
            let _ = write!(text, "{group:09}");
        }
        f.pad_integral(!is_negative, "", &text)
    }
}

impl fmt::Debug for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
