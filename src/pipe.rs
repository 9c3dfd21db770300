//! `Pipe` and `Connection`: two ends, and messages between them.
//!
//! Owns the handle of an end, and what values are to it: encoded before they go out, decoded
//! when they have come. How bytes become whole messages is the runtime's. Neighbours:
//! `pipe/typed.rs` (ends that know their type), `pipe/wire.rs` (how values are written),
//! `listener/` (connections to others than relatives), `wait.rs` (many at once).

mod typed;
mod wire;

pub use procession_runtime::pipe::PipeError;
pub use typed::{Receiver, Sender, Unsent};
pub(crate) use wire::Wire;

use procession_protocols::pipe::LONGEST_MESSAGE;
use procession_runtime::codec::Encoded;
use procession_runtime::listener::{Address, Credentials, Protocol};
use procession_runtime::pipe::{self, End, Outgoing};
use procession_runtime::sync::after;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes pipes. It has no values: a pipe is its two ends.
#[derive(Debug)]
pub enum Pipe {}

impl Pipe {
    /// Two ends, each of which sends to and receives from the other.
    ///
    /// ```
    /// use procession::{Connection, Pipe, Process};
    ///
    /// # fn main() -> procession::Result<()> {
    /// let (ours, theirs) = Pipe::duplex()?;
    /// let upper = |end: Connection| {
    ///     let word: String = end.recv().unwrap();
    ///     end.send(&word.to_uppercase()).unwrap();
    /// };
    /// let p = Process::spawn(upper, (theirs,))?;
    /// ours.send("hello")?;
    /// assert_eq!(ours.recv::<String>()?, "HELLO");
    /// p.join()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// EMFILE and its like.
    pub fn duplex() -> Result<(Connection, Connection), PipeError> {
        let (a, b) = pipe::duplex()?;
        Ok((Connection::new(a), Connection::new(b)))
    }

    /// An end that only receives, and one that only sends to it.
    ///
    /// # Errors
    /// EMFILE and its like.
    pub fn one_way() -> Result<(Connection, Connection), PipeError> {
        let (receiver, sender) = pipe::one_way()?;
        Ok((Connection::new(receiver), Connection::new(sender)))
    }

    /// A pipe of one way that carries one type: sending something else does not compile.
    ///
    /// ```
    /// use procession::{Pipe, Process, Sender};
    ///
    /// # fn main() -> procession::Result<()> {
    /// let (sender, receiver) = Pipe::typed::<u32>()?;
    /// let count = |sender: Sender<u32>| (1..=3).for_each(|i| sender.send(i).unwrap());
    /// let p = Process::spawn(count, (sender,))?;
    /// let all: Result<Vec<u32>, _> = receiver.iter().collect();
    /// assert_eq!(all?, [1, 2, 3]);
    /// p.join()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// EMFILE and its like.
    pub fn typed<T>() -> Result<(Sender<T>, Receiver<T>), PipeError> {
        let (receiver, sender) = Self::one_way()?;
        Ok((Sender::from(sender), Receiver::from(receiver)))
    }
}

/// One end of a pipe, or of another stream of bytes: a socket, a terminal.
///
/// Messages arrive whole, in order, however many threads and processes send and receive at
/// either end: each goes to one receiver. A clone shares the descriptor; an end that travels
/// (as an argument, in a message, through a pipe) is copied, descriptor and all. The pipe
/// ends when every process has dropped its last handle of the other end: then
/// [`PipeError::EndOfFile`] comes behind what had been sent. So drop the end that a child
/// uses once the child has been started, else its end is not seen. A child that was *forked*
/// has copies of everything.
///
/// The bytes are those of Python's `multiprocessing.connection`, so that a Python process may
/// hold the other end of a descriptor: [`send_bytes`](Self::send_bytes) and
/// [`recv_bytes`](Self::recv_bytes) are compatible. What [`send`](Self::send) encodes is for
/// this program's own processes.
///
/// A message that fits into the socket (32 KiB do) is sent and received as a whole or not:
/// a process that is killed around it breaks nothing for those who share its end. One that is
/// killed in the midst of a larger message leaves a piece behind, which is no message: the
/// other side gets [`PipeError::Truncated`], or [`PipeError::BrokenPipe`].
#[derive(Clone)]
pub struct Connection {
    /// `None` when closed.
    end: Option<Arc<End>>,
    wire: Wire,
    peer: Option<Arc<PeerInfo>>,
}

/// Who is at the other end of a connection that a [`Listener`](crate::Listener) accepted or a
/// [`Client`](crate::Client) made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// How it proved itself, and what it speaks.
    pub protocol: Protocol,
    /// Where it is. Clients at Unix sockets have no address.
    pub address: Option<Address>,
    /// Whose process connected, where the kernel says so: at Unix sockets.
    pub credentials: Option<Credentials>,
}

impl PeerInfo {
    /// Whether it proved itself as Python does.
    pub fn is_python(&self) -> bool {
        matches!(self.protocol, Protocol::Python(_))
    }
}

impl Connection {
    fn new(end: End) -> Self {
        Self { end: Some(Arc::new(end)), wire: Wire::Relatives, peer: None }
    }

    /// A connection to somebody else.
    pub(crate) fn to_peer(end: End, wire: Wire, peer: PeerInfo) -> Self {
        Self { end: Some(Arc::new(end)), wire, peer: Some(Arc::new(peer)) }
    }

    /// Who is at the other end, if a listener or a client has made this connection; `None`
    /// at the ends of pipes, and after it has travelled.
    pub fn peer(&self) -> Option<&PeerInfo> {
        self.peer.as_deref()
    }

    /// An end of what the descriptor leads to: a stream socket, a pipe, a terminal. Whether
    /// it can be read and written is asked of the descriptor, whose flags stay as they are.
    ///
    /// ```
    /// use procession::Connection;
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> procession::Result<()> {
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let near = Connection::from_fd(TcpStream::connect(listener.local_addr()?)?)?;
    /// let far = Connection::from_fd(listener.accept()?.0)?;
    /// near.send_bytes(b"over TCP")?;
    /// assert_eq!(far.recv_bytes()?, b"over TCP");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The descriptor is no stream; EMFILE and its like.
    pub fn from_fd(fd: impl Into<OwnedFd>) -> Result<Self, PipeError> {
        Ok(Self::new(End::from_fd(fd.into())?))
    }

    /// As [`from_fd`](Self::from_fd), from a number, which is checked before anything is
    /// taken over.
    ///
    /// # Safety
    /// Nothing else in this process may own the descriptor, or close it.
    ///
    /// # Errors
    /// `EBADF` when the number is no open descriptor, and as [`from_fd`](Self::from_fd).
    #[allow(unsafe_code, reason = "the caller's promise; nothing here is unsafe by itself")]
    pub unsafe fn from_raw_fd(fd: RawFd) -> Result<Self, PipeError> {
        Self::from_fd(pipe::take_over(fd)?)
    }

    /// Sends a value as one message; waits while the pipe is full.
    ///
    /// # Errors
    /// [`PipeError::Encode`] when the value cannot be encoded: then nothing was sent.
    /// [`PipeError::BrokenPipe`] when nobody can receive it. [`PipeError::NotWritable`],
    /// [`PipeError::Closed`].
    pub fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), PipeError> {
        self.send_encoded(&self.wire.encode(value)?, None)
    }

    /// As [`send`](Self::send), if it begins within `timeout`. A message whose first byte is
    /// out has been sent: what the time cuts off goes out behind this call, as long as this
    /// process lives.
    ///
    /// # Errors
    /// [`PipeError::Timeout`] when nothing of it was sent, and as [`send`](Self::send).
    pub fn send_timeout<T: Serialize + ?Sized>(
        &self,
        value: &T,
        timeout: Duration,
    ) -> Result<(), PipeError> {
        self.send_encoded(&self.wire.encode(value)?, after(timeout))
    }

    /// As [`send`](Self::send), without blocking the thread, on any executor. The value is
    /// encoded at once.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// Dropping the future before the message's first byte is out takes it back; after that
    /// the message goes out nevertheless.
    pub fn send_async<T: Serialize + ?Sized>(
        &self,
        value: &T,
    ) -> impl Future<Output = Result<(), PipeError>> + Send + use<T> {
        let (end, encoded) = (self.end().cloned(), self.wire.encode(value));
        async move {
            let encoded = encoded?;
            end?.send_async(&Outgoing::new(&encoded.bytes, &encoded.fds)?).await
        }
    }

    fn send_encoded(&self, value: &Encoded, deadline: Option<Instant>) -> Result<(), PipeError> {
        self.end()?.send(&Outgoing::new(&value.bytes, &value.fds)?, deadline)
    }

    /// Waits for a message and decodes it. `T` must be shaped as what was sent: a `String` for
    /// a `&str`, but a `u32` for a `u32`, since a message says nothing of its type. The typed
    /// ends of [`Pipe::typed`] see to that.
    ///
    /// # Errors
    /// [`PipeError::EndOfFile`] when the other end is closed and all has been received,
    /// [`PipeError::Truncated`] when it was closed inside of a message.
    /// [`PipeError::Decode`] when the message is no `T`: it is gone, the next one is not.
    /// [`PipeError::Io`] with `EMFILE` when this process has no number free for a descriptor
    /// that comes with the message, which stays until it has.
    /// [`PipeError::NotReadable`], [`PipeError::Closed`], and the others.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<T, PipeError> {
        self.wire.decode(self.end()?.receive(LONGEST_MESSAGE, None)?)
    }

    /// As [`recv`](Self::recv), at most `timeout` long; zero looks once.
    ///
    /// # Errors
    /// [`PipeError::Timeout`], and as [`recv`](Self::recv).
    pub fn recv_timeout<T: DeserializeOwned>(&self, timeout: Duration) -> Result<T, PipeError> {
        self.wire.decode(self.end()?.receive(LONGEST_MESSAGE, after(timeout))?)
    }

    /// As [`recv`](Self::recv), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn recv_async<T: DeserializeOwned>(&self) -> Result<T, PipeError> {
        self.wire.decode(self.end()?.receive_async(LONGEST_MESSAGE).await?)
    }

    /// Sends bytes as one message, as they are. A part of them is a slice.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`PipeError::BadLength`] above 4 GiB.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), PipeError> {
        self.end()?.send(&Outgoing::new(bytes, &[])?, None)
    }

    /// As [`send_timeout`](Self::send_timeout), for bytes.
    ///
    /// # Errors
    /// As [`send_timeout`](Self::send_timeout).
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<(), PipeError> {
        self.end()?.send(&Outgoing::new(bytes, &[])?, after(timeout))
    }

    /// As [`send_async`](Self::send_async), for bytes.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send_async`](Self::send_async).
    pub async fn send_bytes_async(&self, bytes: &[u8]) -> Result<(), PipeError> {
        self.end()?.send_async(&Outgoing::new(bytes, &[])?).await
    }

    /// Waits for a message and gives its bytes.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), but nothing is decoded.
    pub fn recv_bytes(&self) -> Result<Vec<u8>, PipeError> {
        Ok(self.end()?.receive(LONGEST_MESSAGE, None)?.bytes)
    }

    /// As [`recv_bytes`](Self::recv_bytes), if the message has at most `max` bytes. After a
    /// longer one this handle and its clones receive nothing more, as in Python; the message
    /// itself is left to other processes that hold this end.
    ///
    /// # Errors
    /// [`PipeError::BadLength`] for a longer one, and as [`recv_bytes`](Self::recv_bytes).
    pub fn recv_bytes_max(&self, max: usize) -> Result<Vec<u8>, PipeError> {
        Ok(self.end()?.receive(max as u64, None)?.bytes)
    }

    /// As [`recv_bytes_max`](Self::recv_bytes_max), at most `timeout` long; zero looks once.
    ///
    /// # Errors
    /// [`PipeError::Timeout`], and as [`recv_bytes_max`](Self::recv_bytes_max).
    pub fn recv_bytes_max_timeout(
        &self,
        max: usize,
        timeout: Duration,
    ) -> Result<Vec<u8>, PipeError> {
        Ok(self.end()?.receive(max as u64, after(timeout))?.bytes)
    }

    /// As [`recv_bytes_max`](Self::recv_bytes_max), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`recv_bytes_max`](Self::recv_bytes_max).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn recv_bytes_max_async(&self, max: usize) -> Result<Vec<u8>, PipeError> {
        Ok(self.end()?.receive_async(max as u64).await?.bytes)
    }

    /// As [`recv_bytes`](Self::recv_bytes), at most `timeout` long; zero looks once.
    ///
    /// # Errors
    /// [`PipeError::Timeout`], and as [`recv_bytes`](Self::recv_bytes).
    pub fn recv_bytes_timeout(&self, timeout: Duration) -> Result<Vec<u8>, PipeError> {
        Ok(self.end()?.receive(LONGEST_MESSAGE, after(timeout))?.bytes)
    }

    /// As [`recv_bytes`](Self::recv_bytes), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`recv_bytes`](Self::recv_bytes).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn recv_bytes_async(&self) -> Result<Vec<u8>, PipeError> {
        Ok(self.end()?.receive_async(LONGEST_MESSAGE).await?.bytes)
    }

    /// Receives a message's bytes into `buffer`, from its start, and says how many they are.
    ///
    /// # Errors
    /// [`PipeError::BufferTooShort`], which holds the whole message, and as
    /// [`recv_bytes`](Self::recv_bytes).
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, PipeError> {
        self.end()?.receive_into(buffer)
    }

    /// As [`recv_bytes_into`](Self::recv_bytes_into), at most `timeout` long; zero looks once.
    ///
    /// # Errors
    /// [`PipeError::Timeout`], and as [`recv_bytes_into`](Self::recv_bytes_into).
    pub fn recv_bytes_into_timeout(
        &self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, PipeError> {
        into(buffer, self.recv_bytes_timeout(timeout)?)
    }

    /// As [`recv_bytes_into`](Self::recv_bytes_into), without blocking the thread, on any
    /// executor.
    ///
    /// # Errors
    /// As [`recv_bytes_into`](Self::recv_bytes_into).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn recv_bytes_into_async(&self, buffer: &mut [u8]) -> Result<usize, PipeError> {
        into(buffer, self.recv_bytes_async().await?)
    }

    /// Whether there is something to receive, or the end. Does not wait.
    ///
    /// With several receivers at one end, another may be faster.
    ///
    /// # Errors
    /// [`PipeError::NotReadable`], [`PipeError::Closed`].
    pub fn poll(&self) -> Result<bool, PipeError> {
        self.poll_timeout(Duration::ZERO)
    }

    /// As [`poll`](Self::poll); waits for it at most `timeout`. For a wait without an end, see
    /// [`wait`](crate::wait()).
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn poll_timeout(&self, timeout: Duration) -> Result<bool, PipeError> {
        self.end()?.poll(after(timeout))
    }

    /// As [`poll_timeout`](Self::poll_timeout), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait.
    pub async fn poll_async(&self, timeout: Duration) -> Result<bool, PipeError> {
        self.end()?.poll_async(timeout).await
    }

    /// Whether this end can receive.
    pub fn is_readable(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.rights().read)
    }

    /// Whether this end can send.
    pub fn is_writable(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.rights().write)
    }

    /// The number of its descriptor. Whoever reads or writes there by other means meets raw
    /// bytes, and is outside of what is said about whole messages.
    ///
    /// Asking for it costs: small messages are taken off the descriptor together, behind their
    /// receipt, but never any more once it has been given out, here or by [`AsFd`] (and so by
    /// [`wait`](crate::wait())).
    ///
    /// # Errors
    /// [`PipeError::Closed`].
    pub fn fileno(&self) -> Result<RawFd, PipeError> {
        Ok(self.end()?.as_fd().as_raw_fd())
    }

    /// Closes this handle; closing twice is no error. The descriptor is closed with the last
    /// of its clones, as when they are dropped.
    pub fn close(&mut self) {
        self.end = None;
    }

    /// Whether this handle has been closed.
    pub fn is_closed(&self) -> bool {
        self.end.is_none()
    }

    pub(crate) fn end(&self) -> Result<&Arc<End>, PipeError> {
        self.end.as_ref().ok_or(PipeError::Closed)
    }
}

/// # Panics
/// When the handle is closed.
impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.end() {
            Ok(end) => end.as_fd(),
            Err(error) => panic!("{error}"),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("Connection");
        match &self.end {
            Some(end) => tuple.field(&end.number()),
            None => tuple.field(&format_args!("closed")),
        };
        tuple.finish()
    }
}

impl Serialize for Connection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let end = self.end().map_err(serde::ser::Error::custom)?;
        (end.as_ref(), self.wire).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Connection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (end, wire) = Deserialize::deserialize(deserializer)?;
        Ok(Self { wire, ..Self::new(end) })
    }
}

/// Copies a message into `buffer`, or gives it back when it does not fit.
fn into(buffer: &mut [u8], message: Vec<u8>) -> Result<usize, PipeError> {
    match buffer.get_mut(..message.len()) {
        Some(part) => {
            part.copy_from_slice(&message);
            Ok(message.len())
        }
        None => Err(PipeError::BufferTooShort(message)),
    }
}
