//! The connections to a manager of a Python program.
//!
//! Owns one for each thread that calls, as in Python, whose recursive locks know their holder
//! by it: it lasts until the thread ends. What is asked and answered there, and what in the
//! answer is a proxy. It must never dial, or wait, for something that is dropped.

use super::{PythonError, PythonProxy, Result};
use crate::listener::{Address, Client, PythonPeers};
use crate::pipe::{Connection, PeerInfo, PipeError};
use procession_protocols::dynamic::{Dynamic, Proxy};
use procession_protocols::manager::python::{Answer, Request, read_fault};
use procession_runtime::manager::as_python;
use procession_runtime::sync::lock;
use serde::de::{DeserializeOwned, Error};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// The way to a manager.
pub(super) struct Server {
    pub(super) address: Address,
    pub(super) authkey: Vec<u8>,
    pub(super) peers: PythonPeers,
    /// The connection of each thread that has called and has not ended.
    pub(super) lines: Mutex<HashMap<ThreadId, Arc<Line>>>,
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
    fn dial(&self) -> Result<Line> {
        let client = Client::builder(self.address.clone()).authkey(&self.authkey);
        let connection = client.python_peers(self.peers).connect()?;
        let is_python = connection.peer().is_some_and(PeerInfo::is_python);
        let line = Line { connection, owed: AtomicU32::new(0) };
        if is_python { Ok(line) } else { Err(PythonError::NoPython) }
    }

    /// Asks the server as a whole, over a connection of its own.
    pub(super) fn ask(&self, verb: &str, args: Args) -> Result<Dynamic> {
        self.dial()?.talk(None, verb, args)
    }

    /// Calls a method of an object, and reads its answer.
    pub(super) fn call<R: DeserializeOwned>(
        self: &Arc<Self>,
        object: &str,
        method: &str,
        args: Args,
    ) -> Result<R> {
        let answer = self.call_plain(object, method, args)?;
        Ok(Reading::of(self, || answer.to())?)
    }

    pub(super) fn call_plain(
        self: &Arc<Self>,
        object: &str,
        method: &str,
        args: Args,
    ) -> Result<Dynamic> {
        let line = self.line()?;
        let answer = line.settle().and_then(|()| line.talk(Some(object), method, args));
        match answer {
            // That message alone was bad: the next answer is the next question's.
            Err(PythonError::Pipe(PipeError::Encode(_) | PipeError::Decode(_))) => {}
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
    fn line(self: &Arc<Self>) -> Result<Arc<Line>> {
        let me = thread::current();
        if let Some(line) = lock(&self.lines).get(&me.id()) {
            return Ok(line.clone());
        }
        let line = Arc::new(self.dial()?);
        let name = me.name().unwrap_or("thread").into();
        line.talk(None, "accept_connection", (vec![name], Vec::new()))?;
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
    fn talk(&self, object: Option<&str>, method: &str, (args, named): Args) -> Result<Dynamic> {
        self.connection.send(&Request::write(object, method, args, named))?;
        match Answer::read(self.connection.recv()?).ok_or(PythonError::NoPython)? {
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
    fn settle(&self) -> Result<()> {
        // Nobody but the line's thread asks or takes answers.
        for _ in 0..self.owed.swap(0, Ordering::Relaxed) {
            self.connection.recv_bytes()?;
        }
        Ok(())
    }
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
            leaving.retain(|other| other.0.strong_count() > 0 && !other.0.ptr_eq(&this));
            leaving.push(Self(this, me));
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
