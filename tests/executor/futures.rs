//! Futures by hand: how they end, who hears of it and when.

use crate::util::{SOON, alone, alone_command, events, is_alone, run};
use crate::{executor, pause};
use procession::futures::{Future, InvalidState, Promise, ReturnWhen, as_completed, wait};
use procession::{Error, ProcessPoolExecutor, TaskError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

fn ended() -> [Future<i32>; 3] {
    let [cancelled, failed, finished] = [(); 3].map(|()| Promise::new());
    let futures = [cancelled.future(), failed.future(), finished.future()];
    assert!(futures[0].cancel());
    failed.set_exception(TaskError::Io("disk".into())).unwrap();
    finished.set_result(42).unwrap();
    futures
}

/// Nothing of a wait that was given up stays with a future that goes on.
#[test]
fn a_wait_that_is_given_up_leaves_no_waker() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let promise = Promise::new();
    let executor = executor(1);
    let call = executor.submit(pause, (60_000,)).unwrap();
    for future in [promise.future(), call] {
        let waker = Arc::new(Nobody);
        let mut completed = as_completed([&future], None);
        {
            let mut next = Box::pin(completed.next_async());
            let waker = Waker::from(waker.clone());
            assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&waker), 2, "it is to be woken");
        drop(completed);
        assert_eq!(Arc::strong_count(&waker), 1);
    }
    executor.kill_workers();
}

/// As many handles as await it for a while leave nothing with it.
#[test]
fn an_await_that_is_given_up_leaves_no_waker() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let promise = Promise::new();
    let executor = executor(1);
    let call = executor.submit(pause, (60_000,)).unwrap();
    for future in [promise.future(), call] {
        let wakers = [(); 9].map(|()| {
            let waker = Arc::new(Nobody);
            let mut mine = Box::pin(future.clone());
            let context = Waker::from(waker.clone());
            assert!(mine.as_mut().poll(&mut Context::from_waker(&context)).is_pending());
            waker
        });
        assert!(wakers.iter().all(|waker| Arc::strong_count(waker) == 1));
    }
    executor.kill_workers();
}

/// Rows exfutu-23, exfutu-24, exfutu-26, exfutu-27, exfutu-28, exfutu-31.
#[test]
fn a_future_says_how_far_it_is() {
    let (open, begun) = (Promise::<i32>::new(), Promise::<i32>::new());
    let (pending, running) = (open.future(), begun.future());
    assert!(begun.set_running());
    let [cancelled, failed, finished] = ended();
    let texts = [&pending, &running, &cancelled, &failed, &finished].map(|it| format!("{it:?}"));
    let expected = [
        "Future(pending)",
        "Future(running)",
        "Future(cancelled)",
        "Future(finished, raised the pool: disk)",
        "Future(finished, returned i32)",
    ];
    assert_eq!(texts, expected);
    assert!(!pending.done() && !running.done() && cancelled.done() && failed.done());
    assert!(running.running() && !pending.running() && !finished.running());
    let now = Duration::ZERO;
    assert!(matches!(pending.result_timeout(now), Err(Error::Timeout)));
    assert!(matches!(running.exception_timeout(now), Err(Error::Timeout)));
    assert!(matches!(cancelled.result(), Err(Error::Task(TaskError::Cancelled))));
    assert!(matches!(cancelled.exception(), Err(Error::Task(TaskError::Cancelled))));
    assert!(matches!(failed.result(), Err(Error::Task(TaskError::Io(_)))));
    assert!(matches!(failed.exception().unwrap(), Some(TaskError::Io(_))));
    assert_eq!((finished.exception().unwrap(), finished.result().unwrap()), (None, 42));
    assert!(matches!(finished.result(), Err(Error::Task(TaskError::Taken))));
    assert!(pending.cancel() && pending.cancel() && !running.cancel() && !finished.cancel());
    assert!(!failed.cancel() && running.running() && pending.cancelled());
    assert!(!open.set_running(), "it has been cancelled");
}

/// Rows exfutu-33, exfutu-34.
#[test]
fn a_result_is_set_once() {
    let promise = Promise::new();
    promise.set_result(1).unwrap();
    assert_eq!(promise.set_result(2), Err(InvalidState { value: 2, state: "FINISHED" }));
    let late = promise.set_exception(TaskError::Cancelled);
    assert_eq!(late.unwrap_err().state, "FINISHED");
    assert_eq!(promise.future().result().unwrap(), 1);
    let promise = Promise::<u8>::new();
    promise.set_exception(TaskError::Failed("first".into())).unwrap();
    assert!(promise.set_exception(TaskError::Failed("second".into())).is_err());
    assert_eq!(promise.future().exception().unwrap(), Some(TaskError::Failed("first".into())));
    let promise = Promise::<u8>::new();
    let future = promise.future();
    drop(promise);
    assert!(future.cancelled(), "nobody will give the result");
}

/// Rows exfutu-29, exfutu-30, exfutu-32.
#[test]
fn a_wait_ends_when_another_thread_ends_the_future() {
    let soon_ended = |end: fn(&Promise<i32>)| {
        let promise = Promise::new();
        let future = promise.future();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            end(&promise);
        });
        (future, other)
    };
    let (future, other) = soon_ended(|promise| promise.set_result(5).unwrap());
    assert_eq!(future.result().unwrap(), 5);
    other.join().unwrap();
    let (future, other) =
        soon_ended(|promise| promise.set_exception(TaskError::Io("x".into())).unwrap());
    assert!(future.exception().unwrap().is_some());
    other.join().unwrap();
    let (future, other) = soon_ended(|promise| assert!(promise.future().cancel()));
    assert!(matches!(future.result(), Err(Error::Task(TaskError::Cancelled))));
    other.join().unwrap();
}

/// Rows exfutu-15, exfutu-18, exfutu-19, exfutu-20, exfutu-21, exfutu-22.
#[test]
fn callbacks_run_once_in_order_and_at_once_when_it_has_ended() {
    let count = Arc::new(AtomicUsize::new(0));
    let promise = Promise::new();
    let future = promise.future();
    for number in 0..3 {
        let count = count.clone();
        let callback = move |future: &Future<i32>| {
            assert_eq!(count.fetch_add(1, Ordering::SeqCst), number);
            assert!(number != 1, "the next one runs all the same");
            assert_eq!(future.exception().unwrap(), None);
            assert!(number != 2 || future.result().unwrap() == 5);
        };
        future.add_done_callback(callback).unwrap();
    }
    promise.set_result(5).unwrap();
    assert_eq!(count.swap(0, Ordering::SeqCst), 3);
    for future in ended() {
        let (counted, me) = (count.clone(), std::thread::current().id());
        let callback = move |future: &Future<i32>| {
            assert!(future.done() && std::thread::current().id() == me);
            counted.fetch_add(1, Ordering::SeqCst);
        };
        future.add_done_callback(callback).unwrap();
        future.add_done_callback(|_| panic!("it is logged")).unwrap();
    }
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

/// The end of a program waits for callbacks, but not for one that has brought it about.
#[test]
fn a_callback_may_end_the_program() {
    let name = "futures::a_callback_may_end_the_program";
    if is_alone(name) {
        let executor = ProcessPoolExecutor::new(1).unwrap();
        let call = executor.submit(|| 1_u8, ()).unwrap();
        call.add_done_callback(|_| std::process::exit(9)).unwrap();
        std::thread::sleep(SOON);
        return;
    }
    assert_eq!(run(alone_command(name)).code, 9);
}

/// Rows exfutu-18, exfutu-22: one that is kept for later, and one that is called at once.
#[test]
fn a_callback_that_panics_is_in_the_log() {
    alone("futures::a_callback_that_panics_is_in_the_log", || {
        events::record();
        let promise = Promise::new();
        let (future, ran) = (promise.future(), Arc::new(AtomicUsize::new(0)));
        let counted = |ran: &Arc<AtomicUsize>| {
            let ran = ran.clone();
            move |_: &Future<i32>| {
                ran.fetch_add(1, Ordering::SeqCst);
            }
        };
        future.add_done_callback(|_| panic!("kept for later")).unwrap();
        future.add_done_callback(counted(&ran)).unwrap();
        promise.set_result(5).unwrap();
        future.add_done_callback(|_| panic!("called at once")).unwrap();
        future.add_done_callback(counted(&ran)).unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 2);
        for what in ["kept for later", "called at once"] {
            let lines = events::with(what);
            assert!(lines.len() == 1 && lines[0].contains("ERROR"), "{lines:?}");
            assert!(lines[0].contains("exception calling callback for Future("), "{lines:?}");
        }
    });
}

/// Rows exfutu-02, exfutu-05, exfutu-06.
#[test]
fn as_completed_gives_those_that_have_ended_first_and_each_once() {
    let (open, later) = (Promise::<i32>::new(), Promise::<i32>::new());
    for timeout in [Duration::ZERO, Duration::from_millis(100)] {
        let [cancelled, _, finished] = ended();
        let all = [open.future(), cancelled, finished.clone(), later.future(), finished];
        let mut yielded = as_completed(&all, timeout);
        assert!(yielded.next().unwrap().unwrap().cancelled());
        assert_eq!(yielded.next().unwrap().unwrap().result().unwrap(), 42);
        let late = yielded.next().unwrap().unwrap_err();
        assert!(matches!(late, Error::Unfinished { unfinished: 2, total: 4 }));
        assert_eq!(late.to_string(), "2 (of 4) futures unfinished");
        assert!(yielded.next().is_none());
    }
    later.set_result(7).unwrap();
    let twice = [later.future(), later.future()];
    let waited = wait(&twice, None, ReturnWhen::AllCompleted).unwrap();
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 0));
}

/// Rows exfutu-08, exfutu-11, exfutu-12, exfutu-13.
#[test]
fn wait_returns_when_it_was_asked_to() {
    let open = Promise::<i32>::new();
    assert!(open.set_running());
    let [cancelled, failed, finished] = ended();
    let counts = |futures: &[&Future<i32>], timeout: Option<Duration>, when| {
        let waited = wait(futures.iter().copied(), timeout, when).unwrap();
        (waited.done.len(), waited.not_done.len())
    };
    let running = open.future();
    let all = [&running, &cancelled, &failed, &finished];
    assert_eq!(counts(&all, None, ReturnWhen::FirstCompleted), (3, 1));
    assert_eq!(counts(&all, None, ReturnWhen::FirstException), (3, 1));
    let brief = Some(Duration::from_millis(50));
    assert_eq!(counts(&all, brief, ReturnWhen::AllCompleted), (3, 1));
    // A cancelled one is no exception.
    let rest = [&running, &cancelled, &finished];
    assert_eq!(counts(&rest, brief, ReturnWhen::FirstException), (2, 1));
    let setter = std::thread::spawn(move || open.set_result(1));
    assert_eq!(counts(&all, None, ReturnWhen::AllCompleted), (4, 0));
    setter.join().unwrap().unwrap();
}
