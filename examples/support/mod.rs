//! What several examples share. Not an example.
#![allow(dead_code, reason = "no example needs all of it")]

use procession::StartMethod;
use std::time::{Duration, Instant};

/// How long an example waits for anything before it gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Takes the start method for the whole program from the first argument, if there is one.
pub(crate) fn start_method_from_args() -> procession::Result<()> {
    if let Some(name) = std::env::args().nth(1) {
        procession::set_start_method(name.parse::<StartMethod>().map_err(std::io::Error::other)?)?;
    }
    Ok(())
}

/// Waits until `condition` holds; false when it does not within the deadline.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > DEADLINE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// The fields of a `/proc/PID/status` file that start with `name`, such as `VmRSS:`.
pub(crate) fn proc_status(pid: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    Some(line[name.len()..].trim().to_owned())
}
