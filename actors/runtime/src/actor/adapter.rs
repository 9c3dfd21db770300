//! A reference as a plain ractor actor.
//!
//! Owns a proxy actor of the hidden thread for each reference handed out: it passes
//! messages on, and ends when the actor does, so that a ractor supervisor linked to it
//! hears of the end as a supervision event (`ActorTerminated` for a clean end,
//! `ActorFailed` otherwise). Its mailbox is ractor's, and the one in this library that has no
//! bound.

use super::reference::ActorRef;
use super::{CallError, Handler};
use crate::down::{Down, Monitor};
use crate::node::{hidden, tree};
use crate::wait;
use ractor::{Actor, ActorProcessingErr, SupervisionEvent};
use std::io;
use std::marker::PhantomData;

impl<A: Handler> ActorRef<A> {
    /// This actor as a `ractor::ActorRef`, for programs that are built of ractor actors.
    ///
    /// A message with a [`Reply`](super::Reply) is made from ractor's own port:
    /// `ractor::call!(counter, |port| CounterMsg::Add(5, port.into()))`. The mailbox of
    /// what is handed out has no bound.
    ///
    /// # Errors
    /// [`CallError::Unreachable`]: the hidden thread cannot be had, or there is no way to
    /// watch the actor. The first use of a reference from elsewhere may wait for it for 5 s.
    pub fn ractor(&self) -> Result<ractor::ActorRef<A::Msg>, CallError> {
        if hidden::is_current() {
            return Err(CallError::WouldDeadlock);
        }
        // Here, for the hidden thread cannot wait for an introduction.
        let watched = (self.clone(), self.monitor()?);
        let spawned = hidden::run(async move {
            let root = tree::root().await.map_err(io::Error::other)?;
            let proxy = Proxy(PhantomData);
            let spawned = Actor::spawn_linked(None, proxy, watched, root).await;
            spawned.map(|(proxy, _)| proxy).map_err(io::Error::other)
        });
        let spawned = spawned.map_err(unreachable)?;
        wait::block_on(spawned).map_err(unreachable)
    }
}

fn unreachable(error: impl std::fmt::Display) -> CallError {
    CallError::Unreachable(error.to_string())
}

struct Proxy<A>(PhantomData<fn() -> A>);

struct State<A: Handler> {
    actor: ActorRef<A>,
    /// Replies are read by the hidden thread while the proxy lives.
    _watch: Option<Box<dyn Send>>,
}

impl<A: Handler> Actor for Proxy<A> {
    type Msg = A::Msg;
    type State = State<A>;
    type Arguments = (ActorRef<A>, Monitor);

    async fn pre_start(
        &self,
        myself: ractor::ActorRef<A::Msg>,
        (actor, monitor): (ActorRef<A>, Monitor),
    ) -> Result<State<A>, ActorProcessingErr> {
        // ractor has no way for an actor to fail but an error of a handler of its own; a
        // child's failure is one.
        let (watcher, _) = Actor::spawn_linked(None, Watcher, (), myself.get_cell()).await?;
        tokio::spawn(async move {
            let _ = watcher.send_message(monitor.await);
        });
        Ok(State { _watch: actor.watch_replies(), actor })
    }

    async fn handle(
        &self,
        _: ractor::ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut State<A>,
    ) -> Result<(), ActorProcessingErr> {
        if let Err(error) = state.actor.send_async(message).await {
            // The message's reply is dropped with it, which tells its caller.
            tracing::debug!(target: "procession", actor = state.actor.name(), why = %error.why,
                "a message was not passed on");
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ractor::ActorRef<A::Msg>,
        event: SupervisionEvent,
        _: &mut State<A>,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(_, _, reason) => {
                myself.stop(reason);
                Ok(())
            }
            SupervisionEvent::ActorFailed(_, error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Ends as the watched actor did.
struct Watcher;

impl Actor for Watcher {
    type Msg = Down;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ractor::ActorRef<Down>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        myself: ractor::ActorRef<Down>,
        down: Down,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if down.reason.is_clean() {
            myself.stop(Some(down.reason.to_string()));
            Ok(())
        } else {
            Err(down.reason.to_string().into())
        }
    }
}
