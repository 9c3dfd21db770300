//! Which stock objects a server can offer under a name.
//!
//! Owns what each begins as, and the form of a reference to it. Neighbours: `builder` takes
//! offers; the runtime's `door` makes the objects, and writes references as the proxies here
//! read them.

use super::{
    ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, DictProxy, EventProxy,
    JoinableQueueProxy, ListProxy, LockProxy, NamespaceProxy, QueueProxy, RLockProxy,
    SemaphoreProxy, SetProxy, ValueProxy,
};
use procession_protocols::id::NodeId;
use procession_protocols::manager::Seed;
use procession_runtime::codec::EncodeError;
use procession_runtime::manager::{Form, Stored};
use procession_runtime::queue::tag;
use serde::Serialize;

type Result<T> = std::result::Result<T, EncodeError>;

/// A proxy of a stock object that needs nothing to begin with; see
/// [`ManagerBuilder::offer`](super::ManagerBuilder::offer).
pub trait Offered: sealed::Sealed {
    #[doc(hidden)]
    fn seed() -> Seed<Stored>;
}

/// A proxy of a stock object that begins with something; see
/// [`ManagerBuilder::offer_with`](super::ManagerBuilder::offer_with).
pub trait OfferedWith: sealed::Sealed {
    /// What it begins with: a queue's bound, a semaphore's permits, a barrier's parties, values.
    type Beginning;

    #[doc(hidden)]
    fn seed_with(beginning: Self::Beginning) -> Result<Seed<Stored>>;
}

pub(super) mod sealed {
    use procession_runtime::manager::Form;

    pub trait Sealed {
        /// How a reference to the object is written.
        fn form() -> Form;
    }
}

/// Each proxy, by how a reference to it is written.
macro_rules! forms {
    ($($name:ident $(<$($param:ident),+>)? => $form:expr;)*) => {$(
        impl $(<$($param),+>)? sealed::Sealed for $name $(<$($param),+>)? {
            fn form() -> Form {
                $form
            }
        }
    )*};
}

forms! {
    DictProxy<K, V> => Form::Typed(tag::<Self>());
    ListProxy<T> => Form::Typed(tag::<Self>());
    SetProxy<T> => Form::Typed(tag::<Self>());
    NamespaceProxy => Form::Typed(tag::<Self>());
    QueueProxy<T> => Form::Typed(tag::<Self>());
    JoinableQueueProxy<T> => Form::Typed(tag::<Self>());
    LockProxy => Form::Typed(tag::<Self>());
    RLockProxy => Form::Typed(tag::<Self>());
    SemaphoreProxy => Form::Typed(tag::<Self>());
    BoundedSemaphoreProxy => Form::Typed(tag::<Self>());
    EventProxy => Form::Typed(tag::<Self>());
    ArrayProxy<T> => Form::Typed(tag::<Self>());
    ValueProxy<T> => Form::Value(tag::<Self>());
    ConditionProxy => Form::Condition;
    BarrierProxy => Form::Barrier;
}

macro_rules! offered {
    ($($name:ident $(<$($param:ident),+>)? => $seed:expr;)*) => {$(
        impl $(<$($param),+>)? Offered for $name $(<$($param),+>)? {
            fn seed() -> Seed<Stored> {
                $seed
            }
        }
    )*};
}

offered! {
    DictProxy<K, V> => Seed::Dict(Vec::new());
    ListProxy<T> => Seed::List(Vec::new());
    SetProxy<T> => Seed::Set(Vec::new());
    NamespaceProxy => Seed::Dict(Vec::new());
    QueueProxy<T> => Seed::Queue { capacity: None, joinable: false };
    JoinableQueueProxy<T> => Seed::Queue { capacity: None, joinable: true };
    LockProxy => Seed::Lock { recursive: false };
    RLockProxy => Seed::Lock { recursive: true };
    SemaphoreProxy => Seed::Semaphore { value: 1, bounded: false };
    BoundedSemaphoreProxy => Seed::Semaphore { value: 1, bounded: true };
    EventProxy => Seed::Event;
    ConditionProxy => Seed::Lock { recursive: true };
}

macro_rules! offered_with {
    ($($name:ident $(<$($param:ident),+>)? : $beginning:ty, |$with:ident| $seed:expr;)*) => {$(
        impl $(<$($param: Serialize),+>)? OfferedWith for $name $(<$($param),+>)? {
            type Beginning = $beginning;

            fn seed_with($with: $beginning) -> Result<Seed<Stored>> {
                Ok($seed)
            }
        }
    )*};
}

offered_with! {
    DictProxy<K, V>: Vec<(K, V)>, |pairs| {
        let pairs = pairs.iter().map(|(key, value)| Ok((stored(key)?, stored(value)?)));
        Seed::Dict(pairs.collect::<Result<_>>()?)
    };
    ListProxy<T>: Vec<T>, |items| Seed::List(all_stored(&items)?);
    SetProxy<T>: Vec<T>, |items| Seed::Set(all_stored(&items)?);
    ArrayProxy<T>: Vec<T>, |cells| Seed::Array(all_stored(&cells)?);
    ValueProxy<T>: T, |value| Seed::Array(vec![stored(&value)?]);
    QueueProxy<T>: usize, |most| Seed::Queue { capacity: Some(most as u64), joinable: false };
    JoinableQueueProxy<T>: usize, |most| Seed::Queue { capacity: Some(most as u64), joinable: true };
    SemaphoreProxy: u64, |value| Seed::Semaphore { value, bounded: false };
    BoundedSemaphoreProxy: u64, |value| Seed::Semaphore { value, bounded: true };
    BarrierProxy: u32, |parties| Seed::Barrier { parties, patience_ms: None, acts: false };
}

fn stored<T: Serialize>(value: &T) -> Result<Stored> {
    // It is no server's yet.
    Stored::encode(value, NodeId::new())
}

fn all_stored<T: Serialize>(values: &[T]) -> Result<Vec<Stored>> {
    values.iter().map(stored).collect()
}
