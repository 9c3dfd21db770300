//! What a pool shows of its progress: a bar on a terminal, elsewhere nothing.

use procession::{Pool, Process, Stdio, TaskOptions, dummy};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;

use super::SOON;

/// A map in which one call may fail, and a lazy one in which one may end its worker; and both on
/// threads.
fn work(bad: u64) -> (bool, usize) {
    let threads = dummy::Pool::new(2).unwrap();
    let shown = threads.with(TaskOptions::new().chunksize(5).progress());
    assert_eq!(shown.map(|x: u64| x, 0..80).unwrap().len(), 80);
    assert_eq!(shown.imap_unordered(|x: u64| x, 0..90).unwrap().flatten().count(), 90);
    let pool = Pool::new(2).unwrap();
    let shown = pool.with(TaskOptions::new().chunksize(5).progress());
    let one_fails = shown.starmap(|x: u64, bad: u64| assert_ne!(x, bad), (0..60).map(|x| (x, bad)));
    let ends = |x: u64, bad: u64| if x == bad { std::process::exit(3) } else { x };
    let lazy = shown.istarmap(ends, (0..70).map(|x| (x, bad))).unwrap();
    (one_fails.is_err(), lazy.flatten().count())
}

/// What comes out of a descriptor until nobody writes to it any more.
fn all_of(mut file: File) -> String {
    let mut said = Vec::new();
    let mut part = [0; 4096];
    // A terminal whose other side is closed says EIO.
    while let Ok(count @ 1..) = file.read(&mut part) {
        said.extend(&part[..count]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_terminal_shows_how_far_a_map_is() {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = OsString::from_vec(ptsname(&master, Vec::new()).unwrap().into_bytes());
    // As the leader of a session this process would have it for its own, and be hung up on.
    let mut options = File::options();
    options.read(true).write(true).custom_flags(nix::libc::O_NOCTTY);
    let terminal = options.open(name).unwrap();
    let process = Process::builder(work, (7,))
        .stderr(Stdio::Fd(terminal.into()))
        .env("TERM", "xterm")
        .env("RUST_BACKTRACE", "0")
        .start()
        .unwrap();
    let said = std::thread::spawn(|| all_of(master.into()));
    assert_eq!(process.result_timeout(SOON).unwrap(), (true, 69));
    assert!(process.join_timeout(SOON).unwrap());
    let said = said.join().unwrap();
    for wanted in ["60/60", "70/70", "80/80", "90/90", "1 failed", "/s", "eta", "1 restarts"] {
        assert!(said.contains(wanted), "no {wanted:?} in {said:?}");
    }
}

#[test]
fn a_pipe_is_told_nothing() {
    let process = Process::builder(work, (100,)).stderr(Stdio::Piped).start().unwrap();
    let said = File::from(process.take_stderr().unwrap());
    assert_eq!(process.result_timeout(SOON).unwrap(), (false, 70));
    assert_eq!(all_of(said), "");
}
