//! One connection of a Python program's.
//!
//! Owns its reading and answering, and what it is to the objects: a client of its own.

use super::table::{Keys, Target};
use super::{PythonDoor, actor, no_such_object};
use crate::actor::CallError;
use crate::manager::asker::Asker;
use crate::manager::object::Object;
use crate::manager::presence::Presence;
use crate::manager::proxy::Proxy;
use crate::manager::stored::Stored;
use crate::manager::{Ask, Watched, function};
use crate::share::{self, ClientId};
use crate::sync::lock;
use crate::wait;
use procession_protocols::dynamic::{Dynamic, Exception};
use procession_protocols::manager::python::{
    Answer, Args, Refused, Request, Step, Then, Verb, error, exception_of, methods, step,
};
use procession_protocols::manager::{
    BarrierCall, Call, Caller, DictCall, Fault, Place, QueueCall, Reply,
};
use procession_protocols::pickle::{self, Limits};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use tokio::sync::oneshot;

/// Why a value cannot be answered.
const NATIVE: &str = "the value is of a type that only Rust programs read: a manager's values \
     for Python are numbers, texts, and what is kept as `Dynamic` or `PlainData`";

pub(super) struct Session {
    door: Arc<PythonDoor>,
    stream: Arc<dyn Watched>,
    /// What the objects know it by, once it calls one.
    client: Option<Client>,
}

struct Client {
    id: ClientId,
    presence: Presence,
    /// The number of the last call.
    calls: u64,
}

impl Client {
    fn new() -> io::Result<Self> {
        let id = share::enlist().ok_or_else(|| io::Error::other("no number is left"))?;
        Ok(Self { id, presence: Presence::default(), calls: 0 })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // What it had is put right before its number can be another's.
        self.presence.end();
        share::discharge(self.id);
    }
}

/// An answer, and what is to be told to a queue when it has left.
struct Said {
    answer: Answer,
    kept: Option<(Arc<Object>, u64)>,
}

impl From<Answer> for Said {
    fn from(answer: Answer) -> Self {
        Self { answer, kept: None }
    }
}

impl Session {
    pub(super) fn new(door: Arc<PythonDoor>, stream: Arc<dyn Watched>) -> Self {
        Self { door, stream, client: None }
    }

    /// Serves it until it ends.
    ///
    /// # Errors
    /// What it did that no client does.
    pub(super) fn attend(mut self) -> io::Result<()> {
        // One that proved itself and left, as a look at the server does.
        let Ok(first) = self.stream.recv() else { return Ok(()) };
        let request = self.read(&first)?;
        let verb = match request {
            Request { object: None, method, args } => Verb::read(&method, args),
            Request { object: Some(_), .. } => None,
        };
        let Some(verb) = verb else {
            let text = "the first request is for the server: one of its verbs, and arguments";
            self.send(Answer::Traceback(text.into()))?;
            return Err(io::Error::other(text));
        };
        let (follows, ends) = (verb == Verb::Accept, verb == Verb::Shutdown);
        let answer = self.door.say(verb);
        if ends {
            // Python reads two.
            self.send(Answer::Return(Dynamic::None))?;
        }
        self.send(answer)?;
        if ends {
            (self.door.stop)();
        }
        if follows {
            self.client = Some(Client::new()?);
            self.serve_objects()?;
        }
        Ok(())
    }

    fn read(&self, bytes: &[u8]) -> io::Result<Request> {
        let request = pickle::read(bytes, Limits::default()).map_err(|error| error.to_string());
        let request = request.and_then(|value| {
            Request::read(value).ok_or_else(|| "it is no request of Python's managers".into())
        });
        request.map_err(|text| {
            // It may not be there to hear it.
            let _ = self.send(Answer::Traceback(text.clone()));
            io::Error::other(text)
        })
    }

    fn send(&self, answer: Answer) -> io::Result<()> {
        let bytes =
            answer.pickle().or_else(|error| Answer::Unserializable(error.to_string()).pickle());
        self.stream.send(&bytes.map_err(io::Error::other)?)
    }

    fn serve_objects(&mut self) -> io::Result<()> {
        while let Ok(message) = self.stream.recv() {
            let Request { object, method, args } = self.read(&message)?;
            let said = match object {
                Some(id) => match self.door.table.find(&id) {
                    Some(target) => self.run(&target, &method, args)?,
                    None => Some(no_such_object(&id).into()),
                },
                None => Some(Answer::Traceback("a call is for an object".into()).into()),
            };
            // One that was killed takes no item along: it can still be written to.
            let said = said.filter(|said| said.kept.is_none() || !self.stream.has_come());
            let Some(Said { answer, kept }) = said else {
                // It left while it waited, or something has come.
                return match self.stream.recv() {
                    Ok(_) => Err(io::Error::other("it said more before it had its answer")),
                    Err(_) => Ok(()),
                };
            };
            if self.send(answer).is_err() {
                return Ok(());
            }
            if let Some((queue, ticket)) = kept {
                self.tell(&queue, Call::Queue(QueueCall::Kept(ticket)));
            }
        }
        Ok(())
    }

    /// Carries a method out; `None` when the client has left meanwhile.
    fn run(&mut self, target: &Target, method: &str, args: Args) -> io::Result<Option<Said>> {
        let (proxy, kind, condition) = match target {
            Target::Stock { proxy, kind, condition } => (proxy, *kind, *condition),
            Target::Actor { proxy, exposed } => {
                return Ok(self.call_actor(proxy, exposed.as_deref(), method, args));
            }
            Target::Keys(keys) => return self.next(keys, method),
        };
        let Some(object) = proxy.own() else {
            return Ok(Some(no_such_object(method).into()));
        };
        let step = match step(kind, condition, method, args) {
            Ok(step) => step,
            Err(refused) => return Ok(Some(refusal(kind, method, refused).into())),
        };
        match step {
            Step::Say(value) => Ok(Some(Answer::Return(value).into())),
            Step::Iterate { backwards } => Ok(Some(self.iterate(proxy, backwards).into())),
            Step::Sort { backwards } => Ok(Some(sort(&object, backwards).into())),
            Step::Call { call, limit_ms, then } => {
                let table = self.door.table.clone();
                let call = call.map(&mut |value| table.keep(value));
                let reply = self.call(&object, call, limit_ms)?;
                Ok(reply.map(|(number, reply)| self.answer(&object, number, reply, then)))
            }
        }
    }

    /// Calls an object, and waits for the answer or the client's end, which is `None`.
    fn call(
        &mut self,
        object: &Arc<Object>,
        call: Call<Stored>,
        limit_ms: Option<u64>,
    ) -> io::Result<Option<(u64, Reply<Stored>)>> {
        let none = || io::Error::other("the connection has no client");
        let client = self.client.as_mut().ok_or_else(none)?;
        if object.admit(client.id) {
            client.presence.enter(client.id, Arc::downgrade(object));
        }
        client.calls += 1;
        let (caller, number) = (Caller { client: client.id, thread: 0 }, client.calls);
        let (sender, mut receiver) = oneshot::channel();
        let answer = Box::new(move |reply| {
            // An error means that the client has left.
            let _ = sender.send(reply);
        });
        let ask = Ask::Call { thread: 0, limit_ms, call };
        object.take(caller, ask, Asker::Far(caller.client, number, answer));
        if let Ok(reply) = receiver.try_recv() {
            return Ok(Some((number, reply)));
        }
        let reply = self.wait(receiver);
        if reply.is_none() {
            object.cancel_call(caller.client, number);
        }
        Ok(reply.map(|reply| (number, reply)))
    }

    /// Waits for an answer or the client's end, which is `None`.
    fn wait<T>(&self, mut receiver: oneshot::Receiver<T>) -> Option<T> {
        let mut heard = self.stream.heard();
        wait::block_on(poll_fn(|context| {
            if let Poll::Ready(reply) = Pin::new(&mut receiver).poll(context) {
                return Poll::Ready(reply.ok());
            }
            // A client says nothing before it has its answer.
            heard.as_mut().poll(context).map(|()| None)
        }))
    }

    /// Calls an actor; `None` when the client has left meanwhile.
    fn call_actor(
        &self,
        proxy: &Proxy,
        exposed: Option<&[String]>,
        method: &str,
        args: Args,
    ) -> Option<Said> {
        let object = proxy.own();
        let Some(actor) = object.as_ref().and_then(|object| object.as_actor()) else {
            return Some(no_such_object(method).into());
        };
        if matches!(method, "__repr__" | "__str__") {
            let text = format!("<{} at a manager>", actor.name());
            return Some(Answer::Return(text.into()).into());
        }
        if exposed.is_some_and(|exposed| exposed.iter().all(|known| known != method)) {
            return Some(actor::answer(method, Err(CallError::NotExposed)).into());
        }
        let receiver = match actor::call(actor, method, args) {
            Ok(receiver) => receiver,
            Err(answer) => return Some(answer.into()),
        };
        let replied = self.wait(receiver)?;
        Some(actor::answer(method, replied).into())
    }

    fn tell(&self, object: &Arc<Object>, call: Call<Stored>) {
        let Some(client) = &self.client else { return };
        let ask = Ask::Call { thread: 0, limit_ms: None, call };
        object.take(Caller { client: client.id, thread: 0 }, ask, Asker::Nobody);
    }

    fn answer(&self, object: &Arc<Object>, number: u64, reply: Reply<Stored>, then: Then) -> Said {
        let kept = match &reply {
            Reply::Item { kept: Some(ticket), .. } => Some((object.clone(), *ticket)),
            _ => None,
        };
        if matches!(reply, Reply::Act) {
            // What is to be done is a Rust program's code.
            self.tell(object, Call::Barrier(BarrierCall::Abort));
            return Answer::Error(exception_of(&Fault::Broken)).into();
        }
        // What is not given need not be such that it can be.
        let reply = match reply {
            Reply::Value(_) if then.is_nothing() => Reply::Done,
            reply => reply,
        };
        let plain =
            reply.try_map(&mut |value: Stored| value.as_plain().map(Cow::into_owned).ok_or(()));
        let Ok(reply) = plain else {
            // An item that cannot be given stays in its queue.
            if let (Some(_), Some(client)) = (&kept, &self.client) {
                object.cancel_call(client.id, number);
            }
            return Answer::Unserializable(NATIVE.into()).into();
        };
        let is_iterator = matches!(then, Then::Iterator | Then::Backwards);
        let answer = match then.answer(reply) {
            Ok(Dynamic::List(items)) if is_iterator => Answer::Iterator(items),
            Ok(value) => Answer::Return(value),
            Err(exception) => Answer::Error(exception),
        };
        Said { answer, kept }
    }

    fn iterate(&self, dict: &Proxy, backwards: bool) -> Answer {
        let (form, position) = (None, None);
        let keys = Keys { dict: dict.clone(), form, position, backwards, is_done: false };
        match self.door.table.enter(Target::Keys(Arc::new(Mutex::new(keys))), None) {
            Ok(id) => {
                let methods = methods("Iterator").iter().map(|&name| name.into()).collect();
                Answer::Proxy(methods, self.door.token("Iterator", id))
            }
            Err(refused) => refusal("dict", "__iter__", refused),
        }
    }

    /// The next key of an iterator.
    fn next(&mut self, keys: &Mutex<Keys>, method: &str) -> io::Result<Option<Said>> {
        if method == "close" {
            lock(keys).is_done = true;
            return Ok(Some(Answer::Return(Dynamic::None).into()));
        }
        if method != "__next__" {
            return Ok(Some(refusal("Iterator", method, Refused::NoSuchMethod).into()));
        }
        let end = || Exception { class: "builtins.StopIteration".into(), args: Vec::new() };
        // One step at a time; no step waits.
        let keys = &mut *lock(keys);
        let Some(dict) = keys.dict.own().filter(|_| !keys.is_done) else {
            return Ok(Some(Answer::Error(end()).into()));
        };
        let Keys { position, form, backwards, .. } = *keys;
        let call = Call::Dict(DictCall::Next { position, form, most: 1, backwards });
        let Some((_, reply)) = self.call(&dict, call, None)? else { return Ok(None) };
        let answer = match reply {
            Reply::Keys { form, position, keys: mut found } => {
                (keys.form, keys.position) = (Some(form), position);
                keys.is_done = position.is_none();
                match found.pop().map(|key| key.as_plain().map(Cow::into_owned)) {
                    Some(Some(key)) => Answer::Return(key),
                    Some(None) => Answer::Unserializable(NATIVE.into()),
                    None => Answer::Error(end()),
                }
            }
            Reply::Fault(fault) => Answer::Error(exception_of(&fault)),
            _ => Answer::Error(end()),
        };
        Ok(Some(answer.into()))
    }
}

fn refusal(kind: &str, method: &str, refused: Refused) -> Answer {
    match refused {
        Refused::Raised(exception) => Answer::Error(exception),
        Refused::NoSuchMethod => Answer::Traceback(format!(
            "AttributeError: the {kind} of the manager has no method '{method}' that is exposed"
        )),
    }
}

/// Sorts a list of numbers or of texts.
fn sort(object: &Object, backwards: bool) -> Answer {
    let unfit = || "numbers are sorted, and texts, and tuples and lists of such".to_owned();
    let sorted = object.amend(|machine| {
        let mut items = machine.fetch(&Place::All)?;
        // A sort may panic where there is no order.
        let items = function::catch(|| {
            let mut fits = true;
            items.sort_by(|a, b| {
                let order = a.as_plain().zip(b.as_plain()).and_then(|(a, b)| a.compare(&b));
                fits &= order.is_some();
                let order = order.unwrap_or(Ordering::Equal);
                if backwards { order.reverse() } else { order }
            });
            if fits { Ok(items) } else { Err(function::failed(unfit())) }
        })?;
        machine.store(Place::All, items)
    });
    match sorted {
        Some(Ok(())) => Answer::Return(Dynamic::None),
        Some(Err(Fault::Failed(_))) => Answer::Error(error("TypeError", unfit())),
        Some(Err(fault)) => Answer::Error(exception_of(&fault)),
        None => Answer::Error(exception_of(&Fault::Busy)),
    }
}
