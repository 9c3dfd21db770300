//! Actors that are processes: how one is started, and what its process runs.
//!
//! Owns the two bodies of an actor's process (its state comes encoded, or is made by a
//! function there) and the serving of its links until it ends. The launcher starts the
//! process, `crate::peer` is the way to it.

use super::error::StartError;
use super::local::Local;
use super::message::Wire;
use super::reference::ActorRef;
use super::{Actor, host};
use crate::child::Child;
use crate::codec::{self, Encoded};
use crate::down::Down;
use crate::function::{Body, Ending, Entry, FunctionRef, Start, body_ref, conjure_entry};
use crate::launcher::hello::{Report, StartFault};
use crate::launcher::{self, LaunchSpec};
use crate::node;
use crate::peer::Peer;
use crate::peer::serve::Door;
use crate::sys::function::Descriptor;
use procession_protocols::exit::{ExitReason, RawStatus};
use procession_protocols::id::ActorId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;

/// What a function that makes an actor may return: the actor, or a `Result` of it.
pub trait IntoActor<A> {
    /// The actor.
    ///
    /// # Errors
    /// Why there is none, as text.
    fn into_actor(self) -> Result<A, String>;
}

impl<A: Actor> IntoActor<A> for A {
    fn into_actor(self) -> Result<A, String> {
        Ok(self)
    }
}

impl<A: Actor, E: fmt::Display> IntoActor<A> for Result<A, E> {
    fn into_actor(self) -> Result<A, String> {
        self.map_err(|error| error.to_string())
    }
}

/// An actor's process, before its start.
pub struct Blueprint {
    /// What it runs.
    pub entry: FunctionRef,
    /// The actor's type's name.
    pub type_name: &'static str,
}

/// How to start `A` from an encoded state.
///
/// # Errors
/// The type lies in no loaded object.
pub fn from_state<A>() -> Result<Blueprint, StartError>
where
    A: Actor + DeserializeOwned,
    A::Msg: Wire,
{
    let descriptor = const { &Descriptor::new(crate::function::BODY_TAG, run_state::<A> as Body) };
    blueprint::<A>(descriptor)
}

/// How to start `A` by a function and its encoded arguments.
///
/// # Errors
/// The function lies in no loaded object.
pub fn from_function<A, F, Args>(_make: F) -> Result<Blueprint, StartError>
where
    A: Actor,
    A::Msg: Wire,
    F: Entry<Args> + Copy + 'static,
    F::Output: IntoActor<A>,
    Args: DeserializeOwned + 'static,
{
    let descriptor =
        const { &Descriptor::new(crate::function::BODY_TAG, run_function::<A, F, Args> as Body) };
    blueprint::<A>(descriptor)
}

fn blueprint<A: Actor>(descriptor: &'static Descriptor<Body>) -> Result<Blueprint, StartError> {
    let entry = body_ref::<A>(descriptor).map_err(|_| launcher::StartError::NoSuchFunction)?;
    Ok(Blueprint { entry, type_name: A::NAME })
}

/// Arguments for an actor's process: whether it is supervised, then its own.
///
/// # Errors
/// What the arguments' `Serialize` says.
pub fn encode_args<T: Serialize>(supervised: bool, args: &T) -> Result<Encoded, StartError> {
    Ok(codec::encode_with(|encoder| {
        encoder.value(&supervised)?;
        encoder.value(args)
    })?)
}

pub(super) fn spawn<A>(state: &A, name: Option<&str>) -> Result<ActorRef<A>, StartError>
where
    A: Actor + Serialize + DeserializeOwned,
    A::Msg: Wire,
{
    launch(&from_state::<A>()?, encode_args(false, state)?, name)
}

pub(super) fn spawn_with<A, F, Args>(make: F, args: &Args) -> Result<ActorRef<A>, StartError>
where
    A: Actor,
    A::Msg: Wire,
    F: Entry<Args> + Copy + 'static,
    F::Output: IntoActor<A>,
    Args: Serialize + DeserializeOwned + 'static,
{
    launch(&from_function::<A, F, Args>(make)?, encode_args(false, args)?, None)
}

fn launch<A: Actor>(
    blueprint: &Blueprint,
    args: Encoded,
    name: Option<&str>,
) -> Result<ActorRef<A>, StartError> {
    let node = node::current();
    let number = node.next_child();
    let path = node.path.child(number);
    let name = name.map_or_else(|| format!("{}-{path}", blueprint.type_name), str::to_owned);
    let mut spec = LaunchSpec::plain(name, number, blueprint.entry.clone(), args);
    spec.ends_by_message = true;
    let child = launcher::start(spec)?;
    let peer = Peer::of_child(&child, path, A::MAILBOX, true);
    adopt(&node, &child)?;
    ActorRef::remote(peer).ok_or_else(|| StartError::Failed("its messages do not travel".into()))
}

fn adopt(node: &node::Node, child: &Arc<Child>) -> Result<(), StartError> {
    node::reaper::adopt(node, child).map_err(|error| {
        child.kill_and_reap();
        StartError::Process(error.into())
    })
}

fn run_state<A>(mut start: Start<'_>) -> Result<Ending, StartFault>
where
    A: Actor + DeserializeOwned,
    A::Msg: Wire,
{
    let (supervised, state) = start.decode::<(bool, A)>()?;
    serve(state, supervised, &mut start)
}

fn run_function<A, F, Args>(mut start: Start<'_>) -> Result<Ending, StartFault>
where
    A: Actor,
    A::Msg: Wire,
    F: Entry<Args> + Copy + 'static,
    F::Output: IntoActor<A>,
    Args: DeserializeOwned,
{
    let (supervised, args) = start.decode::<(bool, Args)>()?;
    let made = conjure_entry::<F, Args>().call(args);
    serve(made.into_actor().map_err(StartFault::Failed)?, supervised, &mut start)
}

/// Runs the actor on this thread, with this process's links, until it ends.
fn serve<A: Actor>(
    actor: A,
    supervised: bool,
    start: &mut Start<'_>,
) -> Result<Ending, StartFault> {
    let node = node::current();
    let parent = node.parent().ok_or_else(|| StartFault::Failed("no parent".into()))?;
    let id = ActorId { node: node.id, number: 0 };
    let local = Local::new(id, node.name(), A::MAILBOX);
    let mailbox = local.mailbox().clone();
    let this = Arc::downgrade(&local);
    node::routes::register(&local);
    let mut door = Door::new(local, parent.data.clone(), supervised)
        .map_err(|error| StartFault::Failed(error.to_string()))?;
    node::control::set_entrance(door.entrance());

    let mut refused = None;
    let started = |outcome: Result<(), StartError>| match outcome {
        Ok(()) => (start.ready)(),
        Err(error) => refused = Some(error),
    };
    let reason = host::run(actor, &mailbox, this, started, |mailbox| {
        node::control::note_idle(true);
        let turn = door.next(mailbox);
        node::control::note_idle(false);
        turn
    });
    if let Some(error) = refused {
        return Err(match error {
            StartError::Panicked(report) => StartFault::Panicked(report),
            StartError::Ignored => StartFault::Ignored,
            other => StartFault::Failed(other.to_string()),
        });
    }
    door.close(&Down {
        actor: id,
        pid: Some(std::process::id()),
        name: node.name(),
        reason: reason.clone(),
        status: RawStatus::Unknown,
        usage: None,
    });
    Ok(Ending::said(match reason {
        ExitReason::Panic(report) => Report::Panicked(report),
        reason => Report::Ended(reason),
    }))
}
