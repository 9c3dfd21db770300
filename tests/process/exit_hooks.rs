//! Exit hooks in children: when they run, in which order, and when they do not.

use crate::util::{Folder, METHODS, SOON, lines, note, text};
use procession::{Finalizer, Process, at_exit};
use std::time::{Duration, Instant};

/// The ways out of a body after which hooks run, with their exit codes.
const WAYS: [(&str, i32); 6] = [
    ("return", 0),
    ("error", 1),
    ("panic", 1),
    ("procession::exit", 8),
    ("std::process::exit", 9),
    ("exit from a thread", 7),
];

fn leave(way: String) -> Result<(), String> {
    match way.as_str() {
        "return" => Ok(()),
        "error" => Err("on purpose".into()),
        "panic" => panic!("on purpose"),
        "procession::exit" => procession::exit(8),
        "std::process::exit" => std::process::exit(9),
        _ => std::thread::spawn(|| std::process::exit(7)).join().map_err(|_| String::new()),
    }
}

/// Row exit-04.
#[test]
fn a_hook_runs_once_however_a_body_ends() {
    let folder = Folder::new("hooks");
    for method in METHODS {
        for (at, (way, code)) in WAYS.into_iter().enumerate() {
            let path = folder.file(format!("{method}{at}"));
            let body = |path: String, way: String| {
                at_exit(0, move || note(&path, "deadbeef"));
                leave(way)
            };
            let p = Process::builder(body, (path.clone(), way.to_owned()))
                .start_method(method)
                .stderr(procession::Stdio::Null)
                .start()
                .unwrap();
            assert!(p.join_timeout(SOON).unwrap());
            assert_eq!((p.exitcode(), text(&path).as_str()), (Some(code), "deadbeef\n"), "{way}");
        }
    }
}

/// Claim sc-123.
#[test]
fn no_hook_runs_when_a_signal_ends_it() {
    let folder = Folder::new("no-hooks");
    let path = folder.file("log");
    let body = |path: String| {
        let ran = path.clone();
        at_exit(0, move || note(&ran, "ran"));
        note(&path, "ready");
        std::thread::sleep(Duration::from_secs(90));
    };
    let ends: [fn(&procession::ProcessRef) -> procession::Result<()>; 2] =
        [procession::ProcessRef::terminate, procession::ProcessRef::kill];
    for (at, end) in ends.into_iter().enumerate() {
        let p = Process::spawn(body, (path.clone(),)).unwrap();
        lines(&path, at + 1);
        end(&p).unwrap();
        assert!(p.join_timeout(SOON).unwrap());
        assert_eq!(p.exitcode(), Some([-15, -9][at]));
    }
    assert_eq!(text(&path), "ready\nready\n");
}

/// Row track-01.
#[test]
fn hooks_run_by_priority_the_younger_of_equals_first() {
    let folder = Folder::new("order");
    let body = |path: String, way: String| {
        let hook = |name: &'static str| {
            let path = path.clone();
            move || note(&path, name)
        };
        let dropped = Finalizer::new(None, hook("a"));
        drop(dropped);
        let called = Finalizer::new(None, hook("b"));
        assert!(called.call() && !called.call());
        drop(called);
        let kept = [
            Finalizer::new(None, hook("c")),
            Finalizer::new(Some(10), hook("d10")),
            Finalizer::new(Some(1), hook("d01")),
            Finalizer::new(Some(1), hook("d02")),
            Finalizer::new(Some(1), hook("d03")),
            Finalizer::new(Some(-10), hook("e")),
        ];
        // A panicking hook is passed over.
        at_exit(5, || panic!("on purpose, in a hook"));
        std::mem::forget(kept);
        leave(way)
    };
    for (at, (way, _)) in WAYS.into_iter().enumerate() {
        let path = folder.file(at.to_string());
        let p = Process::builder(body, (path.clone(), way.to_owned()))
            .stderr(procession::Stdio::Null)
            .start()
            .unwrap();
        assert!(p.join_timeout(SOON).unwrap());
        assert_eq!(text(&path), "a\nb\nd10\nd03\nd02\nd01\ne\n", "{way}");
    }
}

/// Row track-02: many threads register, call and drop while the process leaves.
#[test]
fn hooks_of_many_threads_run_once_each() {
    let p = Process::spawn(
        || {
            use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
            static MADE: AtomicUsize = AtomicUsize::new(0);
            static RAN: AtomicUsize = AtomicUsize::new(0);
            let end = Instant::now() + Duration::from_secs(4);
            let make = move || {
                let mut number = 0;
                while Instant::now() < end {
                    number += 1;
                    MADE.fetch_add(1, Relaxed);
                    let priority = (number % 3 > 0).then_some(number % 10);
                    let hook = Finalizer::new(priority, || {
                        RAN.fetch_add(1, Relaxed);
                    });
                    if number % 2 == 0 {
                        hook.call();
                    }
                }
            };
            let run = move || {
                while Instant::now() < end {
                    procession::finalizer::run_finalizers(None);
                }
            };
            let threads = [
                std::thread::spawn(make),
                std::thread::spawn(make),
                std::thread::spawn(run),
                std::thread::spawn(run),
            ];
            for thread in threads {
                thread.join().unwrap();
            }
            (MADE.load(Relaxed), RAN.load(Relaxed))
        },
        (),
    )
    .unwrap();
    let (made, ran) = p.result_timeout(SOON).unwrap();
    assert!(made > 100 && made == ran, "{made} {ran}");
    assert!(p.join_timeout(SOON).unwrap());
    assert_eq!(p.exitcode(), Some(0));
}

/// Hooks of priority 0 and above come before the children are ended, the rest after, and
/// no hook starts a process any more.
#[test]
fn hooks_run_around_the_end_of_the_children() {
    let folder = Folder::new("around");
    let path = folder.file("log");
    let p = Process::spawn(
        |path: String| {
            let (before, after, child) = (path.clone(), path.clone(), path.clone());
            at_exit(0, move || {
                let refused = Process::noop().unwrap().start().unwrap_err();
                note(&before, &format!("before, {refused}"));
            });
            at_exit(-1, move || note(&after, "after"));
            let body = |path: String| {
                std::thread::sleep(Duration::from_millis(300));
                note(&path, "child");
            };
            Process::spawn(body, (child,)).unwrap();
        },
        (path.clone(),),
    )
    .unwrap();
    assert!(p.join_timeout(SOON).unwrap());
    assert_eq!(
        text(&path),
        "before, this process is ending and starts nothing more\nchild\nafter\n"
    );
}

/// A hook that leaves by `exit` ends the process at once, without a hang.
#[test]
fn a_hook_may_exit() {
    for way in ["return", "std::process::exit"] {
        let body = |way: String| {
            at_exit(1, || procession::exit(5));
            leave(way)
        };
        let p = Process::spawn(body, (way.to_owned(),)).unwrap();
        assert!(p.join_timeout(SOON).unwrap());
        assert_eq!(p.exitcode(), Some(5), "{way}");
    }
}

/// Claim sc-83: a child has none of its parent's hooks.
#[test]
fn a_child_does_not_run_its_parents_hooks() {
    let folder = Folder::new("forgets");
    let path = folder.file("log");
    let p = Process::spawn(
        |path: String| {
            let own = path.clone();
            at_exit(0, move || note(&own, &format!("hook of {}", std::process::id())));
            let inner = Process::spawn(|| (), ()).unwrap();
            inner.join().unwrap();
            (std::process::id(), text(&path))
        },
        (path.clone(),),
    )
    .unwrap();
    let (pid, before) = p.result_timeout(SOON).unwrap();
    assert_eq!(before, "");
    p.join().unwrap();
    assert_eq!(text(&path), format!("hook of {pid}\n"));
}
