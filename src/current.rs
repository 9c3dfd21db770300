//! This process, its parent, and its children.
//!
//! Owns the handles that are not made by starting something.

use crate::error::Result;
use crate::process::ProcessRef;
use crate::wait::wait_async;
use procession_runtime::launcher::StartMethod;
use procession_runtime::node::{self, Node};
use procession_runtime::sync::{after, readable};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{ffi::OsString, fmt};

/// A parent of which there is no descriptor is looked at this often.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// The process that the calling code runs in.
#[derive(Clone)]
pub struct CurrentProcess(Arc<Node>);

/// The process that the calling code runs in.
pub fn current_process() -> CurrentProcess {
    CurrentProcess(node::current())
}

impl CurrentProcess {
    /// Its name: `MainProcess` in a root.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Renames it.
    pub fn set_name(&self, name: impl Into<String>) {
        self.0.set_name(name.into());
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Whether it is a daemon.
    pub fn is_daemon(&self) -> bool {
        self.0.daemon
    }

    /// True: it is running this code.
    pub fn is_alive(&self) -> bool {
        true
    }

    /// `None`: it has not ended.
    pub fn exitcode(&self) -> Option<i32> {
        None
    }

    /// Its key for managers and listeners: 32 random bytes in a root, and inherited.
    pub fn authkey(&self) -> Vec<u8> {
        self.0.authkey()
    }

    /// Sets the key; children started from now on inherit it.
    pub fn set_authkey(&self, authkey: impl Into<Vec<u8>>) {
        self.0.set_authkey(authkey.into());
    }

    /// Its place in the tree: empty for a root, `1:2` for the second child of the first.
    pub fn identity(&self) -> Vec<u32> {
        self.0.path.0.clone()
    }

    /// How it was started; `None` for a root.
    pub fn start_method(&self) -> Option<StartMethod> {
        self.0.method
    }

    /// The command line of the program that is the root of the tree.
    pub fn argv(&self) -> Vec<OsString> {
        self.0.argv()
    }
}

impl fmt::Debug for CurrentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({}, started)", self.name())
    }
}

/// The children of this process that have not ended. Those that have are reaped.
pub fn active_children() -> Vec<ProcessRef> {
    node::current().children().into_iter().map(ProcessRef::of_child).collect()
}

/// The process that started this one.
#[derive(Clone)]
pub struct ParentRef(Arc<Node>);

/// The process that started this one; `None` in a root.
pub fn parent_process() -> Option<ParentRef> {
    let node = node::current();
    node.parent().is_some().then(|| ParentRef(node))
}

impl ParentRef {
    fn parent(&self) -> &node::Parent {
        let Some(parent) = self.0.parent() else { unreachable!("made for a node with a parent") };
        parent
    }

    /// Its name at the time when it started us.
    pub fn name(&self) -> String {
        self.parent().name.clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.parent().pid
    }

    /// Whether it lives. Where no descriptor of it was to be had when this process began, it
    /// is told by who this one's parent is.
    pub fn is_alive(&self) -> bool {
        !self.wait(Some(Instant::now())).unwrap_or(false)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Out of memory.
    pub fn join(&self) -> Result<()> {
        self.wait(None).map(drop)
    }

    /// Waits at most `timeout` for its end. True when it has ended.
    ///
    /// # Errors
    /// Out of memory.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.wait(after(timeout))
    }

    /// As [`join`](Self::join), without blocking the thread, on any executor.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait, and nothing else.
    pub async fn join_async(&self) -> Result<()> {
        let parent = self.parent();
        if let Some(pidfd) = &parent.pidfd {
            return wait_async(&[pidfd], None).await.map(drop);
        }
        while is_parent(parent.pid) {
            wait_async(&[], LOOK_PERIOD).await?;
        }
        Ok(())
    }

    fn wait(&self, deadline: Option<Instant>) -> Result<bool> {
        let parent = self.parent();
        if let Some(pidfd) = &parent.pidfd {
            return Ok(readable(pidfd.as_fd(), deadline)?);
        }
        while is_parent(parent.pid) {
            let left = deadline
                .map_or(LOOK_PERIOD, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(false);
            }
            std::thread::sleep(left.min(LOOK_PERIOD));
        }
        Ok(true)
    }
}

impl fmt::Debug for ParentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_alive() { "started" } else { "stopped" };
        write!(f, "Process({}, {state})", self.name())
    }
}

/// Ends this process in good order with this exit code: exit hooks run, daemon children
/// are stopped, the others joined.
pub fn exit(code: i32) -> ! {
    node::leave::exit(code)
}

/// Whether this is our parent still: an orphan is given to another.
fn is_parent(pid: u32) -> bool {
    std::os::unix::process::parent_id() == pid
}
