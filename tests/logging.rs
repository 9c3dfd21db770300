//! Log lines of a tree of processes: Python's text, inherited levels, whole lines.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

mod util;

use procession::log::{effective_level, log, set_level};
use procession::{Connection, LogLevel, Pipe, Process, log_to_stderr};
use std::collections::BTreeMap;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;
use util::{SOON, alone, alone_command, is_alone, run};

#[test]
fn lines_are_pythons_and_children_have_them() {
    const NAME: &str = "lines_are_pythons_and_children_have_them";
    if is_alone(NAME) {
        log_to_stderr(LogLevel::Info).unwrap();
        let p = Process::spawn(
            || {
                tracing::info!("a user's word");
                tracing::debug!("not shown");
                let inner = Process::spawn(|| tracing::warn!(n = 3, "deep"), ()).unwrap();
                inner.join().unwrap();
                log(LogLevel::Other(32), format_args!("between"));
            },
            (),
        )
        .unwrap();
        p.join().unwrap();
        let p =
            Process::builder(|| -> () { std::process::exit(3) }, ()).name("fred").start().unwrap();
        p.join().unwrap();
        return;
    }
    let output = run(alone_command(NAME));
    assert_eq!(output.code, 0, "{}", output.stderr);
    let mut lines: Vec<&str> = output.stderr.lines().collect();
    let main: Vec<&str> =
        lines.iter().copied().filter(|line| line.contains("/MainProcess]")).collect();
    assert_eq!(main, ["[INFO/MainProcess] process shutting down"]);
    lines.retain(|line| !line.contains("/MainProcess]"));
    assert_eq!(
        lines,
        [
            "[INFO/Process-1] child process calling self.run()",
            "[INFO/Process-1] a user's word",
            "[INFO/Process-1:1] child process calling self.run()",
            "[WARNING/Process-1:1] deep n=3",
            "[INFO/Process-1:1] process shutting down",
            "[INFO/Process-1:1] process exiting with exitcode 0",
            "[Level 32/Process-1] between",
            "[INFO/Process-1] process shutting down",
            "[INFO/Process-1] process exiting with exitcode 0",
            "[INFO/fred] child process calling self.run()",
        ],
        "{}",
        output.stderr
    );
}

/// Row log-01.
#[test]
fn nothing_is_written_before_it_is_asked_for() {
    const NAME: &str = "nothing_is_written_before_it_is_asked_for";
    if is_alone(NAME) {
        for level in [LogLevel::SubDebug, LogLevel::Info, LogLevel::Critical] {
            set_level(level);
            log(level, format_args!("nobody listens"));
            let p = Process::spawn(
                || {
                    log(LogLevel::Critical, format_args!("nor here"));
                    tracing::error!("nor this");
                },
                (),
            );
            p.unwrap().join().unwrap();
        }
        return;
    }
    let output = run(alone_command(NAME));
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

/// Row log-02.
#[test]
fn children_inherit_the_level() {
    alone("children_inherit_the_level", || {
        let of_child = || {
            let p = Process::spawn(|| effective_level().value(), ()).unwrap();
            p.result_timeout(SOON).unwrap()
        };
        assert_eq!(of_child(), 30, "WARNING, as Python's root logger");
        set_level(LogLevel::Other(32));
        assert_eq!(of_child(), 32);
        set_level(LogLevel::Other(37));
        assert_eq!(of_child(), 37);
        set_level(LogLevel::NotSet);
        assert_eq!(of_child(), 30);
        let grandchild = Process::spawn(
            || {
                set_level(LogLevel::Debug);
                Process::spawn(|| effective_level().value(), ()).unwrap().result().unwrap()
            },
            (),
        );
        assert_eq!(grandchild.unwrap().result_timeout(SOON).unwrap(), 10);
    });
}

/// The subscriber of a child's own sees who the child is and where it was started.
#[test]
fn a_childs_span_says_where_it_was_started() {
    alone("a_childs_span_says_where_it_was_started", || {
        fn spans() -> (String, u32) {
            use tracing_subscriber::fmt::format::FmtSpan;
            let path = format!("/tmp/procession-spans-{}", std::process::id());
            let file = std::fs::File::create(&path).unwrap();
            let subscriber = tracing_subscriber::fmt()
                .with_span_events(FmtSpan::ENTER)
                .with_ansi(false)
                .with_writer(file)
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
            procession::log::root_span().in_scope(|| ());
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            (text, std::process::id())
        }
        log_to_stderr(LogLevel::Critical).unwrap();
        let _outer = tracing::info_span!("outer").entered();
        let _inner = tracing::info_span!("inner").entered();
        let p = Process::builder(
            || {
                let _own = tracing::info_span!("own").entered();
                procession_runtime::log::current_span_names()
            },
            (),
        );
        assert_eq!(p.start().unwrap().result_timeout(SOON).unwrap(), ["process", "own"]);
        // A parent with a registry, but without our layer: the child's own subscriber
        // stands in nobody's way.
        let p = Process::builder(
            || {
                tracing::subscriber::with_default(tracing_subscriber::registry(), || {
                    let _outer = tracing::info_span!("outer").entered();
                    let _inner = tracing::info_span!("inner").entered();
                    let p = Process::spawn(spans, ()).unwrap();
                    (p.result().unwrap(), std::process::id())
                })
            },
            (),
        );
        let ((text, own), parent) = p.start().unwrap().result_timeout(SOON).unwrap();
        let (own, parent) = (format!(" pid={own}"), format!("ppid={parent}"));
        for part in ["process=Process-2:1", &own, &parent, "parent_spans=\"outer:inner\""] {
            assert!(text.contains(part), "{part}: {text}");
        }
    });
}

/// The names travel also when the start is an async one, which runs on another thread.
#[test]
fn the_callers_spans_travel_from_async_code() {
    alone("the_callers_spans_travel_from_async_code", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        log_to_stderr(LogLevel::Critical).unwrap();
        let span = tracing::info_span!("here");
        let names = |_: u32| procession_runtime::node::guard::parent_spans();
        let start = span.in_scope(|| Process::builder(names, (1,)).start_async());
        let p = span.in_scope(|| runtime.block_on(start)).unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap(), ["here"]);
    });
}

const WRITERS: u64 = 8;
const LINES: u64 = 10_000;

fn filling() -> String {
    (b'a'..=b'z').map(char::from).cycle().take(8_000).collect()
}

/// Eight processes, 10,000 lines of 8 KB into one pipe: none mixed, none lost.
#[test]
fn long_lines_of_many_processes_arrive_whole() {
    const NAME: &str = "long_lines_of_many_processes_arrive_whole";
    fn writer(number: u64) {
        let filling = filling();
        for line in 0..LINES / WRITERS {
            tracing::warn!("{number} {line} {filling}.");
        }
    }
    if is_alone(NAME) {
        log_to_stderr(LogLevel::Warning).unwrap();
        let all: Vec<_> =
            (0..WRITERS).map(|number| Process::spawn(writer, (number,)).unwrap()).collect();
        for p in all {
            p.join().unwrap();
            assert_eq!(p.exitcode(), Some(0));
        }
        return;
    }
    let output = run(alone_command(NAME));
    assert_eq!(output.code, 0, "{}", output.stdout);
    let filling = filling();
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    for line in output.stderr.lines() {
        let (head, rest) = line.split_once("] ").unwrap();
        let words: Vec<&str> = rest.split(' ').collect();
        assert!(head.starts_with("[WARNING/Process-") && words.len() == 3, "mixed: {line}");
        let next = next.entry(words[0].parse().unwrap()).or_default();
        assert_eq!(words[1].parse(), Ok(*next), "of process {}", words[0]);
        assert!(words[2] == format!("{filling}."), "mixed: {line}");
        *next += 1;
    }
    assert_eq!(next, (0..WRITERS).map(|number| (number, LINES / WRITERS)).collect());
}

/// As with a pager that nobody scrolls: who cannot be heard waits, and takes nobody's place.
#[test]
fn long_lines_wait_for_a_reader_that_rests() {
    const NAME: &str = "long_lines_wait_for_a_reader_that_rests";
    const FEW: u64 = 200;
    fn writer(number: u64) {
        let filling = filling();
        for line in 0..FEW {
            tracing::warn!("{number} {line} {filling}.");
        }
    }
    if is_alone(NAME) {
        log_to_stderr(LogLevel::Warning).unwrap();
        let all = [0, 1].map(|number| Process::spawn(writer, (number,)).unwrap());
        for p in all {
            p.join().unwrap();
            assert_eq!(p.exitcode(), Some(0));
        }
        return;
    }
    let mut child =
        alone_command(NAME).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Longer than a line waits before it looks after its parent.
    std::thread::sleep(Duration::from_millis(6500));
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let filling = filling();
    let mut next = [0; 2];
    for line in text.lines() {
        let (_, rest) = line.split_once("] ").unwrap();
        let number = usize::from(rest.starts_with('1'));
        assert!(rest == format!("{number} {} {filling}.", next[number]), "mixed: {line}");
        next[number] += 1;
    }
    assert_eq!(next, [FEW; 2]);
}

/// Lines that fit into one write are whole without anybody's help (sc-352).
#[test]
fn short_lines_of_many_processes_arrive_whole() {
    const NAME: &str = "short_lines_of_many_processes_arrive_whole";
    if is_alone(NAME) {
        log_to_stderr(LogLevel::Warning).unwrap();
        let write = |number: u64| {
            for line in 0..500 {
                tracing::warn!("{number} {line} {}.", "y".repeat(700));
            }
        };
        let all: Vec<_> = (0..4).map(|number| Process::spawn(write, (number,)).unwrap()).collect();
        for p in all {
            p.join().unwrap();
        }
        return;
    }
    let output = run(alone_command(NAME));
    assert_eq!(output.code, 0, "{}", output.stdout);
    let end = format!(" {}.", "y".repeat(700));
    assert!(output.stderr.lines().all(|l| l.starts_with("[WARNING/Process-") && l.ends_with(&end)));
    assert_eq!(output.stderr.lines().count(), 2000);
}

/// A parent whose standard error nobody reads still serves its children.
#[test]
fn a_reader_that_stops_does_not_stop_the_parent() {
    alone("a_reader_that_stops_does_not_stop_the_parent", || {
        let (reader, writer) = std::io::pipe().unwrap();
        let p = Process::builder(
            || {
                log_to_stderr(LogLevel::Info).unwrap();
                let loud = || {
                    for _ in 0..600 {
                        tracing::info!("{}", "x".repeat(8_000));
                    }
                };
                let loud = Process::builder(loud, ()).daemon(true).start().unwrap();
                set_level(LogLevel::Critical);
                std::thread::sleep(Duration::from_millis(300));
                let quiet = Process::spawn(|| 7, ()).unwrap();
                let seven = quiet.result_timeout(SOON).unwrap();
                (seven, loud.is_alive().unwrap())
            },
            (),
        )
        .stderr(procession::Stdio::Fd(writer.into()))
        .start()
        .unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap(), (7, true));
        drop(reader);
        assert!(p.join_timeout(SOON).unwrap());
    });
}

/// What is written slowly is taken from all in turn: no child waits until others have nothing
/// more to say. (After five seconds it would write a line itself, before its earlier ones.)
#[test]
fn who_has_few_long_lines_is_not_kept_waiting_by_who_has_many() {
    // Far more than there is room for, and in the sockets of all.
    const MOST_BETWEEN: usize = 1_000;
    alone("who_has_few_long_lines_is_not_kept_waiting_by_who_has_many", || {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let parent = || {
            log_to_stderr(LogLevel::Info).unwrap();
            let line = || tracing::info!("{}", "x".repeat(8_000));
            let loud = move || (0..100_000).for_each(|_| line());
            let loud = || Process::builder(loud, ()).daemon(true).start().unwrap();
            let _loud = [loud(), loud(), loud(), loud()];
            let (ours, theirs) = Pipe::duplex().unwrap();
            let few = move |theirs: Connection| {
                (0..120).for_each(|_| line());
                theirs.send(&true).unwrap();
            };
            // It is not joined meanwhile: a thread that joins it would listen to it.
            let _few = Process::builder(few, (theirs,)).name("few").start().unwrap();
            ours.recv::<bool>().unwrap()
        };
        let stderr = procession::Stdio::Fd(writer.into());
        let p = Process::builder(parent, ()).stderr(stderr).start().unwrap();
        let all = std::thread::spawn(move || {
            let (mut bytes, mut all) = ([0; 16_384], Vec::new());
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                all.extend_from_slice(&bytes[..count]);
                std::thread::sleep(Duration::from_millis(2));
            }
            all
        });
        assert!(p.result_timeout(SOON * 2).unwrap());
        let all = String::from_utf8(all.join().unwrap()).unwrap();
        let heads: Vec<_> = all.lines().filter(|line| line.contains("] x")).collect();
        let of_few = heads.split(|line| line.starts_with("[INFO/few]"));
        let between = of_few.skip(1).map(<[_]>::len).max().unwrap();
        assert!(between < MOST_BETWEEN, "{between} lines of others");
    });
}

/// A join that gives up while there is no room for the child's lines leaves the child to the
/// hidden thread: its lines come in their order once there is room.
#[test]
fn a_child_is_heard_again_after_a_join_that_gave_up() {
    const LINES: usize = 600;
    alone("a_child_is_heard_again_after_a_join_that_gave_up", || {
        let (reader, writer) = std::io::pipe().unwrap();
        let (ours, theirs) = Pipe::duplex().unwrap();
        let parent = |test: Connection| {
            log_to_stderr(LogLevel::Info).unwrap();
            let (ours, theirs) = Pipe::duplex().unwrap();
            let loud = |theirs: Connection| {
                (0..LINES).for_each(|line| tracing::info!("{line} {}", "x".repeat(8_000)));
                theirs.send(&true).unwrap();
            };
            let loud = Process::spawn(loud, (theirs,)).unwrap();
            let is_joined = loud.join_timeout(Duration::from_millis(500)).unwrap();
            test.send(&is_joined).unwrap();
            ours.recv::<bool>().unwrap()
        };
        let stderr = procession::Stdio::Fd(writer.into());
        let p = Process::builder(parent, (theirs,)).stderr(stderr).start().unwrap();
        assert!(!ours.recv::<bool>().unwrap());
        let all = std::thread::spawn(move || std::io::read_to_string(reader).unwrap());
        assert!(p.result_timeout(SOON).unwrap());
        let all = all.join().unwrap();
        let numbers = all.lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok());
        assert_eq!(numbers.collect::<Vec<usize>>(), (0..LINES).collect::<Vec<_>>());
    });
}

#[test]
fn lines_have_the_name_that_a_process_was_given() {
    let body = || {
        procession::current_process().set_name("renamed");
        log_to_stderr(LogLevel::Info).unwrap();
        tracing::info!("hello");
    };
    let p = Process::builder(body, ()).stderr(procession::Stdio::Piped).start().unwrap();
    let mut text = String::new();
    std::fs::File::from(p.take_stderr().unwrap()).read_to_string(&mut text).unwrap();
    assert!(text.contains("[INFO/renamed] hello\n"), "{text}");
    assert!(p.join_timeout(SOON).unwrap());
}
