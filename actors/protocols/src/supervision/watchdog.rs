//! The watchdog: whether a child that still exists is alive, and gets on.
//!
//! Owns the decision from pings, their answers, and the beginning and end of
//! handlers. It sends no ping and kills nothing: the runtime above does, on its word.
//! Its neighbour is the policy, which sees the end that follows as reason `hung`.
//!
//! ```text
//!            tick: fewer unanswered than `missed`          tick: `missed` unanswered,
//!           +-------------- Ping ---------------+          or no progress in time
//!           v                                   |
//!        Watching ------------------------------+--------------------> Hung
//!           ^                                   |
//!           +-- tick late by over an interval --+
//!               (everything re-armed, nothing killed)
//! ```

use super::millis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The settings of one child's watchdog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogSettings {
    /// The time between two pings.
    pub interval: Duration,
    /// How many pings in a row may stay unanswered before the child counts as hung.
    pub missed: u32,
    /// How long a handler may take without a sign of progress; `None`: for ever.
    pub handler_timeout: Option<Duration>,
}

/// A ping each second, hung after 3 without answer, handlers take what they take.
impl Default for WatchdogSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), missed: 3, handler_timeout: None }
    }
}

/// What a child did not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HungCause {
    /// It answered none of the last pings.
    NoAnswer,
    /// Its handler neither returned nor said that it is getting on.
    NoProgress,
}

/// What a tick asks of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is too early: tick again at `next_tick_ms`.
    Wait,
    /// Send a ping with this number.
    Ping(u64),
    /// Kill the child by SIGKILL, and report its end as `ExitReason::Hung`.
    Hung(HungCause),
}

/// The watchdog of one incarnation.
#[derive(Debug, Clone)]
pub struct Watchdog {
    settings: WatchdogSettings,
    next_tick_ms: u64,
    sent: u64,
    answered: u64,
    /// Since when the handler at work has shown no progress.
    busy_since_ms: Option<u64>,
}

impl Watchdog {
    /// A watchdog over a child that became ready at `now_ms`.
    pub fn new(settings: WatchdogSettings, now_ms: u64) -> Self {
        let next_tick_ms = now_ms.saturating_add(millis(settings.interval));
        Self { settings, next_tick_ms, sent: 0, answered: 0, busy_since_ms: None }
    }

    /// When the next tick is due.
    pub fn next_tick_ms(&self) -> u64 {
        self.next_tick_ms
    }

    /// Judges the child. Call it when `next_tick_ms` has come.
    #[must_use]
    pub fn tick(&mut self, now_ms: u64) -> Verdict {
        if now_ms < self.next_tick_ms {
            return Verdict::Wait;
        }
        let interval_ms = millis(self.settings.interval);
        if now_ms - self.next_tick_ms > interval_ms {
            // We ourselves were stopped, or the host slept. The answers may lie
            // unread, so what we think is missing proves nothing about the child.
            self.answered = self.sent;
            self.busy_since_ms = self.busy_since_ms.map(|_| now_ms);
        }
        self.next_tick_ms = now_ms.saturating_add(interval_ms);
        if self.sent - self.answered >= u64::from(self.settings.missed) {
            return Verdict::Hung(HungCause::NoAnswer);
        }
        if let (Some(since_ms), Some(timeout)) = (self.busy_since_ms, self.settings.handler_timeout)
            && now_ms.saturating_sub(since_ms) >= millis(timeout)
        {
            return Verdict::Hung(HungCause::NoProgress);
        }
        self.sent += 1;
        Verdict::Ping(self.sent)
    }

    /// The child answered ping `number`. An answer also stands for all earlier ones.
    pub fn answered(&mut self, number: u64) {
        self.answered = self.answered.max(number.min(self.sent));
    }

    /// A handler began, or called `keepalive()`.
    pub fn progress(&mut self, now_ms: u64) {
        self.busy_since_ms = Some(now_ms);
    }

    /// The handler returned; an idle child owes no progress.
    pub fn idle(&mut self) {
        self.busy_since_ms = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog(handler_timeout_s: Option<u64>) -> Watchdog {
        let handler_timeout = handler_timeout_s.map(Duration::from_secs);
        Watchdog::new(WatchdogSettings { handler_timeout, ..WatchdogSettings::default() }, 0)
    }

    #[test]
    fn three_unanswered_pings_are_hung() {
        let mut dog = watchdog(None);
        assert_eq!(dog.tick(500), Verdict::Wait);
        assert_eq!(dog.tick(1_000), Verdict::Ping(1));
        assert_eq!(dog.tick(2_000), Verdict::Ping(2));
        assert_eq!(dog.tick(3_000), Verdict::Ping(3));
        assert_eq!(dog.tick(4_000), Verdict::Hung(HungCause::NoAnswer));
    }

    #[test]
    fn an_answer_keeps_a_child_alive_and_a_forged_one_does_not_count_ahead() {
        let mut dog = watchdog(None);
        for second in 1..100 {
            assert_eq!(dog.tick(second * 1_000), Verdict::Ping(second));
            dog.answered(second);
        }
        dog.answered(u64::MAX);
        for second in 100..103 {
            assert_eq!(dog.tick(second * 1_000), Verdict::Ping(second));
        }
        assert_eq!(dog.tick(103_000), Verdict::Hung(HungCause::NoAnswer));
    }

    #[test]
    fn a_late_tick_re_arms_everything_and_kills_nothing() {
        let mut dog = watchdog(Some(5));
        dog.progress(900);
        for second in 1..=3 {
            assert_eq!(dog.tick(second * 1_000), Verdict::Ping(second));
        }
        assert_eq!(dog.tick(60_000), Verdict::Ping(4), "the host slept");
        assert_eq!(dog.tick(61_000), Verdict::Ping(5));
        assert_eq!(dog.tick(62_000), Verdict::Ping(6));
        assert_eq!(dog.tick(63_000), Verdict::Hung(HungCause::NoAnswer), "and it really hangs");
    }

    #[test]
    fn a_handler_without_progress_is_hung_though_pings_are_answered() {
        let mut dog = watchdog(Some(3));
        dog.progress(0);
        for second in 1..=5 {
            assert_eq!(dog.tick(second * 1_000), Verdict::Ping(second));
            dog.answered(second);
            if second == 2 {
                dog.progress(2_500); // keepalive()
            }
        }
        assert_eq!(dog.tick(6_000), Verdict::Hung(HungCause::NoProgress));
    }

    #[test]
    fn an_idle_child_owes_no_progress() {
        let mut dog = watchdog(Some(1));
        dog.progress(0);
        dog.idle();
        assert_eq!(dog.tick(2_000), Verdict::Ping(1));
    }
}
