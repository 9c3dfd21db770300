//! Names of shared memory and the deaths of those who made them.
//!
//! The makers are processes of their own, with a standard error that the test reads: the
//! last to hold it is the fork server that removes what they left. What Python's resource
//! tracker promises is promised here by that server.

use crate::util::{children_of, lives, signal, until};
use crate::{exists, own_name};
use nix::sys::signal::Signal::{self, SIGINT, SIGKILL, SIGTERM};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use procession::{
    Entry, LogLevel, Process, SharedMemory, StartMethod, Stdio, context, force_start_method,
    log_to_stderr, set_forkserver_preload,
};
use std::fs::File;
use std::io::Read;
use std::time::Duration;

fn wait() {
    std::thread::sleep(Duration::from_mins(10));
}

fn make(names: &[String]) -> Vec<SharedMemory> {
    names.iter().map(|name| SharedMemory::create(name, 100).unwrap()).collect()
}

/// Makes memory of these names and holds it until somebody ends the process.
fn make_and_wait(names: Vec<String>) {
    let _made = make(&names);
    wait();
}

/// Starts a process that makes memory, and waits until all names exist.
fn maker<F>(body: F, names: &[String]) -> Process<()>
where
    F: Entry<(Vec<String>,), Output = ()> + Copy + 'static,
{
    let process = Process::builder(body, (names.to_vec(),)).stderr(Stdio::Piped);
    let process = process.start_method(StartMethod::Spawn).start().unwrap();
    until("the names exist", || {
        let is_done = names.iter().all(|name| exists(name));
        assert!(is_done || process.is_alive().unwrap(), "{}", rest_of_stderr(&process));
        is_done
    });
    process
}

/// All that a process and its fork server write from now on, until both have ended.
fn rest_of_stderr(process: &Process<()>) -> String {
    let mut text = String::new();
    File::from(process.take_stderr().unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn names<const N: usize>(of: &str) -> [String; N] {
    std::array::from_fn(|at| own_name(&format!("{of}-{at}")))
}

/// The fork server of a process that has no other child.
fn server_of(process: &Process<()>) -> u32 {
    let children = children_of(process.pid().unwrap());
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}

/// shm-11, with each signal that ends a process.
#[test]
fn the_name_goes_with_its_maker_and_that_is_told() {
    for how in [SIGTERM, SIGKILL] {
        let names = names::<1>("gone");
        let process = maker(make_and_wait, &names);
        signal(process.pid().unwrap(), how);
        let text = rest_of_stderr(&process);
        assert!(text.contains("There appear to be 1 leaked shared_memory objects"), "{text}");
        assert!(text.contains(&names[0]), "{text}");
        assert!(!exists(&names[0]));
        process.join().unwrap();
    }
}

/// track-03.
#[test]
fn a_name_removed_by_hand_is_reported() {
    let names = names::<2>("by-hand");
    let process = maker(make_and_wait, &names);
    std::fs::remove_file(format!("/dev/shm/{}", names[0])).unwrap();
    process.terminate().unwrap();
    let text = rest_of_stderr(&process);
    assert!(text.contains("There appear to be 2 leaked shared_memory objects"), "{text}");
    assert!(text.contains(&format!("{:?}: No such file", names[0])), "{text}");
    assert!(!exists(&names[1]));
    process.join().unwrap();
}

/// What another made is another's, also under a name that was once asked for here.
#[test]
fn what_others_made_stays() {
    fn ask_in_vain_and_make(names: Vec<String>) {
        assert!(SharedMemory::create(&names[0], 1).is_err());
        let replaced = SharedMemory::create(&names[1], 1).unwrap();
        std::fs::remove_file(format!("/dev/shm/{}", names[1])).unwrap();
        let _now_anothers = SharedMemory::create_untracked(&names[1], 1).unwrap();
        assert!(replaced.unlink().is_err());
        let _left = SharedMemory::create(&names[2], 1).unwrap();
        wait();
    }
    let names = names::<3>("others");
    let first = SharedMemory::create(&names[0], 1).unwrap();
    let process = maker(ask_in_vain_and_make, &names);
    process.kill().unwrap();
    rest_of_stderr(&process);
    assert_eq!([0, 1, 2].map(|at| exists(&names[at])), [true, true, false]);
    first.unlink().unwrap();
    SharedMemory::attach(&names[1]).unwrap().unlink().unwrap();
    process.join().unwrap();
}

/// Threads that want the same name at the same time, or one that removes it while another
/// makes it: whoever has it in the end, it goes with the process.
#[test]
fn names_that_threads_quarrel_over_go_with_their_maker() {
    const NAMES: usize = 30;
    fn quarrel(names: Vec<String>) {
        for name in &names[..NAMES] {
            let start = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        start.wait();
                        std::mem::forget(SharedMemory::create(name, 100));
                    });
                }
            });
        }
        for name in &names[NAMES..2 * NAMES] {
            let first = SharedMemory::create(name, 100).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| first.unlink().unwrap());
                while SharedMemory::create(name, 100).map(std::mem::forget).is_err() {}
            });
        }
        // All that was said before is known now.
        std::mem::forget(SharedMemory::create(&names[2 * NAMES], 100).unwrap());
        wait();
    }
    let names = names::<{ 2 * NAMES + 1 }>("quarrel");
    let process = maker(quarrel, &names);
    process.kill().unwrap();
    rest_of_stderr(&process);
    assert_eq!(names.iter().filter(|name| exists(name)).collect::<Vec<_>>(), [""; 0]);
    process.join().unwrap();
}

/// shm-12: attaching neither removes nor tells anything.
#[test]
fn memory_survives_those_who_only_attached() {
    fn attach(names: Vec<String>) {
        SharedMemory::attach(&names[0]).unwrap().write(0, b"I was here").unwrap();
    }
    let names = names::<1>("attached");
    let memory = make(&names).remove(0);
    let process = maker(attach, &names);
    assert_eq!(rest_of_stderr(&process), "");
    process.join().unwrap();
    assert_eq!(memory.to_vec(..10).unwrap(), b"I was here");
    assert!(exists(&names[0]));
    memory.unlink().unwrap();
}

#[test]
fn what_was_unlinked_or_is_to_stay_is_not_told_of() {
    fn make_and_unlink(names: Vec<String>) {
        let stays = SharedMemory::create(&names[0], 1).unwrap();
        stays.untrack().unwrap();
        let gone = SharedMemory::create_unnamed(1).unwrap();
        gone.unlink().unwrap();
    }
    let names = names::<1>("stays");
    let process = maker(make_and_unlink, &names);
    assert_eq!(rest_of_stderr(&process), "");
    process.join().unwrap();
    SharedMemory::attach(&names[0]).unwrap().unlink().unwrap();
}

#[test]
fn what_a_program_forgets_goes_at_its_end() {
    fn make_and_forget(names: Vec<String>) {
        make(&names);
        until("it was seen", || exists(&format!("{}-seen", names[0])));
    }
    let names = names::<1>("forgotten");
    let process = maker(make_and_forget, &names);
    let seen = SharedMemory::create(&format!("{}-seen", names[0]), 1).unwrap();
    let text = rest_of_stderr(&process);
    assert!(text.contains("There appear to be 1 leaked shared_memory objects"), "{text}");
    assert!(!exists(&names[0]));
    process.join().unwrap();
    seen.unlink().unwrap();
}

/// track-06.
#[test]
fn a_server_that_dies_is_replaced_and_the_names_are_told_again() {
    fn make_one_then_another(names: Vec<String>) {
        log_to_stderr(LogLevel::Warning).unwrap();
        let _first = SharedMemory::create(&names[0], 1).unwrap();
        until("its server was killed", || exists(&format!("{}-go", names[0])));
        let _second = SharedMemory::create(&names[1], 1).unwrap();
        let _third = SharedMemory::create(&names[2], 1).unwrap();
        wait();
    }
    let names = names::<3>("replaced");
    let body = make_one_then_another;
    let process = Process::builder(body, (names.to_vec(),)).stderr(Stdio::Piped);
    let process = process.start_method(StartMethod::Spawn).start().unwrap();
    until("the first exists", || exists(&names[0]));
    let server = server_of(&process);
    signal(server, SIGKILL);
    until("it is dead", || !lives(server));
    let go = SharedMemory::create(&format!("{}-go", names[0]), 1).unwrap();
    until("all exist", || names.iter().all(|name| exists(name)));
    process.kill().unwrap();
    let text = rest_of_stderr(&process);
    go.unlink().unwrap();
    assert_eq!(text.matches("died unexpectedly").count(), 1, "{text}");
    assert!(text.contains("There appear to be 3 leaked shared_memory objects"), "{text}");
    assert!(!names.iter().any(|name| exists(name)));
    process.join().unwrap();
}

/// The next one is there at once, not at the next use.
#[test]
fn a_maker_without_its_server_is_not_alone_for_long() {
    fn make_and_make_one_more(names: Vec<String>) {
        let _made = make(&names);
        until("it was told", || exists(&format!("{}-go", names[0])));
        // When this one is on the list of a server, all are.
        let _more = SharedMemory::create(&format!("{}-more", names[0]), 1).unwrap();
        wait();
    }
    let names = names::<2>("alone");
    let process = maker(make_and_make_one_more, &names);
    let mut last = 0;
    for _ in 0..3 {
        until("there is another server", || {
            let servers = children_of(process.pid().unwrap());
            servers.first().is_some_and(|server| *server != last && lives(*server))
        });
        last = server_of(&process);
        signal(last, SIGKILL);
    }
    let go = SharedMemory::create(&format!("{}-go", names[0]), 1).unwrap();
    until("it goes on", || exists(&format!("{}-more", names[0])));
    process.kill().unwrap();
    let text = rest_of_stderr(&process);
    assert!(text.contains("There appear to be 3 leaked shared_memory objects"), "{text}");
    assert!(!names.iter().any(|name| exists(name)));
    process.join().unwrap();
    go.unlink().unwrap();
}

/// Killing a whole tree kills the servers in it too, but not before they have cleaned up.
#[test]
fn nothing_is_left_of_a_tree_that_is_killed() {
    fn make_and_start_one_more(names: Vec<String>) {
        let _made = make(&names[1..]);
        let below = names[..1].to_vec();
        let _child = Process::spawn(make_and_wait, (below,)).unwrap();
        wait();
    }
    let names = names::<3>("tree");
    let process = maker(make_and_start_one_more, &names);
    let killed = process.kill_tree().unwrap();
    assert!(killed.settled && killed.killed.len() >= 2, "{killed:?}");
    assert!(!names.iter().any(|name| exists(name)));
    process.join().unwrap();
    assert!(rest_of_stderr(&process).contains("leaked shared_memory objects"));
}

/// shm-08 and, for the mask, track-10.
#[test]
fn an_interrupt_is_the_makers_and_its_signals_stay_as_they_were() {
    /// What is pending, blocked, ignored and caught, but for the C library's own signals.
    fn signals() -> Vec<u64> {
        const STANDARD: u64 = (1 << 31) - 1;
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let is_mask = |line: &&str| line.starts_with("Sig") && !line.starts_with("SigQ");
        let mask = |line: &str| u64::from_str_radix(line.split('\t').next_back().unwrap(), 16);
        status.lines().filter(is_mask).map(|line| mask(line).unwrap() & STANDARD).collect()
    }
    fn make_block_and_make(names: Vec<String>) {
        let blocked: nix::sys::signal::SigSet = [SIGTERM, Signal::SIGUSR1].into_iter().collect();
        blocked.thread_block().unwrap();
        let before = signals();
        let _first = SharedMemory::create(&names[0], 1).unwrap();
        assert_eq!(signals(), before);
        let server = children_of(std::process::id())[0];
        signal(server, SIGINT);
        let _second = SharedMemory::create(&names[1], 1).unwrap();
        assert_eq!(children_of(std::process::id()), [server]);
        wait();
    }
    let names = names::<2>("interrupt");
    let process = maker(make_block_and_make, &names);
    process.interrupt().unwrap();
    process.join().unwrap();
    assert_eq!(process.exitcode(), Some(-2));
    rest_of_stderr(&process);
    assert!(!names.iter().any(|name| exists(name)));
}

/// track-09. The makers' servers become children of this test's process, so it can see how
/// they end.
#[test]
fn the_server_says_by_its_exit_code_whether_something_was_left() {
    crate::util::alone(
        "names::the_server_says_by_its_exit_code_whether_something_was_left",
        || {
            fn make_and_unlink(names: Vec<String>) {
                let made = make(&names[1..]);
                made[0].unlink().unwrap();
                make_and_wait(names[..1].to_vec());
            }
            fn unlink_all(names: Vec<String>) {
                let made = make(&names);
                until("its server was seen", || exists(&format!("{}-seen", names[0])));
                made[0].unlink().unwrap();
                wait();
            }
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            let two = names::<2>("code");
            let process = Process::builder(make_and_unlink, (two.to_vec(),)).start().unwrap();
            until("they are made", || exists(&two[0]));
            let server = server_of(&process);
            process.kill().unwrap();
            process.join().unwrap();
            assert_eq!(ended(server), 1);

            let one = names::<1>("clean");
            let process = maker(unlink_all, &one);
            let server = server_of(&process);
            let seen = SharedMemory::create(&format!("{}-seen", one[0]), 1).unwrap();
            until("it is unlinked", || !exists(&one[0]));
            // The word to the server is on its way when the name is gone.
            std::thread::sleep(Duration::from_millis(100));
            process.kill().unwrap();
            process.join().unwrap();
            assert_eq!(ended(server), 0);
            seen.unlink().unwrap();
        },
    );
}

fn ended(server: u32) -> i32 {
    match waitpid(Pid::from_raw(server.cast_signed()), None).unwrap() {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}

/// A preload function makes a new kind of server; the names go over to it.
#[test]
fn the_next_server_has_the_names_of_the_one_before() {
    fn make_change_and_make(names: Vec<String>) {
        let _first = SharedMemory::create(&names[0], 1).unwrap();
        let before = children_of(std::process::id());
        set_forkserver_preload(|| {}).unwrap();
        let by_server = context(StartMethod::ForkServer);
        by_server.spawn(|| {}, ()).unwrap().result().unwrap();
        until("the first server has ended", || !before.iter().any(|pid| lives(*pid)));
        assert!(exists(&names[0]));
        let _second = SharedMemory::create(&names[1], 1).unwrap();
        wait();
    }
    let names = names::<2>("handed-over");
    let process = maker(make_change_and_make, &names);
    process.kill().unwrap();
    let text = rest_of_stderr(&process);
    assert!(text.contains("There appear to be 2 leaked shared_memory objects"), "{text}");
    assert!(!names.iter().any(|name| exists(name)));
    process.join().unwrap();
}

/// A server that cannot start for the preload's sake still keeps names.
#[test]
fn a_preload_that_fails_does_not_matter_to_names() {
    fn make_with_bad_preload(names: Vec<String>) {
        set_forkserver_preload(|| panic!("it never works")).unwrap();
        force_start_method(Some(StartMethod::ForkServer));
        Process::spawn(|| {}, ()).unwrap().result().unwrap();
        make_and_wait(names);
    }
    let names = names::<1>("bad-preload");
    let process = maker(make_with_bad_preload, &names);
    process.kill().unwrap();
    let text = rest_of_stderr(&process);
    assert!(text.contains("There appear to be 1 leaked shared_memory objects"), "{text}");
    assert!(!exists(&names[0]));
    process.join().unwrap();
}

/// The maker, its parent, or both at once, by SIGKILL at any instant.
#[test]
fn nothing_is_left_whoever_is_killed_and_whenever() {
    fn make_for_ever(prefix: String) {
        for turn in 0usize.. {
            let name = format!("{prefix}-{}", turn % 3);
            // The one before it in the same place stays for a while.
            if let Ok(old) = SharedMemory::attach(&name) {
                old.unlink().unwrap();
            }
            std::mem::forget(SharedMemory::create(&name, 1 + turn).unwrap());
        }
    }
    fn parent(prefix: String) {
        let child = Process::spawn(make_for_ever, (prefix.clone(),)).unwrap();
        let note = SharedMemory::create(&format!("{prefix}-pid"), 4).unwrap();
        let pid = child.pid().unwrap();
        note.view::<u32>(0, 1).unwrap().set(0, pid).unwrap();
        wait();
    }
    const TURNS: u64 = 24;
    let seed: u64 = std::env::var("PROCESSION_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| std::process::id().into());
    println!("PROCESSION_SEED={seed}");
    for turn in 0..TURNS {
        let prefix = own_name(&format!("kill-{turn}"));
        let method = crate::util::METHODS[usize::from(turn % 2 == 0)];
        let process = Process::builder(parent, (prefix.clone(),)).stderr(Stdio::Piped);
        let process = process.start_method(method).start().unwrap();
        let note = format!("{prefix}-pid");
        let mut maker = 0;
        until("the maker is known", || {
            let found = SharedMemory::attach(&note).ok().and_then(|it| it.view(0, 1)?.get(0));
            maker = found.unwrap_or(0);
            maker != 0
        });
        let delay = seed.wrapping_add(turn).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51;
        std::thread::sleep(Duration::from_micros(delay));
        match turn % 3 {
            0 => signal(maker, SIGKILL),
            1 => process.kill().unwrap(),
            _ => {
                process.kill().unwrap();
                // It may have died with its parent already.
                let _ = nix::sys::signal::kill(Pid::from_raw(maker.cast_signed()), SIGKILL);
            }
        }
        if turn % 3 == 0 {
            until("what the maker made is gone", || left(&prefix) == [note.clone()]);
            process.kill().unwrap();
        }
        rest_of_stderr(&process);
        assert_eq!(left(&prefix), [""; 0], "turn {turn}");
        process.join().unwrap();
    }
}

fn left(prefix: &str) -> Vec<String> {
    let names = std::fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}
