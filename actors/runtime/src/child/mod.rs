//! A child process as its parent sees it, and its reaping.
//!
//! Owns the pidfd, our ends of the links, and the one record of how the child ended:
//! whoever notices the end first (a thread that joins, or the hidden thread) reaps it
//! under the record's lock, drains what the child had written, and publishes exactly
//! one Down. It waits for its own pidfd only, never for "any child", and signals by
//! pidfd only. Neighbours: the launcher makes it, `crate::node` keeps it.

mod watch;
mod words;

pub(crate) use watch::{News, Set};
pub(crate) use words::IN_MEMORY_FILE;
pub use words::Outcome;

use crate::down::{Down, DownSink, Sinks};
use crate::launcher::hello::{self, Pong, Report, StartFault, ToChild};
use crate::launcher::{LaunchSpec, ParentDeath, Raw};
use crate::link::{Link, LinkError, OUTBOUND_LIMIT};
use crate::log::relayed::Source;
use crate::mail::Outbox;
use crate::proc_tree::{self, TreeKill};
use crate::reap::try_reap;
use crate::sync::{after, lock, poll};
use crate::sys::process::{Usage, pidfd_send_signal};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use procession_protocols::exit::{ExitReason, RawStatus};
use procession_protocols::id::{ActorId, NodeId};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use watch::Watch;

/// Most children that are joined at once end at once: for so long a joining thread looks
/// at nothing else, so that it wakes once.
const QUICK_END: Duration = Duration::from_millis(2);

/// While there is no room for a child's words, a thread that waits for them looks this often.
pub(crate) const ROOM_PERIOD: Duration = Duration::from_millis(5);

/// A child process of this node.
pub struct Child {
    node: NodeId,
    /// Whose child it is; in a copy of that process nobody can reap it.
    parent: u32,
    pid: u32,
    pidfd: OwnedFd,
    name: String,
    number: u32,
    daemon: bool,
    ends_by_message: bool,
    detached: bool,
    control: Link,
    data: Arc<Link>,
    outbox: Outbox,
    streams: Mutex<[Option<OwnedFd>; 3]>,
    relay: crate::relay::Relay,
    /// The log lines that come on its control link.
    lines: Source,
    has_ended: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    start: Option<Result<(), StartFault>>,
    report: Option<Report>,
    value: Option<(Vec<u8>, Vec<OwnedFd>)>,
    value_taken: bool,
    control_ended: bool,
    /// Whether words were left on the control link: there was no room for its lines or no
    /// number for a descriptor, or it was the turn of others.
    has_more: bool,
    /// Whether it was for want of a number.
    lacks_number: bool,
    /// Whether a task of the hidden thread hears them.
    is_heard_out: bool,
    asked: bool,
    hung: bool,
    pong: Option<Pong>,
    down: Option<Arc<Down>>,
    watchers: Sinks,
    watch: Watch,
}

impl Child {
    pub(crate) fn new(
        spec: &LaunchSpec,
        raw: Raw,
        control: Link,
        data: Link,
        streams: [Option<(OwnedFd, bool)>; 3],
    ) -> Self {
        let mut taken = [None, None, None];
        let mut relayed = Vec::new();
        for (slot, stream) in taken.iter_mut().zip(streams) {
            match stream {
                Some((fd, true)) => relayed.push(fd),
                Some((fd, false)) => *slot = Some(fd),
                None => {}
            }
        }
        Self {
            node: spec.node,
            parent: std::process::id(),
            pid: raw.pid,
            pidfd: raw.pidfd,
            name: spec.name.clone(),
            number: spec.number,
            daemon: spec.daemon,
            ends_by_message: spec.ends_by_message,
            detached: spec.on_parent_death == ParentDeath::Detached,
            control,
            data: Arc::new(data),
            outbox: Outbox::default(),
            streams: Mutex::new(taken),
            relay: crate::relay::Relay::new(relayed),
            lines: Source::default(),
            has_ended: Notify::new(),
            state: Mutex::default(),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The actor that it is.
    pub fn id(&self) -> ActorId {
        ActorId { node: self.node, number: 0 }
    }

    /// Its name at its start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number among the children of this node.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is ended at this node's normal exit.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// Whether it is asked to end by a message.
    pub fn ends_by_message(&self) -> bool {
        self.ends_by_message
    }

    /// Asks it to end, in the way that suits it; does not wait.
    ///
    /// # Errors
    /// As [`signal`](Self::signal).
    pub fn ask_to_end(&self) -> io::Result<()> {
        if self.ends_by_message { self.shutdown() } else { self.terminate() }
    }

    /// Whether this process started it: one that is a copy of that process, made by the user's
    /// own fork, cannot wait for it.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.parent == std::process::id()
    }

    /// Whether it lives on by itself at this node's end, whatever that is like.
    pub fn is_detached(&self) -> bool {
        self.detached
    }

    /// A descriptor that becomes readable when the child ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The link for calls, replies and mail.
    pub fn data(&self) -> &Arc<Link> {
        &self.data
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Our end of a piped standard stream (0, 1 or 2), once.
    pub fn take_stream(&self, number: usize) -> Option<OwnedFd> {
        lock(&self.streams).get_mut(number)?.take()
    }

    /// The last lines of its relayed standard error and output: of a child that lives, of what
    /// was read while there was room for its lines.
    pub fn stderr_tail(&self) -> String {
        self.relay.pump();
        self.relay.tail()
    }

    /// How it ended, if it has; reaps it when nobody has yet.
    pub fn reap(&self) -> Option<Arc<Down>> {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        if state.down.is_some() || !self.is_of_this_process() {
            return state.down.clone();
        }
        let (status, usage) = self.take_status()?;
        self.drain(state, true);
        self.relay.drain();
        let reason = match &state.report {
            _ if state.hung => ExitReason::Hung,
            Some(Report::Panicked(report)) if status == RawStatus::Code(1) => {
                ExitReason::Panic(report.clone())
            }
            Some(Report::Ended(reason)) if status == RawStatus::Code(0) && !state.asked => {
                reason.clone()
            }
            _ => ExitReason::from_status(status, state.asked),
        };
        let down = Arc::new(Down {
            actor: self.id(),
            pid: Some(self.pid),
            name: self.name.clone(),
            reason,
            status,
            usage,
        });
        state.down = Some(down.clone());
        let _ = self.settle(state);
        let is_kept = state.watch.is_entered();
        let watchers = std::mem::take(&mut state.watchers);
        drop(guard);
        if is_kept {
            crate::node::reaper::forget(self.number, &down);
        }
        watchers.tell(&down);
        self.has_ended.notify_waiters();
        Some(down)
    }

    /// Waits until it has ended; `None` when the deadline passed.
    ///
    /// # Errors
    /// Only what `ppoll` gives: out of memory.
    pub fn join(&self, deadline: Option<Instant>) -> io::Result<Option<Arc<Down>>> {
        if let Some(down) = self.reap() {
            return Ok(Some(down));
        }
        let _joining = Joining::new(self);
        if poll(&mut [self.end_event()], earlier(deadline, after(QUICK_END)))?
            && let Some(down) = self.reap()
        {
            return Ok(Some(down));
        }
        loop {
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
            let mut events =
                [self.end_event(), PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
            // Its words are taken here too: nobody else listens.
            let (listened, until) = match (self.drain_control(), self.has_more()) {
                (_, true) if self.lines.is_full() || self.lacks_number() => {
                    (1, earlier(deadline, after(ROOM_PERIOD)))
                }
                (_, true) => (1, after(Duration::ZERO)),
                (true, false) => (2, deadline),
                (false, false) => (1, deadline),
            };
            poll(&mut events[..listened], until)?;
            if events[0].any() == Some(true)
                && let Some(down) = self.reap()
            {
                return Ok(Some(down));
            }
        }
    }

    fn end_event(&self) -> PollFd<'_> {
        PollFd::new(self.pidfd(), PollFlags::POLLIN)
    }

    /// Waits for its end, which somebody else notices.
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait, and leaves nothing here.
    pub async fn ended(&self) -> Arc<Down> {
        loop {
            // Made before the look: an end in between counts.
            let has_ended = self.has_ended.notified();
            if let Some(down) = self.reap() {
                return down;
            }
            has_ended.await;
        }
    }

    /// Has `sink` called with the Down when it comes; at once when it has come.
    pub fn on_down(&self, sink: DownSink) {
        let mut state = lock(&self.state);
        match &state.down {
            Some(down) => {
                let down = Down::clone(down);
                drop(state);
                sink.tell(down);
            }
            None => state.watchers.add(sink),
        }
    }

    /// Sends a signal to it; nothing when it has ended.
    ///
    /// # Errors
    /// EPERM, when it changed its user.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// SIGTERM, and SIGCONT so that a stopped child gets it too.
    ///
    /// # Errors
    /// As [`signal`](Self::signal).
    pub fn terminate(&self) -> io::Result<()> {
        self.note_asked();
        self.signal(Signal::SIGTERM)?;
        self.signal(Signal::SIGCONT)
    }

    /// Asks an actor to end after the message that it handles.
    ///
    /// # Errors
    /// As [`signal`](Self::signal).
    pub fn shutdown(&self) -> io::Result<()> {
        self.note_asked();
        // However much waits: a stop must not be lost.
        match hello::post(&self.control, &ToChild::Shutdown, usize::MAX) {
            Ok(()) | Err(LinkError::Closed) => {}
            Err(other) => return Err(io::Error::other(other)),
        }
        self.signal(Signal::SIGCONT)
    }

    /// Asks its hidden thread for a sign of life; a link that is full or closed gives none.
    pub(crate) fn ping(&self, number: u64) {
        let _ = hello::post(&self.control, &ToChild::Ping(number), OUTBOUND_LIMIT);
    }

    /// Its last sign of life.
    pub(crate) fn last_pong(&self) -> Option<Pong> {
        lock(&self.state).pong
    }

    /// Says that an end by SIGTERM or code 0 is from now on one that was asked for.
    pub fn note_asked(&self) {
        lock(&self.state).asked = true;
    }

    /// Kills it because its watchdog found it hanging.
    ///
    /// # Errors
    /// As [`signal`](Self::signal).
    pub fn kill_hung(&self) -> io::Result<()> {
        lock(&self.state).hung = true;
        self.signal(Signal::SIGKILL)
    }

    /// Kills it and everything below it in the tree of processes, and returns at once
    /// when all are on their way out. Nothing when it has ended.
    ///
    /// # Errors
    /// As [`proc_tree::kill_tree`].
    pub fn kill_tree(&self) -> io::Result<TreeKill> {
        let pid = self.pid.cast_signed();
        let start = proc_tree::start_time(pid)?;
        // A child that is not reaped after the look kept its number during the look: the
        // start time is its own.
        match pidfd_send_signal(self.pidfd(), None) {
            Ok(()) if start.is_some() => proc_tree::kill_tree(pid, start),
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(TreeKill { settled: true, ..TreeKill::default() }),
        }
    }

    /// Kills it and waits for its end, which is near: nothing survives SIGKILL for long. One
    /// that may not be killed, since it has another user now, is reaped when it ends by itself.
    pub(crate) fn kill_and_reap(&self) {
        if self.signal(Signal::SIGKILL).is_ok() {
            let _ = self.join(None);
        }
    }

    pub(crate) fn control(&self) -> &Link {
        &self.control
    }

    pub(crate) fn relay(&self) -> &crate::relay::Relay {
        &self.relay
    }

    /// Whether it has said that it is ready, or why not.
    pub(crate) fn start_outcome(&self) -> Option<Result<(), StartFault>> {
        lock(&self.state).start.clone()
    }

    /// How it ended, if somebody has noticed.
    pub(crate) fn known_end(&self) -> Option<Arc<Down>> {
        lock(&self.state).down.clone()
    }

    /// From now on the hidden thread hears of it, by way of this set.
    ///
    /// # Errors
    /// The system has no room for another descriptor that is watched.
    pub(crate) fn enter(&self, set: Arc<Set>) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        state.watch.enter(set);
        self.settle(state)
    }

    /// Has the hidden thread watch what is worth it.
    fn settle(&self, state: &mut State) -> io::Result<()> {
        let lives = state.down.is_none();
        let speaks = lives && !state.control_ended && !state.has_more;
        let wanted = [(self.pidfd.as_fd(), lives), (self.control.as_fd(), speaks)];
        state.watch.settle(self.number, wanted)
    }

    /// Takes its exit status, once it has one.
    fn take_status(&self) -> Option<(RawStatus, Option<Usage>)> {
        match try_reap(self.pidfd()) {
            Ok(ended) => ended.map(|ended| (ended.status, ended.usage)),
            Err(_) => Some((RawStatus::Unknown, None)),
        }
    }
}

/// A thread that waits for the child's end: as long as there is one, the hidden thread
/// does not.
struct Joining<'a>(&'a Child);

impl<'a> Joining<'a> {
    fn new(child: &'a Child) -> Self {
        let state = &mut *lock(&child.state);
        state.watch.begin_join();
        // Taking it out of the set cannot fail.
        let _ = child.settle(state);
        Self(child)
    }
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        let (settled, is_left) = {
            let state = &mut *lock(&self.0.state);
            state.watch.end_join();
            (self.0.settle(state), state.watch.is_entered() && state.has_more)
        };
        if settled.is_err() {
            crate::node::reaper::look_after(self.0.number);
        } else if is_left {
            crate::node::reaper::listen_later(self.0.number);
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Child({}, pid {})", self.name, self.pid)
    }
}

/// The sooner of two deadlines, where none is never.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
