//! Killing a process and everything below it.
//!
//! Owns the order: stop (SIGSTOP) whatever can be reached below the root, pass after
//! pass, until a pass that began when all were at rest finds nothing new; only then
//! SIGKILL, to all. Killing at once would lose the tree, since the children of a dead
//! process belong to another. Those that remove what the dead leave (`sys::memory::Cleaner`)
//! come last, and get a moment for it. It must never leave a process stopped: whatever got
//! the SIGSTOP gets the SIGKILL, on every way out. Below it: `snapshot` and `sys`.
//!
//! What it can't reach: a process that had left the tree before (its parent ended);
//! `contain()` and `adoption` are for those.

use super::snapshot::{ProcId, Snapshot, is_gone, open_verified, start_time, thread_states};
use crate::sync::{after, readable};
use crate::sys::memory;
use crate::sys::process::{pidfd_send_signal, signal_thread};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The most looks at the tree. A pass that finds nothing new takes [`PAUSE`] longer, so
/// that this bounds the time as well: about half a second and the looks themselves.
const MAX_PASSES: u32 = 400;
/// How long to wait for a stop to arrive.
const PAUSE: Duration = Duration::from_millis(1);
/// Passes without news after which a process that sleeps in the kernel counts as at
/// rest, and others have their threads stopped one by one. The parent of a vfork sleeps so
/// until its child, stopped by us, would exec; and when it is the thread that the kernel
/// chose to be told of the stop, the others go on.
const PATIENCE: u32 = 20;

/// How long those may take that clean up after the dead. They need a hundredth of it.
const CLEANING_TIME: Duration = Duration::from_millis(200);

/// What [`kill_tree`] did.
#[derive(Debug, Default)]
pub struct TreeKill {
    /// Who was sent SIGKILL, the root first if it was alive. Empty: all was dead already.
    pub killed: Vec<ProcId>,
    /// Who could not be signalled (another user's, mostly), and why.
    pub refused: Vec<(ProcId, io::Error)>,
    /// Whether the last pass saw everything at rest. If not, something may have escaped.
    pub settled: bool,
}

/// Kills the process `pid` and all below it; with `start`, only if it is the process
/// that started then. Calling it again, or for a dead process, is no error and does
/// nothing. The ends are reaped by the parents, as always.
///
/// # Errors
/// `InvalidInput` for a `pid` of 1 or less, or when the caller is part of that tree.
/// When /proc or descriptors give out midway, what had been stopped is killed, then the
/// error returned.
pub fn kill_tree(pid: i32, start: Option<u64>) -> io::Result<TreeKill> {
    if pid <= 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a process to kill"));
    }
    let snapshot = Snapshot::take()?;
    let own = std::process::id().cast_signed();
    if own == pid || snapshot.below(&[pid]).iter().any(|entry| entry.id.pid == own) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the caller is part of the tree to kill",
        ));
    }
    match snapshot.get(pid).map(|entry| entry.id) {
        Some(root) if start.is_none_or(|start| start == root.start) => kill_with(&Linux, root),
        _ => Ok(TreeKill { settled: true, ..TreeKill::default() }),
    }
}

/// How far a stop has come in all threads of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// All are stopped, or the process is dead.
    Full,
    /// Those that are not stopped sleep in the kernel and can't be interrupted.
    Asleep,
    /// At least one may still run.
    None,
}

/// The machine, as the algorithm needs it. The tests bring one of their own.
trait Machine {
    /// What holds on to a process; dropping it lets go.
    type Handle;
    fn snapshot(&self) -> io::Result<Snapshot>;
    fn open(&self, id: ProcId) -> io::Result<Self::Handle>;
    fn signal(&self, handle: &Self::Handle, signal: Signal) -> io::Result<()>;
    fn rest(&self, id: ProcId) -> io::Result<Rest>;
    /// Tells each thread that still moves to stop.
    fn stop_threads(&self, id: ProcId) -> io::Result<()>;
    fn pause(&self);
    /// Whether this one removes names that the dead leave.
    fn is_cleaner(&self, id: ProcId) -> bool;
    /// Waits until all of these have ended, [`CLEANING_TIME`] at most.
    fn await_ends(&self, handles: &[&Self::Handle]);
}

fn kill_with<M: Machine>(machine: &M, root: ProcId) -> io::Result<TreeKill> {
    let mut done = TreeKill::default();
    // The handles stay open until the end: what was stopped can then always be killed,
    // even when no descriptor is left for another look.
    let mut held = BTreeMap::new();
    let mut stopped = stop_all(machine, root, &mut held, &mut done);
    let cleaners: Vec<ProcId> =
        held.keys().filter(|id| machine.is_cleaner(**id)).copied().collect();
    kill_all(machine, &held, &mut done, |id| !cleaners.contains(id));
    if !cleaners.is_empty() {
        // An error says that it has ended, or is not ours to signal.
        let signal_each = |signal| {
            let _ = cleaners.iter().try_for_each(|id| machine.signal(&held[id], signal));
        };
        signal_each(Signal::SIGCONT);
        machine.await_ends(&cleaners.iter().map(|id| &held[id]).collect::<Vec<_>>());
        signal_each(Signal::SIGSTOP);
        // What claims to be one may be anything, and have started more.
        stopped = stopped.and(stop_all(machine, root, &mut held, &mut done));
        let killed = done.killed.clone();
        kill_all(machine, &held, &mut done, |id| !killed.contains(id));
    }
    done.killed.sort_by_key(|id| (*id != root, *id));
    stopped.map(|()| done)
}

fn kill_all<M: Machine>(
    machine: &M,
    held: &BTreeMap<ProcId, M::Handle>,
    done: &mut TreeKill,
    is_meant: impl Fn(&ProcId) -> bool,
) {
    for (id, handle) in held.iter().filter(|(id, _)| is_meant(id)) {
        match machine.signal(handle, Signal::SIGKILL) {
            Ok(()) => done.killed.push(*id),
            Err(error) if is_gone(&error) => {}
            Err(error) => done.refused.push((*id, error)),
        }
    }
}

/// Stops the root and all below it, and holds on to each.
fn stop_all<M: Machine>(
    machine: &M,
    root: ProcId,
    held: &mut BTreeMap<ProcId, M::Handle>,
    done: &mut TreeKill,
) -> io::Result<()> {
    let mut was_at_rest = false;
    let mut quiet_passes = 0;
    for _ in 0..MAX_PASSES {
        let snapshot = machine.snapshot()?;
        let mut news = false;
        for id in members(&snapshot, root, held) {
            if held.contains_key(&id) || done.refused.iter().any(|(refused, _)| *refused == id) {
                continue;
            }
            match stop(machine, id) {
                Ok(handle) => {
                    held.insert(id, handle);
                    news = true;
                }
                Err(error) if is_gone(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    done.refused.push((id, error));
                    news = true;
                }
                Err(error) => return Err(error),
            }
        }
        if news {
            was_at_rest = false;
            quiet_passes = 0;
            continue;
        }
        // Nothing new, and all were at rest before this look began: nobody can have
        // started a process that it missed. Rest seen only after the look is not
        // enough, since the fork may have come between the two.
        if was_at_rest {
            done.settled = true;
            return Ok(());
        }
        quiet_passes += 1;
        was_at_rest = at_rest(machine, held, quiet_passes >= PATIENCE)?;
        if !was_at_rest {
            machine.pause();
        }
    }
    Ok(())
}

/// The root and everything below it or below what is held, zombies left out.
fn members<H>(snapshot: &Snapshot, root: ProcId, held: &BTreeMap<ProcId, H>) -> Vec<ProcId> {
    let mut roots: Vec<i32> = held
        .keys()
        .chain(std::iter::once(&root))
        .filter(|id| snapshot.contains(**id))
        .map(|id| id.pid)
        .collect();
    roots.sort_unstable();
    roots.dedup();
    let own = roots.iter().filter_map(|pid| snapshot.get(*pid)).copied();
    own.chain(snapshot.below(&roots))
        .filter(|entry| !entry.is_zombie())
        .map(|entry| entry.id)
        .collect()
}

fn stop<M: Machine>(machine: &M, id: ProcId) -> io::Result<M::Handle> {
    let handle = machine.open(id)?;
    machine.signal(&handle, Signal::SIGSTOP)?;
    Ok(handle)
}

fn at_rest<M: Machine>(
    machine: &M,
    held: &BTreeMap<ProcId, M::Handle>,
    is_patience_over: bool,
) -> io::Result<bool> {
    let mut all = true;
    for id in held.keys() {
        match machine.rest(*id)? {
            Rest::Full => {}
            Rest::Asleep if is_patience_over => {}
            Rest::None if is_patience_over => {
                machine.stop_threads(*id)?;
                all = false;
            }
            Rest::Asleep | Rest::None => return Ok(false),
        }
    }
    Ok(all)
}

/// The real machine.
struct Linux;

impl Machine for Linux {
    type Handle = OwnedFd;

    fn snapshot(&self) -> io::Result<Snapshot> {
        Snapshot::take()
    }

    fn open(&self, id: ProcId) -> io::Result<OwnedFd> {
        open_verified(id)
    }

    fn signal(&self, pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
        pidfd_send_signal(pidfd.as_fd(), signal)
    }

    fn rest(&self, id: ProcId) -> io::Result<Rest> {
        let moving = moving_threads(id)?;
        Ok(if moving.is_empty() {
            Rest::Full
        } else if moving.iter().all(|(_, state)| *state == b'D') {
            Rest::Asleep
        } else {
            Rest::None
        })
    }

    fn stop_threads(&self, id: ProcId) -> io::Result<()> {
        for (thread, _) in moving_threads(id)? {
            // Whoever had its number before it was looked at is not meant.
            if start_time(id.pid)? != Some(id.start) {
                break;
            }
            match signal_thread(id.pid, thread, Signal::SIGSTOP) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn pause(&self) {
        std::thread::sleep(PAUSE);
    }

    fn is_cleaner(&self, id: ProcId) -> bool {
        memory::is_cleaner(id.pid)
    }

    fn await_ends(&self, handles: &[&OwnedFd]) {
        let deadline = after(CLEANING_TIME);
        for handle in handles {
            let _ = readable(handle.as_fd(), deadline);
        }
    }
}

/// The threads that are not stopped, with their states; none when the process is gone.
fn moving_threads(id: ProcId) -> io::Result<Vec<(i32, u8)>> {
    let mut threads = match thread_states(id.pid) {
        Err(error) if is_gone(&error) => Vec::new(),
        threads => threads?,
    };
    threads.retain(|(_, state)| !b"TtZXx".contains(state));
    Ok(threads)
}

#[cfg(test)]
mod tests;
