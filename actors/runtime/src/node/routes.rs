//! Who can be reached from here, and how: actors of this process, and introductions to
//! those of others.
//!
//! Owns the tables of references that have left or entered this process, and the
//! routing of introductions along the tree: a request goes up until a node stands above
//! (or is) the target; that node makes a socket pair and sends an end to each side. No
//! name, no port. It never waits and never decodes a user's message.

use super::{control, lifeline};
use crate::actor::remote::{Imported, Keeper, Lifeline, LocalActor, Node as Seam, RefWire, Remote};
use crate::actor::{CallError, Local, Message};
use crate::child::Child;
use crate::codec::Fd;
use crate::down::Down;
use crate::launcher::hello::{self, ToChild, ToParent};
use crate::link::{Link, LinkError, OUTBOUND_LIMIT};
use crate::manager::far_actor;
use crate::node::hidden;
use crate::peer::distant::Distant;
use crate::peer::{Peer, hosted};
use crate::supervisor::slot;
use crate::sync::lock;
use nix::sys::signal::Signal;
use procession_protocols::id::{ActorId, NodeId, NodePath, Step};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// A message that nodes pass on along the tree.
#[derive(Debug, Serialize, Deserialize)]
pub enum Routed {
    /// Up from a client: introduce me to this actor.
    Introduce {
        /// The client's number for this.
        ticket: u64,
        /// Where the client is.
        client: NodePath,
        /// Where the actor is.
        target: NodePath,
        /// The life of its process.
        node: NodeId,
        /// The actor's number there.
        number: u64,
    },
    /// Down to the target: a client's end of a pair.
    Visit {
        /// Where the actor is.
        target: NodePath,
        /// The life of its process.
        node: NodeId,
        /// The actor's number there.
        number: u64,
        /// The target's end.
        end: Fd,
        /// Whether the client has the pidfd of the target's process. The parent of a process
        /// that is an actor sends it: that one may be at a message for long.
        is_greeted: bool,
    },
    /// To the target: end. It does not wait for the messages that are under way to it.
    End {
        /// Where the actor is.
        target: NodePath,
        /// The life of its process.
        node: NodeId,
        /// The actor's number there.
        number: u64,
        /// Whether without asking.
        is_kill: bool,
    },
    /// Down to the client: its end, or why there is none.
    Answer {
        /// Where the client is.
        client: NodePath,
        /// The client's number for this.
        ticket: u64,
        /// Its end.
        end: Result<Fd, String>,
    },
}

#[derive(Default)]
struct Tables {
    /// Actors on threads of this process whose references have left it.
    exported: HashMap<u64, Weak<dyn LocalActor>>,
    /// The actor that is this process.
    own: Option<Weak<dyn LocalActor>>,
    /// Ways to actors elsewhere, shared by all references to them.
    known: HashMap<ActorId, Weak<dyn Remote>>,
    /// Introductions under way.
    asked: HashMap<u64, oneshot::Sender<Result<OwnedFd, String>>>,
    last_ticket: u64,
}

static TABLES: LazyLock<Mutex<Tables>> = LazyLock::new(Mutex::default);

/// Keeps the tables still across a fork.
pub(super) fn hold_for_fork() -> impl Sized {
    lock(&TABLES)
}

/// Forgets, in a forked child, whom its parent reached.
pub(super) fn forget_inherited() {
    std::mem::forget(std::mem::take(&mut *lock(&TABLES)));
}

/// Makes references of this process travel. Once; later calls do nothing.
pub(crate) fn install() {
    crate::actor::remote::install(Box::new(ThisNode));
}

/// Enters the actor that is this process.
pub(crate) fn register<M: Message>(local: &Arc<Local<M>>) {
    let actor: Arc<dyn LocalActor> = local.clone();
    lock(&TABLES).own = Some(Arc::downgrade(&actor));
}

/// Enters the way to a child's actor.
pub(crate) fn know(peer: &Arc<Peer>) {
    let remote: Arc<dyn Remote> = peer.clone();
    lock(&TABLES).known.insert(remote.id(), Arc::downgrade(&remote));
}

/// Keeps the way to a child's actor while a reference to it is in another process.
pub(crate) fn keep(peer: Arc<Peer>) -> Result<Lifeline, CallError> {
    lifeline::tie(peer).map_err(unreachable)
}

/// Forgets a child's actor, which has ended.
pub(crate) fn forget(id: ActorId) {
    lock(&TABLES).known.remove(&id);
}

fn unreachable(error: io::Error) -> CallError {
    CallError::Unreachable(error.to_string())
}

struct ThisNode;

impl Seam for ThisNode {
    fn id(&self) -> NodeId {
        super::current().id
    }

    fn export(&self, actor: Arc<dyn LocalActor>) -> Result<RefWire, CallError> {
        let node = super::current();
        let mut wire = RefWire {
            node: node.id,
            path: node.path.clone(),
            number: actor.id().number,
            name: actor.name().to_owned(),
            options: actor.options(),
            lifeline: None,
        };
        if wire.number != 0 {
            // Its callers come by the control link, which the main thread may not read.
            control::attend().map_err(unreachable)?;
            let number = wire.number;
            let known = lock(&TABLES).exported.insert(number, Arc::downgrade(&actor));
            if known.is_none() {
                let forget = move |_: Down| drop(lock(&TABLES).exported.remove(&number));
                actor.monitor(Box::new(forget));
            }
            wire.lifeline = Some(match far_actor::keep(&actor) {
                Some(keeper) => Lifeline::Object(keeper),
                None => lifeline::tie(actor).map_err(unreachable)?,
            });
        }
        Ok(wire)
    }

    fn import(&self, wire: RefWire) -> Result<Imported, CallError> {
        let tables = &mut *lock(&TABLES);
        if wire.node == super::current().id {
            let actor = match wire.number {
                0 => tables.own.as_ref().and_then(Weak::upgrade),
                number => tables.exported.get(&number).and_then(Weak::upgrade),
            };
            return actor.map(Imported::Local).ok_or(CallError::Stopped);
        }
        if let Some(Lifeline::Object(keeper)) = &wire.lifeline
            && let Some(remote) = keeper.way(&wire)
        {
            return Ok(Imported::Remote(remote));
        }
        let id = ActorId { node: wire.node, number: wire.number };
        if let Some(remote) = tables.known.get(&id).and_then(Weak::upgrade) {
            return Ok(Imported::Remote(remote));
        }
        let remote: Arc<dyn Remote> = Arc::new(Distant::new(wire));
        tables.known.retain(|_, remote| remote.strong_count() > 0);
        tables.known.insert(id, Arc::downgrade(&remote));
        Ok(Imported::Remote(remote))
    }

    fn unpack(&self, packed: &[u8]) -> Result<Arc<dyn Keeper>, CallError> {
        Ok(far_actor::unpack(packed)?)
    }
}

/// Asks for an introduction; the answer is our end of the pair.
pub(crate) fn introduce(wire: &RefWire) -> io::Result<oneshot::Receiver<Result<OwnedFd, String>>> {
    control::attend()?;
    let (sender, receiver) = oneshot::channel();
    let ticket = {
        let tables = &mut *lock(&TABLES);
        tables.last_ticket += 1;
        tables.asked.retain(|_, asked| !asked.is_closed());
        tables.asked.insert(tables.last_ticket, sender);
        tables.last_ticket
    };
    pass_on(Routed::Introduce {
        ticket,
        client: super::current().path.clone(),
        target: wire.path.clone(),
        node: wire.node,
        number: wire.number,
    });
    Ok(receiver)
}

/// Does what a message says, or passes it on.
pub(crate) fn pass_on(message: Routed) {
    let here = super::current();
    match message {
        Routed::Introduce { ticket, client, target, node, number } => {
            if here.path.step_to(&target) == Step::Parent {
                up(Routed::Introduce { ticket, client, target, node, number });
                return;
            }
            let end = match Link::pair() {
                Ok((theirs, ours)) => {
                    let end = Fd(theirs);
                    if deliver(Routed::Visit { target, node, number, end, is_greeted: false }) {
                        Ok(Fd(ours))
                    } else {
                        Err("its process has ended".to_owned())
                    }
                }
                Err(error) => Err(error.to_string()),
            };
            deliver(Routed::Answer { client, ticket, end });
        }
        Routed::End { ref target, .. } if here.path.step_to(target) == Step::Parent => up(message),
        other => drop(deliver(other)),
    }
}

/// Has an actor in another process end.
pub(crate) fn end(target: &NodePath, actor: ActorId, is_kill: bool) {
    let ActorId { node, number } = actor;
    pass_on(Routed::End { target: target.clone(), node, number, is_kill });
}

/// Ends an actor of this process, or what has a place in a tree of this process's.
fn end_here(number: u64, is_kill: bool) -> bool {
    if let Some(peer) = slot::latest(number) {
        let Ok(handle) = hidden::handle() else { return false };
        // Not here: the message may have come from that very child, which is at its words.
        handle.spawn(async move { if is_kill { peer.kill() } else { peer.stop() } });
        return true;
    }
    let actor = lock(&TABLES).exported.get(&number).and_then(Weak::upgrade);
    match actor {
        Some(actor) if is_kill => actor.kill(),
        Some(actor) => actor.stop(),
        None => return number == 0 && control::shut_down(),
    }
    true
}

/// Takes a message down to where it belongs; false when the way has ended.
fn deliver(message: Routed) -> bool {
    let here = super::current();
    let (Routed::Visit { target, .. }
    | Routed::End { target, .. }
    | Routed::Answer { client: target, .. }) = &message
    else {
        return false;
    };
    match here.path.step_to(target) {
        Step::Here => arrived(message, here.id),
        Step::Child(number) => {
            let child = lock(&here.children).get(&number).cloned();
            child.is_some_and(|child| {
                if let Routed::End { node, number: 0, is_kill: true, .. } = &message
                    && child.id().node == *node
                {
                    return child.signal(Signal::SIGKILL).is_ok();
                }
                let mut message = message;
                greet_for(&child, &mut message).is_ok()
                    && tell_child(&child, &ToChild::Routed(message)).is_ok()
            })
        }
        // Only a damaged message goes up again.
        Step::Parent => false,
    }
}

/// Greets a client in the name of the child that it wants to visit, if that is the actor.
fn greet_for(child: &Child, message: &mut Routed) -> io::Result<()> {
    if let Routed::Visit { node, number: 0, end, is_greeted, .. } = message
        && child.id().node == *node
    {
        hosted::greet(&Link::new(end.0.try_clone()?), child.pidfd())?;
        *is_greeted = true;
    }
    Ok(())
}

fn arrived(message: Routed, here: NodeId) -> bool {
    match message {
        Routed::Visit { node, number, end, is_greeted, .. } if node == here => {
            if let Some(running) = slot::by_number(number) {
                return see_to_slot(running, end);
            }
            let link = Link::new(end.into());
            // The client learns our death from our pidfd, whoever else holds its socket.
            if !is_greeted && hosted::greet_here(&link).is_err() {
                return false;
            }
            if number == 0 {
                return control::admit(link);
            }
            let actor = lock(&TABLES).exported.get(&number).and_then(Weak::upgrade);
            actor.is_some_and(|actor| hosted::serve(link, actor).is_ok())
        }
        Routed::End { node, number, is_kill, .. } if node == here => end_here(number, is_kill),
        Routed::Answer { ticket, end, .. } => {
            let asked = lock(&TABLES).asked.remove(&ticket);
            asked.is_some_and(|asked| asked.send(end.map(OwnedFd::from)).is_ok())
        }
        _ => false,
    }
}

/// Sends a client on to whatever runs in a supervisor's place.
fn see_to_slot(running: impl Future<Output = Option<Arc<Peer>>> + Send + 'static, end: Fd) -> bool {
    let Ok(handle) = hidden::handle() else { return false };
    handle.spawn(async move {
        // When nothing runs there in time, the end is dropped, and the client sees it.
        if let Some(peer) = running.await {
            let ActorId { node, number } = peer.id();
            let target = peer.path().clone();
            deliver(Routed::Visit { target, node, number, end, is_greeted: false });
        }
    });
    true
}

fn up(message: Routed) {
    let node = super::current();
    let Some(parent) = node.parent() else {
        // A root stands above all; this is a stranger's path.
        if let Routed::Introduce { client, ticket, .. } = message {
            deliver(Routed::Answer { client, ticket, end: Err("no such process".into()) });
        }
        return;
    };
    let _ = hello::post(&parent.control, &ToParent::Routed(message), OUTBOUND_LIMIT);
    super::writing::finish(&node, control_of);
}

fn control_of(node: &super::Node) -> &Link {
    match node.parent() {
        Some(parent) => &parent.control,
        None => unreachable!("asked of a node with a parent"),
    }
}

/// Posts a control message to a child, and sees to it that it goes out.
pub(crate) fn tell_child(child: &Arc<Child>, message: &ToChild) -> Result<(), LinkError> {
    /// A child whose socket is full is looked at this often.
    const PERIOD: Duration = Duration::from_millis(5);
    hello::post(child.control(), message, OUTBOUND_LIMIT)?;
    if child.control().wants_write() {
        let child = child.clone();
        hidden::handle()?.spawn(async move {
            while child.reap().is_none() && matches!(child.control().flush(), Ok(false)) {
                tokio::time::sleep(PERIOD).await;
            }
        });
    }
    Ok(())
}
