//! Forks while there is no room for another process, or for one but not for its threads.

use crate::SOON;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procession::{Error, Process, StartError};
use std::os::unix::process::CommandExt;
use std::process::Command;

const INNER: &str = "PROCESSION_TEST_FULL";

/// A limit on processes does not bind root, so root becomes another user for this, in a copy
/// of this program that the other one may run.
pub(crate) fn a_lack_of_processes_is_an_error() {
    if std::env::var_os(INNER).is_some() {
        return inner();
    }
    let copy = std::env::temp_dir().join(format!("procession-full-{}", std::process::id()));
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(&copy);
    command.args(["a_lack_of_processes_is_an_error", "--exact"]).env(INNER, "1");
    if nix::unistd::geteuid().is_root() {
        command.uid(54_322).gid(54_322);
    }
    let output = command.output();
    std::fs::remove_file(&copy).unwrap();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

fn inner() {
    let works = || Process::fork(|| 1).unwrap().result_timeout(SOON).unwrap() == 1;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
    let mut worked = 0;
    for round in 0..2 {
        // Room for none, for the copy alone, for its threads.
        for limit in 0..20 {
            setrlimit(Resource::RLIMIT_NPROC, limit, hard).unwrap();
            let started = Process::fork(|| 1).and_then(|process| process.result_timeout(SOON));
            setrlimit(Resource::RLIMIT_NPROC, soft, hard).unwrap();
            match started {
                Ok(value) => worked += value,
                Err(Error::Start(StartError::Io(error))) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{limit}: {error}");
                    assert_eq!(worked, 0, "{limit} are too few, though fewer were enough");
                }
                Err(other) => panic!("{limit}: {other:?}"),
            }
            assert!(procession::active_children().is_empty());
        }
        assert!((1..20).contains(&worked), "round {round}: {worked}");
        worked = 0;
        assert!(works());
    }
}
