//! Threads, pools and programs that end in odd ways, or are asked for something after that.

use crate::util::{SOON, alone, alone_command, is_alone, late, run, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procession_runtime::wait::block_on;
use real::dummy::{Pool, Process, ThreadPoolExecutor, active_children};
use real::{Error, TaskError};
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn sqr(x: i64) -> i64 {
    x * x
}

/// As with processes: what it was given is not lost with the attempt.
#[test]
fn a_start_that_failed_can_be_tried_again() {
    alone("leaving::a_start_that_failed_can_be_tried_again", || {
        let memory = Resource::RLIMIT_AS;
        let (soft, hard) = getrlimit(memory).unwrap();
        let held = Box::new(7u8);
        let p = Process::new(move |n: u8| n + *held, (1,)).unwrap();
        let text = format!("{p:?}");
        // No room for the stack of another thread.
        setrlimit(memory, 1 << 20, hard).unwrap();
        let failed = p.start();
        setrlimit(memory, soft, hard).unwrap();
        assert!(matches!(failed, Err(Error::Io(_))), "{failed:?}");
        assert!(active_children().is_empty());
        assert_eq!((p.pid(), p.exitcode(), format!("{p:?}")), (None, None, text));
        assert!(matches!(p.join(), Err(Error::NotStarted)));
        p.set_name("again").unwrap();
        p.start().unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap(), 8);
        assert!(matches!(p.start(), Err(Error::AlreadyStarted)));
    });
}

/// Nobody waits then for the call that ends it.
#[test]
fn a_call_may_end_the_program() {
    let name = "leaving::a_call_may_end_the_program";
    if is_alone(name) {
        let executor = ThreadPoolExecutor::new(2).unwrap();
        drop(executor.submit(|| -> u8 { std::process::exit(7) }, ()).unwrap());
        std::thread::sleep(SOON);
        return;
    }
    assert_eq!(run(alone_command(name)).code, 7);
}

#[test]
fn a_thread_may_end_the_program() {
    let name = "leaving::a_thread_may_end_the_program";
    if is_alone(name) {
        drop(Process::spawn(|| -> u8 { std::process::exit(7) }, ()).unwrap());
        std::thread::sleep(SOON);
        return;
    }
    assert_eq!(run(alone_command(name)).code, 7);
}

/// The end waits for threads, unless they wait for it: those that end the program as well.
#[test]
fn threads_may_end_a_program_that_ends() {
    let name = "leaving::threads_may_end_a_program_that_ends";
    if is_alone(name) {
        let (hook, begun) = mpsc::channel();
        let call = move || -> u8 {
            begun.recv().unwrap();
            real::exit(8)
        };
        let (other_hook, other_begun) = mpsc::channel();
        let thread = move || -> u8 {
            other_begun.recv().unwrap();
            real::exit(9)
        };
        let executor = ThreadPoolExecutor::new(1).unwrap();
        drop(executor.submit(call, ()).unwrap());
        drop(Process::spawn(thread, ()).unwrap());
        real::at_exit(1, move || [hook, other_hook].iter().for_each(|hook| hook.send(()).unwrap()));
        real::exit(7);
    }
    assert_eq!(run(alone_command(name)).code, 7);
}

/// Panics when it is dropped.
struct Bad;

impl Drop for Bad {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "in a drop");
    }
}

/// Whatever becomes of what it returned.
#[test]
fn a_thread_whose_result_nobody_wants_has_ended() {
    let (handle, gone) = mpsc::channel::<()>();
    let returns = move || {
        let _ = gone.recv();
        Bad
    };
    drop(Process::builder(returns, ()).name("bad").start().unwrap());
    drop(handle);
    until("it has ended", || active_children().iter().all(|child| child.name() != "bad"));
}

#[test]
fn a_task_cannot_await_the_end_of_its_pool() {
    let pool = Arc::new(Pool::new(1).unwrap());
    let inner = pool.clone();
    let waits = move || {
        inner.close();
        block_on(inner.join_async()).err().map(|error| error.to_string())
    };
    let told = pool.apply_async(waits, ()).unwrap();
    let told = told.get_timeout(Duration::from_secs(10)).unwrap();
    assert!(told.is_some_and(|told| told.contains("could never end")));
    assert!(pool.join_timeout(SOON).unwrap());
}

/// What is called later than that would never be called.
#[test]
fn a_callback_for_a_pool_that_has_ended_is_refused() {
    let pool = Pool::new(1).unwrap();
    let result = pool.apply_async(sqr, (3,)).unwrap();
    pool.close();
    pool.join().unwrap();
    let late = result.callback(|_| ());
    assert!(matches!(late, Err(Error::Task(TaskError::NotRunning))), "{late:?}");
}

#[test]
fn there_may_be_as_many_threads_as_anybody_wants() {
    let executor = ThreadPoolExecutor::new(usize::MAX).unwrap();
    let squares: Result<Vec<_>, _> = executor.map(sqr, 0..3).unwrap().collect();
    assert_eq!(squares.unwrap(), [0, 1, 4]);
    assert!(executor.threads() <= 3);
}

#[test]
fn a_thread_that_ends_starts_others_as_well() {
    late(|| assert_eq!(Process::spawn(sqr, (3,)).unwrap().result_timeout(SOON).unwrap(), 9));
}
