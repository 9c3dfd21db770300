//! Executors: calls on demand, shutdown and the end of a program, deaths. Futures without
//! an executor are in `futures.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

mod ends;
mod functions;
mod futures;
mod together;
#[path = "../util/mod.rs"]
mod util;
mod workers;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procession::futures::{Future, MapOptions, ReturnWhen, as_completed, wait};
use procession::{
    Error, ExitReason, Failure, LogLevel, ProcessPoolExecutor, StartMethod, TaskError, WorkerDeath,
    force_start_method, log_to_stderr,
};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};
use util::{Folder, METHODS, SOON, alone, alone_command, is_alone, note, run, text, until};

fn sqr(x: i64) -> i64 {
    x * x
}

fn pow(x: u64, n: u32) -> u64 {
    x.pow(n)
}

fn pause(ms: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(ms));
    std::process::id()
}

/// Says that it has begun, and goes on when the file is there.
fn gate(folder: String) -> u32 {
    note(&format!("{folder}/begun"), &std::process::id().to_string());
    until("the gate is open", || std::path::Path::new(&format!("{folder}/open")).exists());
    std::process::id()
}

fn executor(workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::new(workers).unwrap()
}

fn death<R: std::fmt::Debug>(result: Result<R, Error>) -> WorkerDeath {
    match result {
        Err(Error::Task(TaskError::Died(death))) => *death,
        other => panic!("no death: {other:?}"),
    }
}

fn soon<R: Send + 'static>(future: &Future<R>) -> Result<R, Error> {
    future.result_timeout(SOON)
}

/// Rows exsubm-01, exsubm-03, exsubm-04, exsubm-06, exsubm-13.
#[test]
fn calls_and_maps_give_their_results() {
    for method in METHODS {
        let builder = ProcessPoolExecutor::builder().max_workers(2).start_method(method);
        let executor = builder.build().unwrap();
        assert_eq!(executor.submit(pow, (2, 8)).unwrap().result().unwrap(), 256);
        let pairs = || (0..10).zip(0..10);
        let powers: Vec<u64> = pairs().map(|(x, n)| pow(x, n)).collect();
        let mapped = executor.starmap(pow, pairs()).unwrap().map(Result::unwrap);
        assert_eq!(mapped.collect::<Vec<_>>(), powers);
        for chunksize in [3, 6, 50, 40] {
            let chunks = executor.with(MapOptions::new().chunksize(chunksize));
            let mapped = chunks.map(sqr, 0..40).unwrap().map(Result::unwrap);
            assert_eq!(mapped.collect::<Vec<_>>(), (0..40).map(sqr).collect::<Vec<_>>());
        }
        let none = executor.with(MapOptions::new().chunksize(0)).map(sqr, 0..3);
        assert!(matches!(none, Err(Error::Invalid(_))));
        let none = executor.with(MapOptions::new().buffersize(0)).map(sqr, 0..3);
        assert!(matches!(none, Err(Error::Invalid(_))));
        let divided = executor.starmap(|x: u32, y: u32| x / y, [(5, 2), (6, 3), (7, 0), (8, 2)]);
        let divided: Vec<_> = divided.unwrap().collect();
        assert!(matches!(divided[..], [Ok(2), Ok(2), Err(_), Ok(4)]), "{divided:?}");
        let Err(Error::Task(TaskError::Panicked(report))) = &divided[2] else { panic!("no panic") };
        assert!(report.message.contains("divide by zero"), "{report:?}");
        let short = executor.map(pause, [10u64; 3]).unwrap();
        executor.shutdown(true, false).unwrap();
        assert_eq!(short.flatten().count(), 3);
    }
}

/// The time limit runs from the beginning; inputs are drawn at once, or as far as asked.
#[test]
fn maps_look_ahead_and_end_in_time_as_asked() {
    let executor = executor(2);
    let drawn = Cell::new(0);
    let inputs = || (0..20u64).inspect(|_| drawn.set(drawn.get() + 1));
    let all = executor.map(|x: u64| x, inputs()).unwrap();
    assert_eq!(drawn.replace(0), 20);
    drop(all);
    let mut few = executor.with(MapOptions::new().buffersize(3)).map(|x: u64| x, inputs()).unwrap();
    assert_eq!(drawn.get(), 3);
    for x in 0..20 {
        assert_eq!(few.next().unwrap().unwrap(), x);
        assert!(drawn.get() <= x + 4, "{} drawn after {x}", drawn.get());
    }
    assert!(few.next().is_none());
    let brief = executor.with(MapOptions::new().timeout(Duration::from_millis(300)));
    let results: Vec<_> = brief.map(pause, [0, 0, 60_000]).unwrap().collect();
    assert!(matches!(results[..], [Ok(_), Ok(_), Err(Error::Timeout)]), "{results:?}");
    executor.kill_workers();
}

/// Rows exsubm-17, exsubm-18, exshut-08.
#[test]
fn workers_come_on_demand_and_idle_ones_are_used_again() {
    let folder = Folder::new("executor-demand");
    let started = |name: &str| {
        let file = folder.file(name);
        let begin = |file: String| note(&file, &std::process::id().to_string());
        let builder = ProcessPoolExecutor::builder().max_workers(6);
        let executor = builder.initializer(begin, (file.clone(),)).build().unwrap();
        (executor, file)
    };
    let (executor, file) = started("held");
    assert_eq!(executor.pids().len(), 0);
    let pids: BTreeSet<_> =
        (0..3).map(|_| executor.submit(pause, (0,)).unwrap().result().unwrap()).collect();
    assert_eq!((pids.len(), executor.pids().len()), (1, 1));
    let held: Vec<_> = (0..3).map(|_| executor.submit(gate, (folder.file(""),)).unwrap()).collect();
    util::lines(&folder.file("begun"), 3);
    assert_eq!(executor.pids().len(), 3);
    assert!(held.iter().all(|call| call.running() && !call.cancel() && !call.done()));
    note(&folder.file("open"), "");
    let pids: BTreeSet<_> = held.iter().map(|call| soon(call).unwrap()).collect();
    // All three are idle now, so that three calls need no other.
    let mixed: Vec<_> = [0, 1, 0].map(|ms| executor.submit(pause, (ms,)).unwrap()).into();
    assert!(mixed.iter().all(|call| pids.contains(&soon(call).unwrap())), "{pids:?}");
    let workers = executor.pids();
    executor.shutdown(true, false).unwrap();
    assert!(workers.into_iter().all(|pid| !util::lives(pid)));
    assert_eq!(text(&file).lines().count(), 3, "whether or not it got anything to do");
    // As the row has it: of six calls each second one is waited for.
    let (executor, file) = started("mixed");
    for _ in 0..3 {
        soon(&executor.submit(pause, (0,)).unwrap()).unwrap();
        drop(executor.submit(pause, (0,)).unwrap());
    }
    executor.shutdown(true, false).unwrap();
    assert!(text(&file).lines().count() <= 3, "{}", text(&file));
}

/// Rows exsubm-19, exsubm-21, exsubm-26, exsubm-27.
#[test]
fn a_worker_does_its_share_and_another_comes() {
    let limited = |workers, tasks| {
        let builder = ProcessPoolExecutor::builder().max_workers(workers);
        builder.max_tasks_per_child(tasks).build().unwrap()
    };
    let executor = limited(1, 3);
    let pids: Vec<_> =
        (0..4).map(|_| executor.submit(pause, (0,)).unwrap().result().unwrap()).collect();
    assert!(pids[0] == pids[1] && pids[1] == pids[2] && pids[2] != pids[3], "{pids:?}");
    until("one worker lives", || executor.pids() == [pids[3]]);
    for (workers, tasks, calls) in [(3, 1, 6), (1, 2, 6), (2, 2, 8)] {
        let executor = limited(workers, tasks);
        let calls: Vec<_> = (0..calls).map(|_| executor.submit(pause, (1,)).unwrap()).collect();
        executor.shutdown(true, false).unwrap();
        assert!(calls.iter().all(|call| call.done() && call.result().is_ok()));
    }
    // Also when nobody waits for the shutdown, and when it is dropped.
    for is_dropped in [false, true] {
        let executor = limited(1, 1);
        let calls = [1, 2].map(|x| executor.submit(sqr, (x,)).unwrap());
        executor.shutdown(false, false).unwrap();
        if is_dropped {
            drop(executor);
        }
        assert_eq!(calls.map(|call| soon(&call).unwrap()), [1, 4]);
    }
    let none = ProcessPoolExecutor::builder().max_tasks_per_child(0).build();
    assert!(matches!(none, Err(Error::Invalid(_))));
    assert!(matches!(ProcessPoolExecutor::new(0), Err(Error::Invalid(_))));
}

/// Row exsubm-28: what was submitted is done although nobody holds the executor.
#[test]
fn a_dropped_executor_does_what_was_submitted() {
    let builder = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_child(2);
    let executor = builder.build().unwrap();
    let workers = executor.submit(pause, (1,)).unwrap().result().map(|pid| vec![pid]).unwrap();
    let calls: Vec<_> = (0..5).map(|x| executor.submit(sqr, (x,)).unwrap()).collect();
    let begun = Instant::now();
    drop(executor);
    assert!(begun.elapsed() < Duration::from_millis(500), "dropping does not wait");
    for (x, call) in (0..5).zip(&calls) {
        assert_eq!(soon(call).unwrap(), x * x);
    }
    until("the worker is gone", || workers.iter().all(|pid| !util::lives(*pid)));
}

/// Rows exsubm-14, exdead-07.
#[test]
fn an_error_is_the_functions_own_or_says_where_it_panicked() {
    let executor = executor(1);
    let fails = |code: i32| -> Result<u8, (i32, String)> { Err((code, "own".into())) };
    let own = executor.submit(fails, (123,)).unwrap();
    assert_eq!(own.result().unwrap(), Err((123, "own".into())));
    assert!(own.exception().unwrap().is_none());
    let chain = || -> Result<u32, Failure> { Ok("x".parse::<u32>()?) };
    assert!(executor.submit(chain, ()).unwrap().result().unwrap().is_err());
    let panics = executor.submit(|x: i32| -> u8 { panic!("number {x}") }, (123,)).unwrap();
    let Some(TaskError::Panicked(report)) = panics.exception().unwrap() else { panic!("none") };
    assert!(report.location.contains("tests/executor/main.rs:"), "{report:?}");
    assert_eq!(report.message, "number 123");
    assert!(matches!(panics.result(), Err(Error::Task(TaskError::Panicked(_)))), "it stays");
}

#[derive(Serialize, Deserialize)]
struct Noisy(String);

impl Drop for Noisy {
    fn drop(&mut self) {
        note(&self.0, &std::process::id().to_string());
    }
}

/// Row exsubm-15.
#[test]
fn an_argument_is_dropped_in_the_worker() {
    let folder = Folder::new("executor-drop");
    let file = folder.file("drops");
    let executor = executor(1);
    let worker = executor
        .submit(|noisy: Noisy| (noisy.0.len(), std::process::id()), (Noisy(file.clone()),))
        .unwrap();
    let worker = worker.result().unwrap().1.to_string();
    assert!(util::lines(&file, 2).contains(&worker), "{}", text(&file));
}

/// How it goes wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Exit,
    Fault,
    Panic,
    Error,
}

/// A value that goes wrong when it is encoded (below 10) or decoded (from 10).
#[derive(Debug, PartialEq)]
struct Bad(u8);

fn go_wrong(way: Way) -> String {
    match way {
        Way::Exit => std::process::exit(3),
        Way::Fault => std::process::abort(),
        Way::Panic => panic!("it panics"),
        Way::Error => "it fails".into(),
    }
}

const WAYS: [Way; 4] = [Way::Exit, Way::Fault, Way::Panic, Way::Error];

impl Serialize for Bad {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            which @ 0..10 => Err(serde::ser::Error::custom(go_wrong(WAYS[usize::from(which)]))),
            which => which.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bad {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let which = u8::deserialize(deserializer)?;
        match WAYS.get(usize::from(which) - 10) {
            Some(way) => Err(serde::de::Error::custom(go_wrong(*way))),
            None => Ok(Self(which)),
        }
    }
}

/// Rows exsubm-25, exdead-02, exdead-05, exdead-08, exdead-09, exdead-10, exdead-11,
/// exdead-12. Where Python breaks the pool, one call is lost here.
#[test]
fn a_worker_that_dies_costs_one_call_and_other_faults_are_told() {
    let executor = executor(2);
    let third_dies = |number: i64| {
        if number == 3 {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        number
    };
    let calls: Vec<_> = (0..8).map(|x| executor.submit(third_dies, (x,)).unwrap()).collect();
    for (number, call) in (0..).zip(&calls) {
        match soon(call) {
            Ok(result) => assert_eq!(result, number),
            died => assert_eq!((number, death(died).exitcode), (3, Some(-9))),
        }
    }
    let exits = executor.submit(|| -> u8 { std::process::exit(99) }, ()).unwrap();
    let died = death(soon(&exits));
    assert!(died.to_string().contains("exit code 99"), "{died}");
    let fault = executor.submit(|| -> u8 { std::process::abort() }, ()).unwrap();
    assert_eq!(death(soon(&fault)).exitcode, Some(-6));
    let segment =
        executor.submit(|| nix::sys::signal::raise(nix::sys::signal::Signal::SIGSEGV).unwrap(), ());
    assert_eq!(death(soon(&segment.unwrap())).exitcode, Some(-11));
    let taken = |bad: Bad| bad.0;
    let decoding = [10, 11, 12, 13].map(|which| executor.submit(taken, (Bad(which),)).unwrap());
    let [exit, fault, panics, error] = decoding.map(|call| soon(&call));
    assert_eq!((death(exit).exitcode, death(fault).exitcode), (Some(3), Some(-6)));
    assert!(matches!(panics, Err(Error::Task(TaskError::Panicked(_)))), "{panics:?}");
    assert!(matches!(error, Err(Error::Task(TaskError::Decode(_)))), "{error:?}");
    let encoding = [0, 1, 2, 3].map(|which| executor.submit(Bad, (which,)).unwrap());
    let [exit, fault, panics, error] = encoding.map(|call| soon(&call));
    assert_eq!((death(exit).exitcode, death(fault).exitcode), (Some(3), Some(-6)));
    assert!(matches!(panics, Err(Error::Task(TaskError::Panicked(_)))), "{panics:?}");
    assert!(matches!(error, Err(Error::Task(TaskError::Encode(_)))), "{error:?}");
    // In this process: a result that cannot be read, with and without a callback.
    for has_callback in [false, true] {
        let [panics, error] = [12, 13].map(|which| {
            let call = executor.submit(Bad, (which,)).unwrap();
            if has_callback {
                call.add_done_callback(|call| assert!(call.done())).unwrap();
            }
            soon(&call)
        });
        assert!(matches!(panics, Err(Error::Task(TaskError::Panicked(_)))), "{panics:?}");
        assert!(matches!(error, Err(Error::Task(TaskError::Decode(_)))), "{error:?}");
    }
    assert_eq!(executor.submit(Bad, (20,)).unwrap().result().unwrap(), Bad(20));
}

/// Rows exsubm-29, exsubm-31, exsubm-32, exsubm-34, exsubm-35.
#[test]
fn workers_are_terminated_or_killed_at_once() {
    let folder = Folder::new("executor-forced");
    for by_force in [false, true] {
        let folder = format!("{}-{by_force}", folder.file("gate"));
        std::fs::create_dir(&folder).unwrap();
        let builder = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_child(1);
        let executor = builder.build().unwrap();
        let running = executor.submit(gate, (folder.clone(),)).unwrap();
        let queued: Vec<_> = (0..3).map(|x| executor.submit(sqr, (x,)).unwrap()).collect();
        util::lines(&format!("{folder}/begun"), 1);
        if by_force {
            executor.kill_workers();
        } else {
            executor.terminate_workers();
        }
        assert!(queued.iter().all(Future::cancelled));
        let signal = if by_force { 9 } else { 15 };
        assert_eq!(death(soon(&running)).reason, ExitReason::Signal(signal));
        let refused = executor.submit(sqr, (1,));
        assert!(matches!(refused, Err(Error::Task(TaskError::NotRunning))), "{refused:?}");
        assert!(executor.shutdown_timeout(SOON, false).unwrap());
        assert_eq!(executor.pids().len(), 0);
    }
    let executor = executor(1);
    death(soon(&executor.submit(|| -> u8 { std::process::exit(1) }, ()).unwrap()));
    executor.terminate_workers();
    executor.kill_workers();
    executor.shutdown(true, true).unwrap();
}

static SET_UP: Mutex<String> = Mutex::new(String::new());

/// Row exinit-01.
#[test]
fn each_worker_is_initialized() {
    let set_up = |text: String| *SET_UP.lock().unwrap() = text;
    let builder = ProcessPoolExecutor::builder().max_workers(2).max_tasks_per_child(1);
    let executor = builder.initializer(set_up, ("initialized".into(),)).build().unwrap();
    let calls: Vec<_> =
        (0..6).map(|_| executor.submit(|| SET_UP.lock().unwrap().clone(), ()).unwrap()).collect();
    assert!(calls.iter().all(|call| soon(call).unwrap() == "initialized"));
}

/// Rows exinit-02, exinit-03, exinit-04.
#[test]
fn a_failing_initializer_breaks_the_executor_and_leaves_nothing() {
    let name = "a_failing_initializer_breaks_the_executor_and_leaves_nothing";
    if is_alone(name) {
        log_to_stderr(LogLevel::Error).unwrap();
        let held = || {
            let now = util::holdings();
            now.descriptors.values().sum::<usize>() + now.threads + now.children
        };
        let mut before = None;
        // A fork server stays, and with it whatever a method's first executor needs.
        for (round, method) in METHODS.into_iter().chain(METHODS).enumerate() {
            force_start_method(Some(method));
            let builder = ProcessPoolExecutor::builder().max_workers(2);
            let fails = |why: String| panic!("{why}");
            let executor = builder.initializer(fails, ("no database".into(),)).build().unwrap();
            let call = executor.submit(sqr, (1,)).unwrap();
            let Err(Error::Task(TaskError::Broken(why))) = soon(&call) else { panic!("{call:?}") };
            assert!(why.contains("no database"), "{why}");
            let refused = executor.submit(sqr, (1,));
            assert!(matches!(refused, Err(Error::Task(TaskError::Broken(_)))), "{refused:?}");
            executor.shutdown(true, false).unwrap();
            drop((executor, call));
            let me = std::process::id();
            until("no worker is left", || util::children_of(me).len() <= round.min(1));
            if round % METHODS.len() == METHODS.len() - 1 {
                let before = *before.get_or_insert_with(held);
                until("nothing is left", || held() <= before);
            }
        }
        return;
    }
    let output = run(alone_command(name));
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stderr.contains("no database"), "{}", output.stderr);
}

/// However long each start takes to fail.
#[test]
fn an_initializer_that_never_ends_breaks_the_executor() {
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let builder = builder.initializer(pause, (600_000,)).start_timeout(Duration::from_millis(100));
    let executor = builder.restarts(2, Duration::from_millis(1)).build().unwrap();
    let call = executor.submit(sqr, (1,)).unwrap();
    let result = soon(&call);
    assert!(matches!(&result, Err(Error::Task(TaskError::Broken(_)))), "{result:?}");
    assert!(executor.shutdown_timeout(SOON, false).unwrap());
}

/// Rows exsubm-22, exsubm-30: without descriptors there are no workers, and nobody hangs.
#[test]
fn calls_end_when_workers_cannot_be_started() {
    alone("calls_end_when_workers_cannot_be_started", || {
        let builder = ProcessPoolExecutor::builder().max_workers(2).max_tasks_per_child(1);
        let executor = builder.build().unwrap();
        assert_eq!(executor.submit(sqr, (2,)).unwrap().result().unwrap(), 4);
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        until("the worker has left", || executor.pids().is_empty());
        setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
        // Once it is known to be broken, the submit itself says so.
        let calls: Vec<_> = (0..5).map(|x| executor.submit(sqr, (x,))).collect();
        assert!(calls[0].is_ok(), "{:?}", calls[0]);
        for call in calls {
            let result = call.and_then(|call| soon(&call));
            assert!(matches!(result, Err(Error::Task(TaskError::Broken(_)))), "{result:?}");
            assert!(result.unwrap_err().to_string().contains("cannot start"));
        }
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        executor.shutdown(true, false).unwrap();
    });
}

/// Rows exshut-02, exshut-06: a program that ends waits for its calls.
#[test]
fn a_program_that_ends_lets_its_calls_be_done() {
    let name = "a_program_that_ends_lets_its_calls_be_done";
    if is_alone(name) {
        let say = |what: String| {
            pause(300);
            println!("{what}");
        };
        for (method, is_shut_down) in [(StartMethod::Spawn, false), (StartMethod::ForkServer, true)]
        {
            let builder = ProcessPoolExecutor::builder().max_workers(1).start_method(method);
            let executor = builder.max_tasks_per_child(1).build().unwrap();
            // The second one needs a worker that is started meanwhile.
            drop(executor.submit(say, (format!("apple by {method}"),)).unwrap());
            drop(executor.submit(say, (format!("pear by {method}"),)).unwrap());
            if is_shut_down {
                executor.shutdown(false, false).unwrap();
            }
            std::mem::forget(executor);
        }
        return;
    }
    let output = run(alone_command(name));
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{}", output.stdout);
    for what in ["apple by spawn", "pear by spawn", "apple by forkserver", "pear by forkserver"] {
        assert!(output.stdout.contains(&format!("{what}\n")), "{what} in {}", output.stdout);
    }
}

/// Row exshut-10.
#[test]
fn executors_give_back_all_that_they_held() {
    alone("executors_give_back_all_that_they_held", || {
        drop(executor(1).submit(sqr, (1,)).unwrap().result());
        let baseline = util::at_rest();
        for round in 0..3 {
            let executor = executor(3);
            let calls: Vec<_> = (0..10).map(|x| executor.submit(sqr, (x,)).unwrap()).collect();
            calls[0].add_done_callback(|_| ()).unwrap();
            if round == 1 {
                executor.shutdown(true, false).unwrap();
            }
            drop(executor);
            assert!(calls.iter().all(|call| soon(call).is_ok()));
        }
        util::back_to(&baseline);
    });
}

/// Row exdead-16: a submit waits for nobody.
#[test]
fn submits_do_not_wait_for_slow_workers() {
    let slow = || pause(300);
    let builder = ProcessPoolExecutor::builder().max_workers(2).initializer(slow, ());
    let executor = builder.build().unwrap();
    let begun = Instant::now();
    let calls: Vec<_> = (0..100).map(|x| executor.submit(sqr, (x,)).unwrap()).collect();
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    assert!(calls.iter().zip(0..).all(|(call, x)| soon(call).unwrap() == sqr(x)));
}

/// Rows exfutu-01, exfutu-24 with workers: cancelled, failed, finished and running calls.
#[test]
fn calls_are_yielded_as_they_end_however_they_end() {
    let executor = executor(2);
    let folder = Folder::new("executor-as-completed");
    let failed = executor.submit(|| -> u32 { panic!("in vain") }, ()).unwrap();
    let finished = executor.submit(pause, (0,)).unwrap();
    assert!(failed.exception().unwrap().is_some() && finished.exception().unwrap().is_none());
    let running = [(); 2].map(|()| executor.submit(gate, (folder.file(""),)).unwrap());
    util::lines(&folder.file("begun"), 2);
    let cancelled = executor.submit(pause, (0,)).unwrap();
    assert!(cancelled.cancel() && cancelled.cancelled() && cancelled.done());
    assert!(!finished.cancel() && !running[0].cancel());
    assert_eq!(
        format!("{:?} {finished:?}", running[0]),
        "Future(running) Future(finished, returned u32)"
    );
    let all = [&running[0], &cancelled, &failed, &running[1], &finished].map(Clone::clone);
    let mut yielded = as_completed(&all, SOON);
    let first: Vec<_> = (0..3).map(|_| yielded.next().unwrap().unwrap()).collect();
    assert!(first.iter().zip([&cancelled, &failed, &finished]).all(|(a, b)| a.is_same(b)));
    note(&folder.file("open"), "");
    assert_eq!(yielded.map(Result::unwrap).filter(Future::done).count(), 2);
    let waited = wait(&all, None, ReturnWhen::AllCompleted).unwrap();
    assert_eq!((waited.done.len(), waited.not_done.len()), (5, 0));
}

/// Callbacks run in order, in this process, on one thread that is not the caller's.
#[test]
fn callbacks_of_calls_run_on_the_pools_thread() {
    let executor = executor(1);
    let (sender, heard) = mpsc::channel();
    let folder = Folder::new("executor-callback");
    let call = executor.submit(gate, (folder.file(""),)).unwrap();
    for number in 0..3 {
        let sender = sender.clone();
        call.add_done_callback(move |call| {
            let thread = std::thread::current().id();
            sender.send((number, thread, call.done())).unwrap();
            assert!(number != 1, "a failing callback stops no other");
        })
        .unwrap();
    }
    note(&folder.file("open"), "");
    assert!(soon(&call).is_ok());
    let heard: Vec<_> = (0..3).map(|_| heard.recv_timeout(SOON).unwrap()).collect();
    assert_eq!(heard.iter().map(|one| one.0).collect::<Vec<_>>(), [0, 1, 2]);
    let me = std::thread::current().id();
    assert!(heard.iter().all(|one| one.1 == heard[0].1 && one.1 != me && one.2));
    call.add_done_callback(move |_| sender.send((9, std::thread::current().id(), true)).unwrap())
        .unwrap();
    // Another result can be had from within a callback.
    let (sender, heard) = mpsc::channel();
    let other = executor.submit(sqr, (4,)).unwrap();
    let first = executor.submit(sqr, (3,)).unwrap();
    first
        .add_done_callback(move |first| {
            sender.send((first.result().unwrap(), soon(&other).unwrap())).unwrap();
        })
        .unwrap();
    assert_eq!(heard.recv_timeout(SOON).unwrap(), (9, 16));
}

#[tokio::test]
async fn calls_can_be_awaited() {
    let executor = executor(2);
    let both = [1, 2].map(|x| executor.submit(sqr, (x,)).unwrap());
    let mut completed = as_completed(&both, None);
    let mut sum = 0;
    while let Some(call) = completed.next_async().await {
        sum += call.await.unwrap();
    }
    assert_eq!(sum, 5);
    executor.shutdown_async(false).await;
}
