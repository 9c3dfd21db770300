//! Killing trees: a machine of our own for the rare orders, real processes for the rest.

use super::*;
use crate::proc_tree::descendants;
use crate::proc_tree::snapshot::Entry;
use std::cell::RefCell;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const DEADLINE: Duration = Duration::from_secs(10);

/// A machine in which each process forks once per look until it is stopped, for as
/// long as there is `fuel`, and in which a stop arrives `delay` looks late.
#[derive(Default)]
struct Toy(RefCell<World>);

#[derive(Default)]
struct World {
    processes: Vec<ToyProcess>,
    fuel: u32,
    delay: u32,
    protected: Vec<i32>,
    stuck: Vec<i32>,
    /// Whom a stop reaches only when each thread is told.
    deaf: Vec<i32>,
    cleaners: Vec<i32>,
    /// Cleaners that were let run, when all else was dead.
    let_clean: Vec<i32>,
    descriptors: Option<usize>,
}

struct ToyProcess {
    pid: i32,
    parent: i32,
    stop_in: Option<u32>,
    dead: bool,
}

impl Toy {
    fn new(fuel: u32, delay: u32) -> Self {
        let root = ToyProcess { pid: 2, parent: 1, stop_in: None, dead: false };
        Self(RefCell::new(World { processes: vec![root], fuel, delay, ..World::default() }))
    }

    fn root() -> ProcId {
        ProcId { pid: 2, start: 7 }
    }

    fn alive(&self) -> usize {
        self.0.borrow().processes.iter().filter(|process| !process.dead).count()
    }
}

impl World {
    /// Time passes between two looks.
    fn step(&mut self) {
        let mut born = Vec::new();
        for process in &mut self.processes {
            if let Some(left) = &mut process.stop_in {
                *left = left.saturating_sub(1);
            }
            if !process.dead && process.stop_in != Some(0) && self.fuel > 0 {
                self.fuel -= 1;
                born.push(process.pid);
            }
        }
        for parent in born {
            let pid = i32::try_from(self.processes.len()).unwrap() + 2;
            self.processes.push(ToyProcess { pid, parent, stop_in: None, dead: false });
        }
    }
}

impl Machine for Toy {
    type Handle = i32;

    fn snapshot(&self) -> io::Result<Snapshot> {
        let mut world = self.0.borrow_mut();
        world.step();
        Ok(world
            .processes
            .iter()
            .map(|process| Entry {
                id: ProcId { pid: process.pid, start: 7 },
                parent: process.parent,
                state: if process.dead { b'Z' } else { b'R' },
                threads: 1,
            })
            .collect())
    }

    fn open(&self, id: ProcId) -> io::Result<i32> {
        let mut world = self.0.borrow_mut();
        if let Some(left) = &mut world.descriptors {
            *left =
                left.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))?;
        }
        Ok(id.pid)
    }

    fn signal(&self, pid: &i32, signal: Signal) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        if world.protected.contains(pid) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let delay = if world.deaf.contains(pid) { u32::MAX } else { world.delay };
        let process = world.processes.iter_mut().find(|process| process.pid == *pid).unwrap();
        match signal {
            Signal::SIGSTOP => process.stop_in = Some(delay),
            Signal::SIGKILL => process.dead = true,
            Signal::SIGCONT => process.stop_in = None,
            _ => panic!("unexpected {signal}"),
        }
        Ok(())
    }

    fn rest(&self, id: ProcId) -> io::Result<Rest> {
        let world = self.0.borrow();
        let process = world.processes.iter().find(|process| process.pid == id.pid).unwrap();
        Ok(match process.stop_in {
            _ if process.dead => Rest::Full,
            _ if world.stuck.contains(&id.pid) => Rest::Asleep,
            Some(0) => Rest::Full,
            _ => Rest::None,
        })
    }

    fn stop_threads(&self, id: ProcId) -> io::Result<()> {
        self.0.borrow_mut().deaf.retain(|pid| *pid != id.pid);
        self.signal(&id.pid, Signal::SIGSTOP)
    }

    fn pause(&self) {}

    fn is_cleaner(&self, id: ProcId) -> bool {
        self.0.borrow().cleaners.contains(&id.pid)
    }

    fn await_ends(&self, cleaners: &[&i32]) {
        let mut world = self.0.borrow_mut();
        let others = |process: &&ToyProcess| !cleaners.contains(&&process.pid);
        assert!(world.processes.iter().filter(others).all(|process| process.dead));
        world.let_clean = cleaners.iter().map(|pid| **pid).collect();
        // They go on as they please.
        world.fuel += 2;
    }
}

#[test]
fn cleaners_come_last_and_are_killed_with_what_they_started() {
    let toy = Toy::new(8, 5);
    toy.0.borrow_mut().cleaners = vec![3, 4];
    let done = kill_with(&toy, Toy::root()).unwrap();
    assert!(done.settled && done.refused.is_empty());
    assert_eq!(toy.alive(), 0);
    let world = toy.0.borrow();
    assert_eq!(world.let_clean, [3, 4]);
    assert_eq!(done.killed.len(), world.processes.len());
}

#[test]
fn whatever_forks_until_it_stops_is_caught() {
    for fuel in [0, 1, 7, 100] {
        for delay in [0, 1, 5] {
            let toy = Toy::new(fuel, delay);
            let done = kill_with(&toy, Toy::root()).unwrap();
            assert!(done.settled, "fuel {fuel}, delay {delay}");
            assert_eq!(toy.alive(), 0, "fuel {fuel}, delay {delay}");
            assert_eq!(done.killed[0], Toy::root());
            assert!(done.refused.is_empty());
        }
    }
}

#[test]
fn passes_are_bounded_and_what_was_stopped_is_killed() {
    // A stop that never arrives in time.
    let toy = Toy::new(50, MAX_PASSES * 2);
    let done = kill_with(&toy, Toy::root()).unwrap();
    assert!(!done.settled);
    assert_eq!(toy.alive(), 0);
}

#[test]
fn a_sleeper_in_the_kernel_is_waited_for_with_patience_only() {
    let toy = Toy::new(3, 0);
    toy.0.borrow_mut().stuck.push(2);
    assert!(kill_with(&toy, Toy::root()).unwrap().settled);
    assert_eq!(toy.alive(), 0);
}

/// The kernel tells one thread of a stop, and that may be one that sleeps until a child of
/// vfork, which is stopped, would exec.
#[test]
fn threads_that_were_not_told_are_stopped_one_by_one() {
    let toy = Toy::new(3, 0);
    toy.0.borrow_mut().deaf = vec![2, 4];
    let done = kill_with(&toy, Toy::root()).unwrap();
    assert!(done.settled, "{done:?}");
    assert_eq!(toy.alive(), 0);
}

#[test]
fn one_that_may_not_be_signalled_is_named_and_its_children_are_killed() {
    let toy = Toy::new(3, 0);
    toy.0.borrow_mut().protected.push(3);
    let done = kill_with(&toy, Toy::root()).unwrap();
    assert_eq!(done.refused.len(), 1);
    assert_eq!(done.refused[0].0.pid, 3);
    assert_eq!(toy.alive(), 1);
}

#[test]
fn without_descriptors_nothing_stays_stopped() {
    let toy = Toy::new(20, 0);
    toy.0.borrow_mut().descriptors = Some(1);
    let error = kill_with(&toy, Toy::root()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    let world = toy.0.borrow();
    let left_stopped =
        world.processes.iter().filter(|process| process.stop_in.is_some() && !process.dead);
    assert_eq!(left_stopped.count(), 0);
}

/// A shell with a process group of its own, which ends with the test however it ends.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::killpg(group, Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

fn spawn(script: &str) -> (Shell, i32) {
    let child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let pid = child.id().cast_signed();
    (Shell(child), pid)
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_alive(id: ProcId) -> bool {
    let snapshot = Snapshot::take().unwrap();
    snapshot.contains(id) && snapshot.get(id.pid).is_some_and(|entry| !entry.is_zombie())
}

#[test]
fn three_generations_die_together_and_again_is_fine() {
    let (mut child, pid) =
        spawn("sh -c 'sleep 60 & (trap \"\" TERM; sleep 60) & wait' & sleep 60 & wait");
    wait_until("the tree did not grow", || descendants(pid).unwrap().len() >= 4);
    let below = descendants(pid).unwrap();
    let done = kill_tree(pid, None).unwrap();
    assert!(done.settled, "{done:?}");
    assert_eq!(done.killed[0].pid, pid);
    assert!(below.iter().all(|id| done.killed.contains(id)), "{below:?} {done:?}");
    // Not reaped yet: a zombie has nothing left to kill.
    wait_until("the root lives", || !is_alive(done.killed[0]));
    assert!(kill_tree(pid, None).unwrap().killed.is_empty());
    assert_eq!(child.0.wait().unwrap().signal(), Some(libc::SIGKILL));
    assert!(kill_tree(pid, Some(done.killed[0].start)).unwrap().killed.is_empty());
    wait_until("somebody below lives", || !below.iter().any(|id| is_alive(*id)));
}

#[test]
fn a_tree_that_keeps_forking_is_caught_whole() {
    // The sleeps end by themselves, should the test fail.
    let (mut child, pid) = spawn("i=0; while [ $i -lt 200 ]; do sleep 9 & i=$((i+1)); done; wait");
    wait_until("it did not fork", || descendants(pid).unwrap().len() >= 5);
    let done = kill_tree(pid, None).unwrap();
    assert!(done.settled, "{done:?}");
    child.0.wait().unwrap();
    wait_until("somebody lives", || !done.killed.iter().any(|id| is_alive(*id)));
    let group = nix::unistd::Pid::from_raw(pid);
    wait_until("the group is not empty", || {
        // Zombies that nobody reaped still count as members, so ask for live ones.
        nix::sys::signal::killpg(group, None).is_err()
            || !Snapshot::take().unwrap().below(&[1]).iter().any(|entry| {
                !entry.is_zombie()
                    && nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(entry.id.pid)))
                        == Ok(group)
            })
    });
}

#[test]
fn another_start_time_is_another_process() {
    let (mut child, pid) = spawn("sleep 60");
    let start = crate::proc_tree::start_time(pid).unwrap().unwrap();
    assert!(kill_tree(pid, Some(start + 1)).unwrap().killed.is_empty());
    assert!(child.0.try_wait().unwrap().is_none());
    assert_eq!(kill_tree(pid, Some(start)).unwrap().killed[0], ProcId { pid, start });
    child.0.wait().unwrap();
}

#[test]
fn the_caller_and_its_ancestors_are_refused() {
    let own = std::process::id().cast_signed();
    for pid in [own, nix::unistd::getppid().as_raw(), 1, 0, -1] {
        assert_eq!(kill_tree(pid, None).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
