//! Generations of a process: what is true until a fork, and what begins after it.
//!
//! Owns the number that every copy of a process raises. A copy inherits the memory of
//! handles, connections and hosted objects, but none of it is its own: it would speak with
//! its parent's voice. So such state is kept by generation, and what belongs to an older
//! one is neither used nor dropped. It must never lock: a fork may find any lock held.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, OnceLock};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between this process and the start of its image.
#[inline]
pub(crate) fn generation() -> u32 {
    // Only a copy's first and only thread changes it.
    GENERATION.load(Ordering::Relaxed)
}

/// Begins a new generation. Only in a fresh copy of a process.
pub(crate) fn begin() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Has the C library begin a generation in every copy that `fork` makes, the user's own
/// forks too. Cheap after the first call.
pub(crate) fn arm() {
    static ARMED: Once = Once::new();
    ARMED.call_once(|| {
        if let Err(error) = crate::sys::clone::in_forked_children(begin) {
            tracing::warn!(target: "procession", %error, "handles will not notice a fork");
        }
    });
}

/// A value for each generation, the oldest first.
#[derive(Debug)]
pub(crate) struct Era<T> {
    generation: u32,
    pub(crate) state: T,
    next: OnceLock<Box<Era<T>>>,
}

impl<T> Era<T> {
    /// Begins with this generation.
    pub(crate) fn new(state: T) -> Self {
        Self { generation: generation(), state, next: OnceLock::new() }
    }

    /// Whether this generation is now.
    #[inline]
    pub(crate) fn is_now(&self) -> bool {
        self.generation == generation()
    }

    /// The value of this generation, made if there is none yet.
    pub(crate) fn now(&self, make: impl FnOnce() -> T) -> &T {
        let mut era = self;
        loop {
            if era.is_now() {
                return &era.state;
            }
            match era.next.get() {
                Some(next) => era = next,
                None => return &era.next.get_or_init(|| Box::new(Era::new(make()))).state,
            }
        }
    }

    /// The next younger one.
    fn next(&self) -> Option<&Era<T>> {
        self.next.get().map(Box::as_ref)
    }

    /// The next younger value.
    pub(crate) fn next_mut(&mut self) -> Option<&mut Era<T>> {
        self.next.get_mut().map(Box::as_mut)
    }
}

impl<T> Era<Option<T>> {
    /// The oldest value that there is.
    pub(crate) fn first(&self) -> Option<&T> {
        let mut era = self;
        loop {
            match &era.state {
                Some(value) => return Some(value),
                None => era = era.next()?,
            }
        }
    }
}

/// A static that every generation has anew.
#[derive(Debug)]
pub(crate) struct Eras<T>(OnceLock<Era<T>>);

impl<T: Default> Eras<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(crate) fn now(&self) -> &T {
        self.0.get_or_init(|| Era::new(T::default())).now(T::default)
    }
}
