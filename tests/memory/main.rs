//! What processes share as memory: segments, lists, values, arrays.
//!
//! Owns the scenarios with real processes; each leaves no process, descriptor or name
//! behind. What must be counted, killed or interrupted happens in a process made for it.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod list;
mod locked;
mod names;
mod raw;
mod segment;
#[path = "../util/mod.rs"]
mod util;

/// A name that only this process uses.
fn own_name(of: &str) -> String {
    format!("procession-{of}-{}", std::process::id())
}

/// Whether there is shared memory of this name.
fn exists(name: &str) -> bool {
    std::path::Path::new("/dev/shm").join(name).exists()
}

/// What a Python script prints; `None` where there is no Python.
fn python(script: &str, arguments: &[&str]) -> Option<String> {
    let mut command = std::process::Command::new("python3");
    command.arg("-c").arg(script).args(arguments);
    if std::process::Command::new("python3").arg("-V").output().is_err() {
        println!("there is no python3: its side is not tested");
        return None;
    }
    let output = util::run(command);
    assert_eq!(output.code, 0, "{}", output.stderr);
    Some(output.stdout)
}
