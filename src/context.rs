//! Start methods: which one a program uses, and contexts that use another.
//!
//! Owns the choice. The methods themselves are the runtime's launcher.

use crate::builder::ProcessBuilder;
use crate::error::{Error, Result};
use crate::process::Process;
use procession_runtime::function::Entry;
use procession_runtime::launcher::StartError;
use procession_runtime::launcher::StartMethod;
use procession_runtime::{launcher, node};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// The start methods of this platform, the default first.
///
/// Where there can be no fork server (its preload function panics or leaves threads, or
/// the system refuses such copies), its method starts by spawn, with a warning.
pub fn all_start_methods() -> [StartMethod; 3] {
    [StartMethod::ForkServer, StartMethod::Spawn, StartMethod::Fork]
}

/// The start method in use: the one that was set, else the default, which is fixed by
/// this call.
pub fn start_method() -> StartMethod {
    node::fix_start_method(Some(all_start_methods()[0]), false);
    launcher::default_method()
}

/// The start method that was set or fixed; `None` when neither has happened.
pub fn start_method_if_set() -> Option<StartMethod> {
    node::fixed_start_method()
}

/// Sets the start method for the whole program and its children. Once.
///
/// # Errors
/// [`Error::StartMethodAlreadySet`].
pub fn set_start_method(method: StartMethod) -> Result<()> {
    if node::fix_start_method(Some(method), false) {
        Ok(())
    } else {
        Err(Error::StartMethodAlreadySet)
    }
}

/// Sets the start method although one was set; `None` unsets it.
pub fn force_start_method(method: Option<StartMethod>) {
    node::fix_start_method(method, true);
}

/// The binary that children exec instead of the running image; `None` goes back to it.
/// It must be the same build, else a start is an error.
pub fn set_executable(path: Option<&Path>) {
    launcher::set_executable(path.map(Path::to_owned));
}

/// Sets what a fork server runs once before its first request, so that its copies have
/// it done already. It sees this program's environment, working directory and command
/// line. It must leave no thread behind, and what it opens is every copy's; a random generator
/// that it has used gives the same numbers in each. A fork server that runs already is replaced
/// at the next start.
///
/// Starts wait for it, as in Python, for up to five minutes; then, and when it fails, processes
/// are started by spawn, with a warning, and **without what it would have done**. A process with
/// a [`start_timeout`](crate::ProcessBuilder::start_timeout) of its own, and a supervisor's
/// child, waits for half of that only.
///
/// # Errors
/// [`Error::Start`] when the function lies in no loaded object.
pub fn set_forkserver_preload<F>(function: F) -> Result<()>
where
    F: Entry<(), Output = ()> + Copy + 'static,
{
    launcher::set_preload(function).map_err(|_| Error::Start(StartError::NoSuchFunction))
}

/// Python's hook for frozen Windows programs. Nothing needs it here; it does nothing.
pub fn freeze_support() {}

/// The number of logical processors that this process may use.
///
/// # Errors
/// The system does not say.
pub fn cpu_count() -> Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

/// The whole interface with one start method, beside the program's own choice.
///
/// ```
/// use procession::{StartMethod, context};
///
/// # fn main() -> procession::Result<()> {
/// let spawn = context(StartMethod::Spawn);
/// assert_eq!(spawn.spawn(|x: u32| x + 1, (1,))?.result()?, 2);
/// assert_eq!(procession::start_method_if_set(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    method: StartMethod,
}

/// A context that starts processes by `method`.
pub fn context(method: StartMethod) -> Context {
    Context { method }
}

impl Context {
    /// Its start method.
    pub fn start_method(self) -> StartMethod {
        self.method
    }

    /// As [`Process::new`].
    ///
    /// # Errors
    /// As [`Process::new`].
    pub fn process<F, A, R>(self, function: F, args: A) -> Result<Process<R>>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        self.builder(function, args).build()
    }

    /// As [`Process::spawn`].
    ///
    /// # Errors
    /// As [`Process::spawn`].
    pub fn spawn<F, A, R>(self, function: F, args: A) -> Result<Process<R>>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        self.builder(function, args).start()
    }

    /// As [`Process::builder`].
    pub fn builder<F, A, R>(self, function: F, args: A) -> ProcessBuilder<R>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        ProcessBuilder::new(function, args).start_method(self.method)
    }
}
