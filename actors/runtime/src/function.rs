//! Functions that travel between the processes of one tree.
//!
//! Owns the naming of a function as (build id, offset of its descriptor, tag of its
//! types) and the trampolines that stand at those places. A name is accepted only
//! inside the tree, where both sides run the same build; a name that does not fit is
//! an error, never a jump. Neighbours: `sys::function` looks a descriptor up.

use crate::codec::{self, Encoded};
use crate::launcher::hello::{Report, StartFault};
use crate::sys::function::{Descriptor, conjure};
use crate::sys::image::Fnv;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::{Any, type_name};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;

/// The name of a function of this image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRef {
    pub(crate) build_id: Vec<u8>,
    pub(crate) offset: u64,
    pub(crate) tag: u64,
    /// The function's path as the compiler names it.
    pub name: String,
}

/// A function that a process can run: a `fn` item or a closure without captures, of up
/// to eight arguments.
pub trait Entry<Args> {
    /// What it returns.
    type Output;

    /// Calls it.
    fn call(&self, args: Args) -> Self::Output;
}

macro_rules! entries {
    ($($arg:ident)*) => {
        impl<Func, Out, $($arg),*> Entry<($($arg,)*)> for Func
        where
            Func: Fn($($arg),*) -> Out,
        {
            type Output = Out;

            #[allow(non_snake_case, clippy::unused_unit, reason = "one name per argument")]
            fn call(&self, ($($arg,)*): ($($arg,)*)) -> Out {
                self($($arg),*)
            }
        }
    };
}

entries!();
entries!(A1);
entries!(A1 A2);
entries!(A1 A2 A3);
entries!(A1 A2 A3 A4);
entries!(A1 A2 A3 A4 A5);
entries!(A1 A2 A3 A4 A5 A6);
entries!(A1 A2 A3 A4 A5 A6 A7);
entries!(A1 A2 A3 A4 A5 A6 A7 A8);

/// What a child does: it decodes its arguments, says that it is ready, and runs.
pub type Body = fn(Start<'_>) -> Result<Ending, StartFault>;

/// What a body gets.
pub struct Start<'a> {
    /// Its encoded arguments.
    pub args: Vec<u8>,
    /// The descriptors that came with them.
    pub fds: Vec<OwnedFd>,
    /// Tells the parent that the child is ready. To be called once, before user code.
    pub ready: &'a mut dyn FnMut(),
}

impl Start<'_> {
    /// Decodes the arguments.
    ///
    /// # Errors
    /// [`StartFault::Arguments`].
    pub fn decode<A: DeserializeOwned>(&mut self) -> Result<A, StartFault> {
        codec::decode(&std::mem::take(&mut self.args), std::mem::take(&mut self.fds))
            .map_err(|error| StartFault::Arguments(error.to_string()))
    }
}

/// How a body ended, and what it returned.
#[derive(Debug)]
pub struct Ending {
    /// What the parent is told.
    pub report: Report,
    /// The encoded value, for [`Report::Returned`].
    pub value: Encoded,
    /// What is printed on standard error: the error that the body returned.
    pub complaint: Option<String>,
}

impl Ending {
    /// A body that ends without a value.
    pub fn said(report: Report) -> Self {
        Self { report, value: Encoded::default(), complaint: None }
    }

    /// Python's exit code for this end.
    pub fn exitcode(&self) -> i32 {
        match self.report {
            Report::Returned { failed: false } | Report::Ended(_) => 0,
            _ => 1,
        }
    }

    /// A body that returned `value`.
    pub fn returned<R: Serialize>(value: &R) -> Self {
        match codec::encode(value) {
            Ok(encoded) => {
                let failed = is_err::<R>(&encoded.bytes);
                let complaint = failed.then(|| describe_error(value));
                Self { report: Report::Returned { failed }, value: encoded, complaint }
            }
            Err(error) => Self {
                report: Report::Unencodable(error.to_string()),
                value: Encoded::default(),
                complaint: Some(format!("the return value is lost: {error}")),
            },
        }
    }
}

/// The trampoline of a function: arguments in, value out.
///
/// # Errors
/// The function lies in no loaded object.
pub fn entry<F, A>(_function: F) -> Result<FunctionRef, NotInImage>
where
    F: Entry<A> + Copy + 'static,
    A: DeserializeOwned + 'static,
    F::Output: Serialize + 'static,
{
    body_ref::<F>(const { &Descriptor::new(BODY_TAG, run_entry::<F, A> as Body) })
}

/// The function lies in no loaded object of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the function lies in no loaded object")]
pub struct NotInImage;

/// Names a body of the library's own. `F` is what the name is printed from.
pub(crate) fn body_ref<F>(
    descriptor: &'static Descriptor<Body>,
) -> Result<FunctionRef, NotInImage> {
    let (build_id, offset) = descriptor.locate().ok_or(NotInImage)?;
    Ok(FunctionRef { build_id, offset, tag: BODY_TAG, name: type_name::<F>().into() })
}

impl FunctionRef {
    /// Whether this process has the object loaded that the function lies in.
    pub(crate) fn is_of_this_image(&self) -> bool {
        crate::sys::image::is_loaded(&self.build_id)
    }

    /// The body that this name stands for, in this process.
    pub(crate) fn body(&self) -> Option<Body> {
        if self.tag != BODY_TAG {
            return None;
        }
        Some(Descriptor::<Body>::resolve(&self.build_id, self.offset, BODY_TAG)?.run)
    }
}

pub(crate) const BODY_TAG: u64 = 1;

fn run_entry<F, A>(mut start: Start<'_>) -> Result<Ending, StartFault>
where
    F: Entry<A> + Copy + 'static,
    A: DeserializeOwned,
    F::Output: Serialize,
{
    let args: A = start.decode()?;
    (start.ready)();
    let value = conjure::<F>().call(args);
    Ok(Ending::returned(&value))
}

/// The function that a body was named for, out of nothing.
pub(crate) fn conjure_entry<F: Entry<A> + Copy + 'static, A>() -> F {
    conjure::<F>()
}

/// Whether encoded bytes of type `R` are the error side of a `Result`: its variant
/// comes first, and the codec writes it as one byte.
fn is_err<R>(bytes: &[u8]) -> bool {
    type_name::<R>().starts_with("core::result::Result<") && bytes.first() == Some(&1)
}

/// An error as text: a string as it is, anything else as JSON.
fn describe_error<R: Serialize>(value: &R) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(result)) => match result.get("Err") {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "error".into(),
        },
        _ => "error".into(),
    }
}

/// A function of known types and the name by which it travels.
///
/// What stands in the image is a function of one type for all of them, which takes a
/// `Slot` and looks at its type itself: reading a name as a function of other types is
/// found out by asking it.
pub struct Remembered<Args: 'static, R: 'static> {
    reference: FunctionRef,
    run: AnyFn,
    types: PhantomData<fn(Args) -> R>,
}

/// Calls the function with the arguments of a [`Slot`]; does nothing when there are
/// none. False when the slot is not of its types.
type AnyFn = fn(&mut dyn Any) -> bool;

struct Slot<Args, R> {
    args: Option<Args>,
    result: Option<R>,
}

const FUNCTION_TAG: u64 = 2;

/// A name that stands for no function of the types that it is read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is no function of this program with the types that it is read as")]
pub struct UnknownFunction {
    /// The function's name.
    pub name: String,
}

impl<Args: 'static, R: 'static> Remembered<Args, R> {
    /// Remembers a function.
    ///
    /// # Errors
    /// It lies in no loaded object.
    pub fn new<F>(_function: F) -> Result<Self, NotInImage>
    where
        F: Entry<Args, Output = R> + Copy + 'static,
    {
        let descriptor: &'static Descriptor<AnyFn> =
            const { &Descriptor::new(FUNCTION_TAG, run_any::<F, Args, R> as AnyFn) };
        let (build_id, offset) = descriptor.locate().ok_or(NotInImage)?;
        let name = type_name::<F>().into();
        let reference = FunctionRef { build_id, offset, tag: FUNCTION_TAG, name };
        Ok(Self { reference, run: descriptor.run, types: PhantomData })
    }

    /// The function that a name stands for.
    ///
    /// # Errors
    /// [`UnknownFunction`]: another build's, or of other types.
    pub fn resolve(reference: FunctionRef) -> Result<Self, UnknownFunction> {
        let FunctionRef { build_id, offset, .. } = &reference;
        let run = Descriptor::<AnyFn>::resolve(build_id, *offset, FUNCTION_TAG)
            .map(|descriptor| descriptor.run)
            .filter(|run| run(&mut Slot::<Args, R> { args: None, result: None }))
            .ok_or_else(|| UnknownFunction { name: reference.name.clone() })?;
        Ok(Self { reference, run, types: PhantomData })
    }

    /// Calls it.
    pub fn call(&self, args: Args) -> R {
        let mut slot = Slot { args: Some(args), result: None };
        (self.run)(&mut slot);
        let Some(result) = slot.result else { unreachable!("its types were asked for") };
        result
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.reference.name
    }

    /// What travels of it.
    pub fn reference(&self) -> &FunctionRef {
        &self.reference
    }
}

impl<Args, R> Clone for Remembered<Args, R> {
    fn clone(&self) -> Self {
        Self { reference: self.reference.clone(), run: self.run, types: PhantomData }
    }
}

fn run_any<F, Args, R>(slot: &mut dyn Any) -> bool
where
    F: Entry<Args, Output = R> + Copy + 'static,
    Args: 'static,
    R: 'static,
{
    let Some(slot) = slot.downcast_mut::<Slot<Args, R>>() else { return false };
    slot.result = slot.args.take().map(|args| conjure::<F>().call(args));
    true
}

/// A tag for a type, the same in every process of one build.
pub(crate) fn type_tag<T: ?Sized>() -> u64 {
    let mut hash = Fnv::default();
    hash.add(type_name::<T>().as_bytes());
    hash.0
}
