//! Locks and their kin at a manager: Python's calls, from several processes.

use crate::util::{SOON, until};
use procession::manager::{
    BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, EventProxy, Fault, Got, LockProxy,
    QueueProxy, RLockProxy, SemaphoreProxy, ValueProxy,
};
use procession::{Manager, ManagerError, Process};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(100);

fn is<T: std::fmt::Debug>(result: Result<T, ManagerError>, fault: Fault) {
    assert!(matches!(&result, Err(ManagerError::Fault(found)) if *found == fault), "{result:?}");
}

fn run(child: procession::Result<Process>) {
    child.unwrap().result_timeout(SOON).unwrap();
}

#[test]
fn a_lock_has_pythons_calls() {
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    assert_eq!(lock.acquire().unwrap(), Got::Clean);
    assert!(lock.locked().unwrap());
    assert!(lock.try_acquire().unwrap().is_none());
    assert!(lock.acquire_timeout(SHORT).unwrap().is_none());
    lock.release().unwrap();
    assert!(!lock.locked().unwrap());
    is(lock.release(), Fault::NotHeld);
    let guard = lock.lock().unwrap();
    assert!(lock.locked().unwrap());
    drop(guard);
    until("the guard gave it back", || !lock.locked().unwrap());
    run(Process::spawn(
        |lock: LockProxy| {
            lock.acquire().unwrap();
            assert!(lock.locked().unwrap());
            lock.release().unwrap();
        },
        (lock.clone(),),
    ));
    assert!(!lock.locked().unwrap());
}

#[test]
fn a_lock_that_a_child_left_behind_is_released_once_or_taken_with_notice() {
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let leave = |lock: LockProxy| {
        lock.acquire().unwrap();
    };
    run(Process::spawn(leave, (lock.clone(),)));
    assert!(lock.locked().unwrap());
    lock.release().unwrap();
    is(lock.release(), Fault::NotHeld);
    run(Process::spawn(leave, (lock.clone(),)));
    assert_eq!(lock.acquire_timeout(SOON).unwrap(), Some(Got::AfterDeath));
    lock.release().unwrap();
    assert_eq!(lock.acquire().unwrap(), Got::Clean);

    let semaphore = manager.semaphore(1).unwrap();
    let leave = |semaphore: SemaphoreProxy| {
        semaphore.acquire().unwrap();
    };
    run(Process::spawn(leave, (semaphore.clone(),)));
    semaphore.release().unwrap();
    let bounded = manager.bounded_semaphore(1).unwrap();
    let leave = |bounded: BoundedSemaphoreProxy| {
        bounded.acquire().unwrap();
    };
    run(Process::spawn(leave, (bounded.clone(),)));
    assert_eq!(bounded.acquire_timeout(SOON).unwrap(), Some(Got::AfterDeath));
    bounded.release().unwrap();
    is(bounded.release(), Fault::TooManyReleases);
}

#[test]
fn a_recursive_lock_is_its_threads_own() {
    let manager = Manager::start().unwrap();
    let lock = manager.rlock().unwrap();
    for _ in 0..3 {
        lock.acquire().unwrap();
    }
    let other = lock.clone();
    std::thread::spawn(move || {
        assert!(other.try_acquire().unwrap().is_none());
        is(other.release(), Fault::NotOwner);
    })
    .join()
    .unwrap();
    for _ in 0..3 {
        assert!(lock.locked().unwrap());
        lock.release().unwrap();
    }
    assert!(!lock.locked().unwrap());
    is(lock.release(), Fault::NotHeld);
    run(Process::spawn(
        |lock: RLockProxy| {
            lock.acquire().unwrap();
            lock.acquire().unwrap();
            assert!(lock.locked().unwrap());
            lock.release().unwrap();
            lock.release().unwrap();
        },
        (lock.clone(),),
    ));
    assert!(!lock.locked().unwrap());
}

#[test]
fn semaphores_count() {
    let manager = Manager::start().unwrap();
    let semaphore = manager.semaphore(2).unwrap();
    let bounded = manager.bounded_semaphore(2).unwrap();
    semaphore.acquire().unwrap();
    bounded.acquire().unwrap();
    semaphore.acquire().unwrap();
    bounded.acquire().unwrap();
    assert!(semaphore.locked().unwrap() && bounded.locked().unwrap());
    assert!(semaphore.try_acquire().unwrap().is_none());
    assert!(bounded.try_acquire().unwrap().is_none());
    for _ in 0..4 {
        semaphore.release().unwrap();
    }
    bounded.release().unwrap();
    bounded.release().unwrap();
    is(bounded.release(), Fault::TooManyReleases);
    let got = || semaphore.try_acquire().unwrap();
    assert_eq!((0..5).filter_map(|_| got()).count(), 4);
    let begun = Instant::now();
    assert!(semaphore.acquire_timeout(SHORT).unwrap().is_none());
    assert!(begun.elapsed() >= SHORT);
}

#[test]
fn an_event_is_set_by_a_child() {
    let manager = Manager::start().unwrap();
    let event = manager.event().unwrap();
    assert!(!event.is_set().unwrap());
    assert!(!event.wait_timeout(Duration::ZERO).unwrap());
    assert!(!event.wait_timeout(SHORT).unwrap());
    event.set().unwrap();
    assert!(event.is_set().unwrap() && event.wait().unwrap());
    event.clear().unwrap();
    let child = Process::spawn(|event: EventProxy| event.set().unwrap(), (event.clone(),));
    assert!(event.wait().unwrap());
    run(child);
}

#[test]
fn notify_wakes_as_many_as_it_says() {
    let manager = Manager::start().unwrap();
    let condition = manager.condition().unwrap();
    let said = manager.queue::<String>().unwrap();
    let child = |condition: ConditionProxy, said: QueueProxy<String>| {
        let _held = condition.lock().unwrap();
        said.put("waits".into()).unwrap();
        condition.wait().unwrap();
        said.put("woken".into()).unwrap();
    };
    let mut children = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..3 {
        children.push(Process::spawn(child, (condition.clone(), said.clone())).unwrap());
        let (condition, said) = (condition.clone(), said.clone());
        threads.push(std::thread::spawn(move || child(condition, said)));
    }
    let expect = |word: &str, count: usize| {
        for _ in 0..count {
            assert_eq!(said.get_timeout(SOON).unwrap(), word);
        }
    };
    expect("waits", 6);
    let notify = |count| {
        // Whoever has said that it waits does when the lock is to be had.
        let _held = condition.lock().unwrap();
        condition.notify_some(count).unwrap();
    };
    notify(2);
    expect("woken", 2);
    assert!(said.get_timeout(SHORT).is_err());
    notify(1);
    expect("woken", 1);
    let held = condition.lock().unwrap();
    condition.notify_all().unwrap();
    drop(held);
    expect("woken", 3);
    notify(3);
    // Once more, and all at a time.
    for _ in 0..3 {
        children.push(Process::spawn(child, (condition.clone(), said.clone())).unwrap());
        let (condition, said) = (condition.clone(), said.clone());
        threads.push(std::thread::spawn(move || child(condition, said)));
    }
    expect("waits", 6);
    let held = condition.lock().unwrap();
    assert!(said.get_timeout(SHORT).is_err(), "none wakes by itself");
    condition.notify_all().unwrap();
    drop(held);
    expect("woken", 6);
    for child in children {
        child.result_timeout(SOON).unwrap();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    is(condition.notify(), Fault::NotOwner);
    is(condition.wait(), Fault::NotOwner);
    let held = condition.lock().unwrap();
    assert!(!condition.wait_timeout(SHORT).unwrap());
    assert!(condition.locked().unwrap());
    drop(held);
}

#[test]
fn a_condition_that_is_offered_is_the_same_for_all() {
    let builder = Manager::builder().offer::<ConditionProxy>("ready");
    let manager = builder.offer_with::<SemaphoreProxy>("places", 3).start().unwrap();
    let condition = manager.get::<ConditionProxy>("ready").unwrap();
    let child = |condition: ConditionProxy| {
        let _held = condition.lock().unwrap();
        assert!(condition.wait_timeout(SOON).unwrap());
    };
    // Who asks once more meets those who asked before.
    let held = condition.lock().unwrap();
    let child = Process::spawn(child, (manager.get::<ConditionProxy>("ready").unwrap(),)).unwrap();
    until("it waits", || {
        condition.wait_timeout(SHORT).unwrap();
        condition.notify_all().unwrap();
        !child.is_alive().unwrap()
    });
    drop(held);
    child.result_timeout(SOON).unwrap();
    let places = manager.get::<SemaphoreProxy>("places").unwrap();
    assert_eq!((0..4).filter(|_| places.try_acquire().unwrap().is_some()).count(), 3);
}

#[test]
fn wait_for_waits_for_what_is_said() {
    let manager = Manager::start().unwrap();
    let condition = manager.condition().unwrap();
    let value = manager.value(0).unwrap();
    let child = |condition: ConditionProxy, value: ValueProxy<i32>| {
        let _held = condition.lock().unwrap();
        assert!(condition.wait_for(|| value.get().unwrap() == 4, Some(SOON)).unwrap());
    };
    let child = Process::spawn(child, (condition.clone(), value.clone()));
    for _ in 0..4 {
        let _held = condition.lock().unwrap();
        value.update(|n: &mut i32, (): ()| *n += 1, ()).unwrap();
        condition.notify().unwrap();
    }
    run(child);
    let held = condition.lock().unwrap();
    assert!(!condition.wait_for(|| value.get().unwrap() == 5, Some(SHORT)).unwrap());
    drop(held);
    // Two conditions on one lock.
    let lock = manager.lock().unwrap();
    let (full, empty) =
        (manager.condition_on(&lock).unwrap(), manager.condition_on(&lock).unwrap());
    assert_ne!(full, empty);
    lock.acquire().unwrap();
    full.notify().unwrap();
    assert!(!empty.wait_timeout(SHORT).unwrap());
    lock.release().unwrap();
}

#[test]
fn a_condition_stands_on_a_recursive_lock_that_is_there() {
    let manager = Manager::start().unwrap();
    let lock = manager.rlock().unwrap();
    let (full, empty) =
        (manager.condition_on_rlock(&lock).unwrap(), manager.condition_on_rlock(&lock).unwrap());
    assert_ne!(full, empty);
    // It is this lock, and a wait gives it up however often it was taken.
    lock.acquire().unwrap();
    full.acquire().unwrap();
    let child = |lock: RLockProxy, full: ConditionProxy| {
        assert!(lock.try_acquire().unwrap().is_none());
        is(full.notify(), Fault::NotOwner);
    };
    run(Process::spawn(child, (lock.clone(), full.clone())));
    let child = |full: ConditionProxy, empty: ConditionProxy| {
        // To be had once the other one waits.
        let _held = empty.lock().unwrap();
        full.notify().unwrap();
    };
    let child = Process::spawn(child, (full.clone(), empty.clone()));
    assert!(full.wait_timeout(SOON).unwrap());
    run(child);
    // Taken twice, as before.
    for _ in 0..2 {
        assert!(lock.locked().unwrap());
        lock.release().unwrap();
    }
    assert!(!full.locked().unwrap());
    is(lock.release(), Fault::NotHeld);
    is(empty.wait(), Fault::NotOwner);
}

/// Passes a barrier so many times, and adds one to the results for each.
fn pass(barrier: BarrierProxy, passed: ValueProxy<usize>, times: usize) {
    for round in 0..times {
        passed.update(|n: &mut usize, (): ()| *n += 1, ()).unwrap();
        barrier.wait().unwrap();
        // Nobody is through before all have come.
        assert!(passed.get().unwrap() >= (round + 1) * barrier.parties() as usize);
        barrier.wait().unwrap();
    }
}

#[test]
fn a_barrier_lets_all_pass_together() {
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier(4, None).unwrap();
    let passed = manager.value(0usize).unwrap();
    let children: Vec<_> = (0..3)
        .map(|_| Process::spawn(pass, (barrier.clone(), passed.clone(), 10)).unwrap())
        .collect();
    pass(barrier.clone(), passed.clone(), 10);
    for child in children {
        child.result_timeout(SOON).unwrap();
    }
    assert_eq!(passed.get().unwrap(), 40);
    assert_eq!((barrier.n_waiting().unwrap(), barrier.broken().unwrap()), (0, false));
    let alone = manager.barrier(1, None).unwrap();
    assert_eq!((alone.wait().unwrap(), alone.wait().unwrap()), (0, 0));
    let child = |barrier: BarrierProxy| {
        assert_eq!(barrier.parties(), 4);
        barrier.reset().unwrap();
    };
    run(Process::spawn(child, (barrier.clone(),)));
}

#[test]
fn a_broken_barrier_says_so_until_it_is_reset() {
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier(3, None).unwrap();
    let second = manager.barrier(3, None).unwrap();
    let child = |barrier: BarrierProxy, second: BarrierProxy| {
        is(barrier.wait(), Fault::Broken);
        second.wait().unwrap();
        second.wait().unwrap();
        barrier.wait().unwrap();
    };
    let args = || (barrier.clone(), second.clone());
    let children: Vec<_> = (0..2).map(|_| Process::spawn(child, args())).collect();
    until("two wait", || barrier.n_waiting().unwrap() == 2);
    barrier.abort().unwrap();
    assert!(barrier.broken().unwrap());
    is(barrier.wait(), Fault::Broken);
    second.wait().unwrap();
    barrier.reset().unwrap();
    second.wait().unwrap();
    barrier.wait().unwrap();
    for child in children {
        run(child);
    }

    // One who comes too late, with a time of its own or the barrier's.
    let late = |barrier: BarrierProxy, timeout: Option<Duration>| match timeout {
        Some(timeout) => is(barrier.wait_timeout(timeout), Fault::Broken),
        None => is(barrier.wait(), Fault::Broken),
    };
    let child = Process::spawn(late, (barrier.clone(), Some(SHORT))).unwrap();
    child.result_timeout(SOON).unwrap();
    is(barrier.wait(), Fault::Broken);
    let patient = manager.barrier(2, Some(SHORT)).unwrap();
    run(Process::spawn(late, (patient.clone(), None)));
    is(patient.wait(), Fault::Broken);
    barrier.reset().unwrap();
    let child = Process::spawn(
        |barrier: BarrierProxy| is(barrier.wait(), Fault::Broken),
        (barrier.clone(),),
    );
    until("one waits", || barrier.n_waiting().unwrap() == 1);
    barrier.reset().unwrap();
    run(child);
}

#[test]
fn a_barriers_action_runs_once_before_anybody_passes() {
    static RUNS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let act = || {
        RUNS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    };
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier_with_action(2, act, None).unwrap();
    let other = barrier.clone();
    let thread = std::thread::spawn(move || {
        let place = other.wait().unwrap();
        assert_eq!(RUNS.load(std::sync::atomic::Ordering::SeqCst), 1);
        place
    });
    let places = [barrier.wait().unwrap(), thread.join().unwrap()];
    assert_eq!(places.iter().sum::<usize>(), 1);
    assert_eq!(RUNS.load(std::sync::atomic::Ordering::SeqCst), 1);
}
