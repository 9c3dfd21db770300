//! Queues whose owner, or consumer, has no descriptor free when an item comes with one. Large
//! items always do: their bytes are in a file.

use crate::util::{LIMIT, SOON, alone};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, raise};
use procession::{GetError, Process, Queue};
use procession_runtime::share::ShareError;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Leaves no number for another descriptor; gives the limit that there was.
fn use_up() -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let lowest_free = std::fs::File::open("/dev/null").unwrap().as_raw_fd();
    setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(lowest_free).unwrap(), hard).unwrap();
    soft
}

fn restore(soft: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
}

fn large(byte: u8) -> Vec<u8> {
    vec![byte; 1 << 20]
}

fn lacks(error: &GetError) -> bool {
    matches!(error, GetError::Share(ShareError::Io(error))
        if error.raw_os_error() == Some(nix::libc::EMFILE))
}

fn gets_without_descriptors(queue: Queue<Vec<u8>>, ready: Queue<()>) {
    // The first use of each queue takes descriptors.
    ready.put(()).unwrap();
    assert_eq!(queue.get_timeout(SOON).unwrap(), [1]);
    let soft = use_up();
    ready.put(()).unwrap();
    for get in [Queue::get, |queue: &Queue<_>| queue.get_timeout(SOON), Queue::try_get] {
        let error = get(&queue).unwrap_err();
        assert!(lacks(&error), "{error:?}");
    }
    assert!(lacks(&queue.get_many(9).unwrap_err()));
    restore(soft);
    assert_eq!(queue.get_timeout(SOON).unwrap(), large(2));
    assert_eq!(queue.get_timeout(SOON).unwrap(), [3]);
    let mut rest = Vec::new();
    while rest.len() < 2 {
        rest.extend(queue.get_many(9).unwrap());
    }
    assert_eq!(rest, [large(4), vec![5]]);
}

#[test]
fn a_consumer_without_descriptors_gets_an_error_and_then_the_item() {
    let (queue, ready) = (Queue::new().unwrap(), Queue::new().unwrap());
    let arguments = (queue.clone(), ready.clone());
    let child = Process::spawn(gets_without_descriptors, arguments).unwrap();
    queue.put(vec![1]).unwrap();
    ready.get_timeout(SOON).unwrap();
    ready.get_timeout(SOON).unwrap();
    for item in [large(2), vec![3], large(4), vec![5]] {
        queue.put(item).unwrap();
    }
    child.result_timeout(SOON).unwrap();
}

fn puts_large(queue: Queue<Vec<u8>>, go: Queue<()>, ready: Queue<()>) {
    queue.put(vec![0]).unwrap();
    assert!(matches!(go.try_get(), Err(GetError::Empty)));
    ready.put(()).unwrap();
    go.get_timeout(SOON).unwrap();
    queue.put(large(1)).unwrap();
    queue.put(vec![2]).unwrap();
    ready.put(()).unwrap();
    go.get_timeout(LIMIT).unwrap();
}

#[test]
fn an_owner_without_descriptors_loses_nothing_that_is_put() {
    let name = "descriptors::an_owner_without_descriptors_loses_nothing_that_is_put";
    alone(name, || {
        let queue = Queue::<Vec<u8>>::new().unwrap();
        let (go, ready) = (Queue::new().unwrap(), Queue::new().unwrap());
        let arguments = (queue.clone(), go.clone(), ready.clone());
        let child = Process::spawn(puts_large, arguments).unwrap();
        ready.get_timeout(SOON).unwrap();
        assert_eq!(queue.get_timeout(SOON).unwrap(), [0]);
        let soft = use_up();
        go.put(()).unwrap();
        ready.get_timeout(SOON).unwrap();
        let began = cpu_time();
        let error = queue.get_timeout(Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, GetError::Timeout), "{error}");
        assert!(cpu_time() < began + Duration::from_millis(200), "it spins");
        restore(soft);
        assert_eq!(queue.get_timeout(SOON).unwrap(), large(1));
        assert_eq!(queue.get_timeout(SOON).unwrap(), [2]);
        go.put(()).unwrap();
        child.result_timeout(SOON).unwrap();
    });
}

fn puts_large_and_dies(queue: Queue<Vec<u8>>, go: Queue<()>, ready: Queue<()>) {
    queue.put(vec![0]).unwrap();
    assert!(matches!(go.try_get(), Err(GetError::Empty)));
    ready.put(()).unwrap();
    go.get_timeout(SOON).unwrap();
    queue.put_many([vec![1], large(2), vec![3], large(4)]).unwrap();
    raise(Signal::SIGKILL).unwrap();
}

#[test]
fn what_a_dead_producer_had_put_comes_when_its_owner_has_descriptors() {
    let name = "descriptors::what_a_dead_producer_had_put_comes_when_its_owner_has_descriptors";
    alone(name, || {
        let queue = Queue::<Vec<u8>>::new().unwrap();
        let (go, ready) = (Queue::new().unwrap(), Queue::new().unwrap());
        let arguments = (queue.clone(), go.clone(), ready.clone());
        let child = Process::spawn(puts_large_and_dies, arguments).unwrap();
        ready.get_timeout(SOON).unwrap();
        assert_eq!(queue.get_timeout(SOON).unwrap(), [0]);
        let soft = use_up();
        go.put(()).unwrap();
        assert!(child.join_timeout(SOON).unwrap());
        assert_eq!(queue.get_timeout(SOON).unwrap(), [1]);
        let error = queue.get_timeout(Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, GetError::Timeout), "{error}");
        restore(soft);
        for item in [large(2), vec![3], large(4)] {
            assert_eq!(queue.get_timeout(SOON).unwrap(), item);
        }
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    });
}

fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    nix::time::clock_gettime(clock).unwrap().into()
}
