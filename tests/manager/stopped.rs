//! A manager of another program that does not read any more, since it is stopped: each call
//! ends in its time, whatever it carries, and nothing else waits for the manager at all.

use crate::channel::{in_time, send};
use crate::util::{Folder, SOON, signal, stop, until};
use nix::sys::signal::Signal;
use procession::manager::Got;
use procession::{Actor, Address, CallError, Event, Manager, ManagerError, Process, methods};
use std::fmt::Debug;
use std::time::{Duration, Instant};

const KEY: &[u8] = b"abracadabra";
const SHORT: Duration = Duration::from_millis(300);

/// A manager has so much longer than a caller's patience to say that time is up.
const GRACE: Duration = Duration::from_secs(1);

/// What a machine with much to do may take beyond that.
const SLACK: Duration = Duration::from_secs(2);

/// Words of which a socket does not hold so many.
const MANY: u64 = 4000;

/// More than goes out at once.
const LARGE: usize = 8 << 20;

/// As much. A text is encoded by one copy; a vector, one number after another, may take longer
/// than a call has, and before its time begins.
fn large() -> String {
    "x".repeat(LARGE)
}

#[derive(Actor)]
struct Scale;

#[methods]
impl Scale {
    pub fn weigh(&self, text: String) -> usize {
        text.len()
    }
}

fn scale() -> Scale {
    Scale
}

/// A call that has to end by its time limit.
fn late<T: Debug, E: Into<ManagerError>>(call: impl FnOnce() -> Result<T, E>) {
    let begun = Instant::now();
    let error = call().map_err(Into::into).unwrap_err();
    assert!(matches!(error, ManagerError::Share(_)), "{error}");
    assert!(begun.elapsed() < SHORT + GRACE + SLACK, "{:?}", begun.elapsed());
}

/// What does not wait.
fn at_once<T>(act: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = act();
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    result
}

#[test]
fn what_is_asked_of_a_stopped_manager_ends_in_its_time() {
    let folder = Folder::new("stopped");
    stopped(&folder.file("socket"));
}

#[test]
fn what_is_asked_of_a_stopped_manager_over_tcp_ends_in_its_time() {
    stopped("127.0.0.1:0");
}

fn stopped(address: &str) {
    let builder = Manager::builder().address(address).authkey(KEY);
    let manager = builder.register("Scale", scale).start().unwrap();
    let remote = Manager::connect(manager.address().unwrap().clone(), KEY).unwrap();
    let server = manager.process().unwrap().pid().unwrap();
    in_time(move || {
        let queue = remote.queue::<String>().unwrap();
        let (list, other) = (remote.list([1u8]).unwrap(), remote.list([2u8]).unwrap());
        let scale = remote.make::<Scale>("Scale", ()).unwrap();
        let objects = manager.object_count().unwrap();
        queue.put("1".into()).unwrap();
        stop(server);
        late(|| queue.get_timeout(SHORT));
        for _ in 0..3 {
            late(|| queue.put_timeout(large(), SHORT));
        }
        // Behind those, and by other threads.
        late(|| queue.get_timeout(SHORT));
        at_once(|| send(&mut queue.get_async()));
        at_once(|| send(&mut queue.put_async(&large())));
        at_once(|| drop(list));
        for _ in 0..4 {
            let begun = Instant::now();
            let weighed = scale.weigh_timeout(large(), SHORT);
            assert!(matches!(weighed, Err(CallError::Timeout)), "{weighed:?}");
            assert!(begun.elapsed() < SHORT + SLACK, "{:?}", begun.elapsed());
        }
        signal(server, Signal::SIGCONT);
        // All that was said is heard now, and what was given up before it left is not.
        assert_eq!(other.to_vec().unwrap(), [2]);
        assert_eq!(queue.get_timeout(SOON).unwrap(), "1", "nobody got it before");
        assert!(queue.qsize().unwrap() < 3);
        assert_eq!(scale.weigh_timeout(large(), SOON).unwrap(), LARGE);
        until("the dropped one is gone", || manager.object_count().unwrap() == objects - 1);
        // Nothing waits for one that does not come back.
        stop(server);
        late(|| queue.put_timeout(large(), SHORT));
        late(|| queue.put_timeout(large(), SHORT));
        at_once(|| drop((queue, other, scale, remote)));
        signal(server, Signal::SIGCONT);
    });
}

/// It waits at its end until what it said last is heard, and no longer than that is worth.
#[test]
fn a_process_ends_though_its_manager_is_stopped() {
    let manager = Manager::builder().address("127.0.0.1:0").authkey(KEY).start().unwrap();
    let server = manager.process().unwrap().pid().unwrap();
    let holds = |address: Address, is_held: Event, may_end: Event| {
        let remote = Manager::connect(address, KEY).unwrap();
        let _held = remote.lock().unwrap().lock().unwrap();
        is_held.set().unwrap();
        assert!(may_end.wait_timeout(SOON).unwrap());
    };
    let (is_held, may_end) = (Event::new().unwrap(), Event::new().unwrap());
    let args = (manager.address().unwrap().clone(), is_held.clone(), may_end.clone());
    let process = Process::spawn(holds, args).unwrap();
    assert!(is_held.wait_timeout(SOON).unwrap());
    stop(server);
    may_end.set().unwrap();
    let begun = Instant::now();
    assert!(process.as_ref().join_timeout(SOON).unwrap());
    assert!(begun.elapsed() < GRACE + SLACK, "{:?}", begun.elapsed());
    signal(server, Signal::SIGCONT);
    process.result().unwrap();
}

/// The manager hears first what was said to an object, and then that it is let go.
#[test]
fn a_lock_is_given_back_before_it_is_let_go_though_its_manager_is_slow() {
    let manager = Manager::start().unwrap();
    let server = manager.process().unwrap().pid().unwrap();
    in_time(move || {
        let semaphore = manager.semaphore(MANY).unwrap();
        let guards: Vec<_> = (0..MANY).map(|_| semaphore.lock().unwrap()).collect();
        let lock = manager.lock().unwrap();
        // Something keeps the lock, and it is not this process.
        let kept = manager.list([lock.clone()]).unwrap();
        let guard = lock.lock().unwrap();
        stop(server);
        // What gives it back waits for room behind many.
        at_once(|| drop((guards, guard, lock)));
        signal(server, Signal::SIGCONT);
        let lock = kept.get(0).unwrap();
        assert_eq!(lock.acquire_timeout(SOON).unwrap(), Some(Got::Clean));
    });
}

#[test]
fn a_call_is_taken_back_before_its_object_is_let_go_though_the_manager_is_slow() {
    let manager = Manager::start().unwrap();
    let server = manager.process().unwrap().pid().unwrap();
    in_time(move || {
        let semaphore = manager.semaphore(MANY).unwrap();
        let guards: Vec<_> = (0..MANY).map(|_| semaphore.lock().unwrap()).collect();
        let lock = manager.lock().unwrap();
        let kept = manager.list([lock.clone()]).unwrap();
        lock.acquire().unwrap();
        let mut waits = lock.acquire_async();
        send(&mut waits);
        // The order of what one process asks is kept.
        lock.release().unwrap();
        stop(server);
        at_once(|| drop((guards, waits, lock)));
        signal(server, Signal::SIGCONT);
        let lock = kept.get(0).unwrap();
        assert_eq!(lock.acquire_timeout(SOON).unwrap(), Some(Got::Clean));
    });
}
