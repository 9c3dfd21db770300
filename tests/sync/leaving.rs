//! Who leaves a barrier or a condition, and when: late, in the middle, at the end of its
//! process, without a thread.

use crate::util::{SOON, until};
use crate::words::{SHORT, ends};
use nix::sys::signal::Signal;
use procession::{Acquired, Barrier, Condition, Event, Lock, Process, RawValue, Stdio, SyncError};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(SOON, future).await.unwrap() })
}

/// Three meet in twos: two of them go through many rounds while the third wakes.
#[test]
fn who_looks_late_has_passed() {
    let (barrier, is_over) = (Barrier::new(2).unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let meets = || {
            while !is_over.load(Ordering::SeqCst) {
                match barrier.wait() {
                    Ok(_) => {}
                    Err(_) if is_over.load(Ordering::SeqCst) => {}
                    Err(error) => {
                        is_over.store(true, Ordering::SeqCst);
                        barrier.abort().unwrap();
                        panic!("nothing broke it: {error}");
                    }
                }
            }
        };
        for _ in 0..3 {
            scope.spawn(meets);
        }
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end && !is_over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        is_over.store(true, Ordering::SeqCst);
        barrier.abort().unwrap();
    });
}

/// A future that is dropped takes back its arrival, and nothing that is over.
#[test]
fn a_wait_that_is_dropped_breaks_its_own_round_alone() {
    let here = Barrier::new(2).unwrap();
    let dropped = |barrier: Barrier| {
        let mut context = Context::from_waker(Waker::noop());
        for is_passed in [true, false] {
            {
                let mut wait = pin!(barrier.wait_async());
                until("it has arrived", || {
                    assert!(wait.as_mut().poll(&mut context).is_pending());
                    barrier.n_waiting().unwrap() == 1
                });
                if is_passed {
                    assert_eq!(barrier.wait().unwrap(), 1);
                }
            }
            assert_eq!(barrier.broken().unwrap(), !is_passed);
        }
        barrier.reset().unwrap();
        barrier.parties().unwrap()
    };
    assert_eq!(dropped(here.clone()), 2);
    assert_eq!(ends(Process::spawn(dropped, (here.clone(),))), 2);
    assert!(!here.broken().unwrap());
}

static KEPT: Mutex<Option<Barrier>> = Mutex::new(None);

/// A process whose work is done need not have dropped its handle.
#[test]
fn a_party_that_ends_in_good_order_is_not_missed() {
    let barrier = Barrier::new(2).unwrap();
    for _ in 0..2 {
        let meets = |barrier: Barrier| {
            let barrier = KEPT.lock().unwrap().insert(barrier).clone();
            barrier.wait_timeout(SOON).map(drop).map_err(|error| error.to_string())
        };
        let child = Process::spawn(meets, (barrier.clone(),));
        barrier.wait_timeout(SOON).unwrap();
        ends(child).unwrap();
        std::thread::sleep(SHORT);
        assert!(!barrier.broken().unwrap());
    }
    // One that leaves a thread behind, for which others wait, is.
    let leaves = |barrier: Barrier| {
        let waits = barrier.clone();
        std::thread::spawn(move || waits.wait());
        until("it waits", || barrier.n_waiting().unwrap() == 1);
    };
    ends(Process::spawn(leaves, (barrier.clone(),)));
    until("it is broken", || barrier.broken().unwrap());
    assert!(matches!(barrier.wait(), Err(SyncError::BrokenBarrier)));
}

/// A panic drops its handle.
#[test]
fn a_party_that_panics_is_not_waited_for() {
    fn panics(barrier: Barrier) {
        barrier.wait_timeout(SOON).unwrap();
        panic!("before the next round");
    }
    let barrier = Barrier::new(2).unwrap();
    let child = Process::builder(panics, (barrier.clone(),)).stderr(Stdio::Null).start().unwrap();
    barrier.wait_timeout(SOON).unwrap();
    let begun = Instant::now();
    assert!(matches!(barrier.wait_timeout(SOON), Err(SyncError::BrokenBarrier)));
    assert!(begun.elapsed() < SOON / 2);
    child.join().unwrap();
}

/// Also one that got the lock while this one waited.
#[test]
fn a_wait_tells_who_died_with_the_lock() {
    fn holds(cond: Condition) {
        cond.acquire().unwrap();
        cond.notify().unwrap();
        std::process::abort();
    }
    for cond in [Condition::new().unwrap(), Condition::with(Lock::new().unwrap()).unwrap()] {
        let mut guard = cond.lock().unwrap();
        assert_eq!(guard.previous_holder(), None);
        let child = Process::builder(holds, (cond.clone(),)).name("Holder").start().unwrap();
        assert!(guard.wait_timeout(SOON).unwrap());
        assert_eq!(guard.previous_holder().unwrap().name, "Holder");
        child.join_timeout(SOON).unwrap();
        assert!(!guard.wait_timeout(Duration::from_millis(1)).unwrap());
        assert_eq!(guard.previous_holder().unwrap().name, "Holder");
        drop(guard);
        assert_eq!(cond.acquire().unwrap(), Acquired::Clean);
        cond.release().unwrap();
    }
}

/// As threads do.
#[test]
fn tasks_wait_for_a_condition_and_notify_it() {
    let cond = Condition::with(Lock::new().unwrap()).unwrap();
    let meets = |cond: Condition| {
        run(async {
            let waits = async {
                cond.acquire_async().await.unwrap();
                cond.wait_async().await.unwrap();
                cond.release().unwrap();
            };
            let notifies = async {
                while cond.waiting().unwrap() == 0 {
                    tokio::task::yield_now().await;
                }
                cond.acquire_async().await.unwrap();
                cond.notify().unwrap();
                cond.release().unwrap();
            };
            tokio::join!(waits, notifies);
        });
        cond.waiting().unwrap()
    };
    assert_eq!(meets(cond.clone()), 0);
    assert_eq!(ends(Process::spawn(meets, (cond.clone(),))), 0);
}

/// A task waits until something is so, however often it is notified before.
#[test]
fn a_task_waits_until_it_is_so() {
    let cond = Condition::with(Lock::new().unwrap()).unwrap();
    let steps = std::cell::Cell::new(0);
    run(async {
        let waits = async {
            cond.acquire_async().await.unwrap();
            cond.wait_for_async(|| steps.get() == 3).await.unwrap();
            // At once, without a notification.
            cond.wait_for_async(|| true).await.unwrap();
            cond.release().unwrap();
            steps.set(4);
        };
        let notifies = async {
            while steps.get() < 3 {
                while cond.waiting().unwrap() == 0 {
                    tokio::task::yield_now().await;
                }
                cond.acquire_async().await.unwrap();
                steps.set(steps.get() + 1);
                cond.notify().unwrap();
                cond.release().unwrap();
            }
        };
        tokio::join!(waits, notifies);
    });
    assert_eq!((steps.get(), cond.waiting().unwrap()), (4, 0));
}

/// A thread that holds the lock waits as a task: its guard is its guard afterwards.
#[test]
fn a_threads_guard_outlives_a_tasks_wait() {
    let cond = Condition::with(Lock::new().unwrap()).unwrap();
    let meets = |cond: Condition| {
        let guard = cond.lock().unwrap();
        let theirs = cond.clone();
        let thread = std::thread::spawn(move || {
            while theirs.waiting().unwrap() == 0 {
                std::thread::yield_now();
            }
            theirs.lock().unwrap().notify().unwrap();
        });
        run(cond.wait_async()).unwrap();
        thread.join().unwrap();
        cond.notify().unwrap();
        drop(guard);
        format!("{cond:?}")
    };
    assert_eq!(meets(cond.clone()), "Condition(Lock(owner=None), 0)");
    assert_eq!(ends(Process::spawn(meets, (cond.clone(),))), "Condition(Lock(owner=None), 0)");
}

/// What another process holds no wait of this one gives back.
#[test]
fn a_task_waits_for_a_condition_only_with_the_lock() {
    let cond = Condition::with(Lock::new().unwrap()).unwrap();
    let (held, go) = (Event::new().unwrap(), Event::new().unwrap());
    let holds = |cond: Condition, held: Event, go: Event| {
        let _guard = cond.lock().unwrap();
        held.set().unwrap();
        go.wait_timeout(SOON).unwrap()
    };
    let child = Process::spawn(holds, (cond.clone(), held.clone(), go.clone()));
    assert!(held.wait_timeout(SOON).unwrap());
    assert!(matches!(cond.notify(), Err(SyncError::NotOwner)));
    let waited = run(async { tokio::time::timeout(SHORT, cond.wait_async()).await });
    assert!(matches!(waited, Ok(Err(SyncError::NotOwner))), "{waited:?}");
    assert_ne!(format!("{cond:?}"), "Condition(Lock(owner=None), 0)");
    go.set().unwrap();
    assert!(ends(child));
}

/// Who sets an event and is stopped before it has told the owner holds up nobody who waits
/// without a thread.
#[test]
fn a_setter_that_is_stopped_holds_up_no_task() {
    let (event, set) = (Event::new().unwrap(), RawValue::new(0_u8).unwrap());
    let sets = |event: Event, set: RawValue<u8>| {
        assert!(!event.is_set().unwrap());
        procession_runtime::words::stop_at("set.woken", 1, Signal::SIGSTOP as i32);
        set.set(1).unwrap();
        event.set().unwrap();
    };
    let child = run(async {
        let waits = event.wait_async();
        let sets = async {
            // The other future comes first.
            tokio::task::yield_now().await;
            Process::spawn(sets, (event.clone(), set.clone())).unwrap()
        };
        let (waited, child) = tokio::join!(waits, sets);
        waited.unwrap();
        child
    });
    assert_eq!(set.get().unwrap(), 1);
    child.kill().unwrap();
    assert!(child.join_timeout(SOON).unwrap());
}

/// Whoever lets go of the last handle lets go of the lock.
#[test]
fn a_lock_goes_with_the_last_handle_of_a_process_that_lives() {
    let (lock, taken) = (Lock::new().unwrap(), Event::new().unwrap());
    let lets_go = |lock: Lock, taken: Event| {
        lock.acquire().unwrap();
        drop(lock);
        taken.set().unwrap();
        std::thread::sleep(SOON);
    };
    let child = Process::spawn(lets_go, (lock.clone(), taken.clone())).unwrap();
    assert!(taken.wait_timeout(SOON).unwrap());
    let acquired = lock.acquire_timeout(SOON).unwrap();
    assert!(matches!(acquired, Some(Acquired::AfterDeath(_))), "{acquired:?}");
    child.kill().unwrap();
}
