//! `procession`: a manager for Rust and Python programs, from the command line.
//!
//! Owns the arguments, the reading of the key, and the end by a signal. What is served, and
//! to whom, is the library's business. Neighbour: `objects` reads what is to be served.

mod objects;

use nix::sys::signal::{SigSet, Signal};
use procession::{Address, LogLevel, Manager, ManagerBuilder, PythonPeers, log_to_stderr};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: procession manager --address ADDRESS --authkey-file FILE [OPTIONS]

Keeps objects for programs that know the key, Rust and Python ones, until SIGINT or SIGTERM,
or until a Python program shuts it down. Prints where it serves.

  --address ADDRESS       HOST:PORT (0 is any free port), or the path of a Unix socket
  --authkey-file FILE     where the key is; only its owner may be able to read it. One line
                          break at its end, LF or CR LF, does not belong to the key
  --serve NAME=KIND,...   objects that are there under names: queue[:MOST],
                          joinable_queue[:MOST], dict, list, set, namespace, lock, rlock,
                          condition, semaphore[:PERMITS], bounded_semaphore[:PERMITS], event,
                          barrier:PARTIES, value[:NUMBER], array:CELLS. Numbers begin as 0,
                          permits are 1 if nothing is said. Rust programs get those of values
                          as `QueueProxy<Dynamic>` and the like. May stand several times; each
                          name stands once
  --python-peers WHICH    off, sha256 (Python 3.12 and later; the default) or md5 (any)

Exit code: 0 after an end in order, 1 when it could not serve, 2 for wrong arguments.";

/// Longest key, in bytes.
const LONGEST_KEY: u64 = 4096;

/// Why it does not serve.
enum Failure {
    Usage(String),
    Other(String),
}

fn main() -> ExitCode {
    let texts = std::env::args_os().skip(1).map(OsString::into_string);
    let args = texts.collect::<Result<Vec<_>, _>>();
    let unfit = |bad: OsString| Failure::Usage(format!("'{}' is no text", bad.display()));
    match args.map_err(unfit).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => {
            print(io::stderr(), &format!("procession: {text}\n\n{USAGE}"));
            ExitCode::from(2)
        }
        Err(Failure::Other(text)) => {
            print(io::stderr(), &format!("procession: {text}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line. Whoever read it may have gone, as `head` does, and that ends nothing.
fn print(mut to: impl Write, line: &str) {
    let _ = writeln!(to, "{line}").and_then(|()| to.flush());
}

fn run(args: Vec<String>) -> Result<(), Failure> {
    let asks_for_help = |arg: &String| matches!(arg.as_str(), "--help" | "-h");
    if args.iter().any(asks_for_help) || args.first().is_some_and(|arg| arg == "help") {
        print(io::stdout(), USAGE);
        return Ok(());
    }
    let mut args = args.into_iter();
    match args.next().as_deref() {
        Some("manager") => serve(read(args)?),
        Some(other) => Err(Failure::Usage(format!("there is no command '{other}'"))),
        None => Err(Failure::Usage("a command is missing: manager".into())),
    }
}

/// A builder of what the arguments say.
fn read(mut args: impl Iterator<Item = String>) -> Result<ManagerBuilder, Failure> {
    let (mut address, mut key_file) = (None, None);
    let mut builder = Manager::builder();
    let mut names = BTreeSet::new();
    while let Some(option) = args.next() {
        let mut value = || {
            let missing = || Failure::Usage(format!("{option} needs a value"));
            args.next().ok_or_else(missing)
        };
        match option.as_str() {
            "--address" => address = Some(value()?),
            "--authkey-file" => key_file = Some(value()?),
            "--serve" => {
                for object in value()?.split(',') {
                    builder =
                        objects::offer(builder, &mut names, object).map_err(Failure::Usage)?;
                }
            }
            "--python-peers" => builder = builder.python_peers(peers(&value()?)?),
            _ => return Err(Failure::Usage(format!("there is no option '{option}'"))),
        }
    }
    let missing = |what| move || Failure::Usage(format!("{what} is missing"));
    let address = address.ok_or_else(missing("--address"))?;
    let address = address.parse::<Address>().map_err(|error| Failure::Usage(error.to_string()))?;
    let key_file = key_file.ok_or_else(missing("--authkey-file"))?;
    Ok(builder.address(address).authkey(key(&key_file)?))
}

fn peers(which: &str) -> Result<PythonPeers, Failure> {
    match which {
        "off" => Ok(PythonPeers::Off),
        "sha256" => Ok(PythonPeers::Sha256),
        "md5" => Ok(PythonPeers::Md5),
        other => Err(Failure::Usage(format!("'{other}' is none of off, sha256 and md5"))),
    }
}

/// The key of a file that nobody but its owner can read.
fn key(path: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::Other(format!("the key file {path}: {error}"));
    let file = File::open(path).map_err(failed)?;
    // Of the file that is open, not of what has the name by then.
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let text = format!(
            "others may use the key file {path} (mode {:03o}): chmod 600 {path}",
            mode & 0o777
        );
        return Err(Failure::Other(text));
    }
    let mut key = Vec::new();
    file.take(LONGEST_KEY + 1).read_to_end(&mut key).map_err(failed)?;
    if key.ends_with(b"\n") {
        key.pop();
        if key.ends_with(b"\r") {
            key.pop();
        }
    }
    if key.is_empty() || key.len() as u64 > LONGEST_KEY {
        return Err(Failure::Other(format!("the key file {path} has no key of a length that is")));
    }
    Ok(key)
}

fn serve(builder: ManagerBuilder) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    log_to_stderr(LogLevel::Info).map_err(|error| failed(&error))?;
    // Before there is another thread, so that all of them leave the signals to the one below.
    let ends: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    ends.thread_block().map_err(|error| failed(&error))?;
    let server = builder.get_server().map_err(|error| failed(&error))?;
    let stop = server.clone();
    let waiting = std::thread::Builder::new().name("procession-signals".into());
    let waiting = waiting.spawn(move || {
        // An error says that these are no signals, and then they do not come either.
        let _ = ends.wait();
        stop.stop();
    });
    waiting.map_err(|error| failed(&error))?;
    print(io::stdout(), &format!("serving at {}", server.address()));
    server.serve_forever();
    print(io::stdout(), "stopped");
    Ok(())
}
