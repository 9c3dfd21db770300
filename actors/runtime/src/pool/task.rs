//! What a worker runs: a function, over a batch of arguments.
//!
//! Owns the naming of such functions, which is that of `crate::function`, and the running
//! of a batch: all arguments are decoded, then the function is called for each, then all
//! results are encoded; no user code runs within a transfer but `Serialize` itself. A call
//! that panics is an error in its place, and the others go on.

use super::error::TaskError;
use crate::codec::{self, EncodeError, Encoded};
use crate::function::{Entry, FunctionRef, NotInImage, conjure_entry};
use crate::panic::catch_quietly;
use crate::sys::function::{Descriptor, conjure};
use procession_protocols::exit::PanicReport;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::{Any, type_name};
use std::os::fd::OwnedFd;

/// Runs a batch in a worker.
pub(super) type TaskBody = fn(Batch<'_>) -> Result<Encoded, TaskError>;

/// Makes a worker's state.
pub(super) type InitBody = fn(&[u8], Vec<OwnedFd>) -> Result<State, String>;

/// What a pool's initializer returned.
pub(super) type State = Box<dyn Any>;

/// The arguments of several calls.
pub(super) struct Batch<'a> {
    pub(super) items: u32,
    pub(super) args: &'a [u8],
    pub(super) fds: Vec<OwnedFd>,
    pub(super) state: &'a mut State,
}

/// A call without a result; the others of its batch have theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ItemError {
    /// The function panicked.
    Panicked(PanicReport),
    /// What it returned could not be encoded.
    Encode(EncodeError),
}

impl From<ItemError> for TaskError {
    fn from(error: ItemError) -> Self {
        match error {
            ItemError::Panicked(report) => report.into(),
            ItemError::Encode(error) => error.into(),
        }
    }
}

const TASK_TAG: u64 = 3;
const INIT_TAG: u64 = 4;

/// A function that tasks run.
#[derive(Clone, Copy)]
pub struct TaskFunction {
    descriptor: &'static Descriptor<TaskBody>,
    name: &'static str,
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
        Self { descriptor, name: type_name::<F>() }
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
        Self { descriptor, name: type_name::<F>() }
    }

    /// Tells functions apart within one process.
    pub(super) fn key(self) -> usize {
        std::ptr::from_ref(self.descriptor).addr()
    }

    pub(super) fn name(self) -> &'static str {
        self.name
    }

    pub(super) fn reference(self) -> Result<FunctionRef, NotInImage> {
        reference(self.descriptor, TASK_TAG, self.name)
    }
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

/// Takes the results of a batch apart, in order.
///
/// # Errors
/// The bytes are no results of this type.
pub fn items<R: DeserializeOwned>(
    results: Encoded,
    count: u32,
    mut take: impl FnMut(Result<R, TaskError>),
) -> Result<(), TaskError> {
    codec::decode_with(&results.bytes, results.fds, |decoder| {
        for _ in 0..count {
            take(decoder.value::<Result<R, ItemError>>()?.map_err(TaskError::from));
        }
        Ok(())
    })?;
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

fn run<F, A>(batch: Batch<'_>) -> Result<Encoded, TaskError>
where
    F: Entry<A> + Copy + 'static,
    A: DeserializeOwned,
    F::Output: Serialize,
{
    run_each(batch.items, batch.args, batch.fds, |args| conjure_entry::<F, A>().call(args))
}

fn run_with_state<F, S, T, R>(batch: Batch<'_>) -> Result<Encoded, TaskError>
where
    F: Fn(&mut S, T) -> R + Copy + 'static,
    S: 'static,
    T: DeserializeOwned,
    R: Serialize,
{
    let state: &mut S = batch
        .state
        .downcast_mut()
        .ok_or_else(|| TaskError::NoSuchState { wanted: type_name::<S>().into() })?;
    run_each(batch.items, batch.args, batch.fds, |item| conjure::<F>()(state, item))
}

fn run_each<A: DeserializeOwned, R: Serialize>(
    items: u32,
    args: &[u8],
    fds: Vec<OwnedFd>,
    mut call: impl FnMut(A) -> R,
) -> Result<Encoded, TaskError> {
    let decode = || {
        codec::decode_with(args, fds, |decoder| {
            (0..items).map(|_| decoder.value()).collect::<Result<Vec<A>, _>>()
        })
    };
    let args = catch_quietly(decode)??;
    let results: Vec<Result<R, ItemError>> = args
        .into_iter()
        .map(|args| catch_quietly(|| call(args)).map_err(ItemError::Panicked))
        .collect();
    let encode = |results: &[Result<R, ItemError>]| {
        codec::encode_with(|encoder| results.iter().try_for_each(|result| encoder.value(result)))
    };
    match catch_quietly(|| encode(&results)) {
        Ok(Ok(encoded)) => return Ok(encoded),
        // Too many descriptors for one message, perhaps: nothing would help one by one.
        Ok(Err(error)) if results.len() == 1 => return Err(error.into()),
        Err(report) if results.len() == 1 => return Err(report.into()),
        Ok(Err(_)) | Err(_) => {}
    }
    // One of them cannot be encoded; it is found out by trying each alone.
    let check = |result: Result<R, ItemError>| {
        let error = match catch_quietly(|| codec::encode(&result)) {
            Ok(Ok(_)) => return result,
            Ok(Err(error)) => ItemError::Encode(error),
            Err(report) => ItemError::Panicked(report),
        };
        Err(error)
    };
    let results: Vec<_> = results.into_iter().map(check).collect();
    Ok(catch_quietly(|| encode(&results))??)
}
