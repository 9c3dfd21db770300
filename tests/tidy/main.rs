//! The form of the code, as a test.
//!
//! Owns what a reader may take for granted in every file: its opening, its length, where
//! `unsafe` may stand, which module may use which, what is nowhere. It reads files as text
//! and must never need more than the standard library. A check that fails names file and
//! line, and says what to do. Neighbours: `source` reads files, `layers` has the table.

mod layers;
mod pages;
mod source;

use source::{Source, sources};
use std::fmt::Write as _;

/// Longest file, in lines: past 500, look for a split.
const MAX_LINES: usize = 600;

/// The folders in which `unsafe` may stand.
const UNSAFE_ROOMS: &[&str] = &["actors/runtime/src/sys/", "benches/versus/sys/"];

/// Files elsewhere that say `unsafe`, and why.
const UNSAFE_ELSEWHERE: &[(&str, &str)] = &[
    ("examples/crashy/native.rs", "is the bad access that the example survives"),
    ("src/fork.rs", "asks the caller for a promise about other threads; has no unsafe block"),
    ("src/pipe.rs", "asks the caller who owns a descriptor's number; has no unsafe block"),
    ("tests/compile_fail/methods_receivers.rs", "shows that the macro refuses it"),
    ("tests/fork.rs", "gives the promise, and has exit handlers that libc alone registers"),
    ("tests/fork/far.rs", "gives the promise, for a copy of a program with a connection"),
    ("tests/fork/own.rs", "makes a copy as a user may"),
    ("tests/fork/threads.rs", "traces a thread as a debugger does"),
    ("tests/forkserver/limits.rs", "puts a program under a filter of system calls"),
    ("tests/pipe/travel.rs", "gives numbers that nobody owns"),
    ("tests/process_by_spawn.rs", "sets the start method before the harness begins"),
    ("tests/unknown_object.rs", "stands in for a function of the C library"),
    ("tests/util/signals.rs", "installs a signal handler"),
];

/// Lines above an `unsafe` in which its reason may stand.
const REASON_WITHIN: usize = 8;

/// What is nowhere in the project.
const NOWHERE: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// What is nowhere below a folder: words, and the rule that each would break.
const ABSENT: &[(&str, &[&str], &str)] = &[
    (
        "actors/protocols/src/",
        &[
            "tokio",
            "nix",
            "libc",
            "std::fs",
            "std::net",
            "std::thread",
            "std::process",
            "std::env",
            "std::io",
            "std::os",
            "std::sync",
            "Instant",
            "SystemTime",
        ],
        "the protocols decide: no I/O, clock, thread or process",
    ),
    (
        "src/",
        &["libc", "unsafe_code", "ractor", "bincode"],
        "the face has no system call of its own, and neither ractor nor the codec in it",
    ),
    (
        "src/",
        &["nix::unistd", "nix::fcntl", "nix::sys::wait", "nix::sys::socket", "nix::sys::prctl"],
        "the face calls no system: the runtime does",
    ),
    (
        "src/",
        &["#[test]", "cfg(test)"],
        "nobody runs them: Cargo.toml says that the tests are in tests/",
    ),
    ("actors/macros/src/", &["#[test]", "cfg(test)"], "as in the face"),
    (
        "actors/macros/src/",
        &["tokio", "nix", "libc", "std::fs", "std::net", "std::thread", "std::process"],
        "the macros only make code",
    ),
    (
        "actors/",
        &["UnixListener", "TcpListener", "Id::All", "SIGCHLD"],
        "no listener, no wait for any child, no SIGCHLD handler in the library",
    ),
    ("src/", &["UnixListener", "TcpListener", "Id::All", "SIGCHLD"], "as in the runtime"),
];

/// Files in which such a word stands all the same, and why.
const PRESENT: &[(&str, &str, &str)] = &[
    ("src/supervisor/", "ractor", "hands its ractor cell to those who build on ractor"),
    ("src/fork.rs", "unsafe_code", "allows an `unsafe fn` without a block"),
    ("src/pipe.rs", "unsafe_code", "allows an `unsafe fn` without a block"),
    ("actors/runtime/src/listener/socket.rs", "TcpListener", "listens where the user says so"),
    ("actors/runtime/src/listener/socket.rs", "UnixListener", "listens where the user says so"),
    ("actors/runtime/src/reap.rs", "SIGCHLD", "its test ignores the signal, as a user may"),
];

/// Fails with everything that was found.
fn expect_none(found: &[String], rule: &str) {
    let mut text = String::new();
    for line in found {
        let _ = writeln!(text, "  {line}");
    }
    assert!(found.is_empty(), "{rule}:\n{text}");
}

/// Whether the text before and after a match is no part of a longer name.
fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = line[..*at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let opens = word.starts_with(part);
        let closes = word.ends_with(part);
        !(opens && before.is_some_and(part) || closes && after.is_some_and(part))
    })
}

fn lines_with(source: &Source, word: &str) -> Vec<usize> {
    let has = |line: &str| words(line, word).next().is_some();
    (1..).zip(source.code.lines()).filter(|(_, line)| has(line)).map(|(at, _)| at).collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    let found: Vec<_> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//!") && !source.text.starts_with("#!"))
        .map(|source| source.path.clone())
        .collect();
    expect_none(&found, "a file opens with `//!`: what it owns, what it must never do");
}

#[test]
fn no_file_is_too_long() {
    let found: Vec<_> = sources()
        .iter()
        .filter(|source| source.text.lines().count() > MAX_LINES)
        .map(|source| format!("{}: {} lines", source.path, source.text.lines().count()))
        .collect();
    expect_none(&found, &format!("no file has more than {MAX_LINES} lines"));
}

#[test]
fn unsafe_stays_in_its_rooms() {
    let mut found = Vec::new();
    for source in sources() {
        if UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room)) {
            continue;
        }
        if UNSAFE_ELSEWHERE.iter().any(|(path, _)| source.path == *path) {
            continue;
        }
        for line in lines_with(source, "unsafe") {
            found.push(format!("{}:{line}", source.path));
        }
    }
    expect_none(&found, &format!("`unsafe` stands in {UNSAFE_ROOMS:?} alone"));
}

#[test]
fn every_unsafe_has_its_reason() {
    let mut found = Vec::new();
    for source in sources() {
        let text: Vec<_> = source.text.lines().collect();
        let code: Vec<_> = source.code.lines().collect();
        for line in lines_with(source, "unsafe") {
            let here = code[line - 1];
            // An attribute or a block of foreign items is no operation.
            if here.contains("unsafe(") || here.contains("unsafe extern") {
                continue;
            }
            let above = &text[line.saturating_sub(REASON_WITHIN + 1)..line];
            if !above.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety")) {
                found.push(format!("{}:{line}", source.path));
            }
        }
    }
    found.retain(|place| !place.starts_with("tests/compile_fail/"));
    expect_none(&found, "each `unsafe` has a `// SAFETY:` that says what upholds it");
}

#[test]
fn nothing_is_left_half_done() {
    let mut found = Vec::new();
    for source in sources() {
        for word in NOWHERE {
            for line in lines_with(source, word) {
                found.push(format!("{}:{line}: {word}", source.path));
            }
        }
    }
    expect_none(&found, "nothing is left half done or switched off");
}

#[test]
fn what_is_absent_stays_absent() {
    let mut found = Vec::new();
    for source in sources() {
        for (folder, absent, rule) in ABSENT {
            if !source.path.starts_with(folder) {
                continue;
            }
            for word in *absent {
                if PRESENT.iter().any(|(at, w, _)| source.path.starts_with(at) && w == word) {
                    continue;
                }
                for line in lines_with(source, word) {
                    found.push(format!("{}:{line}: {word} ({rule})", source.path));
                }
            }
        }
    }
    expect_none(&found, "these are absent by rule");
}

#[test]
fn modules_form_layers() {
    expect_none(&layers::faults(sources()), "modules use those below them (tests/tidy/layers.rs)");
}

#[test]
fn conformance_names_tests_that_exist() {
    expect_none(&pages::conformance_faults(), "docs/conformance.md names tests that exist");
}

#[test]
fn failures_names_tests_that_exist() {
    expect_none(&pages::failure_faults(), "docs/failures.md names tests that exist");
}

#[test]
fn the_protocols_tests_are_all_in_their_program() {
    expect_none(&pages::unlisted_tests(), "actors/protocols/tests/main.rs lists its neighbours");
}

#[test]
fn links_between_pages_lead_somewhere() {
    expect_none(&pages::link_faults(), "relative links in pages lead to files");
}

#[test]
fn dependencies_are_as_agreed() {
    expect_none(&pages::dependency_faults(), "dependencies are as deny.toml and README say");
}

#[test]
fn the_reader_knows_code_from_words() {
    let source = Source::new(
        "x.rs",
        "let a = \"unsafe\"; // unsafe\nlet b = 'u'; /* dbg! */ r#\"todo!\"#;\nfn f<'a>() { unsafe {} }\n",
    );
    assert_eq!(lines_with(&source, "unsafe"), [3]);
    assert!(lines_with(&source, "dbg!").is_empty() && lines_with(&source, "todo!").is_empty());
    assert_eq!(source.code.lines().count(), 3);
    assert!(words("unsafe_code", "unsafe").next().is_none());
    let uses = layers::uses(
        &Source::new("a/b.rs", "use crate::{x, y::Z};\nfn f() { crate::w::g() }\n"),
        1,
    );
    assert_eq!(uses, ["w", "x", "y"]);
}
