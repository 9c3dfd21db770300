//! Where a listener listens.
//!
//! Owns the kinds of addresses and how a text reads as one. It must never look a name up or
//! touch a file: `socket` does. Neighbour: `error`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest path of a Unix socket, in bytes, without the 0 behind it: Linux's `sun_path`.
pub(super) const LONGEST_PATH: usize = 107;

/// What a host of no letters stands for.
const EVERY_INTERFACE: &str = "0.0.0.0";

/// An address of a listener.
///
/// A text reads as one thus: `host:port` and `[v6]:port` are TCP, what starts with a zero
/// byte is an abstract socket, everything else is the path of a Unix socket. A host of no
/// letters, as in `:5000`, is every interface of this machine (of IPv4), as in Python. Where a
/// name has addresses of both kinds, a listener takes one of IPv4, as Python does; who connects
/// tries all of them.
///
/// ```
/// use procession_runtime::listener::Address;
///
/// let tcp: Address = "127.0.0.1:5000".parse()?;
/// assert_eq!(tcp, Address::Tcp { host: "127.0.0.1".into(), port: 5000 });
/// assert_eq!("/tmp/socket".parse(), Ok(Address::Unix("/tmp/socket".into())));
/// assert!(r"\\.\pipe\name".parse::<Address>().is_err());
/// # Ok::<(), procession_runtime::listener::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Address {
    /// A host, by name or number, and a port; port 0 listens at a free one.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket in the file system.
    Unix(PathBuf),
    /// A Unix socket in Linux's own name space, where no file protects it.
    Abstract(Vec<u8>),
}

/// A text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Windows' named pipes are on Windows.
    #[error("{0:?} names a pipe of Windows, which this system has not")]
    WindowsPipe(String),
    /// The path of a Unix socket has a limit.
    #[error("the path of a Unix socket has at most {LONGEST_PATH} bytes, this one has {0}")]
    TooLong(usize),
    /// There is nothing.
    #[error("an empty text is no address")]
    Empty,
    /// A port is a number up to 65535.
    #[error("{0:?} is no port")]
    BadPort(String),
}

impl Address {
    fn tcp(host: &str, port: u16) -> Self {
        let host = if host.is_empty() { EVERY_INTERFACE } else { host };
        Self::Tcp { host: host.into(), port }
    }

    /// A path, if it is one that a socket can have.
    pub(super) fn check(&self) -> Result<(), AddressError> {
        let len = match self {
            Self::Tcp { .. } => return Ok(()),
            Self::Unix(path) => path.as_os_str().len(),
            Self::Abstract(name) => name.len(),
        };
        match len {
            0 => Err(AddressError::Empty),
            len if len > LONGEST_PATH => Err(AddressError::TooLong(len)),
            _ => Ok(()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.starts_with(r"\\") {
            return Err(AddressError::WindowsPipe(text.into()));
        }
        if let Some(name) = text.strip_prefix('\0') {
            return Ok(Self::Abstract(name.into()));
        }
        let address = match text.rsplit_once(':') {
            Some((host, port)) if !text.contains('/') => {
                let port = port.parse().map_err(|_| AddressError::BadPort(port.into()))?;
                let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                Self::tcp(bare.unwrap_or(host), port)
            }
            _ => Self::Unix(text.into()),
        };
        address.check()?;
        Ok(address)
    }
}

/// As it is parsed, but for abstract names, which are written with `@`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

/// What can be given as an address.
pub trait IntoAddress {
    /// The address.
    ///
    /// # Errors
    /// It is none.
    fn into_address(self) -> Result<Address, AddressError>;
}

impl IntoAddress for Address {
    fn into_address(self) -> Result<Address, AddressError> {
        self.check().map(|()| self)
    }
}

impl IntoAddress for &Address {
    fn into_address(self) -> Result<Address, AddressError> {
        self.clone().into_address()
    }
}

impl IntoAddress for &str {
    fn into_address(self) -> Result<Address, AddressError> {
        self.parse()
    }
}

impl IntoAddress for String {
    fn into_address(self) -> Result<Address, AddressError> {
        self.parse()
    }
}

impl IntoAddress for &Path {
    fn into_address(self) -> Result<Address, AddressError> {
        Address::Unix(self.into()).into_address()
    }
}

impl IntoAddress for PathBuf {
    fn into_address(self) -> Result<Address, AddressError> {
        Address::Unix(self).into_address()
    }
}

impl IntoAddress for (&str, u16) {
    fn into_address(self) -> Result<Address, AddressError> {
        Ok(Address::tcp(self.0, self.1))
    }
}

impl IntoAddress for SocketAddr {
    fn into_address(self) -> Result<Address, AddressError> {
        Ok(self.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_as_addresses() {
        let tcp = |host: &str, port| Address::Tcp { host: host.into(), port };
        assert_eq!("localhost:80".parse(), Ok(tcp("localhost", 80)));
        assert_eq!("[::1]:80".parse(), Ok(tcp("::1", 80)));
        assert_eq!(tcp("::1", 80).to_string(), "[::1]:80");
        assert_eq!(":80".parse(), Ok(tcp("0.0.0.0", 80)));
        assert_eq!(("", 80).into_address(), Ok(tcp("0.0.0.0", 80)));
        assert_eq!(":x".parse::<Address>(), Err(AddressError::BadPort("x".into())));
        assert_eq!("name".parse(), Ok(Address::Unix("name".into())));
        assert_eq!("/a:5/b".parse(), Ok(Address::Unix("/a:5/b".into())));
        assert_eq!("\0name".parse(), Ok(Address::Abstract(b"name".to_vec())));
        assert_eq!("host:99999".parse::<Address>(), Err(AddressError::BadPort("99999".into())));
        assert_eq!("".parse::<Address>(), Err(AddressError::Empty));
        let long = "/".repeat(108);
        assert_eq!(long.parse::<Address>(), Err(AddressError::TooLong(108)));
        assert!(matches!(r"\\.\test".parse::<Address>(), Err(AddressError::WindowsPipe(_))));
    }
}
