//! Shared objects of a process that has no descriptor free: what needs none goes on.
//!
//! Each test is a process of its own, since it limits what the process has. Neighbour:
//! `ends.rs` has what cannot go on, and its errors.

use crate::util::{SOON, alone};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procession::{Acquired, Event, JoinableQueue, Lock, Process, Queue};
use procession_runtime::codec::Fd;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Leaves numbers for just so many more descriptors; gives the limit that there was.
fn leave(free: usize) -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let next = || std::fs::File::open("/dev/null").unwrap();
    let taken: Vec<_> = (0..=free).map(|_| next()).collect();
    let lowest_not = u64::try_from(taken[free].as_raw_fd()).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, lowest_not, hard).unwrap();
    soft
}

fn restore(soft: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(SOON, future).await.unwrap() })
}

#[test]
fn a_death_is_repaired_by_an_owner_without_descriptors() {
    alone("scarce::a_death_is_repaired_by_an_owner_without_descriptors", || {
        let (lock, taken) = (Lock::new().unwrap(), Event::new().unwrap());
        let holds = |lock: Lock, taken: Event| {
            lock.acquire().unwrap();
            taken.set().unwrap();
            std::thread::sleep(SOON);
        };
        let child = Process::spawn(holds, (lock.clone(), taken.clone())).unwrap();
        assert!(taken.wait_timeout(SOON).unwrap());
        let soft = leave(0);
        child.kill().unwrap();
        let acquired = lock.acquire_timeout(SOON).unwrap();
        restore(soft);
        assert!(matches!(acquired, Some(Acquired::AfterDeath(_))), "{acquired:?}");
    });
}

/// All that is asked over the connection and answered without a descriptor.
fn asks(tasks: &JoinableQueue<u32>, lock: &Lock) {
    assert_eq!(tasks.qsize().unwrap(), 0);
    tasks.task_done().unwrap();
    tasks.join_timeout(SOON).unwrap();
    tasks.put(2).unwrap();
    assert_eq!(tasks.get_leased_timeout(SOON).unwrap().done(), 2);
    // Held by the owner for a moment still: the owner waits on this one's behalf.
    run(lock.acquire_async()).unwrap();
    lock.release().unwrap();
}

#[test]
fn an_owner_without_descriptors_answers() {
    alone("scarce::an_owner_without_descriptors_answers", || {
        let tasks = JoinableQueue::new().unwrap();
        let [lock, other] = [(); 2].map(|()| Lock::new().unwrap());
        let [ready, go, done] = [(); 3].map(|()| Event::new().unwrap());
        let client = |tasks: JoinableQueue<u32>, locks: [Lock; 2], events: [Event; 3]| {
            assert_eq!(tasks.get().unwrap(), 1);
            let [lock, other] = locks;
            assert!(lock.locked().unwrap());
            let [ready, go, done] = events;
            assert!(!go.is_set().unwrap() && !done.is_set().unwrap());
            ready.set().unwrap();
            go.wait().unwrap();
            asks(&tasks, &lock);
            done.set().unwrap();
            // What needs descriptors there waits for them.
            other.acquire().unwrap();
        };
        tasks.put(1).unwrap();
        lock.acquire().unwrap();
        let events = [ready.clone(), go.clone(), done.clone()];
        let locks = [lock.clone(), other.clone()];
        let child = Process::spawn(client, (tasks.clone(), locks, events)).unwrap();
        assert!(ready.wait_timeout(SOON).unwrap());
        let soft = leave(0);
        go.set().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        lock.release().unwrap();
        let is_done = done.wait_timeout(SOON).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        restore(soft);
        assert!(is_done);
        child.result_timeout(SOON).unwrap();
    });
}

#[test]
fn a_client_without_descriptors_is_answered() {
    alone("scarce::a_client_without_descriptors_is_answered", || {
        let (tasks, lock) = (JoinableQueue::new().unwrap(), Lock::new().unwrap());
        let ready = Event::new().unwrap();
        let client = |tasks: JoinableQueue<u32>, lock: Lock, ready: Event| {
            assert_eq!(tasks.get().unwrap(), 1);
            assert!(lock.locked().unwrap() && !ready.is_set().unwrap());
            // What these make for themselves is there when none is free any more.
            run(async {});
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let soft = leave(0);
            ready.set().unwrap();
            assert_eq!(tasks.qsize().unwrap(), 0);
            tasks.task_done().unwrap();
            tasks.join_timeout(SOON).unwrap();
            let acquired = async { tokio::time::timeout(SOON, lock.acquire_async()).await };
            runtime.unwrap().block_on(acquired).unwrap().unwrap();
            lock.release().unwrap();
            restore(soft);
        };
        tasks.put(1).unwrap();
        lock.acquire().unwrap();
        let arguments = (tasks.clone(), lock.clone(), ready.clone());
        let child = Process::spawn(client, arguments).unwrap();
        assert!(ready.wait_timeout(SOON).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        lock.release().unwrap();
        child.result_timeout(SOON).unwrap();
    });
}

/// Some are free, but not as many as come with one answer: that is its error, and no other's.
#[test]
fn an_answer_with_too_many_descriptors_is_an_error_of_its_own() {
    alone("scarce::an_answer_with_too_many_descriptors_is_an_error_of_its_own", || {
        let (queue, lock) = (Queue::new().unwrap(), Lock::new().unwrap());
        let client = |queue: Queue<Vec<Fd>>, lock: Lock| {
            assert_eq!(queue.get().unwrap().len(), 0);
            lock.acquire().unwrap();
            for free in [0, 5] {
                let soft = leave(free);
                let lease = [Queue::get_leased, |queue: &Queue<_>| queue.get_leased_timeout(SOON)];
                for lease in lease {
                    let error = lease(&queue).unwrap_err();
                    assert!(error.to_string().contains("os error 24"), "{error}");
                    // It comes back to the queue.
                    while queue.qsize().unwrap() < 1 {}
                }
                restore(soft);
            }
            let lease = queue.get_leased_timeout(SOON).unwrap();
            assert!(!lease.is_redelivered(), "nobody has had it");
            assert_eq!(lease.done().len(), 20);
            lock.release().unwrap();
        };
        queue.put(Vec::new()).unwrap();
        let child = Process::spawn(client, (queue.clone(), lock)).unwrap();
        let end = || Fd(std::fs::File::open("/dev/null").unwrap().into());
        queue.put([(); 20].map(|()| end()).into()).unwrap();
        child.result_timeout(SOON).unwrap();
        assert_eq!(queue.qsize().unwrap(), 0);
    });
}
