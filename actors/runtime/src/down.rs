//! The one notice of an incarnation's end.
//!
//! Owns what a monitor is told. It decides nothing: the reaper fills it in.

use crate::sys::process::Usage;
use procession_protocols::exit::{ExitReason, RawStatus};
use procession_protocols::id::ActorId;

/// The end of one incarnation.
#[derive(Debug, Clone)]
pub struct Down {
    /// Who ended.
    pub actor: Option<ActorId>,
    /// Its process id, for an actor that was a process.
    pub pid: Option<u32>,
    /// Its name.
    pub name: String,
    /// Why it ended.
    pub reason: ExitReason,
    /// How the system saw it end.
    pub status: RawStatus,
    /// What it used, when the system said so.
    pub usage: Option<Usage>,
}
