//! Pipes: the ends, and what is done with them.
//!
//! Owns an [`End`]: a descriptor, the rights to receive and to send on it, and the page on
//! which all who hold it take turns (`turn`). Everything happens in the calling thread, on a
//! descriptor whose flags nobody changes, since other processes share them. It must never
//! take a message off the descriptor that it does not return: what is behind belongs
//! to whoever receives next, who may be another process. So an end can be passed on, copied
//! by a fork, polled by anybody or handed to Python at any moment. (One that a process has for
//! itself may be read ahead: `ahead`.) Neighbours:
//! `procession_protocols::pipe` (the framing), `sys::stream`, `sys::desk`; above it the face.
//!
//! # Why several readers and writers don't damage messages
//!
//! - *A message that fits* (up to [`FITS`] bytes on a Unix socket) goes out by one `sendmsg`,
//!   which the kernel takes whole or not at all; it is looked at with `MSG_PEEK` and then
//!   taken by one `recvmsg` of exactly its length. A process that is killed at any instant
//!   has done either or neither.
//! - *Small ones* that are seen together are received by a store each, in the page, and taken
//!   later by one `recvmsg` for all (`owed`).
//! - *A larger one* takes several calls. Its writer and its reader keep their turn until it
//!   is through, so that nobody gets in between. If one of them dies midway, the page says
//!   so: whoever comes next closes that direction, and the other side gets
//!   [`PipeError::Truncated`] (a writer died) or [`PipeError::BrokenPipe`] (a reader died).
//! - *A peer that does not know the page* (Python on the other end) is one reader or one
//!   writer of its own end; messages keep whole as long as it is only one.

mod ahead;
mod error;
mod midway;
mod owed;
mod ready;
mod receive;
mod sealed;
mod send;
mod turn;

pub use ahead::Ahead;
pub use error::PipeError;
pub use ready::{at_most, wait, wait_async};
pub use receive::Message;
pub use send::{FITS, Outgoing};

#[cfg(test)]
mod tests;

use crate::codec::{self, Fd, Lent};
use crate::sync::lock;
use crate::sys::desk::Page;
use crate::sys::stream::{self, Kind};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use procession_protocols::auth::Seal;
use procession_protocols::pipe::LONGEST_MESSAGE;
use receive::Reading;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};
use turn::{Role, Turn};

/// One end of a pipe. All methods may be called from any thread, and by any process that
/// holds the end.
#[derive(Debug)]
pub struct End {
    fd: OwnedFd,
    kind: Kind,
    rights: Rights,
    /// Shared with the other end, when both were made here.
    page: Arc<Page>,
    /// In which direction this end receives; it sends in the other one.
    inward: usize,
    reading: Mutex<Reading>,
    guard: Guard,
}

/// What an end asks of the messages that come to it, since its peer is no relative.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Guard {
    /// The longest message that it takes, in bytes.
    pub longest: u64,
    /// The keys of the session, where each message is to be authenticated.
    pub seal: Option<Seal>,
}

/// What relatives ask of each other's messages.
impl Default for Guard {
    fn default() -> Self {
        Self { longest: LONGEST_MESSAGE, seal: None }
    }
}

/// What may be done at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Receiving.
    pub read: bool,
    /// Sending.
    pub write: bool,
}

impl Rights {
    const BOTH: Self = Self { read: true, write: true };
    const READ: Self = Self { read: true, write: false };
    const WRITE: Self = Self { read: false, write: true };
}

/// Makes the two ends of a pipe that goes both ways.
///
/// # Errors
/// EMFILE and its like.
pub fn duplex() -> io::Result<(End, End)> {
    pair([Rights::BOTH, Rights::BOTH])
}

/// Makes a pipe that goes one way: the end that receives, the end that sends. It is a socket
/// pair as well, for the kernel's pipes carry no descriptors.
///
/// # Errors
/// EMFILE and its like.
pub fn one_way() -> io::Result<(End, End)> {
    let (receiver, sender) = pair([Rights::READ, Rights::WRITE])?;
    shutdown(sender.fd.as_raw_fd(), Shutdown::Read)?;
    Ok((receiver, sender))
}

fn pair(rights: [Rights; 2]) -> io::Result<(End, End)> {
    let (a, b) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    let page = Arc::new(Page::new()?);
    let end = |fd, index: usize, page| End {
        fd,
        kind: Kind::UnixSocket,
        rights: rights[index],
        page,
        inward: index,
        reading: Mutex::default(),
        guard: Guard::default(),
    };
    Ok((end(a, 0, page.clone()), end(b, 1, page)))
}

impl End {
    /// An end of whatever `fd` leads to: a stream socket, a pipe, a terminal. What may be
    /// done with it is asked of the descriptor. Its flags stay as they are.
    ///
    /// # Errors
    /// `EBADF`; a socket that is no stream; EMFILE and its like.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        Self::guarded(fd, Guard::default())
    }

    /// As [`from_fd`](Self::from_fd), of a stream on which nothing has been said since its
    /// keys were agreed upon.
    ///
    /// # Errors
    /// As [`from_fd`](Self::from_fd).
    pub fn guarded(fd: OwnedFd, guard: Guard) -> io::Result<Self> {
        let kind = stream::kind(fd.as_fd())?;
        let rights = if kind == Kind::Other {
            match OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE {
                OFlag::O_RDONLY => Rights::READ,
                OFlag::O_WRONLY => Rights::WRITE,
                _ => Rights::BOTH,
            }
        } else {
            Rights::BOTH
        };
        let page = Arc::new(Page::new()?);
        // Others may have the descriptor, and without this page.
        turn::debt(&page, 0).forbid();
        Ok(Self { fd, kind, rights, page, inward: 0, reading: Mutex::default(), guard })
    }

    /// What may be done here.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// Its descriptor's number, to be named and not to be used.
    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The descriptor, for what is done here.
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn readable(&self) -> Result<(), PipeError> {
        if self.rights.read { Ok(()) } else { Err(PipeError::NotReadable) }
    }

    fn writable(&self) -> Result<(), PipeError> {
        if self.rights.write { Ok(()) } else { Err(PipeError::NotWritable) }
    }

    /// The turn at receiving here.
    fn read_turn(&self) -> Turn<'_> {
        Turn::new(&self.page, self.inward, Role::Read)
    }

    /// The turn at sending here.
    fn write_turn(&self) -> Turn<'_> {
        Turn::new(&self.page, 1 - self.inward, Role::Write)
    }

    /// The turn of those who send to here, as far as they know this page.
    fn peers_turn(&self) -> Turn<'_> {
        Turn::new(&self.page, self.inward, Role::Write)
    }

    /// Ends both directions, for everybody who holds an end. An end that is no socket has no
    /// way to.
    pub fn hang_up(&self) {
        self.shut(Shutdown::Both);
    }

    /// Ends a direction that is torn, for everybody. An end that is no socket has no way to.
    fn shut(&self, how: Shutdown) {
        if self.kind != Kind::Other {
            // An error says that it has ended already.
            let _ = shutdown(self.fd.as_raw_fd(), how);
        }
    }
}

/// From the first time on, whoever looks at the descriptor sees what has not been received.
impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lay_open();
        self.fd()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let reading = &mut *lock(&self.reading);
        if reading.is_midway() {
            // Half of a message that goes down with this end is in nobody's hands any more.
            self.read_turn().break_off();
            self.shut(Shutdown::Read);
            self.read_turn().release();
        } else {
            // What is left unread would be an error at the other end.
            self.settle(reading);
        }
    }
}

/// Takes over an open descriptor by its number, which the caller says is nobody else's.
///
/// # Errors
/// `EBADF`.
pub fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    stream::take_over(number)
}

/// An end as it travels.
#[derive(Serialize)]
struct Sent<'a> {
    rights: Rights,
    inward: u8,
    fd: Lent<'a>,
    page: Lent<'a>,
    guard: &'a Guard,
}

/// An end as it arrives.
#[derive(Deserialize)]
struct Arrived {
    rights: Rights,
    inward: u8,
    fd: Fd,
    page: Fd,
    guard: Guard,
}

/// The end is copied: both copies receive and send on the same pipe.
impl Serialize for End {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !codec::in_transfer() {
            return Err(serde::ser::Error::custom(codec::OUTSIDE_TRANSFER));
        }
        Sent {
            rights: self.rights,
            inward: u8::from(self.inward == 1),
            fd: Lent(self.fd.as_fd()),
            page: Lent(self.page.as_fd()),
            guard: &self.guard,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let arrived = Arrived::deserialize(deserializer)?;
        let open = || {
            let fd = OwnedFd::from(arrived.fd);
            Ok(Self {
                kind: stream::kind(fd.as_fd())?,
                fd,
                rights: arrived.rights,
                page: Arc::new(Page::from_file(arrived.page.into())?),
                inward: usize::from(arrived.inward == 1),
                reading: Mutex::default(),
                guard: arrived.guard,
            })
        };
        open().map_err(|error: io::Error| {
            serde::de::Error::custom(format_args!("no end of a pipe: {error}"))
        })
    }
}
