//! Trees of processes: killing all of one, and containing what forks twice.

use crate::util::{Folder, SOON, alone, children_of, lines, lives, note, state, until};
use nix::sys::stat::Mode;
use procession::{Error, ExitReason, Process};
use std::process::Command;
use std::time::Duration;

/// Starts `sh` with a script, in a child, and waits for it to end.
fn script(script: String) {
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success());
}

fn sleep_on() {
    std::thread::sleep(Duration::from_secs(90));
}

/// A process with a child process of ours, a program's, one in a session of its own, and
/// a stopped one below it.
fn family(path: String) {
    note(&path, &std::process::id().to_string());
    let inner = |path: String| {
        note(&path, &std::process::id().to_string());
        sleep_on();
    };
    let _ours = Process::spawn(inner, (path.clone(),)).unwrap();
    script(format!(
        "echo $$ >> {path}
         setsid sh -c 'echo $$ >> {path}; sleep 600; :' &
         sh -c 'echo $$ >> {path}; kill -STOP $$; sleep 600' &
         sleep 600; :"
    ));
}

#[test]
fn kill_tree_ends_every_generation() {
    let folder = Folder::new("tree");
    let path = folder.file("pids");
    let p = Process::spawn(family, (path.clone(),)).unwrap();
    let pids: Vec<u32> = lines(&path, 5).iter().map(|line| line.trim().parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    let killed = p.kill_tree().unwrap();
    assert!(killed.settled && killed.refused.is_empty(), "{killed:?}");
    assert_eq!(killed.killed[0].pid, p.pid().unwrap().cast_signed());
    for pid in &pids {
        assert!(killed.killed.iter().any(|id| id.pid == pid.cast_signed()), "{pid} {killed:?}");
        until("all are dead", || !lives(*pid));
    }
    assert!(p.join_timeout(SOON).unwrap());
    assert_eq!(p.exitcode(), Some(-9));
    assert_eq!(p.down().unwrap().reason, ExitReason::Signal(9));
    // Again, for a dead one, it is no error and does nothing.
    assert!(p.kill_tree().unwrap().killed.is_empty());
    assert!(matches!(Process::noop().unwrap().kill_tree(), Err(Error::NotStarted)));
}

/// A grandchild whose parent has ended is still below a process that contains.
#[test]
fn a_contained_process_keeps_what_forks_twice() {
    let folder = Folder::new("contained");
    let path = folder.file("pids");
    let body = |path: String| {
        script(format!(
            "(sh -c 'echo $$ >> {path}; exec sleep 600' &)
             (setsid sh -c 'echo $$ >> {path}; exec sleep 600' &)
             exit 0"
        ));
        note(&path, &std::process::id().to_string());
        sleep_on();
    };
    let p = Process::builder(body, (path.clone(),)).contain().start().unwrap();
    let pids: Vec<u32> = lines(&path, 3).iter().map(|line| line.trim().parse().unwrap()).collect();
    until("both are adopted", || children_of(p.pid().unwrap()).len() == 2);
    let killed = p.kill_tree().unwrap();
    assert_eq!(killed.killed.len(), 3, "{killed:?}");
    for pid in pids {
        until("all are dead", || !lives(pid));
    }
    assert!(p.join_timeout(SOON).unwrap());
}

/// Adopted orphans that end are reaped; the user's own children stay the user's.
#[test]
fn a_contained_process_reaps_the_orphans_it_adopts() {
    let body = || {
        let mut own = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        // An orphan is known as one when it was seen below its own parent before.
        script("(sleep 3; exit 0) & (sleep 3.1; exit 0) & sleep 2".into());
        let me = std::process::id();
        let deadline = std::time::Instant::now() + SOON;
        let mut adopted = 0;
        loop {
            let children = children_of(me);
            adopted = adopted.max(children.len());
            if children == [own.id()] || std::time::Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let kept = state(own.id());
        (adopted, children_of(me).len(), kept, own.wait().unwrap().code())
    };
    let p = Process::builder(body, ()).contain().start().unwrap();
    assert_eq!(p.result_timeout(SOON * 2).unwrap(), (3, 1, Some('Z'), Some(3)));
}

/// Kill the tree of a process whose first thread sleeps, as the parent of a vfork does, until
/// its child would exec: a stop is told to that thread, and the others go on.
#[test]
fn kill_tree_stops_all_threads_of_the_parent_of_a_vfork() {
    let folder = Folder::new("vfork");
    let fifo = folder.file("fifo");
    nix::unistd::mkfifo(fifo.as_str(), Mode::S_IRWXU).unwrap();
    // The child opens it before it would exec, and nobody ever opens the other end.
    // The other thread is not one that the kernel tells of the child's stop.
    let parent = "import os, signal, sys, threading, time
blocked = threading.Event()
def nap():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    blocked.set()
    time.sleep(60)
threading.Thread(target=nap).start()
blocked.wait()
open = [(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)]
os.posix_spawn('/bin/true', ['true'], {}, file_actions=open)";
    let body = |parent: String, fifo: String| {
        Command::new("python3").args(["-I", "-c", &parent, &fifo]).status().unwrap();
    };
    let p = Process::spawn(body, (parent.to_owned(), fifo)).unwrap();
    let pid = p.pid().unwrap();
    let sleeps = |pid: &u32| state(*pid) == Some('D') && children_of(*pid).len() == 1;
    until("its first thread sleeps", || children_of(pid).iter().any(sleeps));
    let killed = p.kill_tree().unwrap();
    assert!(killed.settled && killed.killed.len() == 3, "{killed:?}");
    assert!(p.join_timeout(SOON).unwrap());
    for id in killed.killed {
        until("all are dead", || !lives(id.pid.cast_unsigned()));
    }
}

/// Kill the tree of a process that starts processes without a pause.
#[test]
fn kill_tree_catches_a_tree_that_grows() {
    alone("tree::kill_tree_catches_a_tree_that_grows", || {
        let bomb = || {
            let mut all = Vec::new();
            for _ in 0..2_000 {
                all.push(Command::new("sleep").arg("600").spawn().unwrap());
            }
            sleep_on();
        };
        let p = Process::builder(bomb, ()).contain().start().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let before = children_of(p.pid().unwrap()).len();
        let killed = p.kill_tree().unwrap();
        assert!(killed.settled, "{killed:?}");
        assert!(killed.killed.len() > before, "{before} {}", killed.killed.len());
        assert!(p.join_timeout(SOON).unwrap());
        for id in killed.killed {
            until("all are dead", || !lives(id.pid.cast_unsigned()));
        }
    });
}
