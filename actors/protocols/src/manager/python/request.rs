//! What a client sends, and the forms of an answer.
//!
//! Owns the tuples. The first request of a connection is for the server as a whole; after
//! `accept_connection` each is for an object.

use super::args::Args;
use crate::dynamic::{Dynamic, Exception, Token};
use crate::pickle::{self, PickleError};

/// A request: `(id, method, args, kwds)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Which object; `None` is the server.
    pub object: Option<String>,
    /// What.
    pub method: String,
    /// With what.
    pub args: Args,
}

impl Request {
    /// Reads one; `None` of what is none.
    pub fn read(value: Dynamic) -> Option<Self> {
        let (Dynamic::Tuple(parts) | Dynamic::List(parts)) = value else { return None };
        let [object, method, args, kwds] = <[Dynamic; 4]>::try_from(parts).ok()?;
        let object = match object {
            Dynamic::None => None,
            Dynamic::Str(id) => Some(id),
            _ => return None,
        };
        let Dynamic::Str(method) = method else { return None };
        let (Dynamic::Tuple(args) | Dynamic::List(args)) = args else { return None };
        let Dynamic::Dict(kwds) = kwds else { return None };
        let named = |(name, value)| match name {
            Dynamic::Str(name) => Some((name, value)),
            _ => None,
        };
        let kwds = kwds.into_iter().map(named).collect::<Option<_>>()?;
        Some(Self { object, method, args: Args::new(args, kwds) })
    }

    /// As it is sent.
    pub fn write(
        object: Option<&str>,
        method: &str,
        args: Vec<Dynamic>,
        named: Vec<(Dynamic, Dynamic)>,
    ) -> Dynamic {
        Dynamic::Tuple(vec![
            object.map_or(Dynamic::None, Dynamic::from),
            method.into(),
            Dynamic::Tuple(args),
            Dynamic::Dict(named),
        ])
    }
}

/// What the server as a whole is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// Whether it is there.
    Dummy,
    /// Requests for objects follow; from whom.
    Accept,
    /// Make an object of this kind, or give the one that is offered.
    Create(String, Args),
    /// One reference more.
    Incref(String),
    /// One less.
    Decref(String),
    /// The methods of an object.
    Methods(String),
    /// How many objects there are.
    Count,
    /// Which.
    Debug,
    /// End.
    Shutdown,
}

impl Verb {
    /// Reads one; `None` of an unknown one, and of arguments that do not fit.
    pub fn read(method: &str, mut args: Args) -> Option<Self> {
        let verb = match method {
            "create" => {
                let kind = args.text("typeid").ok()?;
                return Some(Self::Create(kind, args));
            }
            "accept_connection" => {
                let _name = args.text("name").ok()?;
                Self::Accept
            }
            "dummy" => Self::Dummy,
            "incref" => Self::Incref(args.text("ident").ok()?),
            "decref" => Self::Decref(args.text("ident").ok()?),
            "get_methods" => match args.take("token").ok()? {
                Dynamic::Token(token) => Self::Methods(token.id),
                _ => return None,
            },
            "number_of_objects" => Self::Count,
            "debug_info" => Self::Debug,
            "shutdown" => Self::Shutdown,
            _ => return None,
        };
        args.end().ok()?;
        Some(verb)
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The result.
    Return(Dynamic),
    /// The method raised this.
    Error(Exception),
    /// The request could not be carried out; why.
    Traceback(String),
    /// The result cannot be sent; why.
    Unserializable(String),
    /// The result is an object of its own; its methods and its name.
    Proxy(Vec<String>, Token),
    /// The result is an iterator over a copy of these.
    Iterator(Vec<Dynamic>),
}

impl Answer {
    /// As it is sent.
    ///
    /// # Errors
    /// [`PickleError`] for values that have no form there.
    pub fn pickle(self) -> Result<Vec<u8>, PickleError> {
        match self {
            Self::Iterator(items) => pickle::write_iterator("#RETURN", &items),
            answer => pickle::write(&answer.write()),
        }
    }

    /// As plain data, which an iterator is not: as such it is a list.
    pub fn write(self) -> Dynamic {
        let (kind, value) = match self {
            Self::Return(value) => ("#RETURN", value),
            Self::Iterator(items) => ("#RETURN", Dynamic::List(items)),
            Self::Error(exception) => ("#ERROR", Dynamic::Exception(exception)),
            Self::Traceback(text) => ("#TRACEBACK", text.into()),
            Self::Unserializable(text) => ("#UNSERIALIZABLE", text.into()),
            Self::Proxy(methods, token) => {
                let methods = methods.into_iter().map(Dynamic::Str).collect();
                ("#PROXY", Dynamic::Tuple(vec![Dynamic::Tuple(methods), Dynamic::Token(token)]))
            }
        };
        Dynamic::Tuple(vec![kind.into(), value])
    }

    /// Reads one; `None` of what is none.
    pub fn read(value: Dynamic) -> Option<Self> {
        let (Dynamic::Tuple(parts) | Dynamic::List(parts)) = value else { return None };
        let [kind, value] = <[Dynamic; 2]>::try_from(parts).ok()?;
        Some(match (kind.as_str()?, value) {
            ("#RETURN", value) => Self::Return(value),
            ("#ERROR", Dynamic::Exception(exception)) => Self::Error(exception),
            ("#TRACEBACK", Dynamic::Str(text)) => Self::Traceback(text),
            ("#UNSERIALIZABLE", Dynamic::Str(text)) => Self::Unserializable(text),
            ("#PROXY", value) => {
                let (methods, token) = created(value, |part| match part {
                    Dynamic::Token(token) => Some(token),
                    _ => None,
                })?;
                Self::Proxy(methods, token)
            }
            _ => return None,
        })
    }

    /// What `create` returned: the object's number and its methods.
    pub fn read_created(value: Dynamic) -> Option<(String, Vec<String>)> {
        let Dynamic::Tuple(mut parts) = value else { return None };
        parts.reverse();
        let (methods, id) = created(Dynamic::Tuple(parts), |part| match part {
            Dynamic::Str(id) => Some(id),
            _ => None,
        })?;
        Some((id, methods))
    }
}

/// A pair of methods and something.
fn created<T>(value: Dynamic, second: impl Fn(Dynamic) -> Option<T>) -> Option<(Vec<String>, T)> {
    let (Dynamic::Tuple(parts) | Dynamic::List(parts)) = value else { return None };
    let [methods, rest] = <[Dynamic; 2]>::try_from(parts).ok()?;
    let text = |item: &Dynamic| item.as_str().map(str::to_owned);
    let methods = methods.as_items()?.iter().map(text).collect::<Option<_>>()?;
    Some((methods, second(rest)?))
}
