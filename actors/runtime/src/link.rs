//! A link: a stream of frames between two nodes, over a Unix socket pair.
//!
//! Owns one end: cutting bytes into frames, keeping descriptors with their frames,
//! and writing whole frames from any thread. It must never interpret a payload, and
//! no lock is held across a wait. Neighbours: `procession_protocols::wire` (layout)
//! below, the launcher and actors above.

use crate::codec::Encoded;
use crate::sync::{lock, poll};
use crate::sys::socket;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, socketpair};
use procession_protocols::wire::{FrameBuffer, HEADER_LEN, Header};
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// Most bytes that are kept for a peer that does not read.
pub const OUTBOUND_LIMIT: usize = 16 * 1024 * 1024;

/// Frames up to this size are gathered into one write.
const GATHERED: usize = 16 * 1024;

/// One frame as it arrived.
#[derive(Debug)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Vec<u8>,
    /// The descriptors that came with it.
    pub fds: Vec<OwnedFd>,
}

/// Why a link gives or takes nothing more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The other end is closed, and all that it sent has been taken.
    #[error("the other end is closed")]
    Closed,
    /// The other end was closed in the middle of a frame.
    #[error("the other end was closed in the middle of a frame")]
    Truncated,
    /// What arrived is no frame.
    #[error("bytes arrived that are no frame")]
    Damaged,
    /// Nothing was sent: the deadline passed first.
    #[error("the other end did not take the message in time")]
    Timeout,
    /// Nothing was sent: too much is waiting for a peer that does not read.
    #[error("more than {OUTBOUND_LIMIT} bytes wait for a peer that does not read")]
    Full,
    /// The system refused.
    #[error("link: {0}")]
    Io(#[from] io::Error),
}

/// One end of a link. All methods may be called from any thread.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
    rx: Mutex<Rx>,
    tx: Mutex<Tx>,
}

#[derive(Debug, Default)]
struct Rx {
    buffer: FrameBuffer,
    fds: VecDeque<OwnedFd>,
    /// Whether the last look at the socket left nothing in it.
    emptied: bool,
}

#[derive(Debug, Default)]
struct Tx {
    queue: VecDeque<Outbound>,
    queued_bytes: usize,
}

/// A frame, or what is left of one, that the socket had no room for.
#[derive(Debug)]
struct Outbound {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

/// The descriptors of all links of this process. A forked child must not keep them: their
/// other ends would not see our end.
static OPEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Keeps the list of links still across a fork. Drop it in the parent.
pub(crate) fn hold_for_fork() -> ForkHold {
    ForkHold(lock(&OPEN))
}

/// What [`hold_for_fork`] gives.
#[must_use = "links are held only as long as this lives"]
pub(crate) struct ForkHold(MutexGuard<'static, BTreeSet<RawFd>>);

impl ForkHold {
    /// In the child: closes the parent's links, and leaves `/dev/null` in their places, so
    /// that a handle which still names one can never reach another file.
    pub(crate) fn give_up(mut self) -> io::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        for number in std::mem::take(&mut *self.0) {
            // Whoever owned the number still does.
            std::mem::forget(socket::take_number(&null, number)?);
        }
        Ok(())
    }
}

/// Another descriptor of a link's socket, for whoever watches it beside the link's owner.
#[derive(Debug)]
pub(crate) struct LinkCopy(OwnedFd);

impl AsFd for LinkCopy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for LinkCopy {
    fn drop(&mut self) {
        lock(&OPEN).remove(&self.0.as_raw_fd());
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        lock(&OPEN).remove(&self.fd.as_raw_fd());
    }
}

impl Link {
    /// Wraps one end of a stream socket.
    pub fn new(fd: OwnedFd) -> Self {
        lock(&OPEN).insert(fd.as_raw_fd());
        Self { fd, rx: Mutex::default(), tx: Mutex::default() }
    }

    /// Another descriptor of the same socket.
    pub(crate) fn copy(&self) -> io::Result<LinkCopy> {
        let copy = socket::duplicate(&self.fd)?;
        lock(&OPEN).insert(copy.as_raw_fd());
        Ok(LinkCopy(copy))
    }

    /// Makes both ends, close-on-exec.
    ///
    /// # Errors
    /// EMFILE and its like.
    pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?)
    }

    /// Takes the next frame if there is one; never waits.
    ///
    /// # Errors
    /// [`LinkError::Closed`], [`LinkError::Truncated`], [`LinkError::Damaged`], or the
    /// system's.
    pub fn try_recv(&self) -> Result<Option<Frame>, LinkError> {
        self.receive(false)
    }

    /// Waits for the next frame in the read itself. For a link that one thread reads, which
    /// waits for nothing else: others that read it would wait with it.
    pub(crate) fn recv_alone(&self) -> Result<Frame, LinkError> {
        loop {
            if let Some(frame) = self.receive(true)? {
                return Ok(frame);
            }
        }
    }

    fn receive(&self, wait: bool) -> Result<Option<Frame>, LinkError> {
        let rx = &mut *lock(&self.rx);
        if let Some(frame) = rx.next_frame()? {
            return Ok(Some(frame));
        }
        loop {
            let space = rx.buffer.space();
            let room = space.len();
            let fds = rx.fds.len();
            rx.emptied = false;
            match socket::receive(self.fd.as_fd(), space, &mut rx.fds, wait) {
                Ok(0) if rx.buffer.is_partial() => return Err(LinkError::Truncated),
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => {
                    rx.buffer.filled(count);
                    // A short read that brought descriptors may have more behind it; any
                    // other short read has emptied the socket.
                    rx.emptied = count < room && rx.fds.len() == fds;
                    if let Some(frame) = rx.next_frame()? {
                        return Ok(Some(frame));
                    }
                    if rx.emptied {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(LinkError::Closed);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the next frame after one that [`try_recv`](Self::try_recv) gave. It looks at
    /// the socket only if that look left something there: what has come since, and the
    /// end of the stream, is for `poll(2)` to tell.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_more(&self) -> Result<Option<Frame>, LinkError> {
        {
            let rx = &mut *lock(&self.rx);
            match rx.next_frame()? {
                None if !rx.emptied => {}
                frame => return Ok(frame),
            }
        }
        self.try_recv()
    }

    /// Takes the next frame that has been read already; never touches the socket.
    ///
    /// # Errors
    /// [`LinkError::Damaged`].
    pub fn buffered(&self) -> Result<Option<Frame>, LinkError> {
        lock(&self.rx).next_frame()
    }

    /// Waits for the next frame; `None` when the deadline passed.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn recv(&self, deadline: Option<Instant>) -> Result<Option<Frame>, LinkError> {
        loop {
            if let Some(frame) = self.try_recv()? {
                return Ok(Some(frame));
            }
            if !crate::sync::readable(self.fd.as_fd(), deadline)? {
                return Ok(None);
            }
        }
    }

    /// Sends a frame, waiting for room until the deadline. Once its first byte is out
    /// the frame has been sent: what the deadline cuts off is kept and goes out before
    /// the next one.
    ///
    /// # Errors
    /// [`LinkError::Timeout`] when nothing went out in time, [`LinkError::Closed`].
    pub fn send(
        &self,
        header: Header,
        message: &Encoded,
        deadline: Option<Instant>,
    ) -> Result<(), LinkError> {
        let mut begun = false;
        loop {
            {
                let tx = &mut *lock(&self.tx);
                tx.flush(self.fd.as_fd())?;
                if tx.queue.is_empty() {
                    if begun {
                        return Ok(());
                    }
                    match tx.offer(self.fd.as_fd(), header, message)? {
                        Offered::Whole => return Ok(()),
                        Offered::Part => begun = true,
                        Offered::Nothing => {}
                    }
                }
            }
            if !poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)], deadline)? {
                return if begun { Ok(()) } else { Err(LinkError::Timeout) };
            }
        }
    }

    /// Sends a frame without ever waiting: what finds no room is kept, unless more than
    /// `limit` bytes are kept already, and goes out at the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`LinkError::Full`], [`LinkError::Closed`].
    pub fn post(&self, header: Header, message: Encoded, limit: usize) -> Result<(), LinkError> {
        let tx = &mut *lock(&self.tx);
        tx.flush(self.fd.as_fd())?;
        if tx.queue.is_empty() && tx.offer(self.fd.as_fd(), header, &message)? != Offered::Nothing {
            return Ok(());
        }
        if tx.queued_bytes > limit {
            return Err(LinkError::Full);
        }
        let bytes = [&with_fds(header, &message).to_bytes(), message.bytes.as_slice()].concat();
        tx.keep(bytes, message.fds);
        Ok(())
    }

    /// As [`post`](Self::post), of two frames in one write. They are copied for that, so
    /// they should be small.
    ///
    /// # Errors
    /// As [`post`](Self::post), but for the limit.
    pub fn post_together(&self, frames: [(Header, Encoded); 2]) -> Result<(), LinkError> {
        let (mut bytes, mut fds) = (Vec::new(), Vec::new());
        for (header, message) in frames {
            bytes.extend(with_fds(header, &message).to_bytes());
            bytes.extend(message.bytes);
            fds.extend(message.fds);
        }
        let tx = &mut *lock(&self.tx);
        tx.keep(bytes, fds);
        tx.flush(self.fd.as_fd())
    }

    /// Waits until nothing is kept any more.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn drain(&self) -> Result<(), LinkError> {
        while !self.flush()? {
            poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)], None)?;
        }
        Ok(())
    }

    /// Keeps a small frame for the next [`flush`](Self::flush), so that several go out in
    /// one write; offers a large one, and keeps what finds no room. Never waits.
    ///
    /// # Errors
    /// [`LinkError::Closed`] or the system's.
    pub(crate) fn push(
        &self,
        mut header: Header,
        bytes: &[u8],
        fds: &[OwnedFd],
    ) -> Result<(), LinkError> {
        header.fds = u16::try_from(fds.len()).unwrap_or(u16::MAX);
        let tx = &mut *lock(&self.tx);
        if bytes.len() > GATHERED || !fds.is_empty() {
            tx.flush(self.fd.as_fd())?;
            if tx.queue.is_empty()
                && tx.offer_parts(self.fd.as_fd(), header, bytes, fds)? != Offered::Nothing
            {
                return Ok(());
            }
        }
        let fds = fds.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
        tx.gather(&[&header.to_bytes(), bytes], fds);
        Ok(())
    }

    /// Writes what is kept, as far as there is room. True when nothing is left.
    ///
    /// # Errors
    /// [`LinkError::Closed`] or the system's.
    pub fn flush(&self) -> Result<bool, LinkError> {
        let tx = &mut *lock(&self.tx);
        tx.flush(self.fd.as_fd())?;
        Ok(tx.queue.is_empty())
    }

    /// Ends the stream both ways; the other end sees that.
    pub fn shut_down(&self) {
        // It may have ended already.
        let _ = nix::sys::socket::shutdown(self.fd.as_raw_fd(), Shutdown::Both);
    }

    /// How many bytes are kept that wait to be written.
    pub(crate) fn kept(&self) -> usize {
        lock(&self.tx).queued_bytes
    }

    /// Whether something is kept that waits for room.
    pub fn wants_write(&self) -> bool {
        !lock(&self.tx).queue.is_empty()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Rx {
    fn next_frame(&mut self) -> Result<Option<Frame>, LinkError> {
        let Some((header, payload)) = self.buffer.next_frame().map_err(|_| LinkError::Damaged)?
        else {
            return Ok(None);
        };
        // Descriptors arrive with the first byte of their frame at the latest.
        let count = usize::from(header.fds);
        if count > self.fds.len() {
            return Err(LinkError::Damaged);
        }
        let fds = self.fds.drain(..count).collect();
        Ok(Some(Frame { header, payload, fds }))
    }
}

impl Tx {
    /// Writes what is kept, as far as the socket has room.
    fn flush(&mut self, fd: BorrowedFd<'_>) -> Result<(), LinkError> {
        while let Some(front) = self.queue.front_mut() {
            let rest = &front.bytes[front.sent..];
            let count = match send_part(fd, &[IoSlice::new(rest)], &front.fds) {
                Ok(Some(count)) => count,
                Ok(None) => break,
                Err(LinkError::Closed) => {
                    // Nobody takes it any more, and nobody is to wait for that: whoever reads
                    // on sees what had come, and then the end.
                    self.queue.clear();
                    self.queued_bytes = 0;
                    return Err(LinkError::Closed);
                }
                Err(error) => return Err(error),
            };
            front.sent += count;
            front.fds.clear();
            self.queued_bytes -= count;
            if front.sent == front.bytes.len() {
                self.queue.pop_front();
            }
        }
        Ok(())
    }

    /// Offers a fresh frame to the socket; the rest of one that went out in part is kept.
    fn offer(
        &mut self,
        fd: BorrowedFd<'_>,
        header: Header,
        message: &Encoded,
    ) -> Result<Offered, LinkError> {
        self.offer_parts(fd, with_fds(header, message), &message.bytes, &message.fds)
    }

    /// As [`offer`](Self::offer); the header knows how many descriptors there are.
    fn offer_parts(
        &mut self,
        fd: BorrowedFd<'_>,
        header: Header,
        bytes: &[u8],
        fds: &[OwnedFd],
    ) -> Result<Offered, LinkError> {
        let head = header.to_bytes();
        let parts = [IoSlice::new(&head), IoSlice::new(bytes)];
        let Some(count) = send_part(fd, &parts, fds)? else {
            return Ok(Offered::Nothing);
        };
        if count == HEADER_LEN + bytes.len() {
            return Ok(Offered::Whole);
        }
        let rest = match count.checked_sub(HEADER_LEN) {
            Some(sent) => bytes[sent..].to_vec(),
            None => [&head[count..], bytes].concat(),
        };
        self.keep(rest, Vec::new());
        Ok(Offered::Part)
    }

    /// Keeps a frame together with those kept before, if it brings no descriptors.
    fn gather(&mut self, parts: &[&[u8]], fds: Vec<OwnedFd>) {
        match self.queue.back_mut() {
            Some(last) if fds.is_empty() && last.bytes.len() < GATHERED => {
                for part in parts {
                    last.bytes.extend_from_slice(part);
                    self.queued_bytes += part.len();
                }
            }
            _ => self.keep(parts.concat(), fds),
        }
    }

    fn keep(&mut self, bytes: Vec<u8>, fds: Vec<OwnedFd>) {
        self.queued_bytes += bytes.len();
        self.queue.push_back(Outbound { bytes, sent: 0, fds });
    }
}

/// How much of a frame the socket took.
#[derive(PartialEq, Eq)]
enum Offered {
    Whole,
    Part,
    Nothing,
}

fn with_fds(mut header: Header, message: &Encoded) -> Header {
    // The codec allows at most MAX_FDS.
    header.fds = u16::try_from(message.fds.len()).unwrap_or(u16::MAX);
    header
}

/// `None` when the socket has no room.
fn send_part(
    fd: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    fds: &[OwnedFd],
) -> Result<Option<usize>, LinkError> {
    match socket::send(fd, parts, fds) {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            Err(LinkError::Closed)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
