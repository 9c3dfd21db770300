//! A value as a server keeps it: its bytes, and what stands beside them.
//!
//! Owns the encoding of values for a server. A value has one of two forms. *Plain* is what
//! means the same to every reader: a [`Dynamic`], or one number, text or the like; Python
//! programs see it, and it is read into any type that it fits. All others are *native*: the
//! bytes of their type, which only its readers understand. A proxy within a native value, if
//! it is one of the same server's, stands beside the bytes: so the server holds the object
//! for as long as it keeps the value, and gives every reader a reference of its own. Two
//! native values are equal when their bytes are, and their proxies are for the same objects;
//! two plain ones when Python's `==` says so. It must never decode a native value for the
//! server's own use. Neighbour: `plain`, how the one form is kept and travels.

use super::far;
use super::plain::{Bytes, Plain};
use super::proxy::Proxy;
use crate::codec::{self, DecodeError, EncodeError, Fd};
use procession_protocols::dynamic::{Dynamic, NotPlain};
use procession_protocols::id::NodeId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::type_name;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An encoded value.
#[derive(Debug, Clone, Deserialize)]
pub struct Stored {
    form: Form,
    beside: Company,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Form {
    Native(Bytes),
    Plain(Plain),
    /// What an actor's caller is answered, which only he reads.
    Message(Bytes),
}

/// What stands beside a value, if anything does; clones of the value share it.
#[derive(Debug, Clone)]
struct Company(Option<Arc<Beside>>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Beside {
    /// Proxies of objects of the same server, by their places in the bytes.
    held: Vec<Proxy>,
    /// Descriptors, and the tickets of other handles.
    fds: Vec<Fd>,
    /// What the server holds for as long as it keeps the value.
    #[serde(skip)]
    keeps: Vec<Keep>,
}

/// Something that is held until it is dropped.
pub(super) type Keep = Box<dyn fmt::Debug + Send + Sync>;

impl Stored {
    /// Encodes a value for the server that has this identity.
    ///
    /// # Errors
    /// What its `Serialize` says.
    pub fn encode<T: Serialize + ?Sized>(value: &T, server: NodeId) -> Result<Self, EncodeError> {
        if let Some(plain) = Dynamic::as_it_stands(value) {
            return Ok(Self::plain(plain, Vec::new()));
        }
        let scope = Scope::enter(Transfer::Keeping { server, held: Vec::new() });
        let encoded = codec::encode(value)?;
        let held = match scope.leave() {
            Transfer::Keeping { held, .. } => held,
            Transfer::Giving(_) => unreachable!("a transfer does not change its direction"),
        };
        let fds: Vec<_> = encoded.fds.into_iter().map(Fd).collect();
        let is_alone = held.is_empty() && fds.is_empty();
        let beside = (!is_alone).then(|| Arc::new(Beside { held, fds, keeps: Vec::new() }));
        Ok(Self { form: Form::Native(Bytes(encoded.bytes.into())), beside: Company(beside) })
    }

    /// Encodes a value for the same server as plain data, whatever it is. One that has proxies
    /// in it is a native value all the same: they mean nothing to who reads plain data.
    ///
    /// # Errors
    /// What its `Serialize` says; it is made of what no plain data is.
    pub(super) fn encode_plain<T: Serialize + ?Sized>(
        value: &T,
        server: NodeId,
    ) -> Result<Self, EncodeError> {
        let scope = Scope::enter(Transfer::Keeping { server, held: Vec::new() });
        let plain = Dynamic::of(value);
        match (scope.leave(), plain) {
            (Transfer::Keeping { held, .. }, _) if !held.is_empty() => Self::encode(value, server),
            (_, Ok(plain)) => Ok(Self::plain(plain, Vec::new())),
            (_, Err(why)) => {
                Err(EncodeError { type_name: type_name::<T>().into(), why: why.to_string() })
            }
        }
    }

    /// Encodes what is for an actor's caller alone.
    ///
    /// # Errors
    /// What its `Serialize` says.
    pub(super) fn message<T: Serialize>(value: &T) -> Result<Self, EncodeError> {
        let bytes = Bytes(codec::encode(value)?.bytes.into());
        Ok(Self { form: Form::Message(bytes), beside: Company(None) })
    }

    /// Plain data, and what is to be held for as long as it is kept.
    pub(super) fn plain(value: Dynamic, keeps: Vec<Keep>) -> Self {
        let beside = Beside { keeps, ..Beside::default() };
        let beside = (!beside.keeps.is_empty()).then(|| Arc::new(beside));
        Self { form: Form::Plain(value.into()), beside: Company(beside) }
    }

    /// The plain data that it is; `None` of a native value.
    pub(super) fn as_plain(&self) -> Option<Cow<'_, Dynamic>> {
        match &self.form {
            Form::Plain(plain) => Some(plain.value()),
            Form::Native(_) | Form::Message(_) => None,
        }
    }

    /// The proxies that stand beside it.
    pub(super) fn proxies(&self) -> &[Proxy] {
        self.beside.0.as_deref().map_or(&[], |beside| &beside.held)
    }

    /// Decodes it, whoever made it: perhaps a program outside the tree.
    ///
    /// # Errors
    /// What `Deserialize` says; a descriptor that cannot be duplicated.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let bytes = match &self.form {
            Form::Native(Bytes(bytes)) | Form::Message(Bytes(bytes)) => bytes,
            Form::Plain(plain) => {
                let fail = |why: NotPlain| DecodeError {
                    type_name: type_name::<T>().into(),
                    why: why.to_string(),
                };
                return plain.value().into_owned().to().map_err(fail);
            }
        };
        let Some(beside) = &self.beside.0 else {
            return codec::bounded(|| codec::decode(bytes, Vec::new()));
        };
        let fds: Result<Vec<OwnedFd>, _> = beside.fds.iter().map(|fd| fd.0.try_clone()).collect();
        let fds = fds.map_err(|error| DecodeError {
            type_name: type_name::<T>().into(),
            why: error.to_string(),
        })?;
        let _scope = Scope::enter(Transfer::Giving(beside.clone()));
        codec::bounded(|| codec::decode(bytes, fds))
    }

    fn held(&self) -> impl Iterator<Item = u64> {
        self.proxies().iter().map(Proxy::object)
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.form == other.form && self.held().eq(other.held())
    }
}

impl Eq for Stored {}

impl Hash for Stored {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.form.hash(state);
    }
}

/// Why a value does not go as JSON.
const NATIVE: &str = "the value is of a type that only its own tree reads: a manager's values \
     for JSON are numbers, texts, and what is kept as `Dynamic` or `PlainData`";

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if matches!(self.form, Form::Native(_)) && self.proxies().is_empty() && far::speaks_json() {
            return Err(serde::ser::Error::custom(NATIVE));
        }
        (&self.form, &self.beside).serialize(serializer)
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
