//! Worker processes of a round: children of ours that begin together.
//!
//! Owns the gate that they wait at, and the time from the first begin to the last end.
//! It must never add to what is timed: each worker reads the clock after the gate and
//! at its own end. The gate is a plain socket, so that no row is measured by means of
//! another. Neighbours: the rows of this area and of `manager` are built on it.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use procession::{Context, Failure, Fd, Process, SharedCell, SharedMemory, StartMethod};
use serde::{Deserialize, Serialize};

use crate::harness::{Answer, Error};
use crate::sys::now_ns;

/// The longest wait for a worker, whatever it does.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_mins(1);

/// Between the word to start and the start, so that all have heard it by then.
const GATE_NS: u64 = 1_000_000;

/// Turns between two looks at the clock.
const BATCH: u64 = 64;

const WORDS: usize = 4;
const LINE_WORDS: usize = 16;

/// A worker's end of the gate.
#[derive(Serialize, Deserialize)]
pub(crate) struct Gate(Fd);

/// What a worker did.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    began_ns: u64,
    ended_ns: u64,
    pub(crate) count: u64,
    pub(crate) check: u64,
}

pub(crate) type Worker = Process<Result<Report, Failure>>;

impl Gate {
    /// Waits for the start, then does the work, which gives a count and a check.
    pub(crate) fn pass(
        self,
        work: impl FnOnce() -> Result<(u64, u64), Failure>,
    ) -> Result<Report, Failure> {
        let mut socket = UnixStream::from(OwnedFd::from(self.0));
        socket.write_all(b"r")?;
        let mut start = [0; 8];
        socket.read_exact(&mut start)?;
        let left = u64::from_ne_bytes(start).saturating_sub(now_ns());
        std::thread::sleep(Duration::from_nanos(left));
        let began_ns = now_ns();
        let (count, check) = work()?;
        Ok(Report { began_ns, ended_ns: now_ns(), count, check })
    }

    /// Takes turns for so many milliseconds; the count is that of the turns.
    pub(crate) fn pass_window(
        self,
        window_ms: u64,
        mut turn: impl FnMut() -> Result<(), Failure>,
    ) -> Result<Report, Failure> {
        self.pass(|| {
            let end = now_ns() + window_ms * 1_000_000;
            let mut turns = 0;
            while now_ns() < end {
                for _ in 0..BATCH {
                    turn()?;
                }
                turns += BATCH;
            }
            Ok((turns, 0))
        })
    }
}

/// The workers of one round.
#[derive(Default)]
pub(crate) struct Crew {
    workers: Vec<(Worker, UnixStream)>,
}

impl Crew {
    /// Starts one more, which waits at its gate.
    pub(crate) fn add(
        &mut self,
        start: impl FnOnce(&Context, Gate) -> procession::Result<Worker>,
    ) -> Result<(), Error> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(WAIT_LIMIT))?;
        let gate = Gate(Fd(OwnedFd::from(theirs)));
        let worker = start(&procession::context(StartMethod::ForkServer), gate)?;
        self.workers.push((worker, ours));
        Ok(())
    }

    /// Opens the gate, a little from now.
    pub(crate) fn open(&mut self) -> Result<(), Error> {
        for (_, socket) in &mut self.workers {
            let mut ready = [0];
            socket.read_exact(&mut ready)?;
        }
        let start = (now_ns() + GATE_NS).to_ne_bytes();
        for (_, socket) in &mut self.workers {
            socket.write_all(&start)?;
        }
        Ok(())
    }

    /// Waits for all.
    pub(crate) fn reports(self) -> Result<Vec<Report>, Error> {
        let report = |(worker, _): &(Worker, UnixStream)| {
            let report = worker.result_timeout(WAIT_LIMIT)?;
            report.map_err(|failure| failure.to_string().into())
        };
        self.workers.iter().map(report).collect()
    }

    pub(crate) fn run(mut self) -> Result<Vec<Report>, Error> {
        self.open()?;
        self.reports()
    }
}

/// A round that failed leaves nobody behind whom the end of the program would wait for.
impl Drop for Crew {
    fn drop(&mut self) {
        for (worker, _) in &self.workers {
            // Fails when it has ended, which is what is wanted.
            let _ = worker.kill();
        }
    }
}

/// From the first begin to the last end, and the sum of the checks.
pub(crate) fn timed(reports: &[Report]) -> Answer {
    let began = reports.iter().map(|report| report.began_ns).min().unwrap_or(0);
    let ended = reports.iter().map(|report| report.ended_ns).max().unwrap_or(0);
    let check = reports.iter().map(|report| report.check).sum();
    Answer { value: ended - began, check }
}

/// How many of the operations fall to one of `count` equal workers.
pub(crate) fn portion(operations: u64, worker: u64, count: u64) -> u64 {
    operations / count + u64::from(worker < operations % count)
}

/// Plain words that workers share, for a check or a time stamp.
pub(crate) fn words() -> Result<SharedMemory, Error> {
    Ok(SharedMemory::anonymous(WORDS * LINE_WORDS * size_of::<u64>())?)
}

/// One of them; each has cache lines of its own.
pub(crate) fn word(words: &SharedMemory, at: usize) -> SharedCell<'_, u64> {
    let word = words.view(0, WORDS * LINE_WORDS).and_then(|all| all.at(at * LINE_WORDS));
    word.expect("words are as many as they were made")
}
