//! How much memory workers use, and whether the kernel ran out of it.
//!
//! Owns the reading of the kernel's own counts: resident pages of a process (proc(5)), and
//! processes killed for want of memory, of a control group or of this machine. Where a count
//! cannot be read it is 0.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// How many processes the kernel had killed for want of memory, as far as that may concern
/// one of them.
pub(super) struct Kills {
    file: PathBuf,
    count: u64,
}

impl Kills {
    /// After so many milliseconds the count is read again when its process is given something
    /// to do: what happened before was not that process's death.
    pub(super) const STALE_MS: u64 = 1_000;

    /// In the control group of a process, if that is counted there; else of this machine.
    /// The group's own count rises for each process in it, whoever ran out of memory.
    pub(super) fn that_concern(pid: u32) -> Self {
        let groups = read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mut own = groups.lines().filter_map(file_of_group);
        let machine = || (PathBuf::from("/proc/vmstat"), kills_in("/proc/vmstat").unwrap_or(0));
        let known = own.find_map(|file| kills_in(&file).map(|count| (file, count)));
        let (file, count) = known.unwrap_or_else(machine);
        Self { file, count }
    }

    /// Whether there have been others since.
    pub(super) fn have_risen(&self) -> bool {
        kills_in(&self.file).is_some_and(|count| count > self.count)
    }
}

/// Where a group counts, by a line of its process's `cgroup`. In the first version of groups
/// memory has a hierarchy of its own, in the second one there is one for all.
fn file_of_group(line: &str) -> Option<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (kinds, path) = (parts.next()?, parts.next()?);
    if kinds.is_empty() {
        Some(format!("/sys/fs/cgroup{path}/memory.events.local").into())
    } else {
        let is_memory = kinds.split(',').any(|kind| kind == "memory");
        is_memory.then(|| format!("/sys/fs/cgroup/memory{path}/memory.oom_control").into())
    }
}

fn kills_in(file: impl AsRef<Path>) -> Option<u64> {
    count(&read_to_string(file).ok()?)
}

/// Bytes of memory that are resident for this process.
pub(super) fn of_this_process() -> u64 {
    resident("/proc/self/statm")
}

/// Bytes of memory that are resident for another.
pub(super) fn of(pid: u32) -> u64 {
    resident(&format!("/proc/{pid}/statm"))
}

fn resident(file: &str) -> u64 {
    let pages = read_to_string(file).ok().and_then(|text| text.split(' ').nth(1)?.parse().ok());
    pages.unwrap_or(0_u64) * page()
}

fn page() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts_are_read() {
        assert_eq!(count("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), Some(4));
        assert_eq!(count("nr_free_pages 7\n"), None);
        let file = |line| file_of_group(line).map(|file| file.display().to_string());
        let second = "/sys/fs/cgroup/a:b/memory.events.local";
        assert_eq!(file("0::/a:b").as_deref(), Some(second));
        let first = "/sys/fs/cgroup/memory/x/memory.oom_control";
        assert_eq!(file("4:cpu,memory:/x").as_deref(), Some(first));
        assert_eq!(file("9:name=systemd:/x"), None);
        assert!(!Kills::that_concern(std::process::id()).have_risen());
        let own = of_this_process();
        assert!(own > 0 && own == of_this_process() || of(std::process::id()) > 0);
    }
}
