//! A managed object in its server.
//!
//! Owns until when a call waits for its answer, and the order of changes. Calls of stock
//! objects never block: a call that waits is an entry here. A change by a user's function
//! runs on a worker's thread, and calls that come meanwhile wait for its end, so that it is
//! one step. It must never run a user's code on the thread that brought a call. Neighbours:
//! `procession_protocols::manager` decides, `waiters` has who waits, `door` is
//! asked what concerns the whole server.

use super::asker::{Asker, Outbox};
use super::door::Reception;
use super::function::{self, ChangeBody};
use super::presence::Presence;
use super::proxy::{ManagerError, open};
use super::reactor;
use super::stored::Stored;
use super::waiters::{Postponed, Waiters};
use super::{Ask, workers};
use crate::actor::remote::LocalActor;
use crate::codec::{self, Encoded};
use crate::node::hidden;
use crate::share::{BadMessage, Client, ClientId, ReplyTo, ShareError, Stock};
use crate::sync::lock;
use procession_protocols::manager::{Answers, Caller, Fault, Machine, Place, Reply, Ticket};
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Room for so many answers is kept for the next call.
const DUE: usize = 64;

/// How many managed objects this process hosts.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many managed objects this process hosts.
pub(super) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Counts as a managed object while it lives.
pub(super) struct Counted(());

impl Counted {
    pub(super) fn new() -> Self {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A managed object.
pub(crate) struct Object {
    this: Weak<Object>,
    body: Body,
}

enum Body {
    Stock(Box<Mutex<State>>),
    Door(Reception),
    /// An actor, which its references call by other ways; it is kept here.
    Actor(Arc<dyn LocalActor>),
}

/// A call from this process that has no answer yet.
struct AskedHere<'a> {
    object: &'a Object,
    number: u64,
    is_over: bool,
}

impl Drop for AskedHere<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.object.cancel_call(ClientId::OWNER, self.number);
        }
    }
}

struct State {
    _counted: Counted,
    machine: Machine<Stored>,
    attached: BTreeSet<ClientId>,
    last_ticket: Ticket,
    waiters: Waiters,
    /// Empty: the room for the answers of a call.
    due: Answers<Stored>,
    /// Whether a function of a user's changes the object just now; what comes meanwhile is
    /// postponed. One that waits for its turn to run does not keep others.
    is_changing: bool,
}

impl Object {
    /// A stock object.
    pub(super) fn stock(machine: Machine<Stored>) -> Arc<Self> {
        let state = State {
            _counted: Counted::new(),
            machine,
            attached: BTreeSet::new(),
            last_ticket: 0,
            waiters: Waiters::default(),
            due: Answers::new(),
            is_changing: false,
        };
        Self::of(Body::Stock(Box::new(Mutex::new(state))))
    }

    /// The server as a whole.
    pub(super) fn door(reception: Reception) -> Arc<Self> {
        Self::of(Body::Door(reception))
    }

    /// An actor of this process.
    pub(super) fn actor(actor: Arc<dyn LocalActor>) -> Arc<Self> {
        Self::of(Body::Actor(actor))
    }

    /// The actor that this is.
    pub(super) fn as_actor(&self) -> Option<&Arc<dyn LocalActor>> {
        match &self.body {
            Body::Actor(actor) => Some(actor),
            Body::Stock(_) | Body::Door(_) => None,
        }
    }

    fn of(body: Body) -> Arc<Self> {
        Arc::new_cyclic(|this| Self { this: this.clone(), body })
    }

    /// What the server as a whole offers, if it is that.
    pub(super) fn reception(&self) -> Option<&Reception> {
        match &self.body {
            Body::Door(reception) => Some(reception),
            Body::Stock(_) | Body::Actor(_) => None,
        }
    }

    /// Which kind of stock object it is, by Python's name.
    pub(super) fn kind(&self) -> Option<&'static str> {
        match &self.body {
            Body::Stock(state) => Some(lock(state).machine.kind()),
            Body::Door(_) | Body::Actor(_) => None,
        }
    }

    /// Changes the object in one step; `None` while a function of a user's does.
    pub(super) fn amend<R>(&self, act: impl FnOnce(&mut Machine<Stored>) -> R) -> Option<R> {
        let Body::Stock(state) = &self.body else { return None };
        let state = &mut *lock(state);
        (!state.is_changing).then(|| act(&mut state.machine))
    }

    /// A question from this process.
    ///
    /// # Cancel safety
    /// Dropped, it takes the call back, as far as that is possible.
    pub(super) async fn ask_here(&self, ask: Ask) -> Result<Reply<Stored>, ManagerError> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let (sender, receiver) = oneshot::channel();
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let mut asked = AskedHere { object: self, number, is_over: false };
        self.here(ask, Asker::Here(number, sender));
        let answer = receiver.await;
        asked.is_over = true;
        open(answer.map_err(|_| ShareError::NoReply)?)
    }

    /// A message from this process.
    pub(super) fn tell_here(&self, ask: Ask) {
        self.here(ask, Asker::Nobody);
    }

    fn here(&self, ask: Ask, asker: Asker) {
        let thread = match &ask {
            Ask::Call { thread, .. } => *thread,
            _ => 0,
        };
        self.take(Caller { client: ClientId::OWNER, thread }, ask, asker);
    }

    /// A question, from wherever.
    pub(super) fn take(&self, caller: Caller, ask: Ask, asker: Asker) {
        match &self.body {
            Body::Door(reception) => reception.ask(ask, asker),
            Body::Actor(_) => asker.answer(Reply::Fault(Fault::NoSuchMethod)),
            Body::Stock(state) => {
                let mut outbox = Outbox::default();
                self.take_in(&mut lock(state), caller, ask, asker, &mut outbox);
                outbox.send();
            }
        }
    }

    fn take_in(
        &self,
        state: &mut State,
        caller: Caller,
        ask: Ask,
        asker: Asker,
        outbox: &mut Outbox,
    ) {
        if caller.client != ClientId::OWNER && !state.attached.contains(&caller.client) {
            return outbox.push(asker, Reply::Fault(Fault::NoSuchObject("such object".into())));
        }
        state.last_ticket += 1;
        let call = (state.last_ticket, caller, ask, asker);
        if state.is_changing {
            state.waiters.postpone(call);
        } else {
            self.begin(state, call, outbox);
        }
    }

    fn begin(
        &self,
        state: &mut State,
        (ticket, caller, ask, asker): Postponed,
        outbox: &mut Outbox,
    ) {
        match ask {
            Ask::Call { limit_ms, call, .. } => {
                let limit_ms = limit_ms.or_else(|| state.machine.patience_ms(&call));
                let mut due = std::mem::take(&mut state.due);
                state.machine.call(caller, ticket, call, &mut due);
                if due.iter().all(|(answered, _)| *answered != ticket) && limit_ms == Some(0) {
                    state.machine.expire(ticket, &mut due);
                }
                if let Some(at) = due.iter().position(|(answered, _)| *answered == ticket) {
                    let (_, reply) = due.remove(at);
                    state.waiters.note(&asker, ticket, &reply);
                    outbox.push(asker, reply);
                } else {
                    let timer =
                        limit_ms.filter(|ms| *ms > 0).and_then(|ms| self.set_timer(ticket, ms));
                    state.waiters.enter(ticket, asker, timer);
                }
                state.settle(due, outbox);
            }
            ask @ Ask::Change { .. } => {
                if let Some(this) = self.this.upgrade() {
                    workers::run(asker, move |asker| this.change((ticket, caller, ask, asker)));
                }
            }
            Ask::Create(_)
            | Ask::Run { .. }
            | Ask::Make { .. }
            | Ask::Names
            | Ask::Exposed(_)
            | Ask::Count
            | Ask::Open(_) => {
                outbox.push(asker, Reply::Fault(Fault::NoSuchMethod));
            }
        }
    }

    fn set_timer(&self, ticket: Ticket, limit_ms: u64) -> Option<AbortHandle> {
        let this = self.this.clone();
        let timer = async move {
            tokio::time::sleep(Duration::from_millis(limit_ms)).await;
            if let Some(this) = this.upgrade() {
                this.with_state(|state, due| state.machine.expire(ticket, due));
            }
        };
        // Without a hidden thread there is no other process either.
        hidden::handle().ok().map(|handle| handle.spawn(timer).abort_handle())
    }

    fn with_state(&self, act: impl FnOnce(&mut State, &mut Answers<Stored>)) {
        let Body::Stock(state) = &self.body else { return };
        let mut outbox = Outbox::default();
        {
            let state = &mut *lock(state);
            let mut due = std::mem::take(&mut state.due);
            act(state, &mut due);
            state.settle(due, &mut outbox);
        }
        outbox.send();
    }

    /// On a worker's thread: changes the object, and goes on with what others change who came
    /// meanwhile.
    fn change(&self, call: Postponed) {
        let Body::Stock(state) = &self.body else { return };
        let begun = {
            let state = &mut *lock(state);
            if state.is_changing {
                return state.waiters.postpone(call);
            }
            state.begin_change(call)
        };
        let mut next = match begun {
            Ok(change) => Some(change),
            Err((asker, fault)) => return asker.answer(Reply::Fault(fault)),
        };
        while let Some(Change { place, body, values, args, asker }) = next {
            let changed = function::catch(|| body(values, &args));
            next = self.changed(place, changed, asker);
        }
    }

    /// A user's function is done: stores what it made, and serves who came meanwhile, up to the
    /// next change.
    fn changed(
        &self,
        place: Place<Stored>,
        changed: Result<(Vec<Stored>, Stored), Fault>,
        asker: Asker,
    ) -> Option<Change> {
        let Body::Stock(state) = &self.body else { return None };
        let mut outbox = Outbox::default();
        let next = {
            let state = &mut *lock(state);
            state.is_changing = false;
            let stored = changed.and_then(|(values, result)| {
                state.machine.store(place, values).map(|()| Reply::Value(result))
            });
            outbox.push(asker, stored.unwrap_or_else(Reply::Fault));
            loop {
                match state.waiters.resume() {
                    None => break None,
                    Some(call @ (_, _, Ask::Change { .. }, _)) => match state.begin_change(call) {
                        Ok(change) => break Some(change),
                        Err((asker, fault)) => outbox.push(asker, Reply::Fault(fault)),
                    },
                    Some(call) => self.begin(state, call, &mut outbox),
                }
            }
        };
        outbox.send();
        next
    }

    /// A client outside the tree has got a reference.
    ///
    /// Whether it had none before.
    pub(super) fn admit(&self, client: ClientId) -> bool {
        match &self.body {
            Body::Stock(state) => lock(state).attached.insert(client),
            Body::Door(_) | Body::Actor(_) => false,
        }
    }

    /// Nobody waits for the answer to this call of a client's any more.
    pub(super) fn cancel_call(&self, client: ClientId, number: u64) {
        // In one step: between two, the call could be given something that nobody gets.
        self.with_state(|state, due| {
            if let Some(ticket) = state.waiters.cancel(client, number) {
                state.machine.cancel(ticket, due);
            }
        });
    }

    /// A client is gone, wherever it was.
    pub(super) fn gone(&self, client: ClientId) {
        self.with_state(|state, due| {
            state.attached.remove(&client);
            state.waiters.gone(client);
            state.machine.gone(client, due);
        });
    }
}

pub(super) fn unknown(function: &crate::function::FunctionRef) -> Fault {
    Fault::Failed(format!("{} is no function of the manager's program", function.name))
}

/// A change that a user's function is about to make.
struct Change {
    place: Place<Stored>,
    body: ChangeBody,
    values: Vec<Stored>,
    args: Stored,
    asker: Asker,
}

impl State {
    /// Begins a change: until it is made, all other calls are postponed.
    fn begin_change(&mut self, (_, _, ask, asker): Postponed) -> Result<Change, (Asker, Fault)> {
        let Ask::Change { place, function, args } = ask else {
            return Err((asker, Fault::NoSuchMethod));
        };
        let Some(body) = function::change(&function) else {
            return Err((asker, unknown(&function)));
        };
        match self.machine.fetch(&place) {
            Ok(values) => {
                self.is_changing = true;
                Ok(Change { place, body, values, args, asker })
            }
            Err(fault) => Err((asker, fault)),
        }
    }

    /// Takes those out who are answered.
    fn settle(&mut self, mut due: Answers<Stored>, outbox: &mut Outbox) {
        for (ticket, reply) in due.drain(..) {
            if let Some(asker) = self.waiters.answered(ticket, &reply) {
                outbox.push(asker, reply);
            }
        }
        if due.capacity() <= DUE {
            self.due = due;
        }
        if self.waiters.is_crowded() {
            self.waiters.sweep(&self.machine.given());
        }
    }
}

impl Stock for Object {
    fn attach(&self, client: &Arc<Client>) -> io::Result<Encoded> {
        if let Body::Stock(state) = &self.body {
            lock(state).attached.insert(client.id);
            client.extension::<Presence>().enter(client.id, self.this.clone());
        }
        Ok(Encoded::default())
    }

    fn request(
        &self,
        client: &Arc<Client>,
        message: Encoded,
        reply: Option<ReplyTo>,
    ) -> Result<(), BadMessage> {
        let ask: Ask = codec::decode(&message.bytes, message.fds).map_err(|_| BadMessage)?;
        if let Ask::Open(end) = ask {
            if let Err(error) = reactor::serve(client, end.into()) {
                tracing::warn!(target: "procession", ?client, %error, "no calls are read");
            }
            return Ok(());
        }
        let thread = match &ask {
            Ask::Call { thread, .. } => *thread,
            _ => 0,
        };
        let asker = reply.map_or(Asker::Nobody, Asker::Client);
        self.take(Caller { client: client.id, thread }, ask, asker);
        Ok(())
    }

    fn cancel(&self, client: &Arc<Client>, number: u64) {
        self.cancel_call(client.id, number);
    }

    fn detach(&self, client: &Arc<Client>) {
        // What it holds stays with it until it ends: another handle of the same client's
        // may be under way.
        if let Body::Stock(state) = &self.body {
            lock(state).attached.remove(&client.id);
        }
    }

    fn died(&self, client: &Arc<Client>) {
        self.gone(client.id);
    }
}
