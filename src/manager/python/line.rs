//! The connections to a manager of a Python program.
//!
//! Owns one for each thread that calls, as in Python, whose recursive locks know their holder
//! by it: it lasts until the thread ends. What is asked and answered there, and what in the
//! answer is a proxy, and one thread that says which proxies have been dropped. It must never
//! dial, or wait, in the thread that drops something.

use super::{PythonError, PythonProxy, Result};
use crate::listener::{Address, Client, PythonPeers};
use crate::pipe::{Connection, PeerInfo, PipeError};
use procession_protocols::dynamic::{Dynamic, Proxy};
use procession_protocols::manager::python::{Answer, Request, read_fault};
use procession_runtime::manager::as_python;
use procession_runtime::sync::{after, lock};
use serde::de::{DeserializeOwned, Error};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// A manager has so much longer than a caller's patience to say that time is up.
const GRACE: Duration = Duration::from_secs(1);

/// What a manager does by itself takes no longer, the connect with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Proxies that have been dropped, and of which the manager does not know. Of more the objects
/// stay until it ends, as they do when this program is killed.
const MOST_GONE: usize = 65_536;

/// A manager is told so many times, until it is taken for gone.
const TRIES: usize = 3;

/// The way to a manager.
pub(super) struct Server {
    pub(super) address: Address,
    pub(super) authkey: Vec<u8>,
    pub(super) peers: PythonPeers,
    /// The connection of each thread that has called and has not ended.
    pub(super) lines: Mutex<HashMap<ThreadId, Arc<Line>>>,
    pub(super) gone: Mutex<Gone>,
}

/// The objects of proxies that have been dropped.
#[derive(Default)]
pub(super) struct Gone {
    objects: VecDeque<String>,
    /// A thread tells the manager.
    is_told: bool,
}

/// A thread's connection.
pub(super) struct Line {
    connection: Connection,
    /// So many answers come first that nobody waits for.
    owed: AtomicU32,
}

/// Arguments by place, and by name.
pub(super) type Args = (Vec<Dynamic>, Vec<(Dynamic, Dynamic)>);

impl Server {
    fn dial(&self, deadline: Option<Instant>) -> Result<Line> {
        let client = Client::builder(self.address.clone()).authkey(&self.authkey);
        let limit = left(deadline).map_or(PATIENCE, |left| left.min(PATIENCE));
        let connection = client.python_peers(self.peers).timeout(limit).connect()?;
        let is_python = connection.peer().is_some_and(PeerInfo::is_python);
        let line = Line { connection, owed: AtomicU32::new(0) };
        if is_python { Ok(line) } else { Err(PythonError::NoPython) }
    }

    /// Asks the server as a whole, over a connection of its own, for what takes no time.
    pub(super) fn ask(&self, verb: &str, args: Args) -> Result<Dynamic> {
        let deadline = after(PATIENCE);
        self.dial(deadline)?.talk(None, verb, args, deadline)
    }

    /// As [`ask`](Self::ask), for what runs code of the program's.
    pub(super) fn ask_for_long(&self, verb: &str, args: Args) -> Result<Dynamic> {
        self.dial(None)?.talk(None, verb, args, None)
    }

    /// Says that a proxy has been dropped, soon. Never waits.
    pub(super) fn let_go(self: &Arc<Self>, object: String) {
        {
            let gone = &mut *lock(&self.gone);
            if gone.objects.len() >= MOST_GONE {
                return;
            }
            gone.objects.push_back(object);
            if std::mem::replace(&mut gone.is_told, true) {
                return;
            }
        }
        let server = self.clone();
        let thread = thread::Builder::new().name("procession-decref".into());
        if thread.spawn(move || server.tell_gone()).is_err() {
            // The next one tries again.
            lock(&self.gone).is_told = false;
        }
    }

    fn tell_gone(&self) {
        loop {
            let object = {
                let gone = &mut *lock(&self.gone);
                gone.is_told = !gone.objects.is_empty();
                let Some(object) = gone.objects.pop_front() else { return };
                object
            };
            let is_told = || {
                let told = self.ask("decref", (vec![object.as_str().into()], Vec::new()));
                !matches!(told, Err(PythonError::Listener(_) | PythonError::Pipe(_)))
            };
            if !(0..TRIES).any(|_| is_told()) {
                lock(&self.gone).objects.clear();
            }
        }
    }

    /// Calls a method of an object, and reads its answer; the limit is the method's own.
    pub(super) fn call<R: DeserializeOwned>(
        self: &Arc<Self>,
        object: &str,
        method: &str,
        args: Args,
        limit: Option<Duration>,
    ) -> Result<R> {
        let deadline = limit.and_then(|limit| after(limit.saturating_add(GRACE)));
        self.read(self.call_plain(object, method, args, deadline)?)
    }

    /// A value of an answer.
    pub(super) fn read<R: DeserializeOwned>(self: &Arc<Self>, answer: Dynamic) -> Result<R> {
        Ok(Reading::of(self, || answer.to())?)
    }

    pub(super) fn call_plain(
        self: &Arc<Self>,
        object: &str,
        method: &str,
        args: Args,
        deadline: Option<Instant>,
    ) -> Result<Dynamic> {
        let line = self.line(deadline)?;
        let settled = line.settle(deadline);
        let answer = settled.and_then(|()| line.talk(Some(object), method, args, deadline));
        match answer {
            // That message alone was bad: the next answer is the next question's.
            Err(PythonError::Pipe(PipeError::Encode(_) | PipeError::Decode(_))) => {}
            // One that may still come would be taken for another's.
            Err(PythonError::Pipe(_) | PythonError::NoPython) => self.hang_up(),
            _ => {}
        }
        answer
    }

    /// Calls a method without arguments over the connection that this thread has, and leaves
    /// the answer to its next call. Never waits: where there is no connection, or no room on
    /// it, nothing is called.
    pub(super) fn tell(&self, object: &str, method: &str) {
        let line = lock(&self.lines).get(&thread::current().id()).cloned();
        let Some(line) = line else { return };
        let request = Request::write(Some(object), method, Vec::new(), Vec::new());
        match line.connection.send_timeout(&request, Duration::ZERO) {
            Ok(()) => drop(line.owed.fetch_add(1, Ordering::Relaxed)),
            Err(_) => self.hang_up(),
        }
    }

    /// The calling thread's connection.
    fn line(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Arc<Line>> {
        let me = thread::current();
        if let Some(line) = lock(&self.lines).get(&me.id()) {
            return Ok(line.clone());
        }
        let line = Arc::new(self.dial(deadline)?);
        let name = me.name().unwrap_or("thread").into();
        let deadline = deadline.into_iter().chain(after(PATIENCE)).min();
        line.talk(None, "accept_connection", (vec![name], Vec::new()), deadline)?;
        lock(&self.lines).insert(me.id(), line.clone());
        Leaving::note(self, me.id());
        Ok(line)
    }

    fn hang_up(&self) {
        lock(&self.lines).remove(&thread::current().id());
    }

    /// A proxy of what an answer of this server names, which then lives as long.
    fn adopt(self: &Arc<Self>, proxy: Proxy) -> Result<PythonProxy> {
        let Proxy { token, exposed, .. } = proxy;
        // A host may go by several names; a port, or a path, has one server.
        let is_here = match (&self.address, token.address.as_items()) {
            (Address::Tcp { port, .. }, Some([_, at])) => at.as_int() == Some((*port).into()),
            (address, _) => as_python(address) == *token.address,
        };
        if !is_here {
            return Err(PythonError::Elsewhere(token.address.to_string()));
        }
        self.ask("incref", (vec![token.id.as_str().into()], Vec::new()))?;
        let methods = exposed.unwrap_or_default();
        Ok(PythonProxy::new(self.clone(), token.typeid, token.id, methods))
    }
}

impl Line {
    /// One request, and its answer.
    fn talk(
        &self,
        object: Option<&str>,
        method: &str,
        (args, named): Args,
        deadline: Option<Instant>,
    ) -> Result<Dynamic> {
        let request = Request::write(object, method, args, named);
        let answer = match left(deadline) {
            None => {
                self.connection.send(&request)?;
                self.connection.recv()?
            }
            Some(limit) => {
                self.connection.send_timeout(&request, limit)?;
                self.connection.recv_timeout(left(deadline).unwrap_or_default())?
            }
        };
        match Answer::read(answer).ok_or(PythonError::NoPython)? {
            Answer::Return(value) => Ok(value),
            Answer::Error(exception) => Err(match read_fault(&exception) {
                Some(fault) => fault.into(),
                None => PythonError::Raised(exception),
            }),
            Answer::Traceback(text) => Err(PythonError::Remote(text)),
            Answer::Unserializable(text) => {
                Err(PythonError::Remote(format!("Unserializable message: {text}")))
            }
            Answer::Proxy(_, token) => Ok(Dynamic::Token(token)),
        }
    }

    /// Takes the answers that nobody waits for out of the way.
    fn settle(&self, deadline: Option<Instant>) -> Result<()> {
        // Nobody but the line's thread asks or takes answers.
        for _ in 0..self.owed.swap(0, Ordering::Relaxed) {
            match left(deadline) {
                None => self.connection.recv_bytes()?,
                Some(limit) => self.connection.recv_bytes_timeout(limit)?,
            };
        }
        Ok(())
    }
}

fn left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// Closes a thread's connection when the thread ends.
struct Leaving(Weak<Server>, ThreadId);

impl Leaving {
    fn note(server: &Arc<Server>, me: ThreadId) {
        thread_local! {
            static LEAVING: RefCell<Vec<Leaving>> = const { RefCell::new(Vec::new()) };
        }
        let this = Arc::downgrade(server);
        // A thread that is ending already leaves its connection to the last proxy.
        let _ = LEAVING.try_with(|leaving| {
            let mut leaving = leaving.borrow_mut();
            leaving.retain(|other| other.0.strong_count() > 0);
            // One that is dropped closes what the thread has by now.
            if leaving.iter().all(|other| !other.0.ptr_eq(&this)) {
                leaving.push(Self(this, me));
            }
        });
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(server) = self.0.upgrade() {
            lock(&server.lines).remove(&self.1);
        }
    }
}

thread_local! {
    /// Whose answer this thread reads.
    static READING: RefCell<Option<Arc<Server>>> = const { RefCell::new(None) };
}

/// While it is there, proxies that are read are of a server's objects.
struct Reading(Option<Arc<Server>>);

impl Reading {
    fn of<R>(server: &Arc<Server>, read: impl FnOnce() -> R) -> R {
        let _outer = Self(READING.replace(Some(server.clone())));
        read()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READING.set(self.0.take());
    }
}

/// A proxy within an answer that is being read.
pub(super) fn read_proxy<E: Error>(value: Dynamic) -> Result<PythonProxy, E> {
    let Dynamic::Proxy(proxy) = value else {
        return Err(E::custom(format!("{value} is no proxy")));
    };
    let Some(server) = READING.with_borrow(Option::clone) else {
        let text = "a proxy of a Python manager travels in calls of that manager only; connect \
                    to it where it is needed";
        return Err(E::custom(text));
    };
    server.adopt(*proxy).map_err(E::custom)
}
