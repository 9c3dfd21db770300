//! Python's log levels: names, numbers, and what they are to tracing.
//!
//! Owns the table. It must never keep a level: `log` does. The five levels of tracing are
//! SUBDEBUG, DEBUG, INFO, WARNING and ERROR; the others, and numbers in between, are
//! thresholds, or travel with an event in the field [`LEVEL_FIELD`].

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use tracing::Level;

/// The event field that carries an exact level, as a number.
pub const LEVEL_FIELD: &str = "procession.level";

/// A level of Python's `logging` and `multiprocessing`. Levels compare by number, so
/// that `Other(20)` is `Info`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub enum LogLevel {
    /// 0: none was set.
    NotSet,
    /// 5, tracing's TRACE.
    SubDebug,
    /// 10
    Debug,
    /// 20
    Info,
    /// 25
    SubWarning,
    /// 30
    Warning,
    /// 40
    Error,
    /// 50
    Critical,
    /// Any other number.
    Other(u32),
}

const NAMED: [(LogLevel, &str); 8] = [
    (LogLevel::NotSet, "NOTSET"),
    (LogLevel::SubDebug, "SUBDEBUG"),
    (LogLevel::Debug, "DEBUG"),
    (LogLevel::Info, "INFO"),
    (LogLevel::SubWarning, "SUBWARNING"),
    (LogLevel::Warning, "WARNING"),
    (LogLevel::Error, "ERROR"),
    (LogLevel::Critical, "CRITICAL"),
];

impl LogLevel {
    /// Its number.
    pub const fn value(self) -> u32 {
        match self {
            Self::NotSet => 0,
            Self::SubDebug => 5,
            Self::Debug => 10,
            Self::Info => 20,
            Self::SubWarning => 25,
            Self::Warning => 30,
            Self::Error => 40,
            Self::Critical => 50,
            Self::Other(value) => value,
        }
    }

    /// The least verbose tracing level that still lets it through.
    pub(super) const fn as_tracing(self) -> Level {
        match self.value() {
            0..=5 => Level::TRACE,
            6..=10 => Level::DEBUG,
            11..=20 => Level::INFO,
            21..=30 => Level::WARN,
            _ => Level::ERROR,
        }
    }
}

impl From<u32> for LogLevel {
    fn from(value: u32) -> Self {
        let named = NAMED.iter().find(|(level, _)| level.value() == value);
        named.map_or(Self::Other(value), |(level, _)| *level)
    }
}

impl From<LogLevel> for u32 {
    fn from(level: LogLevel) -> Self {
        level.value()
    }
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::TRACE => Self::SubDebug,
            Level::DEBUG => Self::Debug,
            Level::INFO => Self::Info,
            Level::WARN => Self::Warning,
            Level::ERROR => Self::Error,
        }
    }
}

impl From<LogLevel> for Level {
    /// The level at which an event of this level is emitted.
    fn from(level: LogLevel) -> Self {
        level.as_tracing()
    }
}

impl PartialEq for LogLevel {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

impl Eq for LogLevel {}

impl Hash for LogLevel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value().hash(state);
    }
}

impl PartialOrd for LogLevel {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LogLevel {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value().cmp(&other.value())
    }
}

impl fmt::Display for LogLevel {
    /// The name, else Python's `Level 32`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(level, _)| level == self) {
            Some((_, name)) => f.pad(name),
            None => write!(f, "Level {}", self.value()),
        }
    }
}

/// A text that names no level.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown log level {0:?}")]
pub struct ParseLevelError(String);

impl FromStr for LogLevel {
    type Err = ParseLevelError;

    /// Reads a name in any case (`WARN`, `FATAL` and `TRACE` too), a number, or what
    /// `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.trim().to_ascii_uppercase();
        if let Some((level, _)) = NAMED.iter().find(|(_, name)| *name == upper) {
            return Ok(*level);
        }
        match upper.as_str() {
            "WARN" => return Ok(Self::Warning),
            "FATAL" => return Ok(Self::Critical),
            "TRACE" => return Ok(Self::SubDebug),
            _ => {}
        }
        let number = upper.strip_prefix("LEVEL ").unwrap_or(&upper);
        number.parse().map(|value: u32| value.into()).map_err(|_| ParseLevelError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_pythons() {
        let table = [
            (5, "SUBDEBUG"),
            (10, "DEBUG"),
            (20, "INFO"),
            (25, "SUBWARNING"),
            (30, "WARNING"),
            (40, "ERROR"),
            (50, "CRITICAL"),
            (32, "Level 32"),
        ];
        for (value, name) in table {
            let level = LogLevel::from(value);
            assert_eq!(level.value(), value);
            assert_eq!(level.to_string(), name);
            assert_eq!(name.parse(), Ok(level));
            assert_eq!(name.to_lowercase().parse(), Ok(level));
            assert_eq!(value.to_string().parse(), Ok(level));
        }
        assert_eq!("warn".parse(), Ok(LogLevel::Warning));
        assert_eq!(
            "loud".parse::<LogLevel>().unwrap_err().to_string(),
            "unknown log level \"loud\""
        );
    }

    #[test]
    fn levels_compare_by_number() {
        assert_eq!(LogLevel::Other(20), LogLevel::Info);
        assert!(LogLevel::Other(32) > LogLevel::Warning);
        assert!(LogLevel::SubWarning < LogLevel::Warning);
    }

    #[test]
    fn tracing_levels_come_back() {
        for level in [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR] {
            assert_eq!(Level::from(LogLevel::from(level)), level);
        }
        assert_eq!(Level::from(LogLevel::SubWarning), Level::WARN);
        assert_eq!(Level::from(LogLevel::Critical), Level::ERROR);
    }
}
