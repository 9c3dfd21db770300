//! The ractor tree of a node: a root supervisor, and a proxy actor for each child
//! process that a supervisor has.
//!
//! Owns the reaping by the hidden thread: a proxy watches its child's pidfd and control
//! link, and ends with the child, so that the child's end reaches its supervisor as a
//! ractor supervision event: `ActorTerminated` for a clean end, `ActorFailed`
//! otherwise. It decides nothing: policies do.

use super::hidden;
use crate::child::Child;
use crate::down::Down;
use crate::relay::Pumped;
use crate::sync::lock;
use crate::sys::watch::{Held, Watched as WatchedFd};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use tokio::io::Interest;
use tokio::sync::oneshot;

/// The root supervisor's cell, and the process that it lives in.
static ROOT: Mutex<Option<(u32, ActorCell)>> = Mutex::new(None);

/// Makes what this node needs before it can have children: the hidden thread, and what
/// runs at exit.
///
/// # Errors
/// No descriptor or thread was to be had.
pub(crate) fn get_ready() -> io::Result<()> {
    hidden::handle()?;
    super::leave::prepare();
    super::control::attend()
}

/// Reaps a process that is nobody's actor, such as a zygote, when it ends.
///
/// # Errors
/// The hidden thread could not be started.
pub(crate) fn reap_alone(child: Arc<Child>, ended: fn()) -> io::Result<()> {
    hidden::handle()?.spawn(async move {
        until_end(&child).await;
        ended();
    });
    Ok(())
}

/// Starts the proxy of `child` under `supervisor`. To be called on the hidden thread.
///
/// # Errors
/// ractor's, when the supervisor has ended.
pub(crate) async fn watch(
    child: Arc<Child>,
    supervisor: ActorCell,
) -> Result<ActorRef<Ended>, ractor::SpawnErr> {
    let (proxy, _) = Actor::spawn_linked(None, ProcessProxy, child, supervisor).await?;
    Ok(proxy)
}

/// The root supervisor of this node. To be called on the hidden thread.
pub(crate) async fn root() -> Result<ActorCell, ractor::SpawnErr> {
    let me = std::process::id();
    if let Some((pid, root)) = &*lock(&ROOT)
        && *pid == me
    {
        return Ok(root.clone());
    }
    let (root, _) = Actor::spawn(None, RootSupervisor, ()).await?;
    let slot = &mut *lock(&ROOT);
    match slot {
        // Another task of this thread was quicker.
        Some((pid, first)) if *pid == me => {
            root.stop(None);
            Ok(first.clone())
        }
        _ => {
            let cell = root.get_cell();
            std::mem::forget(slot.replace((me, cell.clone())));
            Ok(cell)
        }
    }
}

struct RootSupervisor;

impl Actor for RootSupervisor {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    /// Plain processes are temporary: their ends are known by their Downs. The default
    /// would end the root at the first child that fails.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// Tells a proxy that its child has ended.
pub(crate) struct Ended(Arc<Down>);

/// A child process as a ractor actor.
pub(crate) struct ProcessProxy;

/// A proxy's child; dropping it ends the watch.
pub(crate) struct Watched {
    child: Arc<Child>,
    _stop: oneshot::Sender<()>,
}

impl Actor for ProcessProxy {
    type Msg = Ended;
    type State = Watched;
    type Arguments = Arc<Child>;

    async fn pre_start(
        &self,
        myself: ActorRef<Ended>,
        child: Arc<Child>,
    ) -> Result<Watched, ActorProcessingErr> {
        let (stop, stopped) = oneshot::channel();
        let watched = child.clone();
        tokio::spawn(async move {
            tokio::select! {
                down = until_end(&watched) => drop(myself.send_message(Ended(down))),
                _ = stopped => {}
            }
        });
        Ok(Watched { child, _stop: stop })
    }

    async fn handle(
        &self,
        myself: ActorRef<Ended>,
        Ended(down): Ended,
        state: &mut Watched,
    ) -> Result<(), ActorProcessingErr> {
        lock(&super::current().children).remove(&state.child.number());
        tracing::debug!(target: "procession", name = down.name, pid = down.pid,
            reason = %down.reason, "process ended");
        if down.reason.is_clean() {
            myself.stop(Some(down.reason.to_string()));
            Ok(())
        } else {
            Err(down.reason.to_string().into())
        }
    }
}

/// Serves the child's control link until it has ended.
async fn until_end(child: &Arc<Child>) -> Arc<Down> {
    let pidfd = watched(child, Child::pidfd);
    let control = watched(child, |child| child.control().as_fd());
    loop {
        let more = child.drain_control();
        tokio::select! {
            // Also when the child had ended before it was watched. The end of its control
            // link is no reason to look: a thread that joins it would have to wait.
            () = pidfd.readable() => {
                if let Some(down) = child.reap() {
                    return down;
                }
            }
            () = control.readable(), if more && !child.has_more() => {}
            () = child.turn(), if child.has_more() => {}
        }
    }
}

/// Has the child's relayed output copied from now on. To be called on the hidden thread.
pub(crate) fn pump(child: &Arc<Child>) {
    for at in 0..child.relay().count() {
        let stream = watched(child, |child| child.relay().descriptor(at));
        let child = child.clone();
        tokio::spawn(async move {
            loop {
                match child.relay().pump() {
                    Pumped::Ended => return,
                    Pumped::More => child.relay().lines().turn().await,
                    Pumped::All => stream.readable().await,
                }
            }
        });
    }
}

fn watched(child: &Arc<Child>, fd: impl FnOnce(&Child) -> BorrowedFd<'_>) -> WatchedFd {
    WatchedFd::new(Ok(Held::new(child, fd)), Interest::READABLE)
}
