//! The way to a manager of a Python program.
//!
//! Owns a connection for each thread that calls, as in Python, whose recursive locks know their
//! holder by it: it lasts until the thread ends. A copy that a fork has made has connections of
//! its own. What in an answer is a proxy, and one thread that says which proxies have been
//! dropped. It must never dial, or wait, in the thread that drops something. Neighbour: `talk`,
//! what is said on a connection.

use super::talk::{Args, Line, PATIENCE, left, prepare_to_leave, settle_all};
use super::{PythonError, PythonProxy, Result};
use crate::listener::{Address, Client, PythonPeers};
use crate::pipe::{PeerInfo, PipeError};
use procession_protocols::dynamic::{Dynamic, Proxy};
use procession_protocols::manager::python::Request;
use procession_runtime::farewell::Farewell;
use procession_runtime::manager::as_python;
use procession_runtime::sync::{after, lock};
use serde::de::{DeserializeOwned, Error};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// A manager has so much longer than a caller's patience to say that time is up.
const GRACE: Duration = Duration::from_secs(1);

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
    pub(super) lines: Mutex<HashMap<Me, Arc<Line>>>,
    pub(super) gone: Mutex<Gone>,
}

/// A thread, and its process: what a fork left of another's is not used.
type Me = (u32, ThreadId);

fn me() -> Me {
    (std::process::id(), thread::current().id())
}

/// The objects of proxies that have been dropped.
#[derive(Default)]
pub(super) struct Gone {
    objects: VecDeque<String>,
    /// A thread of this process tells the manager.
    told_by: Option<u32>,
}

impl Server {
    fn dial(&self, deadline: Option<Instant>) -> Result<Line> {
        prepare_to_leave();
        let client = Client::builder(self.address.clone()).authkey(&self.authkey);
        let limit = left(deadline).map_or(PATIENCE, |left| left.min(PATIENCE));
        let connection = client.python_peers(self.peers).timeout(limit).connect()?;
        let is_python = connection.peer().is_some_and(PeerInfo::is_python);
        if is_python {
            Ok(Line::of(self.address.clone(), connection))
        } else {
            Err(PythonError::NoPython)
        }
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
            let me = Some(std::process::id());
            if gone.told_by.is_some_and(|by| Some(by) != me) {
                // A copy of the process that tells of those.
                *gone = Gone::default();
            }
            if gone.objects.len() >= MOST_GONE {
                return;
            }
            gone.objects.push_back(object);
            if std::mem::replace(&mut gone.told_by, me).is_some() {
                return;
            }
        }
        let (server, farewell) = (self.clone(), Farewell::begin());
        let thread = thread::Builder::new().name("procession-decref".into());
        let tell = move || {
            server.tell_gone();
            // In this order: the last to go has connections that are to be answered.
            drop((server, farewell));
        };
        if thread.spawn(tell).is_err() {
            // The next one tries again.
            lock(&self.gone).told_by = None;
        }
    }

    fn tell_gone(&self) {
        loop {
            let object = {
                let gone = &mut *lock(&self.gone);
                let Some(object) = gone.objects.pop_front() else {
                    gone.told_by = None;
                    return;
                };
                object
            };
            // What was said to an object without a wait goes to nobody once the object is gone.
            settle_all(&self.address, after(PATIENCE));
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
    /// the answer to its next call. Never waits: what finds no room is said as soon as there is
    /// some. Where there is no connection, nothing is called.
    pub(super) fn tell(&self, object: &str, method: &str) {
        let line = lock(&self.lines).get(&me()).cloned();
        let Some(line) = line else { return };
        let request = Request::write(Some(object), method, Vec::new(), Vec::new());
        if line.say(request).is_err() {
            self.hang_up();
        }
    }

    /// The calling thread's connection.
    fn line(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Arc<Line>> {
        let me = me();
        if let Some(line) = lock(&self.lines).get(&me) {
            return Ok(line.clone());
        }
        let line = Arc::new(self.dial(deadline)?);
        let name = thread::current().name().unwrap_or("thread").into();
        let deadline = deadline.into_iter().chain(after(PATIENCE)).min();
        line.talk(None, "accept_connection", (vec![name], Vec::new()), deadline)?;
        line.is_to_be_answered();
        lock(&self.lines).insert(me, line.clone());
        Leaving::note(self);
        Ok(line)
    }

    fn hang_up(&self) {
        let line = lock(&self.lines).remove(&me());
        line.into_iter().for_each(Line::part);
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

impl Drop for Server {
    fn drop(&mut self) {
        let me = std::process::id();
        let lines = std::mem::take(&mut *lock(&self.lines));
        lines.into_iter().filter(|(of, _)| of.0 == me).for_each(|(_, line)| line.part());
    }
}

/// Closes a thread's connection when the thread ends.
struct Leaving(Weak<Server>, ThreadId);

impl Leaving {
    fn note(server: &Arc<Server>) {
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
                leaving.push(Self(this, thread::current().id()));
            }
        });
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(server) = self.0.upgrade() {
            let line = lock(&server.lines).remove(&(std::process::id(), self.1));
            line.into_iter().for_each(Line::part);
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
