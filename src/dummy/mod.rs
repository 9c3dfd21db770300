//! Python's `multiprocessing.dummy`: the same names on threads.
//!
//! A program switches by its import: where `use procession::{Pool, Process}` gives workers in
//! processes of their own, `use procession::dummy::{Pool, Process}` gives threads of this
//! one. Queues, pipes, locks, what processes share and what managers keep work between
//! threads as they are, and are here under the same names.
//!
//! What differs, because threads are no processes:
//! - A thread cannot be ended: there is no `terminate`, `kill` or `interrupt`, and a pool's
//!   `terminate` lets the tasks go on that have begun. Tasks have no time limit.
//! - A function that aborts or faults takes the whole program along; a panic is its own
//!   task's error, as there.
//! - Nothing is encoded: closures may capture, and arguments need no serde.
//! - Statics and the current directory are everybody's.
//!
//! Owns threads as processes, pools and executors of threads. Neighbours: `process.rs`,
//! `current.rs` and `living.rs`; `pool.rs` and what it is made of, `executor.rs`; `crew.rs` has the threads.
//!
//! ```
//! use procession::dummy::{Pool, Process, Queue};
//!
//! # fn main() -> procession::Result<()> {
//! let queue = Queue::<String>::new()?;
//! let p = Process::spawn(|q: Queue<String>| q.put("from a thread".into()).unwrap(), (queue.clone(),))?;
//! assert_eq!(queue.get()?, "from a thread");
//! p.join()?;
//! let pool = Pool::new(2)?;
//! assert_eq!(pool.map(|x: u64| x * x, 0..4)?, [0, 1, 4, 9]);
//! # Ok(())
//! # }
//! ```

mod crew;
mod current;
mod executor;
mod imap;
mod living;
mod map;
mod pool;
mod process;
mod result;
mod stream;
mod tasks;

pub use crate::context::{cpu_count, freeze_support};
pub use crate::manager::{Manager, ManagerBuilder};
pub use crate::pipe::{Connection, Pipe, Receiver, Sender};
pub use crate::pool::TaskOptions;
pub use crate::queue::{JoinableQueue, Queue, SimpleQueue};
pub use crate::sync::{Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore};
pub use crate::value::{Array, RawArray, RawValue, Value};
pub use current::{CurrentProcess, current_process};
pub use executor::{ThreadExecutorBuilder, ThreadPoolExecutor};
pub use imap::Imap;
pub use living::active_children;
pub use map::{MapResults, Mapping};
pub use pool::{Pool, Pool as ThreadPool, PoolBuilder};
pub use process::{Process, ProcessBuilder, ProcessRef, Sentinel};
pub use result::AsyncResult;
pub use stream::ImapStream;
pub use tasks::Tasks;
