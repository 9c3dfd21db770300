//! A managed set.
//!
//! Owns the members, in the order in which they came.

use super::ordered::Ordered;
use super::{Fault, Place, Reply, SetCall, Union, Value};

#[derive(Debug, Clone)]
pub(super) struct Set<V> {
    members: Ordered<V, ()>,
}

impl<V: Value> Set<V> {
    pub(super) fn new(items: Vec<V>) -> Self {
        let mut members = Ordered::new();
        for item in items {
            members.insert(item, ());
        }
        Self { members }
    }

    fn items(&self) -> Vec<V> {
        self.members.iter().map(|(item, ())| item.clone()).collect()
    }

    pub(super) fn call(&mut self, call: SetCall<V>) -> Reply<V> {
        let members = &mut self.members;
        match call {
            SetCall::Add(item) => Reply::Bool(members.insert(item, ()).is_none()),
            SetCall::Remove(item) => Reply::Bool(members.remove(&item).is_some()),
            SetCall::Pop => members.pop(false).map_or(Reply::None, |(item, ())| Reply::Value(item)),
            SetCall::Contains(item) => Reply::Bool(members.has(&item)),
            SetCall::Len => Reply::Number(members.len() as u64),
            SetCall::Clear => {
                members.clear();
                Reply::Done
            }
            SetCall::Items => Reply::Values(self.items()),
            SetCall::Combine { how, other, in_place } => {
                let combined = self.combine(how, other);
                if in_place {
                    *self = combined;
                    Reply::Done
                } else {
                    Reply::Values(combined.items())
                }
            }
            SetCall::Relate(other) => {
                let other = Self::new(other).members;
                let common = members.iter().filter(|(item, ())| other.has(item)).count();
                Reply::Relation {
                    is_subset: common == members.len(),
                    is_superset: common == other.len(),
                    is_disjoint: common == 0,
                }
            }
        }
    }

    fn combine(&self, how: Union, other: Vec<V>) -> Self {
        let other = Self::new(other);
        let of = |these: &Self, those: &Self, is_in: bool| {
            let items = these.members.iter().filter(|(item, ())| those.members.has(item) == is_in);
            items.map(|(item, ())| item.clone()).collect::<Vec<_>>()
        };
        Self::new(match how {
            Union::Either => [self.items(), other.items()].concat(),
            Union::Both => of(self, &other, true),
            Union::Without => of(self, &other, false),
            Union::OneOf => [of(self, &other, false), of(&other, self, false)].concat(),
        })
    }

    pub(super) fn fetch(&self, place: &Place<V>) -> Result<Vec<V>, Fault> {
        match place {
            Place::All => Ok(self.items()),
            Place::Key(_) | Place::Index(_) => Err(Fault::NoSuchMethod),
        }
    }

    pub(super) fn store(&mut self, place: Place<V>, values: Vec<V>) -> Result<(), Fault> {
        match place {
            Place::All => {
                *self = Self::new(values);
                Ok(())
            }
            Place::Key(_) | Place::Index(_) => Err(Fault::NoSuchMethod),
        }
    }
}
