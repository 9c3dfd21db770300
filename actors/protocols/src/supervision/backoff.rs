//! Backoff: how long a child that keeps dying waits for its next restart.
//!
//! Owns the delay as a function of how often the child was restarted since it was
//! last healthy, and the jitter's random numbers. It keeps no timer and reads no
//! clock; the policy above counts restarts and sets timers.

use super::millis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The settings of one child's backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The delay before the second restart; it doubles with each further one.
    pub base: Duration,
    /// The delay grows no further than this (the jitter comes on top).
    pub cap: Duration,
    /// The delay is spread by up to this many percent, up and down.
    pub jitter_percent: u8,
    /// A life of at least this length, counted from Ready, was healthy: after it
    /// the next restart is immediate again.
    pub healthy_after: Duration,
}

/// 100 ms, doubling up to 30 s, spread by 20 %, healthy after 30 s.
impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(30),
            jitter_percent: 20,
            healthy_after: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// The delay before a restart that `restarts` others preceded since the child
    /// was last healthy: none before the first, then `base`, doubling up to `cap`.
    pub fn delay_ms(&self, restarts: u32, random: &mut SplitMix) -> u64 {
        let Some(doublings) = restarts.checked_sub(1) else { return 0 };
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        let delay_ms = millis(self.base).saturating_mul(factor).min(millis(self.cap));
        // Divided first: a cap of centuries must not overflow.
        let spread_ms = delay_ms / 100 * u64::from(self.jitter_percent)
            + delay_ms % 100 * u64::from(self.jitter_percent) / 100;
        let drawn_ms = random.next() % spread_ms.saturating_mul(2).saturating_add(1);
        (delay_ms - spread_ms).saturating_add(drawn_ms)
    }
}

/// A tiny deterministic generator, so that a run can be repeated from its seed.
/// `SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>. Not for secrets.
#[derive(Debug, Clone)]
pub struct SplitMix(u64);

impl SplitMix {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Backoff {
        Backoff { jitter_percent: 0, ..Backoff::default() }
    }

    #[test]
    fn the_first_restart_is_immediate_and_then_the_delay_doubles_up_to_the_cap() {
        let mut random = SplitMix::new(1);
        let delays: Vec<u64> =
            [0, 1, 2, 3, 9, 10, 64, 65, u32::MAX].map(|n| plain().delay_ms(n, &mut random)).into();
        assert_eq!(delays, [0, 100, 200, 400, 25_600, 30_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn jitter_spreads_within_its_percentage_both_ways() {
        let mut random = SplitMix::new(7);
        let delays: Vec<u64> =
            (0..1_000).map(|_| Backoff::default().delay_ms(1, &mut random)).collect();
        assert!(delays.iter().all(|delay| (80..=120).contains(delay)));
        assert!(delays.iter().any(|&delay| delay < 90) && delays.iter().any(|&delay| delay > 110));
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        let extreme = Backoff {
            base: Duration::MAX,
            cap: Duration::MAX,
            jitter_percent: 100,
            healthy_after: Duration::ZERO,
        };
        let mut random = SplitMix::new(7);
        for restarts in [0, 1, 2, 63, 64, 65, u32::MAX] {
            extreme.delay_ms(restarts, &mut random);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut one, mut other) = (SplitMix::new(42), SplitMix::new(42));
        assert!((0..100).all(|_| one.next() == other.next()));
        assert_eq!(SplitMix::new(0).next(), 0xE220_A839_7B1D_CDAF, "the reference's first number");
    }
}
