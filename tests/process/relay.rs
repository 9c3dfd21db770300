//! Relayed output: what a child prints before it is ready, and what nobody reads.

use crate::util::{SOON, alone};
use procession::{Process, Queue, Stdio};
use std::io::Write;
use std::time::{Duration, Instant};

/// Says more than a pipe holds while it is decoded.
#[derive(serde::Serialize)]
struct Loud;

impl<'de> serde::Deserialize<'de> for Loud {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        for number in 0..3000 {
            eprintln!("{number} {}", "y".repeat(60));
        }
        Ok(Loud)
    }
}

#[test]
fn a_child_may_say_much_before_it_is_ready() {
    alone("relay::a_child_may_say_much_before_it_is_ready", || {
        let loud = || Process::builder(|_: Loud| 3, (Loud,)).stderr(Stdio::Relay);
        let p = loud().start().unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap(), 3);
        assert!(p.stderr_tail().contains("\n2999 yyy"), "{}", p.stderr_tail());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let p = runtime.block_on(loud().start_async()).unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap(), 3);
    });
}

/// How much memory this process has, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn chatty() {
    let block = vec![b'x'; 64 * 1024];
    while std::io::stderr().write_all(&block).is_ok() {}
}

#[test]
fn the_tail_of_what_nobody_reads_may_be_asked_for_at_any_time() {
    // Its own standard error is a pipe that is never read.
    let asks = |grown: Queue<usize>| {
        let p = Process::builder(chatty, ()).stderr(Stdio::Relay).start().unwrap();
        let before = resident();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) {
            p.stderr_tail();
        }
        assert!(!p.stderr_tail().is_empty());
        grown.put(resident().saturating_sub(before)).unwrap();
        p.kill().unwrap();
    };
    let grown = Queue::new().unwrap();
    let p = Process::builder(asks, (grown.clone(),)).stderr(Stdio::Piped).start().unwrap();
    let grown = grown.get_timeout(SOON).unwrap();
    assert!(grown < 8 << 20, "{grown}");
    p.kill_tree().unwrap();
    p.join().unwrap();
}
