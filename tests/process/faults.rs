//! What is not to be had: descriptors, processes, memory, room for a result. A typed
//! error, and nothing left of the attempt.

use crate::util::{
    Folder, METHODS, SOON, alone, alone_from, at_rest, at_rest_with, back_to, copy_program,
    holdings, is_alone, run, until,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procession::{
    Error, ExitReason, JoinError, Process, StartError, StartFault, StartMethod, context,
    parent_process,
};
use std::os::unix::process::CommandExt;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Everything that is made once has been made.
fn warm_up() {
    assert_eq!(Process::spawn(|| 1, ()).unwrap().result_timeout(SOON).unwrap(), 1);
}

/// Starts a process while so many descriptors are free.
fn start_with_spare(spare: usize) -> procession::Result<Process<i32>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
    let mut filling = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        filling.push(file);
    }
    filling.truncate(filling.len() - spare);
    let result = Process::spawn(|| 1, ());
    drop(filling);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    result
}

fn start_error(result: procession::Result<Process<i32>>) -> Option<StartError> {
    match result {
        Ok(p) => {
            assert_eq!(p.result_timeout(SOON).unwrap(), 1);
            None
        }
        Err(Error::Start(error)) => Some(error),
        // Made before a start: the hidden thread and its descriptors.
        Err(Error::Io(error)) => Some(StartError::Io(error)),
        Err(other) => panic!("{other}"),
    }
}

fn errno(error: &StartError) -> Option<i32> {
    if let StartError::Io(error) = error { error.raw_os_error() } else { None }
}

#[test]
fn a_lack_of_descriptors_is_an_error_and_leaves_nothing() {
    const NAME: &str = "faults::a_lack_of_descriptors_is_an_error_and_leaves_nothing";
    alone(NAME, || {
        warm_up();
        let baseline = at_rest();
        let (mut failed, mut worked) = (0, 0);
        for spare in 0..30 {
            let result = start_with_spare(spare);
            match start_error(result) {
                Some(error) => {
                    failed += 1;
                    assert_eq!(errno(&error), Some(nix::libc::EMFILE), "{spare}: {error:?}");
                    assert_eq!(worked, 0, "{spare} are too few, though fewer were enough");
                }
                None => worked += 1,
            }
            back_to(&baseline);
        }
        assert!(failed > 3 && worked > 3, "{failed} {worked}");
    });
}

/// The first start of a program makes threads and more; it fails as cleanly, and the
/// second one works and is joined at exit.
#[test]
fn a_first_start_may_lack_descriptors() {
    const NAME: &str = "faults::a_first_start_may_lack_descriptors";
    alone(NAME, || {
        let before = holdings().children;
        let mut failed = 0;
        for spare in 0..12 {
            match start_error(start_with_spare(spare)) {
                Some(error) => {
                    failed += 1;
                    assert_eq!(errno(&error), Some(nix::libc::EMFILE), "{spare}: {error:?}");
                    assert_eq!(failed, spare + 1, "fewer were enough");
                }
                // From then on everything is there that is made once.
                None => assert!(spare > 3, "{spare} descriptors are too few for two links"),
            }
            assert_eq!(holdings().children, before);
        }
        assert!(failed < 12, "none of them worked");
        warm_up();
    });
}

/// A limit on processes does not bind root, so root becomes another user for this.
#[test]
fn a_lack_of_processes_is_an_error_and_leaves_nothing() {
    const NAME: &str = "faults::a_lack_of_processes_is_an_error_and_leaves_nothing";
    if is_alone(NAME) {
        // As `alone` does: the fork server would be one more child in the count.
        procession::force_start_method(Some(procession::StartMethod::Spawn));
        let refuse = |method, what| {
            let (soft, hard) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
            setrlimit(Resource::RLIMIT_NPROC, 0, hard).unwrap();
            let result = context(method).spawn(|| 1, ());
            setrlimit(Resource::RLIMIT_NPROC, soft, hard).unwrap();
            let error = start_error(result).expect(what);
            assert_eq!(errno(&error), Some(nix::libc::EAGAIN), "{what}: {error:?}");
        };
        // Cold: not even the library's threads are to be had.
        refuse(StartMethod::Spawn, "the first start");
        warm_up();
        let baseline = at_rest();
        for _ in 0..10 {
            refuse(StartMethod::Spawn, "a later start");
            back_to(&baseline);
        }
        warm_up();
        // The fork server is a process that this one starts, and one that starts others.
        let by_server = || {
            let process = context(StartMethod::ForkServer).spawn(|| 1, ()).unwrap();
            process.result_timeout(SOON).unwrap()
        };
        refuse(StartMethod::ForkServer, "the first start by a server");
        assert_eq!(by_server(), 1);
        let baseline = at_rest_with(1);
        for _ in 0..10 {
            refuse(StartMethod::ForkServer, "a later start by a server");
            assert_eq!(by_server(), 1);
            back_to(&baseline);
        }
        return;
    }
    let folder = Folder::new("processes");
    let copy = folder.file("copy");
    copy_program(std::env::current_exe().unwrap(), &copy);
    let mut command = alone_from(copy, NAME);
    if nix::unistd::geteuid().is_root() {
        command.uid(54_321).gid(54_321);
    }
    let output = run(command);
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("1 passed"), "{}", output.stdout);
}

/// Room for what a start itself needs: places between pieces that are held, which no
/// allocator gives back to the system.
fn room() -> Vec<Vec<u8>> {
    let lengths = (3..15).flat_map(|power| [1 << power, (1 << power) * 3 / 2]);
    let pieces = lengths.flat_map(|len| (0..200).map(move |_| vec![1u8; len]));
    let all: Vec<_> = pieces.collect();
    all.into_iter().step_by(2).collect()
}

#[test]
fn a_lack_of_memory_is_an_error_and_leaves_nothing() {
    const NAME: &str = "faults::a_lack_of_memory_is_an_error_and_leaves_nothing";
    alone(NAME, || {
        warm_up();
        let baseline = at_rest();
        let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
        // Too little for the image of a child: it cannot even be loaded. The parent has
        // more than that already, and gets nothing new.
        for limit in [1 << 16, 1 << 20, 4 << 20] {
            let room = room();
            setrlimit(Resource::RLIMIT_AS, limit, hard).unwrap();
            let result = Process::spawn(|| 1, ());
            setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
            drop(room);
            let error = start_error(result).expect("no room");
            let is_typed = errno(&error) == Some(nix::libc::ENOMEM)
                || errno(&error) == Some(nix::libc::EAGAIN)
                || matches!(error, StartError::Died { .. });
            assert!(is_typed, "{error:?}");
            back_to(&baseline);
        }
        warm_up();
    });
}

/// A child that runs out of memory ends by itself, and its end is told.
#[test]
fn a_child_without_memory_is_a_join_error() {
    let hungry = || vec![7u8; 1 << 30].iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let p = Process::builder(hungry, ())
        .rlimit(Resource::RLIMIT_AS as u32, 256 << 20, 256 << 20)
        // A backtrace would push the message out of the tail.
        .env("RUST_BACKTRACE", "0")
        .stderr(procession::Stdio::Relay)
        .start()
        .unwrap();
    let error = p.result_timeout(SOON).unwrap_err();
    let Error::Join(JoinError::Died { reason, .. }) = &error else { panic!("{error}") };
    assert_eq!(*reason, ExitReason::Signal(6));
    assert!(p.stderr_tail().contains("memory allocation"), "{}", p.stderr_tail());
}

/// A full device for a large result: the size of a file is limited to nothing.
#[test]
fn a_result_without_room_is_lost_with_its_reason() {
    alone("faults::a_result_without_room_is_lost_with_its_reason", || {
        warm_up();
        let baseline = at_rest();
        let large = |keep_going: bool| {
            if keep_going {
                let mut mask = nix::sys::signal::SigSet::empty();
                mask.add(nix::sys::signal::Signal::SIGXFSZ);
                mask.thread_block().unwrap();
            }
            vec![1u8; 1 << 20]
        };
        for (keep_going, code) in [(true, 1), (false, -nix::libc::SIGXFSZ)] {
            let p = Process::builder(large, (keep_going,))
                .rlimit(Resource::RLIMIT_FSIZE as u32, 4096, 4096)
                .start()
                .unwrap();
            let error = p.result_timeout(SOON).unwrap_err();
            match &error {
                Error::Join(JoinError::Lost { why, .. }) if keep_going => {
                    assert!(why.contains("File too large"), "{why}");
                }
                Error::Join(JoinError::Died { .. }) if !keep_going => {}
                other => panic!("{other}"),
            }
            assert_eq!(p.exitcode(), Some(code));
            drop(p);
            back_to(&baseline);
        }
        // What fits into a message needs no file.
        let small = Process::builder(|| vec![1u8; 1 << 15], ());
        let p = small.rlimit(Resource::RLIMIT_FSIZE as u32, 0, 0).start().unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap().len(), 1 << 15);
    });
}

/// A program that may write no file at all gets on, but for what has to lie in one.
#[test]
fn a_limit_on_files_does_not_end_a_program_that_starts_processes() {
    alone("faults::a_limit_on_files_does_not_end_a_program_that_starts_processes", || {
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, 0, hard).unwrap();
        for method in METHODS {
            let p = Process::builder(|| 1, ()).start_method(method).start().unwrap();
            assert_eq!(p.result_timeout(SOON).unwrap(), 1, "{method}");
        }
        let Err(error) = procession::SharedMemory::anonymous(1) else { panic!("there was room") };
        assert!(error.to_string().contains("File too large"), "{error}");
    });
}

/// A child that is there says itself why it does not run.
#[test]
fn a_child_that_cannot_run_says_why() {
    #[derive(serde::Serialize)]
    struct Unreadable;
    impl<'de> serde::Deserialize<'de> for Unreadable {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("not today"))
        }
    }
    let fault = |started| match started {
        Err(Error::Start(StartError::Refused(fault))) => fault,
        other => panic!("{other:?}"),
    };
    for method in METHODS {
        let p = Process::builder(|_: Unreadable| 1, (Unreadable,)).start_method(method);
        let StartFault::Arguments(why) = fault(p.start()) else { panic!("{method}") };
        assert!(why.contains("not today"), "{why}");
        let p = Process::builder(|| 1, ()).start_method(method);
        // More may be used than may be allowed.
        let found = fault(p.rlimit(Resource::RLIMIT_CORE as u32, 2, 1).start());
        let StartFault::Surroundings { what, why } = found else { panic!("{method}: {found}") };
        assert!(what.contains("limit") && why.contains("Invalid argument"), "{what}: {why}");
    }
}

/// Fills the table of descriptors, of which there are few, while `body` runs.
fn without_descriptors(body: impl FnOnce()) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
    let filling: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    body();
    drop(filling);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
}

/// A large result comes with a descriptor. It waits until there is room for that, whoever
/// hears of it first.
#[test]
fn a_result_without_a_descriptor_waits_for_one() {
    let large = |linger: bool| {
        if linger {
            // It keeps the process, which goes on to speak, from ending.
            let nap = || std::thread::sleep(Duration::from_millis(600));
            Process::builder(nap, ()).daemon(false).start().unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
        vec![7u8; 1 << 20]
    };
    alone("faults::a_result_without_a_descriptor_waits_for_one", || {
        warm_up();
        for linger in [false, true] {
            let p = Process::spawn(large, (linger,)).unwrap();
            without_descriptors(|| {
                assert!(p.join_timeout(SOON).unwrap());
                assert_eq!(p.exitcode(), Some(0));
                let Err(Error::Io(error)) = p.result() else { panic!("there was one") };
                assert_eq!(error.raw_os_error(), Some(nix::libc::EMFILE));
            });
            assert_eq!(p.result().unwrap().len(), 1 << 20);
            // The hidden thread hears it, and there is room before the end.
            let p = Process::spawn(large, (linger,)).unwrap();
            without_descriptors(|| std::thread::sleep(Duration::from_millis(500)));
            assert_eq!(p.result_timeout(SOON).unwrap().len(), 1 << 20);
        }
    });
}

/// How much memory this process has, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn waits_that_are_given_up_leave_nothing() {
    fn give_up(wait: impl Future) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::pin!(wait).poll(&mut context).is_pending());
    }
    alone("faults::waits_that_are_given_up_leave_nothing", || {
        let p = Process::spawn(|| std::thread::sleep(Duration::from_secs(90)), ()).unwrap();
        give_up(p.join_async());
        let before = resident();
        for _ in 0..100_000 {
            give_up(p.join_async());
            give_up(p.result_async());
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown}");
        p.kill().unwrap();
        p.join().unwrap();
    });
}

/// Its parent is known by its number there.
#[test]
fn a_child_without_a_descriptor_of_its_parent_knows_whether_that_lives() {
    let looks = |folder: String| {
        let parent = parent_process().unwrap();
        let lives = parent.is_alive();
        let joined = parent.join_timeout(Duration::ZERO).unwrap();
        // From here on there is room again.
        setrlimit(Resource::RLIMIT_NOFILE, 64, 1024).unwrap();
        crate::util::note(&format!("{folder}/seen"), &format!("{lives} {joined}"));
        parent.join().unwrap();
        crate::util::note(&format!("{folder}/seen"), &format!("{} true", parent.is_alive()));
    };
    let folder = Folder::new("parentless");
    let path = folder.0.to_str().unwrap().to_owned();
    let parent = move |path: String| {
        let child = Process::builder(looks, (path,)).start_method(StartMethod::Spawn);
        let child = child.rlimit(Resource::RLIMIT_NOFILE as u32, 5, 1024).detached();
        child.start().unwrap();
        std::thread::sleep(Duration::from_secs(90));
    };
    let p = Process::spawn(parent, (path,)).unwrap();
    let seen = folder.file("seen");
    assert_eq!(crate::util::lines(&seen, 1), ["true false"]);
    p.kill().unwrap();
    assert_eq!(crate::util::lines(&seen, 2)[1], "false true");
}

/// A start that is too slow, or whose future is dropped, leaves nothing either.
#[test]
fn a_start_that_is_given_up_leaves_nothing() {
    #[derive(serde::Serialize)]
    struct Slow;
    impl<'de> serde::Deserialize<'de> for Slow {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            std::thread::sleep(Duration::from_secs(90));
            Ok(Slow)
        }
    }
    alone("faults::a_start_that_is_given_up_leaves_nothing", || {
        warm_up();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let baseline = at_rest();
        for _ in 0..3 {
            let p = Process::builder(|_: Slow| (), (Slow,));
            let error = p.start_timeout(Duration::from_millis(50)).start().unwrap_err();
            assert!(matches!(error, Error::Start(StartError::Timeout(_))), "{error}");
            back_to(&baseline);
            runtime.block_on(async {
                let start = Process::builder(|_: Slow| (), (Slow,)).start_async();
                assert!(tokio::time::timeout(Duration::from_millis(50), start).await.is_err());
            });
            back_to(&baseline);
        }
        let error = Process::spawn(|_: u32| (), (1u32,)).unwrap().result_timeout(SOON);
        error.unwrap();
        back_to(&baseline);
    });
}

/// It is ready, and who asked for it has gone before that could be said.
#[test]
fn a_child_that_nobody_takes_is_ended() {
    let sleep_on = || std::thread::sleep(Duration::from_secs(90));
    alone("faults::a_child_that_nobody_takes_is_ended", || {
        warm_up();
        let baseline = at_rest();
        let mut context = Context::from_waker(Waker::noop());
        let start = loop {
            let mut start = Box::pin(Process::builder(sleep_on, ()).start_async());
            let Poll::Ready(ready) = start.as_mut().poll(&mut context) else { break start };
            // It was said before this thread had looked once.
            let child = ready.unwrap();
            child.kill().unwrap();
            child.join().unwrap();
            drop(child);
            back_to(&baseline);
        };
        until("there is a child", || holdings().children > baseline.children);
        std::thread::sleep(Duration::from_millis(500));
        drop(start);
        back_to(&baseline);
    });
}
