//! What the machine says: the processes below this one, descriptors, threads; and the
//! signalling of processes that this program started, by pidfd only.

use procession::active_children;
use procession_runtime::proc_tree::{ProcId, Snapshot, open_verified, start_time};
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::HashSet;
use std::fmt;
use std::fs::read_dir;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A broken promise, or a fault of the trial itself.
#[derive(Debug)]
pub(crate) struct Violation(pub(crate) String);

impl<E: std::error::Error> From<E> for Violation {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) type Check<T = ()> = Result<T, Violation>;

/// Fails with `what` unless `holds`.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Violation(what())) }
}

/// What happened in a trial.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) kills: u64,
    pub(crate) stops: u64,
    pub(crate) starts: u64,
    pub(crate) calls: u64,
    pub(crate) casts: u64,
    pub(crate) timeouts: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.stops += other.stops;
        self.starts += other.starts;
        self.calls += other.calls;
        self.casts += other.casts;
        self.timeouts += other.timeouts;
    }
}

/// A process below this one that cannot be confused with a later one.
pub(crate) struct Target(OwnedFd);

impl Target {
    /// The process with this number, which must not have been reaped.
    pub(crate) fn new(pid: u32) -> Check<Self> {
        let pid = pid.cast_signed();
        let start = start_time(pid)?.ok_or_else(|| Violation(format!("{pid} is not there")))?;
        Self::of(ProcId { pid, start })
    }

    pub(crate) fn of(id: ProcId) -> Check<Self> {
        Ok(Self(open_verified(id)?))
    }

    /// Sends a signal; false when the process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.0, signal).is_ok()
    }

    pub(crate) fn kill(&self, tally: &mut Tally) {
        tally.kills += u64::from(self.signal(Signal::KILL));
    }

    pub(crate) fn stop(&self, tally: &mut Tally) {
        tally.stops += u64::from(self.signal(Signal::STOP));
    }

    /// Waits for its end.
    pub(crate) fn ended(&self, limit: Duration) -> Check {
        let ended = !procession::wait(&[&self.0], limit)?.is_empty();
        ensure(ended, || format!("one that was killed lives after {limit:?}"))
    }
}

/// What this process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Footprint {
    pub(crate) fn now() -> Check<Self> {
        Ok(Self {
            // Not counting the one that reads the folder.
            descriptors: read_dir("/proc/self/fd")?.count() - 1,
            threads: read_dir("/proc/self/task")?.count(),
        })
    }
}

/// The memory of this process that is resident, in KiB.
pub(crate) fn resident() -> Check<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.ok_or_else(|| Violation("no VmRSS".into()))?.parse()?)
}

/// The processes below this one that the library does not list as its children.
pub(crate) fn unlisted() -> Check<Vec<ProcId>> {
    let me = std::process::id().cast_signed();
    let below = Snapshot::take()?.below(&[me]);
    let children = active_children();
    let listed: HashSet<_> =
        children.iter().filter_map(|child| Some(child.pid()?.cast_signed())).collect();
    let unlisted = below.iter().filter(|entry| !listed.contains(&entry.id.pid));
    Ok(unlisted.map(|entry| entry.id).collect())
}

/// The processes that lived below this one in a trial, and must not after it.
#[derive(Default)]
pub(crate) struct Seen(HashSet<ProcId>);

impl Seen {
    pub(crate) fn look(&mut self) -> Check {
        let me = std::process::id().cast_signed();
        self.0.extend(Snapshot::take()?.below(&[me]).iter().map(|entry| entry.id));
        Ok(())
    }

    /// After a trial: no child is listed, none is a zombie, and whatever was seen below
    /// this process has gone, but for so many helpers of the start method.
    pub(crate) fn all_gone(&self, helpers: usize) -> Check {
        let me = std::process::id().cast_signed();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let now = Snapshot::take()?;
            let below = now.below(&[me]);
            let zombies = below.iter().filter(|entry| entry.is_zombie()).count();
            // Orphans belong to another parent now, who may be slow to reap them.
            let orphans = self.0.iter().filter_map(|id| now.get(id.pid).filter(|e| e.id == *id));
            let orphans = orphans.filter(|entry| {
                !entry.is_zombie() && !below.iter().any(|child| child.id == entry.id)
            });
            let orphans: Vec<_> = orphans.map(|entry| entry.id.pid).collect();
            let listed = active_children();
            if zombies == 0 && orphans.is_empty() && listed.is_empty() && below.len() <= helpers {
                return Ok(());
            }
            if Instant::now() > deadline {
                let below: Vec<_> = below
                    .iter()
                    .map(|entry| format!("{}:{}", entry.id.pid, char::from(entry.state)))
                    .collect();
                return Err(Violation(format!(
                    "10 s after all had ended: {zombies} zombies, orphans {orphans:?}, \
                     listed {listed:?}, below this process {below:?}"
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
