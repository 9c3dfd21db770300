//! A harness for tests that need a real `main`: one binary that is test and program.
//!
//! Owns a `main` that, started by itself with a program's name in the environment, is
//! that program, and otherwise checks each of them. It understands as much of libtest's
//! command line as `cargo test` and nextest use.

use super::{Output, run};
use std::panic::catch_unwind;
use std::process::Command;

const PROGRAM: &str = "PROCESSION_TEST_PROGRAM";

/// A program and the test that runs it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) program: fn(),
    pub(crate) check: fn(),
}

/// The command that runs a program of this binary.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(PROGRAM, name);
    command
}

/// Runs a program of this binary.
pub(crate) fn output(name: &str) -> Output {
    run(command(name))
}

/// The whole of `main`.
pub(crate) fn main(cases: &[Case]) {
    if let Some(name) = std::env::var_os(PROGRAM) {
        let case = cases.iter().find(|case| name == case.name).unwrap();
        (case.program)();
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|f| if has("--exact") { *f == name } else { name.contains(*f) })
    };
    let cases: Vec<&Case> =
        cases.iter().filter(|case| wanted(case.name) && !has("--ignored")).collect();
    if has("--list") {
        for case in cases {
            println!("{}: test", case.name);
        }
        return;
    }
    let mut failed = 0;
    for case in &cases {
        let good = catch_unwind(case.check).is_ok();
        println!("test {} ... {}", case.name, if good { "ok" } else { "FAILED" });
        failed += usize::from(!good);
    }
    println!("{} passed, {failed} failed", cases.len() - failed);
    if failed > 0 {
        std::process::exit(101);
    }
}
