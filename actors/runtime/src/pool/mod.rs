//! Pools: workers that take tasks from the process that owns them.
//!
//! Owns both ends of a worker's stream, the effects of the scheduler
//! (`procession_protocols::pool`), and the waiting of whoever wants a result. Tasks and
//! results are encoded and decoded in the threads of callers and workers only; what is
//! here moves bytes.
//!
//! ```text
//!  caller ─submit─> Core ══ stream ══> worker's main thread ─> function
//!     │              │ <══ outbox ═══       │
//!     └─wait: pumps  └──── word ────────────┘ an item is begun, or taken back
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `setup` | the words between a pool and its user |
//! | `task` | functions of tasks by name, and their calls |
//! | `arguments` | what those are called with |
//! | `worker` | a worker's process |
//! | `outbox` | how results come from a worker to its owner |
//! | `large` | what is too large for stream and outbox |
//! | `staff` | a worker as its owner sees it, and its start |
//! | `stats` | how it is doing |
//! | `core`, `state` | the scheduler's effects, and what they change |
//! | `submission` | tasks come in |
//! | `hiring` | workers come and go |
//! | `wait` | who reads the streams: a thread that waits, else the hidden thread |
//! | `job` | the results of one call |
//! | `lifetime` | pools that start workers on demand, and outlive their handles |
//! | `callback` | the thread on which callbacks run |
//! | `memory` | how much workers use, and whether the kernel ran out of it |
//! | `error` | why a task has no result |

mod arguments;
mod callback;
mod core;
mod error;
mod hiring;
mod job;
mod large;
mod lifetime;
mod memory;
mod outbox;
mod setup;
mod staff;
mod state;
mod stats;
mod submission;
mod task;
mod wait;
mod worker;

pub use self::core::Core;
pub use arguments::{Arguments, ArgumentsBuilder};
pub use error::{TaskError, WorkerDeath};
pub use job::{Cook, HasJob, Job, Outcome, Then, Want};
pub use procession_protocols::pool::{MOST_AHEAD, TaskId, Terms};
pub use setup::{Request, Setup};
pub use stats::{PoolStats, WorkerStats};
pub use task::{Initializer, TaskFunction, items};
