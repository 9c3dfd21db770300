//! What only processes show of locks and their kin: names, deaths, statics.

use crate::util::{self, SOON, until};
use crate::words::{SHORT, ends};
use procession::{
    Acquired, Actor, Barrier, Condition, Event, Lock, Process, RLock, Semaphore, SyncError,
    context, methods,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(SOON, future).await.unwrap() })
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

// ---------------------------------------------------------------- statics

static PRELOADED: std::sync::Mutex<Option<(Lock, Semaphore)>> = std::sync::Mutex::new(None);

static STATIC: std::sync::LazyLock<Semaphore> =
    std::sync::LazyLock::new(|| Semaphore::new(2).unwrap());

fn preload() {
    let places = Semaphore::new(3).unwrap();
    places.acquire().unwrap();
    *PRELOADED.lock().unwrap() = Some((Lock::new().unwrap(), places));
}

#[test]
fn a_lock_made_in_a_preload_is_each_workers_own() {
    quietly("processes::a_lock_made_in_a_preload_is_each_workers_own", || {
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
    quietly(
        "processes::a_static_semaphore_is_another_in_a_spawned_child_and_leaves_nothing",
        || {
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
        },
    );
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

#[test]
fn an_async_holder_that_dies_is_reported() {
    let (lock, held) = (Lock::new().unwrap(), Event::new().unwrap());
    let child = Process::builder(
        |lock: Lock, held: Event| {
            run(async {
                let _guard = lock.lock_async().await.unwrap();
                held.set().unwrap();
                std::future::pending::<()>().await;
            });
        },
        (lock.clone(), held.clone()),
    )
    .name("Waiter")
    .start()
    .unwrap();
    assert!(held.wait_timeout(SOON).unwrap());
    child.kill().unwrap();
    match run(lock.acquire_async()).unwrap() {
        Acquired::AfterDeath(death) => assert_eq!(death.name, "Waiter"),
        Acquired::Clean => panic!("the death is not told"),
    }
}

/// Also one without a thread, which comes while the last of a round acts, sleeps until the
/// next one.
#[test]
fn who_comes_during_the_action_sleeps_until_the_next_round() {
    let (begun, goes_on) = (Event::new().unwrap(), Event::new().unwrap());
    let action = |begun: Event, goes_on: Event| {
        begun.set().unwrap();
        goes_on.wait().unwrap();
    };
    let barrier = Barrier::with_action(2, action, (begun.clone(), goes_on.clone())).unwrap();
    let comes = |barrier: Barrier| {
        let mut polls = 0;
        let mut wait = std::pin::pin!(barrier.wait_async());
        let counted = std::future::poll_fn(|context| {
            polls += 1;
            wait.as_mut().poll(context)
        });
        procession_runtime::wait::block_on(counted).unwrap();
        polls
    };
    std::thread::scope(|scope| {
        let first = [(); 2].map(|()| scope.spawn(|| barrier.wait().unwrap()));
        begun.wait().unwrap();
        let here = scope.spawn(|| comes(barrier.clone()));
        let there = Process::spawn(comes, (barrier.clone(),)).unwrap();
        std::thread::sleep(3 * SHORT);
        assert!(!here.is_finished() && there.is_alive().unwrap());
        goes_on.set().unwrap();
        // The two are the next round.
        for polls in [here.join().unwrap(), there.result_timeout(SOON).unwrap()] {
            assert!(polls < 20, "it was polled {polls} times");
        }
        let indices = first.map(|party| party.join().unwrap());
        assert_eq!(indices.iter().sum::<u32>(), 1);
    });
}

/// Each permit that is held or waited for has one of 65,535 cells of its owner's. All but a
/// few are taken here.
#[test]
fn a_wait_for_a_permit_that_is_dropped_costs_no_cell() {
    const BATCH: usize = 64;
    fn drop_waits(none: Semaphore) {
        for _ in 0..10 * BATCH {
            // In another process the cell comes back when the owner has heard of it.
            until("a cell is free", || {
                let wait = std::pin::pin!(none.permit_async());
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                wait.poll(&mut context).is_pending()
            });
        }
    }
    fn own() {
        let (many, none) = (Semaphore::new(1 << 16).unwrap(), Semaphore::new(0).unwrap());
        // The first cell is nobody's; one is left here, and two batches for others.
        let taken = 1022 * BATCH - 2;
        let permits: Vec<_> = (0..taken).map(|_| many.permit().unwrap()).collect();
        drop_waits(none.clone());
        ends(Process::spawn(drop_waits, (none.clone(),)));
        drop(none.try_permit().unwrap());
        drop(permits);
        assert_eq!(many.value().unwrap(), 1 << 16);
        // What was dropped is not waited for.
        none.release().unwrap();
        until("the place is free", || none.value().unwrap() == 1);
    }
    ends(Process::spawn(own, ()));
}
