//! What a child spec asks for, and a whole tree keeps: surroundings, backoff, signs of life.
//!
//! Neighbours: `tree.rs` has restarts and stops, `edges.rs` what goes wrong in between.

use crate::tree::{Counter, SOON, counter, sleeper};
use procession::{
    Actor, AutoShutdown, ChildSpec, ChildState, ExitReason, Restart, SpecWarning, Strategy,
    Supervisor, SupervisorExit, SupervisorRef, methods,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Tells where it is.
#[derive(Actor, Serialize, Deserialize)]
struct Scout;

#[methods]
impl Scout {
    pub fn look(&self) -> (Option<String>, std::path::PathBuf, (u64, u64)) {
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        let here = std::env::current_dir().unwrap();
        (std::env::var("COLOUR").ok(), here, limit.unwrap())
    }
}

#[test]
fn a_child_has_its_surroundings_at_each_start() {
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE as u32;
    for method in [procession::StartMethod::Spawn, procession::StartMethod::ForkServer] {
        let scout = ChildSpec::actor("scout", || Scout, ());
        let scout = scout.env("COLOUR", "blue").current_dir("/").rlimit(limit, 200, 300);
        let tree = Supervisor::new(Strategy::OneForOne)
            .child(scout.start_method(method).relay_output())
            .start()
            .unwrap();
        let scout = tree.actor::<Scout>("scout").unwrap();
        let expected = (Some("blue".to_owned()), std::path::PathBuf::from("/"), (200, 300));
        assert_eq!(scout.look().unwrap(), expected, "{method}");
        let mut monitor = scout.monitor().unwrap();
        scout.kill();
        monitor.recv_timeout(SOON).unwrap();
        assert_eq!(scout.look().unwrap(), expected, "{method}: after a restart");
        tree.stop().unwrap();
        assert_eq!(tree.exit_reason(), Some(ExitReason::Shutdown));
    }
}

/// Kills the child `c`, and says how long its next process took to come; `None` if it waits.
fn next_after_a_kill(tree: &SupervisorRef, waits: bool) -> Option<Duration> {
    let pid = tree.which_children()[0].pid.unwrap();
    let begun = Instant::now();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    loop {
        let child = tree.which_children().remove(0);
        if waits && child.state == ChildState::Restarting {
            return None;
        }
        if child.state == ChildState::Running && child.pid != Some(pid) {
            return Some(begun.elapsed());
        }
        assert!(begun.elapsed() < SOON, "{child:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_backoff_delays_all_restarts_but_the_first() {
    let tree = |base| {
        Supervisor::new(Strategy::OneForOne)
            .intensity(10, Duration::from_mins(10))
            .child(counter("c").backoff(base, Duration::from_mins(9)))
            .start()
            .unwrap()
    };
    let short = tree(Duration::from_millis(500));
    next_after_a_kill(&short, false).unwrap();
    let second = next_after_a_kill(&short, false).unwrap();
    assert!(second >= Duration::from_millis(400), "500 ms, less 20 % at most: {second:?}");
    assert_eq!(short.actor::<Counter>("c").unwrap().add(1).unwrap(), 1);
    short.stop().unwrap();

    // So long a delay would not be over in `SOON`: the first restart has none, and a stop
    // does not wait for the second.
    let long = tree(Duration::from_mins(5));
    next_after_a_kill(&long, false).unwrap();
    assert_eq!(next_after_a_kill(&long, true), None);
    let begun = Instant::now();
    long.stop().unwrap();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

/// Works for ever, and says so.
fn busy() {
    loop {
        procession::keepalive();
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_function_that_says_that_it_lives_is_left_alone() {
    let watch = |child: ChildSpec| {
        child.watchdog(Duration::from_millis(50), 400, Some(Duration::from_secs(4)))
    };
    let tree = Supervisor::new(Strategy::OneForOne)
        .intensity(100, SOON)
        .child(watch(ChildSpec::process("lively", busy, ())))
        .child(watch(ChildSpec::process("silent", sleeper, ())))
        .start()
        .unwrap();
    let pids = || tree.which_children().iter().map(|child| child.pid).collect::<Vec<_>>();
    let first = pids();
    let begun = Instant::now();
    while pids()[1] == first[1] || pids()[1].is_none() {
        assert!(begun.elapsed() < SOON, "the silent one is found");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(pids()[0], first[0], "the lively one is not");
    tree.stop().unwrap();
}

#[test]
fn a_check_warns_of_a_child_that_may_fail_for_ever() {
    let tree = |base| {
        Supervisor::new(Strategy::OneForOne)
            .intensity(3, Duration::from_secs(5))
            .child(counter("c").backoff(base, Duration::from_mins(1)))
    };
    assert_eq!(tree(Duration::from_millis(10)).check().unwrap(), []);
    let warned = tree(Duration::from_secs(10)).check().unwrap();
    assert_eq!(warned, [SpecWarning::NeverGivesUp("c".to_owned())]);
}

#[test]
fn a_tree_ends_with_the_last_of_its_significant_children() {
    let brief = |id: &str| {
        let nap = || std::thread::sleep(Duration::from_millis(30));
        ChildSpec::process(id, nap, ()).restart(Restart::Temporary).significant(true)
    };
    let tree = Supervisor::new(Strategy::OneForOne)
        .auto_shutdown(AutoShutdown::AllSignificant)
        .child(counter("other"))
        .child(brief("first"))
        .child(
            ChildSpec::actor("last", || Counter { value: 0 }, ())
                .restart(Restart::Temporary)
                .significant(true),
        )
        .start()
        .unwrap();
    let last = tree.actor::<Counter>("last").unwrap();
    let begun = Instant::now();
    while tree.count_children().active > 2 {
        assert!(begun.elapsed() < SOON, "the first one ends");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(last.add(1).unwrap(), 1, "one is left, and the tree with it");
    assert_eq!(tree.exit(), None);
    last.kill();
    tree.join().unwrap();
    assert_eq!(tree.exit(), Some(SupervisorExit::Shutdown));
}
