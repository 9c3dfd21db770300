//! Waits that end, whatever is scarce: time, descriptors, workers.

use crate::rows::{pause, sqr};
use crate::util::{Folder, SOON, alone, lines, note, signal, stop, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, geteuid, setuid};
use procession::futures::Promise;
use procession::{Error, Fd, Pool, Process, TaskError, TaskOptions, dummy};
use procession_runtime::wait::block_on;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

/// What should be there at once is there by then.
const PROMPT: Duration = Duration::from_secs(10);

#[test]
fn a_task_does_not_wait_behind_a_busy_worker_when_another_may_come() {
    let builder = Pool::builder().processes(2).idle_timeout(Duration::from_millis(50));
    let pool = builder.build().unwrap();
    let busy = pool.apply_async(pause, (60_000,)).unwrap();
    until("the other has left", || pool.pids().len() == 1);
    let next = pool.apply_async(sqr, (3,)).unwrap();
    assert_eq!(next.get_timeout(PROMPT).unwrap(), 9);
    assert!(!busy.ready());
}

/// However short a limit is, its task ends, and at the cost of its own worker.
#[test]
fn a_limit_that_is_up_at_once_ends_its_task() {
    let pool = Pool::new(1).unwrap();
    let at_once = pool.with(TaskOptions::new().timeout(Duration::ZERO));
    let ended = at_once.apply_async(pause, (60_000,)).unwrap().get_timeout(PROMPT);
    assert!(matches!(ended, Err(Error::Task(TaskError::TimedOut(_)))), "{ended:?}");
    assert_eq!(pool.apply(sqr, (3,)).unwrap(), 9);
    assert!(pool.stats().restarts <= 3, "{:?}", pool.stats());
}

/// Cannot be read.
#[derive(Debug)]
struct Loud;

impl Serialize for Loud {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        7_u8.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Loud {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("too loud")
    }
}

/// Whether or not a callback's thread reads it first.
#[test]
fn a_result_whose_reading_panics_keeps_nobody_waiting() {
    let pool = Pool::new(1).unwrap();
    let loud = || pool.apply_async(|| Loud, ()).unwrap();
    for result in [loud().callback(|_| ()).unwrap(), loud()] {
        let read = result.get_timeout(PROMPT);
        assert!(matches!(read, Err(Error::Task(TaskError::Panicked(_)))), "{read:?}");
    }
    pool.close();
    assert!(pool.join_timeout(PROMPT).unwrap());
}

#[test]
fn a_callback_cannot_await_the_end_of_its_pool() {
    let pool = Arc::new(Pool::new(1).unwrap());
    let (inner, (told, hears)) = (pool.clone(), mpsc::channel());
    let result = pool.apply_async(sqr, (3,)).unwrap();
    let result = result.callback(move |_| {
        inner.close();
        told.send(block_on(inner.join_async())).unwrap();
    });
    let ended = hears.recv_timeout(PROMPT).unwrap();
    assert!(matches!(ended, Err(Error::Task(TaskError::WouldDeadlock))), "{ended:?}");
    assert_eq!(result.unwrap().get().unwrap(), 9);
}

/// Large, and in a file; the first is not there at once.
fn large(x: u64) -> Vec<u8> {
    pause(if x == 0 { 500 } else { 0 });
    vec![x.to_le_bytes()[0]; 100_000]
}

/// A user without rights may have so many descriptors under way as one process may hold.
/// Results in files wait then until others have been taken; none is lost.
#[test]
fn results_wait_where_too_many_descriptors_are_under_way() {
    if !geteuid().is_root() {
        println!("who has no rights to lay down cannot show it");
        return;
    }
    let folder = Folder::new("pool-crowded");
    let owner = |file: String| {
        let be_nobody = || {
            setrlimit(Resource::RLIMIT_NOFILE, 100, 100).unwrap();
            setuid(Uid::from_raw(65_534)).unwrap();
        };
        let pool = Pool::builder().processes(1).initializer(be_nobody, ()).build().unwrap();
        let chunk = pool.with(TaskOptions::new().chunksize(200));
        let results = chunk.map_async(large, 0..200).unwrap();
        note(&file, "submitted");
        let results = results.get_timeout(PROMPT).map_err(|error| error.to_string())?;
        Ok::<_, String>(results.iter().zip(0..).all(|(result, x)| {
            result.len() == 100_000 && result.iter().all(|byte| *byte == u64::to_le_bytes(x)[0])
        }))
    };
    let file = folder.file("submitted");
    let owner = Process::spawn(owner, (file.clone(),)).unwrap();
    lines(&file, 1);
    // Nobody takes them meanwhile.
    let pid = owner.pid().unwrap();
    stop(pid);
    pause(1_000);
    signal(pid, Signal::SIGCONT);
    assert_eq!(owner.result_timeout(SOON).unwrap(), Ok(true));
}

#[test]
fn a_start_outlives_a_moment_without_descriptors() {
    alone("waits::a_start_outlives_a_moment_without_descriptors", || {
        let pool = Pool::new(1).unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
        signal(pool.pids()[0], Signal::SIGKILL);
        until("its end is known", || pool.pids().is_empty());
        pause(200);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        let next = pool.apply_async(sqr, (3,)).unwrap();
        assert_eq!(next.get_timeout(PROMPT).unwrap(), 9);
    });
}

/// A result for which this process has no descriptor free is an error, of its own task alone;
/// its worker goes on.
#[test]
fn a_result_that_finds_no_descriptor_costs_its_own_task() {
    alone("waits::a_result_that_finds_no_descriptor_costs_its_own_task", || {
        let pool = Pool::new(1).unwrap();
        let worker = pool.apply(std::process::id, ()).unwrap();
        let null = |x: u64| {
            pause(if x == 0 { 500 } else { 0 });
            Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()))
        };
        let later = |x: u64| pause(x);
        let filed = pool.apply_async(large, (0,)).unwrap();
        let beside = pool.apply_async(null, (0,)).unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
        let ended = [filed.get_timeout(PROMPT).map(|_| ()), beside.get_timeout(PROMPT).map(|_| ())];
        let next = pool.apply_async(later, (0,)).unwrap().get_timeout(PROMPT);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        for ended in ended {
            let Err(Error::Task(TaskError::Io(why))) = ended else { panic!("{ended:?}") };
            assert!(why.contains("a result is lost") && why.contains("open files"), "{why}");
        }
        next.unwrap();
        assert_eq!(pool.apply(large, (1,)).unwrap().len(), 100_000);
        assert_eq!(pool.apply(std::process::id, ()).unwrap(), worker);
    });
}

/// A worker that has no descriptor free for what comes with a task leaves that to another one.
#[test]
fn a_worker_without_descriptors_gives_its_place_up() {
    let pool = Pool::new(1).unwrap();
    let use_up = || {
        setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
        while let Ok(null) = File::open("/dev/null") {
            std::mem::forget(null);
        }
        std::process::id()
    };
    let length = |bytes: Vec<u8>| (bytes.len(), std::process::id());
    let is_open = |fd: Fd| (File::from(OwnedFd::from(fd)).metadata().is_ok(), std::process::id());
    let null = || Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()));
    for _ in 0..2 {
        let first = pool.apply(use_up, ()).unwrap();
        let (len, second) = pool.apply(length, (vec![7; 100_000],)).unwrap();
        assert!(len == 100_000 && second != first);
        assert_eq!(pool.apply(use_up, ()).unwrap(), second);
        let (is_open, third) = pool.apply(is_open, (null(),)).unwrap();
        assert!(is_open && third != second);
    }
}

/// Written once.
#[derive(Deserialize)]
struct Once(AtomicBool);

impl Serialize for Once {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.0.swap(true, Ordering::SeqCst), "written twice");
        serializer.serialize_newtype_struct("Once", &true)
    }
}

/// And who waits for the next worker hears why there is none.
#[test]
fn arguments_of_an_initializer_that_panic_break_the_pool() {
    let builder = Pool::builder().processes(1).initializer(|_: Once| (), (Once(false.into()),));
    let pool = builder.build().unwrap();
    let died = pool.apply(|| -> u8 { std::process::abort() }, ());
    assert!(matches!(died, Err(Error::Task(TaskError::Died(_)))), "{died:?}");
    let next = pool.apply_async(sqr, (3,)).and_then(|next| next.get_timeout(PROMPT));
    let Err(Error::Task(TaskError::Broken(why))) = next else { panic!("{next:?}") };
    assert!(why.contains("arguments panicked: written twice"), "{why}");
}

/// As those of an executor that is gone may do: whoever reads for all goes on.
#[test]
fn a_waker_that_panics_keeps_nobody_waiting() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("the executor is gone");
        }
    }
    let is_pending = |mut future: Pin<&mut dyn Future<Output = Result<(), Error>>>| {
        let bad = Waker::from(Arc::new(Bad));
        assert!(future.as_mut().poll(&mut Context::from_waker(&bad)).is_pending());
    };
    let pool = Pool::new(1).unwrap();
    let mut first = Box::pin(pool.apply_async(pause, (200,)).unwrap());
    is_pending(first.as_mut());
    let (told, hears) = mpsc::channel();
    let next = pool.apply_async(pause, (200,)).unwrap();
    let next = next.callback(move |()| told.send(()).unwrap()).unwrap();
    hears.recv_timeout(PROMPT).unwrap();
    assert!(first.ready() && next.get_timeout(PROMPT).is_ok());
    // Of several who wait for the same, the others are woken.
    let promise = Promise::new();
    let mut bad = Box::pin(promise.future());
    is_pending(bad.as_mut());
    let future = promise.future();
    let waits = std::thread::spawn(move || future.result_timeout(PROMPT));
    pause(100);
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| promise.set_result(())));
    waits.join().unwrap().unwrap();
}

/// Who polls from one task after another is woken in the last one, and nothing is left with
/// what goes on when it gives up.
#[test]
fn a_wait_leaves_one_waker_at_most() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    fn polled<F: Future>(mut future: Pin<&mut F>) -> Vec<Arc<Nobody>> {
        let mut poll = |_| {
            let waker = Arc::new(Nobody);
            let task = Waker::from(waker.clone());
            assert!(future.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
            waker
        };
        (0..9).map(&mut poll).collect()
    }
    fn held(wakers: &[Arc<Nobody>]) -> Vec<bool> {
        wakers.iter().map(|waker| Arc::strong_count(waker) > 1).collect()
    }
    let mut last = vec![false; 9];
    last[8] = true;
    let pool = Pool::new(1).unwrap();
    let mut result = Box::pin(pool.apply_async(pause, (60_000,)).unwrap());
    let wakers = polled(result.as_mut());
    assert_eq!(held(&wakers), last);
    drop(result);
    assert_eq!(held(&wakers), [false; 9]);
    pool.close();
    let mut join = Box::pin(pool.join_async());
    let wakers = polled(join.as_mut());
    assert_eq!(held(&wakers), last);
    drop(join);
    assert_eq!(held(&wakers), [false; 9]);
    let threads = dummy::Pool::new(1).unwrap();
    let (gate, opens) = mpsc::channel::<()>();
    let opens = Arc::new(Mutex::new(opens));
    let wait = move |_: u8| opens.lock().unwrap().recv().is_err();
    let mut results = threads.imap(wait, 0..2).unwrap();
    let wakers: Vec<_> =
        (0..3).flat_map(|_| polled(Box::pin(results.next_async()).as_mut())).collect();
    assert_eq!(held(&wakers).iter().filter(|held| **held).count(), 1);
    drop(gate);
    assert!(results.all(|ended| ended.unwrap()));
}

/// As one says that there is no limit.
#[test]
fn a_start_may_take_as_long_as_it_likes() {
    let pool = Pool::builder().processes(1).start_timeout(Duration::MAX).build().unwrap();
    assert_eq!(pool.apply(sqr, (3,)).unwrap(), 9);
}
