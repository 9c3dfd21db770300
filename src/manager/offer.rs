//! Which stock objects a server can offer under a name.
//!
//! Owns what each begins as.

use super::{
    BoundedSemaphoreProxy, DictProxy, EventProxy, JoinableQueueProxy, ListProxy, LockProxy,
    NamespaceProxy, QueueProxy, RLockProxy, SemaphoreProxy, SetProxy,
};
use procession_protocols::manager::Seed;
use procession_runtime::manager::Stored;

/// A proxy of a stock object that begins empty; see
/// [`ManagerBuilder::offer`](super::ManagerBuilder::offer).
pub trait Offered: sealed::Sealed {
    #[doc(hidden)]
    fn seed() -> Seed<Stored>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! offered {
    ($($name:ident $(<$($param:ident),+>)? => $seed:expr;)*) => {$(
        impl $(<$($param),+>)? sealed::Sealed for $name $(<$($param),+>)? {}

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
}
