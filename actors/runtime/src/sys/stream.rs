//! Streams of bytes that other processes read and write too.
//!
//! Owns the system calls of pipes: looking at what is there without taking it, taking an
//! exact number of bytes straight into memory that was never written before, and sending
//! with or without a wait. The descriptor's own flags are left alone, since processes share
//! them. Neighbours: `socket` (descriptors beside the bytes), `crate::pipe`.

use super::socket::{ControlSpace, retry_interrupted, send_with, take_descriptors};
use std::collections::VecDeque;
use std::ffi::c_int;
use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;

/// Up to so many bytes are put together before they are sent.
const SMALL: usize = 256;

/// What a stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A stream socket that can carry descriptors.
    UnixSocket,
    /// Another stream socket.
    Socket,
    /// A pipe, a terminal, a file.
    Other,
}

/// What the descriptor leads to.
///
/// # Errors
/// `EPROTOTYPE` for a socket that is no stream; `EBADF`.
pub(crate) fn kind(fd: BorrowedFd<'_>) -> io::Result<Kind> {
    match socket_option(fd, libc::SO_TYPE) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => return Ok(Kind::Other),
        Ok(libc::SOCK_STREAM) => {}
        Ok(_) => return Err(io::Error::from_raw_os_error(libc::EPROTOTYPE)),
        Err(error) => return Err(error),
    }
    match socket_option(fd, libc::SO_DOMAIN)? {
        libc::AF_UNIX => Ok(Kind::UnixSocket),
        _ => Ok(Kind::Socket),
    }
}

fn socket_option(fd: BorrowedFd<'_>, option: c_int) -> io::Result<c_int> {
    const SIZE: libc::socklen_t = 4;
    let (mut value, mut len): (c_int, _) = (0, SIZE);
    // SAFETY: the kernel writes at most `len` bytes to `value`, and the length to `len`.
    let asked = unsafe {
        let (value, len) = ((&raw mut value).cast(), &raw mut len);
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, value, len)
    };
    if asked == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// What a read brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    /// How many bytes; 0 is the end of the stream.
    pub(crate) count: usize,
    /// Descriptors came with them for which this process had no numbers left: they are gone.
    pub(crate) lost_fds: bool,
}

/// What a look saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// How many bytes; 0 is the end of the stream.
    pub(crate) count: usize,
    /// Descriptors stand beside some of them. The look ends with the bytes that were sent
    /// with these (`unix_stream_read_generic` in Linux's `net/unix/af_unix.c`).
    pub(crate) has_fds: bool,
}

/// Appends what the socket holds, at most `most` bytes, and leaves it there. With `wait` it
/// waits for the first.
pub(crate) fn peek(
    socket: BorrowedFd<'_>,
    into: &mut Vec<u8>,
    most: usize,
    wait: bool,
) -> io::Result<Seen> {
    into.reserve(most);
    let flags = libc::MSG_PEEK | if wait { 0 } else { libc::MSG_DONTWAIT };
    let space = into.spare_capacity_mut();
    let mut part = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: most };
    // SAFETY: msghdr is plain data for which all zeroes is valid.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    loop {
        // SAFETY: `part` is `most` bytes of spare capacity. Without room for control
        // messages the kernel only says that there are some.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match usize::try_from(got) {
            Ok(count) => {
                grow(into, count);
                return Ok(Seen { count, has_fds: message.msg_flags & libc::MSG_CTRUNC != 0 });
            }
            Err(_) => retry_interrupted()?,
        }
    }
}

/// Takes at most `most` bytes beside which no descriptors stand off a socket, without
/// waiting, and appends them. 0 is the end of the stream.
pub(crate) fn take_bare(
    socket: BorrowedFd<'_>,
    into: &mut Vec<u8>,
    most: usize,
) -> io::Result<usize> {
    into.reserve(most);
    loop {
        let space = into.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: the pointer is to at least `most` bytes of spare capacity.
        let got = unsafe { libc::recv(socket.as_raw_fd(), space, most, libc::MSG_DONTWAIT) };
        match usize::try_from(got) {
            Ok(count) => {
                grow(into, count);
                return Ok(count);
            }
            Err(_) => retry_interrupted()?,
        }
    }
}

/// Takes so many bytes off a socket, beside which no descriptors stand, and puts the first of
/// them over `witness`: no process sees the bytes gone and the witness as it was. Without
/// waiting; gives how many there were.
pub(crate) fn discard(
    socket: BorrowedFd<'_>,
    witness: &AtomicU64,
    space: &mut Vec<u8>,
    count: usize,
) -> io::Result<usize> {
    let in_witness = count.min(size_of::<u32>());
    let in_space = count - in_witness;
    // Written here first, no page of it can be missing in the kernel: a death then would leave
    // the witness written over and the bytes where they are.
    space.clear();
    space.resize(in_space, 0);
    let mut parts = [
        libc::iovec { iov_base: witness.as_ptr().cast(), iov_len: in_witness },
        libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: in_space },
    ];
    // SAFETY: msghdr is plain data for which all zeroes is valid.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    loop {
        // SAFETY: the parts are the first half of a word that is alive, shared and accessed by
        // atomics only, and the memory of `space`.
        let got =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        match usize::try_from(got) {
            Ok(count) => return Ok(count),
            Err(_) => retry_interrupted()?,
        }
    }
}

/// How many bytes wait in the socket to be received.
pub(crate) fn waiting(socket: BorrowedFd<'_>) -> io::Result<usize> {
    ask(socket, libc::FIONREAD)
}

/// How much memory is taken by what was sent into the socket and has not been received, in
/// bytes.
pub(crate) fn unread(socket: BorrowedFd<'_>) -> io::Result<usize> {
    ask(socket, libc::TIOCOUTQ)
}

fn ask(socket: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<usize> {
    let mut count: c_int = 0;
    // SAFETY: both requests write one number to `count`.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut count) };
    if asked == 0 {
        Ok(usize::try_from(count).unwrap_or(0))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes bytes off a socket without waiting: first those that fill `head`, then at most
/// `most` that are appended to `body`, for which there must be room. Descriptors that come
/// along are appended to `fds`.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    head: &mut [u8],
    body: &mut Vec<u8>,
    most: usize,
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<Came> {
    let in_head = head.len();
    let mut parts = parts(head, body, most);
    // SAFETY: `parts` point to `head` and to spare capacity of `body`, as long as said.
    let came = unsafe { receive_parts(socket, &mut parts, fds, 0) }?;
    grow(body, came.count.saturating_sub(in_head));
    Ok(came)
}

/// As [`receive`], into two slices; descriptors that come along are closed.
pub(crate) fn receive_into(
    socket: BorrowedFd<'_>,
    head: &mut [u8],
    body: &mut [u8],
) -> io::Result<usize> {
    let mut parts = [head, body]
        .map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() });
    // SAFETY: `parts` point to the two slices, as long as they are.
    unsafe { receive_parts(socket, &mut parts, &mut VecDeque::new(), 0) }.map(|came| came.count)
}

/// Copies of the descriptors that stand beside the message at the front of a socket, which is
/// `len` bytes long, or so many are more than were sent at once. Message and descriptors stay
/// there.
///
/// # Errors
/// `EMFILE` when this process has not as many numbers free.
pub(crate) fn descriptors(socket: BorrowedFd<'_>, len: usize) -> io::Result<VecDeque<OwnedFd>> {
    let (mut space, mut fds) = (vec![0_u8; len + 1], VecDeque::new());
    let (before, last) = space.split_at_mut(len);
    let mut parts = [before, last]
        .map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() });
    // SAFETY: `parts` point to the two halves of `space`, as long as they are.
    let came = unsafe { receive_parts(socket, &mut parts, &mut fds, libc::MSG_PEEK) }?;
    if came.count > len {
        // A look ends with the bytes beside which descriptors stand: these are another's.
        return Ok(VecDeque::new());
    }
    if came.lost_fds { Err(io::Error::from_raw_os_error(libc::EMFILE)) } else { Ok(fds) }
}

/// Takes bytes off a socket, without waiting; with `MSG_PEEK` among the flags they stay there.
///
/// # Safety
/// The parts must point to memory that is alive, as long as they say, and nobody else's.
unsafe fn receive_parts(
    socket: BorrowedFd<'_>,
    parts: &mut [libc::iovec; 2],
    fds: &mut VecDeque<OwnedFd>,
    flags: c_int,
) -> io::Result<Came> {
    let mut space = MaybeUninit::<ControlSpace>::uninit();
    // SAFETY: msghdr is plain data for which all zeroes is valid.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    loop {
        message.msg_control = space.as_mut_ptr().cast();
        message.msg_controllen = size_of::<ControlSpace>() as _;
        let flags = flags | libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        // SAFETY: `message` points to `parts`, for which the caller answers, and to `space`;
        // all are alive and as long as said.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        let Ok(count) = usize::try_from(got) else {
            retry_interrupted()?;
            continue;
        };
        take_descriptors(&message, fds);
        return Ok(Came { count, lost_fds: message.msg_flags & libc::MSG_CTRUNC != 0 });
    }
}

/// As [`receive`], from a descriptor of any kind: it waits when there is nothing, so poll it
/// first.
pub(crate) fn read(
    fd: BorrowedFd<'_>,
    head: &mut [u8],
    body: &mut Vec<u8>,
    most: usize,
) -> io::Result<usize> {
    let in_head = head.len();
    let parts = parts(head, body, most);
    loop {
        // SAFETY: `parts` point to `head` and to spare capacity of `body`, as long as said.
        let got = unsafe { libc::readv(fd.as_raw_fd(), parts.as_ptr(), 2) };
        match usize::try_from(got) {
            Ok(count) => {
                grow(body, count.saturating_sub(in_head));
                return Ok(count);
            }
            Err(_) => retry_interrupted()?,
        }
    }
}

fn parts(head: &mut [u8], body: &mut Vec<u8>, most: usize) -> [libc::iovec; 2] {
    let spare = body.spare_capacity_mut();
    assert!(most <= spare.len(), "there is room for what is to be read");
    [
        libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() },
        libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: most },
    ]
}

/// Counts bytes that the kernel has written behind the length.
fn grow(body: &mut Vec<u8>, count: usize) {
    debug_assert!(count <= body.capacity() - body.len());
    // SAFETY: the kernel has written so many bytes there, within what `parts` named.
    unsafe { body.set_len(body.len() + count) };
}

/// Sends over a socket; the descriptors go with the first byte. Returns how many bytes went.
/// With `wait` it waits for room for all of them, and gives less only when it is interrupted.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    fds: &[OwnedFd],
    wait: bool,
) -> io::Result<usize> {
    let flags = if wait { 0 } else { libc::MSG_DONTWAIT };
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    if !fds.is_empty() || len > SMALL {
        return send_with(socket, parts, fds, flags);
    }
    // A short message costs the kernel less in one piece.
    let (mut space, mut filled) = ([0_u8; SMALL], 0);
    for part in parts {
        space[filled..filled + part.len()].copy_from_slice(part);
        filled += part.len();
    }
    loop {
        // SAFETY: `space` has at least `len` bytes, and is alive for the call.
        let sent = unsafe {
            let flags = libc::MSG_NOSIGNAL | flags;
            libc::send(socket.as_raw_fd(), space.as_ptr().cast(), len, flags)
        };
        match usize::try_from(sent) {
            Ok(count) => return Ok(count),
            Err(_) => retry_interrupted()?,
        }
    }
}

/// Takes over a descriptor by its number; `EBADF` when that is none. Only for a number that
/// belongs to nothing else in this process.
pub(crate) fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl takes integers. An open descriptor is whose the caller says it is: ours.
    unsafe {
        match libc::fcntl(number, libc::F_GETFD) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(OwnedFd::from_raw_fd(number)),
        }
    }
}
