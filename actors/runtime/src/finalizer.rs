//! Exit hooks with priorities, as Python's `util.Finalize`.
//!
//! Owns the registry of what is to run when a handle drops, when it is called, or when
//! the process leaves, whichever comes first, and each once. It must never hold its lock
//! while a hook runs: hooks may register hooks, run others, or panic. Its neighbour
//! above is the end of a process, which calls [`run_finalizers`] with 0, ends the
//! children, then calls it with `None`; a hook that is to run at exit has that prepared.
//!
//! ```text
//! registered ──drop, call, run_finalizers──> taken ──> run, once
//!      └──cancel, clear──> forgotten
//! ```
//!
//! A hook is taken out of the registry before it runs, so that whoever takes it runs it:
//! two threads never run one hook, and the second does not wait for the first.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many hooks that were registered during one [`run_finalizers`] it still runs. One
/// that registers itself again for ever must not keep a process from leaving.
const MAX_REGISTERED_MEANWHILE: usize = 10_000;

/// Hooks of this priority run while the process can still start others.
pub const BEFORE_THE_END: i32 = i32::MAX;

/// Priority first, then the order of creation: the last key is the next to run, and
/// those without priority come before all that have one.
type Key = (Option<i32>, u64);
type Hook = Box<dyn FnOnce() + Send>;

static REGISTRY: Registry = Registry::new();

/// A hook that runs when this handle drops, or earlier by [`Finalizer::call`], or at
/// exit if it has a priority. It runs once.
#[must_use = "dropping a finalizer runs it; `at_exit` keeps one without a handle"]
pub struct Finalizer {
    registry: &'static Registry,
    key: Key,
}

impl Finalizer {
    /// Registers `f`. With a priority it also runs at exit, higher ones first, and of
    /// equals the younger first; with `None` it does not run at exit.
    pub fn new(priority: Option<i32>, f: impl FnOnce() + Send + 'static) -> Self {
        if priority.is_some() {
            crate::node::leave::prepare();
        }
        Self::new_in(&REGISTRY, priority, f)
    }

    fn new_in(
        registry: &'static Registry,
        priority: Option<i32>,
        f: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self { registry, key: registry.add(priority, Box::new(f)) }
    }

    /// Runs the hook now, unless it has run or was cancelled; says whether it did.
    ///
    /// # Panics
    /// When the hook panics; it counts as run.
    pub fn call(&self) -> bool {
        let hook = self.registry.take(self.key);
        hook.map(|hook| hook()).is_some()
    }

    /// Forgets the hook without running it; says whether it was still to run.
    pub fn cancel(&self) -> bool {
        self.registry.take(self.key).is_some()
    }

    /// Whether the hook is still to run.
    pub fn still_active(&self) -> bool {
        self.registry.lock().hooks.contains_key(&self.key)
    }
}

impl Drop for Finalizer {
    fn drop(&mut self) {
        if let Some(hook) = self.registry.take(self.key) {
            run_caught(self.key, hook);
        }
    }
}

impl fmt::Debug for Finalizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finalizer")
            .field("priority", &self.key.0)
            .field("active", &self.still_active())
            .finish_non_exhaustive()
    }
}

/// Registers a hook for the exit alone, for which no handle has to be kept.
pub fn at_exit(priority: i32, f: impl FnOnce() + Send + 'static) {
    crate::node::leave::prepare();
    REGISTRY.add(Some(priority), Box::new(f));
}

/// Runs the hooks that have a priority, or at least `min_priority`: higher ones first,
/// of equals the younger first. A hook that panics is logged, and the rest run. Hooks
/// that hooks register meanwhile run too, in their place, up to a bound.
pub fn run_finalizers(min_priority: Option<i32>) {
    REGISTRY.run(min_priority);
}

/// Forgets all hooks without running them: in a forked child they are the parent's. What
/// they had captured is leaked, not dropped, since that is the parent's as well.
///
/// If other threads may have been in here at the fork, fork under [`hold_for_fork`].
pub fn clear() {
    forget_all(&mut REGISTRY.lock());
}

/// Keeps the registry still across a fork, so that the child, which has no copy of the
/// thread that might hold its lock, can use it.
pub fn hold_for_fork() -> ForkHold {
    ForkHold { state: REGISTRY.lock() }
}

/// What [`hold_for_fork`] gives. Drop it in the parent, [`ForkHold::clear`] it in the
/// child, in the thread that took it.
#[must_use = "the registry is held only as long as this lives"]
pub struct ForkHold {
    state: MutexGuard<'static, State>,
}

impl ForkHold {
    /// [`clear`], in the child.
    pub fn clear(mut self) {
        forget_all(&mut self.state);
    }
}

impl fmt::Debug for ForkHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForkHold").field("hooks", &self.state.hooks.len()).finish()
    }
}

struct Registry {
    state: Mutex<State>,
}

struct State {
    next: u64,
    hooks: BTreeMap<Key, Hook>,
}

impl Registry {
    const fn new() -> Self {
        Self { state: Mutex::new(State { next: 0, hooks: BTreeMap::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No hook runs under the lock, so that the state is whole whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, priority: Option<i32>, hook: Hook) -> Key {
        let mut state = self.lock();
        let key = (priority, state.next);
        state.next += 1;
        state.hooks.insert(key, hook);
        key
    }

    fn take(&self, key: Key) -> Option<Hook> {
        self.lock().hooks.remove(&key)
    }

    fn run(&self, min_priority: Option<i32>) {
        let first_of_meanwhile = self.lock().next;
        let mut meanwhile = 0;
        while let Some((key, hook)) = self.take_next(min_priority) {
            run_caught(key, hook);
            if key.1 >= first_of_meanwhile {
                meanwhile += 1;
                if meanwhile == MAX_REGISTERED_MEANWHILE {
                    tracing::warn!(
                        target: "procession::finalizer",
                        "finalizers keep registering finalizers; the rest is left"
                    );
                    return;
                }
            }
        }
    }

    fn take_next(&self, min_priority: Option<i32>) -> Option<(Key, Hook)> {
        let mut state = self.lock();
        let last = state.hooks.last_entry()?;
        let priority = last.key().0?;
        if min_priority.is_some_and(|min| priority < min) {
            return None;
        }
        Some(last.remove_entry())
    }
}

fn forget_all(state: &mut State) {
    std::mem::forget(std::mem::take(&mut state.hooks));
}

fn run_caught(key: Key, hook: Hook) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(hook)) {
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a payload that is no text");
        tracing::error!(
            target: "procession::finalizer",
            priority = key.0,
            "a finalizer panicked: {message}"
        );
        // The payload is the user's, and its own drop may panic; nothing is lost by a leak.
        std::mem::forget(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    /// A registry of the test's own, for the global one is shared with other tests.
    fn registry() -> &'static Registry {
        Box::leak(Box::new(Registry::new()))
    }

    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<&'static str>>>);

    impl Notes {
        fn hook(&self, name: &'static str) -> impl FnOnce() + Send + 'static {
            let notes = self.clone();
            move || notes.0.lock().unwrap().push(name)
        }

        fn taken(&self) -> Vec<&'static str> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    // track-01, after CPython's _TestFinalize.test_finalize.
    #[test]
    fn order_is_by_priority_then_by_age_reversed() {
        let (registry, notes) = (registry(), Notes::default());
        let new = |priority, name| Finalizer::new_in(registry, priority, notes.hook(name));
        drop(new(None, "a"));
        let b = new(None, "b");
        assert!(b.call());
        assert!(!b.call());
        drop(b);
        assert_eq!(notes.taken(), ["a", "b"]);

        let c = new(None, "c");
        let _d10 = new(Some(1), "d10");
        let _d01 = new(Some(0), "d01");
        let _d02 = new(Some(0), "d02");
        let _d03 = new(Some(0), "d03");
        let e = new(Some(-10), "e");
        registry.run(Some(0));
        assert_eq!(notes.taken(), ["d10", "d03", "d02", "d01"]);
        assert!(e.still_active());
        registry.run(None);
        assert_eq!(notes.taken(), ["e"]);
        assert!(!e.still_active());
        assert!(c.still_active());
        registry.run(None);
        assert!(notes.taken().is_empty());
    }

    // track-02, after CPython's _TestFinalize.test_thread_safety, for a moment only.
    #[test]
    fn threads_register_and_run_at_the_same_time() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        static RAN: AtomicUsize = AtomicUsize::new(0);
        let registry = registry();
        let end = Instant::now() + Duration::from_millis(300);
        let make = move || {
            while Instant::now() < end {
                let made = MADE.fetch_add(1, Ordering::Relaxed);
                let priority =
                    (!made.is_multiple_of(3)).then_some(i32::try_from(made % 5).unwrap());
                let finalizer = Finalizer::new_in(registry, priority, || {
                    RAN.fetch_add(1, Ordering::Relaxed);
                });
                if made.is_multiple_of(2) {
                    finalizer.call();
                }
                drop(finalizer);
            }
        };
        let run = move || {
            while Instant::now() < end {
                registry.run(None);
            }
        };
        let threads = [
            std::thread::spawn(make),
            std::thread::spawn(make),
            std::thread::spawn(run),
            std::thread::spawn(run),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(MADE.load(Ordering::Relaxed), RAN.load(Ordering::Relaxed));
        assert!(MADE.load(Ordering::Relaxed) > 0);
        assert!(registry.lock().hooks.is_empty());
    }

    #[test]
    fn a_panic_is_caught_and_the_rest_run() {
        let (registry, notes) = (registry(), Notes::default());
        let _first = Finalizer::new_in(registry, Some(2), notes.hook("first"));
        let _bad = Finalizer::new_in(registry, Some(1), || panic!("on purpose"));
        let _last = Finalizer::new_in(registry, Some(0), notes.hook("last"));
        drop(Finalizer::new_in(registry, None, || panic!("on purpose, by drop")));
        registry.run(None);
        assert_eq!(notes.taken(), ["first", "last"]);
        // Called by hand, a panic is the caller's.
        let bad = Finalizer::new_in(registry, None, || panic!("on purpose, by call"));
        assert!(catch_unwind(AssertUnwindSafe(|| bad.call())).is_err());
        assert!(!bad.still_active());
    }

    #[test]
    fn a_hook_that_drops_during_a_panic_does_not_abort() {
        let registry = registry();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _bad = Finalizer::new_in(registry, None, || panic!("on purpose, inside"));
            panic!("on purpose, outside");
        }));
        assert!(unwound.is_err());
    }

    #[test]
    fn hooks_may_register_hooks_within_a_bound() {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        fn again(registry: &'static Registry, runs: &'static AtomicUsize) {
            registry.add(
                Some(1),
                Box::new(move || {
                    runs.fetch_add(1, Ordering::Relaxed);
                    again(registry, runs);
                }),
            );
        }
        let (registry, notes) = (registry(), Notes::default());
        let (inner, low) = (notes.hook("inner"), notes.clone());
        let _outer = Finalizer::new_in(registry, Some(5), move || {
            registry.add(Some(3), Box::new(inner));
            registry.add(Some(-1), Box::new(low.hook("too low")));
        });
        let _four = Finalizer::new_in(registry, Some(4), notes.hook("four"));
        let _two = Finalizer::new_in(registry, Some(2), notes.hook("two"));
        registry.run(Some(0));
        assert_eq!(notes.taken(), ["four", "inner", "two"]);

        again(registry, &RUNS);
        registry.run(Some(0));
        assert_eq!(RUNS.load(Ordering::Relaxed), MAX_REGISTERED_MEANWHILE + 1);
    }

    #[test]
    fn cancelled_and_cleared_hooks_never_run_nor_drop_what_they_hold() {
        struct Loud(Arc<AtomicBool>);
        impl Drop for Loud {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (registry, notes) = (registry(), Notes::default());
        let cancelled = Finalizer::new_in(registry, Some(0), notes.hook("cancelled"));
        assert!(cancelled.cancel());
        assert!(!cancelled.cancel());
        assert!(!cancelled.call());
        let dropped = Arc::new(AtomicBool::new(false));
        let loud = Loud(dropped.clone());
        let cleared = Finalizer::new_in(registry, Some(0), move || drop(loud));
        forget_all(&mut registry.lock());
        assert!(!cleared.still_active());
        registry.run(None);
        drop(cleared);
        assert!(notes.taken().is_empty());
        assert!(!dropped.load(Ordering::Relaxed));
    }

    #[test]
    fn the_global_registry_works_and_can_be_held() {
        let notes = Notes::default();
        let hook = notes.hook("mine");
        let finalizer = Finalizer::new(None, hook);
        drop(hold_for_fork());
        assert!(finalizer.still_active());
        drop(finalizer);
        assert_eq!(notes.taken(), ["mine"]);
    }
}
