//! Looking again for a little while before a thread goes to sleep.
//!
//! Owns the decision whether that is worth it. Where an answer comes within microseconds, to
//! be there when it comes saves a sleep and a wake, which cost more than the work itself. On
//! a machine that has no idle processor it takes time from whoever is to answer. So a place
//! that waits remembers how its last looks went: each one that was in vain makes the next
//! ones go to sleep at once, twice as many as the one before. It must never look for
//! anything that is not about to come.

use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A look takes no longer than a sleep and a wake do.
const LOOK: Duration = Duration::from_micros(20);

/// So many looks in vain one after another are told apart: after them 2^10 waits pass
/// before the next one.
const MOST_IN_VAIN: u32 = 10;

/// What a place that waits remembers.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    /// Looks in vain since the last that was not.
    in_vain: AtomicU32,
    /// Waits that are to pass before the next look.
    to_pass: AtomicU32,
}

impl Spin {
    /// Tries until it gives something, or until it is time to sleep.
    ///
    /// # Errors
    /// What the attempt says.
    pub(crate) fn until<T, E>(
        &self,
        mut attempt: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        if !may_help() || self.passes() {
            return Ok(None);
        }
        let begun = Instant::now();
        loop {
            if let Some(found) = attempt()? {
                self.in_vain.store(0, Ordering::Relaxed);
                return Ok(Some(found));
            }
            if begun.elapsed() >= LOOK {
                let in_vain = self.in_vain.load(Ordering::Relaxed).min(MOST_IN_VAIN);
                self.to_pass.store(1 << in_vain, Ordering::Relaxed);
                self.in_vain.store((in_vain + 1).min(MOST_IN_VAIN), Ordering::Relaxed);
                return Ok(None);
            }
        }
    }

    /// Waits until something in the set is ready, which is looked for first: how much is.
    ///
    /// # Errors
    /// As those of the wait.
    pub(crate) fn ready(&self, epoll: &Epoll, events: &mut [EpollEvent]) -> nix::Result<usize> {
        let mut look = || epoll.wait(events, EpollTimeout::ZERO);
        match self.until(|| look().map(|ready| (ready > 0).then_some(ready)))? {
            Some(ready) => Ok(ready),
            None => epoll.wait(events, EpollTimeout::NONE),
        }
    }

    fn passes(&self) -> bool {
        let to_pass = self.to_pass.load(Ordering::Relaxed);
        if to_pass > 0 {
            // Two at once may count as one: it is a hint.
            self.to_pass.store(to_pass - 1, Ordering::Relaxed);
        }
        to_pass > 0
    }
}

/// Alone on a processor, whoever looks keeps away whoever would answer.
fn may_help() -> bool {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, Into::into)) > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_vain_become_rare_until_one_is_not() {
        if !may_help() {
            return;
        }
        let spin = Spin::default();
        let looks = |waits: u32| {
            (0..waits)
                .filter(|_| {
                    let mut has_looked = false;
                    let nothing: Result<Option<()>, ()> = spin.until(|| {
                        has_looked = true;
                        Ok(None)
                    });
                    assert_eq!(nothing, Ok(None));
                    has_looked
                })
                .count()
        };
        // 1 + 1, 1 + 2, 1 + 4, ...
        assert_eq!(looks(2 + 3 + 5 + 9), 4);
        assert_eq!(looks(17), 1);
        while spin.until(|| Ok::<_, ()>(Some(7))).unwrap().is_none() {}
        assert_eq!(looks(2 + 3), 2);
    }

    #[test]
    fn what_is_there_is_found_and_an_error_is_told() {
        let spin = Spin::default();
        if may_help() {
            assert_eq!(spin.until(|| Ok::<_, ()>(Some(1))), Ok(Some(1)));
            assert_eq!(spin.until(|| Err::<Option<()>, _>(2)), Err(2));
        }
    }
}
