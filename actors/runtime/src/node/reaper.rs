//! The reaper: how the hidden thread hears of the children that no supervisor has.
//!
//! Owns the one set of descriptors of such children, and its serving. A child enters the
//! set by the thread that starts it, and is taken out of it by a thread that joins it
//! (`crate::child`), so that a start and its join need not wake the hidden thread at all.
//! It must never wait for one child while another has news. Neighbours: `super::tree`
//! watches the children of supervisors.

use super::{Node, hidden, tree};
use crate::child::{Child, News, Set};
use crate::down::Down;
use crate::sync::lock;
use crate::sys::watch::{Held, LOOK_PERIOD, watch};
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use tokio::io::Interest;

/// The set, and the process that it belongs to.
static SET: Mutex<Option<(u32, Arc<Set>)>> = Mutex::new(None);

/// Keeps a child that has been started, until it ends.
///
/// # Errors
/// The hidden thread could not be started.
pub fn adopt(node: &Node, child: &Arc<Child>) -> io::Result<()> {
    lock(&node.children).insert(child.number(), child.clone());
    tree::get_ready()?;
    if set().and_then(|set| child.enter(set)).is_err() {
        look_after(child.number());
    }
    // What came in one read with the word that it is ready is in the link already, where
    // no descriptor tells of it.
    listen(child)?;
    // Whoever reaped it before it was in the set did not know that it is kept.
    if let Some(down) = child.known_end() {
        forget(child.number(), &down);
    }
    Ok(())
}

/// Lets go of a child that has ended.
pub(crate) fn forget(number: u32, down: &Down) {
    if lock(&super::current().children).remove(&number).is_some() {
        tracing::debug!(target: "procession", name = down.name, pid = down.pid,
            reason = %down.reason, "process ended");
    }
}

/// Looks at a child again and again, for when there is no room to have it watched.
pub(crate) fn look_after(number: u32) {
    let Ok(hidden) = hidden::handle() else { return };
    hidden.spawn(async move {
        while let Some(child) = known(number) {
            child.drain_control();
            if child.reap().is_some() {
                return;
            }
            drop(child);
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    });
}

/// Has the hidden thread take what was left on the control link of a child that nobody joins
/// any more.
pub(crate) fn listen_later(number: u32) {
    if let Some(child) = known(number) {
        // A child that is known has a hidden thread.
        let _ = listen(&child);
    }
}

/// Has the hidden thread hear of the end of a worker that waits for its hello, by its
/// control link. Unwatched, it would be a zombie until the next start.
pub(crate) fn watch_spare(control: BorrowedFd<'_>) {
    let _ = set().and_then(|set| set.add_spare(control));
}

/// Undoes [`watch_spare`].
pub(crate) fn leave_spare(control: BorrowedFd<'_>) {
    if let Ok(set) = set() {
        set.remove_spare(control);
    }
}

/// Keeps the set still across a fork.
pub(super) fn hold_for_fork() -> impl Sized {
    lock(&SET)
}

fn known(number: u32) -> Option<Arc<Child>> {
    lock(&super::current().children).get(&number).cloned()
}

fn set() -> io::Result<Arc<Set>> {
    let slot = &mut *lock(&SET);
    let me = std::process::id();
    if let Some((pid, set)) = slot
        && *pid == me
    {
        return Ok(set.clone());
    }
    let set = Arc::new(Set::new()?);
    hidden::handle()?.spawn(serve(set.clone()));
    // The one before is a parent's, from before a fork.
    std::mem::forget(slot.replace((me, set.clone())));
    Ok(set)
}

async fn serve(set: Arc<Set>) {
    let watched = loop {
        match watch(Held::new(&set, Set::as_fd), Interest::READABLE) {
            Ok(watched) => break watched,
            Err(error) => {
                tracing::error!(target: "procession", %error, "children are not watched yet");
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        }
    };
    loop {
        let Ok(mut ready) = watched.readable().await else { return };
        match set.look() {
            Ok(news) if news.is_empty() => ready.clear_ready(),
            Ok(news) => news.into_iter().for_each(|(number, news)| heard(number, news)),
            Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
            Err(error) => {
                tracing::error!(target: "procession", %error, "children cannot be watched");
                return;
            }
        }
        // Others on this thread have their turn between two looks.
        tokio::task::yield_now().await;
    }
}

fn heard(number: u32, news: News) {
    if number == 0 {
        crate::launcher::spare_ended();
        return;
    }
    let Some(child) = known(number) else { return };
    match news {
        News::End => drop(child.reap()),
        // On the hidden thread there is one.
        News::Words => drop(listen(&child)),
    }
}

/// Takes a child's words, those of one turn now.
fn listen(child: &Arc<Child>) -> io::Result<()> {
    let hidden = hidden::handle()?;
    child.drain_control();
    if child.begin_hearing_out() {
        hidden.spawn(hear_out(child.clone()));
    }
    Ok(())
}

/// Takes what was left of a child's words, turn by turn.
async fn hear_out(child: Arc<Child>) {
    loop {
        child.turn().await;
        child.drain_control();
        let _ = child.reap();
        if child.ends_hearing_out() {
            return;
        }
    }
}
