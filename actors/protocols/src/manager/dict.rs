//! A managed dict: keys in the order in which they came.
//!
//! Owns the pairs. Iterating asks for some keys at a time; each answer names the dict's
//! form, so that an iteration over keys that came or went is an error, as in Python.

use super::ordered::Ordered;
use super::{DictCall, Fault, Place, Reply, Value};

#[derive(Debug, Clone)]
pub(super) struct Dict<V> {
    pairs: Ordered<V, V>,
}

impl<V: Value> Dict<V> {
    pub(super) fn new(pairs: Vec<(V, V)>) -> Self {
        let mut this = Self { pairs: Ordered::new() };
        this.update(pairs);
        this
    }

    fn update(&mut self, pairs: Vec<(V, V)>) {
        for (key, value) in pairs {
            self.pairs.insert(key, value);
        }
    }

    pub(super) fn call(&mut self, call: DictCall<V>) -> Reply<V> {
        let pairs = &mut self.pairs;
        let found = |value: Option<V>| value.map_or(Reply::None, Reply::Value);
        match call {
            DictCall::Get(key) => found(pairs.get(&key).cloned()),
            DictCall::Set(key, value) => {
                pairs.insert(key, value);
                Reply::Done
            }
            DictCall::Replace(key, value) => found(pairs.insert(key, value)),
            DictCall::SetDefault(key, value) => {
                if let Some(known) = pairs.get(&key) {
                    return Reply::Value(known.clone());
                }
                pairs.insert(key, value.clone());
                Reply::Value(value)
            }
            DictCall::Pop(key) => found(pairs.remove(&key)),
            DictCall::PopItem => {
                pairs.pop(true).map_or(Reply::None, |pair| Reply::Pairs(vec![pair]))
            }
            DictCall::Contains(key) => Reply::Bool(pairs.has(&key)),
            DictCall::Len => Reply::Number(pairs.len() as u64),
            DictCall::Clear => {
                pairs.clear();
                Reply::Done
            }
            DictCall::Keys => Reply::Values(pairs.iter().map(|(key, _)| key.clone()).collect()),
            DictCall::Values => {
                Reply::Values(pairs.iter().map(|(_, value)| value.clone()).collect())
            }
            DictCall::Items => Reply::Pairs(
                pairs.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            ),
            DictCall::Update(more) => {
                self.update(more);
                Reply::Done
            }
            DictCall::Next { form: Some(form), .. } if form != pairs.form() => {
                Reply::Fault(Fault::Changed)
            }
            DictCall::Next { position, most, backwards, .. } => {
                let mut beyond = pairs.beyond(position, backwards);
                let mut last = None;
                let keys = beyond.by_ref().take(most as usize).map(|(place, key)| {
                    last = Some(place);
                    key.clone()
                });
                let keys = keys.collect();
                let position = last.filter(|_| beyond.next().is_some());
                Reply::Keys { form: pairs.form(), position, keys }
            }
        }
    }

    pub(super) fn fetch(&self, place: &Place<V>) -> Result<Vec<V>, Fault> {
        match place {
            Place::Key(key) => Ok(self.pairs.get(key).cloned().into_iter().collect()),
            Place::All => Ok(self
                .pairs
                .iter()
                .flat_map(|(key, value)| [key.clone(), value.clone()])
                .collect()),
            Place::Index(_) => Err(Fault::NoSuchMethod),
        }
    }

    pub(super) fn store(&mut self, place: Place<V>, mut values: Vec<V>) -> Result<(), Fault> {
        match place {
            Place::Key(_) if values.len() > 1 => return Err(Fault::Slice),
            Place::Key(key) => drop(match values.pop() {
                Some(value) => self.pairs.insert(key, value),
                None => self.pairs.remove(&key),
            }),
            Place::All => {
                let mut values = values.into_iter();
                self.pairs.clear();
                while let (Some(key), Some(value)) = (values.next(), values.next()) {
                    self.pairs.insert(key, value);
                }
            }
            Place::Index(_) => return Err(Fault::NoSuchMethod),
        }
        Ok(())
    }
}
