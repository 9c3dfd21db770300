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
pub(crate) struct Progress {
    shown: Option<Shown>,
}

struct Shown {
    bar: ProgressBar,
    /// Whose workers may have to be replaced; threads have none.
    core: Option<Arc<Core>>,
    restarts_before: u64,
    failures: u64,
    looked: Instant,
}

impl Progress {
    /// For so many inputs, if that is known; nothing unless it is wanted.
    pub(crate) fn new(is_wanted: bool, core: Option<&Arc<Core>>, total: Option<u64>) -> Self {
        let bar = is_wanted.then(|| total.map_or_else(ProgressBar::no_length, ProgressBar::new));
        let Some(bar) = bar.filter(|bar| !bar.is_hidden()) else { return Self { shown: None } };
        let template = if total.is_some() { BAR } else { SPINNER };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let core = core.cloned();
        let (failures, looked) = (0, Instant::now());
        let mut shown = Shown { bar, core, restarts_before: 0, failures, looked };
        shown.restarts_before = shown.restarts();
        Self { shown: Some(shown) }
    }

    /// So many more are done, some of which failed.
    pub(crate) fn done(&mut self, items: u64, failures: u64) {
        let Some(shown) = &mut self.shown else { return };
        shown.failures += failures;
        shown.bar.inc(items);
        if failures > 0 || shown.looked.elapsed() >= LOOK {
            shown.look();
        }
    }
}

impl Shown {
    /// How many workers have been replaced so far.
    fn restarts(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| core.restarts())
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        let restarts = self.restarts() - self.restarts_before;
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
