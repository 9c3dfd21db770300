//! Logging in Python's format: one line for each event, `[INFO/Process-1] message`.
//!
//! Owns nothing: it names the runtime's functions as users know them. The events
//! themselves are `tracing`'s, those of the library under targets that start with
//! `procession`; nothing is written before [`log_to_stderr`] asks for it.
//!
//! Level and standard error reach children under every start method, at their start.
//! Lines arrive whole: those of up to [`PIPE_BUF`] bytes because the system writes
//! them in one piece, longer ones of children because the parent writes them, if both
//! have one standard error. So a long line may come after a short one that the same child
//! wrote later; and a short line of one process may land in a long one of another while
//! the reader of a pipe is behind.
//!
//! ```
//! use procession::{LogLevel, Process, log_to_stderr};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! log_to_stderr(LogLevel::Info)?;
//! // [INFO/Process-1] child process calling self.run()
//! // [INFO/Process-1] working
//! Process::spawn(|| procession::log::log(LogLevel::Info, format_args!("working")), ())?.join()?;
//! # Ok(())
//! # }
//! ```

pub use procession_runtime::log::{
    LEVEL_FIELD, LogError, LogLevel, PIPE_BUF, ParseLevelError, effective_level, layer, level, log,
    log_to_stderr, set_level, show_pid,
};
/// The span in which this process runs: its name and pid, and the names of the spans
/// that its parent was in when it started it. In a child the body runs in it, as far as
/// a subscriber was there; a body that installs one of its own enters it by
/// `let _span = root_span().entered()`.
pub use procession_runtime::node::guard::root_span;
