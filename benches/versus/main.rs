//! The comparison harness: ours, Python and the raw system on the same work.
//!
//! This file owns the command line and the order of a run: for each mode (free,
//! then pinned to one CPU set) it starts this same program again as a *session*
//! that measures, watches that the session makes progress, and prints what came
//! out. It must never measure anything itself. A session is a process of its own
//! because a CPU set has to be in force before the first thread or child exists.
//! Neighbours: `harness` measures inside a session, `report` prints, `process`,
//! `ipc`, `pool` and `manager` list the rows of their areas.
//!
//! ```text
//! cargo bench --bench versus -- [AREA | ROW ...] [--list] [--json FILE] [--quick] [--cpus 0,1]
//! ```

mod harness;
mod helper;
mod ipc;
mod manager;
mod pool;
mod process;
mod python;
mod raw;
mod report;
mod sys;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Area, Effort, Error, Measured, Mode, Row};

/// Every area of the comparison; a later part adds its own here.
const AREAS: &[Area] = &[process::AREA, ipc::AREA, pool::AREA, manager::AREA];

/// The longest that a session may be silent. It speaks before each round of each
/// side; the longest round is Python's 200 children by spawn, pinned to one CPU.
const SILENCE_LIMIT: Duration = Duration::from_secs(150);

/// How long a session that has said all it had to say may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);

/// What the command line asked for.
#[derive(Default)]
struct Request {
    filters: Vec<String>,
    list: bool,
    json: Option<String>,
    effort: Effort,
    /// The CPU set of the pinned mode; the last allowed CPU when not given.
    cpus: Option<Vec<usize>>,
    /// Set only by this program itself, for a session.
    session: Option<Mode>,
}

fn main() -> ExitCode {
    let request = match parse(std::env::args().skip(1)) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("versus: {error}");
            return ExitCode::from(2);
        }
    };
    let outcome = match request.session {
        Some(mode) => {
            harness::session(AREAS, &|row| request.wants(row, mode), mode, request.effort)
        }
        None => compare(&request),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Request, Error> {
    let mut request = Request::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            // cargo adds this one to every bench.
            "--bench" => {}
            "--list" => request.list = true,
            "--quick" => request.effort = Effort::Quick,
            "--json" => request.json = Some(value()?),
            "--cpus" => request.cpus = Some(parse_cpus(&value()?)?),
            "--session" => request.session = Some(value()?.parse()?),
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}").into()),
            filter => request.filters.push(filter.to_string()),
        }
    }
    for filter in &request.filters {
        let known = rows()
            .any(|(area, row)| Mode::ALL.iter().any(|mode| matches(filter, area, row, *mode)));
        if !known {
            return Err(format!("no area or row is called {filter}; --list names the rows").into());
        }
    }
    Ok(request)
}

fn parse_cpus(list: &str) -> Result<Vec<usize>, Error> {
    list.split(',')
        .map(|cpu| cpu.trim().parse().map_err(|_| format!("not a CPU list: {list}").into()))
        .collect()
}

fn rows() -> impl Iterator<Item = (&'static Area, &'static Row)> {
    AREAS.iter().flat_map(|area| area.rows.iter().map(move |row| (area, row)))
}

/// A filter names an area, a row in both modes, or a row in one mode.
fn matches(filter: &str, area: &Area, row: &Row, mode: Mode) -> bool {
    filter == area.name || filter == row.name || filter == mode.label(row)
}

impl Request {
    fn wants(&self, row: &Row, mode: Mode) -> bool {
        let area = AREAS.iter().find(|area| area.rows.iter().any(|other| other.name == row.name));
        self.filters.is_empty()
            || area.is_some_and(|area| {
                self.filters.iter().any(|filter| matches(filter, area, row, mode))
            })
    }
}

/// Runs every wanted row in every mode, and reports. A missed target is a fact
/// to print; a wrong answer or a side that failed is an error.
fn compare(request: &Request) -> Result<(), Error> {
    let wanted =
        |mode: Mode| rows().filter(move |(_, row)| request.wants(row, mode)).map(|(_, row)| row);
    if request.list {
        for mode in Mode::ALL {
            wanted(mode).for_each(|row| println!("{}", mode.label(row)));
        }
        return Ok(());
    }
    let cpus = match &request.cpus {
        Some(cpus) => cpus.clone(),
        None => sys::allowed_cpus()?.last().copied().into_iter().collect(),
    };
    // Created now, so that a bad path is known before the minutes of a run.
    let json = match &request.json {
        Some(path) => Some(File::create(path).map_err(|error| format!("{path}: {error}"))?),
        None => None,
    };
    let mut entries = Vec::new();
    let mut failures = Vec::new();
    for mode in Mode::ALL {
        let rows: Vec<_> = wanted(mode).collect();
        if rows.is_empty() {
            continue;
        }
        let mut measured = run_session(request, mode, &cpus, &mut failures)?;
        let table: Vec<_> = rows
            .into_iter()
            .map(|row| (mode.label(row), row, measured.remove(row.name).unwrap_or_default()))
            .collect();
        report::print_table(mode, &cpus, &table);
        entries.extend(table);
    }
    if let Some(mut json) = json {
        json.write_all(report::json(&entries).as_bytes())?;
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\nversus: ").into()) }
}

/// Starts this program again with the mode's CPU set, and takes in its results.
fn run_session(
    request: &Request,
    mode: Mode,
    cpus: &[usize],
    failures: &mut Vec<String>,
) -> Result<HashMap<String, Measured>, Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--session").arg(mode.to_string()).args(&request.filters);
    if matches!(request.effort, Effort::Quick) {
        command.arg("--quick");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut session = match mode {
        Mode::Free => command.spawn()?,
        // What this thread is pinned to, the session and all below it inherit.
        Mode::Pinned => sys::with_cpus(cpus, || command.spawn())??,
    };
    let lines = read_lines(&mut session);
    let outcome = follow(&lines, failures);
    let ended = if outcome.is_ok() { await_end(&mut session) } else { None };
    if ended.is_none() {
        // Its helpers and children leave by themselves: each of them ends with
        // the stream that it reads from.
        session.kill()?;
        session.wait()?;
    }
    match (outcome?, ended) {
        (measured, Some(true)) => Ok(measured),
        (_, Some(false)) => Err(format!("the {mode} session failed").into()),
        (_, None) => Err(format!("the {mode} session did not end").into()),
    }
}

/// Hands over a session's lines from a thread, so that waiting for one can have
/// a deadline. The thread ends with the session's standard output.
fn read_lines(session: &mut Child) -> Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = session.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    lines
}

fn follow(
    lines: &Receiver<io::Result<String>>,
    failures: &mut Vec<String>,
) -> Result<HashMap<String, Measured>, Error> {
    let mut measured = HashMap::new();
    let mut at = String::from("the start");
    loop {
        match lines.recv_timeout(SILENCE_LIMIT) {
            Ok(line) => {
                let line = line?;
                let (kind, rest) = line.split_once('\t').unwrap_or((line.as_str(), ""));
                match kind {
                    "at" => at = rest.to_string(),
                    "failed" => failures.push(rest.to_string()),
                    "row" => {
                        let (name, figures) = Measured::parse(rest)?;
                        measured.insert(name, figures);
                    }
                    // Something in a child wrote to our standard output.
                    _ => eprintln!("versus: unexpected output: {line}"),
                }
            }
            Err(RecvTimeoutError::Timeout) => return Err(format!("no progress at {at}").into()),
            Err(RecvTimeoutError::Disconnected) => return Ok(measured),
        }
    }
}

/// Whether the session succeeded, or `None` when it does not end.
fn await_end(session: &mut Child) -> Option<bool> {
    let deadline = Instant::now() + END_LIMIT;
    while Instant::now() < deadline {
        match session.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) => thread::sleep(Duration::from_millis(5)),
            Err(_) => return None,
        }
    }
    None
}
