//! Calls that nobody waits for any more, and what they had been given.

use crate::channel::{in_time, send};
use crate::util::{SOON, until};
use procession::manager::{
    BarrierProxy, EventProxy, Fault, Got, JoinableQueueProxy, LockProxy, RLockProxy, SemaphoreProxy,
};
use procession::{Manager, ManagerError, Process};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const KEY: &[u8] = b"abracadabra";

/// Longer than a manager needs to hear of something.
const A_WHILE: Duration = Duration::from_millis(50);

#[test]
fn a_call_given_up_in_the_servers_own_process_takes_nothing() {
    let server = Manager::builder().address("127.0.0.1:0").authkey(KEY).get_server().unwrap();
    let manager = server.manager();
    let (queue, lock) = (manager.queue::<u32>().unwrap(), manager.lock().unwrap());
    let mut get = queue.get_async();
    send(&mut get);
    drop(get);
    queue.put(1).unwrap();
    assert_eq!(queue.get_timeout(SOON).unwrap(), 1);
    // One that has its answer, which nobody has looked at.
    let mut get = queue.get_async();
    send(&mut get);
    queue.put(2).unwrap();
    drop(get);
    assert_eq!(queue.get_timeout(SOON).unwrap(), 2);
    let held = lock.lock().unwrap();
    let mut acquire = lock.acquire_async();
    send(&mut acquire);
    drop(acquire);
    drop(held);
    assert!(lock.acquire_timeout(SOON).unwrap().is_some());
}

#[test]
fn a_permit_is_taken_back_though_another_was_given_back_meanwhile() {
    let manager = Manager::start().unwrap();
    let semaphore = manager.semaphore(2).unwrap();
    semaphore.acquire().unwrap();
    let mut second = semaphore.acquire_async();
    send(&mut second);
    // The order of what one process asks is kept.
    semaphore.release().unwrap();
    drop(second);
    for _ in 0..2 {
        assert!(semaphore.acquire_timeout(SOON).unwrap().is_some());
    }
}

/// Its answer is on its way to a task that does not look, and another process releases.
#[test]
fn an_only_permit_is_taken_back_though_another_process_released() {
    let manager = Manager::start().unwrap();
    let semaphore = manager.semaphore(1).unwrap();
    assert!(!semaphore.locked().unwrap());
    let mut acquire = semaphore.acquire_async();
    let mut context = Context::from_waker(Waker::noop());
    // One that is answered as it is asked is seen, and keeps its permit.
    let is_kept = Pin::new(&mut acquire).poll(&mut context).is_ready();
    until("it is given", || semaphore.locked().unwrap());
    let release = |semaphore: SemaphoreProxy| semaphore.release().unwrap();
    Process::spawn(release, (semaphore.clone(),)).unwrap().result_timeout(SOON).unwrap();
    drop(acquire);
    // The other's and the one that nobody saw.
    for _ in 0..2 - u8::from(is_kept) {
        assert!(semaphore.acquire_timeout(SOON).unwrap().is_some());
    }
    assert!(semaphore.locked().unwrap());
}

#[test]
fn an_item_is_taken_back_though_anothers_was_said_to_be_done_meanwhile() {
    let manager = Manager::start().unwrap();
    let queue = manager.joinable_queue::<u32>(0).unwrap();
    let other = |queue: JoinableQueueProxy<u32>, is_got: EventProxy, may_end: EventProxy| {
        assert_eq!(queue.get().unwrap(), 1);
        is_got.set().unwrap();
        may_end.wait().unwrap();
    };
    let (is_got, may_end) = (manager.event().unwrap(), manager.event().unwrap());
    queue.put(1).unwrap();
    let args = (queue.clone(), is_got.clone(), may_end.clone());
    let other = Process::spawn(other, args).unwrap();
    assert!(is_got.wait_timeout(SOON).unwrap());
    queue.put(2).unwrap();
    let mut get = queue.get_async();
    send(&mut get);
    // Of the item that the other one has.
    queue.task_done().unwrap();
    drop(get);
    assert_eq!(queue.get_timeout(SOON).unwrap(), 2);
    queue.task_done().unwrap();
    assert!(queue.join_timeout(SOON).unwrap());
    may_end.set().unwrap();
    other.result_timeout(SOON).unwrap();
}

#[test]
fn a_recursive_lock_is_taken_back_as_often_as_it_was_given() {
    let manager = Manager::start().unwrap();
    let lock = manager.rlock().unwrap();
    lock.acquire().unwrap();
    let mut again = lock.acquire_async();
    send(&mut again);
    // The order of what one process asks is kept.
    assert!(lock.locked().unwrap());
    drop(again);
    lock.release().unwrap();
    let other = |lock: RLockProxy| lock.acquire_timeout(SOON).unwrap().is_some();
    assert!(thread::spawn(move || other(lock)).join().unwrap());
}

#[test]
fn a_recursive_lock_is_taken_back_behind_one_that_is_kept() {
    let manager = Manager::start().unwrap();
    let lock = manager.rlock().unwrap();
    lock.acquire().unwrap();
    let mut given_up = lock.acquire_async();
    send(&mut given_up);
    lock.acquire().unwrap();
    drop(given_up);
    lock.release().unwrap();
    lock.release().unwrap();
    let other = |lock: RLockProxy| lock.acquire_timeout(SOON / 3).unwrap().is_some();
    assert!(thread::spawn(move || other(lock)).join().unwrap());
}

#[test]
fn a_barrier_breaks_whose_action_nobody_carries_out() {
    let manager = Manager::start().unwrap();
    let barrier: BarrierProxy = manager.barrier_with_action(2, || (), None).unwrap();
    let waits = thread::spawn({
        let barrier = barrier.clone();
        move || barrier.wait()
    });
    until("the first has come", || barrier.n_waiting().unwrap() == 1);
    let mut acts = barrier.wait_async();
    send(&mut acts);
    until("the second is to act", || barrier.n_waiting().unwrap() == 0);
    drop(acts);
    let broken = in_time(move || waits.join().unwrap());
    assert!(matches!(broken, Err(ManagerError::Fault(Fault::Broken))), "{broken:?}");
    assert!(barrier.broken().unwrap());
}

#[test]
fn what_another_says_is_done_does_not_come_back() {
    let manager = Manager::start().unwrap();
    let queue = manager.joinable_queue::<u32>(0).unwrap();
    let (got, lock) = (manager.event().unwrap(), manager.lock().unwrap());
    let child = |queue: JoinableQueueProxy<u32>, got: EventProxy, lock: LockProxy| {
        let _held = lock.lock().unwrap();
        assert_eq!(queue.get().unwrap(), 1);
        got.set().unwrap();
        thread::sleep(SOON);
    };
    queue.put(1).unwrap();
    let child = Process::spawn(child, (queue.clone(), got.clone(), lock.clone()));
    let child = child.unwrap();
    assert!(got.wait_timeout(SOON).unwrap());
    queue.task_done().unwrap();
    assert!(queue.join_timeout(SOON).unwrap());
    child.kill().unwrap();
    child.join().unwrap();
    assert_eq!(lock.acquire_timeout(SOON).unwrap(), Some(Got::AfterDeath));
    assert!(queue.is_empty().unwrap());
}

#[test]
fn items_given_to_many_who_leave_together_are_all_there() {
    const MANY: usize = 1000;
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<usize>().unwrap();
    assert!(queue.is_empty().unwrap());
    in_time(move || {
        let mut gets: Vec<_> = (0..MANY).map(|_| queue.get_async()).collect();
        gets.iter_mut().for_each(send);
        for n in 0..MANY {
            queue.put(n).unwrap();
        }
        assert!(queue.is_empty().unwrap(), "all are on their way");
        drop(gets);
        // In their order.
        let items: Vec<_> = (0..MANY).map(|_| queue.get_timeout(SOON).unwrap()).collect();
        assert_eq!(items, (0..MANY).collect::<Vec<_>>());
    });
}

#[test]
fn permits_given_to_many_who_leave_together_are_all_there() {
    const MANY: usize = 1000;
    let manager = Manager::start().unwrap();
    let semaphore = manager.bounded_semaphore(MANY as u64).unwrap();
    assert!(!semaphore.locked().unwrap());
    let mut acquires: Vec<_> = (0..MANY).map(|_| semaphore.acquire_async()).collect();
    // One that is answered as it is asked has its permit, and keeps it.
    let mut context = Context::from_waker(Waker::noop());
    let polled = acquires.iter_mut().map(|acquire| Pin::new(acquire).poll(&mut context));
    let kept = polled.filter(Poll::is_ready).count();
    until("all are given", || semaphore.locked().unwrap());
    drop(acquires);
    for n in kept..MANY {
        assert!(semaphore.acquire_timeout(SOON).unwrap().is_some(), "{n} of {MANY} are taken");
    }
    assert!(semaphore.locked().unwrap());
}

#[test]
fn a_call_is_taken_back_though_its_object_was_let_go_before() {
    let manager = Manager::start().unwrap();
    let (lock, dropped) = (manager.lock().unwrap(), manager.event().unwrap());
    let held = lock.lock().unwrap();
    let child = |lock: LockProxy, dropped: EventProxy| {
        assert!(lock.locked().unwrap());
        let mut acquire = lock.acquire_async();
        send(&mut acquire);
        drop(lock);
        thread::sleep(A_WHILE);
        drop(acquire);
        dropped.set().unwrap();
        thread::sleep(SOON);
    };
    let child = Process::spawn(child, (lock.clone(), dropped.clone())).unwrap();
    assert!(dropped.wait_timeout(SOON).unwrap());
    drop(held);
    assert!(lock.acquire_timeout(SOON / 3).unwrap().is_some());
    child.kill().unwrap();
    child.join().unwrap();
}
