//! Plain numbers in a batch: as they are in memory, little-endian.
//!
//! Owns which types are *flat*: numbers, and tuples of up to three of the same. Their frames
//! need neither an encoder nor a transfer, and compile to a few moves of memory. Nothing in
//! a frame says that it is flat: both ends of a batch name the same type, so one answer holds
//! for both. Neighbour: `batch` has a frame for every other value.

use super::batch::FRAME_HEADER;
use castaway::cast;

/// Most bytes of a flat value.
const WIDEST: usize = 3 * size_of::<u128>();

/// Whether it is worth asking: most types are told apart without looking at each number.
const fn may_be_flat<T>() -> bool {
    size_of::<T>() > 0 && size_of::<T>() <= WIDEST && !std::mem::needs_drop::<T>()
}

/// The frame around these numbers.
#[inline]
fn framed<const W: usize, R>(numbers: &[[u8; W]], with: impl FnOnce(&[u8]) -> R) -> R {
    /// Most bytes of numbers that fit into two registers beside their length.
    const FEW: usize = size_of::<u128>() - FRAME_HEADER;
    let numbers = numbers.as_flattened();
    let len = numbers.len();
    if len <= FEW {
        // Made in memory it would be read back in other pieces than it was written in, for
        // which a processor waits until the writes are through.
        let mut value = [0; size_of::<u128>()];
        value[..len].copy_from_slice(numbers);
        let frame = u128::from_le_bytes(value) << (8 * FRAME_HEADER) | len as u128;
        return with(&frame.to_le_bytes()[..FRAME_HEADER + len]);
    }
    let mut frame = [0; FRAME_HEADER + WIDEST];
    frame[..FRAME_HEADER].copy_from_slice(&(len as u128).to_le_bytes()[..FRAME_HEADER]);
    frame[FRAME_HEADER..][..len].copy_from_slice(numbers);
    with(&frame[..FRAME_HEADER + len])
}

/// The numbers that these bytes are, if they are so many.
#[inline]
fn apart<const W: usize, const N: usize>(bytes: &[u8]) -> Option<[[u8; W]; N]> {
    match bytes.as_chunks() {
        (numbers, []) => numbers.try_into().ok(),
        _ => None,
    }
}

/// Does something with each of the numbers' types.
macro_rules! each_number {
    ($each:ident $given:tt) => {
        each_number!($each $given
            u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);
    };
    ($each:ident $given:tt $($number:ident)*) => { $($each!($given $number);)* };
}

macro_rules! put {
    (($value:ident, $with:ident) $number:ident) => {
        if let Ok(one) = cast!($value, &$number) {
            return Some(framed(&[one.to_le_bytes()], $with));
        }
        if let Ok((one,)) = cast!($value, &($number,)) {
            return Some(framed(&[one.to_le_bytes()], $with));
        }
        if let Ok((one, two)) = cast!($value, &($number, $number)) {
            return Some(framed(&[one, two].map(|number| number.to_le_bytes()), $with));
        }
        if let Ok((one, two, three)) = cast!($value, &($number, $number, $number)) {
            return Some(framed(&[one, two, three].map(|number| number.to_le_bytes()), $with));
        }
    };
}

/// Gives the frame of a flat value to `with`. `None` for others.
#[inline]
pub(crate) fn with_frame<T: 'static, R>(value: &T, with: impl FnOnce(&[u8]) -> R) -> Option<R> {
    if const { may_be_flat::<T>() } {
        if let Ok(is) = cast!(value, &bool) {
            return Some(framed(&[[u8::from(*is)]], with));
        }
        each_number!(put(value, with));
    }
    None
}

macro_rules! get {
    (($bytes:ident, $place:ident) $number:ident) => {
        if let Ok(place) = cast!(&mut *$place, &mut Option<$number>) {
            *place = apart($bytes).map(|[one]| $number::from_le_bytes(one));
            return true;
        }
        if let Ok(place) = cast!(&mut *$place, &mut Option<($number,)>) {
            *place = apart($bytes).map(|[one]| ($number::from_le_bytes(one),));
            return true;
        }
        if let Ok(place) = cast!(&mut *$place, &mut Option<($number, $number)>) {
            *place = apart($bytes).map(|two: [_; 2]| two.map($number::from_le_bytes).into());
            return true;
        }
        if let Ok(place) = cast!(&mut *$place, &mut Option<($number, $number, $number)>) {
            *place = apart($bytes).map(|three: [_; 3]| three.map($number::from_le_bytes).into());
            return true;
        }
    };
}

/// Decodes what is in a frame, if the type is flat; the place stays empty when that is none
/// of its values. False for other types.
#[inline]
pub(super) fn get<T: 'static>(bytes: &[u8], place: &mut Option<T>) -> bool {
    if const { may_be_flat::<T>() } {
        if let Ok(place) = cast!(&mut *place, &mut Option<bool>) {
            *place = apart(bytes).and_then(|[[one]]| (one <= 1).then_some(one == 1));
            return true;
        }
        each_number!(get(bytes, place));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    /// The frame of a flat value, which is checked to give the value back.
    fn frame<T: PartialEq + Copy + Debug + 'static>(value: T) -> Vec<u8> {
        let frame = with_frame(&value, <[u8]>::to_vec).unwrap();
        let mut place = None;
        assert!(get(&frame[FRAME_HEADER..], &mut place));
        assert_eq!(place, Some(value));
        // Neither more nor fewer bytes are a value.
        assert!(get(&frame[FRAME_HEADER + 1..], &mut place) && place.is_none());
        assert!(get(&frame, &mut place) && place.is_none());
        frame
    }

    #[test]
    fn numbers_are_as_they_are_in_memory() {
        assert_eq!(frame(0x0102_u16), [2, 0, 0, 0, 2, 1]);
        assert_eq!(frame((0x0102_u16,)), [2, 0, 0, 0, 2, 1]);
        assert_eq!(frame((1_u32, 2_u32)), [8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(frame((-1_i8, 2_i8, 3_i8)), [3, 0, 0, 0, 255, 2, 3]);
        assert_eq!(frame(u128::MAX).len(), FRAME_HEADER + 16);
        assert_eq!(frame((f64::MIN, 0.5, f64::INFINITY)).len(), FRAME_HEADER + 24);
        assert_eq!(frame(true), [1, 0, 0, 0, 1]);
        assert!(get(&[2], &mut Some(true)));
    }

    #[test]
    fn others_are_not_flat() {
        assert!(with_frame(&(1_u8, 2_u16), |_| ()).is_none());
        assert!(with_frame(&"text".to_string(), |_| ()).is_none());
        assert!(!get(&[1, 0], &mut None::<[u8; 2]>));
        assert!(!get(&[], &mut Some(())));
    }
}
