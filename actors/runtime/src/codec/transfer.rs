//! What travels beside a value's bytes: descriptors, and handles that name them.
//!
//! Owns the *transfer*: while a value is being encoded for (or decoded from) another
//! process, a thread-local table holds its attachments, and handles register in it. It must
//! never look at the bytes. Neighbour: `codec` opens a transfer around each value.

use super::EncodeError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

pub use crate::sys::socket::MAX_FDS;

/// Says why a handle could not be serialised.
pub const OUTSIDE_TRANSFER: &str = "OutsideTransfer: a handle travels only as an argument, in a \
     message, on a queue or in a pipe of this process tree; share it through a Manager elsewhere";
/// A descriptor that travels: as an argument, in a message, on a link.
///
/// Encoding duplicates it, so the sender keeps its own.
#[derive(Debug)]
pub struct Fd(pub OwnedFd);

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Fd> for OwnedFd {
    fn from(fd: Fd) -> Self {
        fd.0
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Serialize for Fd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Lent(self.0.as_fd()).serialize(serializer)
    }
}

/// A descriptor of a handle that travels: what arrives is an [`Fd`].
pub(crate) struct Lent<'a>(pub(crate) BorrowedFd<'a>);

impl Serialize for Lent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let copy = self.0.try_clone_to_owned().map_err(serde::ser::Error::custom)?;
        attach(copy)
            .ok_or_else(|| serde::ser::Error::custom(OUTSIDE_TRANSFER))?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u16::deserialize(deserializer)?;
        detach(index)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("no such descriptor in this transfer"))
    }
}

/// Whether this thread is encoding or decoding for another process right now. Handles
/// ask before they serialise.
pub fn in_transfer() -> bool {
    OPEN.get() != Open::Nothing
}

/// Something that several parts of one value have in common, and that takes one
/// descriptor beside it. Dropped when the value cannot be encoded.
pub(crate) trait Parcel: Any {
    /// The value is encoded: makes the descriptor. Runs outside the transfer.
    fn seal(self: Box<Self>) -> io::Result<OwnedFd>;
}

/// Adds to the parcel of this transfer that has this key, or begins it. Gives its index
/// among the descriptors; `None` outside an encoding.
pub(crate) fn pack<P: Parcel>(
    key: u128,
    begin: impl FnOnce() -> P,
    add: impl FnOnce(&mut P),
) -> Option<u16> {
    in_current(|transfer| {
        let Transfer::Encoding(attachments) = transfer else { return None };
        let known = |one: &Outgoing| matches!(one, Outgoing::Parcel(known, _) if *known == key);
        let at = attachments.iter().position(known).unwrap_or_else(|| {
            attachments.push(Outgoing::Parcel(key, Box::new(begin())));
            attachments.len() - 1
        });
        if let Some(Outgoing::Parcel(_, parcel)) = attachments.get_mut(at) {
            let parcel: &mut dyn Any = parcel.as_mut();
            add(parcel.downcast_mut()?);
        }
        u16::try_from(at).ok()
    })
}

/// What the descriptor of this index was opened as; the first who asks opens it, for all
/// parts of the value. `None` outside a decoding, and when there is no such descriptor.
pub(crate) fn unpack<P: Any + Send + Sync>(
    index: u16,
    open: impl FnOnce(OwnedFd) -> P,
) -> Option<Arc<P>> {
    in_current(|transfer| {
        let Transfer::Decoding(attachments) = transfer else { return None };
        let place = attachments.get_mut(usize::from(index))?;
        let opened: Arc<dyn Any + Send + Sync> = match std::mem::replace(place, Incoming::Taken) {
            Incoming::Fd(fd) => Arc::new(open(fd)),
            Incoming::Opened(opened) => opened,
            Incoming::Taken => return None,
        };
        *place = Incoming::Opened(opened.clone());
        opened.downcast().ok()
    })
}

enum Transfer {
    Encoding(Vec<Outgoing>),
    Decoding(Vec<Incoming>),
}

pub(super) enum Outgoing {
    Fd(OwnedFd),
    Parcel(u128, Box<dyn Parcel>),
}

pub(super) enum Incoming {
    Fd(OwnedFd),
    Opened(Arc<dyn Any + Send + Sync>),
    Taken,
}

/// The transfer that is open on a thread. Most have no attachment, and are no more than
/// this word; the first that is asked for puts them on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Encoding,
    Decoding,
    /// The uppermost of the stack.
    Stacked,
}

thread_local! {
    static OPEN: Cell<Open> = const { Cell::new(Open::Nothing) };
    /// A stack, since a `Serialize` may itself encode something for another process.
    static STACK: RefCell<Vec<Transfer>> = const { RefCell::new(Vec::new()) };
}

/// Does something with the attachments of the transfer that is open, if there is one.
fn in_current<T>(with: impl FnOnce(&mut Transfer) -> Option<T>) -> Option<T> {
    STACK.with_borrow_mut(|stack| {
        match OPEN.get() {
            Open::Nothing => return None,
            Open::Encoding => stack.push(Transfer::Encoding(Vec::new())),
            Open::Decoding => stack.push(Transfer::Decoding(Vec::new())),
            Open::Stacked => {}
        }
        OPEN.set(Open::Stacked);
        with(stack.last_mut()?)
    })
}

fn attach(fd: OwnedFd) -> Option<u16> {
    in_current(|transfer| match transfer {
        Transfer::Encoding(attachments) => {
            attachments.push(Outgoing::Fd(fd));
            u16::try_from(attachments.len() - 1).ok()
        }
        Transfer::Decoding(_) => None,
    })
}

fn detach(index: u16) -> Option<OwnedFd> {
    in_current(|transfer| {
        let Transfer::Decoding(attachments) = transfer else { return None };
        let place = attachments.get_mut(usize::from(index))?;
        match std::mem::replace(place, Incoming::Taken) {
            Incoming::Fd(fd) => Some(fd),
            other => {
                *place = other;
                None
            }
        }
    })
}

/// Makes descriptors of what goes along with a message.
#[inline]
pub(super) fn seal(attachments: Vec<Outgoing>) -> Result<Vec<OwnedFd>, EncodeError> {
    if attachments.is_empty() { Ok(Vec::new()) } else { seal_some(attachments) }
}

fn seal_some(attachments: Vec<Outgoing>) -> Result<Vec<OwnedFd>, EncodeError> {
    let failed = |why| EncodeError { type_name: "message".into(), why };
    if attachments.len() > MAX_FDS {
        return Err(failed(format!("{} descriptors, at most {MAX_FDS} fit", attachments.len())));
    }
    let seal = |attachment| match attachment {
        Outgoing::Fd(fd) => Ok(fd),
        Outgoing::Parcel(_, parcel) => parcel.seal(),
    };
    // The error drops those that were sealed before.
    let fds: Result<_, _> = attachments.into_iter().map(seal).collect();
    fds.map_err(|error: io::Error| failed(format!("a handle cannot go along: {error}")))
}

/// A transfer that is open. It is left when this is dropped, also when a `Serialize` panics.
pub(super) struct Scope {
    /// What was open before.
    outer: Open,
}

impl Scope {
    #[inline]
    pub(super) fn encode(attachments: Vec<Outgoing>) -> Self {
        if attachments.is_empty() {
            return Self { outer: OPEN.replace(Open::Encoding) };
        }
        Self::stack(Transfer::Encoding(attachments))
    }

    #[inline]
    pub(super) fn decode(attachments: Vec<Incoming>) -> Self {
        if attachments.is_empty() {
            return Self { outer: OPEN.replace(Open::Decoding) };
        }
        Self::stack(Transfer::Decoding(attachments))
    }

    #[cold]
    fn stack(transfer: Transfer) -> Self {
        STACK.with_borrow_mut(|stack| stack.push(transfer));
        Self { outer: OPEN.replace(Open::Stacked) }
    }

    /// Leaves it. Gives its attachments, if it has any.
    #[inline]
    fn leave(self) -> Option<Transfer> {
        let taken = (OPEN.get() == Open::Stacked).then(|| STACK.with_borrow_mut(Vec::pop));
        OPEN.set(self.outer);
        std::mem::forget(self);
        taken.flatten()
    }

    /// As [`leave`](Self::leave), of an encoding.
    #[inline]
    pub(super) fn outgoing(self) -> Option<Vec<Outgoing>> {
        match self.leave() {
            Some(Transfer::Encoding(attachments)) => Some(attachments),
            _ => None,
        }
    }

    /// As [`leave`](Self::leave), of a decoding.
    #[inline]
    pub(super) fn incoming(self) -> Option<Vec<Incoming>> {
        match self.leave() {
            Some(Transfer::Decoding(attachments)) => Some(attachments),
            _ => None,
        }
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        if OPEN.replace(self.outer) == Open::Stacked {
            STACK.with_borrow_mut(Vec::pop);
        }
    }
}
