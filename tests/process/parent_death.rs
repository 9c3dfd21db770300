//! What becomes of processes when the parent dies without a word.

use crate::util::{
    Folder, METHODS, SOON, alone_command, is_alone, lines, lives, note, text, until,
};
use nix::sys::signal::Signal;
use procession::{ParentDeath, Process, ProcessBuilder, StartMethod, parent_process};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const FOLDER: &str = "PROCESSION_TEST_FOLDER";

fn sleep_on() {
    std::thread::sleep(Duration::from_secs(90));
}

fn folder() -> String {
    std::env::var(FOLDER).unwrap()
}

/// A parent in a process of its own, which is killed; the children note themselves in a
/// file of the folder.
struct Parent {
    child: Child,
    folder: Folder,
}

impl Parent {
    fn start(name: &str) -> Self {
        let folder = Folder::new(name);
        let mut command = alone_command(name);
        command.env(FOLDER, &folder.0).stdin(Stdio::null()).stdout(Stdio::null());
        Self { child: command.spawn().unwrap(), folder }
    }

    /// The numbers that processes noted in a file.
    fn pids(&self, file: &str, count: usize) -> Vec<u32> {
        lines(&self.folder.file(file), count).iter().map(|pid| pid.parse().unwrap()).collect()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three generations of two each; every second one is stopped.
fn generation(depth: u32) {
    for number in 0..2 {
        if depth > 1 {
            Process::spawn(generation, (depth - 1,)).unwrap();
        } else {
            let leaf = |stop: bool| {
                note(&format!("{}/all", folder()), &std::process::id().to_string());
                if stop {
                    nix::sys::signal::raise(Signal::SIGSTOP).unwrap();
                }
                sleep_on();
            };
            Process::spawn(leaf, (number == 1,)).unwrap();
        }
    }
    note(&format!("{}/all", folder()), &std::process::id().to_string());
    sleep_on();
}

#[test]
fn nothing_lives_a_second_after_the_parent_was_killed() {
    const NAME: &str = "parent_death::nothing_lives_a_second_after_the_parent_was_killed";
    if is_alone(NAME) {
        Process::builder(generation, (2,)).start().unwrap();
        generation(2);
    }
    let mut parent = Parent::start(NAME);
    // Leaves and inner ones of both trees, and the first child, and the parent itself.
    let pids = parent.pids("all", 4 + 2 + 4 + 2 + 2);
    let stopped = || pids.iter().filter(|pid| crate::util::state(**pid) == Some('T')).count();
    until("some are stopped", || stopped() == 4);
    parent.kill();
    let killed = Instant::now();
    until("all are gone", || !pids.iter().any(|pid| lives(*pid)));
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
}

/// The first in a chain that is killed takes all below it along, and only those.
#[test]
fn a_killed_child_takes_its_own_along() {
    let folder = Folder::new("chain");
    let path = folder.file("pids");
    let middle = |path: String| {
        let leaf = |path: String| {
            note(&path, &std::process::id().to_string());
            sleep_on();
        };
        Process::spawn(leaf, (path,)).unwrap();
        sleep_on();
    };
    let p = Process::spawn(middle, (path.clone(),)).unwrap();
    let leaf: u32 = lines(&path, 1)[0].parse().unwrap();
    p.kill().unwrap();
    assert!(p.join_timeout(SOON).unwrap());
    until("it is gone", || !lives(leaf));
}

fn grace(time: Duration) -> impl Fn(ProcessBuilder) -> ProcessBuilder {
    move |builder| builder.on_parent_death(ParentDeath::Grace(time))
}

/// Row proc-06, for a child with grace: its hooks see that the parent is gone.
#[test]
fn a_child_with_grace_winds_down() {
    const NAME: &str = "parent_death::a_child_with_grace_winds_down";
    if is_alone(NAME) {
        let body = || {
            procession::at_exit(0, || {
                let parent = parent_process().unwrap();
                let gone = parent.join_timeout(SOON).unwrap() && !parent.is_alive();
                std::thread::sleep(Duration::from_millis(200));
                note(&format!("{}/hook", folder()), &format!("gone: {gone}"));
            });
            assert!(parent_process().unwrap().is_alive());
            note(&format!("{}/child", folder()), &std::process::id().to_string());
            sleep_on();
        };
        grace(Duration::from_secs(20))(Process::builder(body, ())).start().unwrap();
        sleep_on();
    }
    let mut parent = Parent::start(NAME);
    let child = parent.pids("child", 1)[0];
    parent.kill();
    assert_eq!(lines(&parent.folder.file("hook"), 1), ["gone: true"]);
    until("it is gone", || !lives(child));
}

/// The wait for a parent blocks no thread, where that is asked for.
#[test]
fn the_end_of_a_parent_can_be_awaited() {
    const NAME: &str = "parent_death::the_end_of_a_parent_can_be_awaited";
    if is_alone(NAME) {
        let body = || {
            let parent = parent_process().unwrap();
            note(&format!("{}/child", folder()), &std::process::id().to_string());
            procession_runtime::wait::block_on(parent.join_async()).unwrap();
            note(&format!("{}/end", folder()), &format!("lives: {}", parent.is_alive()));
        };
        Process::builder(body, ()).on_parent_death(ParentDeath::Detached).start().unwrap();
        sleep_on();
    }
    let mut parent = Parent::start(NAME);
    let child = parent.pids("child", 1)[0];
    parent.kill();
    assert_eq!(lines(&parent.folder.file("end"), 1), ["lives: false"]);
    until("it is gone", || !lives(child));
}

/// A hook that never ends is cut off at the end of the grace.
#[test]
fn grace_has_an_end() {
    const NAME: &str = "parent_death::grace_has_an_end";
    if is_alone(NAME) {
        let body = || {
            procession::at_exit(0, || {
                note(&format!("{}/hook", folder()), "begun");
                sleep_on();
            });
            note(&format!("{}/child", folder()), &std::process::id().to_string());
            sleep_on();
        };
        grace(Duration::from_millis(500))(Process::builder(body, ())).start().unwrap();
        sleep_on();
    }
    let mut parent = Parent::start(NAME);
    let child = parent.pids("child", 1)[0];
    // Before the kill: this thread may not get on for a while after it.
    let killed = Instant::now();
    parent.kill();
    lines(&parent.folder.file("hook"), 1);
    until("it is gone", || !lives(child));
    let took = killed.elapsed();
    assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(5), "{took:?}");
}

/// Linux takes the signal of the parent's death from a process that changes its user. It may ask
/// for it again; what watches the parent during a grace needs none.
#[test]
fn a_child_that_changes_its_user_can_be_bound_to_its_parent() {
    const NAME: &str = "parent_death::a_child_that_changes_its_user_can_be_bound_to_its_parent";
    if is_alone(NAME) {
        std::fs::set_permissions(folder(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let body = |asks_again: bool| {
            if nix::unistd::geteuid().is_root() {
                nix::unistd::setuid(54_321.into()).unwrap();
                assert_eq!(nix::sys::prctl::get_pdeathsig().unwrap(), None);
            }
            if asks_again {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
            }
            note(&format!("{}/child", folder()), &std::process::id().to_string());
            sleep_on();
        };
        for method in METHODS {
            Process::builder(body, (true,)).start_method(method).start().unwrap();
            let watched = Process::builder(body, (false,)).start_method(method);
            grace(Duration::ZERO)(watched).start().unwrap();
        }
        sleep_on();
    }
    let mut parent = Parent::start(NAME);
    let children = parent.pids("child", 4);
    parent.kill();
    until("they are gone", || !children.iter().any(|child| lives(*child)));
}

/// Row proc-06 as it stands: the grandchild waits for its parent, which gets SIGTERM.
#[test]
fn a_grandchild_sees_its_parent_end() {
    let folder = Folder::new("grandchild");
    let child = |method: StartMethod, path: String| {
        let grandchild = |path: String| {
            let parent = parent_process().unwrap();
            note(&path, &format!("{}", parent.is_alive()));
            let ended = parent.join_timeout(SOON).unwrap();
            note(&path, &format!("{ended} {}", parent.is_alive()));
        };
        let p = Process::builder(grandchild, (path,)).start_method(method);
        p.detached().start().unwrap();
        sleep_on();
    };
    for method in METHODS {
        let path = folder.file(method.to_string());
        let p = Process::builder(child, (method, path.clone())).start_method(method);
        let p = p.start().unwrap();
        assert_eq!(lines(&path, 1), ["true"]);
        assert!(text(&path) == "true\n");
        p.terminate().unwrap();
        assert_eq!(lines(&path, 2)[1], "true false");
    }
}

#[test]
fn a_detached_child_lives_on() {
    const NAME: &str = "parent_death::a_detached_child_lives_on";
    if is_alone(NAME) {
        let body = || {
            note(&format!("{}/child", folder()), &std::process::id().to_string());
            // What it says after that is lost, not an error.
            println!("into the void");
            sleep_on();
        };
        Process::builder(body, ()).detached().start().unwrap();
        Process::builder(body, ()).detached().daemon(true).start().unwrap();
        let kind = std::env::var("PROCESSION_TEST_END").unwrap();
        until("both run", || text(&format!("{}/child", folder())).lines().count() == 2);
        if kind == "kill" {
            sleep_on();
        }
        return;
    }
    for kind in ["kill", "return"] {
        let folder = Folder::new(NAME);
        let mut command = alone_command(NAME);
        command.env(FOLDER, &folder.0).env("PROCESSION_TEST_END", kind);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut parent = Parent { child: command.spawn().unwrap(), folder };
        let children = parent.pids("child", 2);
        if kind == "kill" {
            parent.kill();
        } else {
            // A normal end neither waits for them nor ends them.
            assert!(parent.child.wait().unwrap().success());
        }
        std::thread::sleep(Duration::from_millis(500));
        for child in children {
            assert!(lives(child), "{kind}");
            let pid = child.cast_signed();
            let start = procession_runtime::proc_tree::start_time(pid).unwrap();
            let killed = procession_runtime::proc_tree::kill_tree(pid, start).unwrap();
            assert_eq!(killed.killed.len(), 1);
            until("it is gone", || !lives(child));
        }
    }
}

/// While the parent lives, a detached child is a child as any other.
#[test]
fn a_detached_child_is_reaped() {
    let p = Process::builder(|| 5, ()).detached().start().unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), 5);
    let p = Process::builder(sleep_on, ()).detached().start().unwrap();
    p.terminate().unwrap();
    assert!(p.join_timeout(SOON).unwrap());
    assert_eq!(p.exitcode(), Some(-15));
}

#[derive(procession::Actor, serde::Serialize, serde::Deserialize)]
struct Mourner {
    folder: String,
}

#[procession::methods]
impl Mourner {
    pub fn note_pid(&self) {
        note(&format!("{}/child", self.folder), &std::process::id().to_string());
    }

    #[on_stop]
    fn mourn(&mut self, why: &procession::ExitReason) {
        note(&format!("{}/end", self.folder), &why.to_string());
    }
}

/// A supervised actor with grace ends as by a stop.
#[test]
fn an_actor_with_grace_is_stopped() {
    const NAME: &str = "parent_death::an_actor_with_grace_is_stopped";
    if is_alone(NAME) {
        let make = || Mourner { folder: folder() };
        let mourner = procession::ChildSpec::actor("mourner", make, ());
        let tree = procession::Supervisor::new(procession::Strategy::OneForOne)
            .child(mourner.on_parent_death(ParentDeath::Grace(Duration::from_secs(20))))
            .start()
            .unwrap();
        tree.actor::<Mourner>("mourner").unwrap().note_pid().unwrap();
        sleep_on();
    }
    let mut parent = Parent::start(NAME);
    let child = parent.pids("child", 1)[0];
    parent.kill();
    assert_eq!(lines(&parent.folder.file("end"), 1), ["shutdown"]);
    until("it is gone", || !lives(child));
}
