//! Bytes with descriptors beside them, over a Unix socket.
//!
//! Owns `sendmsg`, `send` and `recvmsg`. Received descriptors are close-on-exec from their
//! first moment and owned at once, so none can leak. A plain `read` is never used on
//! a link: it would drop descriptors silently. Neighbour: `crate::link`.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Most descriptors that one message may carry: the kernel's limit for one send.
pub const MAX_FDS: usize = 253;

/// Room for the descriptors of one message, aligned as control messages need it.
#[repr(C, align(8))]
pub(super) struct ControlSpace([u8; 16 + MAX_FDS * size_of::<RawFd>() + 8]);

/// Has the kernel tell the peer of a TCP connection at once what has come, instead of with the
/// next answer. Nothing on another socket.
pub(crate) fn acknowledge(stream: BorrowedFd<'_>) {
    let one: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&one)).unwrap_or_default();
    // SAFETY: the kernel reads an integer of that length, which lives until the call returns.
    // It is a hint: that it is not taken does no harm.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_QUICKACK,
            (&raw const one).cast(),
            len,
        );
    }
}

/// Sends without waiting. Returns how many bytes went; the descriptors went with the
/// first of them.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    fds: &[impl AsRawFd],
) -> io::Result<usize> {
    send_with(socket, parts, fds, libc::MSG_DONTWAIT)
}

/// As [`send`], of bytes alone: a call without a message's form takes a tenth of the time off.
pub(crate) fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    loop {
        // SAFETY: the pointer and the length are of `bytes`, which the kernel only reads.
        let sent =
            unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        match usize::try_from(sent) {
            Ok(count) => return Ok(count),
            Err(_) => retry_interrupted()?,
        }
    }
}

/// As [`send`], with flags of `sendmsg`.
pub(super) fn send_with(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    fds: &[impl AsRawFd],
    flags: i32,
) -> io::Result<usize> {
    // Cleared only where it is used: it is large, and most messages have no descriptors.
    let mut space = MaybeUninit::<ControlSpace>::uninit();
    // SAFETY: msghdr is plain data for which all zeroes is valid.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len() as _;
    if !fds.is_empty() {
        let bytes = u32::try_from(fds.len() * size_of::<RawFd>()).map_err(io::Error::other)?;
        debug_assert!(fds.len() <= MAX_FDS);
        message.msg_control = space.write(ControlSpace([0; _])).0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE only computes; codec allows at most MAX_FDS descriptors, for
        // which `space` has room, and it is aligned; so CMSG_FIRSTHDR points into it and
        // CMSG_DATA has room for `bytes`, in numbers that need not be aligned.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(bytes) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(bytes) as _;
            let data = libc::CMSG_DATA(header);
            for (at, fd) in fds.iter().enumerate() {
                let place = data.add(at * size_of::<RawFd>());
                place.cast::<RawFd>().write_unaligned(fd.as_raw_fd());
            }
        }
    }
    loop {
        // SAFETY: `message` points to `parts` and `space`, both alive; IoSlice has the
        // layout of iovec.
        let sent = unsafe {
            libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL | flags)
        };
        match usize::try_from(sent) {
            Ok(count) => return Ok(count),
            Err(_) => retry_interrupted()?,
        }
    }
}

/// Receives into `buffer`, and appends the descriptors that came along. Returns how
/// many bytes came; 0 is the end of the stream. Without `wait` it gives `WouldBlock`
/// when there is nothing.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
    wait: bool,
) -> io::Result<usize> {
    all_of(receive_with(socket, buffer, fds, if wait { 0 } else { libc::MSG_DONTWAIT }))
}

/// As [`receive`], and when no number is free for a descriptor, its bytes come all the same:
/// then it says that not all descriptors did, of those that came with the last of the bytes.
pub(crate) fn receive_what_fits(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
    wait: bool,
) -> io::Result<(usize, bool)> {
    receive_with(socket, buffer, fds, if wait { 0 } else { libc::MSG_DONTWAIT })
}

/// An error where descriptors found no number.
fn all_of(received: io::Result<(usize, bool)>) -> io::Result<usize> {
    match received? {
        (_, true) => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        (count, false) => Ok(count),
    }
}

/// As [`receive`] without waiting, and all stays where it is. After an error no descriptor has
/// been kept.
fn look(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let before = fds.len();
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    all_of(receive_with(socket, buffer, fds, flags)).inspect_err(|_| fds.truncate(before))
}

/// As [`receive`] without waiting, of a socket of messages, for its only reader; and when
/// no number is free for a descriptor (`EMFILE`), the message stays with all of them.
pub(crate) fn receive_whole(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let count = look(socket, buffer, fds)?;
    // SAFETY: recv writes nothing into no bytes: what has been looked at is thrown away, the
    // message's own references to its descriptors with it.
    unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
    Ok(count)
}

/// As [`receive`] without waiting, of a stream, for its only reader; and when no number is
/// free for a descriptor (`EMFILE`), all stays in the socket that this look saw.
pub(crate) fn receive_or_leave(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let before = fds.len();
    let count = look(socket, buffer, fds)?;
    let (mut taken, mut had_fds) = (0, false);
    while taken < count {
        let rest = &mut buffer[taken..count];
        let mut part = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
        // SAFETY: msghdr is plain data for which all zeroes is valid.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        // SAFETY: `part` is of `rest`, which gets the same bytes again. The socket's own
        // references to their descriptors are dropped, and the kernel says that there were some.
        let got =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        match usize::try_from(got) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => {
                taken += got;
                had_fds |= message.msg_flags & libc::MSG_CTRUNC != 0;
            }
            Err(_) => retry_interrupted()?,
        }
    }
    if !had_fds {
        // A look that fills the buffer goes on to the descriptors of the bytes behind it
        // (`unix_stream_read_generic` in Linux's `net/unix/af_unix.c`). They come with those.
        fds.truncate(before);
    }
    Ok(count)
}

fn receive_with(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
    flags: i32,
) -> io::Result<(usize, bool)> {
    // The kernel fills it, and says how far.
    let mut space = MaybeUninit::<ControlSpace>::uninit();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain data for which all zeroes is valid.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    let flags = libc::MSG_CMSG_CLOEXEC | flags;
    loop {
        message.msg_control = space.as_mut_ptr().cast();
        message.msg_controllen = size_of::<ControlSpace>() as _;
        // SAFETY: `message` points to `part` and `space`, both alive and as long as said.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        let Ok(count) = usize::try_from(got) else {
            retry_interrupted()?;
            continue;
        };
        take_descriptors(&message, fds);
        // The kernel had no free descriptor numbers for all of them: the process is at its
        // limit, and the rest is lost for good, unless it was only looked at.
        return Ok((count, message.msg_flags & libc::MSG_CTRUNC != 0));
    }
}

pub(super) fn take_descriptors(message: &libc::msghdr, fds: &mut VecDeque<OwnedFd>) {
    // SAFETY: the kernel filled the control space that `message` describes; the CMSG
    // macros walk it within its length. Each descriptor in it is new and ours alone.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header);
                for i in 0..bytes / size_of::<RawFd>() {
                    let place = data.add(i * size_of::<RawFd>());
                    let fd = place.cast::<RawFd>().read_unaligned();
                    fds.push_back(OwnedFd::from_raw_fd(fd));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

pub(super) fn retry_interrupted() -> io::Result<()> {
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// Another descriptor of the same file, close-on-exec, with a number of at least `lowest`.
pub(crate) fn duplicate_above(fd: &impl AsRawFd, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl takes integers, and gives a new descriptor that is ours alone.
    unsafe {
        match libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) {
            -1 => Err(io::Error::last_os_error()),
            new => Ok(OwnedFd::from_raw_fd(new)),
        }
    }
}

/// Another descriptor of the same file, close-on-exec.
pub(crate) fn duplicate(fd: &impl AsRawFd) -> io::Result<OwnedFd> {
    duplicate_above(fd, 3)
}

/// Takes over a descriptor that this process inherited at a fixed number. Only at entry,
/// once for each number; `None` when there is none.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl takes integers. An inherited descriptor that the entry asks for by its
    // number belongs to nothing else in this process, which runs no other code yet.
    unsafe {
        (libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) == 0)
            .then(|| OwnedFd::from_raw_fd(number))
    }
}

/// Closes every descriptor from `first` up. Only at entry.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: at entry nothing in this process owns a descriptor but the ones below `first`.
    unsafe { super::process::close_range(first, u32::MAX) }
}

/// Gives a descriptor this number, close-on-exec, in place of what had it. Only in a
/// fresh copy of a process, for a number whose owner it will never use again.
pub(crate) fn take_number(fd: &impl AsRawFd, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: dup3 takes integers. The number's former owner belongs to the process that
    // was copied: in the copy nothing uses or drops it, as the callers say.
    unsafe {
        match libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            number => Ok(OwnedFd::from_raw_fd(number)),
        }
    }
}

/// Closes a number, as [`take_number`] does first.
pub(crate) fn give_up_number(number: RawFd) {
    // SAFETY: as for `take_number`. An error says that it was closed already.
    unsafe { libc::close(number) };
}
