//! A zygote as its node sees it: the process, and the asking for workers.
//!
//! Owns the handle of one zygote, from its start to its end, and the spare worker that
//! waits there for the next start. Any thread may ask; each request brings the worker's own
//! control link, on which all is said about it, so that no thread waits for another. Each
//! wait here has a deadline: a zygote that misses it is killed. Neighbours: `super` says
//! which zygote, `worker` is what comes of a request.

use super::worker::{Answer, Asked, Worker};
use super::{Kind, PLAIN_START_TIMEOUT, PRELOAD_TIMEOUT, REQUEST_TIMEOUT, keeper};
use crate::child::Child;
use crate::codec;
use crate::function::NotInImage;
use crate::launcher::birth::Birth;
use crate::launcher::hello::{Hello, LogSettings};
use crate::launcher::names::Word;
use crate::launcher::spec::{EnvChanges, OpenStdio};
use crate::launcher::{
    Ends, LaunchSpec, StartError, StartMethod, Starting, handshake, spawn, spec, zygote,
};
use crate::link::Link;
use crate::node;
use crate::sync::{after, lock, poll};
use crate::sys::socket;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use nix::sys::stat::stat;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// At exit a zygote has this long to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The number of the last word about names.
static LAST_WORD: AtomicU64 = AtomicU64::new(0);

/// Whether a zygote has died, or leaves requests lying.
pub(super) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
    matches!(error.kind(), BrokenPipe | ConnectionReset | WouldBlock)
}

/// A zygote that has said that it is ready.
pub(crate) struct Zygote {
    child: Arc<Child>,
    pub(super) kind: Kind,
    /// What its workers have without being told.
    pub(super) home: Surrounds,
    /// Which worker it has made last.
    birth: Birth,
    /// How many it was asked for.
    requests: AtomicU32,
    /// At most one worker that waits for its hello, so that the next start finds a process.
    spare: Mutex<Option<Worker>>,
    /// Whether it has served. A program that starts one process needs no spare.
    has_served: AtomicBool,
    /// Whether it makes no more workers. It changes under the spare's lock.
    is_retired: AtomicBool,
}

/// Surroundings that a zygote gives to its workers as they were at its own start.
#[derive(Debug, PartialEq)]
pub(super) struct Surrounds {
    pub(super) env: Vec<(OsString, OsString)>,
    /// Device and inode of the working directory, which the zygote holds: no other
    /// directory can have them.
    directory: Option<(u64, u64)>,
}

impl Surrounds {
    pub(super) fn new(env: Vec<(OsString, OsString)>) -> Self {
        let directory = stat(".").ok().map(|found| (found.st_dev, found.st_ino));
        Self { env, directory }
    }

    /// Whether the working directory is the same.
    pub(super) fn is_in(&self, directory: &Self) -> bool {
        self.directory.is_some() && self.directory == directory.directory
    }
}

/// A zygote that has not said yet that it is ready.
pub(super) struct Rising {
    starting: Starting,
    kind: Kind,
    home: Surrounds,
    birth: Birth,
}

impl Rising {
    /// Waits until it is ready, on the runtime that polls this future.
    pub(super) async fn listen(self) -> Result<Zygote, StartError> {
        let child = handshake::asynchronous(self.starting).await?;
        Zygote::new(child, self.kind, self.home, self.birth)
    }
}

impl Zygote {
    /// Starts one and waits until it is ready. As [`begin`](Self::begin).
    pub(super) fn start(kind: &Kind) -> Result<Self, StartError> {
        let Rising { starting, kind, home, birth } = Self::begin(kind)?;
        Self::new(handshake::blocking(starting)?, kind, home, birth)
    }

    /// To be called on the launcher thread: what follows from a parent's death is tied to it.
    pub(super) fn begin(kind: &Kind) -> Result<Rising, StartError> {
        let node = node::current();
        let start_timeout =
            if kind.preload.is_some() { PRELOAD_TIMEOUT } else { PLAIN_START_TIMEOUT };
        let (birth, file) = Birth::new()?;
        let args = codec::encode(&(&kind.preload, file)).map_err(io::Error::other)?;
        let entry = zygote::entry().map_err(|NotInImage| StartError::NoSuchFunction)?;
        let name = format!("ForkServer-{}", node.path.child(0));
        let spec = LaunchSpec {
            method: StartMethod::Spawn,
            // A preload function may not start processes: they would be no worker's.
            daemon: true,
            ignore_sigint: true,
            start_timeout,
            ..LaunchSpec::plain(name, 0, entry, args)
        };
        let home = Surrounds::new(EnvChanges::default().apply());
        let mut hello = Hello::new(&spec);
        // It is silent: each worker sets up its own log.
        hello.log = LogSettings::default();
        let control = Link::pair()?;
        let requests =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(io::Error::from)?;
        let ends = Ends {
            control: (spec::above_standard(control.0)?, spec::above_standard(control.1)?),
            data: (spec::above_standard(requests.0)?, spec::above_standard(requests.1)?),
        };
        let stdio = OpenStdio::new(&spec.stdio)?;
        let raw = spawn::launch(&spec, &hello, &ends, &stdio)?;
        let (control, data) = (Link::new(ends.control.0), Link::new(ends.data.0));
        let child = Child::new(&spec, raw, control, data, stdio.ours);
        let deadline = Instant::now() + start_timeout;
        drop((ends.control.1, ends.data.1));
        let starting = Starting {
            child: child.into(),
            is_ready: false,
            hello,
            given: Vec::new(),
            request: spec.into(),
            server: None,
            deadline,
            timeout: start_timeout,
        };
        Ok(Rising { starting, kind: kind.clone(), home, birth })
    }

    fn new(
        child: Arc<Child>,
        kind: Kind,
        home: Surrounds,
        birth: Birth,
    ) -> Result<Self, StartError> {
        // Reaped as soon as it dies, though nobody asks for it then.
        node::tree::reap_alone(child.clone(), keeper::ended)?;
        tracing::debug!(target: "procession", pid = child.pid(), "started the fork server");
        let (requests, spare) = (AtomicU32::new(0), Mutex::default());
        let [has_served, is_retired] = [false, false].map(AtomicBool::new);
        Ok(Self { child, kind, home, birth, requests, spare, has_served, is_retired })
    }

    /// Gives a worker that waits for its hello.
    pub(super) fn worker(&self) -> io::Result<Answer> {
        if let Some(spare) = self.take_spare()
            && let Answer::Made(worker) = spare.await_birth(self)?
            && worker.lives()
        {
            return Ok(Answer::Made(worker));
        }
        loop {
            let last = self.birth.last();
            match self.ask()? {
                Asked::Sent(worker) => return worker.await_birth(self),
                Asked::Full if self.makes_room() || self.birth.last() != last => {}
                // It has died, or leaves requests lying.
                Asked::Full | Asked::Gone => {
                    self.child.kill_and_reap();
                    return Ok(Answer::Lost);
                }
            }
        }
    }

    /// Whether it takes a request off its socket in time.
    fn makes_room(&self) -> bool {
        let mut fds = [PollFd::new(self.to_it(), PollFlags::POLLOUT)];
        poll(&mut fds, after(REQUEST_TIMEOUT)).unwrap_or(false)
    }

    /// Asks for the worker of the next start, without waiting for it.
    pub(crate) fn prepare_spare(&self) {
        if !self.has_served.swap(true, Ordering::Relaxed) {
            return;
        }
        let slot = &mut *lock(&self.spare);
        if slot.is_none()
            && !self.is_retired.load(Ordering::Relaxed)
            && let Ok(Asked::Sent(asked)) = self.ask()
        {
            node::reaper::watch_spare(asked.control());
            *slot = Some(*asked);
        }
    }

    /// Lets it live on, though it makes no more workers: nobody would ever use its spare.
    pub(super) fn retire(&self) {
        let spare = {
            let slot = &mut *lock(&self.spare);
            self.is_retired.store(true, Ordering::Relaxed);
            slot.take()
        };
        if let Some(spare) = spare {
            node::reaper::leave_spare(spare.control());
        }
    }

    /// Lets go of a spare that has ended while it waited, so that it is reaped.
    pub(super) fn forget_ended_spare(&self) {
        let ended = lock(&self.spare).take_if(|spare| spare.has_ended());
        drop(ended);
    }

    fn ask(&self) -> io::Result<Asked> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        Worker::ask(self.to_it(), number, self.birth.clone())
    }

    fn take_spare(&self) -> Option<Worker> {
        let spare = lock(&self.spare).take()?;
        node::reaper::leave_spare(spare.control());
        Some(spare)
    }

    /// Tells it about names. False when it is dead, or was killed for its silence. Only on
    /// the launcher thread, which alone reads the answers.
    pub(super) fn tell(&self, word: Word<'_>) -> io::Result<bool> {
        let number = LAST_WORD.fetch_add(1, Ordering::Relaxed) + 1;
        let sent =
            socket::send(self.to_it(), &[IoSlice::new(&word.to_bytes(number))], &[] as &[OwnedFd]);
        let is_noted = match sent {
            Ok(_) => self.has_noted(number)?,
            Err(error) if is_gone(&error) => false,
            Err(error) => return Err(error),
        };
        if !is_noted {
            self.child.kill_and_reap();
        }
        Ok(is_noted)
    }

    /// Waits until it says that the word of this number is noted. What is left of earlier
    /// ones is dropped.
    fn has_noted(&self, number: u64) -> io::Result<bool> {
        let deadline = after(REQUEST_TIMEOUT);
        loop {
            let mut bytes = [0; size_of::<u64>()];
            match socket::receive(self.to_it(), &mut bytes, &mut VecDeque::new(), false) {
                Ok(0) => return Ok(false),
                Ok(_) if u64::from_le_bytes(bytes) == number => return Ok(true),
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ok(false),
            }
            let mut fds = [self.to_it(), self.pidfd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            if !poll(&mut fds, deadline)? || fds[0].any() != Some(true) {
                return Ok(false);
            }
        }
    }

    /// Where requests go.
    fn to_it(&self) -> BorrowedFd<'_> {
        self.child.data().as_fd()
    }

    /// Becomes readable when it ends.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }

    /// Whether it ends within so much time.
    pub(super) fn ends_within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::new(self.pidfd(), PollFlags::POLLIN)];
        poll(&mut fds, after(time)).unwrap_or(false)
    }

    pub(super) fn lives(&self) -> bool {
        self.child.reap().is_none()
    }

    pub(super) fn kill(&self) {
        self.child.kill_and_reap();
    }

    /// Tells it to end, and does not wait.
    pub(super) fn dismiss(&self) {
        drop(self.take_spare());
        // It is told by the end of its socket; a zygote that has died has closed it itself.
        let _ = shutdown(self.to_it().as_raw_fd(), Shutdown::Both);
    }

    /// Ends it, if need be by force.
    pub(super) fn end(&self) {
        self.dismiss();
        if !matches!(self.child.join(after(END_TIMEOUT)), Ok(Some(_))) {
            self.child.kill_and_reap();
        }
    }
}
