//! What a process says of itself to the kernel: whom it dies with, whose orphans it takes.
//!
//! Owns the two process controls that supervision needs. It must never set one without
//! being asked: both change what the user's own children see. Above it stand the child's
//! side of the launcher and `contain()`; below it only nix.

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// Why a process could not bind its life to its parent's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParentDeathError {
    /// The parent ended before the binding stood. The caller should leave.
    #[error("the parent (pid {expected}) is gone; the process belongs to pid {found}")]
    ParentGone {
        /// Who the parent was said to be.
        expected: i32,
        /// Who the parent is.
        found: i32,
    },
    /// The kernel refused.
    #[error("PR_SET_PDEATHSIG: {0}")]
    Refused(#[from] Errno),
}

/// Asks for `signal` when the thread ends that started this process, then checks that
/// the parent is still `parent`: one that died before the call sends nothing.
///
/// A parent in another pid namespace is seen as 0; then `parent` must be 0 too.
///
/// # Errors
/// [`ParentDeathError::ParentGone`] when the parent is another by now.
pub fn die_with_parent(signal: Signal, parent: i32) -> Result<(), ParentDeathError> {
    prctl::set_pdeathsig(signal)?;
    let found = getppid().as_raw();
    if found != parent {
        return Err(ParentDeathError::ParentGone { expected: parent, found });
    }
    Ok(())
}

/// Ends the binding of [`die_with_parent`], for a detached child or one with grace.
///
/// # Errors
/// What the kernel says.
pub fn outlive_parent() -> nix::Result<()> {
    prctl::set_pdeathsig(None)
}

/// Makes this process the parent of every orphan below it (`true`), or ends that.
/// It is not inherited by children.
///
/// # Errors
/// What the kernel says.
pub fn adopt_orphans(adopt: bool) -> nix::Result<()> {
    prctl::set_child_subreaper(adopt)
}

/// Whether [`adopt_orphans`] is on.
///
/// # Errors
/// What the kernel says.
pub fn adopts_orphans() -> nix::Result<bool> {
    prctl::get_child_subreaper()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The signal belongs to the thread that asks, and the harness gives each test one of
    // its own; the subreaper flag is tested in a process of its own (`proc_tree`).
    #[test]
    fn the_parent_is_checked_after_the_binding() {
        // SIGURG is ignored by default, should our parent really end meanwhile.
        let parent = getppid().as_raw();
        die_with_parent(Signal::SIGURG, parent).unwrap();
        assert_eq!(prctl::get_pdeathsig().unwrap(), Some(Signal::SIGURG));
        assert_eq!(
            die_with_parent(Signal::SIGURG, parent + 1),
            Err(ParentDeathError::ParentGone { expected: parent + 1, found: parent })
        );
        outlive_parent().unwrap();
        assert_eq!(prctl::get_pdeathsig().unwrap(), None);
    }
}
