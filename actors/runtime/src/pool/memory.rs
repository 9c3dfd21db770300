//! How much memory workers use, and whether the kernel ran out of it.
//!
//! Owns the reading of the kernel's own counts: resident pages of a process (proc(5)), and
//! processes killed for want of memory, of this machine and of this control group. Where a
//! count cannot be read it is 0.

use std::fs::read_to_string;

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

/// How many processes the kernel has killed for want of memory, as far as it tells us.
pub(super) fn kills() -> u64 {
    let machine = count(&read_to_string("/proc/vmstat").unwrap_or_default());
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let events = format!("/sys/fs/cgroup{group}/memory.events");
    machine + count(&read_to_string(events).unwrap_or_default())
}

fn count(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    count.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts_are_read() {
        assert_eq!(count("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(count("nr_free_pages 7\n"), 0);
        let own = of_this_process();
        assert!(own > 0 && own == of_this_process() || of(std::process::id()) > 0);
    }
}
