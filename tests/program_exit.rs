//! Real programs: what a `main` and its children print, and what is left at their end.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

mod util;

use procession::{LogLevel, Process, StartMethod, at_exit, log_to_stderr};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use util::program::{Case, command, output};
use util::{Folder, METHODS, lives, note, run, text, until};

const PATH: &str = "PROCESSION_TEST_PATH";
const METHOD: &str = "PROCESSION_TEST_METHOD";
const WAY: &str = "PROCESSION_TEST_WAY";

fn main() {
    util::program::main(&[
        Case { name: "main_runs_once", program: hello, check: hello_check },
        Case { name: "methods_print_squares", program: squares, check: squares_check },
        Case { name: "children_are_joined", program: joins, check: joins_check },
        Case { name: "daemons_are_terminated", program: daemons, check: daemons_check },
        Case { name: "stubborn_daemons_are_killed", program: stubborn, check: stubborn_check },
        Case { name: "a_join_at_exit_names_the_child", program: names, check: names_check },
        Case { name: "output_is_flushed_once", program: flushes, check: flushes_check },
        Case { name: "settings_reach_grandchildren", program: settings, check: settings_check },
        Case { name: "the_command_line_travels", program: args, check: args_check },
        Case { name: "many_joiners_at_exit", program: unjoined, check: unjoined_check },
    ]);
}

fn path() -> String {
    std::env::var(PATH).unwrap()
}

fn note_pid() {
    note(&path(), &std::process::id().to_string());
}

/// Is there once `main` has said its last.
fn said_main() -> PathBuf {
    format!("{}.main", path()).into()
}

/// Is there once this child has said its last.
fn said(number: u64) -> PathBuf {
    format!("{}.{number}", path()).into()
}

/// Uses the method that the test asks for.
fn set_method() {
    let method: StartMethod = std::env::var(METHOD).unwrap().parse().unwrap();
    procession::set_start_method(method).unwrap();
}

fn nobody_is_left(path: &str, noted: usize) {
    let pids: Vec<u32> = text(path).lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), noted);
    assert!(!pids.iter().any(|pid| lives(*pid)));
}

/// Program sp-10, row exit-03: no main guard, no ceremony, and yet one hello.
fn hello() {
    set_method();
    println!("main");
    let p = Process::new(|| println!("hello"), ()).unwrap();
    p.start().unwrap();
    p.join().unwrap();
}

fn hello_check() {
    for method in METHODS {
        let mut command = command("main_runs_once");
        command.env(METHOD, method.to_string());
        let output = run(command);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("main\nhello\n", ""));
        assert_eq!(output.code, 0);
    }
}

/// As row main-01, with processes in place of the pool.
fn squares() {
    set_method();
    let all = [1, 2, 3].map(|x: u32| Process::spawn(|x: u32| x * x, (x,)).unwrap());
    let squares = all.map(|p| p.result().unwrap());
    println!("{} -> {squares:?}", procession::start_method());
}

fn squares_check() {
    for method in METHODS {
        let mut command = command("methods_print_squares");
        command.env(METHOD, method.to_string());
        let output = run(command);
        assert_eq!(output.stdout, format!("{method} -> [1, 4, 9]\n"));
        assert_eq!((output.stderr.as_str(), output.code), ("", 0));
    }
}

/// Claim sc-102: whatever way `main` ends, it waits for its children.
fn joins() {
    for number in 0..3 {
        let body = |number: u64| {
            note_pid();
            until("main has ended", || said_main().exists());
            std::thread::sleep(Duration::from_millis(150));
            until("the one before has said so", || number == 0 || said(number - 1).exists());
            println!("child {number}");
            std::fs::write(said(number), "").unwrap();
        };
        Process::spawn(body, (number,)).unwrap();
    }
    println!("main");
    std::fs::write(said_main(), "").unwrap();
    match std::env::var(WAY).unwrap().as_str() {
        "return" => {}
        "panic" => panic!("on purpose"),
        "thread" => std::thread::spawn(|| std::process::exit(4)).join().unwrap(),
        "std" => std::process::exit(4),
        _ => procession::exit(4),
    }
}

fn joins_check() {
    let folder = Folder::new("joins");
    for (way, code) in [("return", 0), ("panic", 101), ("std", 4), ("thread", 4), ("ours", 4)] {
        let path = folder.file(way);
        let mut command = command("children_are_joined");
        command.env(PATH, &path).env(WAY, way);
        let output = run(command);
        assert_eq!(output.stdout, "main\nchild 0\nchild 1\nchild 2\n", "{way}");
        assert_eq!((output.code, output.stderr.is_empty()), (code, way != "panic"), "{way}");
        nobody_is_left(&path, 3);
    }
}

/// Claim sc-108.
fn daemons() {
    for _ in 0..3 {
        let body = || {
            at_exit(0, || println!("hooks do not run at a SIGTERM"));
            note_pid();
            std::thread::sleep(Duration::from_secs(90));
        };
        let p = Process::builder(body, ()).daemon(true).start().unwrap();
        assert!(p.is_daemon());
    }
    util::until("all run", || text(&path()).lines().count() == 3);
    println!("main");
}

fn daemons_check() {
    let folder = Folder::new("daemons");
    let path = folder.file("pids");
    let mut command = command("daemons_are_terminated");
    command.env(PATH, &path);
    let begun = Instant::now();
    let output = run(command);
    assert!(begun.elapsed() < Duration::from_secs(4), "none had to be killed");
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("main\n", ""));
    assert_eq!(output.code, 0);
    nobody_is_left(&path, 3);
}

/// A daemon that does not heed SIGTERM is killed after a while.
fn stubborn() {
    let body = || {
        let mut mask = nix::sys::signal::SigSet::empty();
        mask.add(nix::sys::signal::Signal::SIGTERM);
        mask.thread_block().unwrap();
        note_pid();
        std::thread::sleep(Duration::from_secs(90));
    };
    Process::builder(body, ()).daemon(true).start().unwrap();
    util::until("it runs", || text(&path()).lines().count() == 1);
}

fn stubborn_check() {
    let folder = Folder::new("stubborn");
    let path = folder.file("pids");
    let mut command = command("stubborn_daemons_are_killed");
    command.env(PATH, &path);
    let output = run(command);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.code), ("", "", 0));
    nobody_is_left(&path, 1);
}

/// Claim sc-103: who waits says for whom.
fn names() {
    log_to_stderr(LogLevel::Info).unwrap();
    let slow = || std::thread::sleep(Duration::from_millis(300));
    Process::builder(slow, ()).name("slow one").start().unwrap();
    let daemon = || std::thread::sleep(Duration::from_secs(90));
    Process::builder(daemon, ()).name("helper").daemon(true).start().unwrap();
}

fn names_check() {
    let output = output("a_join_at_exit_names_the_child");
    let said = output.stderr.lines().filter(|line| line.starts_with("[INFO/MainProcess]"));
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            "[INFO/MainProcess] process shutting down",
            "[INFO/MainProcess] calling terminate() for daemon helper",
            "[INFO/MainProcess] calling join() for process slow one",
        ]
    );
}

/// Claims sc-79 and sc-86: what is in a buffer comes out once.
fn flushes() {
    print!("before ");
    let body = || {
        print!("child ");
        std::io::stdout().write_all(b"bytes ").unwrap();
    };
    std::io::stdout().flush().unwrap();
    Process::spawn(body, ()).unwrap().join().unwrap();
    let body = || -> () {
        print!("exit ");
        procession::exit(0)
    };
    Process::spawn(body, ()).unwrap().join().unwrap();
    print!("after");
}

fn flushes_check() {
    let output = output("output_is_flushed_once");
    assert_eq!(output.stdout, "before child bytes exit after");
    assert_eq!((output.stderr.as_str(), output.code), ("", 0));
}

/// Row exit-02: environment, `RUST_BACKTRACE` and log level, in a grandchild.
fn settings() {
    set_method();
    procession::log::set_level(LogLevel::Other(17));
    let child = || {
        let grandchild = || -> () {
            let level = procession::log::effective_level().value();
            let env = |name| std::env::var(name).unwrap_or_default();
            println!("{level} {} {}", env("COLOUR"), env("RUST_BACKTRACE"));
            panic!("on purpose");
        };
        Process::spawn(grandchild, ()).unwrap().join().unwrap();
    };
    Process::spawn(child, ()).unwrap().join().unwrap();
}

fn settings_check() {
    let methods = METHODS.into_iter().chain([StartMethod::Fork]);
    for (method, backtrace) in methods.flat_map(|by| [(by, "0"), (by, "1")]) {
        let mut command = command("settings_reach_grandchildren");
        command.env(METHOD, method.to_string());
        command.env("COLOUR", "blue").env("RUST_BACKTRACE", backtrace);
        let output = run(command);
        assert_eq!(output.stdout, format!("17 blue {backtrace}\n"));
        assert!(
            output.stderr.starts_with("Process Process-1:1:\npanicked at "),
            "{}",
            output.stderr
        );
        assert_eq!(output.stderr.contains("run_entry"), backtrace == "1", "{}", output.stderr);
    }
}

/// A child's own command line is neutral; the program's is there when asked for.
fn args() {
    let child = || {
        let own: Vec<String> = std::env::args().skip(1).collect();
        let argv = procession::current_process().argv();
        let argv: Vec<String> =
            argv.into_iter().skip(1).map(|arg| arg.into_string().unwrap()).collect();
        println!("{own:?} {argv:?}");
    };
    let child = move || Process::spawn(child, ()).unwrap().join().unwrap();
    Process::spawn(child, ()).unwrap().join().unwrap();
}

fn args_check() {
    let mut command = command("the_command_line_travels");
    command.args(["--list", "two words", "naïve"]);
    let output = run(command);
    // With musl the standard library has no arguments before `main`.
    let own = if cfg!(target_env = "musl") { "[]" } else { "[\"--procession-child\"]" };
    let expected = format!("{own} [\"--list\", \"two words\", \"naïve\"]\n");
    assert_eq!(output.stdout, expected, "{}", output.stderr);
}

/// Children that nobody joins, in three generations, are waited for by their parents.
fn unjoined() {
    fn generation(depth: u32) {
        if depth > 0 {
            for _ in 0..3 {
                Process::spawn(generation, (depth - 1,)).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        note_pid();
    }
    generation(2);
}

fn unjoined_check() {
    let folder = Folder::new("unjoined");
    let path = folder.file("pids");
    let mut command = command("many_joiners_at_exit");
    command.env(PATH, &path);
    let output = run(command);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.code), ("", "", 0));
    nobody_is_left(&path, 1 + 3 + 9);
}
