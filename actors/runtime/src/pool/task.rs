//! What a worker runs: a function, call by call.
//!
//! Owns the naming of such functions, which is that of `crate::function`, and the calls:
//! for each item its arguments (of which `arguments` is the owner's side) are decoded, the function is called, its result is encoded
//! and handed over before the next item is begun. No user code runs within a transfer but
//! `Serialize` and `Deserialize`. A call that panics is an error in its place.

use super::error::TaskError;
use super::worker::Calls;
use crate::codec::{self, BatchDecoder, EncodeError, Encoded, Marked, Packed};
use crate::function::{Entry, FunctionRef, NotInImage, Remembered, conjure_entry};
use crate::panic::catch_quietly;
use crate::sys::function::{Descriptor, conjure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::{Any, type_name};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Runs all calls of a task in a worker.
pub(super) type TaskBody = fn(&mut Calls<'_>);

/// Makes a worker's state.
pub(super) type InitBody = fn(&[u8], Vec<OwnedFd>) -> Result<State, String>;

/// What a pool's initializer returned.
pub(super) type State = Box<dyn Any>;

const TASK_TAG: u64 = 3;
const INIT_TAG: u64 = 4;

/// A function that tasks run.
#[derive(Clone)]
pub struct TaskFunction {
    descriptor: &'static Descriptor<TaskBody>,
    /// The function's own, or its body's where it is a value.
    type_name: &'static str,
    /// The function that the body calls, where that is a value.
    value: Option<Arc<FunctionRef>>,
}

impl TaskFunction {
    /// A function of the arguments alone.
    pub fn of<F, A>(_function: F) -> Self
    where
        F: Entry<A> + Copy + 'static,
        A: DeserializeOwned + 'static,
        F::Output: Serialize + 'static,
    {
        let descriptor = const { &Descriptor::new(TASK_TAG, run::<F, A> as TaskBody) };
        Self { descriptor, type_name: type_name::<F>(), value: None }
    }

    /// A function of the worker's state and one argument.
    pub fn with_state<F, S, T, R>(_function: F) -> Self
    where
        F: Fn(&mut S, T) -> R + Copy + 'static,
        S: 'static,
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let descriptor =
            const { &Descriptor::new(TASK_TAG, run_with_state::<F, S, T, R> as TaskBody) };
        Self { descriptor, type_name: type_name::<F>(), value: None }
    }

    /// A function that is a value, of the arguments alone.
    pub fn of_value<A, R>(function: &Remembered<A, R>) -> Self
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let descriptor = const { &Descriptor::new(TASK_TAG, run_value::<A, R> as TaskBody) };
        let value = Some(Arc::new(function.reference().clone()));
        Self { descriptor, type_name: type_name::<Remembered<A, R>>(), value }
    }

    /// Tells functions apart within one process.
    pub(super) fn key(&self) -> Key {
        let value = self.value.as_ref().map(|value| (value.build_id.clone(), value.offset));
        (std::ptr::from_ref(self.descriptor).addr(), value)
    }

    pub(super) fn name(&self) -> &str {
        self.value.as_ref().map_or(self.type_name, |value| &value.name)
    }

    /// What a worker is told of it.
    pub(super) fn definition(&self) -> Result<Definition, NotInImage> {
        let body = reference(self.descriptor, TASK_TAG, self.type_name)?;
        Ok(Definition { body, value: self.value.as_deref().cloned() })
    }
}

/// What tells functions apart: the place of the body, and which function it calls.
pub(super) type Key = (usize, Option<(Vec<u8>, u64)>);

/// A function as it travels.
#[derive(Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) body: FunctionRef,
    /// The function that the body calls, where that is a value.
    pub(super) value: Option<FunctionRef>,
}

/// The body that a name stands for.
pub(super) fn body(reference: &FunctionRef) -> Option<TaskBody> {
    let FunctionRef { build_id, offset, .. } = reference;
    Some(Descriptor::<TaskBody>::resolve(build_id, *offset, TASK_TAG)?.run)
}

/// What each worker of a pool does before its first task.
pub struct Initializer {
    pub(super) reference: FunctionRef,
    /// Encodes the arguments, for each worker anew: handles in them travel once.
    pub(super) args: Box<dyn Fn() -> Result<Encoded, EncodeError> + Send + Sync>,
}

impl Initializer {
    /// A function whose result is the state of the worker.
    ///
    /// # Errors
    /// It lies in no loaded object.
    pub fn new<F, A>(_function: F, args: A) -> Result<Self, NotInImage>
    where
        F: Entry<A> + Copy + 'static,
        A: Serialize + DeserializeOwned + Send + Sync + 'static,
        F::Output: 'static,
    {
        let descriptor = const { &Descriptor::new(INIT_TAG, initialize::<F, A> as InitBody) };
        Ok(Self {
            reference: reference(descriptor, INIT_TAG, type_name::<F>())?,
            args: Box::new(move || codec::encode(&args)),
        })
    }
}

/// The initializer that a name stands for.
pub(super) fn init_body(reference: &FunctionRef) -> Option<InitBody> {
    let FunctionRef { build_id, offset, .. } = reference;
    Some(Descriptor::<InitBody>::resolve(build_id, *offset, INIT_TAG)?.run)
}

fn reference<F: Copy>(
    descriptor: &'static Descriptor<F>,
    tag: u64,
    name: &str,
) -> Result<FunctionRef, NotInImage> {
    let (build_id, offset) = descriptor.locate().ok_or(NotInImage)?;
    Ok(FunctionRef { build_id, offset, tag, name: name.into() })
}

/// Takes results apart, in order. A call without one has its error in its place.
///
/// # Errors
/// The bytes are no results.
pub fn items<R: DeserializeOwned + 'static>(
    results: Packed,
    count: u32,
    mut take: impl FnMut(Result<R, TaskError>),
) -> Result<(), TaskError> {
    let mut decoder = BatchDecoder::new(results);
    for _ in 0..count {
        if let Some(value) = decoder.take_flat() {
            take(Ok(value));
            continue;
        }
        let cut_off = || TaskError::Io("results are missing".into());
        take(match decoder.take::<R, TaskError>().ok_or_else(cut_off)? {
            Ok(Marked::Plain(value)) => Ok(value),
            Ok(Marked::Marked(error)) => Err(error),
            Err(error) => Err(error.into()),
        });
    }
    Ok(())
}

fn initialize<F, A>(args: &[u8], fds: Vec<OwnedFd>) -> Result<State, String>
where
    F: Entry<A> + Copy + 'static,
    A: DeserializeOwned,
    F::Output: 'static,
{
    let args = codec::decode(args, fds).map_err(|error| error.to_string())?;
    Ok(Box::new(conjure_entry::<F, A>().call(args)))
}

fn run<F, A>(calls: &mut Calls<'_>)
where
    F: Entry<A> + Copy + 'static,
    A: DeserializeOwned + 'static,
    F::Output: Serialize + 'static,
{
    run_each(calls, |args, _| Ok(conjure_entry::<F, A>().call(args)));
}

fn run_value<A: DeserializeOwned + 'static, R: Serialize + 'static>(calls: &mut Calls<'_>) {
    let function = calls.value().and_then(|value| Remembered::<A, R>::resolve(value.clone()).ok());
    run_each(calls, |args, _| Ok(function.as_ref().ok_or(TaskError::NotInImage)?.call(args)));
}

fn run_with_state<F, S, T, R>(calls: &mut Calls<'_>)
where
    F: Fn(&mut S, T) -> R + Copy + 'static,
    S: 'static,
    T: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    run_each(calls, |item, state| {
        let state = state.downcast_mut();
        let wrong = || TaskError::NoSuchState { wanted: type_name::<S>().into() };
        Ok(conjure::<F>()(state.ok_or_else(wrong)?, item))
    });
}

fn run_each<A: DeserializeOwned + 'static, R: Serialize + 'static>(
    calls: &mut Calls<'_>,
    mut call: impl FnMut(A, &mut State) -> Result<R, TaskError>,
) {
    // A panic ends the inner loop, and is what came of the call that had been begun.
    while let Err(report) = catch_quietly(|| run_until_panic(calls, &mut call)) {
        if !calls.answer_for_panic(report) {
            return;
        }
    }
}

fn run_until_panic<A: DeserializeOwned + 'static, R: Serialize + 'static>(
    calls: &mut Calls<'_>,
    call: &mut impl FnMut(A, &mut State) -> Result<R, TaskError>,
) {
    while calls.begin() {
        let (args, state) = calls.next();
        let result = match args.take::<A, ()>() {
            Some(Ok(Marked::Plain(args))) => call(args, state),
            Some(Ok(Marked::Marked(()))) | None => {
                Err(TaskError::Io("arguments are missing".into()))
            }
            Some(Err(error)) => Err(error.into()),
        };
        let handed_over = match &result {
            Ok(value) => calls.answer(value),
            Err(error) => calls.answer_error(error),
        };
        if !handed_over {
            return;
        }
    }
}
