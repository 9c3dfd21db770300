//! `dummy::CurrentProcess`: the thread as a process that the calling code runs in.
//!
//! Owns what such a thread can say of itself; outside of them it is the process that
//! answers. Neighbour: `process.rs` starts them.

use super::process::{Life, ProcessRef, current};
use std::fmt;
use std::sync::Arc;

/// The thread as a process that the calling code runs in.
#[derive(Clone)]
pub struct CurrentProcess(Option<Arc<Life>>);

/// The thread as a process that the calling code runs in.
pub fn current_process() -> CurrentProcess {
    CurrentProcess(current())
}

impl CurrentProcess {
    /// Its name: that of the process itself outside of what was started here.
    pub fn name(&self) -> String {
        match &self.0 {
            Some(life) => life.name(),
            None => crate::current_process().name(),
        }
    }

    /// The id of the process that it is a thread of.
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Whether it is a daemon.
    pub fn is_daemon(&self) -> bool {
        match &self.0 {
            Some(life) => life.is_daemon(),
            None => crate::current_process().is_daemon(),
        }
    }

    /// True: it is running this code.
    pub fn is_alive(&self) -> bool {
        true
    }

    /// `None`: it has not ended.
    pub fn exitcode(&self) -> Option<i32> {
        None
    }

    /// The key of the process that it is a thread of.
    pub fn authkey(&self) -> Vec<u8> {
        crate::current_process().authkey()
    }
}

impl fmt::Debug for CurrentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(life) => ProcessRef(life.clone()).fmt(f),
            None => crate::current_process().fmt(f),
        }
    }
}
