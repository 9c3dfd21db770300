//! Locks and their kin: shared words that processes change themselves.
//!
//! Owns `Lock`, `RLock`, `Semaphore`, `Event`, `Condition` and `Barrier` below the face. The
//! common case is a compare-and-swap in a page of the owner's that every client maps; who
//! must wait sleeps on the word. The owner only repairs what the dead leave, and waits for
//! those who have no thread to block. It must never take a step that the machines of
//! `procession_protocols::word` do not say.
//!
//! | file | owns |
//! |---|---|
//! | `page` | the page's layout, seats, cells, records |
//! | `seat` | a thread's memory of its seats |
//! | `drive` | spinning and sleeping by the clock |
//! | `handle` | from a handle to the words |
//! | `host`, `waiters` | both sides of an object, repair, async waiters |
//! | `lock`, `semaphore`, `event`, `condition`, `barrier` | each kind |
//! | `rlock`, `private` | the other kinds of lock |
//! | `held` | what a taker has |
//! | `watched` | waits that would never end |
//! | `probe` | where tests stop a process |

mod barrier;
mod condition;
mod drive;
mod event;
mod handle;
mod held;
mod host;
mod lock;
mod page;
mod private;
mod probe;
mod rlock;
mod seat;
mod semaphore;
mod waiters;
mod watched;

pub use barrier::{Barrier, BarrierArrived, MAX_PARTIES};
pub use condition::{Condition, Notified};
pub use event::Event;
pub use held::Held;
pub use lock::{Death, Lock, NotHeld, RLock};
pub use page::MAX_RECORDS;
pub use private::Denied;
pub(crate) use private::PrivateLock;
pub use probe::stop_at;
pub use semaphore::{MAX_VALUE, Permit, Semaphore, TooMany};

pub use crate::sys::exclusive::{Exclusive, ExclusiveGuard};

use crate::share::ShareError;
use drive::Stopped;

/// Why a wait on shared words failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WordError {
    /// The object cannot be reached, or its owner has ended.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The wait closed a cycle of threads that wait for each other.
    #[error("this wait would never end: {0}")]
    Cycle(String),
}

impl WordError {
    fn from_stop(stopped: Stopped, gone: impl FnOnce() -> Self) -> Self {
        match stopped {
            Stopped::OwnerGone => gone(),
            Stopped::Cycle(text) => Self::Cycle(text),
        }
    }
}
