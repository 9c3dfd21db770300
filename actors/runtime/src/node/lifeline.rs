//! What keeps something here alive while references to it are in other processes.
//!
//! Owns the end of a pipe for each reference that has left. The other end travels with the
//! reference, is copied with it, and closes with its last copy, however its holder ends:
//! then what was kept is let go of. It must never read or write: that a pipe has ended is
//! all that it says. Neighbour: `routes` ties what leaves.

use super::hidden;
use crate::actor::remote::Lifeline;
use crate::sys::watch::{Held, watch};
use std::any::Any;
use std::io;
use std::sync::Arc;
use tokio::io::Interest;

/// Keeps something until all copies of the lifeline are gone.
///
/// # Errors
/// No descriptor is free, or no hidden thread is to be had.
pub(super) fn tie(kept: Arc<impl Any + Send + Sync + ?Sized>) -> io::Result<Lifeline> {
    let (ours, theirs) = io::pipe()?;
    let handle = hidden::handle()?;
    let ours = {
        let _inside = handle.enter();
        watch(Held::own(ours.into()), Interest::READABLE)?
    };
    handle.spawn(async move {
        // Nobody writes: what there is to read is the end.
        let _ = ours.readable().await;
        drop(kept);
    });
    Ok(Lifeline::Fd(Arc::new(theirs.into())))
}
