//! Restart intensity: how many restarts within which time are too many.
//!
//! Owns the sliding window of one supervisor's restart attempts. It never decides
//! what counts as an attempt: the policy above does.

use super::millis;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// The restart budget of a supervisor: more than `max_restarts` attempts within
/// `period`, and it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intensity {
    /// Attempts that are still tolerated within the period; 0 tolerates none.
    pub max_restarts: u32,
    /// The length of the window.
    pub period: Duration,
}

/// OTP's default: 1 restart in 5 seconds.
impl Default for Intensity {
    fn default() -> Self {
        Self { max_restarts: 1, period: Duration::from_secs(5) }
    }
}

/// The attempts of the last period. Holds at most `max_restarts` times.
#[derive(Debug, Clone)]
pub struct RestartWindow {
    intensity: Intensity,
    attempts_ms: VecDeque<u64>,
}

impl RestartWindow {
    /// An empty window.
    pub fn new(intensity: Intensity) -> Self {
        Self { intensity, attempts_ms: VecDeque::new() }
    }

    /// Notes an attempt, and says whether it is within the budget. An attempt that
    /// is exactly one period old still counts, as in OTP.
    #[must_use]
    pub fn record(&mut self, now_ms: u64) -> bool {
        let period_ms = millis(self.intensity.period);
        while self.attempts_ms.front().is_some_and(|&at| now_ms.saturating_sub(at) > period_ms) {
            self.attempts_ms.pop_front();
        }
        let within = self.attempts_ms.len() < self.intensity.max_restarts as usize;
        if within {
            self.attempts_ms.push_back(now_ms);
        }
        within
    }

    /// The budget that this window applies.
    pub fn intensity(&self) -> Intensity {
        self.intensity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(max_restarts: u32) -> RestartWindow {
        RestartWindow::new(Intensity { max_restarts, period: Duration::from_secs(5) })
    }

    #[test]
    fn one_more_than_the_intensity_is_too_many() {
        let mut window = window(2);
        assert!(window.record(0));
        assert!(window.record(1));
        assert!(!window.record(2));
    }

    #[test]
    fn an_intensity_of_zero_tolerates_nothing() {
        assert!(!window(0).record(0));
    }

    #[test]
    fn attempts_older_than_the_period_are_forgotten() {
        let mut window = window(1);
        assert!(window.record(0));
        assert!(!window.record(5_000), "exactly one period old still counts");
        assert!(window.record(5_001));
    }
}
