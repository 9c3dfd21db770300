//! The rows of conformance.md about processes that tests/process/life.rs leaves: what is held
//! and given back, many at once, handles in every state.

use crate::counted::{Counted, counted};
use crate::util::{METHODS, SOON, alone, at_rest, back_to, children_of, state, until};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procession::{Error, Process, Queue, active_children, current_process};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

fn sleep_on() {
    std::thread::sleep(Duration::from_secs(90));
}

/// Row proc-01.
#[test]
fn the_current_process_is_itself() {
    let me = current_process();
    assert!(me.is_alive() && !me.is_daemon());
    assert_eq!((me.pid(), me.exitcode()), (std::process::id(), None));
    assert_eq!(me.authkey().len(), 32);
    assert_eq!(me.name(), "MainProcess");
}

/// Row proc-03.
#[test]
fn payloads_arrive_unchanged() {
    for method in METHODS {
        let echo = |a: u32, b: String, c: Vec<u8>, d: (u8,)| (a, b, c, d);
        let args = (1, "str".to_owned(), vec![1], (1,));
        let p = Process::builder(echo, args.clone()).start_method(method).start().unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap(), args);

        let reply = |queue: Queue<_>, payload: (u32, String, Vec<u8>, (u8,))| {
            queue.put(payload).unwrap();
        };
        let queue = Queue::new().unwrap();
        let p = Process::builder(reply, (queue.clone(), args.clone())).start_method(method);
        let p = p.start().unwrap();
        assert_eq!(queue.get_timeout(SOON).unwrap(), args);
        p.result_timeout(SOON).unwrap();
    }
}

/// Row proc-08.
#[test]
fn a_child_has_a_thread_id_of_its_own() {
    let tid = || nix::unistd::gettid().as_raw();
    for method in METHODS {
        let p = Process::builder(tid, ()).start_method(method).start().unwrap();
        let pid = p.pid().unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap().cast_unsigned(), pid);
    }
}

/// Row proc-15, claim sc-81.
#[test]
fn the_parent_lets_go_of_the_arguments() {
    let work = |it: Counted| {
        assert_eq!(counted(), 1);
        it.0
    };
    for method in METHODS {
        let p = Process::builder(work, (Counted::new(5),)).start_method(method).build().unwrap();
        p.start().unwrap();
        assert_eq!(counted(), 0);
        assert_eq!(p.result_timeout(SOON).unwrap(), 5);
    }

    // What was encoded is let go as well: a large argument is not kept beside the child.
    alone("rows::the_parent_lets_go_of_the_arguments", || {
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        let hold = |text: String| {
            sleep_on();
            text.len()
        };
        let start = || {
            let p = Process::spawn(hold, ("x".repeat(64 << 20),)).unwrap();
            (p, resident())
        };
        let before = resident();
        let (p, after) = start();
        assert!(after < before + (32 << 20), "{before} {after}");
        p.kill().unwrap();
    });
}

/// Row proc-16: none is lost, none is confused.
#[test]
fn many_start_and_many_are_terminated_at_once() {
    for method in METHODS {
        let nap = || std::thread::sleep(Duration::from_millis(20));
        let all: Vec<_> = (0..100)
            .map(|_| Process::builder(nap, ()).start_method(method).start().unwrap())
            .collect();
        for p in &all {
            assert!(p.join_timeout(SOON).unwrap());
            assert_eq!(p.exitcode(), Some(0));
        }
        let all: Vec<_> = (0..100)
            .map(|_| {
                let p = Process::builder(sleep_on, ()).start_method(method).start().unwrap();
                p.terminate().unwrap();
                p
            })
            .collect();
        for p in &all {
            assert!(p.join_timeout(SOON).unwrap());
            assert_eq!(p.exitcode(), Some(-15));
        }
    }
}

/// Row proc-19: no standard streams at all, and what is printed then harms nobody.
#[test]
fn children_run_although_the_standard_streams_are_closed() {
    const NAME: &str = "rows::children_run_although_the_standard_streams_are_closed";
    if !crate::util::is_alone(NAME) {
        let output = crate::util::run(crate::util::alone_command(NAME));
        // The harness cannot say anything any more; its exit code can.
        assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
        return;
    }
    for number in 0..3 {
        nix::unistd::close(number).unwrap();
    }
    let chatty = || {
        println!("to nobody");
        eprintln!("to nobody");
        7
    };
    for method in METHODS {
        for _ in 0..3 {
            let p = Process::builder(chatty, ()).start_method(method).start().unwrap();
            let noise = nix::unistd::write(std::io::stdout(), b"what a parent prints");
            let noise = noise.and(nix::unistd::write(std::io::stderr(), b"what a parent prints"));
            let _ = noise;
            if p.result_timeout(SOON).ok() != Some(7) || p.exitcode() != Some(0) {
                std::process::exit(9);
            }
        }
    }
    let p = Process::builder(chatty, ()).stdin(procession::Stdio::Inherit).start().unwrap();
    let is_right = p.result_timeout(SOON).ok() == Some(7);
    std::process::exit(if is_right { 0 } else { 8 });
}

/// Claim sc-97 and the rest: nobody joins them, and yet none stays.
#[test]
fn no_zombie_stays_of_children_that_nobody_joins() {
    alone("rows::no_zombie_stays_of_children_that_nobody_joins", || {
        for _ in 0..100 {
            drop(Process::spawn(|| (), ()).unwrap());
        }
        let zombies = || {
            let children = children_of(std::process::id());
            children.into_iter().filter(|pid| state(*pid) == Some('Z')).count()
        };
        until("all are reaped", || children_of(std::process::id()).is_empty());
        assert_eq!(zombies(), 0);
        assert!(active_children().is_empty());
    });
}

/// Claim sc-129: descriptors, threads and shared memory after a hundred children.
#[test]
fn an_ended_child_gives_back_what_it_held() {
    alone("rows::an_ended_child_gives_back_what_it_held", || {
        Process::spawn(|| 1, ()).unwrap().join().unwrap();
        let baseline = at_rest();
        for round in 0..100u32 {
            match round % 5 {
                0 => drop(Process::spawn(|| 1, ()).unwrap()),
                1 => {
                    let p = Process::builder(|| vec![1u8; 1 << 20], ());
                    let p = p.stderr(procession::Stdio::Relay).start().unwrap();
                    assert_eq!(p.result().unwrap().len(), 1 << 20);
                }
                2 => {
                    let p = Process::spawn(sleep_on, ()).unwrap();
                    p.kill().unwrap();
                    p.join().unwrap();
                    p.close().unwrap();
                }
                3 => {
                    let p = Process::builder(|| (), ()).stdin(procession::Stdio::Piped);
                    let p = p.stdout(procession::Stdio::Piped).start().unwrap();
                    let stdin = p.take_stdin().unwrap();
                    p.join().unwrap();
                    drop(stdin);
                }
                _ => {
                    let p = Process::builder(|| -> () { panic!("on purpose") }, ())
                        .env("RUST_BACKTRACE", "0");
                    p.stderr(procession::Stdio::Null).start().unwrap().join().unwrap();
                }
            }
        }
        let mut now = crate::util::holdings();
        // The thread that writes relayed lines came with the first of them.
        until("all is given back", || {
            now = crate::util::holdings();
            // Names of shared memory that others make in the meantime they take away again.
            now.descriptors == baseline.descriptors
                && now.children == 0
                && now.shm.is_subset(&baseline.shm)
        });
        assert!(now.threads <= baseline.threads + 1, "{now:?} {baseline:?}");
        // And again, with all threads there: nothing at all is left.
        let baseline = at_rest();
        for _ in 0..100 {
            let p = Process::builder(|| eprint!(""), ());
            p.stderr(procession::Stdio::Relay).start().unwrap().join().unwrap();
        }
        back_to(&baseline);
    });
}

fn is_ready(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(timeout).unwrap()).unwrap() == 1
}

/// Row sent-01.
#[test]
fn a_sentinel_is_ready_when_the_child_has_ended() {
    for method in METHODS {
        let p = Process::builder(sleep_on, ()).start_method(method).build().unwrap();
        assert!(matches!(p.sentinel(), Err(Error::NotStarted)));
        p.start().unwrap();
        let sentinel = p.sentinel().unwrap();
        assert!(!is_ready(sentinel.as_fd(), Duration::ZERO));
        p.kill().unwrap();
        assert!(is_ready(sentinel.as_fd(), SOON));
        assert!(p.join_timeout(SOON).unwrap());
        // It stays ready, and outlives the handle.
        p.close().unwrap();
        assert!(is_ready(sentinel.as_fd(), Duration::ZERO));
        assert!(matches!(p.sentinel(), Err(Error::Closed)));
    }
}

/// Row active-01.
#[test]
fn active_children_are_those_between_start_and_end() {
    alone("rows::active_children_are_those_between_start_and_end", || {
        let pids =
            || active_children().iter().filter_map(procession::ProcessRef::pid).collect::<Vec<_>>();
        let p = Process::builder(sleep_on, ()).build().unwrap();
        assert!(pids().is_empty());
        p.start().unwrap();
        let pid = p.pid().unwrap();
        assert_eq!(pids(), [pid]);
        p.kill().unwrap();
        until("it has ended", || state(pid).is_none_or(|state| state == 'Z'));
        // Asking reaps.
        assert!(pids().is_empty());
        assert_eq!(state(pid), None);
        // A handle from the list is as good as the first one.
        let q = Process::spawn(sleep_on, ()).unwrap();
        let listed = active_children().remove(0);
        assert_eq!((listed.pid(), listed.name()), (q.pid(), q.name()));
        listed.terminate().unwrap();
        listed.join().unwrap();
        assert_eq!(q.exitcode(), Some(-15));
    });
}

/// Row close-01.
#[test]
fn a_closed_handle_gives_back_what_it_held() {
    alone("rows::a_closed_handle_gives_back_what_it_held", || {
        Process::spawn(|| 1, ()).unwrap().join().unwrap();
        let baseline = at_rest();
        let p = Process::spawn(sleep_on, ()).unwrap();
        assert!(matches!(p.close(), Err(Error::StillRunning)));
        p.kill().unwrap();
        p.join().unwrap();
        p.close().unwrap();
        assert!(matches!(p.is_alive(), Err(Error::Closed)));
        assert!(matches!(p.join(), Err(Error::Closed)));
        assert!(matches!(p.terminate(), Err(Error::Closed)));
        assert!(matches!(p.kill_tree(), Err(Error::Closed)));
        p.close().unwrap();
        back_to(&baseline);
        drop(p);
    });
}

/// Row stdin-02 as far as there is no pool: a child has children of its own.
#[test]
fn a_child_may_have_children_three_levels_deep() {
    fn depth(left: u32) -> u32 {
        if left == 0 {
            return 0;
        }
        let squares = [1, 2, 3].map(|x: u32| Process::spawn(|x: u32| x * x, (x,)).unwrap());
        assert_eq!(squares.map(|p| p.result().unwrap()), [1, 4, 9]);
        Process::spawn(depth, (left - 1,)).unwrap().result().unwrap() + 1
    }
    assert_eq!(Process::spawn(depth, (3,)).unwrap().result_timeout(SOON).unwrap(), 3);
}

/// Row exit-05: only what was given is open in a child.
#[test]
fn descriptors_do_not_leak_into_children() {
    use std::os::fd::AsRawFd;
    let null = std::fs::File::open("/dev/null").unwrap();
    let high = nix::fcntl::fcntl(&null, nix::fcntl::FcntlArg::F_DUPFD(60)).unwrap();
    let list = || {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap();
        let entries = entries.map(|entry| entry.unwrap().path());
        let all = entries.filter_map(|path| {
            let target = std::fs::read_link(&path).ok()?.to_string_lossy().into_owned();
            let number = path.file_name()?.to_str()?.parse::<i32>().ok()?;
            (!target.starts_with("/proc/")).then_some((number, target))
        });
        all.collect::<Vec<_>>()
    };
    let p = Process::spawn(list, ()).unwrap();
    let mut open = p.result_timeout(SOON).unwrap();
    open.retain(|(number, _)| *number > 2);
    let sockets = open.iter().filter(|(_, target)| target.starts_with("socket:")).count();
    let pidfds = open.iter().filter(|(_, target)| target.contains("pidfd")).count();
    assert_eq!((sockets, pidfds, open.len()), (2, 1, 3), "{open:?}");
    assert!(high >= 60 && null.as_raw_fd() > 2);
    nix::unistd::close(high).unwrap();
}

/// Claims sc-90 and sc-92: waits are bounded and may be repeated, by many threads.
#[test]
fn any_thread_may_join_any_number_of_times() {
    let p = Process::spawn(|| std::thread::sleep(Duration::from_millis(200)), ()).unwrap();
    let begun = Instant::now();
    assert!(!p.join_timeout(Duration::from_millis(20)).unwrap());
    assert!(begun.elapsed() >= Duration::from_millis(20));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| p.join().unwrap());
        }
    });
    p.join().unwrap();
    assert_eq!(p.exitcode(), Some(0));
}
