//! A process's stream to a manager's server, over which all its calls go.
//!
//! Owns the stream, the calls under way on it, and the reading: a thread that waits reads
//! the answers itself, whoever's they are, so that no other thread of the process stands
//! between a call and its answer; for async calls the hidden thread reads while no thread
//! does. One stream for all keeps the order of what a thread asks. It must never decode a
//! user's value, nor keep what a call gives beyond the call. Neighbours: `tasks` has the async
//! calls, `procession_protocols::manager` says who reads (`Calls`), `reactor` is the other end,
//! `share` carries that end there and attaches objects.

mod tasks;

pub(super) use tasks::UnderWay;

use super::Ask;
use super::proxy::{ManagerError, open};
use super::stored::Stored;
use crate::codec::{self, Encoded, Fd};
use crate::link::{Frame, Link, LinkError, OUTBOUND_LIMIT};
use crate::share::{Connection, ShareError};
use crate::spin::Spin;
use crate::sync::{after, lock, poll};
use nix::poll::{PollFd, PollFlags};
use procession_protocols::manager::{CALL_NUMBERS, Calls, Over, Reply, Told, Turn};
use procession_protocols::wire::{Header, Kind};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::Waker;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Calls of a channel have numbers above this, so that they are never those of a connection.
const FIRST_CALL: u64 = 1 << 63;

/// Who waits for room on the stream while another thread reads it looks this often.
const ROOM_PERIOD: Duration = Duration::from_millis(10);

/// What a connection keeps of its manager's channel.
#[derive(Default)]
pub(super) struct Channels(Mutex<Option<Arc<Channel>>>);

impl Channels {
    /// The channel over which an object of the connection's owner is called, opened if there
    /// is none.
    pub(super) fn channel(
        &self,
        connection: &Connection,
        object: u64,
    ) -> Result<Arc<Channel>, ShareError> {
        let current = &mut *lock(&self.0);
        if let Some(channel) = current.as_ref().filter(|channel| !channel.has_ended()) {
            return Ok(channel.clone());
        }
        let channel = Channel::open(connection, object)?;
        Ok(current.insert(channel).clone())
    }

    /// Whether the channel says that the object is let go: there are words for which it has no
    /// room yet, and the owner has to hear first what they say to the object. By any other way
    /// it would be the other way round.
    pub(super) fn let_go(&self, object: u64, attachment: u64) -> bool {
        let channel = lock(&self.0).clone();
        channel
            .is_some_and(|channel| channel.link.wants_write() && channel.let_go(object, attachment))
    }

    /// The owner is gone: whoever reads sees the end.
    pub(super) fn end(&self) {
        if let Some(channel) = lock(&self.0).as_ref() {
            channel.link.shut_down();
        }
    }
}

/// What a call gives.
type Answer = Result<Reply<Stored>, ManagerError>;

/// An open channel.
pub(super) struct Channel {
    this: Weak<Channel>,
    link: Arc<Link>,
    /// The server's name.
    server: String,
    calls: Mutex<Calls<Thread, Waker, Answer>>,
    /// Whether the stream has ended.
    has_ended: AtomicBool,
    /// Calls the hidden thread to look, once it attends the channel.
    aside: Arc<Notify>,
    attended: OnceLock<()>,
    /// How waits for answers have gone.
    spin: Spin,
    /// The [`Flow`] of async calls.
    flow: AtomicU64,
}

impl Channel {
    fn open(connection: &Connection, object: u64) -> Result<Arc<Self>, ShareError> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let (ours, theirs) = Link::pair()?;
        let message = codec::encode(&Ask::Open(Fd(theirs))).map_err(io::Error::other)?;
        connection.post(object, message)?;
        // The numbers of one channel do not meet those of the next.
        let first = FIRST_CALL + OPENED.fetch_add(1, Ordering::Relaxed) * CALL_NUMBERS;
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            link: Arc::new(Link::new(ours)),
            server: connection.owner_name().to_owned(),
            calls: Mutex::new(Calls::after(first)),
            has_ended: AtomicBool::new(false),
            aside: Arc::default(),
            attended: OnceLock::new(),
            spin: Spin::default(),
            flow: AtomicU64::new(0),
        }))
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    fn gone(&self) -> ManagerError {
        ManagerError::OwnerGone { name: self.server.clone() }
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&self, object: u64, ask: &Ask, deadline: Option<Instant>) -> Answer {
        let begun = lock(&self.calls).begin(thread::current());
        let number = begun.map_err(|Over| self.gone())?;
        let sent = self.send_in_time(object, number, ask, deadline);
        sent.and_then(|()| self.wait(number, deadline)).inspect_err(|error| {
            self.leave(number);
            if matches!(error, ManagerError::Share(ShareError::Timeout)) {
                self.give_up(object, number);
            }
        })?
    }

    /// Sends a call. Behind others' large ones it waits for room, and reads meanwhile if nobody
    /// else does: the server may have to be rid of its answers first.
    fn send_in_time(
        &self,
        object: u64,
        number: u64,
        ask: &Ask,
        deadline: Option<Instant>,
    ) -> Result<(), ManagerError> {
        while !self.try_send(Kind::Call, object, number, ask, OUTBOUND_LIMIT)? {
            let reads = match lock(&self.calls).turn(number) {
                Turn::Read => true,
                Turn::Over => return Err(self.gone()),
                Turn::Wait | Turn::Leave(_) => false,
            };
            if reads {
                self.read_what_is_there()?;
            }
            let sides = if reads { PollFlags::POLLIN } else { PollFlags::empty() };
            let mut socket = [PollFd::new(self.link.as_fd(), sides | PollFlags::POLLOUT)];
            let slice = [deadline, after(ROOM_PERIOD)].into_iter().flatten().min();
            if !poll(&mut socket, slice)? && deadline.is_some_and(|at| Instant::now() >= at) {
                return Err(ShareError::Timeout.into());
            }
        }
        Ok(())
    }

    fn read_what_is_there(&self) -> Result<(), ManagerError> {
        loop {
            match self.link.try_recv() {
                Ok(Some(frame)) => self.hand_out(frame),
                Ok(None) => return Ok(()),
                Err(_) => {
                    self.end();
                    return Err(self.gone());
                }
            }
        }
    }

    fn leave(&self, number: u64) {
        let (told, answer) = lock(&self.calls).leave(number);
        self.tell(told);
        drop(answer);
    }

    /// The answer; an error when there is none.
    fn wait(&self, number: u64, deadline: Option<Instant>) -> Result<Answer, ManagerError> {
        loop {
            let turn = lock(&self.calls).turn(number);
            match turn {
                Turn::Leave(answer) => return Ok(answer),
                Turn::Over => return Err(self.gone()),
                Turn::Read => return self.read_until(number, deadline),
                Turn::Wait if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Err(ShareError::Timeout.into());
                }
                // What this thread has sent may need its help to go out.
                Turn::Wait if self.link.wants_write() => {
                    let slice = [deadline, after(ROOM_PERIOD)].into_iter().flatten().min();
                    let mut socket = [PollFd::new(self.link.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut socket, slice)?;
                    // The reader sees the end.
                    let _ = self.link.flush();
                }
                Turn::Wait => match deadline {
                    None => thread::park(),
                    Some(deadline) => {
                        thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
                    }
                },
            }
        }
    }

    /// Reads until the answer to this call comes; hands out the others.
    fn read_until(&self, number: u64, deadline: Option<Instant>) -> Result<Answer, ManagerError> {
        loop {
            match self.next_frame(deadline) {
                Ok(Some(frame)) if frame.header.call == number => {
                    self.leave(number);
                    return Ok(answer(frame));
                }
                Ok(Some(frame)) => self.hand_out(frame),
                Ok(None) => return Err(ShareError::Timeout.into()),
                Err(_) => {
                    self.end();
                    return Err(self.gone());
                }
            }
        }
    }

    /// `None` when the deadline has passed.
    fn next_frame(&self, deadline: Option<Instant>) -> Result<Option<Frame>, LinkError> {
        while self.link.wants_write() {
            if let Some(frame) = self.link.try_recv()? {
                return Ok(Some(frame));
            }
            let both = PollFlags::POLLIN | PollFlags::POLLOUT;
            if !poll(&mut [PollFd::new(self.link.as_fd(), both)], deadline)? {
                return Ok(None);
            }
            self.link.flush()?;
        }
        if let Some(frame) = self.spin.until(|| self.link.try_recv())? {
            return Ok(Some(frame));
        }
        match deadline {
            None => self.link.recv_alone().map(Some),
            Some(_) => self.link.recv(deadline),
        }
    }

    fn hand_out(&self, frame: Frame) {
        let (number, answer) = (frame.header.call, answer(frame));
        let told = lock(&self.calls).answered(number, answer);
        // Nobody's: what it brought is dropped here.
        if let Ok(told) = told {
            self.tell(told);
        }
    }

    fn tell(&self, told: Told<Thread, Waker>) {
        match told {
            Told::Nobody => {}
            Told::Thread(thread) => thread.unpark(),
            Told::Task(waker) => waker.wake(),
            Told::Aside => self.aside.notify_one(),
        }
    }

    /// The stream has ended.
    fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        let (threads, wakers) = lock(&self.calls).end();
        for waker in wakers {
            waker.wake();
        }
        for thread in threads {
            thread.unpark();
        }
    }

    /// Tells an object something, without an answer: mostly that something goes back, so it is
    /// kept however much waits. Never waits.
    pub(super) fn post(&self, object: u64, ask: &Ask) -> Result<(), ManagerError> {
        self.try_send(Kind::Cast, object, 0, ask, usize::MAX)?;
        if self.link.wants_write() {
            self.attend()?;
            self.aside.notify_one();
        }
        Ok(())
    }

    /// Says that an object is let go, behind all that was said before. False when that has no
    /// way any more.
    fn let_go(&self, object: u64, attachment: u64) -> bool {
        let Ok(header) = header(Kind::Release, object, attachment, 0) else { return false };
        let is_said = self.link.post(header, Encoded::default(), usize::MAX).is_ok();
        if is_said && self.link.wants_write() && self.attend().is_ok() {
            self.aside.notify_one();
        }
        is_said
    }

    /// Nobody waits for the answer any more. The server must hear that, or would give an item
    /// to nobody: so it is kept however much waits. There are no more of these words than there
    /// were calls under way, `MAX_TASKS` and one of each thread, since none is begun while
    /// more waits than calls may fill.
    fn give_up(&self, object: u64, number: u64) {
        let Ok(header) = header(Kind::Control, object, number, 0) else { return };
        if self.link.post(header, Encoded::default(), usize::MAX).is_ok()
            && self.link.wants_write()
            && self.attend().is_ok()
        {
            self.aside.notify_one();
        }
    }

    fn send(&self, object: u64, number: u64, ask: &Ask) -> Result<(), ManagerError> {
        let is_sent = self.try_send(Kind::Call, object, number, ask, OUTBOUND_LIMIT)?;
        if is_sent { Ok(()) } else { Err(self.failed(LinkError::Full)) }
    }

    /// False when more than `limit` bytes wait for room already.
    fn try_send(
        &self,
        kind: Kind,
        object: u64,
        number: u64,
        ask: &Ask,
        limit: usize,
    ) -> Result<bool, ManagerError> {
        codec::encode_briefly(ask, |bytes, fds| {
            let header = header(kind, object, number, bytes.len())?;
            match self.link.post_parts(header, bytes, fds, limit) {
                Ok(()) => Ok(true),
                Err(LinkError::Full) => Ok(false),
                Err(error) => Err(self.failed(error)),
            }
        })?
    }

    fn failed(&self, error: LinkError) -> ManagerError {
        match error {
            LinkError::Closed => self.gone(),
            LinkError::Io(error) => error.into(),
            other => io::Error::other(other).into(),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // Who attends it sees that it is gone.
        self.aside.notify_one();
    }
}

fn header(kind: Kind, object: u64, number: u64, len: usize) -> Result<Header, ManagerError> {
    let mut header = Header::new(kind, len).map_err(io::Error::other)?;
    header.target = object;
    header.call = number;
    Ok(header)
}

fn answer(frame: Frame) -> Answer {
    read_answer(frame.header, &frame.payload, frame.fds)
}

fn read_answer(header: Header, payload: &[u8], fds: Vec<OwnedFd>) -> Answer {
    match header.kind {
        Kind::Reply => open(codec::decode(payload, fds)?),
        Kind::Refused => Err(ShareError::NoReply.into()),
        _ => Err(ManagerError::Unexpected),
    }
}
