//! Locks and their kin, behaviour by behaviour: the part that says nothing of processes,
//! which `tests/dummy` runs on threads as well.

use crate::util::{METHODS, SOON, until};
use procession::{
    Acquired, Barrier, BoundedSemaphore, Condition, Event, Lock, Process, RLock, Semaphore,
    SyncError, context,
};
use std::time::{Duration, Instant};

pub(crate) const SHORT: Duration = Duration::from_millis(100);

/// Runs a child to its end.
pub(crate) fn ends<R: serde::de::DeserializeOwned>(process: procession::Result<Process<R>>) -> R {
    process.unwrap().result_timeout(SOON).unwrap()
}

fn is_too_often(result: &Result<(), SyncError>) -> bool {
    matches!(result, Err(SyncError::ReleasedTooOften))
}

// ---------------------------------------------------------------- locks

#[test]
fn a_lock_is_taken_and_given_back() {
    let lock = Lock::new().unwrap();
    assert_eq!(lock.acquire().unwrap(), Acquired::Clean);
    assert!(lock.locked().unwrap());
    assert_eq!(lock.try_acquire().unwrap(), None);
    lock.release().unwrap();
    assert!(!lock.locked().unwrap());
    assert!(is_too_often(&lock.release()));
}

#[test]
fn a_lock_taken_in_a_child_is_locked_in_both() {
    for method in METHODS {
        let lock = Lock::new().unwrap();
        let (taken, seen) = (Event::new().unwrap(), Event::new().unwrap());
        let child = context(method).spawn(
            |lock: Lock, taken: Event, seen: Event| {
                lock.acquire().unwrap();
                taken.set().unwrap();
                seen.wait().unwrap();
                let was_locked = lock.locked().unwrap();
                lock.release().unwrap();
                was_locked
            },
            (lock.clone(), taken.clone(), seen.clone()),
        );
        assert!(taken.wait_timeout(SOON).unwrap());
        assert!(lock.locked().unwrap());
        assert_eq!(lock.try_acquire().unwrap(), None);
        seen.set().unwrap();
        assert!(ends(child));
        assert!(!lock.locked().unwrap());
    }
}

#[test]
fn a_guard_holds_a_lock_for_as_long_as_it_lives() {
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    assert!(guard.previous_holder().is_none());
    assert!(lock.locked().unwrap());
    assert!(lock.try_lock().unwrap().is_none());
    assert!(lock.lock_timeout(SHORT).unwrap().is_none());
    drop(guard.strict().unwrap());
    assert!(!lock.locked().unwrap());
    // Also when the body panics.
    let body = std::panic::AssertUnwindSafe(|| {
        let _guard = lock.lock().unwrap();
        panic!("in the middle");
    });
    std::panic::catch_unwind(body).unwrap_err();
    assert!(!lock.locked().unwrap());
    // A guard whose lock somebody else has given back gives nothing back.
    let guard = lock.lock().unwrap();
    lock.release().unwrap();
    lock.acquire().unwrap();
    drop(guard);
    assert!(lock.locked().unwrap());
    let rlock = RLock::new().unwrap();
    drop(rlock.lock().unwrap());
    assert!(!rlock.locked().unwrap());
    let guards = (rlock.lock().unwrap(), rlock.lock().unwrap());
    rlock.release().unwrap();
    rlock.release().unwrap();
    rlock.acquire().unwrap();
    drop(guards);
    assert!(rlock.locked().unwrap());
}

/// Two tasks of one process hold a lock as the same.
#[test]
fn a_task_gives_back_its_own_guard_alone() {
    let lock = Lock::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let first = lock.lock_async().await.unwrap();
        lock.release().unwrap();
        let second = lock.lock_async().await.unwrap();
        drop(first);
        assert!(lock.locked().unwrap());
        drop(second);
        assert!(!lock.locked().unwrap());
        // Also when the owner takes it for the second.
        let (first, other) = (lock.lock_async().await.unwrap(), lock.clone());
        let second = tokio::spawn(async move { other.acquire_async().await.unwrap() });
        tokio::task::yield_now().await;
        lock.release().unwrap();
        second.await.unwrap();
        drop(first);
        assert!(lock.locked().unwrap());
    });
}

/// A condition gives the lock back and takes it again: its guards stay its guards.
#[test]
fn a_guard_outlives_a_wait_for_a_condition() {
    let (plain, recursive) = (Lock::new().unwrap(), RLock::new().unwrap());
    let cond = Condition::with(plain.clone()).unwrap();
    let guard = plain.lock().unwrap();
    assert!(!cond.wait_timeout(SHORT).unwrap());
    drop(guard);
    assert!(!plain.locked().unwrap());
    let cond = Condition::with(recursive.clone()).unwrap();
    let (outer, inner) = (recursive.lock().unwrap(), recursive.lock().unwrap());
    assert!(!cond.wait_timeout(SHORT).unwrap());
    drop(inner);
    assert!(recursive.locked().unwrap());
    drop(outer);
    assert!(!recursive.locked().unwrap());
    // Others may have had it meanwhile.
    let cond = Condition::with(plain.clone()).unwrap();
    let mut guard = cond.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| cond.lock().unwrap().notify().unwrap());
        guard.wait().unwrap();
    });
    drop(guard);
    assert!(!plain.locked().unwrap());
}

#[test]
fn anybody_may_release_a_lock() {
    let lock = Lock::new().unwrap();
    lock.acquire().unwrap();
    let child = Process::spawn(|lock: Lock| lock.release().unwrap(), (lock.clone(),));
    ends(child);
    assert!(!lock.locked().unwrap());
    lock.acquire().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| lock.release().unwrap());
    });
    assert!(!lock.locked().unwrap());
}

#[test]
fn a_second_acquire_by_the_same_thread_waits_for_a_release() {
    let lock = Lock::new().unwrap();
    lock.acquire().unwrap();
    assert_eq!(lock.acquire_timeout(SHORT).unwrap(), None);
    let other = lock.clone();
    let helper = std::thread::spawn(move || {
        until("it waits", || format!("{other:?}").contains("owner="));
        std::thread::sleep(SHORT);
        other.release().unwrap();
    });
    assert_eq!(lock.acquire().unwrap(), Acquired::Clean);
    lock.release().unwrap();
    helper.join().unwrap();
}

#[test]
fn a_timed_out_acquire_leaves_the_lock_as_it_was() {
    let lock = Lock::new().unwrap();
    lock.acquire().unwrap();
    let child = Process::spawn(
        |lock: Lock| {
            let begun = Instant::now();
            let taken = lock.acquire_timeout(SHORT).unwrap();
            // No time at all is no wait.
            assert_eq!(lock.acquire_timeout(Duration::ZERO).unwrap(), None);
            (taken.is_some(), begun.elapsed())
        },
        (lock.clone(),),
    );
    let (taken, elapsed) = ends(child);
    assert!(!taken && elapsed >= SHORT && elapsed < SOON, "{elapsed:?}");
    lock.release().unwrap();
    assert!(!lock.locked().unwrap());
    drop(lock.try_lock().unwrap().expect("it is free"));
}

#[test]
fn all_who_wait_for_a_lock_get_it() {
    let lock = Lock::new().unwrap();
    let passed = Semaphore::new(0).unwrap();
    lock.acquire().unwrap();
    let children: Vec<_> = (0..3)
        .map(|_| {
            let body = |lock: Lock, passed: Semaphore| {
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| {
                            let _guard = lock.lock().unwrap();
                            passed.release().unwrap();
                        });
                    }
                });
            };
            Process::spawn(body, (lock.clone(), passed.clone()))
        })
        .collect();
    assert!(!passed.acquire_timeout(SHORT).unwrap());
    lock.release().unwrap();
    for _ in 0..6 {
        assert!(passed.acquire_timeout(SOON).unwrap());
    }
    children.into_iter().for_each(ends);
    assert!(!lock.locked().unwrap());
}

#[test]
fn a_recursive_lock_counts_and_belongs_to_its_thread() {
    let lock = RLock::new().unwrap();
    for _ in 0..3 {
        lock.acquire().unwrap();
    }
    assert!(lock.try_acquire().unwrap().is_some());
    lock.release().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(lock.try_acquire().unwrap().is_none());
            assert!(matches!(lock.release(), Err(SyncError::NotOwner)));
        });
    });
    for _ in 0..3 {
        assert!(lock.locked().unwrap());
        lock.release().unwrap();
    }
    assert!(!lock.locked().unwrap());
    assert!(matches!(lock.release(), Err(SyncError::NotOwner)));
}

#[test]
fn a_recursive_lock_held_by_a_child_is_locked_here() {
    let lock = RLock::new().unwrap();
    let (taken, seen) = (Event::new().unwrap(), Event::new().unwrap());
    let child = Process::spawn(
        |lock: RLock, taken: Event, seen: Event| {
            let _outer = lock.lock().unwrap();
            let _inner = lock.lock().unwrap();
            taken.set().unwrap();
            seen.wait().unwrap();
        },
        (lock.clone(), taken.clone(), seen.clone()),
    );
    assert!(taken.wait_timeout(SOON).unwrap());
    assert!(lock.locked().unwrap());
    assert!(matches!(lock.release(), Err(SyncError::NotOwner)));
    assert!(lock.try_acquire().unwrap().is_none());
    seen.set().unwrap();
    ends(child);
    assert_eq!(lock.acquire().unwrap(), Acquired::Clean);
}

#[test]
fn two_threads_that_wait_for_each_other_are_told() {
    let (a, b) = (RLock::new().unwrap(), RLock::new().unwrap());
    let met = Barrier::new(2).unwrap();
    let child = Process::builder(
        |a: RLock, b: RLock, met: Barrier| {
            let _b = b.lock().unwrap();
            met.wait().unwrap();
            // This one is let go when the other gives up.
            a.lock().map(drop).map_err(|error| error.to_string())
        },
        (a.clone(), b.clone(), met.clone()),
    )
    .name("Other")
    .start();
    let guard = a.lock().unwrap();
    met.wait().unwrap();
    let mine = b.lock().map(drop).map_err(|error| error.to_string());
    drop(guard);
    let theirs = ends(child);
    let told: Vec<_> = [mine, theirs].into_iter().filter_map(Result::err).collect();
    assert_eq!(told.len(), 1, "exactly one closes the cycle: {told:?}");
    assert!(told[0].contains("never end") && told[0].contains("Other"), "{told:?}");
    assert!(told[0].contains("MainProcess"), "{told:?}");
    // A timed wait is no part of it, and an unchecked lock is not watched.
    let checked = Lock::checked().unwrap();
    checked.acquire().unwrap();
    assert_eq!(checked.acquire_timeout(SHORT).unwrap(), None);
    assert!(matches!(checked.acquire(), Err(SyncError::WouldDeadlock(_))));
    checked.release().unwrap();
}

// ---------------------------------------------------------------- semaphores

#[test]
fn a_semaphore_counts() {
    let places = Semaphore::new(2).unwrap();
    assert_eq!(places.value().unwrap(), 2);
    places.acquire().unwrap();
    assert!(!places.locked().unwrap());
    assert!(places.try_acquire().unwrap());
    assert!(places.locked().unwrap());
    assert!(!places.try_acquire().unwrap());
    for value in 1..=4 {
        let child =
            Process::spawn(|places: Semaphore| places.release().unwrap(), (places.clone(),));
        ends(child);
        assert_eq!(places.value().unwrap(), value);
    }
    places.release_n(3).unwrap();
    assert_eq!(format!("{places:?}"), "Semaphore(value=7)");
    assert!(Semaphore::new(u32::MAX).is_err());
}

#[test]
fn a_wait_for_a_place_ends_in_time() {
    let places = Semaphore::new(0).unwrap();
    assert!(!places.try_acquire().unwrap());
    assert!(!places.acquire_timeout(Duration::ZERO).unwrap());
    let begun = Instant::now();
    assert!(!places.acquire_timeout(SHORT).unwrap());
    assert!(begun.elapsed() >= SHORT);
    assert!(places.try_permit().unwrap().is_none());
    assert!(places.permit_timeout(SHORT).unwrap().is_none());
    assert_eq!(places.value().unwrap(), 0);
}

#[test]
fn only_so_many_pass_as_there_are_places() {
    let (places, passed) = (Semaphore::new(7).unwrap(), Semaphore::new(0).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..2 {
                    places.acquire().unwrap();
                    passed.release().unwrap();
                }
            });
        }
        until("seven have passed", || passed.value().unwrap() == 7);
        std::thread::sleep(SHORT);
        assert_eq!(passed.value().unwrap(), 7);
        places.release_n(6).unwrap();
        until("six more have passed", || passed.value().unwrap() == 13);
        places.release_n(7).unwrap();
        until("all have passed", || passed.value().unwrap() == 20);
    });
    assert_eq!(places.value().unwrap(), 0);
}

#[test]
fn a_bounded_semaphore_is_not_released_too_often() {
    let places = BoundedSemaphore::new(3).unwrap();
    assert_eq!(format!("{places:?}"), "BoundedSemaphore(value=3/3)");
    assert!(is_too_often(&places.release()));
    places.acquire().unwrap();
    assert_eq!(format!("{places:?}"), "BoundedSemaphore(value=2/3)");
    assert!(is_too_often(&places.release_n(2)));
    let child = Process::spawn(
        |places: BoundedSemaphore| {
            places.release().unwrap();
            places.release().is_err()
        },
        (places.clone(),),
    );
    assert!(ends(child));
    assert_eq!(places.value().unwrap(), 3);
}

// ---------------------------------------------------------------- events

#[test]
fn an_event_is_set_and_cleared_and_waited_for() {
    let event = Event::new().unwrap();
    assert!(!event.is_set().unwrap());
    assert_eq!(format!("{event:?}"), "Event(unset)");
    assert!(!event.wait_timeout(Duration::ZERO).unwrap());
    let begun = Instant::now();
    assert!(!event.wait_timeout(SHORT).unwrap());
    assert!(begun.elapsed() >= SHORT);
    event.set().unwrap();
    assert_eq!(format!("{event:?}"), "Event(set)");
    event.wait().unwrap();
    assert!(event.wait_timeout(Duration::ZERO).unwrap());
    event.clear().unwrap();
    assert!(!event.is_set().unwrap());
    let child = Process::spawn(|event: Event| event.set().unwrap(), (event.clone(),));
    event.wait().unwrap();
    assert!(event.is_set().unwrap());
    ends(child);
}

#[test]
fn a_pulse_wakes_all_who_wait() {
    let (event, ready) = (Event::new().unwrap(), Semaphore::new(0).unwrap());
    let children: Vec<_> = (0..5)
        .map(|_| {
            Process::spawn(
                |event: Event, ready: Semaphore| {
                    ready.release().unwrap();
                    event.wait_timeout(SOON).unwrap()
                },
                (event.clone(), ready.clone()),
            )
        })
        .collect();
    for _ in 0..5 {
        assert!(ready.acquire_timeout(SOON).unwrap());
    }
    // They have said that they are about to wait: they are given time to.
    std::thread::sleep(SHORT);
    event.set().unwrap();
    event.clear().unwrap();
    for child in children {
        assert!(ends(child), "a set and clear wakes all");
    }
}
