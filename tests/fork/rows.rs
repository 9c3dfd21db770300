//! Fork's share of rows of conformance.md that other files show for the other methods.

use crate::{SOON, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::log::{LogLevel, log};
use procession::{
    Actor, Barrier, ChildSpec, ExclusiveArray, Pipe, Pool, Process, ProcessPoolExecutor, Run,
    StartMethod, Stdio, Strategy, Supervisor, context, methods, parent_process,
};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::sync::Mutex;

pub(crate) const TESTS: &[(&str, fn())] = &[
    (
        "a_copy_runs_although_the_standard_streams_are_closed",
        a_copy_runs_although_the_standard_streams_are_closed,
    ),
    ("a_type_of_ones_own_runs_in_a_copy", a_type_of_ones_own_runs_in_a_copy),
    ("a_copy_has_a_pool_of_its_own", a_copy_has_a_pool_of_its_own),
    ("a_copy_logs_nothing_before_it_is_asked_for", a_copy_logs_nothing_before_it_is_asked_for),
    ("a_copy_that_has_met_others_is_not_missed", a_copy_that_has_met_others_is_not_missed),
    ("a_slice_is_no_copys_as_well", a_slice_is_no_copys_as_well),
    ("what_is_supervised_is_no_copy", what_is_supervised_is_no_copy),
    (
        "an_executor_of_copies_has_all_of_them_at_once",
        an_executor_of_copies_has_all_of_them_at_once,
    ),
    ("a_copys_copy_sees_its_parent_end", a_copys_copy_sees_its_parent_end),
];

// proc-19
fn a_copy_runs_although_the_standard_streams_are_closed() {
    let chatty = || {
        println!("to nobody");
        eprintln!("to nobody");
        7
    };
    let process = Process::fork(move || {
        // What is opened once would take the numbers, and the copy would print into it.
        Process::fork(|| ()).unwrap().join().unwrap();
        for number in 0..3 {
            nix::unistd::close(number).unwrap();
        }
        [(); 3].map(|()| {
            let process = Process::fork(chatty).unwrap();
            (process.result_timeout(SOON).unwrap(), process.exitcode())
        })
    });
    assert_eq!(process.unwrap().result_timeout(SOON).unwrap(), [(7, Some(0)); 3]);
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Shouter(String);

impl Run for Shouter {
    type Output = (String, Option<StartMethod>);

    fn run(self) -> Self::Output {
        (self.0.to_uppercase(), procession::current_process().start_method())
    }
}

// proc-22
fn a_type_of_ones_own_runs_in_a_copy() {
    let process = Shouter("hello".to_owned()).into_process().start_method(StartMethod::Fork);
    let process = process.start().unwrap();
    let expected = ("HELLO".to_owned(), Some(StartMethod::Fork));
    assert_eq!(process.result_timeout(SOON).unwrap(), expected);
    assert!(process.name().starts_with("Shouter-"), "{}", process.name());
}

// stdin-02
fn a_copy_has_a_pool_of_its_own() {
    let process = Process::fork(|| {
        let pool = Pool::builder().processes(4).start_method(StartMethod::Fork).build().unwrap();
        let squares = pool.map(|x: u64| x * x, [1, 2, 3]).unwrap();
        pool.close();
        pool.join().unwrap();
        squares
    });
    assert_eq!(process.unwrap().result_timeout(SOON).unwrap(), [1, 4, 9]);
}

// log-01
fn a_copy_logs_nothing_before_it_is_asked_for() {
    fn say() {
        log(LogLevel::Critical, format_args!("nobody listens"));
        tracing::error!("nor to this");
    }
    let process = Process::fork_builder(|| {
        say();
        Process::fork(say).unwrap().join().unwrap();
    });
    let process = process.stderr(Stdio::Piped).start().unwrap();
    let mut stderr = std::fs::File::from(process.take_stderr().unwrap());
    process.result_timeout(SOON).unwrap();
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
}

/// Its parent's handles are never dropped in it.
fn a_copy_that_has_met_others_is_not_missed() {
    let barrier = Barrier::new(2).unwrap();
    for _ in 0..2 {
        let meets = |barrier: Barrier| barrier.wait_timeout(SOON).unwrap();
        let args = (barrier.clone(),);
        let process = context(StartMethod::Fork).spawn(meets, args).unwrap();
        barrier.wait_timeout(SOON).unwrap();
        process.result_timeout(SOON).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!barrier.broken().unwrap());
    }
}

static SLICE: Mutex<Option<&'static mut [u64]>> = Mutex::new(None);

/// However it comes to be there: what one process has alone, another could change under it.
fn a_slice_is_no_copys_as_well() {
    let array = ExclusiveArray::new([1, 2, 3]).unwrap();
    let kept: &'static ExclusiveArray<u64> = Box::leak(Box::new(array.clone()));
    let guard = Box::leak(Box::new(kept.lock().unwrap()));
    *SLICE.lock().unwrap() = Some(&mut **guard);
    let process = Process::fork(|| {
        if let Some(slice) = SLICE.lock().unwrap().as_deref_mut() {
            slice[0] = 7;
        }
    });
    let process = process.unwrap();
    assert!(process.join_timeout(SOON).unwrap());
    assert_eq!(process.exitcode(), Some(-11));
    let slice = SLICE.lock().unwrap().take().unwrap();
    assert_eq!(slice, [1, 2, 3]);
    // The handle serves in a copy, as ever.
    let other = ExclusiveArray::new([4, 5]).unwrap();
    let sum = Process::fork(move || other.lock().unwrap().iter().sum::<u64>()).unwrap();
    assert_eq!(sum.result_timeout(SOON).unwrap(), 9);
}

#[derive(Actor, Serialize, Deserialize)]
struct Asked;

#[methods]
impl Asked {
    pub fn method(&self) -> Option<StartMethod> {
        procession::current_process().start_method()
    }
}

/// Its supervisor lives on a thread beside this one.
fn what_is_supervised_is_no_copy() {
    let before = procession::start_method_if_set();
    procession::force_start_method(Some(StartMethod::Fork));
    let own = ChildSpec::actor("own", || Asked, ()).start_method(StartMethod::Fork);
    let tree = Supervisor::new(Strategy::OneForOne)
        .child(ChildSpec::actor("general", || Asked, ()))
        .child(own)
        .start();
    procession::force_start_method(before);
    let tree = tree.unwrap();
    for id in ["general", "own"] {
        let asked = tree.actor::<Asked>(id).unwrap();
        assert_eq!(asked.method_timeout(SOON).unwrap(), Some(StartMethod::Spawn), "{id}");
    }
    tree.stop().unwrap();
}

// exshut-08: they are there before the first call; successors of those that die are spawned.
fn an_executor_of_copies_has_all_of_them_at_once() {
    const WORKERS: usize = 3;
    let builder = ProcessPoolExecutor::builder().max_workers(WORKERS);
    let executor = builder.start_method(StartMethod::Fork).build().unwrap();
    let copies = executor.pids();
    assert_eq!(copies.len(), WORKERS);
    let worker = || (std::process::id(), procession::current_process().start_method());
    let (pid, method) = executor.submit(worker, ()).unwrap().result_timeout(SOON).unwrap();
    assert!(copies.contains(&pid) && method == Some(StartMethod::Fork), "{pid} {method:?}");
    for pid in &copies {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    }
    eventually("the dead are known to be", || {
        !executor.pids().iter().any(|pid| copies.contains(pid))
    });
    let (pid, method) = executor.submit(worker, ()).unwrap().result_timeout(SOON).unwrap();
    assert!(!copies.contains(&pid) && method == Some(StartMethod::Spawn), "{pid} {method:?}");
    assert!(executor.shutdown_timeout(SOON, false).unwrap());
    assert_eq!(executor.pids().len(), 0);
}

// proc-06
fn a_copys_copy_sees_its_parent_end() {
    let (receiver, sender) = Pipe::one_way().unwrap();
    let child = Process::fork(move || {
        let grandchild = move || {
            let parent = parent_process().unwrap();
            sender.send(&(false, parent.is_alive())).unwrap();
            let ended = parent.join_timeout(SOON).unwrap();
            sender.send(&(ended, parent.is_alive())).unwrap();
        };
        let grandchild = Process::fork_builder(grandchild).detached().start().unwrap();
        grandchild.join_timeout(SOON + SOON).unwrap();
    });
    let child = child.unwrap();
    assert_eq!(receiver.recv_timeout::<(bool, bool)>(SOON).unwrap(), (false, true));
    child.terminate().unwrap();
    assert_eq!(receiver.recv_timeout::<(bool, bool)>(SOON + SOON).unwrap(), (true, false));
    assert!(child.join_timeout(SOON).unwrap());
}
