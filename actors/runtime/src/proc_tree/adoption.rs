//! Orphans that a containing process adopted: which they are, and reaping them.
//!
//! Owns the question "is this child of ours one that came by adoption?". It must never
//! reap a process that no snapshot has shown below us under another parent: what was
//! our child from the beginning belongs to whoever started it, this library's reaper or
//! the user's own `std::process`. Above it stands `contain()`, which makes the process a
//! subreaper and calls [`AdoptionWatch::sweep`] from time to time.
//!
//! ```text
//! seen below us, other parent ──(that parent ends)──> our child: adopted ──(zombie)──> reaped
//! seen first as our child: never ours to reap
//! ```
//!
//! An orphan that came and was adopted between two looks is therefore left as a zombie
//! until we end; the shorter the interval, the rarer it is.

use super::snapshot::{ProcId, Snapshot, is_gone, open_verified};
use crate::reap::{Ended, try_reap};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

/// Remembers who was below us under another parent, from one look to the next.
#[derive(Debug, Clone)]
pub struct AdoptionWatch {
    own: i32,
    elsewhere: BTreeSet<ProcId>,
    adopted: BTreeSet<ProcId>,
}

impl AdoptionWatch {
    /// A watch for the process `own`, which is the caller unless it is a test.
    pub fn new(own: i32) -> Self {
        Self { own, elsewhere: BTreeSet::new(), adopted: BTreeSet::new() }
    }

    /// Takes in one look and names the adopted orphans that are dead and to be reaped.
    /// Deciding only: no system call.
    pub fn observe(&mut self, snapshot: &Snapshot) -> Vec<ProcId> {
        self.elsewhere.retain(|id| snapshot.contains(*id));
        self.adopted.retain(|id| snapshot.contains(*id));
        let mut dead = Vec::new();
        for entry in snapshot.below(&[self.own]) {
            if entry.parent != self.own {
                self.elsewhere.insert(entry.id);
                continue;
            }
            if self.elsewhere.remove(&entry.id) {
                self.adopted.insert(entry.id);
            }
            if entry.is_zombie() && self.adopted.contains(&entry.id) {
                dead.push(entry.id);
            }
        }
        dead
    }

    /// The orphans that are ours now, dead or alive, as of the last look.
    pub fn adopted(&self) -> impl Iterator<Item = ProcId> + '_ {
        self.adopted.iter().copied()
    }

    /// Looks at /proc and reaps the adopted orphans that are dead.
    ///
    /// # Errors
    /// When /proc can't be read or descriptors give out before anything was reaped; what
    /// is left then waits for the next call.
    pub fn sweep(&mut self) -> io::Result<Vec<(ProcId, Ended)>> {
        let dead = self.observe(&Snapshot::take()?);
        let mut reaped = Vec::new();
        for id in dead {
            match reap_one(id) {
                Ok(Some(ended)) => {
                    self.adopted.remove(&id);
                    reaped.push((id, ended));
                }
                Ok(None) => {}
                Err(error) if reaped.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(reaped)
    }
}

fn reap_one(id: ProcId) -> io::Result<Option<Ended>> {
    match open_verified(id) {
        Ok(pidfd) => try_reap(pidfd.as_fd()),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc_tree::snapshot::Entry;
    use procession_protocols::exit::RawStatus;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    const OWN: i32 = 10;

    fn look(processes: &[(i32, u64, i32, u8)]) -> Snapshot {
        processes
            .iter()
            .map(|&(pid, start, parent, state)| {
                let id = ProcId { pid, start };
                Entry { id, parent, state, threads: 1 }
            })
            .collect()
    }

    #[test]
    fn an_orphan_seen_below_another_is_reaped_when_dead() {
        let mut watch = AdoptionWatch::new(OWN);
        assert!(watch.observe(&look(&[(11, 1, OWN, b'S'), (12, 2, 11, b'S')])).is_empty());
        assert!(watch.observe(&look(&[(12, 2, OWN, b'S')])).is_empty());
        assert_eq!(watch.adopted().collect::<Vec<_>>(), [ProcId { pid: 12, start: 2 }]);
        assert_eq!(watch.observe(&look(&[(12, 2, OWN, b'Z')])), [ProcId { pid: 12, start: 2 }]);
        assert!(watch.observe(&look(&[])).is_empty());
        assert_eq!(watch.adopted().count(), 0);
    }

    #[test]
    fn our_own_children_are_never_named() {
        let mut watch = AdoptionWatch::new(OWN);
        watch.observe(&look(&[(11, 1, OWN, b'S'), (13, 3, OWN, b'S')]));
        assert!(watch.observe(&look(&[(11, 1, OWN, b'Z'), (13, 3, OWN, b'Z')])).is_empty());
        // First seen when it was ours already, it may be the user's.
        assert!(watch.observe(&look(&[(14, 4, OWN, b'Z')])).is_empty());
    }

    #[test]
    fn a_reused_number_inherits_nothing() {
        let mut watch = AdoptionWatch::new(OWN);
        watch.observe(&look(&[(11, 1, OWN, b'S'), (12, 2, 11, b'S')]));
        assert!(watch.observe(&look(&[(12, 99, OWN, b'Z')])).is_empty());
        assert_eq!(watch.adopted().count(), 0);
    }

    #[test]
    fn a_torn_look_does_not_make_it_forget() {
        let mut watch = AdoptionWatch::new(OWN);
        watch.observe(&look(&[(11, 1, OWN, b'S'), (12, 2, 11, b'S')]));
        // The parent is gone already, the child still shown below it.
        watch.observe(&look(&[(12, 2, 11, b'S')]));
        let dead = watch.observe(&look(&[(12, 2, OWN, b'Z')]));
        assert_eq!(dead, [ProcId { pid: 12, start: 2 }]);
    }

    /// Being a subreaper changes the whole process, so the test runs in a second one.
    #[test]
    fn a_double_fork_is_adopted_and_reaped_and_nothing_else() {
        const MARK: &str = "PROCESSION_TEST_CONTAIN";
        if std::env::var_os(MARK).is_none() {
            let name = "a_double_fork_is_adopted_and_reaped_and_nothing_else";
            let output = Command::new(std::env::current_exe().unwrap())
                .args([&format!("proc_tree::adoption::tests::{name}"), "--exact", "--nocapture"])
                .env(MARK, "1")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{text}");
            assert!(text.contains("1 passed"), "{text}");
            return;
        }
        crate::prctl::adopt_orphans(true).unwrap();
        assert!(crate::prctl::adopts_orphans().unwrap());
        let mut users_own = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        let mut parent = Command::new("sh")
            .args(["-c", "(sleep 0.4; exit 9) & sleep 0.2; exit 2"])
            .spawn()
            .unwrap();
        let mut watch = AdoptionWatch::new(std::process::id().cast_signed());
        let start = Instant::now();
        let mut reaped = Vec::new();
        // The orphan and its own sleep, which the subshell waits for, give one end.
        while reaped.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(10));
            reaped.extend(watch.sweep().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(reaped.len(), 1, "{reaped:?}");
        assert_eq!(reaped[0].1.status, RawStatus::Code(9));
        assert!(watch.sweep().unwrap().is_empty());
        assert_eq!(users_own.wait().unwrap().code(), Some(3));
        assert_eq!(parent.wait().unwrap().code(), Some(2));
        crate::prctl::adopt_orphans(false).unwrap();
    }
}
