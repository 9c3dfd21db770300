//! Which objects Python programs know, and how many references they have.
//!
//! Owns the count: Python programs say when a proxy comes and goes. One that is killed does
//! not, and what it had made stays until the server ends, as in Python; how many there may
//! be is bounded. A proxy within a value counts for as long as the value is kept.

use crate::manager::proxy::Proxy;
use crate::manager::stored::{Keep, Stored};
use crate::sync::lock;
use procession_protocols::dynamic::Dynamic;
use procession_protocols::manager::python::{Refused, error, methods};
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, Weak};

/// Most objects that Python programs have at a server.
const MAX_PYTHON_OBJECTS: usize = 65_536;

/// What an object's number stands for.
#[derive(Clone)]
pub(super) enum Target {
    /// A stock object.
    Stock {
        proxy: Proxy,
        /// What Python calls it.
        kind: &'static str,
        /// The number of a condition at its lock.
        condition: Option<u32>,
    },
    /// An actor of a user's type.
    Actor {
        proxy: Proxy,
        /// Those of its methods that can be called; `None` is all.
        exposed: Option<Vec<String>>,
    },
    /// An iterator over the keys of a dict.
    Keys(Arc<Mutex<Keys>>),
}

/// Where an iterator over a dict's keys is.
pub(super) struct Keys {
    pub(super) dict: Proxy,
    pub(super) form: Option<u64>,
    pub(super) position: Option<u64>,
    pub(super) backwards: bool,
    pub(super) is_done: bool,
}

impl Target {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Stock { kind, .. } => kind,
            Self::Actor { .. } => "actor",
            Self::Keys(_) => "Iterator",
        }
    }

    fn methods(&self) -> Vec<String> {
        let actor = match self {
            Self::Actor { exposed: Some(exposed), .. } => return exposed.clone(),
            Self::Actor { proxy, exposed: None } => proxy.own(),
            Self::Stock { .. } | Self::Keys(_) => None,
        };
        match actor.as_ref().and_then(|object| object.as_actor()) {
            Some(actor) => actor.methods().iter().map(|method| method.name.to_owned()).collect(),
            None => methods(self.kind()).iter().map(|&name| name.to_owned()).collect(),
        }
    }
}

struct Entry {
    target: Target,
    references: u64,
    /// The name under which it is offered, if it is the same for all who ask.
    name: Option<String>,
}

/// The objects that Python programs know.
pub(super) struct Table {
    this: Weak<Self>,
    /// In front of all numbers, so that those of another server are never taken for ours.
    mark: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    entries: HashMap<String, Entry>,
    by_name: HashMap<String, String>,
}

impl Table {
    pub(super) fn new() -> Arc<Self> {
        let mark = uuid::Uuid::new_v4().as_u64_pair().0;
        Arc::new_cyclic(|this| Self { this: this.clone(), mark, state: Mutex::default() })
    }

    /// Enters an object, with the first reference to it.
    pub(super) fn enter(&self, target: Target, name: Option<&str>) -> Result<String, Refused> {
        let state = &mut *lock(&self.state);
        if state.entries.len() >= MAX_PYTHON_OBJECTS {
            return Err(error("MemoryError", "the manager has as many objects as it may").into());
        }
        state.last += 1;
        let id = format!("{:x}{:08x}", self.mark, state.last);
        if let Some(name) = name {
            state.by_name.insert(name.to_owned(), id.clone());
        }
        let entry = Entry { target, references: 1, name: name.map(str::to_owned) };
        state.entries.insert(id.clone(), entry);
        Ok(id)
    }

    /// One more reference to what is offered under a name, if it is known already.
    pub(super) fn offered(&self, name: &str) -> Option<String> {
        let state = &mut *lock(&self.state);
        let id = state.by_name.get(name)?.clone();
        state.entries.get_mut(&id)?.references += 1;
        Some(id)
    }

    pub(super) fn find(&self, id: &str) -> Option<Target> {
        lock(&self.state).entries.get(id).map(|entry| entry.target.clone())
    }

    pub(super) fn methods(&self, id: &str) -> Option<Vec<String>> {
        lock(&self.state).entries.get(id).map(|entry| entry.target.methods())
    }

    /// One reference more; whether the object is there.
    pub(super) fn incref(&self, id: &str) -> bool {
        let state = &mut *lock(&self.state);
        let Some(entry) = state.entries.get_mut(id) else { return false };
        entry.references += 1;
        true
    }

    /// One reference less; whether the object was there.
    pub(super) fn decref(&self, id: &str) -> bool {
        let gone = {
            let state = &mut *lock(&self.state);
            let Some(entry) = state.entries.get_mut(id) else { return false };
            entry.references -= 1;
            if entry.references > 0 {
                return true;
            }
            let gone = state.entries.remove(id);
            if let Some(name) = gone.as_ref().and_then(|entry| entry.name.as_ref()) {
                state.by_name.remove(name);
            }
            gone
        };
        // What it held may hold others of this table.
        drop(gone);
        true
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.state).entries.len()
    }

    /// Each object with its number of references.
    pub(super) fn describe(&self) -> String {
        let state = &*lock(&self.state);
        let mut text = String::new();
        for (id, Entry { target, references, .. }) in &state.entries {
            let kind = target.kind();
            // Writing to a text does not fail.
            let _ = writeln!(text, "  {id}:       refcount={references}\n    {kind}");
        }
        text
    }

    /// A value of a client's, as the server keeps it. What it names of this table is held.
    pub(super) fn keep(&self, value: Dynamic) -> Stored {
        let mut keeps = Vec::new();
        self.hold_within(&value, &mut keeps);
        Stored::plain(value, keeps)
    }

    fn hold_within(&self, value: &Dynamic, keeps: &mut Vec<Keep>) {
        match value {
            Dynamic::Proxy(proxy) if self.incref(&proxy.token.id) => {
                let held = Held { table: self.this.clone(), id: proxy.token.id.clone() };
                keeps.push(Box::new(held));
            }
            Dynamic::List(items)
            | Dynamic::Tuple(items)
            | Dynamic::Set(items)
            | Dynamic::FrozenSet(items) => {
                for item in items {
                    self.hold_within(item, keeps);
                }
            }
            Dynamic::Dict(pairs) => {
                for (key, value) in pairs {
                    self.hold_within(key, keeps);
                    self.hold_within(value, keeps);
                }
            }
            _ => {}
        }
    }
}

/// A reference within a value.
struct Held {
    table: Weak<Table>,
    id: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.decref(&self.id);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::object::Object;
    use procession_protocols::dynamic::{self, Token};
    use procession_protocols::manager::{Machine, Seed};

    fn reference(id: &str) -> Dynamic {
        let token = Token { typeid: "list".into(), address: Box::new("".into()), id: id.into() };
        Dynamic::Proxy(Box::new(dynamic::Proxy {
            class: "ListProxy".into(),
            token,
            serializer: "pickle".into(),
            exposed: None,
        }))
    }

    #[test]
    fn a_long_chain_of_objects_is_dropped() {
        let table = Table::new();
        let enter = |items: Vec<Dynamic>| {
            let items = items.into_iter().map(|item| table.keep(item)).collect();
            let proxy = Proxy::host(Object::stock(Machine::new(Seed::List(items))));
            table.enter(Target::Stock { proxy, kind: "list", condition: None }, None).unwrap()
        };
        let mut last = enter(Vec::new());
        for _ in 0..50_000 {
            let next = enter(vec![reference(&last)]);
            assert!(table.decref(&last));
            last = next;
        }
        assert_eq!(table.len(), 50_001);
        table.decref(&last);
        assert_eq!(table.len(), 0);
    }
}
