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
    /// A stock object, made when the server opens and the same for everybody.
    Stock(Form, Seed<Stored>),
    /// That object: the reference, and what a Python program has to know beside it.
    Open(Stored, Form, Option<u32>),
}

impl Offer {
    /// Whether nobody outside the server may know of it.
    fn is_inside_only(&self) -> bool {
        matches!(self, Self::Made(factory) if factory.inside_only)
    }
}

/// How the reference to a stock object is written, which is as its proxy is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// Behind a number that says which type of proxy it is for.
    Typed(u32),
    /// So is that to an array of one cell.
    Value(u32),
    /// Its lock's, and its number at that lock.
    Condition,
    /// With the number of its parties, and no action.
    Barrier,
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
            if let Offer::Stock(form, seed) = offer {
                *offer = make(*form, seed.clone())?;
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
                Some(Offer::Shared(value) | Offer::Open(value, ..)) => {
                    asker.answer(Reply::Value(value.clone()));
                }
                Some(Offer::Made(factory)) if factory.inside_only && !asker.is_here() => {
                    asker.answer(Reply::Fault(Fault::NoSuchObject(name)));
                }
                Some(Offer::Made(factory)) => {
                    let Factory { function, exposed, .. } = factory.clone();
                    self.serve(asker, move || function::run(&function, &args, exposed.as_deref()));
                }
            },
            Ask::Names => {
                let shown = self.0.iter().filter(|(_, offer)| !offer.is_inside_only());
                asker.answer(texts(shown.map(|(name, _)| name)));
            }
            Ask::Exposed(name) => {
                let is_here = asker.is_here();
                let offer = self.0.get(&name).filter(|one| is_here || !one.is_inside_only());
                asker.answer(match offer {
                    None => Reply::Fault(Fault::NoSuchObject(name)),
                    Some(Offer::Made(Factory { exposed: Some(exposed), .. })) => texts(exposed),
                    Some(_) => Reply::None,
                });
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

/// Makes a stock object that is offered.
fn make(form: Form, seed: Seed<Stored>) -> Result<Offer, EncodeError> {
    let parties = match seed {
        Seed::Barrier { parties, .. } => parties.max(1),
        _ => 0,
    };
    let mut machine = Machine::new(seed);
    let condition = (form == Form::Condition).then(|| machine.add_condition()).flatten();
    let proxy = Proxy::host(Object::stock(machine));
    let server = node::current().id;
    let reference = match form {
        Form::Typed(tag) | Form::Value(tag) => Stored::encode(&(tag, &proxy), server),
        Form::Condition => Stored::encode(&(&proxy, condition.unwrap_or_default()), server),
        Form::Barrier => Stored::encode(&(&proxy, parties, None::<()>), server),
    };
    Ok(Offer::Open(reference?, form, condition))
}

/// A new object's first reference goes to who asked for it.
fn give(proxy: &Proxy) -> Reply<Stored> {
    Stored::encode(proxy, node::current().id).map_or_else(failed, Reply::Value)
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> Reply<Stored> {
    let encoded = texts.into_iter().map(|text| Stored::encode(text, node::current().id));
    encoded.collect::<Result<_, _>>().map_or_else(failed, Reply::Values)
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
