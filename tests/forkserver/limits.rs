//! What a fork server does when there is little time, room or right.

use super::{
    SOON, children, eventually, exists, forkserver, one_start, others, send, server, spare,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use procession::{Process, StartMethod, context, set_forkserver_preload};
use std::time::{Duration, Instant};

#[test]
fn a_start_that_lacks_descriptors_leaves_no_worker() {
    in_a_node!(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 100, hard).unwrap();
        one_start();
        one_start();
        let mut failed = 0;
        for free in 0..20 {
            let filling = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok());
            let mut filling: Vec<_> = filling.collect();
            filling.truncate(filling.len() - free);
            let started = forkserver().spawn(|| (), ());
            drop(filling);
            match started {
                Ok(process) => assert!(process.join_timeout(SOON).unwrap()),
                Err(_) => failed += 1,
            }
            let me = std::process::id();
            eventually("it is reaped", || children(me).iter().all(|(_, state)| *state != 'Z'));
        }
        assert!(failed > 3, "{failed}");
    });
}

/// The end of a scope is before the last steps of its threads.
#[test]
fn a_preload_may_have_had_threads() {
    struct Slow;
    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    thread_local! {
        static AT_THE_END: Slow = const { Slow };
    }
    in_a_node!(|| {
        set_forkserver_preload(|| {
            std::thread::scope(|scope| drop(scope.spawn(|| AT_THE_END.with(|_| ()))));
        })
        .unwrap();
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
    });
}

#[test]
fn a_start_without_a_time_of_its_own_waits_for_the_preload() {
    in_a_node!(|| {
        // Longer than such a start may take otherwise.
        set_forkserver_preload(|| std::thread::sleep(Duration::from_secs(11))).unwrap();
        let begun = Instant::now();
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
        assert!(begun.elapsed() > Duration::from_secs(11), "{:?}", begun.elapsed());
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
        assert!(begun.elapsed() < Duration::from_secs(16), "{:?}", begun.elapsed());
    });
}

/// They come by hundreds while it has no time for them.
#[test]
fn a_server_that_many_wait_for_is_not_given_up() {
    in_a_node!(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(8192), hard).unwrap();
        one_start();
        let before = server();
        send(before, Signal::SIGSTOP);
        std::thread::scope(|scope| {
            let starts: Vec<_> = (0..400).map(|_| scope.spawn(one_start)).collect();
            std::thread::sleep(Duration::from_millis(400));
            send(before, Signal::SIGCONT);
            for start in starts {
                assert_eq!(start.join().unwrap(), Some(StartMethod::ForkServer));
            }
        });
        assert_eq!(server(), before);
    });
}

/// Puts all threads of this process under a filter of system calls, which lets all pass.
#[allow(unsafe_code, reason = "there is no safe form of it")]
fn filter_system_calls() {
    nix::sys::prctl::set_no_new_privs().unwrap();
    let allow = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
    let filter = libc::sock_fprog { len: 1, filter: (&raw const allow).cast_mut() };
    let (set, all_threads) = (1, 1);
    // SAFETY: the program and its one instruction live as long as the call, which reads them.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, set, all_threads, &raw const filter) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_sandbox_that_the_program_put_itself_into_holds_its_workers() {
    in_a_node!(|| {
        one_start();
        one_start();
        let look = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let lines = status.lines().filter(|line| {
                ["NoNewPrivs:", "Seccomp:", "Groups:"].iter().any(|name| line.starts_with(name))
            });
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        filter_system_calls();
        let process = forkserver().spawn(look, ()).unwrap();
        let seen = process.result_timeout(SOON).unwrap();
        assert_eq!(seen, look());
        assert!(seen.contains(&"Seccomp:\t2".to_owned()), "{seen:?}");
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
    });
}

#[test]
fn a_niceness_that_the_program_takes_on_is_its_workers_too() {
    in_a_node!(|| {
        one_start();
        one_start();
        rustix::process::setpriority_process(None, 5).unwrap();
        let look = || rustix::process::getpriority_process(None).unwrap();
        for method in [StartMethod::ForkServer, StartMethod::Spawn] {
            let seen = [0, 3].map(|more| {
                let process = context(method).builder(look, ()).nice(more).start().unwrap();
                process.result_timeout(SOON).unwrap()
            });
            assert_eq!(seen, [5, 8], "{method}");
        }
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
    });
}

/// The server was started while the output went somewhere for a while.
#[test]
fn output_that_was_captured_ends_though_the_server_lives() {
    in_a_node!(|| {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let before = nix::unistd::dup(std::io::stdout()).unwrap();
        nix::unistd::dup2_stdout(&writer).unwrap();
        drop(writer);
        let process = forkserver().spawn(|| println!("captured"), ()).unwrap();
        assert!(process.join_timeout(SOON).unwrap());
        nix::unistd::dup2_stdout(&before).unwrap();
        let (done, all) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
            done.send(text).unwrap();
        });
        assert_eq!(all.recv_timeout(Duration::from_secs(10)).unwrap(), "captured\n");
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
    });
}

/// It lives on for the sake of the names that it keeps, and its spare worker has no use.
#[test]
fn a_server_that_was_replaced_keeps_no_worker() {
    in_a_node!(|| {
        let name = format!("procession-replaced-{}", std::process::id());
        let memory = procession::SharedMemory::create(&name, 1).unwrap();
        one_start();
        one_start();
        let ahead = spare();
        // No other one can take its place.
        set_forkserver_preload(|| panic!("on purpose")).unwrap();
        assert_eq!(one_start(), Some(StartMethod::Spawn));
        eventually("its spare worker is gone", || !exists(ahead));
        memory.unlink().unwrap();
    });
}

/// Another one was set while the first was at work.
#[test]
fn a_server_whose_preload_nobody_wants_any_more_ends() {
    in_a_node!(|| {
        set_forkserver_preload(|| std::thread::sleep(Duration::from_millis(1200))).unwrap();
        let process = Process::builder(|| (), ()).start_method(StartMethod::ForkServer);
        let process = process.start_timeout(Duration::from_millis(400)).start().unwrap();
        assert!(process.join_timeout(SOON).unwrap());
        set_forkserver_preload(|| ()).unwrap();
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
        std::thread::sleep(Duration::from_millis(1500));
        eventually("one server is left", || others().len() == 1);
    });
}
