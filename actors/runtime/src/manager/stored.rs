//! A value as a server keeps it: its bytes, and what stands beside them.
//!
//! Owns the encoding of values for a server. A proxy within a value, if it is one of the
//! same server's, stands beside the bytes: so the server holds the object for as long as
//! it keeps the value, and gives every reader a reference of its own. Two values are equal
//! when their bytes are, and their proxies are for the same objects. It must never decode
//! for the server's own use.

use super::proxy::Proxy;
use crate::codec::{self, DecodeError, EncodeError, Fd};
use procession_protocols::id::NodeId;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::type_name;
use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An encoded value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stored {
    bytes: Bytes,
    beside: Company,
}

/// Bytes that serde carries as such.
#[derive(Debug, Clone)]
struct Bytes(Arc<[u8]>);

/// What stands beside a value, if anything does; clones of the value share it.
#[derive(Debug, Clone)]
struct Company(Option<Arc<Beside>>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Beside {
    /// Proxies of objects of the same server, by their places in the bytes.
    held: Vec<Proxy>,
    /// Descriptors, and the tickets of other handles.
    fds: Vec<Fd>,
}

impl Stored {
    /// Encodes a value for the server that has this identity.
    ///
    /// # Errors
    /// What its `Serialize` says.
    pub fn encode<T: Serialize + ?Sized>(value: &T, server: NodeId) -> Result<Self, EncodeError> {
        let scope = Scope::enter(Transfer::Keeping { server, held: Vec::new() });
        let encoded = codec::encode(value)?;
        let held = match scope.leave() {
            Transfer::Keeping { held, .. } => held,
            Transfer::Giving(_) => unreachable!("a transfer does not change its direction"),
        };
        let fds: Vec<_> = encoded.fds.into_iter().map(Fd).collect();
        let is_alone = held.is_empty() && fds.is_empty();
        let beside = (!is_alone).then(|| Arc::new(Beside { held, fds }));
        Ok(Self { bytes: Bytes(encoded.bytes.into()), beside: Company(beside) })
    }

    /// Decodes it.
    ///
    /// # Errors
    /// What `Deserialize` says; a descriptor that cannot be duplicated.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let Some(beside) = &self.beside.0 else {
            return codec::decode(&self.bytes.0, Vec::new());
        };
        let fds: Result<Vec<OwnedFd>, _> = beside.fds.iter().map(|fd| fd.0.try_clone()).collect();
        let fds = fds.map_err(|error| DecodeError {
            type_name: type_name::<T>().into(),
            why: error.to_string(),
        })?;
        let _scope = Scope::enter(Transfer::Giving(beside.clone()));
        codec::decode(&self.bytes.0, fds)
    }

    fn held(&self) -> impl Iterator<Item = u64> {
        self.beside.0.iter().flat_map(|beside| &beside.held).map(Proxy::object)
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.0 == other.bytes.0 && self.held().eq(other.held())
    }
}

impl Eq for Stored {}

impl Hash for Stored {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.0.hash(state);
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taker;
        impl Visitor<'_> for Taker {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.into()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Taker)
    }
}

impl Serialize for Company {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_deref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Company {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Option::deserialize(deserializer)?.map(Arc::new)))
    }
}

/// A value under way to or from a server.
enum Transfer {
    Keeping { server: NodeId, held: Vec<Proxy> },
    Giving(Arc<Beside>),
}

thread_local! {
    /// A stack, since a `Serialize` may itself use a manager.
    static TRANSFER: RefCell<Vec<Transfer>> = const { RefCell::new(Vec::new()) };
}

/// Puts a proxy beside the value that is being encoded, if that goes to the proxy's own
/// server: its place there.
pub(super) fn put_beside(proxy: &Proxy) -> Option<u32> {
    TRANSFER.with_borrow_mut(|stack| match stack.last_mut()? {
        Transfer::Keeping { server, held } if proxy.server() == Some(*server) => {
            held.push(proxy.clone());
            u32::try_from(held.len() - 1).ok()
        }
        _ => None,
    })
}

/// The proxy that stands at this place beside the value that is being decoded.
pub(super) fn take_beside(place: u32) -> Option<Proxy> {
    TRANSFER.with_borrow(|stack| match stack.last()? {
        Transfer::Giving(beside) => beside.held.get(place as usize).cloned(),
        Transfer::Keeping { .. } => None,
    })
}

/// Leaves its transfer when dropped, also when a `Serialize` panics.
struct Scope(bool);

impl Scope {
    fn enter(transfer: Transfer) -> Self {
        TRANSFER.with_borrow_mut(|stack| stack.push(transfer));
        Self(true)
    }

    fn leave(mut self) -> Transfer {
        self.0 = false;
        TRANSFER
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| unreachable!("what was entered is there"))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if self.0 {
            let gone = TRANSFER.with_borrow_mut(Vec::pop);
            drop(gone);
        }
    }
}
