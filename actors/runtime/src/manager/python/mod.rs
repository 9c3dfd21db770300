//! Python programs at a server.
//!
//! Owns their connections: one for each thread of a client's that calls, as Python has it,
//! and one for each question to the server as a whole. A connection is a client of the
//! objects that it uses, so what it holds goes back when it ends. Each has a thread here,
//! which reads, runs and answers; while a call waits it listens for the connection's end
//! as well. Values are plain data: one that only a Rust program can read is an error of
//! that answer. It must never run what a client names, but for what the server's maker
//! offered. Neighbours: `procession_protocols::manager::python` (the words), `table` (which
//! objects Python programs know), `actor` (own objects), `far` (programs of this library).

mod actor;
mod session;
mod table;

use super::door::{Factory, Form, Offer, Reception};
use super::object::Object;
use super::proxy::Proxy;
use super::stored::Stored;
use super::{Watched, function};
use crate::listener::Address;
use procession_protocols::dynamic::{Dynamic, Exception, Token};
use procession_protocols::manager::python::{
    Answer, Args, Made, Refused, Verb, error, exception_of, kind_of, make,
};
use procession_protocols::manager::{Call, Fault, LockCall, Machine, Reply, Seed};
use session::Session;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use table::{Table, Target};

/// Most connections of Python programs that a server has at a time.
pub const MAX_PYTHON_CONNECTIONS: usize = 256;

static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

/// A place among those connections.
struct Seat;

impl Seat {
    fn take() -> Option<Self> {
        let taken = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let seat = Self;
        (taken < MAX_PYTHON_CONNECTIONS).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A server's side towards Python programs.
pub struct PythonDoor {
    reception: Reception,
    table: Arc<Table>,
    address: Dynamic,
    stop: Box<dyn Fn() + Send + Sync>,
}

impl PythonDoor {
    /// The side of the server that has this door, at this address; `stop` is run when a
    /// Python program asks the server to end. `None` when the server is another process.
    pub fn new(
        door: &Proxy,
        address: &Address,
        stop: impl Fn() + Send + Sync + 'static,
    ) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            reception: door.own()?.reception()?.clone(),
            table: Table::new(),
            address: as_python(address),
            stop: Box::new(stop),
        }))
    }

    /// Serves a client that has proved who it is, on a thread of its own.
    ///
    /// # Errors
    /// There are [`MAX_PYTHON_CONNECTIONS`] already, or no thread is to be had.
    pub fn serve(self: &Arc<Self>, stream: Arc<dyn Watched>) -> io::Result<()> {
        let full = "the manager has as many connections of Python programs as it may have";
        let seat = Seat::take().ok_or_else(|| io::Error::other(full))?;
        let this = self.clone();
        let thread = thread::Builder::new().name("procession-python".into());
        let serving = thread.spawn(move || {
            let _seat = seat;
            // What it runs is this server's.
            Reception::settle(Some(this.reception.clone()));
            if let Err(error) = Session::new(this, stream).attend() {
                tracing::warn!(target: "procession", %error, "a Python program was sent away");
            }
        });
        serving.map(drop)
    }

    /// Answers what the server as a whole is asked.
    fn say(&self, verb: Verb) -> Answer {
        match verb {
            Verb::Dummy | Verb::Accept | Verb::Shutdown => Answer::Return(Dynamic::None),
            Verb::Create(name, args) => self.create(&name, args),
            Verb::Incref(id) => counted(&id, self.table.incref(&id)),
            Verb::Decref(id) => counted(&id, self.table.decref(&id)),
            Verb::Methods(id) => match self.table.methods(&id) {
                Some(methods) => Answer::Return(names(methods)),
                None => no_such_object(&id),
            },
            Verb::Count => {
                Answer::Return(i64::try_from(self.table.len()).unwrap_or(i64::MAX).into())
            }
            Verb::Debug => Answer::Return(self.table.describe().into()),
        }
    }

    fn create(&self, name: &str, args: Args) -> Answer {
        let created = match self.table.offered(name) {
            Some(id) => Ok(id),
            None => self.offered(name, &args).or_else(|refused| match refused {
                Refused::NoSuchMethod => self.stock(name, args),
                raised @ Refused::Raised(_) => Err(raised),
            }),
        };
        match created {
            Ok(id) => {
                let methods = self.table.methods(&id).unwrap_or_default();
                Answer::Return(Dynamic::Tuple(vec![id.into(), names(methods)]))
            }
            // Python's server answers whatever it raises itself by its text, which is a
            // `RemoteError` over there; only methods of objects raise their exceptions.
            Err(Refused::Raised(exception)) => Answer::Traceback(told(exception)),
            Err(Refused::NoSuchMethod) => {
                Answer::Traceback(format!("KeyError: the manager offers nothing as '{name}'"))
            }
        }
    }

    /// Gives what the server's maker offered under a name.
    fn offered(&self, name: &str, args: &Args) -> Result<String, Refused> {
        let unfit = || {
            let text = format!("what the manager offers as '{name}' is for Rust programs alone");
            Refused::Raised(error("TypeError", text))
        };
        let (value, exposed, is_the_same) = match self.reception.offer(name) {
            Some(Offer::Open(value, form, condition)) => {
                let [proxy] = value.proxies() else { return Err(unfit()) };
                let kind = proxy.own().and_then(|object| object.kind()).ok_or_else(unfit)?;
                let kind = match form {
                    Form::Value(_) => kind_of("Value", kind),
                    Form::Condition => "Condition",
                    Form::Typed(_) | Form::Barrier => kind,
                };
                let (proxy, condition) = (proxy.clone(), *condition);
                return self.table.enter(Target::Stock { proxy, kind, condition }, Some(name));
            }
            None | Some(Offer::Stock(..) | Offer::Made(Factory { inside_only: true, .. })) => {
                return Err(Refused::NoSuchMethod);
            }
            Some(Offer::Shared(value)) => (value.clone(), &None, true),
            Some(Offer::Made(Factory { function, exposed, .. })) => {
                let args = args.clone().all_by_place().ok_or_else(unfit)?;
                // What takes none takes nothing.
                let args = if args.is_empty() { Dynamic::None } else { Dynamic::Tuple(args) };
                let args = Stored::plain(args, Vec::new());
                let made = function::run(function, &args, exposed.as_deref());
                (made.map_err(|fault| raised(&fault))?, exposed, false)
            }
        };
        let [proxy] = value.proxies() else { return Err(unfit()) };
        let object = proxy.own().ok_or_else(unfit)?;
        let target = match object.kind() {
            Some(kind) => Target::Stock { proxy: proxy.clone(), kind, condition: None },
            None if object.as_actor().is_some() => {
                Target::Actor { proxy: proxy.clone(), exposed: exposed.clone() }
            }
            None => return Err(unfit()),
        };
        self.table.enter(target, is_the_same.then_some(name))
    }

    /// Makes a stock object.
    fn stock(&self, name: &str, args: Args) -> Result<String, Refused> {
        let target = match make(name, args).ok_or(Refused::NoSuchMethod)?? {
            Made::Stock(seed) => {
                let machine = Machine::new(seed.map(&mut |value| self.table.keep(value)));
                let kind = kind_of(name, machine.kind());
                let proxy = Proxy::host(Object::stock(machine));
                Target::Stock { proxy, kind, condition: None }
            }
            Made::Condition(lock) => self.condition(lock)?,
        };
        self.table.enter(target, None)
    }

    fn condition(&self, lock: Option<Dynamic>) -> Result<Target, Refused> {
        let unfit = || {
            let text = "a condition stands on a lock of the same manager";
            Refused::Raised(error("TypeError", text))
        };
        let proxy = match lock {
            None => {
                let seed = Seed::Lock { recursive: true };
                Proxy::host(Object::stock(Machine::new(seed)))
            }
            Some(Dynamic::Proxy(lock)) => match self.table.find(&lock.token.id) {
                Some(Target::Stock { proxy, kind: "Lock" | "RLock", .. }) => proxy,
                _ => return Err(unfit()),
            },
            Some(_) => return Err(unfit()),
        };
        let call = Call::Lock(LockCall::Condition);
        match proxy.call(call, None) {
            Ok(Reply::Number(number)) => {
                let condition = u32::try_from(number).ok();
                Ok(Target::Stock { proxy, kind: "Condition", condition })
            }
            _ => Err(unfit()),
        }
    }

    /// What names an object, for a client.
    fn token(&self, typeid: &str, id: String) -> Token {
        Token { typeid: typeid.into(), address: Box::new(self.address.clone()), id }
    }
}

/// The last line of an exception's traceback.
fn told(exception: Exception) -> String {
    let Exception { class, args } = exception;
    let class = class.strip_prefix("builtins.").unwrap_or(&class);
    match &args[..] {
        [Dynamic::Str(text)] => format!("{class}: {text}"),
        _ => format!("{class}: {}", Dynamic::Tuple(args)),
    }
}

fn raised(fault: &Fault) -> Refused {
    Refused::Raised(exception_of(fault))
}

fn names(methods: Vec<String>) -> Dynamic {
    Dynamic::Tuple(methods.into_iter().map(Dynamic::Str).collect())
}

fn counted(id: &str, is_there: bool) -> Answer {
    if is_there { Answer::Return(Dynamic::None) } else { no_such_object(id) }
}

fn no_such_object(id: &str) -> Answer {
    Answer::Traceback(format!("KeyError: the manager has no object '{id}'"))
}

/// An address as Python writes it.
pub fn as_python(address: &Address) -> Dynamic {
    match address {
        Address::Tcp { host, port } => {
            Dynamic::Tuple(vec![host.as_str().into(), i64::from(*port).into()])
        }
        Address::Unix(path) => path.to_string_lossy().into_owned().into(),
        Address::Abstract(name) => Dynamic::bytes([&[0], name.as_slice()].concat()),
    }
}

impl fmt::Debug for PythonDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PythonDoor").field("address", &self.address).finish_non_exhaustive()
    }
}
