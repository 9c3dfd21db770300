//! `Run`: types whose values are processes.
//!
//! Owns the trait. What it makes is an ordinary [`Process`](crate::Process).

use crate::builder::ProcessBuilder;
use procession_runtime::{codec, function};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values run as processes of their own: what a subclass of Python's
/// `Process` with a `run` method is.
///
/// The value is sent to the child, and `run` is called there. The process is named after
/// the type: `Downloader-1`.
///
/// ```
/// use procession::Run;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Downloader { pages: u32 }
///
/// impl Run for Downloader {
///     type Output = String;
///
///     fn run(self) -> String {
///         format!("{}: {} pages", procession::current_process().name(), self.pages)
///     }
/// }
///
/// # fn main() -> procession::Result<()> {
/// let said = Downloader { pages: 3 }.into_process().start()?.result()?;
/// assert_eq!(said, "Downloader-1: 3 pages");
/// # Ok(())
/// # }
/// ```
pub trait Run: Serialize + DeserializeOwned + 'static {
    /// What `run` returns.
    type Output: Serialize + 'static;

    /// What the process does.
    fn run(self) -> Self::Output;

    /// Options for the process, and its start.
    fn into_process(self) -> ProcessBuilder<Self::Output> {
        let entry = function::entry::<_, (Self,)>(|value: Self| value.run());
        ProcessBuilder::named(short_name::<Self>(), entry, codec::encode(&(self,)))
    }
}

/// A type's name without its path and its parameters.
fn short_name<T>() -> &'static str {
    let path = std::any::type_name::<T>();
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}
