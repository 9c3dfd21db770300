//! `Function`: a function as a value that travels.
//!
//! Owns the typed handle. How a function is named between processes, and why a wrong
//! name is an error and never a jump, is the runtime's `function`.

use procession_runtime::codec::{self, OUTSIDE_TRANSFER};
use procession_runtime::function::{Entry, FunctionRef, Remembered};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A `fn` item or a closure without captures, as a value: it can be stored, compared by
/// name, sent to another process of this tree, and called there.
///
/// It travels wherever handles do: as an argument, in a message. Anywhere else
/// serialising it is an error, and so is reading it as a function of other types.
///
/// ```
/// use procession::{Function, Process};
///
/// fn mul(a: i64, b: i64) -> i64 { a * b }
/// fn add(a: i64, b: i64) -> i64 { a + b }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let work = vec![(Function::new(mul)?, (3, 7)), (Function::new(add)?, (3, 7))];
/// let calculate = |work: Vec<(Function<(i64, i64), i64>, (i64, i64))>| -> Vec<i64> {
///     work.into_iter().map(|(function, args)| function.call(args)).collect()
/// };
/// assert_eq!(Process::spawn(calculate, (work,))?.result()?, [21, 10]);
/// # Ok(())
/// # }
/// ```
///
/// A pool calls it as it calls a function itself, and takes it by value: a clone is cheap, so
/// where it stays in use, in a loop or behind a reference, `pool.apply(function.clone(), args)`
/// is what to write. (That `&Function` does as well cannot be said in Rust today: references
/// are `Copy`, and one day might be functions themselves.)
///
/// ```
/// use procession::{Function, Pool};
///
/// fn mul(a: i64, b: i64) -> i64 { a * b }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (pool, function) = (Pool::new(1)?, Function::new(mul)?);
/// for x in 0..3 {
///     assert_eq!(pool.apply(function.clone(), (x, 7))?, x * 7);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Function<Args: 'static, R: 'static> {
    inner: Remembered<Args, R>,
}

/// The function lies in no loaded object of this process.
pub use procession_runtime::function::NotInImage;

impl<Args, R> Function<Args, R> {
    /// Makes a value of a function.
    ///
    /// # Errors
    /// [`NotInImage`], for code that was made at run time.
    ///
    /// # Panics
    /// At compile time, when the function captures something.
    pub fn new<F>(function: F) -> Result<Self, NotInImage>
    where
        F: Entry<Args, Output = R> + Copy + 'static,
    {
        Ok(Self { inner: Remembered::new(function)? })
    }

    /// Calls it.
    pub fn call(&self, args: Args) -> R {
        self.inner.call(args)
    }

    pub(crate) fn remembered(&self) -> &Remembered<Args, R> {
        &self.inner
    }

    /// Its path, as the compiler names it.
    pub fn name(&self) -> &str {
        self.inner.name()
    }
}

impl<Args, R> Clone for Function<Args, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<Args, R> fmt::Debug for Function<Args, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({})", self.name())
    }
}

impl<Args, R> Serialize for Function<Args, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !codec::in_transfer() {
            return Err(serde::ser::Error::custom(OUTSIDE_TRANSFER));
        }
        self.inner.reference().serialize(serializer)
    }
}

impl<'de, Args, R> Deserialize<'de> for Function<Args, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !codec::in_transfer() {
            return Err(serde::de::Error::custom(OUTSIDE_TRANSFER));
        }
        let reference = FunctionRef::deserialize(deserializer)?;
        let inner = Remembered::resolve(reference).map_err(serde::de::Error::custom)?;
        Ok(Self { inner })
    }
}
