//! What /proc says at about one moment: every process, its parent and its state.
//!
//! Owns the reading of /proc/PID/stat. It must never signal or reap. A snapshot is not
//! atomic: the kernel lists processes one after the other while they come and go, so
//! that whoever needs certainty takes two. Its users are `kill` and `adoption`.

use crate::sys::process::pidfd_open;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcId {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of /proc/PID/stat).
    pub start: u64,
}

/// One process of a [`Snapshot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Who it is.
    pub id: ProcId,
    /// The number of its parent.
    pub parent: i32,
    /// The letter of its first thread's state, as in proc(5).
    pub state: u8,
    /// How many threads it has.
    pub threads: u32,
}

impl Entry {
    /// Whether it has ended and only waits to be reaped. A first thread may end before
    /// the others: then the letter is `Z`, but the process lives.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }
}

/// The processes of the machine (of this pid namespace), by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    entries: BTreeMap<i32, Entry>,
}

impl Snapshot {
    /// Reads /proc. Processes that end meanwhile are left out.
    ///
    /// # Errors
    /// When /proc can't be listed.
    pub fn take() -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        for item in fs::read_dir("/proc")? {
            let name = item?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            match read_entry(pid) {
                Ok(entry) => {
                    entries.insert(pid, entry);
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { entries })
    }

    /// The process with this number, if there is one.
    pub fn get(&self, pid: i32) -> Option<&Entry> {
        self.entries.get(&pid)
    }

    /// Whether this very process is listed, alive or as a zombie.
    pub fn contains(&self, id: ProcId) -> bool {
        self.get(id.pid).is_some_and(|entry| entry.id == id)
    }

    /// Every process below those of `roots`, parents before their children; the roots
    /// themselves are left out.
    pub fn below(&self, roots: &[i32]) -> Vec<Entry> {
        let mut children: BTreeMap<i32, Vec<&Entry>> = BTreeMap::new();
        for entry in self.entries.values() {
            children.entry(entry.parent).or_default().push(entry);
        }
        let mut found = Vec::new();
        let mut todo: Vec<i32> = roots.to_vec();
        // Each list of children is taken out once, so that a circle, which only a
        // snapshot torn by the reuse of numbers could show, ends too.
        while let Some(pid) = todo.pop() {
            for entry in children.remove(&pid).unwrap_or_default() {
                if !roots.contains(&entry.id.pid) {
                    found.push(*entry);
                }
                todo.push(entry.id.pid);
            }
        }
        found
    }
}

impl FromIterator<Entry> for Snapshot {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry.id.pid, entry)).collect() }
    }
}

/// Every process below `pid`, zombies included.
///
/// # Errors
/// When /proc can't be listed.
pub fn descendants(pid: i32) -> io::Result<Vec<ProcId>> {
    Ok(Snapshot::take()?.below(&[pid]).into_iter().map(|entry| entry.id).collect())
}

/// When the process `pid` started; `None` when there is no such process.
///
/// # Errors
/// When /proc can't be read.
pub fn start_time(pid: i32) -> io::Result<Option<u64>> {
    Ok(entry(pid)?.map(|entry| entry.id.start))
}

/// What /proc says of the process `pid`; `None` when there is no such process.
///
/// # Errors
/// When /proc can't be read.
pub fn entry(pid: i32) -> io::Result<Option<Entry>> {
    match read_entry(pid) {
        Ok(entry) => Ok(Some(entry)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a pidfd for the very process `id`.
///
/// The start time is read after the descriptor was opened: if it is still the one that
/// was seen earlier, then the same process held the number at the opening in between.
///
/// # Errors
/// `ESRCH` when that process is gone, whoever has its number now.
pub fn open_verified(id: ProcId) -> io::Result<OwnedFd> {
    let pidfd = pidfd_open(id.pid)?;
    if start_time(id.pid)? != Some(id.start) {
        return Err(Errno::ESRCH.into());
    }
    Ok(pidfd)
}

/// Whether an error of a look into /proc/PID, or of a call on a process, says that the
/// process is gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The ids of all threads of a process, with their states as letters.
pub(super) fn thread_states(pid: i32) -> io::Result<Vec<(i32, u8)>> {
    let mut states = Vec::new();
    for item in fs::read_dir(format!("/proc/{pid}/task"))? {
        let item = item?;
        let Some(thread) = item.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match fs::read(item.path().join("stat")) {
            Ok(stat) => {
                states.extend(parse_stat(thread, &stat).map(|entry| (thread, entry.state)));
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(states)
}

fn read_entry(pid: i32) -> io::Result<Entry> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    parse_stat(pid, &stat)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat"))
}

/// Reads a line of /proc/PID/stat. The name in parentheses may hold anything, closing
/// parentheses and line ends included, so that the fields are counted from the last one.
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Entry> {
    let end_of_name = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first field after the name is number 3 of proc(5).
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Entry {
        id: ProcId { pid, start: field(22)?.parse().ok()? },
        parent: field(4)?.parse().ok()?,
        state: *field(3)?.as_bytes().first()?,
        threads: field(20)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn made_up(pid: i32, parent: i32) -> Entry {
        let id = ProcId { pid, start: 1 };
        Entry { id, parent, state: b'S', threads: 1 }
    }

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let stat = b"77 (a) b) (S 1) R 5 77 77 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 3 0 4242 0 0\n";
        let id = ProcId { pid: 77, start: 4242 };
        let expected = Entry { id, parent: 5, state: b'R', threads: 3 };
        assert_eq!(parse_stat(77, stat), Some(expected));
        assert_eq!(parse_stat(77, b"77 (cut off) R 5"), None);
        assert_eq!(parse_stat(77, b""), None);
    }

    #[test]
    fn below_walks_every_generation_and_survives_a_circle() {
        let tree: Snapshot = [
            made_up(2, 1),
            made_up(3, 2),
            made_up(4, 3),
            made_up(5, 1),
            made_up(6, 6),
            made_up(1, 0),
        ]
        .into_iter()
        .collect();
        let pids = |roots: &[i32]| {
            let mut pids: Vec<i32> = tree.below(roots).iter().map(|entry| entry.id.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(&[2]), [3, 4]);
        assert_eq!(pids(&[1]), [2, 3, 4, 5]);
        assert_eq!(pids(&[2, 3]), [4]);
        assert_eq!(pids(&[6]), [0; 0]);
        assert_eq!(pids(&[99]), [0; 0]);
    }

    #[test]
    fn this_process_is_found_and_verified() {
        let pid = std::process::id().cast_signed();
        let snapshot = Snapshot::take().unwrap();
        let me = snapshot.get(pid).unwrap();
        assert_eq!(me.parent, nix::unistd::getppid().as_raw());
        assert!(!me.is_zombie());
        assert!(snapshot.contains(me.id));
        assert_eq!(start_time(pid).unwrap(), Some(me.id.start));
        open_verified(me.id).unwrap();
        let other = open_verified(ProcId { start: me.id.start + 1, ..me.id }).unwrap_err();
        assert_eq!(other.raw_os_error(), Some(libc::ESRCH));
        assert_eq!(start_time(i32::MAX).unwrap(), None);
    }

    #[test]
    fn a_leader_that_ended_before_its_threads_is_no_zombie() {
        let ended = Entry { state: b'Z', ..made_up(2, 1) };
        assert!(ended.is_zombie());
        assert!(!Entry { threads: 2, ..ended }.is_zombie());
    }
}
