//! Sockets of every kind of address.
//!
//! Owns binding, accepting and connecting, and whose process is at the other end. There is
//! no wait here but that of a connect. Neighbours: `address`, `place` (the files).

use super::place::{Folder, Place, Turn};
use super::{Address, ListenerError};
use crate::sync::after;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::sockopt::{self, PeerCredentials};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen,
    setsockopt, socket,
};
use nix::sys::stat::{Mode, fchmod};
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixSocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a connect waits until it tries again at a listener whose backlog is full.
const NAP: Duration = Duration::from_millis(1);

/// A TCP peer that has been silent for so long is asked whether it is there.
const IDLE: Duration = Duration::from_secs(10);

/// And again after so long, so many times.
const ASKED_EVERY: Duration = Duration::from_secs(5);
const ASKED_TIMES: u32 = 4;

/// A TCP peer that acknowledges nothing for so long is gone, and its connection ends: so a
/// cut link ends each wait for what was to come over it. Where this machine's own link drops
/// what is sent, Linux gives up sooner: after `net.ipv4.tcp_retries2` tries (15), half a second
/// apart.
pub const SILENCE: Duration = Duration::from_secs(30);

/// Whose process is at the other end of a Unix socket, by the kernel's word. It says who
/// connected; the descriptor may have been passed on since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The process's number.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A socket that listens. Accepting from it does not wait.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What listens, where, and what is to be removed at its end.
pub(super) type Bound = (Listening, Address, Option<Place>);

/// Binds a socket and lets it listen. A Unix socket without an address is put into a private
/// folder; one that nobody listens at any more is replaced.
pub(super) fn open(
    address: Option<&Address>,
    backlog: u16,
    mode: u32,
) -> Result<Bound, ListenerError> {
    let backlog = Backlog::new(i32::from(backlog.max(1)))?;
    match address {
        Some(Address::Tcp { host, port }) => {
            let mut all: Vec<_> = (host.as_str(), *port).to_socket_addrs()?.collect();
            // A Python client of that name looks for it there.
            all.sort_by_key(SocketAddr::is_ipv6);
            // The standard library lets the address be used again at once (SO_REUSEADDR).
            let listener = TcpListener::bind(&all[..])?;
            listen(&listener, backlog)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?.into();
            Ok((Listening::Tcp(listener), address, None))
        }
        Some(address @ Address::Abstract(name)) => {
            let at = UnixAddr::new_abstract(name)?;
            Ok((Listening::Unix(unix(&at, None, backlog, mode)?), address.clone(), None))
        }
        Some(Address::Unix(path)) => at_path(path.clone(), None, backlog, mode),
        None => {
            let folder = Folder::new()?;
            at_path(folder.socket(), Some(folder), backlog, mode)
        }
    }
}

fn at_path(
    path: PathBuf,
    folder: Option<Folder>,
    backlog: Backlog,
    mode: u32,
) -> Result<Bound, ListenerError> {
    let at = UnixAddr::new(&path)?;
    let turn = Turn::at(&path);
    let may_be_left =
        |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse && turn.is_some();
    let listener = match unix(&at, Some(&path), backlog, mode) {
        // A socket that nobody listens at is what a killed process has left. One that is about
        // to listen has the turn.
        Err(error) if may_be_left(&error) && is_stale(&path) => {
            std::fs::remove_file(&path)?;
            unix(&at, Some(&path), backlog, mode)?
        }
        other => other?,
    };
    let place = Place::new(path.clone(), folder)?;
    Ok((Listening::Unix(listener), Address::Unix(path), Some(place)))
}

/// Does not wait: one that listens may have all the connections that it may have.
fn is_stale(path: &Path) -> bool {
    let attempt = try_dial_unix(&Address::Unix(path.into()));
    matches!(attempt, Err(ListenerError::Io(error))
        if error.kind() == io::ErrorKind::ConnectionRefused)
}

fn unix(
    at: &UnixAddr,
    path: Option<&Path>,
    backlog: Backlog,
    mode: u32,
) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // Linux makes the file with the mode of the socket, so there is no moment with more. What
    // the process's mask took away is added.
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    bind(socket.as_raw_fd(), at)?;
    if let Some(path) = path {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    listen(&socket, backlog)?;
    Ok(socket.into())
}

impl Listening {
    /// The next connection that is there; `WouldBlock` when there is none.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, Option<Address>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                prepare(&stream)?;
                Ok((stream.into(), Some(peer.into())))
            }
            Self::Unix(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((stream.into(), named(&peer)))
            }
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Has a TCP connection send at once, and end when its peer cannot be reached any more.
fn prepare(stream: &impl AsFd) -> io::Result<()> {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let silence_ms = u32::try_from(SILENCE.as_millis()).unwrap_or(u32::MAX);
    setsockopt(stream, sockopt::TcpNoDelay, &true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &seconds(IDLE))?;
    setsockopt(stream, sockopt::TcpKeepInterval, &seconds(ASKED_EVERY))?;
    setsockopt(stream, sockopt::TcpKeepCount, &ASKED_TIMES)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &silence_ms)?;
    Ok(())
}

/// The name of a Unix socket, if it has one; clients seldom do.
fn named(peer: &UnixSocketAddr) -> Option<Address> {
    match (peer.as_pathname(), peer.as_abstract_name()) {
        (Some(path), _) => Some(Address::Unix(path.into())),
        (None, Some(name)) => Some(Address::Abstract(name.into())),
        (None, None) => None,
    }
}

/// Who is at the other end of a Unix socket; `None` of another one.
pub(super) fn credentials(socket: BorrowedFd<'_>) -> Option<Credentials> {
    let known = getsockopt(&socket, PeerCredentials).ok()?;
    // Of a socket that is no Unix socket the kernel says pid 0.
    (known.pid() != 0).then(|| Credentials { pid: known.pid(), uid: known.uid(), gid: known.gid() })
}

/// Connects, at most until the deadline.
pub(super) fn dial(address: &Address, deadline: Option<Instant>) -> Result<OwnedFd, ListenerError> {
    match address {
        Address::Tcp { host, port } => dial_any(&resolve(host, *port, deadline)?, deadline),
        _ => loop {
            if let Some(socket) = try_dial_unix(address)? {
                return Ok(socket);
            }
            if left(deadline).is_zero() {
                return Err(ListenerError::Timeout);
            }
            std::thread::sleep(NAP);
        },
    }
}

/// Tries one address of a host after the other.
fn dial_any(all: &[SocketAddr], deadline: Option<Instant>) -> Result<OwnedFd, ListenerError> {
    let mut last = ListenerError::from(io::Error::from(io::ErrorKind::NotFound));
    for (at, behind) in all.iter().zip((0..all.len()).rev()) {
        let share = share(deadline, behind).ok_or(ListenerError::Timeout)?;
        last = match TcpStream::connect_timeout(at, share).and_then(reached) {
            Ok(stream) => return Ok(stream.into()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => ListenerError::Timeout,
            Err(error) => error.into(),
        };
    }
    Err(last)
}

/// How long one address may be silent, so that there is time for so many behind it; `None` when
/// there is none left.
fn share(deadline: Option<Instant>, behind: usize) -> Option<Duration> {
    let left = left(deadline);
    let parts = u32::try_from(behind).unwrap_or(u32::MAX).saturating_add(1);
    (!left.is_zero()).then(|| (left / parts).max(NAP))
}

/// A connection that has been made, for use.
fn reached(stream: TcpStream) -> io::Result<TcpStream> {
    // Where nobody listens, a socket that got that very port by chance meets itself; and then
    // nobody can listen there.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    prepare(&stream)?;
    Ok(stream)
}

/// Without a deadline, longer than anybody waits.
fn left(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
}

/// What a host's name stands for. Who is asked may be silent for long, so a thread waits for
/// that, and no longer than he answers.
fn resolve(
    host: &str,
    port: u16,
    deadline: Option<Instant>,
) -> Result<Vec<SocketAddr>, ListenerError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let host = host.to_owned();
    let ask = move || (host.as_str(), port).to_socket_addrs().map(Vec::from_iter);
    Ok(in_time(ask, deadline)??)
}

fn in_time<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
    deadline: Option<Instant>,
) -> Result<T, ListenerError> {
    let (says, heard) = mpsc::channel();
    let thread = std::thread::Builder::new().name("procession-resolve".into());
    // An error means that it took too long.
    thread.spawn(move || drop(says.send(act())))?;
    heard.recv_timeout(left(deadline)).map_err(|_| ListenerError::Timeout)
}

/// As [`dial`], on the hidden thread.
pub(super) async fn dial_async(
    address: Address,
    timeout: Duration,
) -> Result<OwnedFd, ListenerError> {
    let deadline = after(timeout);
    let connected = async {
        match &address {
            Address::Tcp { host, port } => {
                let all: Vec<_> = tokio::net::lookup_host((host.as_str(), *port)).await?.collect();
                dial_any_async(&all, deadline).await
            }
            _ => loop {
                if let Some(socket) = try_dial_unix(&address)? {
                    return Ok(socket);
                }
                tokio::time::sleep(NAP).await;
            },
        }
    };
    tokio::time::timeout(timeout, connected).await.map_err(|_| ListenerError::Timeout)?
}

/// As [`dial_any`].
async fn dial_any_async(
    all: &[SocketAddr],
    deadline: Option<Instant>,
) -> Result<OwnedFd, ListenerError> {
    let mut last = ListenerError::from(io::Error::from(io::ErrorKind::NotFound));
    for (at, behind) in all.iter().zip((0..all.len()).rev()) {
        let share = share(deadline, behind).ok_or(ListenerError::Timeout)?;
        let connected = tokio::time::timeout(share, tokio::net::TcpStream::connect(at)).await;
        let stream = connected.map(|connected| {
            let stream = connected?.into_std()?;
            stream.set_nonblocking(false)?;
            reached(stream)
        });
        last = match stream {
            Ok(Ok(stream)) => return Ok(stream.into()),
            Ok(Err(error)) => error.into(),
            Err(_) => ListenerError::Timeout,
        };
    }
    Err(last)
}

/// Connects to a Unix socket; `None` when the listener's backlog is full.
fn try_dial_unix(address: &Address) -> Result<Option<OwnedFd>, ListenerError> {
    let at = match address {
        Address::Abstract(name) => UnixAddr::new_abstract(name)?,
        Address::Unix(path) => UnixAddr::new(path.as_os_str().as_bytes())?,
        Address::Tcp { .. } => return Err(nix::Error::EAFNOSUPPORT.into()),
    };
    // Blocking, it would wait for a place in the backlog without an end.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &at) {
        Ok(()) => {
            fcntl(&socket, FcntlArg::F_SETFL(OFlag::empty()))?;
            Ok(Some(socket))
        }
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{SockaddrIn, getsockname};

    /// An address that is silent, and what keeps it so: a listener that has all the connections
    /// that it may have.
    fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let at = listener.local_addr().unwrap();
        let short = Duration::from_millis(100);
        let full: Vec<_> =
            std::iter::from_fn(|| TcpStream::connect_timeout(&at, short).ok()).take(8).collect();
        assert!(full.len() < 8, "it is not full");
        (at, listener, full)
    }

    #[test]
    fn an_address_that_is_silent_leaves_time_for_the_next() {
        let (silent, _listener, _full) = silent();
        let answers = TcpListener::bind("127.0.0.1:0").unwrap();
        let all = [silent, answers.local_addr().unwrap()];
        let soon = || after(Duration::from_secs(2));
        drop(dial_any(&all, soon()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        drop(runtime.block_on(dial_any_async(&all, soon())).unwrap());
        // Nobody else answers.
        let shortly = after(Duration::from_millis(100));
        assert!(matches!(dial_any(&all[..1], shortly), Err(ListenerError::Timeout)));
    }

    #[test]
    fn a_connection_to_itself_is_none() {
        let any = SockaddrIn::new(127, 0, 0, 1, 0);
        let socket =
            socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(socket.as_raw_fd(), &any).unwrap();
        let own: SockaddrIn = getsockname(socket.as_raw_fd()).unwrap();
        connect(socket.as_raw_fd(), &own).unwrap();
        let refused = reached(socket.into()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn names_are_found_in_time() {
        let begun = Instant::now();
        let soon = Some(begun + Duration::from_millis(50));
        let silent = || std::thread::sleep(Duration::from_secs(20));
        assert!(matches!(in_time(silent, soon), Err(ListenerError::Timeout)));
        assert!(begun.elapsed() < Duration::from_secs(10));
        let later = Some(begun + Duration::from_secs(10));
        assert_eq!(
            resolve("::1", 7, soon).unwrap(),
            [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7))]
        );
        assert!(resolve("localhost", 7, later).unwrap().iter().all(|at| at.ip().is_loopback()));
    }
}
