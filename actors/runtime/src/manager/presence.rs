//! Which objects a client has had, so that its death is known to all of them.
//!
//! Owns a list for each client, which `share` drops when the client's end is dealt with: an
//! object that the client had let go of, but whose lock it still held, is told by that.

use super::object::Object;
use crate::share::ClientId;
use crate::sync::lock;
use std::sync::{Mutex, Weak};

/// One client's objects.
#[derive(Default)]
pub(super) struct Presence(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    client: Option<ClientId>,
    objects: Vec<Weak<Object>>,
    /// When there are more, those that have ended are taken out.
    sweeps_at: usize,
}

impl Presence {
    /// The client uses this object.
    pub(super) fn enter(&self, client: ClientId, object: Weak<Object>) {
        let inner = &mut *lock(&self.0);
        inner.client = Some(client);
        inner.objects.push(object);
        if inner.objects.len() > inner.sweeps_at {
            inner.objects.retain(|object| object.strong_count() > 0);
            inner.sweeps_at = 2 * inner.objects.len() + 16;
        }
    }

    /// The client is gone: all its objects are told.
    pub(super) fn end(&self) {
        let Inner { client, objects, .. } = std::mem::take(&mut *lock(&self.0));
        let Some(client) = client else { return };
        for object in objects.iter().filter_map(Weak::upgrade) {
            object.gone(client);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.end();
    }
}
