//! What a server is asked as a whole: to make objects, to run functions, what it offers.
//!
//! Owns the offers: what a server's maker registered under a name. Functions of users run
//! on the threads of `workers`. It must never run one on the thread that brought the
//! question. Neighbours: `object` brings questions; the face decides how long the process
//! that hosts a door lives.

use super::asker::Asker;
use super::function;
use super::object::{Object, count};
use super::proxy::Proxy;
use super::stored::Stored;
use super::{Ask, far_actor, later, workers};
use crate::codec::EncodeError;
use crate::function::FunctionRef;
use crate::node;
use procession_protocols::manager::{Fault, Machine, Reply, Seed};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is offered under a name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Offer {
    /// One value, the same for everybody.
    Shared(Stored),
    /// A function that is called for each request.
    Made(Factory),
    /// A stock object, made when the server opens and the same for everybody. The number
    /// stands before the reference, and says which type of proxy it is for.
    Stock(u32, Seed<Stored>),
}

/// A function that makes what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factory {
    /// The function.
    pub function: FunctionRef,
    /// Which methods of the actor that it makes can be called; `None` is all.
    pub exposed: Option<Vec<String>>,
    /// Whether only code in the server's own process can ask for it.
    pub inside_only: bool,
}

/// A server's offers.
#[derive(Debug, Clone)]
pub struct Reception(Arc<BTreeMap<String, Offer>>);

impl Reception {
    /// Opens a server in this process; what comes back is its door, which any process may
    /// use that has it.
    ///
    /// # Errors
    /// A stock object's reference cannot be encoded.
    pub fn open(mut offers: BTreeMap<String, Offer>) -> Result<Proxy, EncodeError> {
        far_actor::serve();
        for offer in offers.values_mut() {
            if let Offer::Stock(tag, seed) = offer {
                let proxy = Proxy::host(Object::stock(Machine::new(seed.clone())));
                *offer = Offer::Shared(Stored::encode(&(*tag, &proxy), node::current().id)?);
            }
        }
        Ok(Proxy::host(Object::door(Self(Arc::new(offers)))))
    }

    /// A door to the server for which the calling thread runs a function or an actor.
    pub fn here() -> Option<Proxy> {
        let reception = HERE.with_borrow(Clone::clone)?;
        Some(Proxy::host(Object::door(reception)))
    }

    /// From now on the calling thread runs what is this server's, or nobody's.
    pub(super) fn settle(here: Option<Self>) -> Option<Self> {
        HERE.replace(here)
    }

    /// The server for which the calling thread runs.
    pub(super) fn current() -> Option<Self> {
        HERE.with_borrow(Clone::clone)
    }

    /// What is offered under this name.
    pub(super) fn offer(&self, name: &str) -> Option<&Offer> {
        self.0.get(name)
    }

    /// Answers, at once or from a worker's thread.
    pub(super) fn ask(&self, ask: Ask, asker: Asker) {
        match ask {
            Ask::Create(seed) => {
                let proxy = Proxy::host(Object::stock(Machine::new(seed)));
                asker.answer(give(&proxy));
            }
            Ask::Run { function, args } => {
                self.serve(asker, move || function::run(&function, &args, None));
            }
            Ask::Make { name, args } => match self.0.get(&name) {
                None | Some(Offer::Stock(..)) => {
                    asker.answer(Reply::Fault(Fault::NoSuchObject(name)));
                }
                Some(Offer::Shared(value)) => asker.answer(Reply::Value(value.clone())),
                Some(Offer::Made(factory)) if factory.inside_only && !asker.is_here() => {
                    asker.answer(Reply::Fault(Fault::NoSuchObject(name)));
                }
                Some(Offer::Made(factory)) => {
                    let Factory { function, exposed, .. } = factory.clone();
                    self.serve(asker, move || function::run(&function, &args, exposed.as_deref()));
                }
            },
            Ask::Names => {
                let encode = |name| Stored::encode(name, node::current().id);
                let is_inside =
                    |offer: &Offer| matches!(offer, Offer::Made(one) if one.inside_only);
                let shown = self.0.iter().filter(|(_, offer)| !is_inside(offer));
                let names: Result<Vec<_>, _> = shown.map(|(name, _)| encode(name)).collect();
                asker.answer(names.map_or_else(failed, Reply::Values));
            }
            Ask::Count => asker.answer(Reply::Number(count())),
            Ask::Call { .. } | Ask::Change { .. } | Ask::Open(_) => {
                asker.answer(Reply::Fault(Fault::NoSuchMethod));
            }
        }
    }
}

thread_local! {
    static HERE: RefCell<Option<Reception>> = const { RefCell::new(None) };
}

/// A new object's first reference goes to who asked for it.
fn give(proxy: &Proxy) -> Reply<Stored> {
    Stored::encode(proxy, node::current().id).map_or_else(failed, Reply::Value)
}

fn failed(error: EncodeError) -> Reply<Stored> {
    Reply::Fault(Fault::Failed(error.to_string()))
}

impl Reception {
    /// Runs a function on a worker's thread, and answers with its result.
    fn serve(&self, asker: Asker, run: impl FnOnce() -> Result<Stored, Fault> + Send + 'static) {
        let here = self.clone();
        workers::run(asker, move |asker| later::run(here, asker, run));
    }
}
