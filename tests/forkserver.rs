//! The forkserver method, and what its server goes through: signals, stops, preloads.
//!
//! A node has one fork server, so what disturbs it runs in a process of its own, made
//! for the test (`in_a_node`). Neighbour: `tests/process/life.rs` has what all methods share.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

/// Runs a test's body as a node of its own, which nothing else happens in.
macro_rules! in_a_node {
    ($body:expr) => {{
        let process = context(StartMethod::Spawn).spawn($body, ()).unwrap();
        process.result_timeout(SOON).unwrap()
    }};
}

#[path = "forkserver/limits.rs"]
mod limits;
#[path = "forkserver/preload.rs"]
mod preload;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::{Context, StartMethod, context, set_forkserver_preload};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);

fn forkserver() -> Context {
    context(StartMethod::ForkServer)
}

fn sleeper() {
    std::thread::sleep(Duration::from_mins(10));
}

/// Runs one no-op by the fork server.
fn one_start() -> Option<StartMethod> {
    let process = forkserver().spawn(|| procession::current_process().start_method(), ());
    process.unwrap().result_timeout(SOON).unwrap()
}

/// The children of a process, ended ones too: (pid, state letter).
fn children(pid: u32) -> Vec<(u32, char)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let rest: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        if rest[1] == pid.to_string() {
            let own = entry.file_name().to_str().unwrap().parse().unwrap();
            found.push((own, rest[0].chars().next().unwrap()));
        }
    }
    found
}

/// The living children of this node that are no processes of the user's: fork servers, and
/// the worker that one has made ahead.
fn others() -> Vec<u32> {
    let active = procession::active_children();
    let known: Vec<_> = active.iter().filter_map(procession::ProcessRef::pid).collect();
    let mut others = children(std::process::id());
    others.retain(|(pid, state)| !known.contains(pid) && *state != 'Z');
    others.into_iter().map(|(pid, _)| pid).collect()
}

/// Whether a process has a descriptor of its parent's process, which a worker that waits
/// for its hello has not.
fn watches_its_parent(pid: u32) -> bool {
    let Ok(links) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let links = links.flatten().filter_map(|link| std::fs::read_link(link.path()).ok());
    links.into_iter().any(|link| link.to_string_lossy().contains("pidfd"))
}

/// The fork server. One that was replaced may take a moment to end.
fn server() -> u32 {
    let mut servers = Vec::new();
    eventually("there is one fork server", || {
        servers = others();
        servers.retain(|pid| watches_its_parent(*pid));
        servers.len() == 1
    });
    servers[0]
}

/// The worker that is made ahead, from the second start on.
fn spare() -> u32 {
    let mut spares = Vec::new();
    eventually("there is one spare worker", || {
        spares = others();
        spares.retain(|pid| !watches_its_parent(*pid));
        spares.len() == 1
    });
    spares[0]
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("procession-forkserver-{}-{name}", std::process::id()))
}

#[test]
fn is_the_default_and_makes_direct_children() {
    assert_eq!(procession::all_start_methods()[0], StartMethod::ForkServer);
    let process = forkserver().spawn(
        || {
            let parent = procession::parent_process().unwrap();
            let us = (nix::unistd::getppid().as_raw(), parent.pid(), parent.is_alive());
            // proc-08: ids are asked for, not remembered.
            (us, nix::unistd::gettid().as_raw(), std::process::id())
        },
        (),
    );
    let process = process.unwrap();
    let me = std::process::id();
    let pid = process.pid().unwrap();
    let expected = ((me.cast_signed(), me, true), pid.cast_signed(), pid);
    assert_eq!(process.result_timeout(SOON).unwrap(), expected);
}

// fsrv-01
#[test]
fn an_interrupted_server_goes_on() {
    in_a_node!(|| {
        let running = forkserver().spawn(sleeper, ()).unwrap();
        let before = server();
        send(before, Signal::SIGINT);
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
        assert_eq!(server(), before);
        assert!(running.is_alive().unwrap());
        running.interrupt().unwrap();
        assert!(running.join_timeout(SOON).unwrap());
        assert_eq!(running.exitcode(), Some(-2), "a worker does not ignore it");
    });
}

#[test]
fn a_killed_server_is_replaced_and_its_workers_live_on() {
    in_a_node!(|| {
        let running = forkserver().spawn(sleeper, ()).unwrap();
        for _ in 0..5 {
            let before = server();
            send(before, Signal::SIGKILL);
            assert_eq!(one_start(), Some(StartMethod::ForkServer));
            assert_ne!(server(), before);
            eventually("the old server is reaped", || !exists(before));
        }
        running.terminate().unwrap();
        running.join().unwrap();
        assert_eq!(running.exitcode(), Some(-15));
    });
}

#[test]
fn a_stopped_server_costs_a_moment_and_no_start() {
    in_a_node!(|| {
        one_start();
        let before = server();
        send(before, Signal::SIGSTOP);
        let begun = Instant::now();
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        eventually("the stopped server is gone", || !exists(before));
    });
}

/// Where a fork server of the test below writes its pid: it is known from its workers,
/// which are as like it as can be, by that alone.
fn server_file(node: u32) -> PathBuf {
    std::env::temp_dir().join(format!("procession-forkserver-of-{node}"))
}

fn note_server() {
    let file = server_file(nix::unistd::getppid().as_raw().cast_unsigned());
    std::fs::write(file, std::process::id().to_string()).unwrap();
}

#[test]
fn servers_killed_and_stopped_during_starts_lose_none() {
    in_a_node!(|| {
        set_forkserver_preload(note_server).unwrap();
        one_start();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let me = std::process::id();
        let killer = std::thread::spawn(move || {
            let (mut kills, mut pause) = (0, 1);
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) =
                stopped.recv_timeout(Duration::from_millis(pause))
            {
                pause = 1 + pause * 7 % 61;
                let noted = std::fs::read_to_string(server_file(me)).unwrap_or_default();
                let Ok(server) = noted.parse::<u32>() else { continue };
                if children(me).iter().any(|(pid, state)| *pid == server && *state != 'Z') {
                    kills += 1;
                    let how = if kills % 16 == 0 { Signal::SIGSTOP } else { Signal::SIGKILL };
                    let _ = kill(Pid::from_raw(server.cast_signed()), how);
                }
            }
            kills
        });
        let end = Instant::now() + Duration::from_secs(5);
        let mut starts = 0u32;
        while Instant::now() < end {
            // Some fall back to spawn, when two servers in a row were killed.
            let process = forkserver().spawn(|number: u32| number + 1, (starts,)).unwrap();
            assert_eq!(process.result_timeout(SOON).unwrap(), starts + 1);
            starts += 1;
        }
        drop(stop);
        let kills = killer.join().unwrap();
        assert!(starts > 10 && kills > 10, "{starts} starts, {kills} kills");
        eventually("no child is left but the server and a spare", || children(me).len() <= 2);
        std::fs::remove_file(server_file(me)).unwrap();
    });
}

#[test]
fn surroundings_are_those_of_the_moment() {
    in_a_node!(|| {
        one_start();
        let dir = scratch("cwd");
        std::fs::create_dir(&dir).unwrap();
        std::env::set_current_dir(&dir).unwrap();
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o137));
        let mut one = nix::sched::CpuSet::new();
        one.set(0).unwrap();
        nix::sched::sched_setaffinity(Pid::from_raw(0), &one).unwrap();
        let look = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let wanted = ["Umask:", "Cpus_allowed_list:", "SigBlk:", "SigIgn:", "SigCgt:"];
            let status: Vec<String> = status
                .lines()
                .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
                .map(str::to_owned)
                .collect();
            let mut env: Vec<_> = std::env::vars().collect();
            env.sort();
            let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
            let ids =
                (nix::unistd::getpgrp().as_raw(), nix::unistd::getsid(None).unwrap().as_raw());
            (status, env, limits, ids, std::env::current_dir().unwrap(), streams())
        };
        let both = || {
            let methods = [StartMethod::ForkServer, StartMethod::Spawn];
            let [by_server, by_spawn] = methods.map(|method| {
                let process = context(method).builder(look, ()).env("COLOUR", "blue").start();
                process.unwrap().result_timeout(SOON).unwrap()
            });
            assert_eq!(by_server, by_spawn);
            by_server
        };
        let (status, env, _, _, here, _) = both();
        assert!(status.contains(&"Umask:\t0137".to_string()), "{status:?}");
        assert!(status.contains(&"Cpus_allowed_list:\t0".to_string()), "{status:?}");
        assert!(env.contains(&("COLOUR".into(), "blue".into())));
        assert_eq!(here, dir);
        std::fs::remove_dir(&dir).unwrap();
        std::env::set_current_dir("/").unwrap();
        // What a server cannot change for its workers makes a new one.
        let before = server();
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
        nix::unistd::setsid().unwrap();
        let (.., ids, here, _) = both();
        assert_eq!(ids, (std::process::id().cast_signed(), std::process::id().cast_signed()));
        assert_eq!(here, Path::new("/"));
        assert_ne!(server(), before);
    });
}

/// What descriptors 0 to 2 are.
fn streams() -> Vec<PathBuf> {
    (0..3).map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap()).collect()
}

#[test]
fn standard_streams_are_those_of_the_moment() {
    in_a_node!(|| {
        one_start();
        let path = scratch("stdout");
        let file = std::fs::File::create(&path).unwrap();
        nix::unistd::dup2_stdout(&file).unwrap();
        let process = forkserver().spawn(streams, ()).unwrap();
        let seen = process.result_timeout(SOON).unwrap();
        assert_eq!((&seen[0], &seen[1]), (&PathBuf::from("/dev/null"), &path));
        std::fs::remove_file(path).unwrap();
    });
}

// exit-05
#[test]
fn a_worker_has_only_its_own_descriptors() {
    in_a_node!(|| {
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        // Not close-on-exec, and at a high number.
        let mut high = nix::unistd::dup(&socket).unwrap();
        nix::unistd::dup2(&socket, &mut high).unwrap();
        let siblings: Vec<_> = (0..3).map(|_| forkserver().spawn(sleeper, ()).unwrap()).collect();
        let list = || {
            let mut kinds: Vec<String> = std::fs::read_dir("/proc/self/fd")
                .unwrap()
                .flatten()
                .filter_map(|entry| std::fs::read_link(entry.path()).ok())
                .map(|link| link.display().to_string())
                .filter(|link| !link.ends_with("/fd"))
                .map(|link| link.split(':').next().unwrap().to_owned())
                .collect();
            kinds.drain(..3);
            kinds.sort();
            kinds
        };
        for method in [StartMethod::ForkServer, StartMethod::Spawn] {
            let seen = context(method).spawn(list, ()).unwrap().result_timeout(SOON).unwrap();
            // The two links, and the parent's pidfd.
            assert_eq!(seen.len(), 3, "{method}: {seen:?}");
            assert_eq!(seen.iter().filter(|kind| *kind == "socket").count(), 2, "{seen:?}");
        }
        let of_server = std::fs::read_dir(format!("/proc/{}/fd", server())).unwrap().count();
        assert_eq!(of_server, 6, "three streams, two links, the parent's pidfd");
        for sibling in siblings {
            sibling.kill().unwrap();
            sibling.join().unwrap();
        }
    });
}

#[test]
fn a_server_dies_with_its_parent_however_that_dies() {
    let report = || {
        one_start();
        server()
    };
    let process = context(StartMethod::Spawn).spawn(report, ()).unwrap();
    let at_exit = process.result_timeout(SOON).unwrap();
    assert!(!exists(at_exit), "it was ended before its parent was");

    let path = scratch("orphan");
    let process = context(StartMethod::Spawn)
        .spawn(
            |path: PathBuf| {
                let worker = forkserver().spawn(sleeper, ()).unwrap();
                let text = format!("{} {}", server(), worker.pid().unwrap());
                std::fs::write(path, text).unwrap();
                sleeper();
            },
            (path.clone(),),
        )
        .unwrap();
    let mut pids = Vec::new();
    eventually("the process has written its children", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        pids = text.split(' ').filter_map(|pid| pid.parse::<u32>().ok()).collect();
        pids.len() == 2
    });
    process.kill().unwrap();
    process.join().unwrap();
    eventually("server and worker are gone", || pids.iter().all(|pid| !is_running(*pid)));
    std::fs::remove_file(path).unwrap();
}

/// Neither gone nor a zombie that nobody reaps in a container.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn two_hundred_starts_leave_nothing() {
    in_a_node!(|| {
        one_start();
        one_start();
        spare();
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = descriptors();
        for _ in 0..200 {
            one_start();
        }
        eventually("all descriptors are closed", || descriptors() <= before);
        eventually("server and spare are left", || children(std::process::id()).len() == 2);
        assert!(procession::active_children().is_empty());
    });
}

// proc-16
#[test]
fn a_hundred_at_once_end_as_they_should() {
    in_a_node!(|| {
        let nap = || std::thread::sleep(Duration::from_millis(2));
        let all: Vec<_> = (0..100).map(|_| forkserver().spawn(nap, ()).unwrap()).collect();
        for process in &all {
            assert!(process.join_timeout(SOON).unwrap());
            assert_eq!(process.exitcode(), Some(0));
        }
        let all: Vec<_> = (0..100)
            .map(|_| {
                let process = forkserver().spawn(sleeper, ()).unwrap();
                process.terminate().unwrap();
                process
            })
            .collect();
        for process in &all {
            assert!(process.join_timeout(SOON).unwrap());
            assert_eq!(process.exitcode(), Some(-15));
        }
    });
}

#[test]
fn a_worker_has_a_server_of_its_own() {
    let process = forkserver().spawn(
        || {
            let inner = forkserver().spawn(|| nix::unistd::getppid().as_raw(), ()).unwrap();
            (inner.result_timeout(SOON).unwrap(), server(), std::process::id())
        },
        (),
    );
    let (parent, server, own) = process.unwrap().result_timeout(SOON).unwrap();
    assert_eq!(parent, own.cast_signed());
    eventually("the inner server is gone", || !exists(server));
}

#[test]
fn a_worker_made_ahead_is_used_and_has_the_surroundings_of_its_start() {
    in_a_node!(|| {
        one_start();
        assert_eq!(others(), [server()], "a program of one start needs no spare");
        one_start();
        let ahead = spare();
        let look = || {
            (std::process::id(), std::env::var("LATE").ok(), procession::current_process().name())
        };
        let process = forkserver().builder(look, ()).env("LATE", "yes").name("fred").start();
        let seen = process.unwrap().result_timeout(SOON).unwrap();
        assert_eq!(seen, (ahead, Some("yes".to_owned()), "fred".to_owned()));
        assert_ne!(spare(), ahead);
        // Ctrl-C is its parent's affair as long as it is nobody.
        send(spare(), Signal::SIGINT);
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
    });
}

#[test]
fn a_worker_made_ahead_that_dies_or_hangs_costs_no_start() {
    in_a_node!(|| {
        one_start();
        one_start();
        for _ in 0..5 {
            let killed = spare();
            send(killed, Signal::SIGKILL);
            eventually("it is reaped while nobody starts anything", || !exists(killed));
            assert_eq!(one_start(), Some(StartMethod::ForkServer));
            let killed = spare();
            send(killed, Signal::SIGKILL);
            eventually("it has ended", || !is_running(killed));
            assert_eq!(one_start(), Some(StartMethod::ForkServer));
        }
        // Its server's end is no reason not to use it.
        let (old, ahead) = (server(), spare());
        send(old, Signal::SIGKILL);
        eventually("the server is reaped", || !exists(old));
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
        eventually("the spare of a dead server is gone", || !exists(ahead));
    });
}

#[test]
fn starts_from_many_threads_share_one_server() {
    in_a_node!(|| {
        one_start();
        let before = server();
        std::thread::scope(|scope| {
            for thread in 0..8u32 {
                scope.spawn(move || {
                    for number in 0..20u32 {
                        let process = forkserver().spawn(|a: u32, b: u32| a * b, (thread, number));
                        assert_eq!(process.unwrap().result_timeout(SOON).unwrap(), thread * number);
                    }
                });
            }
        });
        assert_eq!(server(), before);
        eventually("server and spare are left", || children(std::process::id()).len() == 2);
    });
}
