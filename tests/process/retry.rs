//! A start that failed, tried again: as in Python, nothing of what it needs is lost.

use crate::util::{METHODS, SOON, alone};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procession::{Error, Process, StartError, StartMethod, Stdio};
use std::fs::File;
use std::io::Read;

/// Calls `act` while no descriptor is to be had.
fn without_descriptors<T>(act: impl FnOnce() -> T) -> T {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
    let filling: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let outcome = act();
    drop(filling);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    outcome
}

fn is_lack(outcome: &procession::Result<()>) -> bool {
    match outcome {
        Err(Error::Start(StartError::Io(error)) | Error::Io(error)) => {
            error.raw_os_error() == Some(libc::EMFILE)
        }
        _ => false,
    }
}

/// With what a start uses up: an argument, a descriptor among them, and a stream.
fn fails_and_starts(
    method: StartMethod,
    start: impl Fn(&Process<usize>) -> procession::Result<()>,
) {
    let (mut output, writer) = std::io::pipe().unwrap();
    let (near, far) = procession::Pipe::duplex().unwrap();
    let body = |text: String, far: procession::Connection| {
        print!("{text}");
        far.send(&text).unwrap();
        text.len()
    };
    let p = Process::builder(body, ("four".to_owned(), far))
        .start_method(method)
        .stdout(Stdio::Fd(writer.into()))
        .build()
        .unwrap();
    for _ in 0..2 {
        let outcome = without_descriptors(|| start(&p));
        assert!(is_lack(&outcome), "{method}: {outcome:?}");
        assert!(!p.is_alive().unwrap());
        assert!(matches!(p.join(), Err(Error::NotStarted)));
        assert_eq!(format!("{p:?}"), format!("Process({}, initial)", p.name()));
    }
    p.set_name(format!("later {method}")).unwrap();
    start(&p).unwrap();
    assert!(matches!(start(&p), Err(Error::AlreadyStarted)));
    assert_eq!(p.result_timeout(SOON).unwrap(), 4, "{method}");
    assert_eq!(near.recv_timeout::<String>(SOON).unwrap(), "four");
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "four", "and no end of the stream is left here");
}

#[test]
fn a_start_that_failed_can_be_tried_again() {
    alone("retry::a_start_that_failed_can_be_tried_again", || {
        for method in METHODS {
            fails_and_starts(method, |p| p.start());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            fails_and_starts(method, |p| runtime.block_on(p.start_async()));
        }
    });
}

/// A copy is made of a process that has no thread but its own.
#[test]
fn a_fork_that_failed_can_be_tried_again() {
    let p = Process::spawn(
        || {
            fails_and_starts(StartMethod::Fork, |p| p.start());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            fails_and_starts(StartMethod::Fork, |p| runtime.block_on(p.start_async()));
        },
        (),
    );
    p.unwrap().result_timeout(SOON).unwrap();
}

#[test]
fn a_start_that_is_given_up_before_it_has_begun_can_be_tried_again() {
    let p = Process::builder(|x: u32| x + 1, (1,)).build().unwrap();
    let start = p.start_async();
    drop(start);
    p.start().unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), 2);
}
