//! Writing on, of what a link found no room for, when nobody else would.
//!
//! Owns a task of the hidden thread for each link that keeps something after its writer has
//! gone on: a message that went out in part, or was posted. Without it the rest would wait for
//! the next message to the same place, which may never come. It must never wait in the caller,
//! and never hold a link whose other end has gone. Neighbours: `crate::link` keeps and writes,
//! `crate::mail`, `crate::peer` and `super::routes` send.

use super::hidden;
use crate::link::{Link, LinkCopy};
use crate::sys::watch::{Held, Watched};
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::io::Interest;

/// Has the hidden thread write what `link` of `owner` keeps, if it keeps something and nobody
/// does so yet.
pub(crate) fn finish<T: Send + Sync + 'static>(owner: &Arc<T>, link: fn(&T) -> &Link) {
    if !link(owner).begin_writing_on() {
        return;
    }
    let handle = match hidden::handle() {
        Ok(handle) => handle,
        Err(error) => {
            // The next message finds out whether there is one by then.
            link(owner).leave_writing_on();
            tracing::warn!(target: "procession", %error, "a message waits for the next one");
            return;
        }
    };
    let owner = owner.clone();
    handle.spawn(async move {
        // By a descriptor of its own: the link may be watched elsewhere too.
        let copy = link(&owner).copy();
        let held = copy.map(|copy| Held::new(&Arc::new(copy), LinkCopy::as_fd));
        let room = Watched::new(held, Interest::WRITABLE);
        while !link(&owner).write_on() {
            room.writable().await;
        }
    });
}
