//! `Progress`: the bar of a map on a terminal.
//!
//! Owns what is shown: how many inputs are done, how fast, for how long still, how many
//! failed, and how many workers had to be replaced meanwhile. It must never be what a map
//! waits for. Neighbours: `tasks` and `imap` tell it of results.

use indicatif::{ProgressBar, ProgressStyle};
use procession_runtime::pool::Core;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often failures and restarts are looked up.
const LOOK: Duration = Duration::from_millis(200);

/// With the number of inputs known, and without.
const BAR: &str = "{bar:40} {pos}/{len} {per_sec} eta {eta} {msg}";
const SPINNER: &str = "{spinner} {pos} {per_sec} {msg}";

/// Shown while it lives, on standard error if that is a terminal; else it costs a branch.
pub(super) struct Progress {
    shown: Option<Shown>,
}

struct Shown {
    bar: ProgressBar,
    core: Arc<Core>,
    restarts_before: u64,
    failures: u64,
    looked: Instant,
}

impl Progress {
    /// For so many inputs, if that is known; nothing unless it is wanted.
    pub(super) fn new(is_wanted: bool, core: &Arc<Core>, total: Option<u64>) -> Self {
        let bar = is_wanted.then(|| total.map_or_else(ProgressBar::no_length, ProgressBar::new));
        let Some(bar) = bar.filter(|bar| !bar.is_hidden()) else { return Self { shown: None } };
        let template = if total.is_some() { BAR } else { SPINNER };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let restarts_before = core.sight().restarts;
        let core = core.clone();
        Self {
            shown: Some(Shown { bar, core, restarts_before, failures: 0, looked: Instant::now() }),
        }
    }

    /// So many more are done, some of which failed.
    pub(super) fn done(&mut self, items: u64, failures: u64) {
        let Some(shown) = &mut self.shown else { return };
        shown.failures += failures;
        shown.bar.inc(items);
        if failures > 0 || shown.looked.elapsed() >= LOOK {
            shown.look();
        }
    }
}

impl Shown {
    fn look(&mut self) {
        self.looked = Instant::now();
        let restarts = self.core.sight().restarts - self.restarts_before;
        let said = [(self.failures, "failed"), (restarts, "restarts")];
        let said = said.iter().filter(|(count, _)| *count > 0);
        let said: Vec<_> = said.map(|(count, what)| format!("{count} {what}")).collect();
        self.bar.set_message(said.join(", "));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(shown) = &mut self.shown {
            shown.look();
            // What is not done stays undone in the picture.
            shown.bar.abandon();
        }
    }
}
