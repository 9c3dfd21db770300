//! Exit hooks with priorities, as Python's `util.Finalize`.
//!
//! Owns nothing: the registry is the runtime's. Hooks run when this process ends in good
//! order: when `main` or a child's body returns or panics, by [`exit`](crate::exit), and
//! by `std::process::exit`. They do not run when a signal ends it, `terminate` and
//! `kill` included. Those of priority 0 and above run before its children are ended, the
//! others after that. A child starts with none. A hook must not call
//! `std::process::exit`.
//!
//! ```
//! use procession::{Finalizer, at_exit};
//!
//! at_exit(10, || println!("at the end"));
//! let guard = Finalizer::new(None, || println!("when dropped, at the latest"));
//! assert!(guard.call());
//! assert!(!guard.call(), "it ran");
//! ```

pub use procession_runtime::finalizer::{Finalizer, at_exit, run_finalizers};
