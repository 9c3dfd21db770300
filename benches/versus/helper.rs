//! A helper program that does rounds on request, over its stdin and stdout.
//!
//! Owns the one line protocol that the Python script and the raw program share:
//! `row operations` goes in, `ok VALUE CHECK` or `err TEXT` comes out. It must
//! never time anything: a helper reads its own clock, so that neither its start
//! nor this pipe is counted. Neighbours: `python` and `raw` are built on it.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::harness::{Answer, Error};

/// Longer than the limits that the helpers set for themselves, so that the one
/// who knows what hangs is the one who says so.
const ANSWER_LIMIT: Duration = Duration::from_secs(140);

/// How long a helper may take to leave after its stdin has closed.
const END_LIMIT: Duration = Duration::from_secs(5);

pub(crate) struct Helper {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Helper {
    pub(crate) fn start(command: &mut Command) -> std::io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take();
        let Some(answers) = child.stdout.take() else {
            return Err(std::io::Error::other("a piped stdout is missing"));
        };
        Ok(Self { child, requests, answers: BufReader::new(answers) })
    }

    /// Asks for a round and waits for its answer. A helper that once failed to
    /// answer is asked no more: a late answer would pass for the next one.
    pub(crate) fn round(&mut self, row: &str, operations: u64) -> Result<Answer, Error> {
        let line = self.exchange(row, operations).inspect_err(|_| self.requests = None)?;
        parse(line.trim_end())
    }

    fn exchange(&mut self, row: &str, operations: u64) -> Result<String, Error> {
        let requests = self.requests.as_mut().ok_or("the helper is gone")?;
        writeln!(requests, "{row} {operations}")?;
        requests.flush()?;
        self.await_answer()?;
        // Helpers write an answer at once, so after its first byte the rest of
        // the line does not keep us waiting.
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("the helper died".into());
        }
        Ok(line)
    }

    fn await_answer(&self) -> Result<(), Error> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.answers.get_ref().as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(left)?) {
                Ok(0) => return Err("the helper does not answer".into()),
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn parse(line: &str) -> Result<Answer, Error> {
    let mut words = line.split(' ');
    if words.next() != Some("ok") {
        return Err(line.strip_prefix("err ").unwrap_or(line).into());
    }
    let mut number = || {
        words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| format!("not an answer: {line}"))
    };
    Ok(Answer { value: number()?, check: number()? })
}

/// Ends the helper: it leaves when its stdin closes, and is killed, by its id,
/// when it does not.
impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.requests.take());
        let deadline = Instant::now() + END_LIMIT;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Both fail only when the helper is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
