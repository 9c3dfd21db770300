//! Locks and their kin between processes, behaviour by behaviour.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod util;

use procession::{
    Acquired, Actor, Barrier, BoundedSemaphore, Condition, Event, Lock, Process, RLock, Semaphore,
    SyncError, context, methods,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use util::{METHODS, SOON, until};

const SHORT: Duration = Duration::from_millis(100);

/// Runs a child to its end.
fn ends<R: serde::de::DeserializeOwned>(process: procession::Result<Process<R>>) -> R {
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
fn the_text_of_a_lock_names_its_owner() {
    let lock = Lock::new().unwrap();
    assert_eq!(format!("{lock:?}"), "Lock(owner=None)");
    let thread = |lock: Lock, name: &str| {
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                lock.acquire().unwrap();
                let text = format!("{lock:?}");
                (lock, text)
            })
            .unwrap()
            .join()
            .unwrap()
    };
    let (lock, text) = thread(lock, "T1");
    assert_eq!(text, "Lock(owner=MainProcess|T1)");
    // The thread has gone; the lock has not been given back.
    assert_eq!(format!("{lock:?}"), "Lock(owner=MainProcess|T1)");
    lock.release().unwrap();

    let text = |lock: Lock, taken: Event, go: Event| {
        lock.acquire().unwrap();
        taken.set().unwrap();
        go.wait().unwrap();
        let text = format!("{lock:?}");
        lock.release().unwrap();
        text
    };
    let (taken, go) = (Event::new().unwrap(), Event::new().unwrap());
    let args = (lock.clone(), taken.clone(), go.clone());
    let child = Process::builder(text, args).name("P1").start();
    assert!(taken.wait_timeout(SOON).unwrap());
    assert_eq!(format!("{lock:?}"), "Lock(owner=P1)");
    go.set().unwrap();
    assert_eq!(ends(child), "Lock(owner=P1)");

    let rlock = RLock::new().unwrap();
    assert_eq!(format!("{rlock:?}"), "RLock(None, 0)");
    rlock.acquire().unwrap();
    rlock.acquire().unwrap();
    assert!(format!("{rlock:?}").ends_with(", 2)"), "{rlock:?}");
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
    let rlock = RLock::new().unwrap();
    drop(rlock.lock().unwrap());
    assert!(!rlock.locked().unwrap());
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

#[test]
fn a_permit_is_given_back_when_it_is_dropped_or_its_process_dies() {
    let places = Semaphore::new(3).unwrap();
    let permit = places.permit().unwrap();
    let body = std::panic::AssertUnwindSafe(|| {
        let _permit = places.permit().unwrap();
        panic!("in the middle");
    });
    std::panic::catch_unwind(body).unwrap_err();
    assert_eq!(places.value().unwrap(), 2);
    let held = Event::new().unwrap();
    let child = Process::spawn(
        |places: Semaphore, held: Event| {
            let _permits = (places.permit().unwrap(), places.permit().unwrap());
            held.set().unwrap();
            std::thread::sleep(SOON);
        },
        (places.clone(), held.clone()),
    )
    .unwrap();
    assert!(held.wait_timeout(SOON).unwrap());
    assert!(places.locked().unwrap());
    child.kill().unwrap();
    // A plain acquire waits for what comes back.
    assert!(places.acquire_timeout(SOON).unwrap());
    assert!(places.acquire_timeout(SOON).unwrap());
    drop(permit);
    assert_eq!(places.value().unwrap(), 1);
    // A plain count of a dead process does not come back.
    let child =
        Process::spawn(|places: Semaphore| places.acquire().unwrap(), (places.clone(),)).unwrap();
    child.join().unwrap();
    assert_eq!(places.value().unwrap(), 0);
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

// ---------------------------------------------------------------- statics

static PRELOADED: std::sync::Mutex<Option<(Lock, Semaphore)>> = std::sync::Mutex::new(None);
static STATIC: std::sync::LazyLock<Semaphore> =
    std::sync::LazyLock::new(|| Semaphore::new(2).unwrap());

fn preload() {
    let places = Semaphore::new(3).unwrap();
    places.acquire().unwrap();
    *PRELOADED.lock().unwrap() = Some((Lock::new().unwrap(), places));
}

/// Runs the rest of a test in a process of its own, which must write no complaint.
fn quietly(name: &str, body: impl FnOnce()) {
    if util::is_alone(name) {
        body();
        return;
    }
    let output = util::run(util::alone_command(name));
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert_eq!(output.stderr, "");
}

#[test]
fn a_lock_made_in_a_preload_is_each_workers_own() {
    quietly("a_lock_made_in_a_preload_is_each_workers_own", || {
        procession::set_forkserver_preload(preload).unwrap();
        let body = || {
            let (lock, places) = PRELOADED.lock().unwrap().clone().expect("preloaded");
            let _guard = lock.lock().unwrap();
            places.acquire().unwrap();
            let own = context(procession::StartMethod::Spawn)
                .spawn(|lock: Lock| lock.locked().unwrap(), (lock.clone(),));
            (places.value().unwrap(), ends(own))
        };
        for _ in 0..2 {
            let worker = context(procession::StartMethod::ForkServer).spawn(body, ());
            assert_eq!(ends(worker), (1, true));
        }
    });
}

#[test]
fn a_static_semaphore_is_another_in_a_spawned_child_and_leaves_nothing() {
    quietly("a_static_semaphore_is_another_in_a_spawned_child_and_leaves_nothing", || {
        let names = || std::fs::read_dir("/dev/shm").unwrap().count();
        let before = names();
        STATIC.acquire().unwrap();
        let child = context(procession::StartMethod::Spawn).spawn(
            || {
                STATIC.acquire().unwrap();
                STATIC.value().unwrap()
            },
            (),
        );
        assert_eq!((ends(child), STATIC.value().unwrap()), (1, 1));
        assert!(names() <= before, "nothing has a name");
    });
}

// ---------------------------------------------------------------- owners

type All = (Lock, RLock, Semaphore, Event, Barrier, Condition);

#[derive(Actor, Serialize, Deserialize)]
struct Owner;

#[methods]
impl Owner {
    /// One of each, the locks held.
    pub fn make(&mut self) -> All {
        let (lock, rlock) = (Lock::new().unwrap(), RLock::new().unwrap());
        lock.acquire().unwrap();
        rlock.acquire().unwrap();
        let semaphore = Semaphore::new(0).unwrap();
        let condition = Condition::new().unwrap();
        (lock, rlock, semaphore, Event::new().unwrap(), Barrier::new(2).unwrap(), condition)
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[test]
fn when_the_owner_dies_all_who_wait_are_told_at_once() {
    let owner = Owner.spawn().unwrap();
    let pid = owner.pid().unwrap();
    let all = owner.make().unwrap();
    let (lock, rlock, semaphore, event, barrier, condition) = &all;
    let is_gone = |result: Result<(), SyncError>| {
        assert!(matches!(result, Err(SyncError::OwnerGone { .. })), "{result:?}");
    };
    let waiting = Semaphore::new(0).unwrap();
    let begun = std::thread::scope(|scope| {
        let waits: [Box<dyn Fn() -> Result<(), SyncError> + Send + Sync>; 6] = [
            Box::new(|| lock.acquire().map(drop)),
            Box::new(|| rlock.acquire().map(drop)),
            Box::new(|| semaphore.acquire()),
            Box::new(|| event.wait()),
            Box::new(|| barrier.wait().map(drop)),
            Box::new(|| condition.lock().and_then(|mut guard| guard.wait())),
        ];
        for wait in waits {
            let waiting = &waiting;
            scope.spawn(move || {
                waiting.release().unwrap();
                is_gone(wait());
            });
        }
        until("all are about to wait", || waiting.value().unwrap() == 6);
        std::thread::sleep(SHORT);
        let begun = Instant::now();
        util::signal(pid, nix::sys::signal::Signal::SIGKILL);
        begun
    });
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    is_gone(lock.release());
    is_gone(event.set());
    assert_eq!(format!("{lock:?}"), "Lock(owner=unknown)");
}
