//! Logging in Python's format: `[INFO/Process-1] child process calling self.run()`.
//!
//! Owns the tracing layer that writes to stderr, its level, and a child's root span. It
//! must never install anything without being asked, nor replace a subscriber that the
//! user installed. Its neighbours: `log::level` names the levels, `log::line` writes the
//! lines; the node code above says the process's name and, in a child, where long lines
//! go; `log::relayed` holds the lines of children until they are written.
//!
//! The library's own events have targets that start with `procession`; nothing is
//! written before [`log_to_stderr`] (or the user's own subscriber) asks for it. Events
//! of users, whatever their target, go through the same layer. After the message come
//! the event's fields, and, where [`show_pid`] asks for it, the pid.

mod level;
mod line;
pub(crate) mod relayed;

pub use level::{LEVEL_FIELD, LogLevel, ParseLevelError};
pub(crate) use line::write_here;
pub use line::{
    ForkHold, LongLineSink, PIPE_BUF, hold_for_fork, process_name, set_long_line_sink,
    set_process_name, show_pid, shows_pid, write_line,
};

use line::Output;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Span, Subscriber, dispatcher};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// The level that counts while none is set, as that of Python's root logger.
const UNSET_MEANS: LogLevel = LogLevel::Warning;

static LEVEL: AtomicU32 = AtomicU32::new(0);
static INSTALLING: Mutex<()> = Mutex::new(());

/// Why logging to stderr could not be switched on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogError {
    /// The program has a global subscriber of its own. Adding [`layer`] to it, before it
    /// is installed, gives the same lines.
    #[error("a tracing subscriber is installed already; add procession's layer to it instead")]
    SubscriberInstalled,
}

/// Writes events from `level` on to stderr, in Python's format. Called again it changes
/// the level; so it does where the user's subscriber has [`layer`] in it.
///
/// # Errors
/// [`LogError::SubscriberInstalled`] when the user's subscriber has not.
pub fn log_to_stderr(level: impl Into<LogLevel>) -> Result<(), LogError> {
    let installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if !writes_to_stderr() {
        let subscriber = Registry::default().with(layer());
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|_| LogError::SubscriberInstalled)?;
    }
    drop(installing);
    set_level(level);
    Ok(())
}

/// [`log_to_stderr`] for a child, with the level that its parent had set; a forked child
/// has its parent's layer already, and only takes the level.
///
/// # Errors
/// As [`log_to_stderr`].
pub fn install_in_child(level: impl Into<LogLevel>) -> Result<(), LogError> {
    log_to_stderr(level)
}

/// Sets the level without switching anything on; [`LogLevel::NotSet`] unsets it.
pub fn set_level(level: impl Into<LogLevel>) {
    LEVEL.store(level.into().value(), Ordering::Relaxed);
    // Call sites remember whether anybody wants them; they have to ask again.
    tracing_core::callsite::rebuild_interest_cache();
}

/// The level that was set, which children inherit; `None` when none was.
pub fn level() -> Option<LogLevel> {
    Some(LogLevel::from(LEVEL.load(Ordering::Relaxed))).filter(|level| *level != LogLevel::NotSet)
}

/// The level that counts: the one that was set, else WARNING.
pub fn effective_level() -> LogLevel {
    level().unwrap_or(UNSET_MEANS)
}

/// Whether the current subscriber has our layer, so that children should have it too.
pub fn writes_to_stderr() -> bool {
    dispatcher::get_default(|current| current.downcast_ref::<StderrLayer>().is_some())
}

/// The layer that [`log_to_stderr`] installs, for a subscriber of the user's. It filters
/// for itself alone: other layers see what they would have seen without it.
pub fn layer<S>() -> impl Layer<S> + Send + Sync + 'static
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    StderrLayer { output: line::stderr(), level: &LEVEL }.filtered()
}

/// Logs `message` under the target `procession` with any of Python's levels, those
/// included for which tracing has no name.
pub fn log(level: impl Into<LogLevel>, message: fmt::Arguments<'_>) {
    /// One call site per tracing level, since a call site's level is fixed.
    macro_rules! at {
        ($level:expr, $value:expr) => {
            tracing::event!(target: "procession", $level, procession.level = $value, "{message}")
        };
    }
    let level = level.into();
    let value = level.value();
    match level.as_tracing() {
        Level::TRACE => at!(Level::TRACE, value),
        Level::DEBUG => at!(Level::DEBUG, value),
        Level::INFO => at!(Level::INFO, value),
        Level::WARN => at!(Level::WARN, value),
        Level::ERROR => at!(Level::ERROR, value),
    }
}

/// The names of the spans that the caller is in, outermost first. Known where the
/// current subscriber keeps spans in a [`Registry`]; elsewhere empty.
pub fn current_span_names() -> Vec<String> {
    dispatcher::get_default(|current| {
        let registry = current.downcast_ref::<Registry>()?;
        let id = registry.current_span().id()?.clone();
        let scope = registry.span(&id)?.scope();
        Some(scope.from_root().map(|span| span.name().to_owned()).collect())
    })
    .unwrap_or_default()
}

/// The span in which a child runs: who it is, and what its parent was doing when it
/// started it. It has the level of errors, so that no level of lines switches it off.
pub fn child_root_span(parent_spans: &[String], ppid: u32) -> Span {
    tracing::error_span!(
        target: "procession",
        parent: None,
        "process",
        process = %process_name(),
        pid = std::process::id(),
        ppid,
        parent_spans = parent_spans.join(":"),
    )
}

/// Formats events and hands the lines to an output.
struct StderrLayer {
    output: &'static Output,
    level: &'static AtomicU32,
}

impl StderrLayer {
    fn filtered<S>(self) -> impl Layer<S> + Send + Sync + 'static
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let level = self.level;
        self.with_filter(LevelOf(level))
    }
}

impl<S: Subscriber> Layer<S> for StderrLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = fields.level.unwrap_or_else(|| LogLevel::from(*event.metadata().level()));
        if level >= threshold(self.level) {
            self.output.event(level, &fields.message, &fields.others);
        }
    }
}

/// Lets through what the layer would write.
struct LevelOf(&'static AtomicU32);

impl LevelOf {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        // Spans name what a process was doing, which its children inherit; they are kept
        // from INFO on whatever the level of lines. The exact level of an event that
        // carries one is read when it happens.
        (metadata.is_span() && *metadata.level() <= Level::INFO)
            || metadata.fields().field(LEVEL_FIELD).is_some()
            || LogLevel::from(*metadata.level()) >= threshold(self.0)
    }
}

impl<S> Filter<S> for LevelOf {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let lines = threshold(self.0).as_tracing();
        Some(LevelFilter::from_level(lines.max(Level::INFO)))
    }
}

fn threshold(level: &AtomicU32) -> LogLevel {
    match LogLevel::from(level.load(Ordering::Relaxed)) {
        LogLevel::NotSet => UNSET_MEANS,
        level => level,
    }
}

/// An event's parts as text.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
    level: Option<LogLevel>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        use fmt::Write;
        // Writing to a String fails only when the user's own Display or Debug does; what
        // it had written by then is kept.
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            LEVEL_FIELD => Ok(()),
            name => write!(self.others, " {}={value}", name.strip_prefix("r#").unwrap_or(name)),
        };
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == LEVEL_FIELD {
            self.level = u32::try_from(value).ok().map(LogLevel::from);
        }
        self.add(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == LEVEL_FIELD {
            self.level = u32::try_from(value).ok().map(LogLevel::from);
        }
        self.add(field, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.add(field, format_args!("{value}"));
        } else {
            self.add(field, format_args!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests;
