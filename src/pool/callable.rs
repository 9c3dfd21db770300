//! `Callable`: what a pool can call.
//!
//! Owns the two ways to say which function is meant. How it is named in a worker is the
//! runtime's.

use crate::function::Function;
use procession_runtime::function::Entry;
use procession_runtime::pool::TaskFunction;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a pool can call with arguments `A`: a `fn` item or a closure that captures nothing,
/// of up to eight arguments; or a [`Function`] value, of which a clone serves as well.
///
/// It is not for other types: the function has to be found in another process.
pub trait Callable<A>: sealed::Sealed<A> {
    /// What it returns.
    type Output;

    #[doc(hidden)]
    fn task(&self) -> TaskFunction;
}

mod sealed {
    pub trait Sealed<A> {}
}

impl<F: Entry<A> + Copy + 'static, A> sealed::Sealed<A> for F {}

impl<F, A> Callable<A> for F
where
    F: Entry<A> + Copy + 'static,
    A: DeserializeOwned + 'static,
    F::Output: Serialize + 'static,
{
    type Output = F::Output;

    fn task(&self) -> TaskFunction {
        TaskFunction::of(*self)
    }
}

impl<A, R> sealed::Sealed<A> for Function<A, R> {}

impl<A: DeserializeOwned, R: Serialize> Callable<A> for Function<A, R> {
    type Output = R;

    fn task(&self) -> TaskFunction {
        TaskFunction::of_value(self.remembered())
    }
}
