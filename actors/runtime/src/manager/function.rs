//! Functions of users that run in a server.
//!
//! Owns their naming, which is that of `crate::function`, and their trampolines: values in,
//! values out. A function that panics or fails is a [`Fault`] to its caller alone. Within
//! the tree a function is a place in the image; nothing else names one.

use super::actor::host_made;
use super::stored::Stored;
use crate::actor::{Actor, IntoActor, Wire};
use crate::function::{Entry, FunctionRef, NotInImage, conjure_entry};
use crate::node;
use crate::panic::catch_quietly;
use crate::sys::function::{Descriptor, conjure};
use procession_protocols::manager::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::type_name;
use std::fmt::Display;

/// Arguments and, for an actor, the names of its exposed methods in; result out.
type RoutineBody = fn(&Stored, Option<&[String]>) -> Result<Stored, Fault>;

/// The values at a place and arguments in; the new values and a result out.
pub(super) type ChangeBody = fn(Vec<Stored>, &Stored) -> Changed;

type Changed = Result<(Vec<Stored>, Stored), Fault>;

const ROUTINE_TAG: u64 = 5;
const CHANGE_TAG: u64 = 6;

/// A function that a server can run.
pub struct Routine;

impl Routine {
    /// Names a function of encodable arguments and result.
    ///
    /// # Errors
    /// It lies in no loaded object.
    pub fn of<F, A>(_function: F) -> Result<FunctionRef, NotInImage>
    where
        F: Entry<A> + Copy + 'static,
        A: DeserializeOwned + 'static,
        F::Output: Serialize + 'static,
    {
        let descriptor = const { &Descriptor::new(ROUTINE_TAG, routine::<F, A> as RoutineBody) };
        reference(descriptor, ROUTINE_TAG, type_name::<F>())
    }

    /// Names a function that makes an actor, which the server then hosts; the result is the
    /// reference to it.
    ///
    /// # Errors
    /// It lies in no loaded object.
    pub fn actor<F, Args, A>(_function: F) -> Result<FunctionRef, NotInImage>
    where
        F: Entry<Args> + Copy + 'static,
        F::Output: IntoActor<A>,
        Args: DeserializeOwned + 'static,
        A: Actor + Send,
        A::Msg: Wire,
    {
        let descriptor =
            const { &Descriptor::new(ROUTINE_TAG, make_actor::<F, Args, A> as RoutineBody) };
        reference(descriptor, ROUTINE_TAG, type_name::<F>())
    }

    /// Runs a function here.
    ///
    /// # Errors
    /// [`Fault::Failed`]: it is unknown, or it panicked.
    pub fn run(function: &FunctionRef, args: &Stored) -> Result<Stored, Fault> {
        run(function, args, None)
    }

    /// As [`of`](Self::of), for a function whose result may be an error.
    ///
    /// # Errors
    /// It lies in no loaded object.
    pub fn fallible<F, A, R, E>(_function: F) -> Result<FunctionRef, NotInImage>
    where
        F: Entry<A, Output = Result<R, E>> + Copy + 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
        E: std::fmt::Display + 'static,
    {
        let descriptor =
            const { &Descriptor::new(ROUTINE_TAG, fallible::<F, A, R, E> as RoutineBody) };
        reference(descriptor, ROUTINE_TAG, type_name::<F>())
    }
}

/// A function that changes what a server keeps.
pub struct Change;

impl Change {
    /// Names a function that changes one value, which is there.
    ///
    /// # Errors
    /// It lies in no loaded object.
    pub fn one<F, T, A, R>(_function: F) -> Result<FunctionRef, NotInImage>
    where
        F: Fn(&mut T, A) -> R + Copy + 'static,
        T: Serialize + DeserializeOwned + 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let descriptor =
            const { &Descriptor::new(CHANGE_TAG, change_one::<F, T, A, R> as ChangeBody) };
        reference(descriptor, CHANGE_TAG, type_name::<F>())
    }

    /// Names a function that changes a value which may be missing, and remain or become so.
    ///
    /// # Errors
    /// It lies in no loaded object.
    pub fn entry<F, T, A, R>(_function: F) -> Result<FunctionRef, NotInImage>
    where
        F: Fn(&mut Option<T>, A) -> R + Copy + 'static,
        T: Serialize + DeserializeOwned + 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let descriptor =
            const { &Descriptor::new(CHANGE_TAG, change_entry::<F, T, A, R> as ChangeBody) };
        reference(descriptor, CHANGE_TAG, type_name::<F>())
    }

    /// Names a function that changes all values.
    ///
    /// # Errors
    /// It lies in no loaded object.
    pub fn all<F, T, A, R>(_function: F) -> Result<FunctionRef, NotInImage>
    where
        F: Fn(&mut Vec<T>, A) -> R + Copy + 'static,
        T: Serialize + DeserializeOwned + 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let descriptor =
            const { &Descriptor::new(CHANGE_TAG, change_all::<F, T, A, R> as ChangeBody) };
        reference(descriptor, CHANGE_TAG, type_name::<F>())
    }
}

/// Runs a function that a name stands for.
pub(super) fn run(
    reference: &FunctionRef,
    args: &Stored,
    exposed: Option<&[String]>,
) -> Result<Stored, Fault> {
    let FunctionRef { build_id, offset, .. } = reference;
    let known = Descriptor::<RoutineBody>::resolve(build_id, *offset, ROUTINE_TAG);
    let body = known.ok_or_else(|| super::object::unknown(reference))?.run;
    catch(|| body(args, exposed))
}

/// The change that a name stands for.
pub(super) fn change(reference: &FunctionRef) -> Option<ChangeBody> {
    let FunctionRef { build_id, offset, .. } = reference;
    Some(Descriptor::<ChangeBody>::resolve(build_id, *offset, CHANGE_TAG)?.run)
}

/// Runs a user's code; a panic is a fault like any other.
pub(super) fn catch<T>(body: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_quietly(body).unwrap_or_else(|report| {
        Err(Fault::Failed(format!("panicked at {}: {}", report.location, report.message)))
    })
}

/// A fault in an error's words.
pub(super) fn failed(error: impl Display) -> Fault {
    Fault::Failed(error.to_string())
}

fn reference<F: Copy>(
    descriptor: &'static Descriptor<F>,
    tag: u64,
    name: &str,
) -> Result<FunctionRef, NotInImage> {
    let (build_id, offset) = descriptor.locate().ok_or(NotInImage)?;
    Ok(FunctionRef { build_id, offset, tag, name: name.into() })
}

pub(super) fn store<T: Serialize>(value: &T) -> Result<Stored, Fault> {
    Stored::encode(value, node::current().id).map_err(failed)
}

fn fetch<T: DeserializeOwned>(stored: &Stored) -> Result<T, Fault> {
    stored.decode().map_err(failed)
}

fn make_actor<F, Args, A>(args: &Stored, exposed: Option<&[String]>) -> Result<Stored, Fault>
where
    F: Entry<Args> + Copy + 'static,
    F::Output: IntoActor<A>,
    Args: DeserializeOwned,
    A: Actor + Send,
    A::Msg: Wire,
{
    store(&host_made(conjure_entry::<F, Args>().call(fetch(args)?), exposed).map_err(failed)?)
}

fn routine<F, A>(args: &Stored, _: Option<&[String]>) -> Result<Stored, Fault>
where
    F: Entry<A> + Copy + 'static,
    A: DeserializeOwned,
    F::Output: Serialize,
{
    store(&conjure_entry::<F, A>().call(fetch(args)?))
}

fn fallible<F, A, R, E>(args: &Stored, _: Option<&[String]>) -> Result<Stored, Fault>
where
    F: Entry<A, Output = Result<R, E>> + Copy + 'static,
    A: DeserializeOwned,
    R: Serialize,
    E: std::fmt::Display,
{
    let result = conjure_entry::<F, A>().call(fetch(args)?);
    store(&result.map_err(failed)?)
}

fn change_one<F, T, A, R>(values: Vec<Stored>, args: &Stored) -> Changed
where
    F: Fn(&mut T, A) -> R + Copy + 'static,
    T: Serialize + DeserializeOwned,
    A: DeserializeOwned,
    R: Serialize,
{
    let [value] = values.as_slice() else { return Err(Fault::Key) };
    let mut value: T = fetch(value)?;
    let result = conjure::<F>()(&mut value, fetch(args)?);
    Ok((vec![store(&value)?], store(&result)?))
}

fn change_entry<F, T, A, R>(values: Vec<Stored>, args: &Stored) -> Changed
where
    F: Fn(&mut Option<T>, A) -> R + Copy + 'static,
    T: Serialize + DeserializeOwned,
    A: DeserializeOwned,
    R: Serialize,
{
    let mut value: Option<T> = values.first().map(fetch).transpose()?;
    let result = conjure::<F>()(&mut value, fetch(args)?);
    let stored = value.as_ref().map(store).transpose()?;
    Ok((stored.into_iter().collect(), store(&result)?))
}

fn change_all<F, T, A, R>(values: Vec<Stored>, args: &Stored) -> Changed
where
    F: Fn(&mut Vec<T>, A) -> R + Copy + 'static,
    T: Serialize + DeserializeOwned,
    A: DeserializeOwned,
    R: Serialize,
{
    let mut values: Vec<T> = values.iter().map(fetch).collect::<Result<_, _>>()?;
    let result = conjure::<F>()(&mut values, fetch(args)?);
    let stored = values.iter().map(store).collect::<Result<_, _>>()?;
    Ok((stored, store(&result)?))
}
