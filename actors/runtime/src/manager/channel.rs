//! A process's stream to a manager's server, over which all its calls go.
//!
//! Owns the stream, the calls under way on it, and the reading: a thread that waits reads
//! the answers itself, whoever's they are, so that no other thread of the process stands
//! between a call and its answer; for async calls the hidden thread reads while no thread
//! does. Async calls that are many are written together. One stream for all keeps the order
//! of what a thread asks. It must never decode a user's value, nor keep what a call gives
//! beyond the call. Neighbours: `procession_protocols::manager` says who reads (`Calls`) and
//! which calls are written together (`Flow`), `reactor` is the other end, `share` carries that
//! end there and attaches objects.

use super::Ask;
use super::proxy::{ManagerError, open};
use super::stored::Stored;
use crate::codec::{self, Encoded, Fd};
use crate::link::{Frame, Link, LinkError, OUTBOUND_LIMIT};
use crate::node::hidden;
use crate::share::{Connection, ShareError};
use crate::spin::Spin;
use crate::sync::{after, lock, poll};
use crate::sys::watch::{Held, watch};
use nix::poll::{PollFd, PollFlags};
use procession_protocols::manager::{Calls, Change, Fault, Flow, Over, Reply, Told, Turn};
use procession_protocols::wire::{HEADER_LEN, Header, Kind};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::sync::{Notify, oneshot};

/// Calls of a channel have numbers above this, so that they are never those of a connection.
const FIRST_CALL: u64 = 1 << 63;

/// So many calls are numbered by a channel before its numbers meet those of the next.
const CALLS_EACH: u64 = 1 << 42;

/// Most async calls that are under way on a channel; each further one is [`Fault::Busy`].
/// Of the others each thread has one.
const MAX_UNDER_WAY: usize = 1 << 16;

/// What words that give up calls may fill beyond [`OUTBOUND_LIMIT`], in bytes: there is room
/// for one of each async call, and for those of as many threads.
const GIVEN_UP: usize = 2 * MAX_UNDER_WAY * HEADER_LEN;

/// What has been gathered is written when it is so much, or when the hidden thread comes to
/// it.
const GATHERED: usize = 16 * 1024;

/// A flow of answers that stops for so long has ended: what is gathered waits no longer.
const FLOW_PERIOD: Duration = Duration::from_millis(1);

/// The hidden thread takes so many answers before others get their turn.
const READ_AT_ONCE: usize = 1024;

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

    /// The owner is gone: whoever reads sees the end.
    pub(super) fn end(&self) {
        if let Some(channel) = lock(&self.0).as_ref() {
            channel.link.shut_down();
        }
    }
}

/// An open channel.
pub(super) struct Channel {
    this: Weak<Channel>,
    link: Arc<Link>,
    /// The server's name.
    server: String,
    calls: Mutex<Calls<Thread, oneshot::Sender<Frame>, Frame>>,
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
        let first = FIRST_CALL + OPENED.fetch_add(1, Ordering::Relaxed) * CALLS_EACH;
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            link: Arc::new(Link::new(ours)),
            server: connection.owner_name().to_owned(),
            calls: Mutex::new(Calls::after(first)),
            aside: Arc::default(),
            attended: OnceLock::new(),
            spin: Spin::default(),
            flow: AtomicU64::new(0),
        }))
    }

    fn has_ended(&self) -> bool {
        lock(&self.calls).is_over()
    }

    fn gone(&self) -> ManagerError {
        ManagerError::OwnerGone { name: self.server.clone() }
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(
        &self,
        object: u64,
        ask: &Ask,
        deadline: Option<Instant>,
    ) -> Result<Reply<Stored>, ManagerError> {
        let message = codec::encode(ask)?;
        let begun = lock(&self.calls).begin(thread::current());
        let number = begun.map_err(|Over| self.gone())?;
        let sent = self.send(Kind::Call, object, number, message);
        let frame = sent.and_then(|()| self.wait(number, deadline));
        let frame = frame.inspect_err(|error| {
            self.tell(lock(&self.calls).leave(number));
            if matches!(error, ManagerError::Share(ShareError::Timeout)) {
                self.give_up(object, number);
            }
        })?;
        answer(frame)
    }

    fn wait(&self, number: u64, deadline: Option<Instant>) -> Result<Frame, ManagerError> {
        loop {
            let turn = lock(&self.calls).turn(number);
            match turn {
                Turn::Leave(frame) => return Ok(frame),
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
    fn read_until(&self, number: u64, deadline: Option<Instant>) -> Result<Frame, ManagerError> {
        loop {
            match self.next_frame(deadline) {
                Ok(Some(frame)) if frame.header.call == number => {
                    self.tell(lock(&self.calls).leave(number));
                    return Ok(frame);
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
        let told = lock(&self.calls).answered(frame.header.call, frame);
        self.tell(told);
    }

    fn tell(&self, told: Told<Thread, oneshot::Sender<Frame>, Frame>) {
        match told {
            Told::Nobody => {}
            Told::Thread(thread) => thread.unpark(),
            Told::Task(task, frame) => drop(task.send(frame)),
            Told::Aside => self.aside.notify_one(),
        }
    }

    /// The stream has ended.
    fn end(&self) {
        let (threads, tasks) = lock(&self.calls).end();
        drop(tasks);
        for thread in threads {
            thread.unpark();
        }
    }

    /// Asks, without blocking the thread.
    pub(super) async fn ask_async(
        self: Arc<Self>,
        object: u64,
        ask: Ask,
    ) -> Result<Reply<Stored>, ManagerError> {
        /// Takes the call back unless it has been answered.
        struct Back {
            channel: Arc<Channel>,
            object: u64,
            number: u64,
            is_over: bool,
        }
        impl Drop for Back {
            fn drop(&mut self) {
                if !self.is_over {
                    lock(&self.channel.calls).leave_task(self.number);
                    self.channel.give_up(self.object, self.number);
                }
            }
        }
        self.attend()?;
        let message = codec::encode(&ask)?;
        let (sender, receiver) = oneshot::channel();
        let (number, others, calls_aside) = {
            let calls = &mut *lock(&self.calls);
            let others = calls.tasks();
            if others >= MAX_UNDER_WAY {
                return Err(Fault::Busy.into());
            }
            let begun = calls.begin_task(sender);
            begun.map(|(number, calls_aside)| (number, others, calls_aside))
        }
        .map_err(|Over| self.gone())?;
        let mut back = Back { channel: self, object, number, is_over: false };
        let channel = &back.channel;
        let is_seen_to = if others < Flow::FROM {
            channel.send(Kind::Call, object, number, message)?;
            !channel.link.wants_write()
        } else {
            channel.gather(object, number, &message, others)?
        };
        if calls_aside || !is_seen_to {
            channel.aside.notify_one();
        }
        let frame = receiver.await.map_err(|_| channel.gone());
        back.is_over = true;
        answer(frame?)
    }

    /// Tells an object something, without an answer. Never waits.
    pub(super) fn post(&self, object: u64, ask: &Ask) -> Result<(), ManagerError> {
        self.send(Kind::Cast, object, 0, codec::encode(ask)?)?;
        if self.link.wants_write() {
            self.attend()?;
            self.aside.notify_one();
        }
        Ok(())
    }

    /// Nobody waits for the answer any more. The server must hear that, or would give an item
    /// to nobody: so it is kept beyond what calls may fill.
    fn give_up(&self, object: u64, number: u64) {
        let word = Encoded::default();
        let Ok(header) = header(Kind::Control, object, number, &word) else { return };
        if self.link.post(header, word, OUTBOUND_LIMIT + GIVEN_UP).is_ok()
            && self.link.wants_write()
            && self.attend().is_ok()
        {
            self.aside.notify_one();
        }
    }

    fn send(
        &self,
        kind: Kind,
        object: u64,
        number: u64,
        message: Encoded,
    ) -> Result<(), ManagerError> {
        let header = header(kind, object, number, &message)?;
        self.link.post(header, message, OUTBOUND_LIMIT).map_err(|error| self.failed(error))
    }

    /// Keeps a call for a write of several. Whether it will be written without calling the
    /// hidden thread, while `others` are under way.
    fn gather(
        &self,
        object: u64,
        number: u64,
        message: &Encoded,
        others: usize,
    ) -> Result<bool, ManagerError> {
        let kept = self.link.kept();
        if kept > OUTBOUND_LIMIT {
            return Err(self.failed(LinkError::Full));
        }
        let header = header(Kind::Call, object, number, message)?;
        let pushed = self.link.push(header, &message.bytes, &message.fds);
        let flushed = pushed.and_then(|()| match kept {
            0..GATHERED => Ok(false),
            _ => self.write_gathered(),
        });
        let is_written = flushed.map_err(|error| self.failed(error))?;
        let before = Flow(self.flow.fetch_add(Flow::CALL, Ordering::SeqCst));
        Ok(is_written || before.carries(others))
    }

    fn write_gathered(&self) -> Result<bool, LinkError> {
        self.flow.fetch_and(Flow::IS_ON, Ordering::SeqCst);
        self.link.flush()
    }

    /// On the hidden thread, which writes after it.
    fn change_flow(&self, change: Change) {
        match change {
            Change::Begin => {
                self.flow.fetch_or(Flow::IS_ON, Ordering::SeqCst);
            }
            Change::End => {
                self.flow.fetch_and(!Flow::IS_ON, Ordering::SeqCst);
            }
            Change::Keep => {}
        }
    }

    fn flows(&self) -> bool {
        Flow(self.flow.load(Ordering::SeqCst)).is_on()
    }

    fn failed(&self, error: LinkError) -> ManagerError {
        match error {
            LinkError::Closed => self.gone(),
            LinkError::Io(error) => error.into(),
            other => io::Error::other(other).into(),
        }
    }

    /// Has the hidden thread look when it is called.
    fn attend(&self) -> Result<(), ManagerError> {
        if self.attended.get().is_some() {
            return Ok(());
        }
        let handle = hidden::handle()?;
        self.attended.get_or_init(|| {
            let (channel, aside) = (self.this.clone(), self.aside.clone());
            handle.spawn(async move {
                loop {
                    aside.notified().await;
                    let Some(channel) = channel.upgrade() else { return };
                    if !channel.read_aside().await {
                        return;
                    }
                }
            });
        });
        Ok(())
    }

    /// On the hidden thread: reads for tasks while there are any, and writes what has found
    /// no room. False when the stream has ended.
    async fn read_aside(&self) -> bool {
        let mut socket = None;
        loop {
            let is_reader = match lock(&self.calls).aside() {
                Ok(()) => true,
                Err(told) => {
                    self.tell(told);
                    false
                }
            };
            let taken = if is_reader { self.take_answers() } else { Ok(0) };
            let written = taken.and_then(|taken| {
                self.change_flow(Flow::looked(is_reader, taken));
                Ok((taken, self.write_gathered()?))
            });
            let Ok((taken, is_written)) = written else {
                self.end();
                return false;
            };
            if !is_reader && is_written {
                return true;
            }
            if taken == READ_AT_ONCE {
                tokio::task::yield_now().await;
                continue;
            }
            if socket.is_none() {
                let held = Held::new(&self.link, AsFd::as_fd);
                socket = watch(held, Interest::READABLE | Interest::WRITABLE).ok();
            }
            let Some(socket) = &socket else {
                // No room in the runtime's epoll: look again and again.
                tokio::time::sleep(ROOM_PERIOD).await;
                continue;
            };
            tokio::select! {
                ready = socket.readable(), if is_reader => if let Ok(mut ready) = ready {
                    ready.clear_ready();
                },
                ready = socket.writable(), if !is_written => if let Ok(mut ready) = ready {
                    ready.clear_ready();
                },
                () = self.aside.notified() => {}
                () = tokio::time::sleep(FLOW_PERIOD), if self.flows() => {
                    self.change_flow(Change::End);
                }
            }
        }
    }

    /// Takes what has come; how many answers. All are found first and given out then, so
    /// that whoever gets one does not meet this thread at each further one.
    fn take_answers(&self) -> Result<usize, LinkError> {
        let mut taken = Vec::new();
        let mut next = self.link.try_recv();
        while let Ok(Some(frame)) = next {
            taken.push(frame);
            if taken.len() == READ_AT_ONCE {
                next = Ok(None);
                break;
            }
            next = self.link.try_recv_more();
        }
        let count = taken.len();
        let told: Vec<_> = {
            let calls = &mut *lock(&self.calls);
            taken.into_iter().map(|frame| calls.answered(frame.header.call, frame)).collect()
        };
        for told in told {
            self.tell(told);
        }
        next.map(|_| count)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // Who attends it sees that it is gone.
        self.aside.notify_one();
    }
}

fn header(kind: Kind, object: u64, number: u64, message: &Encoded) -> Result<Header, ManagerError> {
    let mut header = Header::new(kind, message.bytes.len()).map_err(io::Error::other)?;
    header.target = object;
    header.call = number;
    Ok(header)
}

fn answer(frame: Frame) -> Result<Reply<Stored>, ManagerError> {
    match frame.header.kind {
        Kind::Reply => open(codec::decode(&frame.payload, frame.fds)?),
        Kind::Refused => Err(ShareError::NoReply.into()),
        _ => Err(ManagerError::Unexpected),
    }
}
