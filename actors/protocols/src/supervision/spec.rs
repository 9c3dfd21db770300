//! What a supervisor is given: child specs, a strategy, a budget.
//!
//! Owns these as data, and their check. A spec says nothing about *how* a child is
//! started: whoever runs the policy keeps functions and arguments by child id.

use super::backoff::Backoff;
use super::intensity::Intensity;
use super::millis;
use super::watchdog::WatchdogSettings;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::time::Duration;
use thiserror::Error;

/// When a child that ended of itself is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Always.
    Permanent,
    /// After an abnormal end only, see [`ExitReason::is_clean`](crate::exit::ExitReason::is_clean).
    Transient,
    /// Never. Its spec is dropped when it ends, for whatever cause.
    Temporary,
}

/// How a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shutdown {
    /// SIGKILL at once.
    BrutalKill,
    /// It is asked to stop, and killed when it has not ended by then.
    Timeout(Duration),
    /// It is asked to stop, and waited for.
    Infinity,
}

/// What a child is, for counting, and for the default of its shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildKind {
    /// It does the work.
    Worker,
    /// It supervises others.
    Supervisor,
}

/// What the policy knows of one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildSpec {
    /// Its name, unique within its supervisor.
    pub id: String,
    /// When it is restarted.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// Whether its own end can end the supervisor, see [`AutoShutdown`].
    pub significant: bool,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// How long it may take to become ready.
    pub start_timeout: Duration,
    /// Delays between restarts; `None`: restarts are immediate.
    pub backoff: Option<Backoff>,
    /// Liveness checks; `None`: there are none. The policy only carries them.
    pub watchdog: Option<WatchdogSettings>,
}

impl ChildSpec {
    /// A permanent worker: 5 s to stop, 10 s to start.
    pub fn worker(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            restart: Restart::Permanent,
            shutdown: Shutdown::Timeout(Duration::from_secs(5)),
            significant: false,
            kind: ChildKind::Worker,
            start_timeout: Duration::from_secs(10),
            backoff: None,
            watchdog: None,
        }
    }

    /// A permanent supervisor: its subtree gets all the time it needs to stop.
    pub fn supervisor(id: impl Into<String>) -> Self {
        Self { shutdown: Shutdown::Infinity, kind: ChildKind::Supervisor, ..Self::worker(id) }
    }

    /// Checks this spec alone.
    ///
    /// # Errors
    ///
    /// A [`SpecError`] that names the child.
    pub fn check(&self, auto_shutdown: AutoShutdown) -> Result<(), SpecError> {
        let id = || self.id.clone();
        if self.significant && self.restart == Restart::Permanent {
            return Err(SpecError::SignificantPermanent(id()));
        }
        if self.significant && auto_shutdown == AutoShutdown::Never {
            return Err(SpecError::SignificantNeverShutsDown(id()));
        }
        if self.start_timeout.is_zero() {
            return Err(SpecError::ZeroStartTimeout(id()));
        }
        if self
            .backoff
            .is_some_and(|b| b.base.is_zero() || b.cap < b.base || b.jitter_percent > 100)
        {
            return Err(SpecError::Backoff(id()));
        }
        if self.watchdog.is_some_and(|w| millis(w.interval) == 0 || w.missed == 0) {
            return Err(SpecError::Watchdog(id()));
        }
        Ok(())
    }
}

/// Which children a death concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// The dead child only.
    OneForOne,
    /// All: the others are stopped in reverse order, then all started in order.
    OneForAll,
    /// The dead child and all after it.
    RestForOne,
    /// OTP's `simple_one_for_one`: the one spec is a template, children come and go
    /// at run time and are addressed by incarnation.
    Dynamic {
        /// How many children there may be at once.
        max_children: usize,
    },
}

/// Whether the own end of significant children ends their supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AutoShutdown {
    /// No.
    #[default]
    Never,
    /// The end of any one does.
    AnySignificant,
    /// The end of the last one does.
    AllSignificant,
}

/// A supervisor as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorSpec {
    /// Which children a death concerns.
    pub strategy: Strategy,
    /// The restart budget, for all children together.
    pub intensity: Intensity,
    /// Whether significant children end the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// The children in start order; for [`Strategy::Dynamic`] exactly the template.
    pub children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// A supervisor without children, with the default budget.
    pub fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            intensity: Intensity::default(),
            auto_shutdown: AutoShutdown::default(),
            children: Vec::new(),
        }
    }
}

/// Why a supervisor or child spec is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Two children have this id.
    #[error("child id {0:?} occurs twice")]
    DuplicateId(String),
    /// A permanent child never ends for good, so it cannot be significant.
    #[error("child {0:?} is significant and permanent")]
    SignificantPermanent(String),
    /// A significant child under a supervisor that never shuts down by itself.
    #[error("child {0:?} is significant, but auto_shutdown is never")]
    SignificantNeverShutsDown(String),
    /// Nothing can start in no time.
    #[error("child {0:?} has a start_timeout of 0")]
    ZeroStartTimeout(String),
    /// The base is 0 or above the cap, or the jitter is above 100 %.
    #[error("child {0:?} has a backoff out of range")]
    Backoff(String),
    /// The interval is below 1 ms, or no ping may be missed.
    #[error("child {0:?} has a watchdog out of range")]
    Watchdog(String),
    /// The period of the intensity is 0.
    #[error("the restart period is 0")]
    ZeroPeriod,
    /// A dynamic supervisor has exactly one spec, its template.
    #[error("a dynamic supervisor needs exactly one child spec, got {0}")]
    TemplateCount(usize),
}

/// What is allowed, and most likely not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecWarning {
    /// The backoff of this child spreads its restarts so far that they never exceed
    /// the intensity: it can fail for ever without anybody giving up.
    NeverGivesUp(String),
}

/// Checks a supervisor and its children.
///
/// # Errors
///
/// The first [`SpecError`] found.
pub fn check_childspecs(spec: &SupervisorSpec) -> Result<Vec<SpecWarning>, SpecError> {
    if spec.intensity.period.is_zero() {
        return Err(SpecError::ZeroPeriod);
    }
    if matches!(spec.strategy, Strategy::Dynamic { .. }) && spec.children.len() != 1 {
        return Err(SpecError::TemplateCount(spec.children.len()));
    }
    let mut ids = HashSet::new();
    let mut warnings = Vec::new();
    for child in &spec.children {
        child.check(spec.auto_shutdown)?;
        if !ids.insert(child.id.as_str()) {
            return Err(SpecError::DuplicateId(child.id.clone()));
        }
        if child.backoff.is_some_and(|backoff| {
            backoff.base.saturating_mul(spec.intensity.max_restarts) > spec.intensity.period
        }) {
            warnings.push(SpecWarning::NeverGivesUp(child.id.clone()));
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(children: Vec<ChildSpec>) -> SupervisorSpec {
        SupervisorSpec { children, ..SupervisorSpec::new(Strategy::OneForOne) }
    }

    #[test]
    fn defaults_are_those_of_otp() {
        assert_eq!(ChildSpec::worker("a").shutdown, Shutdown::Timeout(Duration::from_secs(5)));
        assert_eq!(ChildSpec::supervisor("a").shutdown, Shutdown::Infinity);
        assert_eq!(ChildSpec::worker("a").start_timeout, Duration::from_secs(10));
        assert_eq!(check_childspecs(&with(vec![ChildSpec::worker("a")])), Ok(vec![]));
    }

    #[test]
    fn ids_are_unique() {
        let twice = with(vec![ChildSpec::worker("a"), ChildSpec::supervisor("a")]);
        assert_eq!(check_childspecs(&twice), Err(SpecError::DuplicateId("a".into())));
    }

    #[test]
    fn significant_needs_an_end_and_a_use() {
        let mut spec = with(vec![ChildSpec { significant: true, ..ChildSpec::worker("a") }]);
        assert_eq!(check_childspecs(&spec), Err(SpecError::SignificantPermanent("a".into())));
        spec.children[0].restart = Restart::Transient;
        assert_eq!(check_childspecs(&spec), Err(SpecError::SignificantNeverShutsDown("a".into())));
        spec.auto_shutdown = AutoShutdown::AnySignificant;
        assert_eq!(check_childspecs(&spec), Ok(vec![]));
    }

    #[test]
    fn a_budget_that_backoff_never_lets_trip_is_warned_about() {
        let slow = Backoff { base: Duration::from_secs(6), ..Backoff::default() };
        let spec = with(vec![ChildSpec { backoff: Some(slow), ..ChildSpec::worker("a") }]);
        assert_eq!(check_childspecs(&spec), Ok(vec![SpecWarning::NeverGivesUp("a".into())]));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let child = ChildSpec::worker("a");
        let no_time = ChildSpec { start_timeout: Duration::ZERO, ..child.clone() };
        assert_eq!(
            check_childspecs(&with(vec![no_time])),
            Err(SpecError::ZeroStartTimeout("a".into()))
        );
        let wild = Backoff { jitter_percent: 101, ..Backoff::default() };
        let wild = ChildSpec { backoff: Some(wild), ..child.clone() };
        assert_eq!(check_childspecs(&with(vec![wild])), Err(SpecError::Backoff("a".into())));
        let blind = WatchdogSettings { missed: 0, ..WatchdogSettings::default() };
        let blind = ChildSpec { watchdog: Some(blind), ..child };
        assert_eq!(check_childspecs(&with(vec![blind])), Err(SpecError::Watchdog("a".into())));
        let dynamic = SupervisorSpec::new(Strategy::Dynamic { max_children: 4 });
        assert_eq!(check_childspecs(&dynamic), Err(SpecError::TemplateCount(0)));
    }
}
