//! Pools of threads that are given up or refused work, and rows about names and numbers that
//! other files show for processes.

use crate::util::{SOON, alone, alone_command, is_alone, run};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use real::dummy::{Lock, Pipe, Pool, Process, Queue, TaskOptions, ThreadPoolExecutor};
use real::{Event, Fd, LogLevel, log_to_stderr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

fn sqr(x: i64) -> i64 {
    x * x
}

/// Row pool-25.
#[test]
fn a_busy_pool_of_threads_that_is_dropped_says_so() {
    let name = "faults::a_busy_pool_of_threads_that_is_dropped_says_so";
    if is_alone(name) {
        log_to_stderr(LogLevel::Warning).unwrap();
        // Not for one that is idle.
        drop(Pool::new(1).unwrap());
        let (gate, pool) = (Event::new().unwrap(), Pool::new(1).unwrap());
        let waits = |gate: Event| gate.wait().unwrap();
        let held = pool.apply_async(waits, (gate.clone(),)).unwrap();
        drop(pool);
        gate.set().unwrap();
        let _ = held.get_timeout(SOON);
        return;
    }
    let output = run(alone_command(name));
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    let warning = "a pool is dropped while it is busy; what has not begun is cancelled";
    assert_eq!(output.stderr.matches(warning).count(), 1, "{}", output.stderr);
    assert!(output.stderr.starts_with("[WARNING/MainProcess]"), "{}", output.stderr);
}

/// As with processes: what was drawn before the inputs panicked has its results.
#[test]
fn inputs_before_one_that_panics_are_not_lost() {
    let pool = Pool::new(2).unwrap();
    for chunksize in [1, 3, 100] {
        let tasks = pool.with(TaskOptions::new().chunksize(chunksize));
        let inputs = || (0..9_i64).inspect(|x| assert!(*x != 5, "no {x}"));
        let maps = [tasks.imap(sqr, inputs()), tasks.imap_unordered(sqr, inputs())];
        for mut lazy in maps.map(Result::unwrap) {
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
            assert_eq!((panics, results), (1, vec![0, 1, 4, 9, 16]), "chunks of {chunksize}");
        }
    }
}

/// Asks its executor something when it is dropped.
struct Asks(Arc<ThreadPoolExecutor>, mpsc::Sender<usize>);

impl Drop for Asks {
    fn drop(&mut self) {
        let _ = self.1.send(self.0.threads());
    }
}

/// Nothing of the executor's is locked while it is dropped.
#[test]
fn a_call_that_no_thread_can_be_had_for_may_use_the_executor_when_it_is_dropped() {
    let name =
        "faults::a_call_that_no_thread_can_be_had_for_may_use_the_executor_when_it_is_dropped";
    alone(name, || {
        let memory = Resource::RLIMIT_AS;
        let (soft, hard) = getrlimit(memory).unwrap();
        let executor = Arc::new(ThreadPoolExecutor::new(1).unwrap());
        let (tell, told) = mpsc::channel();
        let asks = Asks(executor.clone(), tell);
        // No room for the stack of a thread.
        setrlimit(memory, 1 << 20, hard).unwrap();
        let refused = executor.submit(move || asks.0.threads(), ());
        setrlimit(memory, soft, hard).unwrap();
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(told.recv_timeout(SOON).unwrap(), 0);
        assert_eq!(executor.submit(sqr, (3,)).unwrap().result_timeout(SOON).unwrap(), 9);
    });
}

/// Rows lock-01, lt-03.
#[test]
fn the_text_of_a_lock_names_the_thread_that_owns_it() {
    let (lock, texts) = (Lock::new().unwrap(), Queue::<String>::new().unwrap());
    assert_eq!(format!("{lock:?}"), "Lock(owner=None)");
    let takes = |lock: Lock, texts: Queue<String>, go: Event| {
        lock.acquire().unwrap();
        texts.put(format!("{lock:?}")).unwrap();
        go.wait().unwrap();
        lock.release().unwrap();
    };
    let go = Event::new().unwrap();
    let p = Process::builder(takes, (lock.clone(), texts.clone(), go.clone())).name("T1");
    let p = p.start().unwrap();
    let theirs = texts.get_timeout(SOON).unwrap();
    assert_eq!(theirs, "Lock(owner=MainProcess|T1)");
    assert_eq!(format!("{lock:?}"), theirs, "also for another thread");
    go.set().unwrap();
    p.result_timeout(SOON).unwrap();
    assert_eq!(format!("{lock:?}"), "Lock(owner=None)");
}

/// Row conn-06: numbers above 256, at both ends, while the low ones are taken.
#[test]
fn a_descriptor_with_a_high_number_is_sent_to_a_thread() {
    // Alone, so that nobody gives a low one back meanwhile.
    alone("faults::a_descriptor_with_a_high_number_is_sent_to_a_thread", || {
        const LOWEST: i32 = 260;
        let mut low = vec![File::open("/dev/null").unwrap()];
        while low.last().unwrap().as_raw_fd() < LOWEST {
            low.push(File::open("/dev/null").unwrap());
        }
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert!(writer.as_raw_fd() > LOWEST);
        let (ours, theirs) = Pipe::duplex().unwrap();
        let answers = |end: real::Connection| {
            let file: Fd = end.recv_timeout(SOON).unwrap();
            let file = OwnedFd::from(file);
            let number = file.as_raw_fd();
            File::from(file).write_all(b"bar").unwrap();
            number
        };
        let p = Process::spawn(answers, (theirs,)).unwrap();
        ours.send(&Fd::from(OwnedFd::from(writer))).unwrap();
        assert!(p.result_timeout(SOON).unwrap() > LOWEST);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "bar");
        drop(low);
    });
}
