//! Conditions and barriers, and the async forms of all: the part that says nothing of
//! processes, which `tests/dummy` runs on threads as well.

use crate::util::{self, METHODS, SOON, until};
use procession::{
    Acquired, Barrier, Condition, Event, Lock, Process, RLock, RawArray, RawValue, Semaphore,
    SyncError, context,
};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(100);

fn ends<R: serde::de::DeserializeOwned>(process: procession::Result<Process<R>>) -> R {
    process.unwrap().result_timeout(SOON).unwrap()
}

fn waiting(cond: &Condition, count: usize) {
    until("so many wait", || cond.waiting().unwrap() == count);
}

fn notify(cond: &Condition, count: u32) {
    cond.lock().unwrap().notify_n(count).unwrap();
}

/// Waits once, in a process or thread, and says so.
fn sleeps(cond: Condition, woken: Semaphore, timeout: Option<Duration>) -> bool {
    let mut guard = cond.lock().unwrap();
    let notified = if let Some(timeout) = timeout {
        guard.wait_timeout(timeout).unwrap()
    } else {
        guard.wait().unwrap();
        true
    };
    drop(guard);
    woken.release().unwrap();
    notified
}

// ---------------------------------------------------------------- conditions

#[test]
fn each_notify_wakes_exactly_one() {
    for method in METHODS {
        let (cond, woken) = (Condition::new().unwrap(), Semaphore::new(0).unwrap());
        let child = context(method).spawn(sleeps, (cond.clone(), woken.clone(), None));
        waiting(&cond, 1);
        let args = (cond.clone(), woken.clone());
        let thread = std::thread::spawn(move || sleeps(args.0, args.1, None));
        waiting(&cond, 2);
        for left in [1, 0] {
            notify(&cond, 1);
            assert!(woken.acquire_timeout(SOON).unwrap());
            assert_eq!(cond.waiting().unwrap(), left);
            assert!(!woken.try_acquire().unwrap());
        }
        assert!(ends(child) && thread.join().unwrap());
        // With nobody there a notification is nothing.
        notify(&cond, 3);
        assert!(!cond.lock().unwrap().wait_timeout(Duration::ZERO).unwrap());
    }
}

#[test]
fn waits_time_out_and_notify_all_wakes_all() {
    let (cond, woken) = (Condition::new().unwrap(), Semaphore::new(0).unwrap());
    for timeout in [Some(SHORT), None] {
        let begun = Instant::now();
        let children: Vec<_> = (0..3)
            .map(|_| Process::spawn(sleeps, (cond.clone(), woken.clone(), timeout)))
            .collect();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let args = (cond.clone(), woken.clone());
                std::thread::spawn(move || sleeps(args.0, args.1, timeout))
            })
            .collect();
        if timeout.is_none() {
            waiting(&cond, 6);
            assert!(!woken.acquire_timeout(SHORT).unwrap(), "none wakes by itself");
            cond.lock().unwrap().notify_all().unwrap();
        }
        for child in children {
            assert_eq!(ends(child), timeout.is_none());
        }
        for thread in threads {
            assert_eq!(thread.join().unwrap(), timeout.is_none());
        }
        for _ in 0..6 {
            assert!(woken.try_acquire().unwrap());
        }
        assert!(begun.elapsed() >= SHORT);
        assert_eq!(cond.waiting().unwrap(), 0);
    }
}

#[test]
fn so_many_are_woken_as_are_notified_and_none_is_stolen() {
    let (cond, woken) = (Condition::new().unwrap(), Semaphore::new(0).unwrap());
    let children: Vec<_> =
        (0..6).map(|_| Process::spawn(sleeps, (cond.clone(), woken.clone(), None))).collect();
    waiting(&cond, 6);
    for (count, left) in [(2, 4), (4, 0)] {
        notify(&cond, count);
        // One that comes now is not woken by what was given before.
        let thief = cond.lock().unwrap().wait_timeout(SHORT).unwrap();
        assert!(!thief);
        for _ in 0..count {
            assert!(woken.acquire_timeout(SOON).unwrap());
        }
        assert!(!woken.try_acquire().unwrap());
        assert_eq!(cond.waiting().unwrap(), left);
    }
    notify(&cond, 3);
    for child in children {
        assert!(ends(child));
    }
}

/// Those who wait again stand behind those who wait still.
#[test]
fn who_comes_back_waits_for_a_notification_of_its_own() {
    let (cond, woken) = (Condition::new().unwrap(), Semaphore::new(0).unwrap());
    let sleeps_twice = |cond: Condition, woken: Semaphore| {
        let mut guard = cond.lock().unwrap();
        for _ in 0..2 {
            guard.wait().unwrap();
            woken.release().unwrap();
        }
    };
    let children: Vec<_> =
        (0..5).map(|_| Process::spawn(sleeps_twice, (cond.clone(), woken.clone()))).collect();
    waiting(&cond, 5);
    // Three wake and come back; then all five wake, and the two that had not come back.
    for (notified, left) in [(3, 5), (5, 2)] {
        notify(&cond, notified);
        for _ in 0..notified {
            assert!(woken.acquire_timeout(SOON).unwrap());
        }
        waiting(&cond, left);
        assert!(!woken.acquire_timeout(SHORT).unwrap(), "none wakes by itself");
        assert_eq!(cond.waiting().unwrap(), left);
    }
    cond.lock().unwrap().notify_all().unwrap();
    for child in children {
        ends(child);
    }
    for _ in 0..2 {
        assert!(woken.try_acquire().unwrap());
    }
    assert!(!woken.try_acquire().unwrap());
}

#[test]
fn a_condition_waits_for_something_to_be_so() {
    let (cond, value) = (Condition::new().unwrap(), RawValue::new(-1_i32).unwrap());
    let mut guard = cond.lock().unwrap();
    let child = Process::spawn(
        |cond: Condition, value: RawValue<i32>| {
            let mut guard = cond.lock().unwrap();
            value.set(0).unwrap();
            guard.notify().unwrap();
            guard.wait_for_timeout(SOON, || value.get().unwrap() == 4).unwrap()
        },
        (cond.clone(), value.clone()),
    );
    guard.wait_for(|| value.get().unwrap() == 0).unwrap();
    drop(guard);
    for _ in 0..4 {
        let guard = cond.lock().unwrap();
        value.fetch_add(1).unwrap();
        guard.notify().unwrap();
    }
    assert!(ends(child));
    let begun = Instant::now();
    let mut guard = cond.lock().unwrap();
    assert!(!guard.wait_for_timeout(SHORT, || value.get().unwrap() == 5).unwrap());
    assert!(begun.elapsed() >= SHORT && begun.elapsed() < SOON);
}

#[test]
fn a_wait_goes_on_after_a_signal() {
    let (cond, woken) = (Condition::new().unwrap(), Semaphore::new(0).unwrap());
    let ready = Event::new().unwrap();
    let child = Process::spawn(
        |cond: Condition, woken: Semaphore, ready: Event| {
            util::signals::catch(nix::sys::signal::Signal::SIGUSR1);
            ready.set().unwrap();
            sleeps(cond, woken, Some(SOON)) && util::signals::caught() > 0
        },
        (cond.clone(), woken.clone(), ready.clone()),
    )
    .unwrap();
    assert!(ready.wait_timeout(SOON).unwrap());
    waiting(&cond, 1);
    util::signal(child.pid().unwrap(), nix::sys::signal::Signal::SIGUSR1);
    assert!(!woken.acquire_timeout(SHORT).unwrap());
    notify(&cond, 1);
    assert!(child.result_timeout(SOON).unwrap());
}

#[test]
fn without_the_lock_a_condition_is_not_used() {
    for cond in [Condition::new().unwrap(), Condition::with(Lock::new().unwrap()).unwrap()] {
        assert!(matches!(cond.notify(), Err(SyncError::NotOwner)));
        assert!(matches!(cond.notify_all(), Err(SyncError::NotOwner)));
        assert!(matches!(cond.wait(), Err(SyncError::NotOwner)));
        cond.acquire().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(matches!(cond.notify(), Err(SyncError::NotOwner))));
        });
        assert!(!cond.wait_timeout(Duration::from_millis(1)).unwrap());
        cond.release().unwrap();
    }
    let cond = Condition::new().unwrap();
    assert_eq!(format!("{cond:?}"), "Condition(RLock(None, 0), 0)");
}

#[test]
fn a_wait_gives_a_recursive_lock_back_altogether() {
    let lock = RLock::new().unwrap();
    let cond = Condition::with(lock.clone()).unwrap();
    // Held before the child is there, which would else notify nobody.
    let outer = lock.lock().unwrap();
    let mut guard = cond.lock().unwrap();
    let child = Process::spawn(
        |cond: Condition| {
            let guard = cond.lock().unwrap();
            guard.notify().unwrap();
        },
        (cond.clone(),),
    );
    guard.wait().unwrap();
    drop(guard);
    assert!(lock.locked().unwrap());
    drop(outer);
    assert!(!lock.locked().unwrap());
    ends(child);
}

// ---------------------------------------------------------------- barriers

/// Runs a body in this process and in so many less one children; what each returns.
macro_rules! meet {
    ($count:expr, $body:expr, $args:expr) => {{
        let args = $args;
        let children: Vec<_> =
            (1..$count).map(|me: u32| Process::spawn($body, (args.clone(), me)).unwrap()).collect();
        let mut all = vec![$body(args, 0_u32)];
        all.extend(children.into_iter().map(|child| child.result_timeout(SOON).unwrap()));
        all
    }};
}

fn is_broken(result: Result<u32, SyncError>) -> bool {
    match result {
        Ok(_) => false,
        Err(SyncError::BrokenBarrier) => true,
        Err(other) => panic!("{other}"),
    }
}

/// Passes so often; before each pass the one before must be over for all.
fn in_lockstep((barrier, notes): (Barrier, RawArray<u64>), me: u32) -> Vec<u32> {
    let passes = 10;
    (1..=passes)
        .map(|pass| {
            notes.set(me as usize, pass).unwrap();
            let index = barrier.wait_timeout(SOON).unwrap();
            assert!(notes.read(..).unwrap().iter().all(|note| *note >= pass), "too early");
            // And again, so that nobody's next pass is counted for this one.
            barrier.wait_timeout(SOON).unwrap();
            index
        })
        .collect()
}

#[test]
fn nobody_passes_before_all_have_arrived() {
    for count in [5, 1] {
        let barrier = Barrier::new(count).unwrap();
        let notes = RawArray::zeroed(count as usize).unwrap();
        let indices = meet!(count, in_lockstep, (barrier.clone(), notes));
        for pass in 0..10 {
            let mut all: Vec<_> = indices.iter().map(|one| one[pass]).collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>(), "each index once");
        }
        assert_eq!(barrier.n_waiting().unwrap(), 0);
        assert!(!barrier.broken().unwrap());
        assert_eq!(barrier.parties().unwrap(), count);
        assert_eq!(format!("{barrier:?}"), format!("Barrier(waiters=0/{count})"));
    }
    assert!(matches!(Barrier::new(0), Err(SyncError::Invalid(_))));
}

#[test]
fn a_thousand_passes() {
    let barrier = Barrier::new(5).unwrap();
    let passed = RawArray::zeroed(5).unwrap();
    let body = |(barrier, passed): (Barrier, RawArray<u64>), me: u32| {
        for pass in 1..=1000 {
            barrier.wait_timeout(SOON).unwrap();
            passed.set(me as usize, pass).unwrap();
            let all = passed.read(..).unwrap();
            assert!(all.iter().all(|other| other.abs_diff(pass) <= 1), "{all:?}");
        }
    };
    meet!(5, body, (barrier, passed));
}

#[test]
fn the_last_one_acts_before_anybody_goes_on() {
    let acted = RawValue::new(0_u32).unwrap();
    let action = |acted: RawValue<u32>| acted.fetch_add(1).unwrap();
    let barrier = Barrier::with_action(3, action, (acted.clone(),)).unwrap();
    let body = |(barrier, acted): (Barrier, RawValue<u32>), _: u32| {
        (1..=5)
            .map(|pass| {
                barrier.wait_timeout(SOON).unwrap();
                let seen = acted.get().unwrap();
                barrier.wait_timeout(SOON).unwrap();
                (pass * 2 - 1, seen)
            })
            .collect::<Vec<_>>()
    };
    for seen in meet!(3, body, (barrier.clone(), acted.clone())) {
        assert!(seen.iter().all(|(wanted, seen)| wanted == seen), "{seen:?}");
    }
    assert_eq!(acted.get().unwrap(), 10);
    // An action that panics breaks the round.
    let panics = Barrier::with_action(1, || panic!("no"), ()).unwrap();
    let body = std::panic::AssertUnwindSafe(|| panics.wait());
    std::panic::catch_unwind(body).unwrap_err();
    assert!(panics.broken().unwrap());
}

#[test]
fn an_abort_breaks_it_for_all_until_it_is_reset() {
    let (barrier, other) = (Barrier::new(5).unwrap(), Barrier::new(5).unwrap());
    let body = |(barrier, other): (Barrier, Barrier), me: u32| {
        barrier.wait_timeout(SOON).unwrap();
        let was_broken = if me == 2 {
            barrier.abort().unwrap();
            true
        } else {
            is_broken(barrier.wait_timeout(SOON))
        };
        assert!(barrier.broken().unwrap());
        assert!(is_broken(barrier.wait()), "broken it stays");
        if other.wait_timeout(SOON).unwrap() == 4 {
            barrier.reset().unwrap();
        }
        other.wait_timeout(SOON).unwrap();
        barrier.wait_timeout(SOON).unwrap();
        was_broken
    };
    let all = meet!(5, body, (barrier.clone(), other));
    assert!(all.iter().all(|was_broken| *was_broken));
    assert!(!barrier.broken().unwrap());
    barrier.abort().unwrap();
    assert_eq!(format!("{barrier:?}"), "Barrier(broken)");
}

#[test]
fn a_reset_sends_those_away_who_wait() {
    let barrier = Barrier::new(5).unwrap();
    let body = |barrier: Barrier, me: u32| {
        let was_broken = if me == 0 {
            until("four wait", || barrier.n_waiting().unwrap() == 4);
            barrier.reset().unwrap();
            true
        } else {
            is_broken(barrier.wait_timeout(SOON))
        };
        barrier.wait_timeout(SOON).unwrap();
        was_broken
    };
    let all = meet!(5, body, barrier.clone());
    assert!(all.iter().all(|was_broken| *was_broken));
    assert!(!barrier.broken().unwrap());
}

#[test]
fn one_who_comes_too_late_finds_it_broken() {
    let limited = Barrier::new(5).unwrap().timeout(SHORT);
    for (barrier, by_call) in [(Barrier::new(5).unwrap(), true), (limited, false)] {
        let body = |(barrier, by_call): (Barrier, bool), me: u32| {
            if me == 0 {
                until("it is broken", || barrier.broken().unwrap());
            }
            let begun = Instant::now();
            let result = if by_call { barrier.wait_timeout(SHORT) } else { barrier.wait() };
            assert!(begun.elapsed() < SOON);
            is_broken(result)
        };
        let all = meet!(5, body, (barrier, by_call));
        assert!(all.iter().all(|was_broken| *was_broken), "{all:?}");
    }
    let barrier = Barrier::new(2).unwrap();
    let begun = Instant::now();
    assert!(is_broken(barrier.wait_timeout(SHORT)));
    assert!(begun.elapsed() >= SHORT);
}

// ---------------------------------------------------------------- without a thread

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(SOON, future).await.unwrap() })
}

/// Holds a lock and a place, lets them go when told, sets and notifies and meets.
type Others = (Lock, Semaphore, Event, Condition, Barrier);

async fn waits((lock, places, event, cond, barrier): Others, begun: Event) -> bool {
    begun.set().unwrap();
    let guard = lock.lock_async().await.unwrap();
    let permit = places.permit_async().await.unwrap();
    event.wait_async().await.unwrap();
    drop(permit);
    assert_eq!(cond.acquire_async().await.unwrap(), Acquired::Clean);
    cond.wait_async().await.unwrap();
    cond.release().unwrap();
    barrier.wait_async().await.unwrap();
    drop(guard);
    lock.acquire_async().await.unwrap();
    lock.release().unwrap();
    places.acquire_async().await.unwrap();
    places.release().unwrap();
    true
}

fn drives((lock, places, event, cond, barrier): &Others, begun: &Event) {
    assert!(begun.wait_timeout(SOON).unwrap());
    std::thread::sleep(Duration::from_millis(20));
    lock.release().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    places.release().unwrap();
    until("it has the place", || places.locked().unwrap() && lock.locked().unwrap());
    std::thread::sleep(Duration::from_millis(20));
    event.set().unwrap();
    waiting(cond, 1);
    let guard = cond.lock().unwrap();
    guard.notify().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    drop(guard);
    barrier.wait_timeout(SOON).unwrap();
}

#[test]
fn async_waiters_get_their_turn() {
    let others: Others = (
        Lock::new().unwrap(),
        Semaphore::new(1).unwrap(),
        Event::new().unwrap(),
        Condition::with(Lock::new().unwrap()).unwrap(),
        Barrier::new(2).unwrap(),
    );
    for by_child in [true, false] {
        let begun = Event::new().unwrap();
        others.0.acquire().unwrap();
        others.1.acquire().unwrap();
        others.2.clear().unwrap();
        let args = (others.clone(), begun.clone());
        if by_child {
            // The owner drives, a client waits; then the other way round.
            let child =
                Process::spawn(|others: Others, begun: Event| run(waits(others, begun)), args);
            drives(&others, &begun);
            assert!(ends(child));
        } else {
            let child =
                Process::spawn(|others: Others, begun: Event| drives(&others, &begun), args);
            assert!(run(waits(others.clone(), begun)));
            ends(child);
        }
        until("the lock is free", || !others.0.locked().unwrap());
        until("the place is free", || others.1.value().unwrap() == 1);
    }
}

#[test]
fn an_async_wait_that_is_dropped_takes_nothing() {
    let body = |lock: Lock, places: Semaphore, event: Event| {
        run(async {
            for _ in 0..20 {
                let limit = Duration::from_micros(500);
                let _ =
                    tokio::time::timeout(limit, lock.acquire_async()).await.map(|_| lock.release());
                let _ = tokio::time::timeout(limit, places.permit_async()).await;
                let _ = tokio::time::timeout(limit, event.wait_async()).await;
            }
        });
    };
    let (lock, places, event) =
        (Lock::new().unwrap(), Semaphore::new(1).unwrap(), Event::new().unwrap());
    let child = Process::spawn(body, (lock.clone(), places.clone(), event.clone()));
    let (other_lock, other_places) = (lock.clone(), places.clone());
    let contends = std::thread::spawn(move || {
        for _ in 0..50 {
            let _guard = other_lock.lock().unwrap();
            let _permit = other_places.permit().unwrap();
            std::thread::sleep(Duration::from_micros(400));
        }
    });
    body(lock.clone(), places.clone(), event.clone());
    contends.join().unwrap();
    ends(child);
    until("the lock is free", || !lock.locked().unwrap());
    until("the place is free", || places.value().unwrap() == 1);
}
