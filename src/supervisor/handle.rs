//! A running supervisor, and what can be asked of it.
//!
//! Owns the handle: when the last one of a root goes, its tree is asked to stop.

use super::{
    ChildCounts, ChildKind, ChildSettings, ChildSpec, ChildState, Incarnation, SupervisorError,
    SupervisorExit,
};
use procession_protocols::exit::ExitReason;
use procession_protocols::supervision::event::{ChildInfo as PolicyInfo, ChildRef};
use procession_runtime::actor::{Actor, ActorRef};
use procession_runtime::supervisor::{Root, Tree};
use procession_runtime::wait::block_on;
use serde::Serialize;
use std::sync::Arc;

/// A running supervisor. When the last clone of a root's handle is dropped it is asked
/// to stop; it is stopped, in order, when this process ends.
#[derive(Debug, Clone)]
pub struct SupervisorRef {
    tree: Arc<Tree>,
    /// A root is stopped when this goes.
    _root: Option<Arc<Root>>,
}

/// One row of [`SupervisorRef::which_children`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildInfo {
    /// Its id.
    pub id: String,
    /// Where it is in its life.
    pub state: ChildState,
    /// Its latest life.
    pub incarnation: Option<Incarnation>,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// Its process id, when it has a process.
    pub pid: Option<u32>,
}

impl SupervisorRef {
    pub(super) fn of_root(root: Root) -> Self {
        Self { tree: root.tree().clone(), _root: Some(Arc::new(root)) }
    }

    /// A reference to an actor among the children that survives its restarts: a call
    /// made while it is being restarted waits for it (5 s, unless it has a deadline of
    /// its own); one in flight at its death fails with `ActorDied`.
    ///
    /// # Errors
    /// [`SupervisorError::NoSuchActor`].
    pub fn actor<A: Actor>(&self, id: &str) -> Result<A::Ref, SupervisorError> {
        let remote = self.tree.actor(id, A::MAILBOX);
        remote
            .and_then(ActorRef::<A>::remote)
            .map(A::Ref::from)
            .ok_or_else(|| SupervisorError::NoSuchActor(id.to_owned()))
    }

    /// A supervisor among the children that runs in this process.
    ///
    /// # Errors
    /// [`SupervisorError::NoSuchSupervisor`].
    pub fn supervisor(&self, id: &str) -> Result<Self, SupervisorError> {
        let tree = self.tree.supervisor(id);
        tree.map(|tree| Self { tree, _root: None })
            .ok_or_else(|| SupervisorError::NoSuchSupervisor(id.to_owned()))
    }

    /// Every child, in start order.
    pub fn which_children(&self) -> Vec<ChildInfo> {
        block_on(self.which_children_async())
    }

    /// As [`which_children`](Self::which_children), without blocking the thread.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the answer.
    pub async fn which_children_async(&self) -> Vec<ChildInfo> {
        let row = |(info, pid): (PolicyInfo, Option<u32>)| ChildInfo {
            id: info.id,
            state: info.state,
            incarnation: info.incarnation,
            kind: info.kind,
            pid,
        };
        self.tree.which_children().await.into_iter().map(row).collect()
    }

    /// How many children there are, by kind.
    pub fn count_children(&self) -> ChildCounts {
        block_on(self.count_children_async())
    }

    /// As [`count_children`](Self::count_children), without blocking the thread.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the answer.
    pub async fn count_children_async(&self) -> ChildCounts {
        self.tree.count_children().await
    }

    /// What the supervisor knows of a child; that of a dynamic supervisor's template goes by the
    /// template's id. `None` when there is no such child.
    pub fn childspec(&self, id: &str) -> Option<ChildSettings> {
        block_on(self.tree.childspec(id))
    }

    /// Adds a child after all others, and starts it; it stays only if it starts. `None`:
    /// it declined to run.
    ///
    /// # Errors
    /// [`RequestError`](super::RequestError), as a [`SupervisorError::Request`].
    pub fn start_child(&self, child: ChildSpec) -> Result<Option<Incarnation>, SupervisorError> {
        block_on(self.start_child_async(child))
    }

    /// As [`start_child`](Self::start_child), without blocking the thread.
    ///
    /// # Errors
    /// As [`start_child`](Self::start_child).
    ///
    /// # Cancel safety
    /// Dropping the future does not take the request back.
    pub async fn start_child_async(
        &self,
        child: ChildSpec,
    ) -> Result<Option<Incarnation>, SupervisorError> {
        Ok(self.tree.start_child(child.plan()?).await?)
    }

    /// Starts one more child of a dynamic supervisor from its template, with these
    /// arguments in place of the template's (of the same types).
    ///
    /// # Errors
    /// [`RequestError`](super::RequestError), as a [`SupervisorError::Request`].
    pub fn start_dynamic<Args: Serialize>(
        &self,
        args: &Args,
    ) -> Result<Option<Incarnation>, SupervisorError> {
        block_on(self.start_dynamic_async(args))
    }

    /// As [`start_dynamic`](Self::start_dynamic), without blocking the thread.
    ///
    /// # Errors
    /// As [`start_dynamic`](Self::start_dynamic).
    ///
    /// # Cancel safety
    /// Dropping the future does not take the request back.
    pub fn start_dynamic_async<Args: Serialize>(
        &self,
        args: &Args,
    ) -> impl Future<Output = Result<Option<Incarnation>, SupervisorError>> + Send + use<Args> {
        let (tree, args) = (self.tree.clone(), self.tree.encode_dynamic(args));
        async move { Ok(tree.start_dynamic(Some(args?)).await?) }
    }

    /// Stops a child; its spec stays, unless it is temporary.
    ///
    /// # Errors
    /// [`RequestError`](super::RequestError), as a [`SupervisorError::Request`].
    pub fn terminate_child(&self, id: &str) -> Result<(), SupervisorError> {
        block_on(self.terminate_child_async(id))
    }

    /// As [`terminate_child`](Self::terminate_child), without blocking the thread.
    ///
    /// # Errors
    /// As [`terminate_child`](Self::terminate_child).
    ///
    /// # Cancel safety
    /// Dropping the future does not take the request back.
    pub async fn terminate_child_async(&self, id: &str) -> Result<(), SupervisorError> {
        Ok(self.tree.terminate_child(ChildRef::Id(id.to_owned())).await?)
    }

    /// Stops a child of a dynamic supervisor.
    ///
    /// # Errors
    /// [`RequestError`](super::RequestError), as a [`SupervisorError::Request`].
    pub fn terminate_dynamic(&self, incarnation: Incarnation) -> Result<(), SupervisorError> {
        block_on(self.terminate_dynamic_async(incarnation))
    }

    /// As [`terminate_dynamic`](Self::terminate_dynamic), without blocking the thread.
    ///
    /// # Errors
    /// As [`terminate_dynamic`](Self::terminate_dynamic).
    ///
    /// # Cancel safety
    /// Dropping the future does not take the request back.
    pub async fn terminate_dynamic_async(
        &self,
        incarnation: Incarnation,
    ) -> Result<(), SupervisorError> {
        Ok(self.tree.terminate_child(ChildRef::Incarnation(incarnation)).await?)
    }

    /// Starts a child that is down.
    ///
    /// # Errors
    /// [`RequestError`](super::RequestError), as a [`SupervisorError::Request`].
    pub fn restart_child(&self, id: &str) -> Result<Option<Incarnation>, SupervisorError> {
        block_on(self.restart_child_async(id))
    }

    /// As [`restart_child`](Self::restart_child), without blocking the thread.
    ///
    /// # Errors
    /// As [`restart_child`](Self::restart_child).
    ///
    /// # Cancel safety
    /// Dropping the future does not take the request back.
    pub async fn restart_child_async(
        &self,
        id: &str,
    ) -> Result<Option<Incarnation>, SupervisorError> {
        Ok(self.tree.restart_child(id).await?)
    }

    /// Drops the spec of a child that is down.
    ///
    /// # Errors
    /// [`RequestError`](super::RequestError), as a [`SupervisorError::Request`].
    pub fn delete_child(&self, id: &str) -> Result<(), SupervisorError> {
        block_on(self.delete_child_async(id))
    }

    /// As [`delete_child`](Self::delete_child), without blocking the thread.
    ///
    /// # Errors
    /// As [`delete_child`](Self::delete_child).
    ///
    /// # Cancel safety
    /// Dropping the future does not take the request back.
    pub async fn delete_child_async(&self, id: &str) -> Result<(), SupervisorError> {
        Ok(self.tree.delete_child(id).await?)
    }

    /// Stops it: its children in reverse order, each as its spec says. Returns when
    /// nothing of it is left. Stopping one that has stopped is no error. A nested one that is
    /// permanent is started again by its own supervisor, which has
    /// [`terminate_child`](Self::terminate_child) for one that is to stay down.
    ///
    /// # Errors
    /// [`SupervisorError::GaveUp`] when it had given up before. In a copy of its process, which
    /// a fork made, [`SupervisorError::Tree`]: it does not run there.
    pub fn stop(&self) -> Result<(), SupervisorError> {
        block_on(self.stop_async())
    }

    /// As [`stop`](Self::stop), without blocking the thread.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    ///
    /// # Cancel safety
    /// Dropping the future does not take the stop back.
    pub async fn stop_async(&self) -> Result<(), SupervisorError> {
        outcome(self.tree.stop().await?)
    }

    /// Waits until it has ended by itself: it gave up, or its significant children ended. Also
    /// when its own supervisor has started it again since.
    ///
    /// # Errors
    /// [`SupervisorError::GaveUp`].
    pub fn join(&self) -> Result<(), SupervisorError> {
        block_on(self.join_async())
    }

    /// As [`join`](Self::join), without blocking the thread.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait.
    pub async fn join_async(&self) -> Result<(), SupervisorError> {
        self.tree.own()?;
        outcome(self.tree.ended().await)
    }

    /// Waits until it has ended, and lets Ctrl-C (SIGINT) and SIGTERM stop it in good
    /// order; a second Ctrl-C kills what is left. The processes of the tree ignore
    /// Ctrl-C: what it means is decided here. From the first call on this process
    /// handles both signals.
    ///
    /// # Errors
    /// [`SupervisorError::GaveUp`]; the system refused the signal handlers.
    pub fn serve(&self) -> Result<(), SupervisorError> {
        block_on(self.serve_async())
    }

    /// As [`serve`](Self::serve), without blocking the thread.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait; the signals stay handled, to no effect.
    pub async fn serve_async(&self) -> Result<(), SupervisorError> {
        self.tree.own()?;
        outcome(self.tree.clone().serve().await.map_err(super::TreeError::Io)?)
    }

    /// How it has ended; `None` while it runs.
    pub fn exit(&self) -> Option<SupervisorExit> {
        self.tree.exit()
    }

    /// Why it has ended, as its own supervisor would see it; `None` while it runs.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.tree.exit().map(|exit| exit.reason())
    }

    /// The ractor actor that it is: its children there are the proxies of its processes
    /// and its nested supervisors, and whoever supervises it gets its end as an event.
    /// `None` when it has ended.
    pub fn ractor_cell(&self) -> Option<ractor::ActorCell> {
        self.tree.cell()
    }
}

fn outcome(exit: SupervisorExit) -> Result<(), SupervisorError> {
    match exit {
        exit @ SupervisorExit::GaveUp { .. } => Err(SupervisorError::GaveUp(exit)),
        _ => Ok(()),
    }
}
