//! Ends of a pipe that know what they carry.
//!
//! Owns the types; all that they do is their [`Connection`]'s.

use super::{Connection, PipeError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// The sending end of a pipe that carries `T`. See [`Pipe::typed`](super::Pipe::typed).
pub struct Sender<T> {
    connection: Connection,
    carries: PhantomData<fn(T)>,
}

/// The receiving end of a pipe that carries `T`. See [`Pipe::typed`](super::Pipe::typed).
pub struct Receiver<T> {
    connection: Connection,
    carries: PhantomData<fn() -> T>,
}

/// What was not sent, and why.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unsent<T> {
    /// What was to be sent.
    pub item: T,
    /// Why it was not.
    #[source]
    pub error: PipeError,
}

impl<T> From<Unsent<T>> for PipeError {
    fn from(unsent: Unsent<T>) -> Self {
        unsent.error
    }
}

impl<T> From<Unsent<T>> for crate::Error {
    fn from(unsent: Unsent<T>) -> Self {
        unsent.error.into()
    }
}

impl<T: Serialize> Sender<T> {
    /// Sends an item; waits while the pipe is full.
    ///
    /// # Errors
    /// As [`Connection::send`], with the item.
    pub fn send(&self, item: T) -> Result<(), Unsent<T>> {
        self.connection.send(&item).map_err(|error| Unsent { item, error })
    }

    /// As [`send`](Self::send), if it begins within `timeout`.
    ///
    /// # Errors
    /// As [`Connection::send_timeout`], with the item.
    pub fn send_timeout(&self, item: T, timeout: Duration) -> Result<(), Unsent<T>> {
        self.connection.send_timeout(&item, timeout).map_err(|error| Unsent { item, error })
    }

    /// As [`send`](Self::send), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`Connection::send_async`]; the item is dropped with the future.
    pub async fn send_async(&self, item: T) -> Result<(), Unsent<T>> {
        self.connection.send_async(&item).await.map_err(|error| Unsent { item, error })
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// Waits for an item.
    ///
    /// # Errors
    /// As [`Connection::recv`].
    pub fn recv(&self) -> Result<T, PipeError> {
        self.connection.recv()
    }

    /// As [`recv`](Self::recv), at most `timeout` long; zero looks once.
    ///
    /// # Errors
    /// As [`Connection::recv_timeout`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, PipeError> {
        self.connection.recv_timeout(timeout)
    }

    /// As [`recv`](Self::recv), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`Connection::recv`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn recv_async(&self) -> Result<T, PipeError> {
        self.connection.recv_async().await
    }

    /// The items until the other end is closed, waiting for each. A message that cannot be
    /// decoded is an error, and the next one follows; any other error is the last item.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self, is_over: false }
    }
}

impl<T> Sender<T> {
    /// The connection, which carries anything.
    pub fn into_connection(self) -> Connection {
        self.connection
    }
}

impl<T> Receiver<T> {
    /// Whether there is something to receive, or the end. Does not wait.
    ///
    /// # Errors
    /// As [`Connection::poll`].
    pub fn poll(&self) -> Result<bool, PipeError> {
        self.connection.poll()
    }

    /// The connection, which carries anything.
    pub fn into_connection(self) -> Connection {
        self.connection
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
    is_over: bool,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T, PipeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.receiver.recv();
        self.is_over = !matches!(next, Ok(_) | Err(PipeError::Decode(_)));
        match next {
            Err(PipeError::EndOfFile) => None,
            next => Some(next),
        }
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Receiver<T> {
    type Item = Result<T, PipeError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// What both ends have, whatever they carry.
macro_rules! end {
    ($end:ident) => {
        /// The connection may carry other things too: what is not of this type is an error
        /// where it is received.
        impl<T> From<Connection> for $end<T> {
            fn from(connection: Connection) -> Self {
                Self { connection, carries: PhantomData }
            }
        }

        impl<T> Clone for $end<T> {
            fn clone(&self) -> Self {
                Self::from(self.connection.clone())
            }
        }

        impl<T> fmt::Debug for $end<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($end)).field(&self.connection).finish()
            }
        }

        impl<T> AsFd for $end<T> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.connection.as_fd()
            }
        }

        impl<T> Serialize for $end<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.connection.serialize(serializer)
            }
        }

        impl<'de, T> Deserialize<'de> for $end<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Connection::deserialize(deserializer).map(Self::from)
            }
        }
    };
}

end!(Sender);
end!(Receiver);
