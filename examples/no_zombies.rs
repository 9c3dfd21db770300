//! Children that nobody joins leave no zombies, and their exit codes are kept.
//!
//! The Python original is one line that ignores SIGCHLD, against zombies; exit codes are
//! lost by it. Here ended children are reaped when they end. A program that ignores
//! SIGCHLD all the same, as the second round does, can still join them; the system keeps
//! no exit code then, so it is known, or said to be unknown.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Process;
use std::process::{Command, id};

/// The states of this process's children, as /proc has them: `Z` is a zombie.
fn states() -> Vec<String> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| support::proc_status(pid, "PPid:") == Some(id().to_string()))
        .filter_map(|pid| support::proc_status(pid, "State:"))
        .collect()
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let mut children = Vec::new();
    for number in 0..20 {
        children.push(Process::spawn(|code: i32| -> () { std::process::exit(code) }, (number,))?);
    }
    let is_clean = support::eventually(|| states().iter().all(|state| !state.starts_with('Z')));
    println!("no zombies without a join: {is_clean}");
    for (number, child) in (0..).zip(&children) {
        assert!(child.join_timeout(support::DEADLINE)?, "child {number} did not end in time");
        assert!([Some(number), None].contains(&child.exitcode()), "{child:?}");
    }
    let known = children.iter().filter(|child| child.exitcode().is_some()).count();
    println!("joined: {}, exit codes known: {known}", children.len());

    if std::env::var_os("SIGCHLD_IS_IGNORED").is_none() {
        println!("again, with SIGCHLD ignored");
        let mut again = Command::new("sh");
        again.args(["-c", "trap '' CHLD; exec \"$0\" \"$@\""]).arg(std::env::current_exe()?);
        let status =
            again.args(std::env::args_os().skip(1)).env("SIGCHLD_IS_IGNORED", "1").status()?;
        assert!(status.success(), "{status}");
    }
    Ok(())
}
