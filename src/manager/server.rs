//! The server's process: how it is started, what it runs, how it is ended.
//!
//! Owns the process behind a [`Manager`](super::Manager) and the pipe to it, whose end is
//! the server's end: so it goes when its starter does, however that ends. It must never
//! serve anything itself; objects do, on the threads of the runtime. Neighbour: `builder`.

use super::{Fault, ManagerError, remote};
use crate::builder::ProcessBuilder;
use crate::error::{Error, Result};
use crate::listener::{Address, Listener, ListenerError, PythonPeers};
use crate::pipe::{Connection, Pipe};
use crate::process::{Process, ProcessRef};
use procession_runtime::codec;
use procession_runtime::function::{self, FunctionRef};
use procession_runtime::manager::{Offer, Proxy, Reception, Routine, Stored, Values};
use procession_runtime::sync::lock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a server has until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A function that runs first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) function: FunctionRef,
    pub(super) args: Stored,
}

/// What a server is given.
#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    /// Where it serves others, and the key that they have to know.
    public: Option<Public>,
    initializer: Option<Start>,
    offers: BTreeMap<String, Offer>,
}

/// Where a server serves programs outside the process tree, and whom.
#[derive(Serialize, Deserialize)]
pub(super) struct Public {
    pub(super) address: Address,
    pub(super) authkey: Vec<u8>,
    pub(super) python: PythonPeers,
    pub(super) values: Values,
}

impl Public {
    pub(super) fn bind(self) -> std::result::Result<Arc<Listener>, ListenerError> {
        let Self { address, authkey, python, values: _ } = self;
        let listener = Listener::builder().address(address).authkey(authkey).python_peers(python);
        listener.bind().map(Arc::new)
    }
}

impl Plan {
    pub(super) fn new(
        public: Option<Public>,
        initializer: Option<Start>,
        offers: BTreeMap<String, Offer>,
    ) -> Self {
        Self { public, initializer, offers }
    }
}

/// What a server says when it is ready: its door, and where it serves.
type Ready = std::result::Result<(Proxy, Option<Address>), String>;

/// What a server is told. The end of the pipe says the same.
#[derive(Serialize, Deserialize)]
struct ShutDown;

/// A running server, as its starter has it.
pub(super) struct Server {
    process: Process<()>,
    pipe: Connection,
    shutdown_timeout: Duration,
    /// Held while somebody shuts it down.
    ending: Mutex<()>,
}

impl Server {
    pub(super) fn start(
        name: Option<String>,
        shutdown_timeout: Duration,
        plan: &Plan,
    ) -> Result<(Self, Proxy, Option<Address>)> {
        let (pipe, starter) = Pipe::duplex()?;
        let entry = function::entry::<_, (Plan, Connection)>(serve);
        let args = codec::encode(&(plan, &starter));
        let mut builder = ProcessBuilder::named("SyncManager", entry, args);
        drop(starter);
        if let Some(name) = name {
            builder = builder.name(name);
        }
        // Its own children are its objects', and it outlives no one.
        let builder = builder.daemon(true).allow_nested().ignore_interrupt();
        let process = builder.start_timeout(START_TIMEOUT).start()?;
        let server = Self { process, pipe, shutdown_timeout, ending: Mutex::new(()) };
        // If it dies instead, the pipe ends.
        let error = match server.pipe.recv_timeout::<Ready>(START_TIMEOUT) {
            Ok(Ok((door, address))) => return Ok((server, door, address)),
            Ok(Err(text)) => ManagerError::Fault(Fault::Failed(text)).into(),
            Err(error) => error.into(),
        };
        // Whatever it is at, nobody will ever ask it to end.
        server.kill()?;
        Err(error)
    }

    pub(super) fn process(&self) -> &ProcessRef {
        self.process.as_ref()
    }

    pub(super) fn shutdown(&self) -> Result<()> {
        let _turn = lock(&self.ending);
        let process = self.process();
        if process.join_timeout(Duration::ZERO)? {
            return Ok(());
        }
        tracing::info!(target: "procession", "sending shutdown message to manager");
        // One that is gone needs none; one that does not listen is ended below.
        let _ = self.pipe.send_timeout(&ShutDown, self.shutdown_timeout);
        if process.join_timeout(self.shutdown_timeout)? {
            return Ok(());
        }
        tracing::info!(target: "procession", "trying to terminate() manager process");
        process.terminate()?;
        if process.join_timeout(self.shutdown_timeout)? {
            return Ok(());
        }
        self.kill()
    }

    fn kill(&self) -> Result<()> {
        self.process().kill()?;
        if self.process().join_timeout(START_TIMEOUT)? { Ok(()) } else { Err(Error::Timeout) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The pipe's end says it too, unless a copy of this process has the pipe as well.
        let _ = self.pipe.send_timeout(&ShutDown, Duration::ZERO);
    }
}

/// What the server's main thread does.
fn serve(plan: Plan, starter: Connection) {
    let values = plan.public.as_ref().map_or(Values::Native, |public| public.values);
    match open(plan) {
        Err(text) => drop(starter.send(&Ready::Err(text))),
        Ok((door, listener)) => {
            let address = listener.as_ref().map(|listener| listener.address().clone());
            if starter.send(&Ready::Ok((door.clone(), address))).is_ok() {
                // Whatever comes, and the end of the pipe, says that it is over.
                let told = move || drop(starter.recv::<ShutDown>());
                match listener {
                    None => told(),
                    Some(listener) => serve_others(&listener, &door, values, told),
                }
            }
        }
    }
    tracing::info!(target: "procession", "manager exiting with exitcode 0");
}

/// Lets others in until its starter, or one of them, says that it is over.
fn serve_others(
    listener: &Arc<Listener>,
    door: &Proxy,
    values: Values,
    told: impl FnOnce() + Send + 'static,
) {
    let closing = listener.clone();
    let thread = std::thread::Builder::new().name("procession-starter".into());
    let waiting = thread.spawn(move || {
        told();
        closing.close();
    });
    match waiting {
        Ok(_) => remote::accept(listener, door, values),
        Err(error) => tracing::warn!(target: "procession", %error, "no thread for the manager"),
    }
    listener.close();
}

/// Opens the door, and listens where others may come.
fn open(plan: Plan) -> std::result::Result<(Proxy, Option<Arc<Listener>>), String> {
    let Plan { public, initializer, offers } = plan;
    if let Some(Start { function, args }) = initializer {
        Routine::run(&function, &args).map_err(|fault| fault.to_string())?;
    }
    let door = Reception::open(offers).map_err(|error| error.to_string())?;
    let Some(public) = public else {
        tracing::info!(target: "procession", "manager serving the processes of its tree");
        return Ok((door, None));
    };
    let listener = public.bind().map_err(|error| error.to_string())?;
    Ok((door, Some(listener)))
}
