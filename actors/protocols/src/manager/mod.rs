//! Managed objects: what a manager's server keeps, and what may be asked of it.
//!
//! Owns the stock objects as pure machines over values that they never look into: a value
//! is compared and hashed, nothing else, since a server does not know its users' types. A
//! call is answered at once or waits in the machine; whoever waits is answered by somebody
//! else's call, by its deadline, or not at all when it is gone. It must never read a clock
//! or a socket: the runtime's `manager` feeds a machine and sends its answers. Who keeps an
//! object alive is `custody`'s business.
//!
//! | file | owns |
//! |---|---|
//! | `call` | what is asked and answered |
//! | `list`, `dict`, `set`, `array` | containers; `ordered` is what two of them stand on |
//! | `queue` | queues |
//! | `lock` | locks, recursive ones, and the conditions on them |
//! | `semaphore`, `event`, `barrier` | their kin |
//! | `calls` | a client's calls under way on a stream, and who reads the answers; `slots` is where they are put |
//! | `flow` | which of those calls are written together |
//! | `map` | the same calls over other values |
//! | `python` | Python's words for all of it |

mod array;
mod barrier;
mod call;
mod calls;
mod dict;
mod event;
mod flow;
mod list;
mod lock;
mod map;
mod ordered;
pub mod python;
mod queue;
mod semaphore;
mod set;
mod slots;

pub use calls::{CALL_NUMBERS, Calls, MAX_TASKS, NotBegun, Over, Told, Turn};
pub use flow::{Change, Flow};

pub use call::{
    ArrayCall, BarrierCall, Call, DictCall, EventCall, Fault, ListCall, LockCall, Place, QueueCall,
    Range, Reply, SemaphoreCall, SetCall, Union,
};

use crate::custody::ClientId;
use array::Array;
use barrier::Barrier;
use dict::Dict;
use event::Event;
use list::List;
use lock::Lock;
use queue::Queue;
use semaphore::Semaphore;
use serde::{Deserialize, Serialize};
use set::Set;
use std::collections::HashSet;
use std::hash::Hash;

/// What an object keeps: encoded, compared as it is.
pub trait Value: Clone + Eq + Hash {}

impl<V: Clone + Eq + Hash> Value for V {}

/// Who calls: a thread of a client. Recursive locks ask which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// The process.
    pub client: ClientId,
    /// The thread, by a number of the client's own choice.
    pub thread: u64,
}

/// So many calls by which a client took a recursive lock, or permits that may have been given
/// back, are remembered. Whoever takes one back does it soon.
const MOST_TAKEN: usize = 1024;

/// A call's number at its object; later calls have higher ones.
pub type Ticket = u64;

/// Answers, each with the call that it is for.
pub type Answers<V> = Vec<(Ticket, Reply<V>)>;

/// A stock object before it is made: its kind and what it begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seed<V> {
    /// A list of these.
    List(Vec<V>),
    /// A dict of these; a later pair replaces an earlier one of the same key.
    Dict(Vec<(V, V)>),
    /// A set of these.
    Set(Vec<V>),
    /// Cells whose number never changes. A managed value is one cell.
    Array(Vec<V>),
    /// A queue, with a bound or without, joinable or not.
    Queue {
        /// Most items that it holds; `None` is no bound.
        capacity: Option<u64>,
        /// Whether items belong to the queue until they are said to be done.
        joinable: bool,
    },
    /// A lock, recursive or not.
    Lock {
        /// Whether its holder may take it again.
        recursive: bool,
    },
    /// A semaphore.
    Semaphore {
        /// How many may pass at first.
        value: u64,
        /// Whether there are never to be more.
        bounded: bool,
    },
    /// An event that is not set.
    Event,
    /// A barrier.
    Barrier {
        /// How many meet.
        parties: u32,
        /// How long one waits that says nothing else, in milliseconds.
        patience_ms: Option<u64>,
        /// Whether the last to come acts before the others pass.
        acts: bool,
    },
}

/// A stock object.
#[derive(Debug, Clone)]
pub struct Machine<V>(Stock<V>);

#[derive(Debug, Clone)]
enum Stock<V> {
    List(List<V>),
    Dict(Dict<V>),
    Set(Set<V>),
    Array(Array<V>),
    Queue(Queue<V>),
    Lock(Lock),
    Semaphore(Semaphore),
    Event(Event),
    Barrier(Barrier),
}

impl<V: Value> Machine<V> {
    /// Makes an object.
    pub fn new(seed: Seed<V>) -> Self {
        Self(match seed {
            Seed::List(items) => Stock::List(List::new(items)),
            Seed::Dict(pairs) => Stock::Dict(Dict::new(pairs)),
            Seed::Set(items) => Stock::Set(Set::new(items)),
            Seed::Array(cells) => Stock::Array(Array::new(cells)),
            Seed::Queue { capacity, joinable } => Stock::Queue(Queue::new(capacity, joinable)),
            Seed::Lock { recursive } => Stock::Lock(Lock::new(recursive)),
            Seed::Semaphore { value, bounded } => {
                Stock::Semaphore(Semaphore::new(value, bounded.then_some(value)))
            }
            Seed::Event => Stock::Event(Event::default()),
            Seed::Barrier { parties, patience_ms, acts } => {
                Stock::Barrier(Barrier::new(parties, patience_ms, acts))
            }
        })
    }

    /// The kind's name, as Python calls it.
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Stock::List(_) => "list",
            Stock::Dict(_) => "dict",
            Stock::Set(_) => "set",
            Stock::Array(_) => "Array",
            Stock::Queue(queue) if queue.is_joinable() => "JoinableQueue",
            Stock::Queue(_) => "Queue",
            Stock::Lock(lock) if lock.is_recursive() => "RLock",
            Stock::Lock(_) => "Lock",
            Stock::Semaphore(semaphore) if semaphore.is_bounded() => "BoundedSemaphore",
            Stock::Semaphore(_) => "Semaphore",
            Stock::Event(_) => "Event",
            Stock::Barrier(_) => "Barrier",
        }
    }

    /// Makes a condition on a lock: its number. `None` on anything else.
    pub fn add_condition(&mut self) -> Option<u32> {
        match &mut self.0 {
            Stock::Lock(lock) => Some(lock.add_condition()),
            _ => None,
        }
    }

    /// Carries out a call. Its answer is among those that are due, unless it waits.
    pub fn call(&mut self, caller: Caller, ticket: Ticket, call: Call<V>, due: &mut Answers<V>) {
        let reply = match (&mut self.0, call) {
            (Stock::List(list), Call::List(call)) => list.call(call),
            (Stock::Dict(dict), Call::Dict(call)) => dict.call(call),
            (Stock::Set(set), Call::Set(call)) => set.call(call),
            (Stock::Array(array), Call::Array(call)) => array.call(call),
            (Stock::Queue(queue), Call::Queue(call)) => {
                return queue.call(caller.client, ticket, call, due);
            }
            (Stock::Lock(lock), Call::Lock(call)) => {
                return lock.call(caller, ticket, call, due);
            }
            (Stock::Semaphore(semaphore), Call::Semaphore(call)) => {
                return semaphore.call(caller.client, ticket, call, due);
            }
            (Stock::Event(event), Call::Event(call)) => {
                return event.call(caller.client, ticket, call, due);
            }
            (Stock::Barrier(barrier), Call::Barrier(call)) => {
                return barrier.call(caller.client, ticket, call, due);
            }
            _ => Reply::Fault(Fault::NoSuchMethod),
        };
        due.push((ticket, reply));
    }

    /// How long the call may wait, in milliseconds, if its caller says nothing.
    pub fn patience_ms(&self, call: &Call<V>) -> Option<u64> {
        match (&self.0, call) {
            (Stock::Barrier(barrier), Call::Barrier(BarrierCall::Wait)) => barrier.patience_ms(),
            _ => None,
        }
    }

    /// The time of a call that waits is up.
    pub fn expire(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        match &mut self.0 {
            Stock::Queue(queue) => queue.expire(ticket, due),
            Stock::Lock(lock) => lock.expire(ticket, due),
            Stock::Semaphore(semaphore) => semaphore.expire(ticket, due),
            Stock::Event(event) => event.expire(ticket, due),
            Stock::Barrier(barrier) => barrier.expire(ticket, due),
            Stock::List(_) | Stock::Dict(_) | Stock::Set(_) | Stock::Array(_) => {}
        }
    }

    /// Nobody waits for the answer to this call any more. What it was given, if it was
    /// answered just now, goes back.
    pub fn cancel(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        match &mut self.0 {
            Stock::Queue(queue) => queue.cancel(ticket, due),
            Stock::Lock(lock) => lock.cancel(ticket, due),
            Stock::Semaphore(semaphore) => semaphore.cancel(ticket, due),
            Stock::Event(event) => {
                event.cancel(ticket);
            }
            Stock::Barrier(barrier) => barrier.cancel(ticket, due),
            Stock::List(_) | Stock::Dict(_) | Stock::Set(_) | Stock::Array(_) => {}
        }
    }

    /// The calls that were given what they may have to give back: an item that is not known to
    /// have arrived, a lock, a permit, an action.
    pub fn given(&self) -> HashSet<Ticket> {
        match &self.0 {
            Stock::Queue(queue) => queue.given().collect(),
            Stock::Lock(lock) => lock.given().collect(),
            Stock::Semaphore(semaphore) => semaphore.given().collect(),
            Stock::Barrier(barrier) => barrier.given().into_iter().collect(),
            Stock::Event(_) | Stock::List(_) | Stock::Dict(_) | Stock::Set(_) | Stock::Array(_) => {
                HashSet::new()
            }
        }
    }

    /// A client is gone: what it held or waited for is put right. Said once, after its last
    /// call.
    pub fn gone(&mut self, client: ClientId, due: &mut Answers<V>) {
        match &mut self.0 {
            Stock::Queue(queue) => queue.gone(client, due),
            Stock::Lock(lock) => lock.gone(client, due),
            Stock::Semaphore(semaphore) => semaphore.gone(client, due),
            Stock::Event(event) => event.gone(client),
            Stock::Barrier(barrier) => barrier.gone(client, due),
            Stock::List(_) | Stock::Dict(_) | Stock::Set(_) | Stock::Array(_) => {}
        }
    }

    /// What is at a place, for a change in one step: nothing, one value, or all.
    ///
    /// # Errors
    /// [`Fault`]: there is no such place in this kind of object.
    pub fn fetch(&self, place: &Place<V>) -> Result<Vec<V>, Fault> {
        match &self.0 {
            Stock::List(list) => list.fetch(place),
            Stock::Dict(dict) => dict.fetch(place),
            Stock::Array(array) => array.fetch(place),
            Stock::Set(set) => set.fetch(place),
            _ => Err(Fault::NoSuchMethod),
        }
    }

    /// Puts values in the place of those that were fetched from it. None at a dict's key
    /// removes it.
    ///
    /// # Errors
    /// [`Fault`]: so many values do not fit the place.
    pub fn store(&mut self, place: Place<V>, values: Vec<V>) -> Result<(), Fault> {
        match &mut self.0 {
            Stock::List(list) => list.store(place, values),
            Stock::Dict(dict) => dict.store(place, values),
            Stock::Array(array) => array.store(place, values),
            Stock::Set(set) => set.store(place, values),
            _ => Err(Fault::NoSuchMethod),
        }
    }
}
