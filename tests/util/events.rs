//! What a process logs, for tests that count it.
//!
//! Owns the process's one subscriber, so a test that counts everything runs alone.

use std::io::{self, Write};
use std::sync::{Mutex, Once, PoisonError};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Recorder;

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on warnings and errors of this process are kept.
pub(crate) fn record() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_writer(|| Recorder).with_ansi(false);
        subscriber.with_max_level(tracing::Level::WARN).init();
    });
}

/// Those with this in them, each on a line of its own.
pub(crate) fn with(what: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(&lines);
    text.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
}
