//! The zygote that keeps this process's list of names of shared memory.
//!
//! Owns which zygote that is: the one that makes workers, or one that was replaced and
//! stays until its successor has the list. Everything here runs on the launcher thread, which
//! starts zygotes too, so that no list is handed over twice. Neighbours: `super::super::names`
//! is the list, `server` carries the words.

use super::server::Zygote;
use super::{ATTEMPTS, Home, Kind, State, ZYGOTE, put};
use crate::launcher::names::{self, FileId, Word};
use crate::launcher::{StartError, thread};
use crate::node;
use crate::sync::lock;
use crate::sys::memory;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A zygote that starts nothing any more, but has the list of names until another has it.
pub(super) static KEEPER: Home = Mutex::new(None);

/// How many zygotes that died with names are replaced without being asked for.
const MAX_REVIVALS: u32 = 16;

static REVIVALS: AtomicU32 = AtomicU32::new(0);

/// Has `give` give a file its name, which a zygote unlinks, if it is this file's, once this
/// process has ended: that is certain before. Waits for a zygote to start when there is none.
///
/// # Errors
/// When no zygote is to be had; within, what `give` says, and `EEXIST` when the name is
/// taken. It is on no list then.
pub(crate) fn give_kept_name<T: Send + 'static>(
    name: String,
    id: FileId,
    give: impl FnOnce(&str) -> io::Result<T> + Send + 'static,
) -> io::Result<io::Result<T>> {
    thread::run(move || {
        // All names that are kept are given on this thread. So whatever file the name stands
        // for on the list has lost it, or the name would be there.
        if memory::id_of_name(&name).is_ok() {
            return Ok(Err(io::Error::from_raw_os_error(libc::EEXIST)));
        }
        tell(Word::Keep(&name, id), true)?;
        names::with_own(|names| names.insert(name.clone(), id));
        let given = give(&name);
        if given.is_err() {
            // On a list it does no harm: a file that has no name loses none.
            let _ = forget(&name, id);
        }
        Ok(given)
    })
}

/// Takes a name off the list. Returns when the zygote has done so.
///
/// # Errors
/// When the launcher thread or a zygote is not to be had.
pub(crate) fn forget_name(name: String, id: FileId) -> io::Result<()> {
    thread::run(move || forget(&name, id))
}

/// As [`forget_name`], and does not wait: it happens before this process ends in good
/// order, and before any name is put on the list.
pub(crate) fn forget_name_soon(name: String, id: FileId) {
    // Without a launcher thread no name was kept either. On a list it does no harm: a file
    // that has no name loses none.
    let _ = thread::submit(Box::new(move || drop(forget(&name, id))));
}

fn forget(name: &str, id: FileId) -> io::Result<()> {
    let (was_known, has_others) =
        names::with_own(|names| (names::forget(names, name, id), !names.is_empty()));
    if was_known { tell(Word::Forget(name, id), has_others) } else { Ok(()) }
}

/// Tells the zygote that has the list. When there is none, it starts one if it may.
fn tell(word: Word<'_>, may_start: bool) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        let zygote = match any() {
            Some(zygote) => zygote,
            None if may_start => start_for_names().map_err(io::Error::other)?,
            None => return Ok(()),
        };
        if zygote.tell(word)? {
            return Ok(());
        }
    }
    Err(io::Error::other("the fork server does not answer"))
}

/// A zygote has ended. If it had names, another one has to have them at once: this process
/// may be the next to be killed.
pub(super) fn ended() {
    let revive = || {
        let is_over = node::current().is_ending();
        if is_over || names::with_own(|names| names.is_empty()) || any().is_some() {
            return;
        }
        // One that cannot live here is not started for ever; at the next name it is tried again.
        while REVIVALS.fetch_add(1, Ordering::Relaxed) < MAX_REVIVALS {
            match start_for_names() {
                Ok(_) => return,
                // It was killed before it was ready: nobody else replaces that one.
                Err(StartError::Died { .. }) => {}
                Err(error) => {
                    tracing::warn!(target: "procession", %error,
                        "no fork server is to be had; names of shared memory may be left behind");
                    return;
                }
            }
        }
        tracing::warn!(target: "procession", MAX_REVIVALS,
            "fork servers die again and again; names of shared memory may be left behind");
    };
    // Without a launcher thread there were no names.
    let _ = thread::submit(Box::new(revive));
}

/// The zygote that has the list, of whatever kind.
fn any() -> Option<Arc<Zygote>> {
    for home in [&KEEPER, &ZYGOTE] {
        let slot = &mut *lock(home);
        match slot {
            Some((pid, _)) if *pid != std::process::id() => std::mem::forget(slot.take()),
            Some((_, State::Running(zygote))) if zygote.lives() => return Some(zygote.clone()),
            _ => {}
        }
    }
    None
}

/// One for the list of names, which needs nothing of what a user wants of workers: a preload,
/// which may run for long, would keep all others from the launcher thread.
fn start_for_names() -> Result<Arc<Zygote>, StartError> {
    let kind = Kind { preload: None, ..Kind::now()? };
    let started = Zygote::start(&kind).and_then(take_over);
    started.inspect(|zygote| put(State::Running(zygote.clone())))
}

/// Gives a zygote that has come up the list.
pub(super) fn take_over(zygote: Zygote) -> Result<Arc<Zygote>, StartError> {
    take_names_over(&zygote)?;
    Ok(Arc::new(zygote))
}

/// Lets go of a zygote that is not to make workers any more.
pub(super) fn retire(zygote: Arc<Zygote>) {
    if names::with_own(|names| names.is_empty()) {
        zygote.dismiss();
    } else {
        zygote.retire();
        *lock(&KEEPER) = Some((std::process::id(), State::Running(zygote)));
    }
}

/// Tells a fresh zygote all names, and then the one before it, which has them until then,
/// that they are no longer its own.
fn take_names_over(zygote: &Zygote) -> io::Result<()> {
    let names = names::with_own(|names| names.clone());
    let before = match &*lock(&KEEPER) {
        Some((pid, State::Running(before))) if *pid == std::process::id() => Some(before.clone()),
        _ => None,
    };
    if !names.is_empty() && before.is_none() {
        tracing::warn!(target: "procession", names = names.len(),
            "the fork server died unexpectedly; another one has the names of shared memory");
    }
    let words = names.iter().map(|(name, id)| Word::Keep(name, *id));
    tell_or_kill(words, |word| zygote.tell(word), || zygote.kill())?;
    let old = lock(&KEEPER).take();
    match before {
        Some(before) => {
            let _ = tell_or_kill([Word::ForgetAll], |word| before.tell(word), || before.kill());
            before.dismiss();
        }
        // Our parent's, from before a fork, perhaps.
        None => std::mem::forget(old),
    }
    Ok(())
}

/// Tells a zygote these words. One of which it is not certain that it has heard them all is
/// killed: at an end of its own it would unlink names whose maker lives.
fn tell_or_kill<'a>(
    words: impl IntoIterator<Item = Word<'a>>,
    mut tell: impl FnMut(Word<'a>) -> io::Result<bool>,
    kill: impl FnOnce(),
) -> io::Result<()> {
    let mut hears = |word| match tell(word) {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::ErrorKind::ConnectionReset.into()),
        Err(error) => Err(error),
    };
    words.into_iter().try_for_each(&mut hears).inspect_err(|_| kill())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zygote_that_may_not_have_heard_is_killed() {
        let words = [Word::Keep("one", (1, 1)), Word::Keep("two", (1, 2)), Word::ForgetAll];
        let run = |second: fn() -> io::Result<bool>| {
            let (mut heard, mut was_killed) = (0, false);
            let tell = |_: Word<'_>| {
                heard += 1;
                if heard == 2 { second() } else { Ok(true) }
            };
            let told = tell_or_kill(words, tell, || was_killed = true);
            (told.is_ok(), was_killed, heard)
        };
        assert_eq!(run(|| Ok(true)), (true, false, 3));
        assert_eq!(run(|| Ok(false)), (false, true, 2));
        assert_eq!(run(|| Err(io::ErrorKind::OutOfMemory.into())), (false, true, 2));
    }
}
