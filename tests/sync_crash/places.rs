//! Deaths at each named place between two steps.
//!
//! Owns the scenes, each of which brings a victim past its places for certain.

use super::util::{SOON, until};
use nix::sys::signal::Signal::SIGKILL;
use procession::{Barrier, Condition, Event, Lock, Process, Semaphore};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// One of each; the semaphore has one place.
type Things = (Lock, Semaphore, Event, Condition, Barrier);

/// What a victim does, and how it comes past its place for certain: the test holds what it
/// waits for, or a helper waits for what it gives.
struct Scene {
    /// The test holds lock and place.
    holds: bool,
    /// Waits, in a process that lives on.
    helper: Option<fn(Things)>,
    victim: fn(Things, String),
    places: &'static [&'static str],
}

/// Has this process die when it comes to a place.
fn arm(place: String) {
    procession_runtime::words::stop_at(place.leak(), 1, SIGKILL as i32);
}

/// How often a scene has been played; on a busy machine the first may be too quick.
static TAKE: AtomicU32 = AtomicU32::new(1);
const TAKES: u32 = 6;

/// In which a helper has fallen asleep, mostly.
fn a_while() -> Duration {
    Duration::from_millis(60) * TAKE.load(Ordering::Relaxed).pow(2)
}

#[expect(clippy::too_many_lines, reason = "a table of scenes")]
fn scenes() -> Vec<Scene> {
    let waits_for_lock: fn(Things) = |things| drop(things.0.lock().unwrap());
    vec![
        Scene {
            holds: true,
            helper: None,
            victim: |things, place| {
                arm(place);
                let _ = things.0.lock().unwrap();
            },
            places: &[
                "acquire",
                "acquire.enter",
                "acquire.spin",
                "acquire.read",
                "acquire.doze",
                "acquire.inherit",
            ],
        },
        Scene {
            holds: true,
            // It is next by the time. Where nobody is, who has lost the processor for a
            // millisecond sleeps as the heir at once, and never as one of the others.
            helper: Some(|things| {
                things.2.set().unwrap();
                drop(things.0.lock().unwrap());
            }),
            victim: |things, place| {
                things.2.wait().unwrap();
                std::thread::sleep(a_while());
                arm(place);
                let _ = things.0.lock_timeout(a_while()).unwrap();
            },
            places: &["acquire.count", "acquire.sleep"],
        },
        Scene {
            holds: true,
            helper: None,
            victim: |things, place| {
                arm(place);
                let _ = things.0.lock_timeout(a_while()).unwrap();
            },
            places: &["acquire.leave", "release.pass"],
        },
        Scene {
            holds: false,
            helper: Some(waits_for_lock),
            victim: |things, place| {
                let guard = things.0.lock().unwrap();
                things.2.set().unwrap();
                std::thread::sleep(a_while());
                arm(place);
                drop(guard);
            },
            places: &["release", "release.bump", "release.wake", "release.woken"],
        },
        Scene {
            holds: true,
            helper: None,
            victim: |things, place| {
                arm(place);
                let _ = things.1.permit().unwrap();
            },
            places: &["take", "take.try", "take.read", "take.count", "take.again", "take.sleep"],
        },
        Scene {
            holds: true,
            helper: None,
            victim: |things, place| {
                arm(place);
                let _ = things.1.permit_timeout(a_while()).unwrap();
            },
            places: &["take.abandon"],
        },
        Scene {
            holds: false,
            helper: Some(|things| drop(things.1.permit().unwrap())),
            victim: |things, place| {
                if place == "take.settle" {
                    arm(place.clone());
                }
                let permit = things.1.permit().unwrap();
                things.2.set().unwrap();
                std::thread::sleep(a_while());
                arm(place);
                drop(permit);
            },
            places: &[
                "take.settle",
                "give",
                "give.try",
                "give.settle",
                "give.note",
                "give.bump",
                "give.wake",
                "give.woken",
                "give.agent",
            ],
        },
        Scene {
            holds: false,
            helper: None,
            victim: |things, place| {
                arm(place);
                things.2.wait().unwrap();
            },
            places: &["wait", "wait.mark", "wait.sleep"],
        },
        Scene {
            holds: false,
            helper: Some(|things| things.2.wait().unwrap()),
            victim: |things, place| {
                std::thread::sleep(a_while());
                arm(place);
                things.2.set().unwrap();
            },
            places: &["set.wake", "set.woken"],
        },
        Scene {
            holds: false,
            helper: None,
            victim: |things, place| {
                arm(place);
                things.3.lock().unwrap().wait().unwrap();
            },
            places: &["condition.entered", "condition.sleep"],
        },
        Scene {
            holds: false,
            helper: Some(|things| {
                // A notifier that dies before it has notified anybody notifies nobody.
                while !things.3.lock().unwrap().wait_timeout(a_while()).unwrap() {
                    if things.2.is_set().unwrap() {
                        return;
                    }
                }
            }),
            victim: |things, place| {
                // It may have given up for a moment between the look and the lock.
                let guard = loop {
                    until("it waits", || things.3.waiting().unwrap() == 1);
                    let guard = things.3.lock().unwrap();
                    if things.3.waiting().unwrap() == 1 {
                        break guard;
                    }
                };
                things.2.set().unwrap();
                arm(place);
                guard.notify().unwrap();
            },
            places: &["notify", "notify.next", "notify.wake", "notify.woken"],
        },
        Scene {
            holds: false,
            helper: None,
            victim: |things, place| {
                arm(place);
                let _ = things.4.wait_timeout(a_while());
            },
            places: &[
                "barrier",
                "barrier.look",
                "barrier.read",
                "barrier.mark",
                "barrier.sleep",
                "barrier.break",
            ],
        },
        Scene {
            holds: false,
            // Whether the round counts as passed depends on where the last one died.
            helper: Some(|things| drop(things.4.wait())),
            victim: |things, place| {
                until("one waits", || things.4.n_waiting().unwrap() == 1);
                std::thread::sleep(a_while());
                arm(place);
                let _ = things.4.wait();
            },
            places: &["barrier", "barrier.bump", "barrier.wake"],
        },
    ]
}

#[test]
fn a_death_between_any_two_steps_holds_nobody_up() {
    if !cfg!(debug_assertions) {
        // The places exist in debug builds.
        return;
    }
    for (at, scene) in scenes().iter().enumerate() {
        for place in scene.places {
            dies_at(at, scene, place);
        }
    }
}

fn dies_at(at: usize, scene: &Scene, place: &str) {
    let died = (1..=TAKES).any(|take| {
        TAKE.store(take, Ordering::Relaxed);
        plays(at, scene, place)
    });
    assert!(died, "it went past {place}");
}

/// Plays a scene; false when the victim went past its place.
fn plays(at: usize, scene: &Scene, place: &str) -> bool {
    let things: Things = (
        Lock::new().unwrap(),
        Semaphore::new(1).unwrap(),
        Event::new().unwrap(),
        Condition::with(Lock::new().unwrap()).unwrap(),
        Barrier::new(2).unwrap(),
    );
    let held = scene.holds.then(|| (things.0.lock().unwrap(), things.1.permit().unwrap()));
    let victim = Process::spawn(
        |things: Things, at: usize, place: String, take: u32| {
            TAKE.store(take, Ordering::Relaxed);
            (scenes()[at].victim)(things, place);
        },
        (things.clone(), at, place.to_owned(), TAKE.load(Ordering::Relaxed)),
    )
    .unwrap();
    let helper = scene.helper.map(|_| {
        // What the victim gives it has by then.
        if place.starts_with("release") || place.starts_with("give") || place == "take.settle" {
            let dead = || victim.exitcode().is_some();
            until("the victim has it", || things.2.is_set().unwrap() || dead());
        }
        let body = |things: Things, at: usize| (scenes()[at].helper.unwrap())(things);
        // Nobody waits for it at the exit of a test that has failed.
        let helper = Process::builder(body, (things.clone(), at)).daemon(true);
        helper.start().unwrap()
    });
    assert!(victim.join_timeout(SOON).unwrap(), "the victim hangs at {place}");
    let died = victim.exitcode() == Some(-9);
    assert!(died || victim.exitcode() == Some(0), "{place}: {:?}", victim.exitcode());
    drop(held);
    if let Some(helper) = helper {
        assert!(helper.join_timeout(SOON).unwrap(), "the helper hangs after a death at {place}");
        assert_eq!(helper.exitcode(), Some(0), "{place}");
    }
    // Everything is free, and works.
    let (lock, places, event, cond, barrier) = &things;
    assert!(lock.acquire_timeout(SOON).unwrap().is_some(), "{place}");
    until("the permit is back", || places.value().unwrap() == 1);
    event.set().unwrap();
    assert!(event.wait_timeout(SOON).unwrap());
    cond.lock().unwrap().notify_all().unwrap();
    if died && place.starts_with("barrier") {
        until("the barrier is broken", || barrier.broken().unwrap());
    }
    died
}
