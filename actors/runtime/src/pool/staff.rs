//! A worker as its owner sees it, and how one is started.
//!
//! Owns the owner's end of a worker's stream, the memory of its word, and the recipe from
//! which its successors are made. Which worker gets what is the scheduler's.

use super::error::TaskError;
use super::task::Initializer;
use super::worker::{self, DEFINE, WorkerArgs};
use crate::child::Child;
use crate::codec::{self, Encoded};
use crate::function::FunctionRef;
use crate::launcher::{self, LaunchSpec, StartError, StartMethod, Stdio};
use crate::link::{Frame, Link, LinkError};
use crate::memory::segment::{Segment, SharedMemoryError};
use crate::node;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::signal::Signal;
use procession_protocols::pool::{WorkerId, word::Word};
use procession_protocols::wire::Kind;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// The memory in which a worker says what it has begun.
pub(super) struct Beginnings(Segment);

impl Beginnings {
    fn new() -> Result<Self, SharedMemoryError> {
        Segment::anonymous(size_of::<u64>()).map(Self)
    }

    /// The worker's view of it.
    pub(super) fn of(memory: OwnedFd) -> Result<Self, SharedMemoryError> {
        Segment::from_descriptor(memory, size_of::<u64>()).map(Self)
    }
}

impl Word for Beginnings {
    fn get(&self) -> u64 {
        self.0.cells(0, 1).and_then(|cells| cells.get(0)).unwrap_or_default()
    }

    fn exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        let cell = self.0.cells::<u64>(0, 1).and_then(|cells| cells.at(0));
        cell.map_or(Err(current), |cell| cell.compare_exchange(current, new))
    }
}

/// A worker that has started.
pub(super) struct Hired {
    pub(super) child: Arc<Child>,
    stream: Link,
    beginnings: Beginnings,
}

/// A worker at work.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) child: Arc<Child>,
    pub(super) beginnings: Beginnings,
    stream: Link,
    /// The functions that it knows by their numbers.
    known: HashSet<u32>,
    /// Whether its stream is watched for room as well.
    is_blocked: bool,
    /// Whether its stream has ended; its process follows.
    has_ended: bool,
}

impl Worker {
    pub(super) fn new(id: WorkerId, hired: Hired, epoll: &Epoll) -> io::Result<Self> {
        let Hired { child, stream, beginnings } = hired;
        epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, id.0))?;
        let known = HashSet::new();
        Ok(Self { id, child, beginnings, stream, known, is_blocked: false, has_ended: false })
    }

    /// Sends without waiting: what finds no room goes out when there is some. A worker
    /// that has ended is found out otherwise.
    pub(super) fn send(
        &mut self,
        task: &super::state::Task,
        reference: &FunctionRef,
        number: u32,
        epoll: &Epoll,
    ) -> Result<(), TaskError> {
        if self.known.insert(task.function) {
            let name = codec::encode(&(task.function, reference))?;
            let header = worker::header(DEFINE, name.bytes.len())?;
            let _ = self.stream.post(header, name, usize::MAX);
        }
        let args = &task.args;
        let header = worker::task_header(args.bytes.len(), task.function, task.items, number)?;
        match self.stream.offer(header, args) {
            Ok(true) => {}
            Ok(false) => {
                let fds = args.fds.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
                let copy = Encoded { bytes: args.bytes.clone(), fds };
                let _ = self.stream.post(header, copy, usize::MAX);
            }
            Err(_) => return Ok(()),
        }
        self.watch_for_room(epoll);
        Ok(())
    }

    /// Tells it that nothing more will come.
    pub(super) fn retire(&mut self, epoll: &Epoll) {
        if let Ok(header) = worker::header(Kind::Stop, 0) {
            let _ = self.stream.post(header, Encoded::default(), usize::MAX);
            self.watch_for_room(epoll);
        }
    }

    /// Writes what found no room before.
    pub(super) fn flush(&mut self, epoll: &Epoll) {
        let _ = self.stream.flush();
        self.watch_for_room(epoll);
    }

    fn watch_for_room(&mut self, epoll: &Epoll) {
        let wants = self.stream.wants_write();
        if wants != self.is_blocked && !self.has_ended {
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, wants);
            let _ = epoll.modify(self.stream.as_fd(), &mut EpollEvent::new(flags, self.id.0));
            self.is_blocked = wants;
        }
    }

    /// Its next reply; `first` looks at the socket.
    pub(super) fn reply(&mut self, first: bool, epoll: &Epoll) -> Option<Frame> {
        let next = if first { self.stream.try_recv() } else { self.stream.try_recv_more() };
        match next {
            Ok(frame) => frame,
            Err(error) => {
                if !matches!(error, LinkError::Closed) {
                    tracing::warn!(target: "procession", %error, "a worker's stream is damaged");
                    // Nothing that it says can be trusted any more.
                    let _ = self.child.signal(Signal::SIGKILL);
                }
                self.forget(epoll);
                None
            }
        }
    }

    /// Takes its stream out of what is watched.
    pub(super) fn forget(&mut self, epoll: &Epoll) {
        if !std::mem::replace(&mut self.has_ended, true) {
            let _ = epoll.delete(self.stream.as_fd());
        }
    }
}

/// How workers are started.
pub(super) struct Recipe {
    pub(super) method: Option<StartMethod>,
    pub(super) initializer: Option<Initializer>,
    pub(super) start_timeout: Duration,
    pub(super) relay_stderr: bool,
}

/// A worker to be started.
pub(super) struct Opening {
    spec: LaunchSpec,
    stream: Link,
    beginnings: Beginnings,
}

impl Recipe {
    /// Makes what a worker needs. Runs the `Serialize` of the initializer's arguments.
    pub(super) fn prepare(&self, method: Option<StartMethod>) -> Result<Opening, StartError> {
        let (ours, theirs) = Link::pair()?;
        let beginnings = Beginnings::new().map_err(io::Error::other)?;
        let mut fds = vec![theirs, beginnings.0.file().try_clone_to_owned()?];
        let initializer = match &self.initializer {
            Some(initializer) => {
                let args = (initializer.args)().map_err(io::Error::other)?;
                fds.extend(args.fds);
                Some((initializer.reference.clone(), args.bytes))
            }
            None => None,
        };
        let args = codec::encode(&WorkerArgs { initializer }).map_err(io::Error::other)?;
        let args = Encoded { bytes: args.bytes, fds };
        let node = node::current();
        let number = node.next_child();
        let name = format!("PoolWorker-{}", node.path.child(number));
        let entry = worker::entry().map_err(|_| StartError::NoSuchFunction)?;
        let mut spec = LaunchSpec::plain(name, number, entry, args);
        if let Some(method) = method.or(self.method) {
            spec.method = method;
        }
        spec.daemon = true;
        spec.ignore_sigint = true;
        spec.start_timeout = self.start_timeout;
        if self.relay_stderr {
            spec.stdio[2] = Stdio::Relay;
        }
        Ok(Opening { spec, stream: Link::new(ours), beginnings })
    }
}

impl Opening {
    /// Starts it. To be awaited on the hidden thread; a fork happens within the call.
    pub(super) fn start(self) -> impl Future<Output = Result<Hired, StartError>> + Send + use<> {
        let Self { spec, stream, beginnings } = self;
        let start = launcher::start_async(spec);
        async move {
            let child = start.await?;
            node::reaper::adopt(&node::current(), &child)?;
            Ok(Hired { child, stream, beginnings })
        }
    }
}
