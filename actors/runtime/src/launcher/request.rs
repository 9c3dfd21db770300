//! A start as it was asked for, on its way to the child.
//!
//! Owns the promise that a start which comes to nothing gives back what it was given, as long
//! as no child has had it: arguments, streams and closure can be started again. It starts
//! nothing. Neighbours: `spec` is what is asked for, `handshake` hands the arguments over.

use super::Work;
use super::spec::{LaunchSpec, Stdio};
use crate::codec::Encoded;
use crate::sync::lock;
use std::mem::take;
use std::sync::{Arc, Mutex};

/// What a start was given, and no child has had.
#[derive(Debug, Default)]
pub struct Unused {
    /// The function's arguments.
    pub args: Encoded,
    /// Standard input, output and error.
    pub stdio: [Stdio; 3],
    /// What a forked child would have run.
    pub work: Option<Work>,
}

/// Where a start that has failed, or was given up, leaves what no child has had.
#[derive(Debug, Default)]
pub struct Returns(Mutex<Option<Unused>>);

impl Returns {
    /// Takes what was left there.
    pub fn take(&self) -> Option<Unused> {
        lock(&self.0).take()
    }
}

/// What to start. Dropped before a child has it, it goes back to who asked.
#[derive(Debug)]
pub struct Request {
    pub(super) spec: LaunchSpec,
    work: Option<Work>,
    returns: Option<Arc<Returns>>,
}

impl Request {
    /// Of a function. `work` is what a forked child runs in its place.
    pub fn new(spec: LaunchSpec, work: Option<Work>, returns: Arc<Returns>) -> Self {
        Self { spec, work, returns: Some(returns) }
    }

    pub(super) fn is_unchecked(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.is_unchecked)
    }

    /// Takes the closure, of which a child has a copy, or is one.
    pub(super) fn take_work(&mut self) -> Option<Work> {
        self.work.take().inspect(|_| self.returns = None)
    }

    /// Takes the arguments for a child, which has the streams already.
    pub(super) fn take_args(&mut self) -> Encoded {
        self.returns = None;
        drop(take(&mut self.spec.stdio));
        take(&mut self.spec.args)
    }
}

/// With nobody to give it back to.
impl From<LaunchSpec> for Request {
    fn from(spec: LaunchSpec) -> Self {
        Self { spec, work: None, returns: None }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(returns) = self.returns.take() {
            let (args, stdio) = (take(&mut self.spec.args), take(&mut self.spec.stdio));
            *lock(&returns.0) = Some(Unused { args, stdio, work: self.work.take() });
        }
    }
}
