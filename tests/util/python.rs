//! Python programs beside a test.
//!
//! Owns their start, and that none outlives its test. They are scripts of the tests'
//! folders, run by the `python3` that is installed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A Python process; killed when a test fails.
pub(crate) struct Python {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Python {
    /// Runs a script of the tests' folder.
    pub(crate) fn run(script: &str, args: &[&str]) -> Self {
        Self::start(script, args, Stdio::null())
    }

    /// As [`run`](Self::run), with an input that ends with this.
    pub(crate) fn run_with_input(script: &str, args: &[&str]) -> Self {
        Self::start(script, args, Stdio::piped())
    }

    fn start(script: &str, args: &[&str], input: Stdio) -> Self {
        let path = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("python3");
        command.args(["-I", "-B", &path]).args(args).stdin(input).stdout(Stdio::piped());
        let mut child = command.spawn().expect("these tests need python3");
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its end, which is a bad one.
    pub(crate) fn fails(mut self) {
        assert!(!self.child.wait().unwrap().success());
    }

    /// What else it prints, once it has ended well.
    pub(crate) fn rest(mut self) -> String {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        self.end();
        rest
    }

    /// Its end, which is a good one.
    pub(crate) fn end(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
