//! Supervision: who is started, stopped and restarted, when, and when to give up.
//!
//! Owns the policy of a supervisor as pure data and pure machines. It must never
//! start, signal or wait for anything, read a clock or draw a random number: time
//! comes with each event, and randomness from a seed. Above it the runtime turns
//! actions into processes, signals and timers, and their ends into events; below it
//! stands only [`ExitReason`](crate::exit::ExitReason).
//!
//! The layers, lowest first: [`intensity`], [`backoff`] and [`watchdog`] are small
//! parts that know nothing of each other; [`spec`] is what a supervisor is given;
//! [`event`] is what goes in and out; `child` is the life of one child; [`policy`]
//! is the supervisor. The terms and meanings are those of Erlang/OTP's supervisor
//! (<https://www.erlang.org/doc/apps/stdlib/supervisor.html>), with what OS processes
//! add: deadlines for starts, backoff, liveness.

pub mod backoff;
mod child;
pub mod event;
pub mod intensity;
pub mod policy;
pub mod spec;
pub mod watchdog;

use std::time::Duration;

/// Whole milliseconds, saturating: the unit of every time in here.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
