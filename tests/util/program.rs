//! A harness for tests that need a real `main`: one binary that is test and program.
//!
//! Owns a `main` that, started by itself with a program's name in the environment, is
//! that program, and otherwise checks each of them.

use super::harness::{self, Order};
use super::{Output, run};
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
    let checks: Vec<_> = cases.iter().map(|case| (case.name, case.check)).collect();
    harness::main(&checks, Order::AtOnce);
}
