//! The spawn method: the running image, started afresh.
//!
//! Owns the exec: `/proc/self/exe` (which stays right when the file is replaced or
//! deleted), a neutral argv, the environment with the child's mark, and the two
//! sockets at fixed numbers. Runs on a thread that lives as long as the process only.

use super::child::{CONTROL_FD, DATA_FD, MARK};
use super::hello::Hello;
use super::spec::OpenStdio;
use super::{Ends, LaunchSpec, Raw, StartError};
use crate::sys::process::pidfd_open;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Mutex;

/// What children exec instead of the running image, when the user said so.
static EXECUTABLE: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Sets what children exec; `None` is the running image.
pub fn set_executable(path: Option<PathBuf>) {
    *crate::sync::lock(&EXECUTABLE) = path;
}

/// What children exec instead of the running image.
pub(super) fn executable() -> Option<PathBuf> {
    crate::sync::lock(&EXECUTABLE).clone()
}

/// argv of a child: libtest and clap refuse it, so that a child whose entry was missed
/// cannot run the test suite or the program again.
const ARGV: &str = "--procession-child";

pub(super) fn launch(
    spec: &LaunchSpec,
    hello: &Hello,
    ends: &Ends,
    stdio: &OpenStdio,
) -> Result<Raw, StartError> {
    let path = executable().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let path = c_string(path.as_os_str())?;

    let mut actions = PosixSpawnFileActions::init().map_err(io::Error::from)?;
    for (number, fd) in (0..).zip(&stdio.child) {
        if let Some(fd) = fd {
            actions.add_dup2(fd.as_raw_fd(), number).map_err(io::Error::from)?;
        }
    }
    actions.add_dup2(ends.control.1.as_raw_fd(), CONTROL_FD).map_err(io::Error::from)?;
    actions.add_dup2(ends.data.1.as_raw_fd(), DATA_FD).map_err(io::Error::from)?;

    let program = std::env::args_os().next().unwrap_or_else(|| "procession".into());
    let argv = [c_string(&program)?, c_string(OsStr::new(ARGV))?];
    let mut env = Vec::new();
    for (name, value) in spec.env.apply() {
        env.push(assignment(&name, &value)?);
    }
    env.push(assignment(OsStr::new(MARK), OsStr::new(&hello.nonce.to_string()))?);

    let pid = posix_spawn(path.as_c_str(), &actions, &attributes()?, &argv, &env)
        .map_err(io::Error::from)?;
    match pidfd_open(pid.as_raw()) {
        Ok(pidfd) => Ok(Raw { pid: pid.as_raw().cast_unsigned(), pidfd }),
        Err(error) => {
            super::end_unheld(pid.as_raw());
            Err(error.into())
        }
    }
}

/// Every signal starts unblocked and with its default action.
fn attributes() -> io::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigmask(&SigSet::empty())?;
    let mut all = SigSet::all();
    all.remove(Signal::SIGKILL);
    all.remove(Signal::SIGSTOP);
    // A program under nohup keeps SIGHUP ignored, and so do its children.
    all.remove(Signal::SIGHUP);
    attributes.set_sigdefault(&all)?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
    )?;
    Ok(attributes)
}

fn assignment(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    let bytes = [name.as_bytes(), b"=", value.as_bytes()].concat();
    Ok(CString::new(bytes)?)
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}
