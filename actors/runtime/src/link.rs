//! A link: a stream of frames between two nodes, over a Unix socket pair.
//!
//! Owns one end: cutting bytes into frames, keeping descriptors with their frames,
//! and writing whole frames from any thread. It must never interpret a payload, and
//! no lock is held across a wait. Neighbours: `procession_protocols::wire` (layout)
//! below, the launcher and actors above; `inbound` has what comes in, `outbound` what goes out.

mod inbound;
mod outbound;

use crate::codec::Encoded;
use crate::sync::{after, lock, poll};
use crate::sys::{socket, stream};
use inbound::{How, Rx};
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, socketpair};
use outbound::{GATHERED, Offered, Tx};
use procession_protocols::wire::Header;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Most bytes that are kept for a peer that does not read.
pub const OUTBOUND_LIMIT: usize = 16 * 1024 * 1024;

/// Who waits for room in a socket tries this often: it may be less than `poll(2)` asks for.
const ROOM_PERIOD: Duration = Duration::from_millis(10);

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
        self.receive(How::Now)
    }

    /// As [`try_recv`](Self::try_recv), but where descriptors find no number free (`EMFILE`) all
    /// that was not read stays in the socket, for another time.
    pub(crate) fn try_recv_or_leave(&self) -> Result<Option<Frame>, LinkError> {
        self.receive(How::OrLeave)
    }

    /// Waits for the next frame in the read itself. For a link that one thread reads, which
    /// waits for nothing else: others that read it would wait with it.
    pub(crate) fn recv_alone(&self) -> Result<Frame, LinkError> {
        loop {
            if let Some(frame) = self.receive(How::Wait)? {
                return Ok(frame);
            }
        }
    }

    fn receive(&self, how: How) -> Result<Option<Frame>, LinkError> {
        let rx = &mut *lock(&self.rx);
        if let Some(frame) = rx.next_frame()? {
            return Ok(Some(frame));
        }
        while rx.fill(self.fd.as_fd(), how)? {
            if let Some(frame) = rx.next_frame()? {
                return Ok(Some(frame));
            }
            if rx.emptied {
                break;
            }
        }
        Ok(None)
    }

    /// Gives `take` all frames that are there, each with its payload where it has arrived,
    /// until it says that it has had enough; so many bytes of frames. Never waits. `take` must
    /// not touch the link's reading side.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv), and those of `take`.
    pub(crate) fn take_each<E: From<LinkError>>(
        &self,
        mut take: impl FnMut(Header, &[u8], Vec<OwnedFd>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let rx = &mut *lock(&self.rx);
        let mut has_looked = false;
        loop {
            while let Some((header, payload, fds)) = rx.next_slice()? {
                if take(header, payload, fds)?.is_break() {
                    return Ok(());
                }
            }
            if has_looked && rx.emptied || !rx.fill(self.fd.as_fd(), How::Now)? {
                return Ok(());
            }
            has_looked = true;
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
        let header = with_fds(header, &message.fds);
        let mut begun = false;
        loop {
            {
                let tx = &mut *lock(&self.tx);
                tx.flush(self.fd.as_fd())?;
                if tx.is_empty() {
                    if begun {
                        return Ok(());
                    }
                    match tx.offer(self.fd.as_fd(), header, &message.bytes, &message.fds)? {
                        Offered::Whole => return Ok(()),
                        Offered::Part => begun = true,
                        Offered::Nothing => {}
                    }
                }
            }
            // The kernel says that there is room only when three quarters are free.
            let look = after(ROOM_PERIOD);
            let until = [deadline, look].into_iter().flatten().min();
            if !poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)], until)?
                && deadline.is_some_and(|deadline| Instant::now() >= deadline)
            {
                return if begun { Ok(()) } else { Err(LinkError::Timeout) };
            }
        }
    }

    /// As [`send`](Self::send), for as long as the other side reads: it is given up when it has
    /// taken nothing off the socket for `patience`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) fn send_to_reader(
        &self,
        header: Header,
        message: &Encoded,
        patience: Duration,
    ) -> Result<(), LinkError> {
        loop {
            let unread = stream::unread(self.fd.as_fd())?;
            match self.send(header, message, after(patience)) {
                Err(LinkError::Timeout)
                    if !patience.is_zero() && stream::unread(self.fd.as_fd())? < unread => {}
                outcome => return outcome,
            }
        }
    }

    /// Sends a frame without ever waiting: what finds no room is kept, unless more than
    /// `limit` bytes are kept already, and goes out at the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`LinkError::Full`], [`LinkError::Closed`].
    pub fn post(&self, header: Header, message: Encoded, limit: usize) -> Result<(), LinkError> {
        self.post_parts(header, &message.bytes, message.fds, limit)
    }

    /// As [`post`](Self::post), of a message in its parts.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    pub(crate) fn post_parts(
        &self,
        header: Header,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
        limit: usize,
    ) -> Result<(), LinkError> {
        let header = with_fds(header, &fds);
        let tx = &mut *lock(&self.tx);
        tx.flush(self.fd.as_fd())?;
        if tx.is_empty() && tx.offer(self.fd.as_fd(), header, bytes, &fds)? != Offered::Nothing {
            return Ok(());
        }
        if tx.kept() > limit {
            return Err(LinkError::Full);
        }
        tx.keep([&header.to_bytes(), bytes].concat(), fds);
        Ok(())
    }

    /// As [`post`](Self::post), of two frames in one write, or in two when both bring
    /// descriptors. They are copied for that, so they should be small.
    ///
    /// # Errors
    /// As [`post`](Self::post), but for the limit.
    pub fn post_together(&self, frames: [(Header, Encoded); 2]) -> Result<(), LinkError> {
        let tx = &mut *lock(&self.tx);
        let (mut bytes, mut fds) = (Vec::new(), Vec::new());
        for (header, message) in frames {
            if !fds.is_empty() && !message.fds.is_empty() {
                tx.keep(std::mem::take(&mut bytes), std::mem::take(&mut fds));
            }
            bytes.extend(with_fds(header, &message.fds).to_bytes());
            bytes.extend(message.bytes);
            fds.extend(message.fds);
        }
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
        header: Header,
        bytes: &[u8],
        fds: &[OwnedFd],
    ) -> Result<(), LinkError> {
        self.push_within(header, bytes, fds, usize::MAX).map(drop)
    }

    /// As [`push`](Self::push), unless more than `limit` bytes are kept already; gives how
    /// many were.
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`LinkError::Full`].
    pub(crate) fn push_within(
        &self,
        header: Header,
        bytes: &[u8],
        fds: &[OwnedFd],
        limit: usize,
    ) -> Result<usize, LinkError> {
        let header = with_fds(header, fds);
        let tx = &mut *lock(&self.tx);
        let kept = tx.kept();
        if kept > limit {
            return Err(LinkError::Full);
        }
        if bytes.len() > GATHERED || !fds.is_empty() {
            tx.flush(self.fd.as_fd())?;
            if tx.is_empty() && tx.offer(self.fd.as_fd(), header, bytes, fds)? != Offered::Nothing {
                return Ok(kept);
            }
        }
        let fds = fds.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
        tx.gather(&[&header.to_bytes(), bytes], fds);
        Ok(kept)
    }

    /// Writes what is kept, as far as there is room. True when nothing is left.
    ///
    /// # Errors
    /// [`LinkError::Closed`] or the system's.
    pub fn flush(&self) -> Result<bool, LinkError> {
        let tx = &mut *lock(&self.tx);
        tx.flush(self.fd.as_fd())?;
        Ok(tx.is_empty())
    }

    /// Ends the stream both ways; the other end sees that.
    pub fn shut_down(&self) {
        // It may have ended already.
        let _ = nix::sys::socket::shutdown(self.fd.as_raw_fd(), Shutdown::Both);
    }

    /// How many bytes are kept that wait for room.
    pub(crate) fn kept(&self) -> usize {
        lock(&self.tx).kept()
    }

    /// Whether something is kept that waits for room.
    pub fn wants_write(&self) -> bool {
        !lock(&self.tx).is_empty()
    }

    /// Whether the caller is to have what is kept written, until [`write_on`](Self::write_on)
    /// is done: something is, and nobody does so yet.
    pub(crate) fn begin_writing_on(&self) -> bool {
        let tx = &mut *lock(&self.tx);
        !tx.is_empty() && !std::mem::replace(&mut tx.has_writer, true)
    }

    /// Writes what is kept, as far as there is room; true when nothing is left to write, or
    /// nobody takes it any more.
    pub(crate) fn write_on(&self) -> bool {
        let tx = &mut *lock(&self.tx);
        let is_done = tx.flush(self.fd.as_fd()).is_err() || tx.is_empty();
        tx.has_writer = !is_done;
        is_done
    }

    /// Takes back [`begin_writing_on`](Self::begin_writing_on).
    pub(crate) fn leave_writing_on(&self) {
        lock(&self.tx).has_writer = false;
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn with_fds(mut header: Header, fds: &[OwnedFd]) -> Header {
    // The codec allows at most MAX_FDS.
    header.fds = u16::try_from(fds.len()).unwrap_or(u16::MAX);
    header
}

#[cfg(test)]
mod tests;
