//! Python's `multiprocessing` for Rust, built as an actor system in which an
//! operating-system process is an actor.
//!
//! A [`Process`] runs a function in a process of its own and gives back what it
//! returns. It works from `main`, from `#[test]`, from examples, benches and doctests,
//! with no ceremony: the child never runs the program's `main`.
//!
//! ```
//! use procession::Process;
//!
//! fn greet(name: String) -> String {
//!     format!("hello {name}, from process {}", std::process::id())
//! }
//!
//! # fn main() -> procession::Result<()> {
//! let greeting = Process::spawn(greet, ("bob".to_string(),))?.result()?;
//! assert!(greeting.starts_with("hello bob"));
//! # Ok(())
//! # }
//! ```

// What the macros generate names this crate, also when they are used inside it.
extern crate self as procession;

mod builder;
mod context;
mod current;
pub mod dummy;
mod error;
mod executor;
pub mod finalizer;
mod fork;
mod function;
mod listener;
pub mod log;
mod mailbox;
pub mod manager;
mod pipe;
mod pool;
mod process;
mod queue;
mod run;
mod shared_memory;
mod supervisor;
mod sync;
mod value;
mod wait;
mod wrappers;

pub use builder::ProcessBuilder;
pub use bytemuck;
pub use context::{
    Context, all_start_methods, context, cpu_count, force_start_method, freeze_support,
    set_executable, set_forkserver_preload, set_start_method, start_method, start_method_if_set,
};
pub use current::{
    CurrentProcess, ParentRef, active_children, current_process, exit, parent_process,
};
pub use error::{
    DecodeError, EncodeError, Error, Failure, JoinError, Result, StartError, StartFault, TaskError,
    WorkerDeath,
};
pub use executor::{ExecutorBuilder, Future, ProcessPoolExecutor};
pub use finalizer::{Finalizer, at_exit};
pub use function::{Function, NotInImage};
pub use listener::{
    Address, AddressError, AuthError, Client, ClientBuilder, Credentials, Digest, IntoAddress,
    Listener, ListenerBuilder, ListenerError, PEER_SILENCE, Protocol, PythonPeers, Serializer,
    answer_challenge, answer_challenge_async, deliver_challenge, deliver_challenge_async,
    deliver_challenge_with,
};
pub use log::{LogLevel, log_to_stderr};
pub use mailbox::{Mailbox, MailboxError, mailbox};
pub use manager::{Manager, ManagerBuilder};
pub use pipe::{Connection, PeerInfo, Pipe, PipeError, Receiver, Sender, Unsent};
pub use pool::{
    AsyncResult, Callable, Imap, ImapStream, Pool, PoolBuilder, PoolStats, TaskOptions, Tasks,
    WorkerStats,
};
pub use process::{Process, ProcessRef, Sentinel};
pub use procession_macros::{Actor, Message, methods};
pub use procession_protocols::dynamic::{self, Dynamic};
pub use procession_protocols::exit::{ExitReason, PanicReport, RawStatus};
pub use procession_protocols::id::ActorId;
pub use procession_runtime::Usage;
/// ```
/// use procession::{Actor, methods, whereis};
///
/// #[derive(Actor)]
/// struct Counter(u64);
///
/// #[methods]
/// impl Counter {
///     pub fn add(&mut self, n: u64) -> u64 {
///         self.0 += n;
///         self.0
///     }
/// }
///
/// Counter(1).host_named("visits")?;
/// let counter = whereis::<Counter>("visits").expect("it runs");
/// assert_eq!(counter.add(2)?, 3);
/// assert!(whereis::<Counter>("hits").is_none());
/// counter.stop();
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub use procession_runtime::actor::whereis;
pub use procession_runtime::actor::{
    Actor, ActorRef, CallError, Handler, MailboxOptions, Message, Overflow, Reply, ReplyReceiver,
    SendError, StartError as SpawnError,
};
pub use procession_runtime::codec::Fd;
pub use procession_runtime::down::{Down, Monitor};
pub use procession_runtime::function::Entry;
pub use procession_runtime::launcher::{ParentDeath, StartMethod, Stdio};
pub use procession_runtime::manager::ManagerError;
pub use procession_runtime::node::control::keepalive;
pub use procession_runtime::proc_tree::{ProcId, TreeKill};
pub use procession_runtime::share::ShareError;
pub use queue::{
    Delivery, GetError, Iter, JoinableQueue, Lease, PutError, PutFault, PutManyError, Queue,
    QueueError, SimpleQueue,
};
pub use run::Run;
pub use shared_memory::{
    OutOfRange, Plain, ShareableItem, ShareableList, ShareableListError, SharedCell, SharedCells,
    SharedMemory, SharedMemoryError, SharedMemoryManager,
};
pub use supervisor::{
    AutoShutdown, ChildCounts, ChildFailure, ChildInfo, ChildKind, ChildSettings, ChildSpec,
    ChildState, Incarnation, RequestError, Restart, Shutdown, SpecError, SpecWarning, Strategy,
    Supervisor, SupervisorError, SupervisorExit, SupervisorRef, TreeError,
};
pub use sync::{
    Acquired, Barrier, BoundedSemaphore, CondGuard, Condition, ConditionLock, Death, Event,
    HolderDied, Lock, LockGuard, MAX_PARTIES, MAX_RECORDS, MAX_VALUE, Permit, RLock, RLockGuard,
    Semaphore, SyncError, SyncResult,
};
pub use value::{
    Array, ArrayGuard, ExclusiveArray, ExclusiveGuard, Integer, RawArray, RawValue, Value,
    ValueError, ValueGuard, ValueLock, sharedctypes,
};
pub use wait::{wait, wait_async};
pub use wrappers::{Json, MsgPack, PlainData};

/// Results that are to come, as Python's `concurrent.futures` has them.
pub mod futures {
    pub use crate::executor::{
        AsCompleted, ExecutorBuilder, Future, InvalidState, MapOptions, MapResults, Mapping,
        ProcessPoolExecutor, Promise, ReturnWhen, Waited, as_completed, wait,
    };
}

/// What generated code calls. Not for users: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use procession_runtime::actor::host::block_on_actor;
    pub use procession_runtime::actor::message::{
        IfNot, IfWire, MethodNames, Probe, Wire, WireArg, WireFns, sendable, take_reply,
        unknown_variant,
    };
    pub use procession_runtime::actor::{ReplyPort, StartError, Started};
    pub use procession_runtime::codec::{DecodeError, Decoder, EncodeError, Encoder};
    pub use serde;
}

/// The code in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
