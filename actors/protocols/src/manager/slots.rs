//! Places that are used again and again, each use with a number of its own.
//!
//! Owns the places: a number says where, so that what is there is found without a search, and
//! which use of the place it is, so that a late word about an earlier one finds nothing. It
//! must never know what stands there. Neighbour: `calls`.

/// Bits of a number that say where.
const PLACE: u32 = 16;

/// So many bits of a number say which use it is; they begin again when all have been used.
const USE: u32 = 25;

/// Most places.
pub(super) const MOST: usize = 1 << PLACE;

/// More places than these are given up when nobody has one.
const KEPT: usize = 1 << 10;

/// Places for values.
#[derive(Debug, Clone)]
pub(super) struct Slots<S> {
    places: Vec<Place<S>>,
    /// Places that are free.
    free: Vec<usize>,
    uses: u64,
}

#[derive(Debug, Clone)]
struct Place<S> {
    number: u64,
    value: Option<S>,
}

impl<S> Slots<S> {
    /// One more than the greatest number.
    pub(super) const NUMBERS: u64 = 1 << (PLACE + USE);

    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), uses: 0 }
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Puts a value in a place; gives its number. `None` when all places are taken.
    pub(super) fn insert(&mut self, value: S) -> Option<u64> {
        let at = self.free.pop().unwrap_or(self.places.len());
        if at == MOST {
            return None;
        }
        let number = (self.uses << PLACE | at as u64) % Self::NUMBERS;
        self.uses += 1;
        let place = Place { number, value: Some(value) };
        match self.places.get_mut(at) {
            Some(known) => *known = place,
            None => self.places.push(place),
        }
        Some(number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut S> {
        let place = self.places.get_mut(at(number))?;
        place.value.as_mut().filter(|_| place.number == number)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<S> {
        let at = at(number);
        let place = self.places.get_mut(at).filter(|place| place.number == number)?;
        let value = place.value.take()?;
        self.free.push(at);
        if self.len() == 0 && self.places.len() > KEPT {
            self.places = Vec::new();
            self.free = Vec::new();
        }
        Some(value)
    }

    /// All values.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.places.iter_mut().filter_map(|place| place.value.as_mut())
    }
}

fn at(number: u64) -> usize {
    usize::try_from(number % (1 << PLACE)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_used_again_has_another_number() {
        let mut slots = Slots::new();
        let first = slots.insert('a').unwrap();
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b').unwrap();
        assert_eq!(at(first), at(second));
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut 'b'));
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn there_is_a_last_place_and_all_are_given_up_together() {
        let mut slots = Slots::new();
        let numbers: Vec<_> = (0..MOST).map(|n| slots.insert(n).unwrap()).collect();
        assert_eq!((slots.insert(0), slots.len()), (None, MOST));
        for (n, number) in numbers.into_iter().enumerate() {
            assert_eq!(slots.remove(number), Some(n));
        }
        assert_eq!((slots.len(), slots.places.capacity()), (0, 0));
        assert!(slots.insert(0).is_some_and(|number| number < Slots::<usize>::NUMBERS));
    }
}
