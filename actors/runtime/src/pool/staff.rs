//! A worker as its owner sees it, and how one is started.
//!
//! Owns the owner's end of a worker's stream and outbox, and the recipe from which its
//! successors are made. Which worker gets what is the scheduler's.

use super::large::{self, Filed};
use super::memory::Kills;
use super::outbox::{Results, Tray};
use super::state::Task;
use super::task::{Definition, Initializer};
use super::worker::{self, DEFINE, JOINED, RING, WATCHED, WorkerArgs};
use crate::child::Child;
use crate::codec::{self, Encoded, Packed, frames};
use crate::launcher::{self, LaunchSpec, StartError, StartMethod, Stdio};
use crate::link::{Frame, Link, LinkError};
use crate::node;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::signal::Signal;
use procession_protocols::pool::WorkerId;
use procession_protocols::pool::bell::Alarm;
use procession_protocols::wire::{Header, Kind};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// A worker that has started.
pub(super) struct Hired {
    pub(super) child: Arc<Child>,
    stream: Link,
    tray: Tray,
    joins: bool,
}

/// A worker at work.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) child: Arc<Child>,
    pub(super) tray: Tray,
    stream: Link,
    /// How many tasks are ready for it and not written.
    pub(super) unsent: usize,
    joined: Joined,
    joins: bool,
    /// Results that came over the stream; their places are in the tray.
    spilled: VecDeque<Frame>,
    /// Whether it knows the function of each number.
    known: Vec<bool>,
    /// Whether its stream is watched for room as well.
    is_blocked: bool,
    /// Whether its stream has ended; its process follows.
    has_ended: bool,
    /// What the kernel's count of kills was, and when, in milliseconds.
    kills: Option<(u64, Kills)>,
}

/// Single calls of one function that go out in one frame, each of them a task of its own.
#[derive(Default)]
struct Joined {
    function: u32,
    /// The number of the first; the others follow it.
    first: u32,
    count: u32,
    args: Vec<u8>,
}

/// Most bytes of arguments that go out in one frame.
const MOST_JOINED: usize = 8 * 1024;

impl Worker {
    pub(super) fn new(id: WorkerId, hired: Hired, epoll: &Epoll) -> io::Result<Self> {
        let Hired { child, stream, tray, joins } = hired;
        epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, id.0))?;
        // Whoever reads may be asleep, and did not tell this one.
        tray.arm(Alarm::Each);
        let (spilled, known) = (VecDeque::new(), Vec::new());
        Ok(Self {
            id,
            child,
            tray,
            stream,
            unsent: 0,
            joined: Joined::default(),
            joins,
            spilled,
            known,
            is_blocked: false,
            has_ended: false,
            kills: None,
        })
    }

    /// It is given something at this time. Should it be killed from now on, it is known
    /// whether for want of memory.
    pub(super) fn note_kills(&mut self, now: u64) {
        let is_old = |(at, _): &(u64, Kills)| now.saturating_sub(*at) >= Kills::STALE_MS;
        if self.kills.as_ref().is_none_or(is_old) {
            self.kills = Some((now, Kills::that_concern(self.child.pid())));
        }
    }

    /// It was killed: whether for want of memory, as far as the kernel tells.
    pub(super) fn was_short_of_memory(&self) -> bool {
        self.kills.as_ref().is_some_and(|(_, kills)| kills.have_risen())
    }

    /// Has items of a task ready for the next [`flush`](Self::flush). A worker that has
    /// ended is found out otherwise.
    pub(super) fn send(
        &mut self,
        task: &Task,
        function: &Definition,
        items: Range<u32>,
        number: u32,
    ) {
        // One with a time limit is not to wait: its time runs.
        let weight = if task.limit_ms.is_some() { usize::MAX } else { 1 };
        self.unsent = self.unsent.saturating_add(weight);
        if self.is_new(task.function)
            && let Ok(name) = codec::encode(&(task.function, function))
            && let Ok(header) = Header::new(DEFINE, name.bytes.len())
        {
            let _ = self.stream.push(header, &name.bytes, &[]);
        }
        let (bytes, tail, fds) = task.args.parts();
        let count = items.end - items.start;
        let is_plain = tail.is_empty() && fds.is_empty() && task.args.count() == 1;
        if self.joins && is_plain && task.limit_ms.is_none() && bytes.len() <= MOST_JOINED {
            return self.join(task.function, bytes, number);
        }
        self.part();
        let is_whole = count == task.args.count();
        let part = if is_whole { Some(0..bytes.len()) } else { frames(bytes, items) };
        // The length of all was checked when the task was taken on.
        let Some(part) = part else { return };
        let len = part.len() + tail.len();
        let header = worker::task_header(len, task.function, count, number);
        let Some(mut header) = header else { return };
        header.flags = if task.limit_ms.is_some() { WATCHED } else { 0 };
        let bytes = &bytes[part];
        let filed = if tail.is_empty() { Filed::batch(bytes, fds) } else { Filed::bare(tail) };
        let posted = filed.map(|filed| {
            let (header, payload, file) = filed.frame(header);
            self.stream.post_parts(header, &payload, vec![file], usize::MAX)
        });
        let pushed = match posted {
            Some(posted) if !large::is_crowded(&posted) => posted,
            _ if tail.is_empty() => self.stream.push(header, bytes, fds),
            _ => self.stream.push(header, &[bytes, tail].concat(), fds),
        };
        if let Err(error) = pushed
            && !matches!(error, LinkError::Closed)
        {
            // It would be waited for in vain; another worker may get it.
            tracing::warn!(target: "procession", %error, "a task cannot be sent");
            let _ = self.child.signal(Signal::SIGKILL);
        }
    }

    /// Has a call go out behind those before it, in one frame if that may be.
    fn join(&mut self, function: u32, args: &[u8], number: u32) {
        let Joined { first, count, .. } = self.joined;
        let is_next = self.joined.function == function && first.wrapping_add(count) == number;
        if !is_next || self.joined.args.len() + args.len() > MOST_JOINED {
            self.part();
        }
        if self.joined.count == 0 {
            (self.joined.function, self.joined.first) = (function, number);
        }
        self.joined.count += 1;
        self.joined.args.extend_from_slice(args);
    }

    /// Ends the frame of those that go out together.
    fn part(&mut self) {
        let Joined { function, first, count, args } = &mut self.joined;
        if *count == 0 {
            return;
        }
        if let Some(mut header) = worker::task_header(args.len(), *function, *count, *first) {
            header.flags = if *count > 1 { JOINED } else { 0 };
            let _ = self.stream.push(header, args, &[]);
        }
        *count = 0;
        args.clear();
    }

    /// Takes back what has not been begun, up to this number. Gives the last that has.
    pub(super) fn take_back(&mut self, last: u32) -> u32 {
        // A worker that finds one taken back throws the rest of its frame away.
        self.part();
        self.tray.take_back(last)
    }

    /// Whether it is to be told what this number stands for.
    fn is_new(&mut self, function: u32) -> bool {
        let at = function as usize;
        if self.known.len() <= at {
            self.known.resize(at + 1, false);
        }
        !std::mem::replace(&mut self.known[at], true)
    }

    /// Tells it that nothing more will come.
    pub(super) fn retire(&mut self) {
        self.tell(Kind::Stop);
    }

    fn tell(&mut self, kind: Kind) {
        self.part();
        if let Ok(header) = Header::new(kind, 0) {
            let _ = self.stream.push(header, &[], &[]);
        }
    }

    /// Writes what is ready, as far as there is room.
    pub(super) fn flush(&mut self, epoll: &Epoll) {
        self.unsent = 0;
        self.part();
        if self.stream.wants_write() {
            let _ = self.stream.flush();
            self.watch_for_room(epoll);
        } else if self.is_blocked {
            self.watch_for_room(epoll);
        }
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

    /// Takes what has come over its stream.
    pub(super) fn read(&mut self, epoll: &Epoll) {
        let mut next = self.stream.try_recv();
        loop {
            match next {
                Ok(Some(frame)) if frame.header.kind == Kind::Reply => {
                    self.spilled.push_back(frame);
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => {
                    if !matches!(error, LinkError::Closed) {
                        tracing::warn!(target: "procession", %error, "a worker's stream is damaged");
                        // Nothing that it says can be trusted any more.
                        let _ = self.child.signal(Signal::SIGKILL);
                    }
                    return self.forget(epoll);
                }
            }
            next = self.stream.try_recv_more();
        }
    }

    /// Takes what is in its outbox.
    pub(super) fn collect(&mut self) {
        match self.tray.collect() {
            Ok(true) => self.tell(RING),
            Ok(false) => {}
            Err(_) => {
                tracing::warn!(target: "procession", "a worker's outbox is damaged");
                let _ = self.child.signal(Signal::SIGKILL);
            }
        }
    }

    /// The next results of what was collected, at most so many.
    pub(super) fn results(&mut self, most: u32) -> Option<(u32, Packed)> {
        match self.tray.next(most)? {
            Results::Frames(count, frames) => Some((count, frames)),
            Results::Spilled => {
                let Some(frame) = self.spilled.pop_front() else {
                    self.tray.put_back();
                    return None;
                };
                let result = large::take_out(frame).unwrap_or_else(|error| {
                    tracing::warn!(target: "procession", %error, "a large result is lost");
                    large::lost(&error)
                });
                Some((1, result))
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
    pub(super) may_have_children: bool,
    pub(super) relay_stderr: bool,
    pub(super) max_memory: Option<u64>,
}

/// A worker to be started.
pub(super) struct Opening {
    spec: LaunchSpec,
    stream: Link,
    tray: Tray,
    joins: bool,
}

impl Recipe {
    /// Makes what a worker needs. Runs the `Serialize` of the initializer's arguments.
    pub(super) fn prepare(&self, method: Option<StartMethod>) -> Result<Opening, StartError> {
        let (ours, theirs) = Link::pair()?;
        let (tray, memory) = Tray::make()?;
        let mut fds = vec![theirs, memory];
        let initializer = match &self.initializer {
            Some(initializer) => {
                let args = (initializer.args)().map_err(io::Error::other)?;
                fds.extend(args.fds);
                Some((initializer.reference.clone(), args.bytes))
            }
            None => None,
        };
        let args = codec::encode(&WorkerArgs { initializer, max_memory: self.max_memory })
            .map_err(io::Error::other)?;
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
        spec.allow_nested = self.may_have_children;
        spec.ignore_sigint = true;
        spec.start_timeout = self.start_timeout;
        // That is long enough for most of them, and whoever makes the pool may have said it.
        spec.awaits_preload = false;
        if self.relay_stderr {
            spec.stdio[2] = Stdio::Relay;
        }
        // How much memory it uses is looked at between two frames.
        let joins = self.max_memory.is_none();
        Ok(Opening { spec, stream: Link::new(ours), tray, joins })
    }
}

impl Opening {
    /// Starts it. To be awaited on the hidden thread; a fork happens within the call.
    pub(super) fn start(self) -> impl Future<Output = Result<Hired, StartError>> + Send + use<> {
        let Self { spec, stream, tray, joins } = self;
        let start = launcher::start_async(spec);
        async move {
            let child = start.await?;
            node::reaper::adopt(&node::current(), &child)?;
            Ok(Hired { child, stream, tray, joins })
        }
    }
}
