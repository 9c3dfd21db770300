//! From the numbered values of a pickle to a tree.
//!
//! Owns how deep it may be and what it may cost: a value that is named often is copied each
//! time, which a hostile pickle doubles with every line. One that holds itself is too deep.

use super::{Budget, Class, Id, Node};
use crate::dynamic::{Dynamic, Exception, Proxy, Token};
use crate::pickle::{Limits, PickleError};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

pub(super) fn build(nodes: &[Node<'_>], root: Id, limits: Limits) -> Result<Dynamic, PickleError> {
    let budget = Budget { left: limits.memory, all: limits.memory };
    Builder { nodes, budget, deepest: limits.depth }.value(root, 0)
}

struct Builder<'a> {
    nodes: &'a [Node<'a>],
    budget: Budget,
    deepest: usize,
}

const UNFIT: PickleError = PickleError::Damaged("an object has other parts than it should");

impl Builder<'_> {
    fn value(&mut self, id: Id, depth: usize) -> Result<Dynamic, PickleError> {
        if depth >= self.deepest {
            return Err(PickleError::TooDeep(self.deepest));
        }
        self.budget.spend(size_of::<Dynamic>())?;
        let deeper = depth + 1;
        Ok(match &self.nodes[id] {
            Node::None => Dynamic::None,
            Node::Bool(value) => Dynamic::Bool(*value),
            Node::Int(bytes) => {
                self.budget.spend(bytes.len())?;
                Dynamic::integer(bytes)
            }
            Node::Float(value) => Dynamic::Float(*value),
            Node::Str(text) => {
                self.budget.spend(text.len())?;
                Dynamic::Str(text.to_string())
            }
            Node::Bytes(bytes) => {
                self.budget.spend(bytes.len())?;
                Dynamic::bytes(&bytes[..])
            }
            Node::List(items) => Dynamic::List(self.values(items, deeper)?),
            Node::Tuple(items) => Dynamic::Tuple(self.values(items, deeper)?),
            Node::Set(items) => Dynamic::Set(self.members(items, deeper)?),
            Node::FrozenSet(items) => Dynamic::FrozenSet(self.members(items, deeper)?),
            Node::Dict(entries) => {
                let mut keys = Keys::default();
                let mut built: Vec<(Dynamic, Dynamic)> = Vec::new();
                for (key, value) in entries {
                    let key = self.value(*key, deeper)?;
                    let value = self.value(*value, deeper)?;
                    // The last value counts, at the place of the first.
                    match keys.place(&key, built.len(), |at| &built[at].0)? {
                        Some(at) => built[at].1 = value,
                        None => built.push((key, value)),
                    }
                }
                Dynamic::Dict(built)
            }
            Node::Slice([from, to, by]) => Dynamic::Slice(Box::new([
                self.value(*from, deeper)?,
                self.value(*to, deeper)?,
                self.value(*by, deeper)?,
            ])),
            Node::Range(parts) => Dynamic::List(self.range(*parts, deeper)?),
            Node::Numbers(format, bytes) => {
                let count = format.count(bytes).ok_or(UNFIT)?;
                self.budget.spend(count.saturating_mul(size_of::<Dynamic>()))?;
                Dynamic::List(format.read(bytes))
            }
            Node::Exception(class, args) => {
                self.budget.spend(class.len())?;
                let args = self.values(args, deeper)?;
                Dynamic::Exception(Exception { class: class.clone(), args })
            }
            Node::Token(_) => Dynamic::Token(self.token(id, deeper)?),
            Node::Proxy(parts) => Dynamic::Proxy(Box::new(self.proxy(*parts, deeper)?)),
            Node::Class(_) => return Err(PickleError::Damaged("a class is no value")),
        })
    }

    fn values(&mut self, items: &[Id], depth: usize) -> Result<Vec<Dynamic>, PickleError> {
        items.iter().map(|item| self.value(*item, depth)).collect()
    }

    fn members(&mut self, items: &[Id], depth: usize) -> Result<Vec<Dynamic>, PickleError> {
        let mut keys = Keys::default();
        let mut built: Vec<Dynamic> = Vec::new();
        for item in items {
            let item = self.value(*item, depth)?;
            if keys.place(&item, built.len(), |at| &built[at])?.is_none() {
                built.push(item);
            }
        }
        Ok(built)
    }

    /// The integers of a range: what is iterated over them is what Python would have made.
    fn range(&mut self, parts: [Id; 3], depth: usize) -> Result<Vec<Dynamic>, PickleError> {
        let mut part = |id| self.value(id, depth)?.as_int().map(i128::from).ok_or(UNFIT);
        let (from, to, by) = (part(parts[0])?, part(parts[1])?, part(parts[2])?);
        let distance = if by > 0 { to - from } else { from - to };
        if by == 0 || distance <= 0 {
            return if by == 0 { Err(UNFIT) } else { Ok(Vec::new()) };
        }
        let count = (distance - 1) / by.abs() + 1;
        let cost = count.saturating_mul(size_of::<Dynamic>() as i128);
        self.budget.spend(usize::try_from(cost).unwrap_or(usize::MAX))?;
        Ok((0..count).map(|n| Dynamic::integer(&(from + n * by).to_le_bytes())).collect())
    }

    fn text(&mut self, id: Id) -> Result<String, PickleError> {
        let Node::Str(text) = &self.nodes[id] else { return Err(UNFIT) };
        self.budget.spend(text.len())?;
        Ok(text.to_string())
    }

    fn token(&mut self, id: Id, depth: usize) -> Result<Token, PickleError> {
        let Node::Token(Some([typeid, address, id])) = &self.nodes[id] else { return Err(UNFIT) };
        let address = self.value(*address, depth)?;
        if !matches!(address, Dynamic::Tuple(_) | Dynamic::Str(_) | Dynamic::Bytes(_)) {
            return Err(UNFIT);
        }
        Ok(Token { typeid: self.text(*typeid)?, address: Box::new(address), id: self.text(*id)? })
    }

    fn proxy(&mut self, parts: [Id; 4], depth: usize) -> Result<Proxy, PickleError> {
        let [class, token, serializer, rest] = parts;
        let Node::Class(Class::Proxy(class)) = &self.nodes[class] else { return Err(UNFIT) };
        let Node::Dict(rest) = &self.nodes[rest] else { return Err(UNFIT) };
        let mut exposed = None;
        for (key, value) in rest {
            if self.text(*key)? == "exposed" {
                let (Node::Tuple(methods) | Node::List(methods)) = &self.nodes[*value] else {
                    return Err(UNFIT);
                };
                exposed = Some(methods.iter().map(|id| self.text(*id)).collect::<Result<_, _>>()?);
            }
        }
        let (token, serializer) = (self.token(token, depth)?, self.text(serializer)?);
        Ok(Proxy { class: class.clone(), token, serializer, exposed })
    }
}

/// Finds keys that are the same, by a hash that nobody outside can foresee.
#[derive(Default)]
struct Keys {
    hasher: RandomState,
    places: HashMap<u64, Vec<usize>>,
}

impl Keys {
    /// Where a key that is the same stands; else it will stand at `next`.
    fn place<'k>(
        &mut self,
        key: &Dynamic,
        next: usize,
        known: impl Fn(usize) -> &'k Dynamic,
    ) -> Result<Option<usize>, PickleError> {
        if !key.is_hashable() {
            return Err(PickleError::Damaged("a key can change, so it is none"));
        }
        let places = self.places.entry(self.hasher.hash_one(key)).or_default();
        let found = places.iter().copied().find(|at| known(*at) == key);
        if found.is_none() {
            places.push(next);
        }
        Ok(found)
    }
}
