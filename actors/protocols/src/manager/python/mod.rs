//! Managed objects for Python programs: its words for what is asked and answered.
//!
//! Owns the reading of requests, the methods of each kind of object as calls of a machine,
//! and answers and faults as Python's values and exceptions. Values are plain data
//! throughout; whoever keeps them encoded maps them on the way ([`Call::map`],
//! [`Reply::try_map`](super::Reply::try_map)). It must never wait or hold an object. Source:
//! `Lib/multiprocessing/managers.py` of `CPython`, class `Server`. Neighbours: `pickle`, which
//! reads and writes what is said here.
//!
//! | file | owns |
//! |---|---|
//! | `request` | what a client sends, and the four forms of an answer |
//! | `args` | a call's arguments, by place and by name |
//! | `containers` | lists, dicts, namespaces, arrays |
//! | `set` | sets |
//! | `waiting` | queues, locks and their kin |
//! | `make` | what is asked for by the name of a kind |
//! | `answer` | replies and faults |

mod answer;
mod args;
mod containers;
mod make;
mod request;
mod set;
#[cfg(test)]
mod tests;
mod waiting;

pub use answer::{exception_of, read_fault};
pub use args::{Args, Refused, error};
pub use make::{Made, kind_of, make};
pub use request::{Answer, Request, Verb};

use super::Call;
use crate::dynamic::Dynamic;

/// How a method is carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// By a call of the object.
    Call {
        /// The call.
        call: Call<Dynamic>,
        /// How long it may wait, in milliseconds.
        limit_ms: Option<u64>,
        /// What its reply becomes.
        then: Then,
    },
    /// It is answered already.
    Say(Dynamic),
    /// By an iterator over the keys of a dict.
    Iterate {
        /// Whether the youngest is the first.
        backwards: bool,
    },
    /// By sorting a list.
    Sort {
        /// Whether the greatest is the first.
        backwards: bool,
    },
}

/// What the reply to a call becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// What it says.
    Itself,
    /// `None`, whatever it says.
    Nothing,
    /// What it says, but this where there is no such value.
    Or(Dynamic),
    /// What it says, but a `KeyError` of this where there is no such value.
    OrKey(Dynamic),
    /// `None`, but a `KeyError` of this where there is no such value.
    NothingOrKey(Dynamic),
    /// As the attribute of this name.
    OrAttribute(String),
    /// `None`, but an `AttributeError` of this where there is no such value.
    NothingOrAttribute(String),
    /// Whether the number is 0.
    IsZero,
    /// Its text, after this in front.
    Text(&'static str),
    /// A list of the values, and of these behind them.
    And(Vec<Dynamic>),
    /// A list of the values, so many times over.
    Times(usize),
    /// A dict of the pairs, with these over them or, if it is so, below.
    Merged(Vec<(Dynamic, Dynamic)>, bool),
    /// An iterator over the values.
    Iterator,
    /// An iterator over the values, the last first.
    Backwards,
    /// A set of the values.
    Set,
    /// A set of these without the values.
    From(Vec<Dynamic>),
    /// A tuple of the one pair.
    Pair,
    /// One of the three things that are known of a barrier.
    OfBarrier(OfBarrier),
    /// Whether the relation of two sets is this.
    Related(Relation),
    /// A namespace of the pairs, as text.
    Namespace,
}

/// What is known of a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "Python's attributes")]
pub enum OfBarrier {
    Parties,
    Waiting,
    IsBroken,
}

/// How one set stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum Relation {
    Subset,
    ProperSubset,
    Superset,
    ProperSuperset,
    Disjoint,
}

/// How a method of an object is carried out.
///
/// `kind` is what [`Machine::kind`](super::Machine::kind) says, or `Condition`, or
/// `Namespace` or `Value` of objects that were made as such; `condition` is a condition's
/// number.
///
/// # Errors
/// [`Refused::NoSuchMethod`], and exceptions for arguments that do not fit.
pub fn step(kind: &str, condition: Option<u32>, method: &str, args: Args) -> Result<Step, Refused> {
    if matches!(method, "__repr__" | "__str__" | "#GETVALUE")
        && let Some(step) = whole(kind, method)
    {
        return Ok(step);
    }
    match kind {
        "list" => containers::list(method, args),
        "dict" | "Namespace" => containers::dict(method, args),
        "Array" | "Value" => containers::array(method, args),
        "set" => set::set(method, args),
        "Queue" | "JoinableQueue" => waiting::queue(method, args),
        "Lock" | "RLock" => waiting::lock(method, args),
        "Condition" => waiting::condition(condition.unwrap_or_default(), method, args),
        "Semaphore" | "BoundedSemaphore" => waiting::semaphore(method, args),
        "Event" => waiting::event(method, args),
        "Barrier" => waiting::barrier(method, args),
        _ => Err(Refused::NoSuchMethod),
    }
}

/// The class of the proxies of a kind that `SyncManager` has; that of all others is made of
/// the object's methods.
pub fn proxy_class(typeid: &str) -> &'static str {
    match typeid {
        "list" => "ListProxy",
        "dict" => "DictProxy",
        "set" => "SetProxy",
        "Namespace" => "NamespaceProxy",
        "Value" => "ValueProxy",
        "Array" => "ArrayProxy",
        "Lock" | "RLock" | "Semaphore" | "BoundedSemaphore" => "AcquirerProxy",
        "Condition" => "ConditionProxy",
        "Event" => "EventProxy",
        "Barrier" => "BarrierProxy",
        "Iterator" => "IteratorProxy",
        _ => "AutoProxy",
    }
}

/// What a server answers of every object: how it looks, and a copy of it.
fn whole(kind: &str, method: &str) -> Option<Step> {
    let call = |call, then| Some(Step::Call { call, limit_ms: None, then });
    let text = method != "#GETVALUE";
    match kind {
        "list" => {
            let all = super::ListCall::Slice(super::Range::default());
            call(Call::List(all), if text { Then::Text("") } else { Then::Itself })
        }
        "Array" => {
            let all = super::ArrayCall::Slice(super::Range::default());
            call(Call::Array(all), if text { Then::Text("array") } else { Then::Itself })
        }
        "Value" => {
            let get = super::ArrayCall::Get(0);
            call(Call::Array(get), if text { Then::Text("Value") } else { Then::Itself })
        }
        "dict" => {
            let then = if text { Then::Text("dict") } else { Then::Merged(Vec::new(), false) };
            call(Call::Dict(super::DictCall::Items), then)
        }
        "Namespace" if text => call(Call::Dict(super::DictCall::Items), Then::Namespace),
        "set" => {
            let then = if text { Then::Text("set") } else { Then::Set };
            call(Call::Set(super::SetCall::Items), then)
        }
        _ if text => Some(Step::Say(format!("<{kind} at a manager>").into())),
        _ => None,
    }
}

/// The methods of an object, for proxies that are made of their names.
pub fn methods(kind: &str) -> &'static [&'static str] {
    match kind {
        "list" => containers::LIST,
        "dict" => containers::DICT,
        "Namespace" => &["__getattribute__", "__setattr__", "__delattr__"],
        "Array" => &["__len__", "__getitem__", "__setitem__"],
        "Value" => &["get", "set"],
        "set" => set::METHODS,
        "Queue" | "JoinableQueue" => waiting::QUEUE,
        "Lock" | "RLock" | "Semaphore" | "BoundedSemaphore" => &["acquire", "release", "locked"],
        "Condition" => &["acquire", "release", "locked", "wait", "notify", "notify_all"],
        "Event" => &["is_set", "set", "clear", "wait"],
        "Barrier" => &["__getattribute__", "wait", "abort", "reset"],
        "Iterator" => &["__next__", "send", "throw", "close"],
        _ => &[],
    }
}
