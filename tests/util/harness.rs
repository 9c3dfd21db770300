//! A harness for tests that cannot have libtest's second thread, or need a `main` of their own.
//!
//! Owns as much of libtest's command line as people, `cargo test` and nextest use. What it
//! does not know changes nothing.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::panic::catch_unwind;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

/// Options that change nothing here, with the word after them.
const WITH_VALUE: [&str; 6] =
    ["--test-threads", "--color", "--format", "--logfile", "--shuffle-seed", "-Z"];

/// How tests follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// One after the other, in the only thread.
    OneByOne,
    /// All at the same time.
    AtOnce,
}

/// Runs those of `tests` that the command line asks for, and ends the process if one fails.
pub(crate) fn main(tests: &[(&str, fn())], order: Order) {
    let asked = Asked::new(std::env::args().skip(1));
    let chosen: Vec<_> = tests.iter().filter(|(name, _)| asked.for_test(name)).collect();
    if asked.list {
        for (name, _) in &chosen {
            println!("{name}: test");
        }
        return;
    }
    println!("\nrunning {} tests", chosen.len());
    let begun = Instant::now();
    let mut failed = 0;
    std::thread::scope(|scope| {
        let start = |test| (order == Order::AtOnce).then(|| scope.spawn(test));
        let started: Vec<_> = chosen.iter().map(|(name, test)| (name, test, start(test))).collect();
        for (name, test, thread) in started {
            let outcome = thread.map_or_else(|| catch_unwind(test), ScopedJoinHandle::join);
            println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
            failed += usize::from(outcome.is_err());
        }
    });
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; \
         finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        chosen.len() - failed,
        tests.len() - chosen.len(),
        begun.elapsed().as_secs_f64(),
    );
    if failed > 0 {
        std::process::exit(101);
    }
}

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    list: bool,
    exact: bool,
    /// Only those that are ignored, of which there are none.
    ignored: bool,
    names: Vec<String>,
    skipped: Vec<String>,
}

impl Asked {
    fn new(mut words: impl Iterator<Item = String>) -> Self {
        let mut asked = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => asked.list = true,
                "--exact" => asked.exact = true,
                "--ignored" => asked.ignored = true,
                "--skip" => asked.skipped.extend(words.next()),
                other if WITH_VALUE.contains(&other) => drop(words.next()),
                other if other.starts_with('-') => {}
                _ => asked.names.push(word),
            }
        }
        asked
    }

    fn for_test(&self, name: &str) -> bool {
        let fits =
            |filter: &String| if self.exact { name == filter } else { name.contains(filter) };
        let is_named = self.names.is_empty() || self.names.iter().any(fits);
        is_named && !self.ignored && !self.skipped.iter().any(fits)
    }
}
