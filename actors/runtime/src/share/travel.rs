//! Handles in messages.
//!
//! Owns what a handle is on the wire, and the parcel: all handles of one owner in one
//! message share one ticket. It must never wait for an owner: encoding sends at most one
//! message, decoding none.

use super::connection::Owner;
use super::handle::{Handle, Inner, Place, Share};
use super::roads::{self, Ticket};
use super::{Kind, ShareError, host};
use crate::codec::{self, OUTSIDE_TRANSFER, Parcel};
use crate::node;
use procession_protocols::id::NodeId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A handle beside its ticket.
#[derive(Serialize, Deserialize)]
struct Wire {
    owner: NodeId,
    owner_name: String,
    object: u64,
    /// The ticket's index among the message's descriptors.
    ticket: u16,
}

impl<K: Kind> Serialize for Share<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (owner, owner_name) = match self.0.place() {
            Place::Here => {
                let node = node::current();
                (node.id, node.name())
            }
            Place::Away(owner) => (owner.id, owner.name.clone()),
            Place::Lost => return Err(serde::ser::Error::custom(ShareError::Forked)),
        };
        let handle: Arc<dyn Handle> = self.0.clone();
        let ticket = codec::pack(owner.0.as_u128(), Handles::default, |parcel: &mut Handles| {
            parcel.0.push(handle);
        });
        let ticket = ticket.ok_or_else(|| serde::ser::Error::custom(OUTSIDE_TRANSFER))?;
        Wire { owner, owner_name, object: self.object(), ticket }.serialize(serializer)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Share<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        receive(wire).map_err(serde::de::Error::custom)
    }
}

/// The handles of one owner in one message.
#[derive(Default)]
struct Handles(Vec<Arc<dyn Handle>>);

impl Parcel for Handles {
    fn seal(self: Box<Self>) -> io::Result<OwnedFd> {
        roads::issue(self.0).map_err(|error| match error {
            ShareError::Io(error) => error,
            other => io::Error::other(other),
        })
    }
}

fn receive<K: Kind>(wire: Wire) -> Result<Share<K>, String> {
    let Wire { owner, owner_name, object, ticket } = wire;
    let open = |fd| Ticket::new(Arc::new(Owner { id: owner, name: owner_name }), fd);
    let ticket = codec::unpack(ticket, open).ok_or("no ticket came with this handle")?;
    if ticket.owner.id != owner {
        return Err("the ticket is another owner's".into());
    }
    let handle = if owner == node::current().id {
        // It is counted before the ticket ends with this message.
        roads::find_or_enter((None, object), || returned::<K>(object))?
    } else {
        let handle = roads::find_or_enter((Some(owner), object), || {
            Ok(Arc::new(Inner::<K>::received(object, &ticket)))
        })?;
        handle.take_ticket(&ticket);
        handle
    };
    let found = handle.kind();
    let inner = (handle as Arc<dyn Any + Send + Sync>).downcast::<Inner<K>>();
    inner.map(Share).map_err(|_| ShareError::OtherKind { found: found.into() }.to_string())
}

/// A handle that came back to the owner.
fn returned<K: Kind>(object: u64) -> Result<Arc<dyn Handle>, String> {
    let held = host::hold(K::NAME, object).map_err(|error| error.to_string())?;
    let own = (held as Arc<dyn Any + Send + Sync>).downcast();
    let own = own.map_err(|_| format!("two kinds have the name {}", K::NAME))?;
    Ok(Arc::new(Inner::<K>::returned(object, own)))
}
