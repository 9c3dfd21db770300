//! Signals: interrupted system calls, a program that ignores SIGCHLD or reaps whatever it
//! finds, Ctrl-C.

use crate::util::signals::{caught, under_fire};
use crate::util::{
    Folder, SOON, alone, alone_command, at_rest, back_to, is_alone, lines, lives, note, run,
    signal, text, until,
};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;
use procession::{Error, ExitReason, JoinError, Process, RawStatus};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn sleep_on() {
    std::thread::sleep(Duration::from_secs(90));
}

/// Rows eintr: signals that interrupt every wait change nothing.
#[test]
fn interrupted_calls_are_resumed() {
    alone("signals::interrupted_calls_are_resumed", || {
        Process::spawn(|| 1, ()).unwrap().join().unwrap();
        let baseline = at_rest();
        let begun = Instant::now();
        under_fire(Signal::SIGUSR1, || {
            let large = vec![3u8; 256 << 10];
            for number in 0..40u64 {
                let echo = |number: u64, bytes: Vec<u8>| (number, bytes.len());
                let p = Process::spawn(echo, (number, large.clone())).unwrap();
                assert_eq!(p.result_timeout(SOON).unwrap(), (number, large.len()));
                assert_eq!(p.exitcode(), Some(0));
            }
            let p = Process::spawn(|| std::thread::sleep(Duration::from_millis(400)), ()).unwrap();
            let before = Instant::now();
            assert!(!p.join_timeout(Duration::from_millis(200)).unwrap());
            assert!(before.elapsed() >= Duration::from_millis(200));
            assert!(p.join_timeout(SOON).unwrap());
            let p = Process::spawn(|| vec![1u8; 1 << 20], ()).unwrap();
            assert_eq!(p.result_timeout(SOON).unwrap().len(), 1 << 20);
        });
        assert!(caught() > 100, "{} in {:?}", caught(), begun.elapsed());
        back_to(&baseline);
    });
}

/// The same in a child, whose runtime writes and waits as well.
#[test]
fn interrupted_calls_are_resumed_in_a_child() {
    let body = || {
        under_fire(Signal::SIGUSR1, || {
            let p = Process::spawn(|| vec![5u8; 1 << 20], ()).unwrap();
            (p.result().unwrap().len(), vec![6u8; 1 << 20])
        })
    };
    let p = Process::spawn(body, ()).unwrap();
    let (inner, outer) = p.result_timeout(SOON).unwrap();
    assert_eq!((inner, outer.len()), (1 << 20, 1 << 20));
}

/// Starts children that end in each way, and checks that each end is told once, with a
/// status that is right or unknown.
fn ends_are_known(rounds: i32) {
    let mut unknown = 0;
    for round in 0..rounds {
        let p = Process::spawn(|code: i32| -> () { std::process::exit(code) }, (round,)).unwrap();
        let killed = Process::spawn(sleep_on, ()).unwrap();
        let value = Process::spawn(|| 11, ()).unwrap();
        killed.kill().unwrap();
        for (p, status) in [(&p, RawStatus::Code(round)), (&killed, RawStatus::Signal(9))] {
            assert!(p.join_timeout(SOON).unwrap());
            let down = p.down().unwrap();
            if down.status == RawStatus::Unknown {
                unknown += 1;
                assert_eq!((p.exitcode(), &down.reason), (None, &ExitReason::Unknown));
            } else {
                assert_eq!(down.status, status);
            }
            // Always the same one.
            assert!(std::sync::Arc::ptr_eq(&down, &p.down().unwrap()));
        }
        // What it returned arrives whoever reaped it.
        assert_eq!(value.result_timeout(SOON).unwrap(), 11);
        let error = killed.result().unwrap_err();
        assert!(matches!(error, Error::Join(JoinError::Died { .. })), "{error}");
    }
    eprintln!("{unknown} of {} ends unknown", 2 * rounds);
}

#[test]
fn a_program_that_ignores_sigchld_learns_each_end() {
    const NAME: &str = "signals::a_program_that_ignores_sigchld_learns_each_end";
    if is_alone(NAME) {
        ends_are_known(20);
        // Children start with the default, whatever the parent does.
        let own = || Command::new("true").status().unwrap().success();
        assert!(Process::spawn(own, ()).unwrap().result_timeout(SOON).unwrap());
        let left = crate::util::children_of(std::process::id());
        assert!(left.len() <= 2, "the fork server and its spare worker: {left:?}");
        return;
    }
    let original = alone_command(NAME);
    let mut command = Command::new("env");
    command.arg("--ignore-signal=CHLD").arg(original.get_program()).args(original.get_args());
    command.envs(original.get_envs().map(|(name, value)| (name, value.unwrap())));
    let output = run(command);
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("1 passed"), "{}", output.stdout);
}

#[test]
fn a_thread_that_reaps_everything_takes_no_end_away() {
    alone("signals::a_thread_that_reaps_everything_takes_no_end_away", || {
        static STOP: AtomicBool = AtomicBool::new(false);
        let thief = std::thread::spawn(|| {
            let mut stolen = 0;
            while !STOP.load(Ordering::Relaxed) {
                match wait() {
                    Ok(WaitStatus::StillAlive) | Err(_) => {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                    Ok(_) => stolen += 1,
                }
            }
            stolen
        });
        ends_are_known(20);
        STOP.store(true, Ordering::Relaxed);
        let stolen = thief.join().unwrap();
        assert!(stolen > 0, "the thread was too slow for this test");
    });
}

/// A program's own children beside ours: each waits for its own.
#[test]
fn children_of_std_process_are_the_users() {
    alone("signals::children_of_std_process_are_the_users", || {
        let mut theirs: Vec<_> = (0..20)
            .map(|code| Command::new("sh").args(["-c", &format!("exit {code}")]).spawn().unwrap())
            .collect();
        let ours: Vec<_> = (0..20)
            .map(|code: i32| {
                Process::spawn(|code: i32| -> () { std::process::exit(code) }, (code,)).unwrap()
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        for (code, (theirs, ours)) in (0..).zip(theirs.iter_mut().zip(&ours)) {
            ours.join().unwrap();
            assert_eq!(ours.exitcode(), Some(code));
            assert_eq!(theirs.wait().unwrap().code(), Some(code));
        }
    });
}

/// Row proc-10: the default disposition gives -2. And proc-09's waits, which end at once.
#[test]
fn an_interrupt_ends_a_plain_process() {
    let p = Process::spawn(sleep_on, ()).unwrap();
    assert!(!p.join_timeout(Duration::ZERO).unwrap());
    assert!(p.is_alive().unwrap());
    p.interrupt().unwrap();
    assert!(p.join_timeout(SOON).unwrap());
    assert_eq!(p.exitcode(), Some(-2));
    assert_eq!(p.down().unwrap().reason, ExitReason::Signal(2));
}

/// A program whose mask and dispositions are unusual starts children with usual ones.
#[test]
fn a_child_starts_with_default_signals() {
    alone("signals::a_child_starts_with_default_signals", || {
        SigSet::all().thread_block().unwrap();
        let p = Process::spawn(
            || {
                let status = std::fs::read_to_string("/proc/self/status").unwrap();
                let of = |name: &str| {
                    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                    line.split_whitespace().nth(1).unwrap().to_owned()
                };
                (of("SigBlk:"), of("SigIgn:"))
            },
            (),
        );
        let (blocked, ignored) = p.unwrap().result_timeout(SOON).unwrap();
        assert_eq!(blocked, "0000000000000000");
        // SIGPIPE, as in every Rust program. 32 and 33 are the C library's own, which
        // nobody can set.
        let ignored = u64::from_str_radix(&ignored, 16).unwrap() & !(0b11 << 31);
        assert_eq!(ignored, 1 << (Signal::SIGPIPE as i32 - 1));
        SigSet::all().thread_unblock().unwrap();
    });
}

/// Ctrl-C on a terminal: SIGINT to the whole group. What ignores it goes on; the rest,
/// the parent too, ends.
#[test]
fn ctrl_c_ends_plain_children_and_spares_those_that_ignore_it() {
    const NAME: &str = "signals::ctrl_c_ends_plain_children_and_spares_those_that_ignore_it";
    if is_alone(NAME) {
        let path = std::env::var("PROCESSION_TEST_PATH").unwrap();
        // The parent handles it, as a program with an orderly end would.
        crate::util::signals::catch(Signal::SIGINT);
        let work = |path: String| {
            note(&path, "ready");
            sleep_on();
        };
        let plain = Process::spawn(work, (path.clone(),)).unwrap();
        let work = |path: String| {
            note(&path, "ready");
            while !text(&path).contains("go on") {
                std::thread::sleep(Duration::from_millis(5));
            }
            5
        };
        let spared = Process::builder(work, (path.clone(),)).ignore_interrupt().start().unwrap();
        until("the interrupt", || caught() > 0);
        assert!(plain.join_timeout(SOON).unwrap());
        assert_eq!(plain.exitcode(), Some(-2));
        assert!(spared.is_alive().unwrap());
        note(&path, "go on");
        assert_eq!(spared.result_timeout(SOON).unwrap(), 5);
        // It is not in the way of an end that the parent asks for.
        let p = Process::builder(sleep_on, ()).ignore_interrupt().start().unwrap();
        assert_eq!(p.stop(SOON).unwrap().reason, ExitReason::Shutdown);
        return;
    }
    let folder = Folder::new("ctrl-c");
    let path = folder.file("log");
    let mut command = alone_command(NAME);
    command.env("PROCESSION_TEST_PATH", &path).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut parent = command.spawn().unwrap();
    lines(&path, 2);
    killpg(Pid::from_raw(parent.id().cast_signed()), Signal::SIGINT).unwrap();
    assert!(parent.wait().unwrap().success());
}

/// Without a handler the parent dies of it, and takes along what ignored it.
#[test]
fn ctrl_c_without_a_handler_leaves_nothing() {
    const NAME: &str = "signals::ctrl_c_without_a_handler_leaves_nothing";
    if is_alone(NAME) {
        let path = std::env::var("PROCESSION_TEST_PATH").unwrap();
        let work = |path: String| {
            note(&path, &std::process::id().to_string());
            sleep_on();
        };
        for _ in 0..2 {
            let p = Process::builder(work, (path.clone(),));
            p.ignore_interrupt().start().unwrap();
        }
        sleep_on();
    }
    let folder = Folder::new("ctrl-c-all");
    let path = folder.file("log");
    let mut command = alone_command(NAME);
    command.env("PROCESSION_TEST_PATH", &path).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut parent = command.spawn().unwrap();
    let pids: Vec<u32> = lines(&path, 2).iter().map(|line| line.parse().unwrap()).collect();
    signal(pids[0], Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(50));
    assert!(lives(pids[0]), "it ignores it");
    killpg(Pid::from_raw(parent.id().cast_signed()), Signal::SIGINT).unwrap();
    until("the parent has ended", || parent.try_wait().unwrap().is_some());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&parent.wait().unwrap()), Some(2));
    until("all are gone", || !pids.iter().any(|pid| lives(*pid)));
}
