//! References to actors.
//!
//! Owns [`ActorRef`], what users and generated code call. It must never reach into a handler: it holds a mailbox's
//! sending side or a [`Remote`].

use super::error::{CallError, SendError};
use super::local::Local;
use super::message::{Message, WireFns};
use super::remote::{self, Imported, RefWire, Remote};
use super::reply::{Reply, ReplyPort};
use super::{Handler, current};
use crate::codec::{self, Encoded};
use crate::down::{Down, DownSink, Monitor, Tie};
use crate::sync::lock;
use crate::wait;
use procession_protocols::id::ActorId;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::{Duration, Instant};

/// A reference to a running actor, here or in another process of the tree.
///
/// A hosted actor lives while there is a reference to it, in this process or in
/// another one; when the last goes, it handles what was sent and ends with reason
/// normal. References travel in messages and arguments; serialising one anywhere else is
/// an error, and so is sending one whose messages have no serde.
pub struct ActorRef<A: Handler> {
    route: Route<A::Msg>,
}

enum Route<M: Message> {
    Local(Arc<Local<M>>),
    Remote(Arc<dyn Remote>, WireFns<M>),
}

impl<A: Handler> ActorRef<A> {
    pub(super) fn local(local: Arc<Local<A::Msg>>) -> Self {
        Self { route: Route::Local(local) }
    }

    /// A reference to an actor in another process; `None` when its messages do not
    /// travel.
    pub fn remote(remote: Arc<dyn Remote>) -> Option<Self> {
        Some(Self { route: Route::Remote(remote, A::Msg::wire()?) })
    }

    /// A reference to the actor whose handler is running on this thread; `None` outside
    /// of `A`'s handlers, and once no other reference is left. An actor that keeps one
    /// lives until it is stopped.
    pub fn current() -> Option<Self> {
        current::actor()?.into_any().downcast().ok().map(Self::local)
    }

    /// The same actor as a handler of another type for the same messages.
    pub(crate) fn of_same_messages<H: Handler<Msg = A::Msg>>(other: ActorRef<H>) -> Self {
        Self { route: other.route }
    }

    /// Sends a message. When the mailbox is full, its policy decides: wait (five
    /// seconds, unless the actor says otherwise), fail, or drop the message.
    ///
    /// # Errors
    /// The message comes back with the reason: [`CallError::Full`],
    /// [`CallError::Stopped`], [`CallError::ActorDied`], [`CallError::WouldDeadlock`]
    /// for an actor that would wait for room in its own mailbox, and for other processes
    /// [`CallError::Encode`] and [`CallError::Unreachable`].
    pub fn send(&self, message: A::Msg) -> Result<(), SendError<A::Msg>> {
        self.send_until(message, None)
    }

    /// As [`send`](Self::send), but waits for room at most for `timeout`.
    ///
    /// # Errors
    /// [`CallError::Timeout`] when there was no room so long; and as [`send`](Self::send).
    pub fn send_timeout(
        &self,
        message: A::Msg,
        timeout: Duration,
    ) -> Result<(), SendError<A::Msg>> {
        self.send_until(message, wait::deadline(timeout))
    }

    /// As [`send`](Self::send), but waits for room, and at the first use of an actor in another
    /// process for a way to it, without blocking the thread, and for room as long as the
    /// future lives.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// A future that is dropped before it was ready has sent nothing to an actor of
    /// this process; to another process the message may have gone.
    pub fn send_async(
        &self,
        message: A::Msg,
    ) -> impl Future<Output = Result<(), SendError<A::Msg>>> + Send + use<A> {
        let route = self.route.clone();
        async move {
            match &route {
                Route::Local(local) => local.mailbox().send_async(message).await,
                Route::Remote(remote, wire) => {
                    let (message, encoded, reply) = encode(remote, *wire, message)?;
                    let sent = remote.send_async(encoded, reply).await;
                    sent.map_err(|why| SendError::new(message, why))
                }
            }
        }
    }

    /// Sends the message that `make` builds around a reply, and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`]: why there is no answer.
    pub fn call<R: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<R>) -> A::Msg,
    ) -> Result<R, CallError> {
        self.call_until(make, None)
    }

    /// As [`call`](Self::call), at most for `timeout`.
    ///
    /// # Errors
    /// [`CallError::Timeout`], after which the call may still be carried out; and as
    /// [`call`](Self::call).
    pub fn call_timeout<R: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<R>) -> A::Msg,
        timeout: Duration,
    ) -> Result<R, CallError> {
        self.call_until(make, wait::deadline(timeout))
    }

    /// As [`call`](Self::call), without blocking the thread. The future holds a
    /// reference of its own, so it may outlive this one.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    /// Dropping the future forgets the reply. Whether the call is carried out is then
    /// unknown, unless the future was never polled.
    pub fn call_async<R: Send + 'static, F: FnOnce(Reply<R>) -> A::Msg>(
        &self,
        make: F,
    ) -> impl Future<Output = Result<R, CallError>> + Send + use<A, R, F> {
        let (reply, answer) = Reply::channel();
        let this = self.clone();
        let message = make(reply);
        async move {
            // Its handler, which awaits this, would have to end first.
            current::may_wait_for(this.id())?;
            let _watch = this.watch_replies();
            this.send_async(message).await?;
            let scope = this.scope();
            let mut answer = pin!(answer);
            poll_fn(|context| remote::within(scope.as_ref(), || answer.as_mut().poll(context)))
                .await
        }
    }

    /// The actor's address.
    pub fn id(&self) -> ActorId {
        match &self.route {
            Route::Local(local) => local.mailbox().id(),
            Route::Remote(remote, _) => remote.id(),
        }
    }

    /// The actor's name.
    pub fn name(&self) -> &str {
        match &self.route {
            Route::Local(local) => local.mailbox().name(),
            Route::Remote(remote, _) => remote.name(),
        }
    }

    /// Whether the actor is not known to have ended. Never waits.
    ///
    /// Of an actor in another process that was never used from here nothing is known: the
    /// question has it looked for, and a later one has the answer.
    ///
    /// At the manager of another program, the first question asks the server to tell of the
    /// end: one that lies before it is known once the answer has come, any later one as soon
    /// as the server says so, and the connection's end is the actor's.
    pub fn is_alive(&self) -> bool {
        match &self.route {
            Route::Local(local) => local.mailbox().is_alive(),
            Route::Remote(remote, _) => remote.is_alive(),
        }
    }

    /// Asks the actor to end after the message in progress, with reason shutdown.
    /// Returns at once. Calls that it has not read fail with
    /// [`CallError::ActorDied`].
    pub fn stop(&self) {
        match &self.route {
            Route::Local(local) => local.mailbox().stop(),
            Route::Remote(remote, _) => remote.stop(),
        }
    }

    /// As [`stop`](Self::stop), and waits for the end, at most for `grace`. What to do
    /// with an actor that needs longer is the caller's to say: wait on, or
    /// [`kill`](Self::kill).
    ///
    /// # Errors
    /// [`CallError::Timeout`] when it has not ended, [`CallError::WouldDeadlock`] from
    /// its own handler.
    pub fn stop_timeout(&self, grace: Duration) -> Result<Down, CallError> {
        current::may_wait_for(self.id())?;
        let deadline = wait::deadline(grace);
        let monitor = self.monitor_until(deadline);
        self.stop();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        monitor?.recv_timeout(left.unwrap_or(grace)).ok_or(CallError::Timeout)
    }

    /// Ends the actor without asking it; `on_stop` is not called. Returns at once.
    ///
    /// A process is killed. A thread cannot be: a hosted actor counts as dead and
    /// refuses messages from now on, but a handler in progress runs to its end; then the
    /// mailbox and the state are dropped and the monitors told, with the reason that a
    /// killed process has.
    pub fn kill(&self) {
        match &self.route {
            Route::Local(local) => local.mailbox().kill(),
            Route::Remote(remote, _) => remote.kill(),
        }
    }

    /// A monitor of the actor's end. That of an actor in another process, other than a child of
    /// this one, counts as a reference as long as it is there. For an actor in another process
    /// that was never used from here this waits until there is a way to it, at most for five
    /// seconds. How a process has ended that is no child of this one, only the kernel can tell,
    /// from Linux 6.15 on; before, the reason is
    /// [`Unknown`](procession_protocols::exit::ExitReason::Unknown).
    ///
    /// # Errors
    /// [`CallError::Unreachable`]: there is no way to watch it.
    pub fn monitor(&self) -> Result<Monitor, CallError> {
        self.monitor_until(None)
    }

    /// As [`monitor`](Self::monitor), but waits at most for `timeout`.
    ///
    /// # Errors
    /// [`CallError::Timeout`], and as [`monitor`](Self::monitor).
    pub fn monitor_timeout(&self, timeout: Duration) -> Result<Monitor, CallError> {
        self.monitor_until(wait::deadline(timeout))
    }

    /// As [`monitor`](Self::monitor), without blocking the thread. The future holds a
    /// reference of its own.
    ///
    /// # Errors
    /// As [`monitor`](Self::monitor).
    ///
    /// # Cancel safety
    /// Dropping the future leaves no monitor.
    pub fn monitor_async(
        &self,
    ) -> impl Future<Output = Result<Monitor, CallError>> + Send + use<A> {
        let this = self.clone();
        async move {
            let (monitor, sink) = Monitor::new(this.id(), this.name().to_owned());
            match &this.route {
                Route::Local(local) => {
                    local.mailbox().monitor(sink);
                    Ok(monitor)
                }
                Route::Remote(remote, _) => Ok(monitor.keeping(remote.monitor_async(sink).await?)),
            }
        }
    }

    fn monitor_until(&self, deadline: Option<Instant>) -> Result<Monitor, CallError> {
        let (monitor, sink) = Monitor::new(self.id(), self.name().to_owned());
        Ok(monitor.keeping(self.watch_with(sink, deadline)?))
    }

    /// Has the `on_down` of the actor whose handler calls this told of this actor's end.
    ///
    /// # Errors
    /// [`CallError::Unreachable`]: there is no way to watch it, or the caller is no
    /// actor.
    pub fn watch(&self) -> Result<(), CallError> {
        let watcher = current::actor()
            .ok_or_else(|| CallError::Unreachable("watch is for an actor's handler".into()))?;
        let watcher = Arc::downgrade(&watcher);
        // Until then the sink keeps what is needed for it, and lets go of that itself.
        let kept = Arc::new(Mutex::new(Tie::default()));
        let its_kept = kept.clone();
        let sink = move |down: Down| {
            drop(std::mem::take(&mut *lock(&its_kept)));
            if let Some(watcher) = watcher.upgrade() {
                watcher.notify(down);
            }
        };
        let needed = self.watch_with(Box::new(sink), None)?;
        *lock(&kept) = needed;
        Ok(())
    }

    /// Has the hidden thread read replies of an actor in another process while the guard
    /// lives.
    pub(super) fn watch_replies(&self) -> Option<Box<dyn Send>> {
        match &self.route {
            Route::Local(_) => None,
            Route::Remote(remote, _) => Some(remote.watch()),
        }
    }

    fn scope(&self) -> Option<Arc<dyn remote::Scope>> {
        match &self.route {
            Route::Local(_) => None,
            Route::Remote(remote, _) => remote.scope(),
        }
    }

    fn watch_with(&self, sink: DownSink, deadline: Option<Instant>) -> Result<Tie, CallError> {
        match &self.route {
            Route::Local(local) => {
                local.mailbox().monitor(sink);
                Ok(Tie::default())
            }
            Route::Remote(remote, _) => remote.monitor(sink, deadline),
        }
    }

    fn send_until(
        &self,
        message: A::Msg,
        deadline: Option<Instant>,
    ) -> Result<(), SendError<A::Msg>> {
        match &self.route {
            Route::Local(local) => local.mailbox().send(message, deadline),
            Route::Remote(remote, wire) => {
                let (message, encoded, reply) = encode(remote, *wire, message)?;
                remote.send(encoded, reply, deadline).map_err(|why| SendError::new(message, why))
            }
        }
    }

    fn call_until<R: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<R>) -> A::Msg,
        deadline: Option<Instant>,
    ) -> Result<R, CallError> {
        current::may_wait_for(self.id())?;
        let (reply, answer) = Reply::channel();
        self.send_until(make(reply), deadline)?;
        let answer = match (&self.route, deadline) {
            (Route::Local(_), None) => Some(wait::block_on(answer)),
            (Route::Local(_), Some(deadline)) => wait::block_on_until(answer, deadline),
            (Route::Remote(remote, _), deadline) => {
                let (scope, mut slot) = (remote.scope(), None);
                let mut answer = pin!(answer);
                let poll = |context: &mut Context<'_>| {
                    remote::within(scope.as_ref(), || answer.as_mut().poll(context))
                };
                remote.wait(pin!(async { slot = Some(poll_fn(poll).await) }), deadline);
                slot
            }
        };
        answer.unwrap_or(Err(CallError::Timeout))
    }
}

/// A message in wire form, with its reply taken out.
fn encode<M>(
    remote: &Arc<dyn Remote>,
    wire: WireFns<M>,
    mut message: M,
) -> Result<(M, Encoded, Option<ReplyPort>), SendError<M>> {
    let scope = remote.scope();
    let encode = || codec::encode_with(|encoder| (wire.encode)(&message, encoder));
    match remote::within(scope.as_ref(), encode) {
        Ok(encoded) => {
            let reply = (wire.take_reply)(&mut message);
            Ok((message, encoded, reply))
        }
        Err(error) => Err(SendError::new(message, CallError::Encode(error))),
    }
}

impl<M: Message> Clone for Route<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Local(local) => Self::Local(local.clone()),
            Self::Remote(remote, wire) => Self::Remote(remote.clone(), *wire),
        }
    }
}

impl<A: Handler> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        Self { route: self.route.clone() }
    }
}

impl<A: Handler> fmt::Debug for ActorRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id();
        write!(f, "ActorRef({} #{} of {})", self.name(), id.number, id.node)
    }
}

impl<A: Handler> Serialize for ActorRef<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !codec::in_transfer() {
            return Err(ser::Error::custom(codec::OUTSIDE_TRANSFER));
        }
        let wire = match &self.route {
            Route::Local(_) if A::Msg::wire().is_none() => {
                return Err(ser::Error::custom(does_not_travel::<A>()));
            }
            Route::Local(local) => remote::node().and_then(|node| node.export(local.clone())),
            Route::Remote(remote, _) => remote.to_wire(),
        };
        let messages = A::Msg::wire().map_or(0, |fns| fns.fingerprint);
        (messages, wire.map_err(ser::Error::custom)?).serialize(serializer)
    }
}

impl<'de, A: Handler> Deserialize<'de> for ActorRef<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !codec::in_transfer() {
            return Err(de::Error::custom(codec::OUTSIDE_TRANSFER));
        }
        let (messages, wire) = <(u64, RefWire)>::deserialize(deserializer)?;
        if A::Msg::wire().is_some_and(|fns| fns.fingerprint != messages) {
            return Err(de::Error::custom("the reference is to another kind of actor"));
        }
        match remote::node().and_then(|node| node.import(wire)).map_err(de::Error::custom)? {
            Imported::Local(local) => local
                .into_any()
                .downcast()
                .map(Self::local)
                .map_err(|_| de::Error::custom("the reference is to another kind of actor")),
            Imported::Remote(remote) => {
                Self::remote(remote).ok_or_else(|| de::Error::custom(does_not_travel::<A>()))
            }
        }
    }
}

fn does_not_travel<A>() -> String {
    let actor = std::any::type_name::<A>();
    format!(
        "a reference to {actor} cannot leave its process: an argument or a return value of its \
         methods is not both Serialize and DeserializeOwned"
    )
}
