//! What a preload function does for the workers of a fork server, and what it must not do.

use super::{SOON, forkserver, one_start, scratch, sleeper};
use procession::{Process, StartMethod, context, set_forkserver_preload};
use std::path::Path;
use std::time::{Duration, Instant};

fn count_preload() {
    let path = std::env::var_os("PRELOAD_LOG").expect("the preload sees the environment");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    let here = std::env::current_dir().unwrap();
    let argv = procession::current_process().argv().len();
    std::io::Write::write_fmt(&mut file, format_args!("{} {argv}\n", here.display())).unwrap();
    assert!(Process::noop().unwrap().start().is_err(), "a preload starts no processes");
    *PRELOADED.lock().unwrap() += 1;
}

static PRELOADED: std::sync::Mutex<u32> = std::sync::Mutex::new(0);

// fsrv-06, fsrv-08
#[test]
fn a_preload_runs_once_and_its_work_is_there_in_each_worker() {
    let log = scratch("preload");
    let process = context(StartMethod::Spawn)
        .builder(
            || {
                set_forkserver_preload(count_preload).unwrap();
                let seen: Vec<u32> = (0..3)
                    .map(|_| forkserver().spawn(|| *PRELOADED.lock().unwrap(), ()).unwrap())
                    .map(|process| process.result_timeout(SOON).unwrap())
                    .collect();
                (seen, procession::current_process().argv().len())
            },
            (),
        )
        .env("PRELOAD_LOG", &log)
        .current_dir("/")
        .start()
        .unwrap();
    let (seen, argv) = process.result_timeout(SOON).unwrap();
    assert_eq!(seen, [1, 1, 1]);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), format!("/ {argv}\n"));
    std::fs::remove_file(log).unwrap();
}

#[test]
fn a_preload_that_leaves_a_thread_or_panics_means_spawn() {
    in_a_node!(|| {
        set_forkserver_preload(|| {
            std::thread::spawn(sleeper);
        })
        .unwrap();
        assert_eq!(one_start(), Some(StartMethod::Spawn));
        assert_eq!(one_start(), Some(StartMethod::Spawn));
        set_forkserver_preload(|| panic!("on purpose")).unwrap();
        assert_eq!(one_start(), Some(StartMethod::Spawn));
        set_forkserver_preload(|| ()).unwrap();
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
    });
}

/// Its hooks are for its own end, and cost the server no thread.
#[test]
fn a_preload_may_register_exit_hooks() {
    let log = scratch("hooks");
    let process = context(StartMethod::Spawn)
        .builder(
            || {
                let preload = || {
                    procession::at_exit(0, || {
                        std::fs::write(std::env::var_os("PRELOAD_LOG").unwrap(), "ran").unwrap();
                    });
                };
                set_forkserver_preload(preload).unwrap();
                let worker = forkserver()
                    .spawn(
                        || {
                            // Its own are prepared for.
                            procession::at_exit(0, || procession::exit(7));
                            procession::current_process().start_method()
                        },
                        (),
                    )
                    .unwrap();
                let method = worker.result_timeout(SOON).unwrap();
                let log = std::env::var_os("PRELOAD_LOG").unwrap();
                (method, worker.exitcode(), Path::new(&log).exists())
            },
            (),
        )
        .env("PRELOAD_LOG", &log)
        .start()
        .unwrap();
    let seen = process.result_timeout(SOON).unwrap();
    assert_eq!(seen, (Some(StartMethod::ForkServer), Some(7), false));
    process.join().unwrap();
    let _ = std::fs::remove_file(log);
}

/// Its server is on its way for long: starts have their own time, and it comes nevertheless.
#[test]
fn a_long_preload_keeps_no_start_beyond_its_time() {
    fn preload() {
        std::thread::sleep(Duration::from_secs(4));
    }
    in_a_node!(|| {
        set_forkserver_preload(preload).unwrap();
        let method = || procession::current_process().start_method();
        let builder = move |by| {
            let builder = Process::builder(method, ()).start_method(by);
            builder.start_timeout(Duration::from_secs(2))
        };
        let result = |p: Process<_>| p.result_timeout(SOON).unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            // One waits for the server, while others do without.
            scope.spawn(move || {
                let p = builder(StartMethod::ForkServer).start().unwrap();
                assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
                assert_eq!(result(p), Some(StartMethod::Spawn));
            });
            scope.spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let start = builder(StartMethod::ForkServer).start_async();
                let p = runtime.enable_all().build().unwrap().block_on(start).unwrap();
                assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
                assert_eq!(result(p), Some(StartMethod::Spawn));
            });
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(200));
                let p = builder(StartMethod::Spawn).start().unwrap();
                assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
                assert_eq!(result(p), Some(StartMethod::Spawn));
            });
        });
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert_eq!(one_start(), Some(StartMethod::ForkServer));
        assert!(begun.elapsed() > Duration::from_secs(4), "it was waited for");
    });
}
