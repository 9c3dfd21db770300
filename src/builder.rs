//! Options for a process before its start.
//!
//! Owns the plan that a handle keeps until then. It starts nothing.

use crate::error::{EncodeError, Error, Result};
use crate::process::Process;
use procession_protocols::exit::signal_name;
use procession_runtime::codec::{self, Encoded};
use procession_runtime::function::{self, Entry, FunctionRef, NotInImage};
use procession_runtime::launcher::spec::START_TIMEOUT;
use procession_runtime::launcher::{
    EnvChanges, LaunchSpec, ParentDeath, StartError, StartMethod, Stdio,
};
use procession_runtime::node;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

/// What a process is to be; see [`Process::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until build or start"]
pub struct ProcessBuilder<R = ()> {
    plan: std::result::Result<Plan, PlanError>,
    returns: PhantomData<fn() -> R>,
}

#[derive(Debug)]
pub(crate) enum PlanError {
    Encode(EncodeError),
    NotInImage,
}

/// A process that has not been started: function, encoded arguments, options.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: Option<String>,
    pub(crate) daemon: bool,
    pub(crate) authkey: Vec<u8>,
    type_name: String,
    number: u32,
    method: Option<StartMethod>,
    entry: FunctionRef,
    args: Encoded,
    stdio: [Stdio; 3],
    env: EnvChanges,
    current_dir: Option<PathBuf>,
    rlimits: Vec<(u32, u64, u64)>,
    affinity: Option<Vec<usize>>,
    nice: i32,
    on_parent_death: ParentDeath,
    contain: bool,
    ignore_sigint: bool,
    allow_nested: bool,
    start_timeout: Duration,
}
