//! The tasks that have not ended, found by their ids.
//!
//! Owns the giving of ids. An id says the place of its task as well as its number, so that
//! finding one is one look without any hashing; a place is used again when its task has
//! ended, and the number tells the two apart.

use super::effect::TaskId;

/// As long as nothing is in it, a table keeps no more places than these.
const KEPT: usize = 1024;

/// A table that gives ids.
#[derive(Debug)]
pub(super) struct ById<V> {
    places: Vec<Option<(u64, V)>>,
    free: Vec<usize>,
    /// The last number that was given.
    last: u64,
}

impl<V> Default for ById<V> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), last: 0 }
    }
}

impl<V> ById<V> {
    pub(super) fn insert(&mut self, value: V) -> TaskId {
        self.last += 1;
        let kept = Some((self.last, value));
        let place = if let Some(place) = self.free.pop() {
            self.places[place] = kept;
            place
        } else {
            self.places.push(kept);
            self.places.len() - 1
        };
        TaskId { number: self.last, place }
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&V> {
        match self.places.get(id.place)? {
            Some((number, value)) if *number == id.number => Some(value),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut V> {
        match self.places.get_mut(id.place)? {
            Some((number, value)) if *number == id.number => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, id: TaskId) {
        if self.get(id).is_none() {
            return;
        }
        self.places[id.place] = None;
        self.free.push(id.place);
        if self.is_empty() && self.places.len() > KEPT {
            (self.places, self.free) = (Vec::new(), Vec::new());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of all that is in it, in no order.
    pub(super) fn ids(&self) -> impl Iterator<Item = TaskId> + '_ {
        let taken = |(place, kept): (usize, &Option<(u64, V)>)| {
            kept.as_ref().map(|(number, _)| TaskId { number: *number, place })
        };
        self.places.iter().enumerate().filter_map(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_an_old_id_finds_nothing() {
        let mut table = ById::default();
        let (a, b) = (table.insert('a'), table.insert('b'));
        table.remove(a);
        table.remove(a);
        let c = table.insert('c');
        assert_eq!((a.place, table.len()), (c.place, 2));
        assert_eq!((table.get(a), table.get(b), table.get(c)), (None, Some(&'b'), Some(&'c')));
        assert!(table.get_mut(a).is_none() && a < b && b < c);
        assert_eq!(table.ids().collect::<Vec<_>>(), [c, b]);
    }

    #[test]
    fn many_places_are_given_back_when_all_have_ended() {
        let mut table = ById::default();
        let ids: Vec<_> = (0..=KEPT).map(|number| table.insert(number)).collect();
        for id in &ids {
            table.remove(*id);
        }
        assert!(table.is_empty() && table.places.capacity() == 0);
        let next = table.insert(7);
        assert_eq!((table.get(ids[0]), table.get(next)), (None, Some(&7)));
    }
}
