//! A client's connection to an owner, shared by all handles to that owner's objects.
//!
//! Owns the numbering of calls, the calls under way, and the news that the owner is gone,
//! which fails them all at once. The hidden thread reads; any thread writes. It must never
//! wait for the owner but for an answer, with the caller's deadline. Neighbours: `roads`
//! makes connections, `handle` attaches over them, `host` is the other end.

use super::ShareError;
use super::era::generation;
use super::extensions::Extensions;
use super::handle::Handle;
use super::message::{self, Refusal, ToClient, ToOwner, lacks_room};
use crate::codec::{self, Encoded, Fd};
use crate::link::{Frame, Link, LinkError, OUTBOUND_LIMIT};
use crate::node::hidden;
use crate::sync::{lock, poll};
use crate::sys::watch::{Ending, Held, LOOK_PERIOD, Watched};
use crate::wait;
use nix::libc;
use nix::poll::{PollFd, PollFlags};
use procession_protocols::custody::ClientId;
use procession_protocols::id::NodeId;
use procession_protocols::wire::Kind as FrameKind;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::Interest;
use tokio::sync::{Notify, oneshot};

/// What gives something back always finds room: there is never more of it than was asked for.
const GIVING_BACK: usize = usize::MAX;

/// A process that owns shared objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// Its life.
    pub(super) id: NodeId,
    /// Its name when a handle left it.
    pub(super) name: String,
}

impl Owner {
    pub(super) fn gone(&self) -> ShareError {
        ShareError::OwnerGone { name: self.name.clone() }
    }
}

/// The way from this process to an owner's objects.
pub struct Connection {
    owner: Arc<Owner>,
    link: Arc<Link>,
    generation: u32,
    /// Wakes who writes what found no room.
    wake: Arc<Notify>,
    welcome: OnceLock<ClientId>,
    state: Mutex<State>,
    extensions: Extensions,
}

#[derive(Default)]
struct State {
    last_call: u64,
    calls: HashMap<u64, Waiting>,
    /// Each object's attachment and its handle.
    attached: HashMap<u64, (u64, Weak<dyn Handle>)>,
    is_gone: bool,
}

enum Waiting {
    Caller(oneshot::Sender<Result<Encoded, ShareError>>),
    /// Nobody; but until the owner has answered, these handles keep what they stand for.
    Keeping {
        _handles: Vec<Arc<dyn Handle>>,
    },
    /// Nobody; but this is done then.
    Then(Box<dyn FnOnce() + Send>),
}

impl Connection {
    pub(super) fn new(owner: Arc<Owner>, link: Link) -> Arc<Self> {
        Arc::new(Self {
            owner,
            link: Arc::new(link),
            generation: generation(),
            wake: Arc::default(),
            welcome: OnceLock::new(),
            state: Mutex::default(),
            extensions: Extensions::default(),
        })
    }

    /// This process's number at the owner. Known once anything is attached.
    pub fn client_id(&self) -> Option<ClientId> {
        self.welcome.get().copied()
    }

    /// The owner's name.
    pub fn owner_name(&self) -> &str {
        &self.owner.name
    }

    pub(super) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// Whether the owner is gone.
    pub fn is_gone(&self) -> bool {
        lock(&self.state).is_gone
    }

    /// What a kind keeps for this owner, over all its objects of that kind; made when it is
    /// first asked for.
    pub fn extension<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.extensions.get()
    }

    /// Sends a request to an object and waits for the answer.
    ///
    /// # Errors
    /// [`ShareError::Timeout`] at the deadline, of which the owner is told;
    /// [`ShareError::OwnerGone`]; what the owner answers; [`ShareError::WouldDeadlock`] on
    /// a thread of the library's own.
    pub fn request(
        self: &Arc<Self>,
        object: u64,
        message: Encoded,
        deadline: Option<Instant>,
    ) -> Result<Encoded, ShareError> {
        wait_until(self.begin_request(object, message)?, deadline)
    }

    /// As [`request`](Self::request), without a deadline, for any executor.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    ///
    /// # Cancel safety
    /// Dropped, it tells the owner that nobody waits for the answer.
    pub async fn request_async(
        self: &Arc<Self>,
        object: u64,
        message: Encoded,
    ) -> Result<Encoded, ShareError> {
        self.begin_request(object, message)?.await
    }

    /// Sends a message to an object, one way. Never waits.
    ///
    /// # Errors
    /// [`ShareError::OwnerGone`], or an owner that has not read for long.
    pub fn post(&self, object: u64, message: Encoded) -> Result<(), ShareError> {
        self.post_frame(FrameKind::Cast, object, 0, message)
    }

    /// As [`post`](Self::post), for what gives something back, which always finds room. Once the
    /// owner has answered, whatever it says, `then` runs on the hidden thread, which it must not
    /// hold up. When the owner goes, it does not.
    pub(crate) fn give_back(
        &self,
        object: u64,
        message: Encoded,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), ShareError> {
        let then = Waiting::Then(Box::new(then));
        self.post_entered(GIVING_BACK, then, FrameKind::Call, object, message)
    }

    fn begin_request(self: &Arc<Self>, object: u64, message: Encoded) -> Result<Call, ShareError> {
        self.begin(object, FrameKind::Call, message, Given::Up)
    }

    /// Asks the owner to attach this process to an object.
    pub(super) fn begin_attach(
        self: &Arc<Self>,
        object: u64,
        kind: &str,
    ) -> Result<Call, ShareError> {
        let word = ToOwner::Attach { object, kind: kind.into() };
        let message = codec::encode(&word).map_err(io::Error::other)?;
        self.begin(object, FrameKind::Control, message, Given::Back)
    }

    /// The handle of this attachment is told of nothing any more.
    pub(super) fn forget(&self, object: u64, number: u64) {
        let mut state = lock(&self.state);
        if state.attached.get(&object).is_some_and(|(attached, _)| *attached == number) {
            state.attached.remove(&object);
        }
    }

    /// Tells the owner that nobody here uses the object any more by this attachment.
    pub(super) fn release(&self, object: u64, number: u64) {
        let _ =
            self.post_up_to(GIVING_BACK, FrameKind::Release, object, number, Encoded::default());
    }

    /// Gives the owner the other end of a ticket for these objects.
    pub(super) fn adopt(
        &self,
        handles: Vec<Arc<dyn Handle>>,
        end: OwnedFd,
    ) -> Result<(), ShareError> {
        let objects = handles.iter().map(|handle| handle.object()).collect();
        let word = ToOwner::Adopt { objects, end: Fd(end) };
        let message = codec::encode(&word).map_err(io::Error::other)?;
        let keeping = Waiting::Keeping { _handles: handles };
        self.post_entered(OUTBOUND_LIMIT, keeping, FrameKind::Control, 0, message)
    }

    fn post_entered(
        &self,
        limit: usize,
        waiting: Waiting,
        kind: FrameKind,
        target: u64,
        message: Encoded,
    ) -> Result<(), ShareError> {
        let number = self.enter(waiting)?;
        self.post_up_to(limit, kind, target, number, message).inspect_err(|_| {
            let waiting = lock(&self.state).calls.remove(&number);
            drop(waiting);
        })
    }

    /// Sends what has been posted, as far as the owner takes it until the deadline.
    pub(super) fn flush(&self, deadline: Option<Instant>) {
        while !matches!(self.link.flush(), Ok(true) | Err(_)) {
            let mut socket = [PollFd::new(self.link.as_fd(), PollFlags::POLLOUT)];
            if !matches!(poll(&mut socket, deadline), Ok(true)) {
                return;
            }
        }
    }

    /// Has a handle told when the owner goes. False when it has gone already.
    pub(super) fn tell(&self, object: u64, number: u64, handle: Weak<dyn Handle>) -> bool {
        let mut state = lock(&self.state);
        if !state.is_gone {
            state.attached.insert(object, (number, handle));
        }
        !state.is_gone
    }

    fn begin(
        self: &Arc<Self>,
        object: u64,
        kind: FrameKind,
        message: Encoded,
        given: Given,
    ) -> Result<Call, ShareError> {
        let (sender, answer) = oneshot::channel();
        let number = self.enter(Waiting::Caller(sender))?;
        let call = Call { connection: self.clone(), object, number, answer, given: Some(given) };
        // An error drops the call, which leaves the table by that.
        self.post_frame(kind, object, number, message)?;
        Ok(call)
    }

    fn enter(&self, waiting: Waiting) -> Result<u64, ShareError> {
        let mut state = lock(&self.state);
        if state.is_gone {
            drop(state);
            return Err(self.owner.gone());
        }
        state.last_call += 1;
        let number = state.last_call;
        state.calls.insert(number, waiting);
        Ok(number)
    }

    fn post_frame(
        &self,
        kind: FrameKind,
        target: u64,
        call: u64,
        message: Encoded,
    ) -> Result<(), ShareError> {
        self.post_up_to(OUTBOUND_LIMIT, kind, target, call, message)
    }

    fn post_up_to(
        &self,
        limit: usize,
        kind: FrameKind,
        target: u64,
        call: u64,
        message: Encoded,
    ) -> Result<(), ShareError> {
        if self.generation != generation() {
            return Err(ShareError::Forked);
        }
        let posted = message::post_up_to(limit, &self.link, kind, target, call, message);
        posted.map_err(|error| match error {
            LinkError::Closed => self.owner.gone(),
            LinkError::Io(error) => ShareError::Io(error),
            other => ShareError::Io(io::Error::other(other)),
        })?;
        if self.link.wants_write() {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Has the hidden thread read the connection until the owner is gone. `then` follows.
    pub(super) fn attend(
        self: &Arc<Self>,
        then: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> io::Result<()> {
        let this = self.clone();
        hidden::handle()?.spawn(async move {
            this.read().await;
            this.end();
            then(&this);
        });
        Ok(())
    }

    async fn read(&self) {
        let both = Interest::READABLE | Interest::WRITABLE;
        let socket = Watched::new(Ok(Held::new(&self.link, AsFd::as_fd)), both);
        let mut owner = None;
        loop {
            let waits_for_room = loop {
                match self.next() {
                    Ok(Some(frame)) => match self.heard(frame) {
                        Ok(None) => {}
                        Ok(Some(pidfd)) => owner = Some(Ending::new(pidfd)),
                        Err(Damaged) => return,
                    },
                    Ok(None) => break false,
                    Err(error) if lacks_room(&error) => break true,
                    Err(_) => return,
                }
            };
            let owner_ended = async {
                match &owner {
                    Some(owner) => owner.comes().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = socket.readable() => {}
                () = socket.writable(), if self.link.wants_write() => {
                    let _ = self.link.flush();
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK_PERIOD), if waits_for_room => {}
                () = owner_ended => {
                    // What it had said before counts.
                    while let Ok(Some(frame)) = self.link.try_recv() {
                        let _ = self.heard(frame);
                    }
                    return;
                }
            }
        }
    }

    /// The next frame: also without the descriptors of an answer for which no numbers are free,
    /// so that who asked learns of that, and what is behind it comes.
    fn next(&self) -> Result<Option<Frame>, LinkError> {
        match self.link.try_recv_or_leave() {
            Err(error) if lacks_room(&error) && self.client_id().is_some() => self.link.try_recv(),
            other => other,
        }
    }

    /// Takes a frame; gives the owner's pidfd if that came.
    fn heard(&self, frame: Frame) -> Result<Option<OwnedFd>, Damaged> {
        let Frame { header, payload, fds } = frame;
        let answer = match header.kind {
            FrameKind::Control => {
                let word = codec::decode(&payload, fds).map_err(|_| Damaged)?;
                let ToClient::Welcome { client, pidfd } = word;
                let _ = self.welcome.set(client);
                return Ok(pidfd.map(OwnedFd::from));
            }
            FrameKind::Reply if fds.len() < usize::from(header.fds) => {
                Err(io::Error::from_raw_os_error(libc::EMFILE).into())
            }
            FrameKind::Reply => Ok(Encoded { bytes: payload, fds }),
            FrameKind::Refused => Err(match codec::decode(&payload, fds).map_err(|_| Damaged)? {
                Refusal::NoSuchObject | Refusal::NotAttached => ShareError::NoSuchObject,
                Refusal::OtherKind(found) => ShareError::OtherKind { found },
                Refusal::NoReply => ShareError::NoReply,
                Refusal::Failed(_, Some(number)) => io::Error::from_raw_os_error(number).into(),
                Refusal::Failed(text, None) => io::Error::other(text).into(),
            }),
            _ => return Err(Damaged),
        };
        let waiting = lock(&self.state).calls.remove(&header.call);
        match waiting {
            Some(Waiting::Caller(caller)) => drop(caller.send(answer)),
            Some(Waiting::Then(then)) => then(),
            Some(Waiting::Keeping { .. }) | None => {}
        }
        Ok(None)
    }

    /// The owner is gone: everybody who waits is told, and every handle.
    fn end(&self) {
        let mut state = lock(&self.state);
        state.is_gone = true;
        let calls = std::mem::take(&mut state.calls);
        let attached = std::mem::take(&mut state.attached);
        drop(state);
        // First the handles: a caller that wakes finds them up to date.
        for (_, handle) in attached.into_values() {
            if let Some(handle) = handle.upgrade() {
                handle.owner_gone();
            }
        }
        for waiting in calls.into_values() {
            if let Waiting::Caller(caller) = waiting {
                let _ = caller.send(Err(self.owner.gone()));
            }
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("owner", &self.owner.name)
            .field("client", &self.client_id())
            .finish_non_exhaustive()
    }
}

/// What came from the owner is no message.
struct Damaged;

/// What the owner is told when nobody waits for the answer to a call any more.
#[derive(PartialEq, Eq)]
enum Given {
    /// The request is given up.
    Up,
    /// An attachment that has come about, or will, is given back.
    Back,
}

/// A call under way.
pub(super) struct Call {
    connection: Arc<Connection>,
    object: u64,
    pub(super) number: u64,
    answer: oneshot::Receiver<Result<Encoded, ShareError>>,
    given: Option<Given>,
}

impl Future for Call {
    type Output = Result<Encoded, ShareError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(pin!(&mut self.answer).poll(context));
        // What came with an answer that was lost here is given back.
        if !matches!(answer, Ok(Err(ShareError::Io(_)))) {
            self.given = None;
        }
        Poll::Ready(answer.unwrap_or_else(|_| Err(self.connection.owner.gone())))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(given) = self.given.take() else { return };
        let connection = &self.connection;
        // An answer may have come that nobody has seen: the owner is told in that case too.
        let waiting = lock(&connection.state).calls.remove(&self.number);
        drop(waiting);
        if given == Given::Back {
            connection.release(self.object, self.number);
        } else {
            let word = ToOwner::Cancel { object: self.object, call: self.number };
            if let Ok(message) = codec::encode(&word) {
                let _ = connection.post_up_to(GIVING_BACK, FrameKind::Control, 0, 0, message);
            }
        }
    }
}

/// Waits on this thread for what ends by an answer, the deadline or the owner's death.
pub(super) fn wait_until<T>(
    future: impl Future<Output = Result<T, ShareError>>,
    deadline: Option<Instant>,
) -> Result<T, ShareError> {
    if hidden::is_current() {
        return Err(ShareError::WouldDeadlock);
    }
    match deadline {
        None => wait::block_on(future),
        Some(deadline) => {
            wait::block_on_until(future, deadline).unwrap_or(Err(ShareError::Timeout))
        }
    }
}
