//! What a manager says of its life: the log, in Python's format, from a warning of this
//! program's own to the manager's end.
//!
//! Log lines go to standard error. So that they can be looked at, this program runs itself
//! once more and reads them. An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{LogLevel, Manager, log_to_stderr};
use std::process::{Command, Stdio};

const AGAIN: &str = "PROCESSION_EXAMPLE_LOGS";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    support::start_method_from_args()?;
    if std::env::var_os(AGAIN).is_some() {
        log_to_stderr(LogLevel::Info)?;
        tracing::warn!("doomed");
        // The end of the scope asks it to end, and waits for that.
        Manager::start()?.scope(|_| ())?;
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args().skip(1)).env(AGAIN, "1").stdin(Stdio::null());
    let output = again.output()?;
    print!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
