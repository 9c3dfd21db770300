//! Pools: what they give and in which order, what is lazy, what fails and how.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

#[path = "../util/counted.rs"]
mod counted;
mod ending;
mod failures;
mod healing;
mod kills;
mod progress;
mod rows;
#[path = "../util/mod.rs"]
mod util;
mod waits;
use counted::{Counted, counted};
use procession::{
    Error, Function, LogLevel, Pool, Process, StartError, StartMethod, TaskError, TaskOptions,
    current_process, force_start_method, log_to_stderr,
};
use rows::{mul, pause, sqr, squares};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};
use tracing_subscriber::filter::LevelFilter;
use util::{METHODS, SOON, alone, alone_command, at_rest, back_to, is_alone, run, until};

/// Row pool-01.
#[test]
fn apply_gives_what_the_function_returns() {
    for method in METHODS {
        let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
        assert_eq!(pool.apply(sqr, (5,)).unwrap(), 25);
        let waiting = |x: i64, wait: u64| {
            pause(wait);
            x * x
        };
        assert_eq!(pool.apply(waiting, (3, 1)).unwrap(), 9);
    }
}

/// As the seeds have it: the function to call is an argument of the task.
#[test]
fn a_function_travels_as_an_argument() {
    let calculate = |function: Function<(i64, i64), i64>, args: (i64, i64)| {
        format!("{} says {}", current_process().name(), function.call(args))
    };
    let pool = Pool::new(1).unwrap();
    let said = pool.apply(calculate, (Function::new(mul).unwrap(), (6, 7))).unwrap();
    assert!(said.starts_with("PoolWorker-") && said.ends_with(" says 42"), "{said}");
}

/// However deep in tuples of one, and whichever calls beside them have no result.
#[test]
fn numbers_come_back_also_from_between_errors() {
    let pool = Pool::new(2).unwrap();
    let count = 20_000_u64;
    let ends = [u64::MIN, 1, u64::MAX].repeat(9);
    assert_eq!(pool.map(|x: u64| x, ends.clone()).unwrap(), ends);
    let deep = (0..count).map(|x| ((x,),));
    assert_eq!(pool.map(|x: ((u64,),)| x, deep.clone()).unwrap(), deep.collect::<Vec<_>>());
    let pairs = (0..count).map(|x| (x, u64::MAX - x));
    assert!(pool.starmap(|a: u64, b: u64| a + b == u64::MAX, pairs).unwrap().iter().all(|is| *is));
    let halves = pool.map(|x: u32| (f64::from(x) / 2.0, 0.5), 0..20_000).unwrap();
    assert!(halves.iter().zip(0..).all(|(half, x)| *half == (f64::from(x) / 2.0, 0.5)));
    let odd = |x: u64| {
        assert!(x % 1_000 != 999, "no {x}");
        x
    };
    let chunks = pool.with(TaskOptions::new().chunksize(4_000));
    for (result, x) in chunks.imap(odd, 0..count).unwrap().zip(0..) {
        match result {
            Err(TaskError::Panicked(report)) if x % 1_000 == 999 => {
                assert!(report.message.ends_with(&format!("no {x}")), "{report:?}");
            }
            result => assert_eq!(result.unwrap(), x),
        }
    }
}

#[derive(Debug)]
struct Stubborn(u8);

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            7 => Err(serde::ser::Error::custom("seven")),
            other => other.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            9 => Err(serde::de::Error::custom("nine")),
            other => Ok(Self(other)),
        }
    }
}

/// Takes long to be read, so that others ask meanwhile.
#[derive(Debug, PartialEq)]
struct Slow(u8);

impl Serialize for Slow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = u8::deserialize(deserializer)?;
        pause(300);
        Ok(Self(read))
    }
}

/// Who asks for a result while another thread reads it hears what that one does.
#[test]
fn a_result_that_is_being_read_is_there_for_others_too() {
    let pool = Pool::new(1).unwrap();
    let result = pool.apply_async(|| Slow(7), ()).unwrap();
    result.wait().unwrap();
    std::thread::scope(|scope| {
        let asked = [(); 3].map(|()| scope.spawn(|| result.successful().unwrap()));
        assert!(asked.into_iter().all(|asked| asked.join().unwrap()));
    });
    let result = pool.apply_async(|| Slow(7), ()).unwrap();
    result.wait().unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| result.successful().unwrap());
        pause(50);
        assert_eq!(result.get().unwrap(), Slow(7));
        assert!(asked.join().unwrap());
    });
}

/// Where nobody may wait a lazy map says so once, and has ended; nor is a pool made there.
#[test]
fn a_lazy_map_that_cannot_be_waited_for_ends() {
    /// What wakes an executor's task runs on the library's own thread, if nobody waits.
    struct Maps(Pool, mpsc::Sender<(Results, Result<Pool, Error>)>);
    type Results = Vec<Result<i64, TaskError>>;
    impl Wake for Maps {
        fn wake(self: Arc<Self>) {
            let squares = self.0.imap(sqr, 0..3).unwrap();
            self.1.send((squares.take(9).collect(), Pool::new(1))).unwrap();
        }
    }
    let (told, hears) = mpsc::channel();
    let maps = Arc::new(Maps(Pool::new(1).unwrap(), told));
    let mut result = Box::pin(maps.0.apply_async(pause, (300,)).unwrap());
    let waker = Waker::from(maps.clone());
    assert!(result.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let (results, another) = hears.recv_timeout(SOON).unwrap();
    assert!(matches!(results[..], [Err(TaskError::WouldDeadlock)]), "{results:?}");
    assert!(matches!(another, Err(Error::Start(StartError::Io(_)))), "{another:?}");
}

/// As the subscriber of its worker sees it.
#[test]
fn each_task_is_a_span_in_its_worker() {
    let subscribe = || tracing_subscriber::fmt().with_max_level(LevelFilter::DEBUG).init();
    let pool = Pool::builder().processes(1).initializer(subscribe, ()).build().unwrap();
    let within = |_: u8| {
        let _own = tracing::info_span!("own").entered();
        procession_runtime::log::current_span_names()
    };
    assert_eq!(pool.map(within, 0..3).unwrap(), [["task", "own"]; 3]);
}

/// Row pool-07, and the same on the way back.
#[test]
fn what_cannot_be_encoded_or_decoded_is_an_error_not_a_hang() {
    let pool = Pool::new(2).unwrap();
    let tell = |it: Stubborn| it.0;
    let asked = pool.map(tell, [Stubborn(1), Stubborn(7)]);
    assert!(matches!(&asked, Err(Error::Task(TaskError::Encode(e))) if e.why.contains("seven")));
    let undecodable = pool.apply(tell, (Stubborn(9),));
    assert!(matches!(&undecodable, Err(Error::Task(TaskError::Decode(e))) if e.why == "nine"
        || e.why.contains("nine")));
    let result = pool.apply(Stubborn, (7,));
    assert!(matches!(&result, Err(Error::Task(TaskError::Encode(e))) if e.why.contains("seven")));
    let result = pool.apply(Stubborn, (9,));
    assert!(matches!(&result, Err(Error::Task(TaskError::Decode(_)))));
    // In a chunk it is the one that is lost.
    let chunks = pool.with(TaskOptions::new().chunksize(10));
    let results: Vec<_> = chunks.imap(Stubborn, 5..9).unwrap().collect();
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(pool.map(sqr, 0..5).unwrap(), squares(0..5));
}

/// Cannot be written from the fifth on.
#[derive(Deserialize)]
struct Unwritten(i64);

impl Serialize for Unwritten {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 < 5, "no {}", self.0);
        self.0.serialize(serializer)
    }
}

/// Whoever catches it gets the results of those before it, and then the end.
#[test]
fn a_panic_of_the_inputs_loses_none_before_it() {
    let pool = Pool::new(2).unwrap();
    let loud = || (0..10).inspect(|x| assert!(*x < 5, "no {x}"));
    for (chunksize, is_ordered) in [(1, true), (3, true), (1, false), (3, false)] {
        let tasks = pool.with(TaskOptions::new().chunksize(chunksize));
        let unwritten = |it: Unwritten| sqr(it.0);
        let [drawn, written] = if is_ordered {
            [tasks.imap(sqr, loud()), tasks.imap(unwritten, (0..10).map(Unwritten))]
        } else {
            [
                tasks.imap_unordered(sqr, loud()),
                tasks.imap_unordered(unwritten, (0..10).map(Unwritten)),
            ]
        };
        for mut lazy in [drawn.unwrap(), written.unwrap()] {
            let (mut results, mut panics) = (Vec::new(), 0);
            loop {
                match catch_unwind(AssertUnwindSafe(|| lazy.next_timeout(SOON))) {
                    Ok(Ok(Some(result))) => results.push(result.unwrap()),
                    Ok(Ok(None)) => break,
                    Ok(Err(error)) => panic!("{error} after {results:?}"),
                    Err(_) => panics += 1,
                }
            }
            results.sort_unstable();
            assert_eq!((panics, results), (1, squares(0..5)), "chunks of {chunksize}");
        }
    }
    // Of a map nothing is begun any more.
    let gate = pool.with(TaskOptions::new().chunksize(1));
    let inputs = (0..90_u64).inspect(|x| assert!(*x < 80, "no {x}")).map(|_| 2_000);
    let map = AssertUnwindSafe(|| gate.map_async(pause, inputs));
    assert!(catch_unwind(map).is_err());
    assert!(pool.stats().unfinished <= 4, "{:?}", pool.stats());
}

/// Rows pool-16, poolwl-03.
#[test]
fn a_pool_without_workers_or_tasks_is_refused() {
    assert!(matches!(Pool::new(0), Err(Error::Invalid(_))));
    let none = Pool::builder().processes(1).max_tasks_per_child(0).build();
    assert!(matches!(none, Err(Error::Invalid(_))));
    let pool = Pool::new(3).unwrap();
    assert_eq!((pool.processes(), pool.pids().len()), (3, 3));
    let no_chunks = pool.with(TaskOptions::new().chunksize(0));
    assert!(matches!(no_chunks.map(sqr, 0..3), Err(Error::Invalid(_))));
    assert!(matches!(no_chunks.imap(sqr, 0..3), Err(Error::Invalid(_))));
}

/// Row pool-23.
#[test]
fn a_pool_keeps_no_argument_and_no_result() {
    let pool = Pool::new(1).unwrap();
    let results = pool.map(|it: Counted| Counted::new(it.0 + 1), (0..10).map(Counted::new));
    assert_eq!(counted(), 10, "the results alone");
    drop(results);
    assert_eq!(counted(), 0);
    assert_eq!(pool.apply(counted, ()).unwrap(), 0);
}

/// Row pool-25.
#[test]
fn a_busy_pool_that_is_dropped_says_so_and_leaves_nothing() {
    let name = "a_busy_pool_that_is_dropped_says_so_and_leaves_nothing";
    if is_alone(name) {
        // The fork server would be a child as well.
        force_start_method(Some(StartMethod::Spawn));
        log_to_stderr(LogLevel::Warning).unwrap();
        let pool = Pool::new(2).unwrap();
        assert_eq!(util::children_of(std::process::id()).len(), 2);
        let results: Vec<_> =
            (0..10).map(|_| pool.apply_async(pause, (60_000,)).unwrap()).collect();
        let begun = Instant::now();
        drop(pool);
        assert!(begun.elapsed() < Duration::from_millis(500), "dropping does not wait");
        for result in results {
            assert!(matches!(result.get(), Err(Error::Task(TaskError::Cancelled))));
        }
        until("the workers are gone", || util::children_of(std::process::id()).is_empty());
        return;
    }
    let output = run(alone_command(name));
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    let warning = "a pool is dropped while it is busy; its workers are terminated";
    assert!(output.stderr.contains(warning), "{}", output.stderr);
}

#[test]
fn pools_give_back_all_that_they_held() {
    alone("pools_give_back_all_that_they_held", || {
        drop(Process::spawn(|| (), ()).unwrap().result());
        let baseline = at_rest();
        for _ in 0..3 {
            let pool = Pool::builder().processes(2).initializer(|| 5u8, ()).build().unwrap();
            assert_eq!(pool.map(sqr, 0..100).unwrap(), squares(0..100));
            let called = pool.apply_async(sqr, (3,)).unwrap().callback(|_| ()).unwrap();
            assert_eq!(called.get().unwrap(), 9);
            pool.close();
            pool.join().unwrap();
            drop(Pool::new(3).unwrap());
        }
        back_to(&baseline);
    });
}

/// Row stdin-02.
#[test]
fn a_child_has_a_pool_of_its_own() {
    for method in METHODS {
        let body = || {
            let pool = Pool::new(4).unwrap();
            let squares = pool.map(sqr, 1..8).unwrap();
            pool.close();
            pool.join().unwrap();
            squares
        };
        let p = Process::builder(body, ()).start_method(method).start().unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap(), squares(1..8));
    }
}

/// Row main-01: nothing but the result is printed, and nothing on standard error. The fork
/// method is `tests/fork.rs`'s.
#[test]
fn a_program_with_a_pool_is_silent_by_every_method() {
    let name = "a_program_with_a_pool_is_silent_by_every_method";
    if is_alone(name) {
        for method in METHODS {
            force_start_method(Some(method));
            let pool = Pool::new(3).unwrap();
            println!("{method} -> {:?}", pool.map(sqr, [1, 2, 3]).unwrap());
        }
        return;
    }
    let output = run(alone_command(name));
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{}", output.stdout);
    for method in METHODS {
        assert!(output.stdout.contains(&format!("{method} -> [1, 4, 9]\n")), "{}", output.stdout);
    }
}

#[test]
fn the_state_of_the_initializer_is_handed_to_each_task() {
    let count = |from: u64| from;
    let pool = Pool::builder().processes(2).initializer(count, (100,)).build().unwrap();
    let next = |state: &mut u64, _: u8| {
        *state += 1;
        (std::process::id(), *state)
    };
    let tasks = pool.with(TaskOptions::new().chunksize(1));
    let results = tasks.map_with_state(next, 0..40).unwrap();
    let workers: BTreeSet<_> = results.iter().map(|(pid, _)| *pid).collect();
    for worker in workers {
        let states: BTreeSet<_> =
            results.iter().filter(|(pid, _)| *pid == worker).map(|(_, state)| *state).collect();
        assert_eq!(states, (101..=100 + states.len() as u64).collect());
    }
    let wrong = pool.map_with_state(|_: &mut String, _: u8| (), 0..2);
    assert!(matches!(wrong, Err(Error::Task(TaskError::NoSuchState { .. }))));
}

#[test]
fn large_arguments_and_results_travel() {
    let pool = Pool::new(2).unwrap();
    let text = "x".repeat(8 << 20);
    let results: Vec<_> =
        (0..6).map(|_| pool.apply_async(|t: String| t, (text.clone(),)).unwrap()).collect();
    for result in results {
        assert!(result.get().unwrap() == text);
    }
}

/// Alone they are moved, not decoded; of some lengths they are in files.
#[test]
fn bytes_of_any_length_travel() {
    let pool = Pool::new(2).unwrap();
    let reversed = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    let bytes = |len: usize| (0..=255).cycle().take(len).collect::<Vec<u8>>();
    let lengths = [0, 1, 250, 251, 65_527, 65_528, 65_536, 1 << 20, 5 << 20];
    for len in lengths {
        let result = pool.apply(reversed, (bytes(len),)).unwrap();
        assert!(result == reversed(bytes(len)), "{len} bytes");
        let result = pool.apply(|bytes: Vec<u8>, n: u8| (bytes, n), (bytes(len), 7)).unwrap();
        assert!(result == (bytes(len), 7), "{len} bytes and another argument");
    }
    let one_by_one = pool.with(TaskOptions::new().chunksize(1));
    for tasks in [one_by_one, pool.with(TaskOptions::new())] {
        let results = tasks.map(reversed, lengths.map(bytes)).unwrap();
        assert!(results == lengths.map(bytes).map(reversed));
    }
}

/// And it is what a pool calls.
#[test]
fn a_function_value_is_called_by_every_method() {
    let pool = Pool::new(2).unwrap();
    let add = |x: i64, y: i64| x + y;
    let functions = [Function::new(mul).unwrap(), Function::new(add).unwrap()];
    let results: Vec<_> =
        functions.iter().map(|f| pool.apply(f.clone(), (6, 7)).unwrap()).collect();
    assert_eq!(results, [42, 13]);
    let [mul, add] = functions;
    assert_eq!(pool.starmap(mul.clone(), [(2, 3), (4, 5)]).unwrap(), [6, 20]);
    assert_eq!(pool.apply_async(add, (1, 2)).unwrap().get().unwrap(), 3);
    let sqr = Function::new(sqr).unwrap();
    assert_eq!(pool.map(sqr.clone(), 0..20).unwrap(), squares(0..20));
    let lazy = pool.imap(sqr, 0..20).unwrap();
    assert_eq!(lazy.map(Result::unwrap).collect::<Vec<_>>(), squares(0..20));
}
