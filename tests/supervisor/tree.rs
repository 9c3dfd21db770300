//! Supervision trees of real processes.

use procession::{
    Actor, AutoShutdown, CallError, ChildSpec, ChildState, ExitReason, Fd, Process, Restart,
    Shutdown, Strategy, Supervisor, SupervisorError, SupervisorExit, SupervisorRef, methods,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

pub(crate) const SOON: Duration = Duration::from_secs(20);

#[derive(Actor, Serialize, Deserialize)]
pub(crate) struct Counter {
    pub(crate) value: i64,
}

#[methods]
impl Counter {
    pub fn add(&mut self, n: i64) -> i64 {
        self.value += n;
        self.value
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    pub fn nap(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }

    /// Says that it has begun, then stays for ever.
    pub fn stay(&self, begun: Fd) {
        drop(begun);
        sleeper();
    }

    pub fn leave(&self, code: i32) {
        std::process::exit(code);
    }
}

pub(crate) fn counter(id: &str) -> ChildSpec {
    ChildSpec::actor(id, || Counter { value: 0 }, ())
}

pub(crate) fn sleeper() {
    loop {
        std::thread::sleep(Duration::from_mins(1));
    }
}

fn until(what: &str, mut test: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !test() {
        assert!(begun.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn pids(tree: &SupervisorRef) -> Vec<Option<u32>> {
    tree.which_children().into_iter().map(|child| child.pid).collect()
}

pub(crate) fn lives(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn a_reference_by_id_survives_restarts() {
    let tree = Supervisor::new(Strategy::OneForOne)
        .intensity(10, Duration::from_mins(1))
        .child(counter("counter"))
        .start()
        .unwrap();
    let counter = tree.actor::<Counter>("counter").unwrap();
    for _ in 0..5 {
        assert_eq!(counter.add(1).unwrap(), 1);
        let pid = counter.pid().unwrap();
        let (mut begun, writer) = std::io::pipe().unwrap();
        let in_flight = {
            let counter = counter.clone();
            std::thread::spawn(move || counter.stay(Fd(writer.into())))
        };
        std::io::Read::read_to_end(&mut begun, &mut Vec::new()).unwrap();
        counter.kill();
        let error = in_flight.join().unwrap().unwrap_err();
        assert!(
            matches!(&error, CallError::ActorDied { reason, .. }
            if *reason == ExitReason::Signal(9)),
            "{error}"
        );
        assert_ne!(counter.pid().unwrap(), pid);
    }
    tree.stop().unwrap();
    assert!(counter.add(1).is_err());
}

#[test]
fn a_tree_starts_in_order_and_stops_without_leftovers() {
    let tree = Supervisor::new(Strategy::RestForOne)
        .child(counter("a"))
        .child(ChildSpec::process("b", sleeper, ()))
        .child(ChildSpec::supervisor(
            "c",
            Supervisor::new(Strategy::OneForAll).child(counter("d")).child(counter("e")),
        ))
        .start()
        .unwrap();
    let rows = tree.which_children();
    assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(rows.iter().all(|row| row.state == ChildState::Running));
    let counts = tree.count_children();
    assert_eq!((counts.specs, counts.active, counts.supervisors, counts.workers), (3, 3, 1, 2));
    let nested = tree.supervisor("c").unwrap();
    assert_eq!(nested.actor::<Counter>("d").unwrap().add(2).unwrap(), 2);
    let all: Vec<u32> = pids(&tree).into_iter().chain(pids(&nested)).flatten().collect();
    assert_eq!(all.len(), 4);
    tree.stop().unwrap();
    assert!(all.iter().all(|pid| !lives(*pid)));
    assert_eq!(tree.exit(), Some(SupervisorExit::Shutdown));
    tree.stop().unwrap();
}

#[test]
fn groups_restart_together() {
    let tree = Supervisor::new(Strategy::OneForAll)
        .child(counter("a"))
        .child(ChildSpec::process("b", sleeper, ()))
        .start()
        .unwrap();
    let before = pids(&tree);
    kill(before[0].unwrap());
    until("both are new", || {
        let now = pids(&tree);
        now.iter().zip(&before).all(|(now, before)| now.is_some() && now != before)
    });
    assert!(!lives(before[1].unwrap()));
    tree.stop().unwrap();

    let tree = Supervisor::new(Strategy::RestForOne)
        .child(counter("a"))
        .child(counter("b"))
        .child(counter("c"))
        .start()
        .unwrap();
    let before = pids(&tree);
    kill(before[1].unwrap());
    until("b and c are new", || {
        let now = pids(&tree);
        now[1..].iter().zip(&before[1..]).all(|(now, before)| now.is_some() && now != before)
    });
    assert_eq!(pids(&tree)[0], before[0]);
    tree.stop().unwrap();
}

#[test]
fn too_many_restarts_are_given_up_with_their_history() {
    let tree = Supervisor::new(Strategy::OneForOne)
        .intensity(2, Duration::from_mins(1))
        .child(counter("other"))
        .child(ChildSpec::process("bad", || std::thread::sleep(Duration::from_millis(20)), ()))
        .start()
        .unwrap();
    let other = tree.actor::<Counter>("other").unwrap();
    let other_pid = other.pid().unwrap();
    let Err(SupervisorError::GaveUp(SupervisorExit::GaveUp { history })) = tree.join() else {
        panic!("{:?}", tree.exit())
    };
    assert_eq!(history.len(), 3);
    assert!(history.iter().all(|failure| failure.id == "bad"));
    assert!(!lives(other_pid));
    assert!(other.add(1).is_err());
}

#[test]
fn a_nested_supervisor_that_gives_up_is_restarted_by_its_parent() {
    let tree = Supervisor::new(Strategy::OneForOne)
        .child(ChildSpec::supervisor(
            "nested",
            Supervisor::new(Strategy::OneForOne)
                .intensity(0, Duration::from_secs(5))
                .child(counter("counter")),
        ))
        .start()
        .unwrap();
    let nested = tree.supervisor("nested").unwrap();
    let counter = nested.actor::<Counter>("counter").unwrap();
    let pid = counter.pid().unwrap();
    counter.kill();
    assert_ne!(counter.pid().unwrap(), pid);
    tree.stop().unwrap();
    assert!(counter.add(1).is_err());
}

#[test]
fn a_failed_start_stops_what_had_started() {
    let error = Supervisor::new(Strategy::OneForOne)
        .child(counter("first"))
        .child(ChildSpec::actor("second", || Err::<Counter, _>("no disk"), ()))
        .start()
        .unwrap_err();
    assert!(
        error.to_string().contains("second") && error.to_string().contains("no disk"),
        "{error}"
    );
}

#[test]
fn restart_types() {
    let tree = Supervisor::new(Strategy::OneForOne)
        .intensity(5, Duration::from_mins(1))
        .child(ChildSpec::process("clean", || (), ()).restart(Restart::Transient))
        .child(counter("temporary").restart(Restart::Temporary))
        .child(counter("transient").restart(Restart::Transient))
        .start()
        .unwrap();
    let temporary = tree.actor::<Counter>("temporary").unwrap();
    let transient = tree.actor::<Counter>("transient").unwrap();
    temporary.kill();
    until("the temporary child is forgotten", || tree.count_children().specs == 2);
    assert!(matches!(temporary.add(1), Err(CallError::Stopped)));
    let pid = transient.pid().unwrap();
    let _ = transient.leave(3);
    assert_ne!(transient.pid().unwrap(), pid);
    let state = |id: &str| tree.which_children().into_iter().find(|c| c.id == id).unwrap().state;
    until("a clean end is not restarted", || state("clean") == ChildState::Down);
    tree.stop().unwrap();
}

#[test]
fn children_come_and_go_at_run_time() {
    let tree = Supervisor::new(Strategy::OneForOne).child(counter("a")).start().unwrap();
    tree.start_child(counter("b")).unwrap().unwrap();
    let b = tree.actor::<Counter>("b").unwrap();
    assert_eq!(b.add(3).unwrap(), 3);
    assert!(tree.start_child(counter("b")).is_err());
    assert!(tree.delete_child("b").is_err());
    tree.terminate_child("b").unwrap();
    assert!(matches!(b.add_timeout(1, Duration::from_millis(50)), Err(CallError::Timeout)));
    tree.restart_child("b").unwrap().unwrap();
    assert_eq!(b.add(4).unwrap(), 4);
    tree.terminate_child("b").unwrap();
    tree.delete_child("b").unwrap();
    assert!(matches!(b.add(1), Err(CallError::Stopped)));
    assert!(tree.restart_child("b").is_err());
    tree.stop().unwrap();
}

#[test]
fn dynamic_children_are_made_from_a_template() {
    let tree = Supervisor::new(Strategy::Dynamic { max_children: 3 })
        .child(ChildSpec::process("worker", |_: String| sleeper(), ("none".to_string(),)))
        .start()
        .unwrap();
    let first = tree.start_dynamic(&("x".to_string(),)).unwrap().unwrap();
    tree.start_dynamic(&("y".to_string(),)).unwrap();
    tree.start_dynamic(&("z".to_string(),)).unwrap();
    assert!(tree.start_dynamic(&("too many".to_string(),)).is_err());
    let all: Vec<u32> = pids(&tree).into_iter().flatten().collect();
    assert_eq!(all.len(), 3);
    tree.terminate_dynamic(first).unwrap();
    assert_eq!(tree.count_children().active, 2);
    tree.stop().unwrap();
    assert!(all.iter().all(|pid| !lives(*pid)));
}

#[test]
fn a_child_that_does_not_stop_is_killed_at_its_deadline() {
    let deaf = || -> () {
        let ignore = nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGTERM);
        ignore.thread_block().unwrap();
        sleeper();
    };
    let tree = Supervisor::new(Strategy::OneForOne)
        .child(
            ChildSpec::process("deaf", deaf, ())
                .shutdown(Shutdown::Timeout(Duration::from_millis(200))),
        )
        .child(counter("napper").shutdown(Shutdown::Timeout(Duration::from_millis(200))))
        .start()
        .unwrap();
    let napper = tree.actor::<Counter>("napper").unwrap();
    napper.cast().nap(60_000).unwrap();
    let all: Vec<u32> = pids(&tree).into_iter().flatten().collect();
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    tree.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(all.iter().all(|pid| !lives(*pid)));
}

#[test]
fn significant_children_end_the_tree() {
    let tree = Supervisor::new(Strategy::OneForOne)
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(counter("other"))
        .child(
            ChildSpec::process("main", || std::thread::sleep(Duration::from_millis(30)), ())
                .restart(Restart::Transient)
                .significant(true),
        )
        .start()
        .unwrap();
    tree.join().unwrap();
    assert_eq!(tree.exit(), Some(SupervisorExit::Shutdown));
}

#[test]
fn a_stopped_child_is_found_by_its_watchdog() {
    let tree = Supervisor::new(Strategy::OneForOne)
        .intensity(3, Duration::from_mins(1))
        .child(counter("c").watchdog(Duration::from_millis(50), 3, None))
        .child(counter("d").watchdog(
            Duration::from_millis(50),
            100,
            Some(Duration::from_millis(300)),
        ))
        .start()
        .unwrap();
    let c = tree.actor::<Counter>("c").unwrap();
    let pid = c.pid().unwrap();
    let mut monitor = c.monitor().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.cast_signed()),
        nix::sys::signal::Signal::SIGSTOP,
    )
    .unwrap();
    assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Hung);
    assert_ne!(c.pid().unwrap(), pid);

    // A handler that does not return is no progress; short ones are.
    let d = tree.actor::<Counter>("d").unwrap();
    let pid = d.pid().unwrap();
    for _ in 0..10 {
        d.nap(50).unwrap();
    }
    assert_eq!(d.pid().unwrap(), pid);
    let CallError::ActorDied { reason, .. } = d.nap(60_000).unwrap_err() else { panic!() };
    assert_eq!(reason, ExitReason::Hung);
    tree.stop().unwrap();
}

#[test]
fn a_supervisor_may_live_in_a_process_of_its_own() {
    fn workers() -> Supervisor {
        Supervisor::new(Strategy::OneForOne)
            .intensity(1, Duration::from_mins(1))
            .child(counter("inner"))
            .child(ChildSpec::process("sleeper", sleeper, ()))
    }
    let tree = Supervisor::new(Strategy::OneForOne)
        .child(ChildSpec::supervisor_process("workers", workers))
        .start()
        .unwrap();
    let pid = pids(&tree)[0].unwrap();
    let below = procession_children(pid);
    // Beside the two workers there may be the server that starts them.
    assert!(below.len() >= 2, "{below:?}");
    tree.stop().unwrap();
    assert!(!lives(pid) && below.iter().all(|pid| !lives(*pid)));

    let tree = Supervisor::new(Strategy::OneForOne)
        .child(ChildSpec::supervisor_process("workers", workers))
        .start()
        .unwrap();
    let before = pids(&tree)[0].unwrap();
    // It dies with what is below it, and comes back whole.
    let below = procession_children(before);
    kill(before);
    until("it is back", || pids(&tree)[0].is_some_and(|pid| pid != before));
    until("nothing of the first is left", || below.iter().all(|pid| !lives(*pid)));
    until("its children are back", || procession_children(pids(&tree)[0].unwrap()).len() >= 2);
    tree.stop().unwrap();
}

fn procession_children(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
    children
}

#[test]
fn a_supervised_reference_travels_and_survives_restarts_there_too() {
    let tree = Supervisor::new(Strategy::OneForOne)
        .intensity(5, Duration::from_mins(1))
        .child(counter("counter"))
        .start()
        .unwrap();
    let counter = tree.actor::<Counter>("counter").unwrap();
    let p = Process::spawn(
        |counter: CounterRef| {
            let first = counter.pid().unwrap();
            counter.kill();
            let begun = Instant::now();
            loop {
                match counter.pid() {
                    Ok(second) if second != first => return (first, second, counter.add(2)),
                    _ => assert!(begun.elapsed() < SOON),
                }
            }
        },
        (counter.clone(),),
    )
    .unwrap();
    let (first, second, sum) = p.result_timeout(SOON).unwrap();
    assert_ne!(first, second);
    assert_eq!(sum.unwrap(), 2);
    assert_eq!(counter.add(1).unwrap(), 3);
    tree.stop().unwrap();
}

#[test]
fn dropping_the_handle_stops_the_tree() {
    let tree = Supervisor::new(Strategy::OneForOne).child(counter("a")).start().unwrap();
    let pid = pids(&tree)[0].unwrap();
    drop(tree);
    until("the child has ended", || !lives(pid));
}

#[tokio::test]
async fn the_async_forms_agree() {
    let tree =
        Supervisor::new(Strategy::OneForOne).child(counter("a")).start_async().await.unwrap();
    let a = tree.actor::<Counter>("a").unwrap();
    assert_eq!(a.add_async(1).await.unwrap(), 1);
    a.kill();
    assert_eq!(a.add_async(5).await.unwrap(), 5);
    tree.stop_async().await.unwrap();
}

/// A program that serves a tree of these children, and what its workers' pids are.
fn serving(deaf: bool) -> (Process<bool>, Vec<u32>) {
    let p = Process::builder(
        |deaf: bool| {
            let patience = if deaf { Shutdown::Infinity } else { Shutdown::Timeout(SOON) };
            let body = |deaf: bool| {
                if deaf {
                    let all = nix::sys::signal::SigSet::all();
                    all.thread_block().unwrap();
                }
                sleeper();
            };
            let tree = Supervisor::new(Strategy::OneForOne)
                .child(ChildSpec::process("a", body, (deaf,)).shutdown(patience))
                .child(counter("b"))
                .start()
                .unwrap();
            tree.serve().is_ok()
        },
        (deaf,),
    );
    let p = p.start().unwrap();
    let pid = p.pid().unwrap();
    until("it serves", || procession_children(pid).len() >= 2 && handles_sigint(pid));
    let below = procession_children(pid);
    (p, below)
}

fn handles_sigint(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap_or(0) & 2 != 0)
}

#[test]
fn an_interrupt_stops_a_served_tree_in_order() {
    let (p, below) = serving(false);
    // Ctrl-C reaches the whole group; the workers leave it to the one who serves.
    for pid in below.iter().copied().chain(p.pid()) {
        let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
    }
    assert!(p.result_timeout(SOON).unwrap());
    assert!(below.iter().all(|pid| !lives(*pid)));
}

#[test]
fn a_second_interrupt_kills() {
    let (p, below) = serving(true);
    p.interrupt().unwrap();
    assert!(!p.join_timeout(Duration::from_millis(300)).unwrap(), "a deaf child holds it");
    p.interrupt().unwrap();
    assert!(p.result_timeout(SOON).unwrap());
    assert!(below.iter().all(|pid| !lives(*pid)));
}
